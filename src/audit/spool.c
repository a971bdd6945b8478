/* spool.c - records of waiting transactions, in chunks of memory and one file each.
 *
 *   record: len:4 xid:4 wal:8 message, in the machine's own form: no file outlives its process
 *   order:  [file][chunk][chunk]...   a record is whole in one chunk
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/spool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES_LEAST (8 << 10)
#define CHUNK_BYTES_MOST (1 << 20)
#define WINDOW_BYTES (256 << 10)

struct spool_head {
    uint32_t len, xid;
    uint64_t wal;
};
static_assert(sizeof(struct spool_head) == 16, "no padding");

struct spool_chunk {
    struct spool_chunk *next;
    size_t room, used;
    uint8_t bytes[];
};

struct emptying {
    struct os *os;
    const char *folder;
};

static err remove_file(void *self, const char *name)
{
    const struct emptying *emptying = self;
    char *path = text_format("%s/%s", emptying->folder, name);
    err e = emptying->os->path_remove(emptying->os, path);

    free(path);
    return e;
}

err spools_init(struct spools *spools, struct os *os, const char *folder, size_t memory_most)
{
    struct emptying emptying = {os, folder};
    err e = os_make_folder(os, folder);

    e = e ? e : os->folder_list(os, folder, remove_file, &emptying);
    if (e) {
        return fault_prefix("spool folder: ");
    }
    *spools = (struct spools){
        .os = os,
        .folder = xstrdup(folder),
        .memory_most = memory_most,
    };
    return OK;
}

void spools_fini(struct spools *spools)
{
    assert(!spools->first);
    assert(spools->memory_bytes == 0);
    assert(spools->file_bytes == 0);
    free(spools->folder);
    *spools = (struct spools){0};
}

void spool_open(struct spools *spools, struct spool *spool)
{
    *spool = (struct spool){.owner = spools, .next = spools->first, .file = OS_FILE_NONE};
    if (spools->first) {
        spools->first->previous = spool;
    }
    spools->first = spool;
}

static void free_chunks(struct spool *spool, struct spool_chunk *from)
{
    while (from) {
        struct spool_chunk *next = from->next;
        spool->memory_bytes -= from->room;
        spool->owner->memory_bytes -= from->room;
        free(from);
        from = next;
    }
}

static void close_file(struct spool *spool)
{
    struct os *os = spool->owner->os;

    if (!spool->path) {
        return;
    }
    os->file_close(os, spool->file);
    if (os->path_remove(os, spool->path) != OK) {
        trace_warn("audit", "spool file stays behind: %s", fault_here.text);
    }
    free(spool->path);
    spool->path = NULL;
    spool->file = OS_FILE_NONE;
    spool->owner->file_bytes -= spool->file_bytes;
    spool->file_bytes = 0;
}

void spool_reset(struct spool *spool)
{
    close_file(spool);
    if (spool->oldest && spool->oldest->room <= CHUNK_BYTES_MOST) {
        free_chunks(spool, spool->oldest->next);
        spool->oldest->next = NULL;
        spool->oldest->used = 0;
        spool->newest = spool->oldest;
    } else {
        free_chunks(spool, spool->oldest);
        spool->oldest = spool->newest = NULL;
    }
    spool->records = 0;
}

void spool_close(struct spool *spool)
{
    if (!spool->owner) {
        return;
    }
    close_file(spool);
    free_chunks(spool, spool->oldest);
    assert(spool->memory_bytes == 0);
    *(spool->previous ? &spool->previous->next : &spool->owner->first) = spool->next;
    if (spool->next) {
        spool->next->previous = spool->previous;
    }
    *spool = (struct spool){.file = OS_FILE_NONE};
}

MUST_CHECK static err file_make(struct spool *spool)
{
    struct spools *owner = spool->owner;
    char *path = text_format("%s/%" PRIu64, owner->folder, owner->files);
    err e = owner->os->file_open(owner->os, path,
                                 OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_FRESH, &spool->file);

    if (e) {
        free(path);
        spool->file = OS_FILE_NONE;
        return e;
    }
    owner->files++;
    spool->path = path;
    return OK;
}

/* All of its memory to the end of its file. */
MUST_CHECK static err spill(struct spool *spool)
{
    struct spools *owner = spool->owner;
    err e = spool->path ? OK : file_make(spool);

    for (struct spool_chunk *c = spool->oldest; !e && c; c = c->next) {
        e = os_write_at(owner->os, spool->file, (view){c->bytes, c->used}, spool->file_bytes);
        if (!e) {
            spool->file_bytes += (int64_t)c->used;
            owner->file_bytes += (int64_t)c->used;
        }
    }
    if (e) {
        return fault_prefix("spool of a large transaction: ");
    }
    free_chunks(spool, spool->oldest);
    spool->oldest = spool->newest = NULL;
    return OK;
}

