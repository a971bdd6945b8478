/* trace.h - log lines for people: one line, module first, four levels, text or JSON, to stderr.
 *
 * error: a human must act; warn; info; debug. An error is logged once, by whoever ends it
 * (request handler, worker, main), never on the way up. Hot paths count instead. Any thread. */
#ifndef TIDEMARK_BASE_TRACE_H
#define TIDEMARK_BASE_TRACE_H

#include <stdbool.h>

#include "base/err.h"

enum trace_level { TRACE_ERROR, TRACE_WARN, TRACE_INFO, TRACE_DEBUG };

void trace_setup(enum trace_level most, bool json);
PRINTF_LIKE(3, 4)
void trace_line(enum trace_level level, const char *module, const char *format, ...);

#define trace_error(module, ...) trace_line(TRACE_ERROR, module, __VA_ARGS__)
#define trace_warn(module, ...) trace_line(TRACE_WARN, module, __VA_ARGS__)
#define trace_info(module, ...) trace_line(TRACE_INFO, module, __VA_ARGS__)
#define trace_debug(module, ...) trace_line(TRACE_DEBUG, module, __VA_ARGS__)

#endif
