/* err.c - thread-local error detail. SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Thread_local struct fault fault_here;

static const char *const err_texts[] = {[OK] = "fine",
#define X(name, text) [ERR_##name] = text,
                                        ERRORS(X)
#undef X
};

err fault(err code, const char *format, ...)
{
    char text[FAULT_TEXT_MAX]; /* apart: an argument may point into fault_here.text */
    va_list args;

    assert(code != OK);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fault_here.code = code;
    memcpy(fault_here.text, text, sizeof(text));
    return code;
}

err fault_prefix(const char *format, ...)
{
    char text[FAULT_TEXT_MAX];
    va_list args;

    assert(fault_here.code != OK);
    va_start(args, format);
    int used = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(text)) {
        snprintf(text + used, sizeof(text) - (size_t)used, "%s", fault_here.text);
    }
    memcpy(fault_here.text, text, sizeof(text));
    return fault_here.code;
}

static err err_of_errno(int number)
{
    switch (number) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
    case EADDRINUSE:
        return ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case EMFILE:
    case ENFILE:
    case EAGAIN:
        return ERR_BUSY;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_IO;
    }
}

err fault_errno(const char *format, ...)
{
    int number = errno;
    char text[FAULT_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return fault(err_of_errno(number), "%s: %s", text, strerror(number));
}

struct fault *fault_take(void)
{
    struct fault *copy = xmalloc(sizeof(*copy));

    *copy = fault_here;
    return copy;
}

const char *err_text(err code)
{
    assert((size_t)code < COUNT(err_texts));
    return err_texts[code];
}

const char *err_name(err code)
{
    static const char *const names[] = {
        "ok",       "io",        "corrupt",      "not_found", "exists", "busy",
        "full",     "denied",    "invalid",      "timeout",   "closed", "unsupported",
        "conflict", "too_large", "out_of_range", "cancelled",
    };
    static_assert(COUNT(names) == COUNT(err_texts), "a name for each kind");

    assert((size_t)code < COUNT(names));
    return names[code];
}

_Noreturn void assert_failed(const char *what, const char *file, int line, const char *function)
{
    fprintf(stderr, "tidemark: a bug: %s:%d: %s: \"%s\" does not hold; last error here: %s\n",
            file, line, function, what, fault_here.text);
    abort();
}