MUST_CHECK static err spill_largest(struct spools *spools)
{
    struct spool *largest = spools->first;

    for (struct spool *s = spools->first; s; s = s->next) {
        largest = s->memory_bytes > largest->memory_bytes ? s : largest;
    }
    return spill(largest);
}

static void add_chunk(struct spool *spool, size_t need)
{
    size_t room = spool->newest ? MIN(spool->newest->room * 2, (size_t)CHUNK_BYTES_MOST)
                                : (size_t)CHUNK_BYTES_LEAST;
    struct spool_chunk *chunk;

    room = MAX(room, need);
    chunk = xmalloc(sizeof(*chunk) + room);
    *chunk = (struct spool_chunk){.room = room};
    *(spool->newest ? &spool->newest->next : &spool->oldest) = chunk;
    spool->newest = chunk;
    spool->memory_bytes += room;
    spool->owner->memory_bytes += room;
}

err spool_add(struct spool *spool, const struct spool_record *record)
{
    struct spool_head head = {(uint32_t)record->message.len, record->xid, record->wal};
    size_t need = sizeof(head) + record->message.len;

    assert(record->message.len <= UINT32_MAX);
    if (!spool->newest || spool->newest->room - spool->newest->used < need) {
        add_chunk(spool, need);
    }
    uint8_t *at = spool->newest->bytes + spool->newest->used;
    memcpy(at, &head, sizeof(head));
    if (record->message.len) {
        memcpy(at + sizeof(head), record->message.at, record->message.len);
    }
    spool->newest->used += need;
    spool->records++;
    bool over = spool->owner->memory_bytes > spool->owner->memory_most;
    return over ? spill_largest(spool->owner) : OK;
}

/* At least need bytes of the file in the window, unless the file ends before. */
MUST_CHECK static err window_fill(struct spool_walk *walk, size_t need)
{
    struct spool *spool = walk->spool;
    struct os *os = spool->owner->os;
    size_t kept = walk->window.len - walk->used, got;

    if (kept >= need || walk->position == spool->file_bytes) {
        return OK;
    }
    if (kept) {
        memmove(walk->window.at, walk->window.at + walk->used, kept);
    }
    walk->window.len = kept;
    walk->used = 0;
    int64_t left = spool->file_bytes - walk->position;
    size_t want = (size_t)MIN(left, (int64_t)MAX(need - kept, (size_t)WINDOW_BYTES));
    uint8_t *to = write_space(&walk->window, want);
    err e = os->file_read(os, spool->file, to, want, walk->position, &got);
    if (!e && got < want) {
        e = fault(ERR_CORRUPT, "a spool file has become shorter");
    }
    walk->position += (int64_t)want;
    return e;
}

static void take_record(const uint8_t *at, struct spool_record *out)
{
    struct spool_head head;

    memcpy(&head, at, sizeof(head));
    *out = (struct spool_record){head.xid, head.wal, {at + sizeof(head), head.len}};
}

MUST_CHECK static err next_of_file(struct spool_walk *walk, struct spool_record *out)
{
    struct spool_head head;
    err e = window_fill(walk, sizeof(head));

    if (e) {
        return e;
    }
    assert(walk->window.len - walk->used >= sizeof(head));
    memcpy(&head, walk->window.at + walk->used, sizeof(head));
    e = window_fill(walk, sizeof(head) + head.len);
    if (e) {
        return e;
    }
    assert(walk->window.len - walk->used >= sizeof(head) + head.len);
    take_record(walk->window.at + walk->used, out);
    walk->used += sizeof(head) + head.len;
    return OK;
}

err spool_next(struct spool_walk *walk, struct spool_record *out, bool *more)
{
    struct spool *spool = walk->spool;

    *more = true;
    if (walk->used < walk->window.len || walk->position < spool->file_bytes) {
        return next_of_file(walk, out);
    }
    if (!walk->in_memory) {
        walk->in_memory = true;
        walk->chunk = spool->oldest;
    }
    while (walk->chunk && walk->chunk_used == walk->chunk->used) {
        walk->chunk = walk->chunk->next;
        walk->chunk_used = 0;
    }
    *more = walk->chunk != NULL;
    if (*more) {
        take_record(walk->chunk->bytes + walk->chunk_used, out);
        walk->chunk_used += sizeof(struct spool_head) + out->message.len;
    }
    return OK;
}

void spool_walk_fini(struct spool_walk *walk)
{
    writer_fini(&walk->window);
    *walk = (struct spool_walk){0};
}
