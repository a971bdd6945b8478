/* assert.h - assertions that stay on in release builds.
 *
 * assert() states what only a bug of ours could break; it is never used for what input, disk or
 * network could. A failed one prints the place and aborts, so that recovery starts from the
 * log. */
#ifndef TIDEMARK_BASE_ASSERT_H
#define TIDEMARK_BASE_ASSERT_H

#include <assert.h> /* static_assert; its assert is replaced below */

#undef assert
#define assert(condition)                                                                      \
    ((condition) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__, __func__))

_Noreturn void assert_failed(const char *what, const char *file, int line,
                             const char *function);

#endif
