/* mem.c - heap wrappers, arenas, counted buffers, pools. SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_BYTES 4096

struct arena_block {
    struct arena_block *next;
    size_t room, used;
    alignas(max_align_t) uint8_t bytes[];
};

static void *or_abort(void *at, size_t bytes)
{
    if (!at && bytes) {
        fprintf(stderr, "tidemark: out of memory, asked for %zu bytes\n", bytes);
        abort();
    }
    return at;
}

void *xmalloc(size_t bytes)
{
    return or_abort(malloc(bytes ? bytes : 1), bytes);
}

void *xcalloc(size_t count, size_t bytes)
{
    return or_abort(calloc(count ? count : 1, bytes ? bytes : 1), count * bytes);
}

void *xrealloc(void *at, size_t bytes)
{
    return or_abort(realloc(at, bytes ? bytes : 1), bytes);
}

char *xstrdup(const char *text)
{
    return text_of(view_text(text));
}

char *text_of(view v)
{
    char *copy = xmalloc(v.len + 1);

    if (v.len) {
        memcpy(copy, v.at, v.len);
    }
    copy[v.len] = '\0';
    return copy;
}

char *text_format(const char *format, ...)
{
    char *out = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&out, format, args);
    va_end(args);
    return or_abort(len < 0 ? NULL : out, 1);
}

void *array_room(void *items, size_t count, size_t *room, size_t bytes)
{
    if (count < *room) {
        return items;
    }
    *room = *room ? *room * 2 : 8;
    return xrealloc(items, *room * bytes);
}

/* As arena_take, but not zeroed. */
static void *arena_room(struct arena *a, size_t bytes)
{
    struct arena_block *block = a->blocks;
    size_t need = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);

    if (!block || block->room - block->used < need) {
        size_t room = MAX(need, (size_t)ARENA_BLOCK_BYTES);
        block = xmalloc(sizeof(*block) + room);
        *block = (struct arena_block){.next = a->blocks, .room = room};
        a->blocks = block;
    }
    void *at = block->bytes + block->used;
    block->used += need;
    a->bytes += need;
    return at;
}

void *arena_take(struct arena *a, size_t bytes)
{
    return memset(arena_room(a, bytes), 0, bytes);
}

view arena_copy(struct arena *a, view v)
{
    return (view){(const uint8_t *)arena_text(a, v), v.len};
}

char *arena_text(struct arena *a, view v)
{
    char *at = arena_room(a, v.len + 1);

    if (v.len) {
        memcpy(at, v.at, v.len);
    }
    at[v.len] = '\0';
    return at;
}

char *arena_format(struct arena *a, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    char *at = arena_take(a, (size_t)MAX(len, 0) + 1);
    vsnprintf(at, (size_t)MAX(len, 0) + 1, format, again);
    va_end(again);
    va_end(args);
    return at;
}

void arena_reset(struct arena *a)
{
    while (a->blocks && a->blocks->next) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    if (a->blocks) {
        a->blocks->used = 0;
    }
    a->bytes = 0;
}

void arena_fini(struct arena *a)
{
    arena_reset(a);
    free(a->blocks);
    *a = (struct arena){0};
}

bool pool_charge(struct pool *pool, size_t bytes)
{
    size_t before = atomic_load_explicit(&pool->used_bytes, memory_order_relaxed);

    do { /* never above the limit, not even for a moment: others would be refused for it */
        if (bytes > pool->limit_bytes || before > pool->limit_bytes - bytes) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&pool->used_bytes, &before, before + bytes));
    return true;
}

void pool_refund(struct pool *pool, size_t bytes)
{
    size_t before = atomic_fetch_sub(&pool->used_bytes, bytes);

    assert(before >= bytes);
}

struct buf *buf_new(uint32_t room)
{
    struct buf *b = xmalloc(sizeof(*b) + room);

    b->holders = 1;
    b->len = 0;
    b->room = room;
    b->pool = NULL;
    return b;
}

struct buf *buf_new_in(struct pool *pool, uint32_t room)
{
    if (!pool_charge(pool, room)) {
        return NULL;
    }
    struct buf *b = buf_new(room);
    b->pool = pool;
    return b;
}

struct buf *buf_hold(struct buf *b)
{
    uint32_t before = atomic_fetch_add(&b->holders, 1);

    assert(before > 0);
    return b;
}

void buf_drop(struct buf *b)
{
    if (b && atomic_fetch_sub(&b->holders, 1) == 1) {
        if (b->pool) {
            pool_refund(b->pool, b->room);
        }
        free(b);
    }
}
