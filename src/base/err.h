/* err.h - the one error convention.
 *
 * Every call that can fail returns err; OK is 0 and results behind pointers may be read only
 * then. The words are set once, by fault(), where the facts are known; they live in fault_here
 * until the next failing call on this thread. A request that outlives the thread's turn takes
 * them over with fault_take(). Expected outcomes on hot paths are status values of their
 * module, never fault(). */
#ifndef TIDEMARK_BASE_ERR_H
#define TIDEMARK_BASE_ERR_H

#include <sys/param.h> /* MIN and MAX; libuv's header brings the same ones */

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define ERRORS(X) /* name, text */                                                             \
    X(IO, "storage failed")                                                                    \
    X(CORRUPT, "data does not match its checksum or format")                                   \
    X(NOT_FOUND, "no such thing")                                                              \
    X(EXISTS, "it exists already")                                                             \
    X(BUSY, "over a limit, try again")                                                         \
    X(FULL, "no room left")                                                                    \
    X(DENIED, "not permitted")                                                                 \
    X(INVALID, "not valid")                                                                    \
    X(TIMEOUT, "took too long")                                                                \
    X(CLOSED, "closed")                                                                        \
    X(UNSUPPORTED, "not supported")                                                            \
    X(CONFLICT, "not possible in its present state")                                           \
    X(TOO_LARGE, "larger than its limit")                                                      \
    X(OUT_OF_RANGE, "outside of what is kept")                                                 \
    X(CANCELLED, "given up")

typedef enum err {
    OK = 0,
#define X(name, text) ERR_##name,
    ERRORS(X)
#undef X
} err;

#define FAULT_TEXT_MAX 512 /* bytes of detail kept, NUL included */

struct fault {
    err code;
    char text[FAULT_TEXT_MAX];
};

extern _Thread_local struct fault fault_here;

/* Fills fault_here and returns code. */
PRINTF_LIKE(2, 3) err fault(err code, const char *format, ...);

/* Puts words before those already in fault_here; returns its code. */
PRINTF_LIKE(1, 2) err fault_prefix(const char *format, ...);

/* fault(ERR_IO or ERR_FULL or ERR_NOT_FOUND or ... by errno, "format: strerror"). */
PRINTF_LIKE(1, 2) err fault_errno(const char *format, ...);

/* A heap copy of fault_here, the caller's to free(). */
struct fault *fault_take(void);

/* The kind's own short text, for messages without detail. */
const char *err_text(err code);

/* The kind's name in lower case ("not_found"): the code of JSON errors and of metrics. */
const char *err_name(err code);

#endif
