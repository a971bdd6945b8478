/* trace.c - one line per event, to stderr, in one write. SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int level_most = TRACE_INFO;
static _Atomic bool as_json;

void trace_setup(enum trace_level most, bool json)
{
    atomic_store(&level_most, (int)most);
    atomic_store(&as_json, json);
}

static void time_text(char *out, size_t room)
{
    struct timespec now;
    struct tm parts;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(out, room, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + used, room - used, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

void trace_line(enum trace_level level, const char *module, const char *format, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    struct writer line = {0};
    char when[40], text[1024];
    va_list args;

    if ((int)level > atomic_load(&level_most)) {
        return;
    }
    time_text(when, sizeof(when));
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (atomic_load(&as_json)) {
        struct json_writer j = json_to(&line);
        json_object(&j);
        json_name(&j, "time"), json_text(&j, when);
        json_name(&j, "level"), json_text(&j, names[level]);
        json_name(&j, "module"), json_text(&j, module);
        json_name(&j, "text"), json_text(&j, text);
        json_end_object(&j);
        write_u8(&line, '\n');
    } else {
        for (char *c = text; *c; c++) { /* what a client sent must not look like a line */
            *c = (unsigned char)*c < ' ' ? ' ' : *c;
        }
        write_format(&line, "%s %-5s %s: %s\n", when, names[level], module, text);
    }
    ssize_t ignored = write(STDERR_FILENO, line.at, line.len);
    (void)ignored;
    writer_fini(&line);
}
