/* journal_replay.c - reading the ring back after an unclean stop.
 *
 * First every file's good blocks are listed, then those after the checkpoint's round are
 * delivered in round order, up to the first gap: the ring is written in order, so a gap means
 * the rounds behind it were never acknowledged. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block_at {
    uint64_t round;
    int file;
    int64_t position;
    uint32_t bytes;
};

struct replay {
    struct os *os;
    os_file files[JOURNAL_FILES];
    struct block_at *blocks;
    size_t count, room;
    uint8_t *bytes;
    size_t bytes_room;
    int64_t read;
};

static err read_at(struct replay *r, int file, int64_t position, size_t len, view *out)
{
    size_t got;

    if (len > r->bytes_room) {
        r->bytes_room = len;
        r->bytes = xrealloc(r->bytes, len);
    }
    err e = r->os->file_read(r->os, r->files[file], r->bytes, len, position, &got);
    r->read += e ? 0 : (int64_t)got;
    *out = (view){r->bytes, e ? 0 : got};
    return e;
}

/* The blocks of one file: they begin at 0 and rounds rise by one. Of those up to after only the
 * heads are read. */
static err list_blocks(struct replay *r, int file, uint64_t after)
{
    uint64_t last = 0;
    int64_t size;
    err e = r->os->file_size(r->os, r->files[file], &size);

    for (int64_t at = 0; !e && at + JOURNAL_ALIGN <= size;) {
        struct block_at block = {.file = file, .position = at};
        view head, whole;
        e = read_at(r, file, at, JOURNAL_ALIGN, &head);
        if (e || !journal_head_read(head, &block.round, &block.bytes) ||
            (last && block.round != last + 1) || at + block.bytes > size) {
            break;
        }
        if (block.round > after) {
            e = read_at(r, file, at, block.bytes, &whole);
            if (e || !journal_block_good(whole)) {
                break;
            }
        }
        r->blocks = array_room(r->blocks, r->count, &r->room, sizeof(*r->blocks));
        r->blocks[r->count++] = block;
        last = block.round;
        at += ((int64_t)block.bytes + JOURNAL_ALIGN - 1) / JOURNAL_ALIGN * JOURNAL_ALIGN;
    }
    return e;
}

static int by_round(const void *a, const void *b)
{
    const struct block_at *x = a, *y = b;

    return (x->round > y->round) - (x->round < y->round);
}

static err deliver(view block, err (*each)(void *self, const struct journal_entry *entry),
                   void *self)
{
    struct reader r = {.rest = block};
    err e = OK;

    (void)read_bytes(&r, JOURNAL_HEAD_BYTES);
    while (!e && !r.bad && r.rest.len) {
        struct journal_entry entry = {0};
        view id = read_bytes(&r, sizeof(entry.topic_id.bytes));
        if (id.len) {
            memcpy(entry.topic_id.bytes, id.at, id.len);
        }
        entry.partition = read_i32(&r);
        entry.epoch = read_i32(&r);
        entry.base_offset = read_i64(&r);
        entry.end = read_i64(&r);
        entry.segment = read_i64(&r);
        entry.position = read_u32(&r);
        entry.batch = read_bytes(&r, read_u32(&r));
        e = r.bad ? fault(ERR_CORRUPT, "journal entry does not parse") : each(self, &entry);
    }
    return e;
}

static err replay_blocks(struct replay *r, uint64_t after,
                         err (*each)(void *self, const struct journal_entry *entry), void *self,
                         uint64_t *last)
{
    err e = OK;

    if (r->count) {
        qsort(r->blocks, r->count, sizeof(*r->blocks), by_round);
    }
    *last = after;
    for (size_t i = 0; !e && i < r->count; i++) {
        view block;
        if (r->blocks[i].round <= after) {
            continue;
        }
        if (r->blocks[i].round != *last + 1) {
            break;
        }
        e = read_at(r, r->blocks[i].file, r->blocks[i].position, r->blocks[i].bytes, &block);
        if (!e) {
            e = deliver(block, each, self);
        }
        *last = r->blocks[i].round;
    }
    return e;
}

err journal_replay(struct os *os, const char *folder, uint64_t after,
                   err (*each)(void *self, const struct journal_entry *entry), void *self,
                   uint64_t *last, int64_t *bytes_read)
{
    struct replay r = {.os = os};
    err e = OK;

    for (int i = 0; i < JOURNAL_FILES; i++) {
        r.files[i] = OS_FILE_NONE;
    }
    for (int i = 0; !e && i < JOURNAL_FILES; i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof(path), "%s/journal-%d", folder, i);
        e = os->file_open(os, path, 0, &r.files[i]);
        if (e == ERR_NOT_FOUND) {
            e = OK;
        } else if (!e) {
            e = list_blocks(&r, i, after);
        }
    }
    *last = after;
    if (!e) {
        e = replay_blocks(&r, after, each, self, last);
    }
    for (int i = 0; i < JOURNAL_FILES; i++) {
        os->file_close(os, r.files[i]);
    }
    *bytes_read += r.read;
    free(r.blocks);
    free(r.bytes);
    return e;
}
