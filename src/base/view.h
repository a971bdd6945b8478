/* view.h - borrowed bytes and text: a pointer and a length, passed by value, never owning.
 *
 * Text is a view too; a NUL is added only where the kernel wants one (text_of, arena_text).
 * A null view (at == NULL) is "absent", an empty one (len == 0, at != NULL) is "". */
#ifndef TIDEMARK_BASE_VIEW_H
#define TIDEMARK_BASE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct view {
    const uint8_t *at;
    size_t len;
} view;

#define VIEW(literal) ((view){(const uint8_t *)("" literal), sizeof(literal) - 1})
#define VIEW_ARG(v) (int)(v).len, (const char *)(v).at /* for "%.*s" */

view view_text(const char *text);     /* NULL gives a null view */
view view_from(view v, size_t start); /* what follows start; empty past the end */
view view_upto(view v, size_t len);   /* at most the first len bytes */
view view_trim(view v);               /* without ASCII white space at both ends */
bool view_is(view a, view b);         /* same bytes (null equals empty) */
bool view_is_text(view a, const char *text);
int view_order(view a, view b); /* bytewise; <0, 0, >0 */
bool view_starts(view v, view prefix);
bool view_cut(view v, char at, view *head, view *tail); /* false: no such byte, head = v */
uint64_t view_hash(view v);                             /* for maps in memory; never stored */

MUST_CHECK err view_to_int(view v, int64_t *out);    /* decimal, whole view */
MUST_CHECK err view_to_bytes(view v, int64_t *out);  /* 10, 64KiB, 1GiB, 5MB, 1.5GiB */
MUST_CHECK err view_to_millis(view v, int64_t *out); /* 250ms, 30s, 5m, 12h, 7d; bare = ms */

/* The candidate nearest to given by edit distance, NULL when none is near: "did you mean". */
const char *nearest_name(view given, const char *const *names, size_t count);

#endif
