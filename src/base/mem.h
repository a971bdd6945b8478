/* mem.h - memory by lifetime: plain heap, arenas, counted buffers.
 *
 * (a) a module's own memory: xmalloc at open, free at close. (b) struct arena: all that one
 * request or batch needs, given back in one go. (c) struct buf: record bytes that fan out,
 * shared by count, immutable once shared. Small allocations abort when memory is out; anything
 * sized by outside input is bounded by a struct pool, which says no instead. */
#ifndef TIDEMARK_BASE_MEM_H
#define TIDEMARK_BASE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/view.h"

void *xmalloc(size_t bytes);               /* never NULL: aborts */
void *xcalloc(size_t count, size_t bytes); /* zeroed */
void *xrealloc(void *at, size_t bytes);
char *xstrdup(const char *text);
char *text_of(view v); /* heap copy with a NUL, the caller's */
PRINTF_LIKE(1, 2) char *text_format(const char *format, ...); /* heap, the caller's */

/* Makes room for one more in a growing array: at least count + 1 items of bytes each. */
void *array_room(void *items, size_t count, size_t *room, size_t bytes);

struct arena {
    struct arena_block *blocks; /* newest first; NULL while empty */
    size_t bytes;               /* handed out since the last reset */
};

/* A zeroed struct arena is ready for use. Memory is aligned for anything and zeroed. */
void *arena_take(struct arena *a, size_t bytes);
view arena_copy(struct arena *a, view v);
char *arena_text(struct arena *a, view v); /* with a NUL */
PRINTF_LIKE(2, 3) char *arena_format(struct arena *a, const char *format, ...);
void arena_reset(struct arena *a); /* all handed out is gone; keeps one block */
void arena_fini(struct arena *a);

struct buf {
    _Atomic uint32_t holders;
    uint32_t len;      /* bytes in use */
    uint32_t room;     /* bytes allocated */
    struct pool *pool; /* charged for room; NULL: nobody */
    uint8_t bytes[];
};

/* A limit on memory whose size comes from outside; any thread. */
struct pool {
    const char *name; /* in errors and metrics */
    size_t limit_bytes;
    _Atomic size_t used_bytes;
};

bool pool_charge(struct pool *pool, size_t bytes); /* false: over the limit, nothing charged */
void pool_refund(struct pool *pool, size_t bytes);

struct buf *buf_new(uint32_t room);                       /* one holder, len 0 */
struct buf *buf_new_in(struct pool *pool, uint32_t room); /* NULL: the pool says no */
struct buf *buf_hold(struct buf *b);                      /* one more; returns b */
void buf_drop(struct buf *b);                             /* accepts NULL */

#endif
