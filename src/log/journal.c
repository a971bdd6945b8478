/* journal.c - the write-ahead ring.
 *
 * Block, big endian: 0 "TMJB" u32, 4 version u16, 6 entries u16, 8 round u64, 16 bytes u32
 * (head and entries, without padding), 20 crc u32 of 40 to the end of bytes, 24 crc u32 of 0 to
 * 24, then zeros to 40; per entry: topic id 16, partition i32, epoch i32, base offset i64, end
 * offset i64, segment base i64, position u32, bytes u32, batch. Padded with zeros to 4096. The
 * head has a checksum of its own, so that replay can step over blocks it does not need without
 * reading them.
 *
 * A file holds blocks of rising rounds from its start; what follows the last one is from an
 * earlier use and has a lower round, or zeros. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOURNAL_MAGIC 0x544d4a42u /* "TMJB" */
#define JOURNAL_VERSION 1
#define ENTRIES_MAX UINT16_MAX
#define BODY_CRC_AT 20
#define HEAD_CRC_AT 24
#define ZERO_STEP_BYTES (1 << 20)

struct journal_file {
    os_file file;
    int64_t bytes;       /* room */
    uint64_t last_round; /* the newest in it; 0: none that matters */
};

struct journal {
    struct os *os;
    char *folder;
    pthread_mutex_t lock; /* files' rounds and sizes */
    struct journal_file files[JOURNAL_FILES];
    int current;         /* flusher: the file being filled */
    int64_t position;    /* flusher: in it */
    uint64_t next_round; /* flusher */
    uint8_t *block;      /* flusher: aligned, being built */
    size_t used, room, entries;
    int64_t file_bytes_max;
    _Atomic bool wants_checkpoint, waited;
    bool direct;
};

static void file_path(const char *folder, int i, char *out, size_t room)
{
    int len = snprintf(out, room, "%s/journal-%d", folder, i);

    assert(len > 0 && (size_t)len < room);
}

static size_t padded(size_t bytes)
{
    return (bytes + JOURNAL_ALIGN - 1) / JOURNAL_ALIGN * JOURNAL_ALIGN;
}

static uint8_t *aligned_new(size_t bytes)
{
    void *at = NULL;
    int number = posix_memalign(&at, JOURNAL_ALIGN, bytes);

    assert(number == 0);
    return at;
}

/* Blocks written before, so that a later flush writes no metadata. */
static err fill_zeros(struct journal *j, struct journal_file *f, int64_t from, int64_t to)
{
    uint8_t *zeros = aligned_new(ZERO_STEP_BYTES);
    err e = OK;

    memset(zeros, 0, ZERO_STEP_BYTES);
    for (int64_t at = from; !e && at < to; at += ZERO_STEP_BYTES) {
        size_t len = (size_t)MIN((int64_t)ZERO_STEP_BYTES, to - at);
        e = os_write_at(j->os, f->file, (view){zeros, len}, at);
    }
    free(zeros);
    if (!e) {
        e = j->os->file_sync(j->os, f->file);
    }
    f->bytes = e ? f->bytes : to;
    return e;
}

static err open_file(struct journal *j, int i)
{
    struct journal_file *f = &j->files[i];
    char path[PATH_BYTES];
    int64_t bytes;

    file_path(j->folder, i, path, sizeof(path));
    err e = j->os->file_open(j->os, path,
                             OS_OPEN_WRITE | OS_OPEN_CREATE | (j->direct ? OS_OPEN_DIRECT : 0u),
                             &f->file);
    if (e && j->direct) { /* tmpfs and the like: buffered writes and fdatasync */
        j->direct = false;
        e = j->os->file_open(j->os, path, OS_OPEN_WRITE | OS_OPEN_CREATE, &f->file);
    }
    if (!e) {
        e = j->os->file_size(j->os, f->file, &bytes);
    }
    if (!e) {
        f->bytes = bytes / JOURNAL_ALIGN * JOURNAL_ALIGN;
        if (f->bytes < JOURNAL_FILE_BYTES_MIN) {
            e = fill_zeros(j, f, f->bytes, JOURNAL_FILE_BYTES_MIN);
        }
    }
    return e;
}

err journal_open(struct os *os, const char *folder, int64_t bytes_max, uint64_t first_round,
                 struct journal **out)
{
    struct journal *j = xcalloc(1, sizeof(*j));
    err e = OK;

    j->os = os;
    j->folder = xstrdup(folder);
    j->next_round = first_round;
    j->file_bytes_max = MAX(bytes_max / JOURNAL_FILES, (int64_t)JOURNAL_FILE_BYTES_MIN);
    j->direct = true;
    pthread_mutex_init(&j->lock, NULL);
    for (int i = 0; i < JOURNAL_FILES; i++) {
        j->files[i].file = OS_FILE_NONE;
    }
    for (int i = 0; !e && i < JOURNAL_FILES; i++) {
        e = open_file(j, i);
    }
    if (!e) {
        e = os->folder_sync(os, folder);
    }
    if (e) {
        journal_close(j);
        return fault_prefix("journal: ");
    }
    *out = j;
    return OK;
}

void journal_close(struct journal *j)
{
    if (!j) {
        return;
    }
    for (int i = 0; i < JOURNAL_FILES; i++) {
        j->os->file_close(j->os, j->files[i].file);
    }
    pthread_mutex_destroy(&j->lock);
    free(j->folder);
    free(j->block);
    free(j);
}

static uint8_t *block_space(struct journal *j, size_t len)
{
    size_t need = padded(j->used + len);

    if (need > j->room) {
        size_t room = MAX(need, j->room * 2);
        uint8_t *block = aligned_new(room);
        if (j->used) {
            memcpy(block, j->block, j->used);
        }
        free(j->block);
        j->block = block;
        j->room = room;
    }
    uint8_t *at = j->block + j->used;
    j->used += len;
    return at;
}

void journal_begin(struct journal *j)
{
    j->used = j->entries = 0;
    memset(block_space(j, JOURNAL_HEAD_BYTES), 0, JOURNAL_HEAD_BYTES);
}

bool journal_has_room(const struct journal *j)
{
    return j->entries < ENTRIES_MAX;
}

void journal_add(struct journal *j, const struct journal_entry *entry)
{
    uint8_t *at = block_space(j, JOURNAL_ENTRY_BYTES + entry->batch.len);

    assert(j->entries < ENTRIES_MAX);
    assert(entry->position >= 0 && entry->position <= UINT32_MAX);
    memcpy(at, entry->topic_id.bytes, 16);
    put_u32(at + 16, (uint32_t)entry->partition);
    put_u32(at + 20, (uint32_t)entry->epoch);
    put_u64(at + 24, (uint64_t)entry->base_offset);
    put_u64(at + 32, (uint64_t)entry->end);
    put_u64(at + 40, (uint64_t)entry->segment);
    put_u32(at + 48, (uint32_t)entry->position);
    put_u32(at + 52, (uint32_t)entry->batch.len);
    memcpy(at + JOURNAL_ENTRY_BYTES, entry->batch.at, entry->batch.len);
    j->entries++;
}

size_t journal_round_bytes(const struct journal *j)
{
    return j->used;
}

static uint32_t body_crc(const uint8_t *block, size_t bytes)
{
    return crc32c(0, (view){block + JOURNAL_HEAD_BYTES, bytes - JOURNAL_HEAD_BYTES});
}

static uint32_t head_crc(const uint8_t *block)
{
    return crc32c(0, (view){block, HEAD_CRC_AT});
}

static void seal_block(struct journal *j)
{
    put_u32(j->block, JOURNAL_MAGIC);
    put_u16(j->block + 4, JOURNAL_VERSION);
    put_u16(j->block + 6, (uint16_t)j->entries);
    put_u64(j->block + 8, j->next_round);
    put_u32(j->block + 16, (uint32_t)j->used);
    put_u32(j->block + BODY_CRC_AT, body_crc(j->block, j->used));
    put_u32(j->block + HEAD_CRC_AT, head_crc(j->block));
    memset(j->block + j->used, 0, padded(j->used) - j->used);
}

/* Moves to the next file of the ring when this one cannot take bytes more; false: it is not
 * free yet. A block larger than a whole file makes the file larger. */
static err make_room(struct journal *j, int64_t bytes, bool *full)
{
    struct journal_file *f = &j->files[j->current];
    err e = OK;

    *full = false;
    if (j->position + bytes <= f->bytes) {
        return OK;
    }
    if (j->position > 0) {
        struct journal_file *next = &j->files[(j->current + 1) % JOURNAL_FILES];
        atomic_store(&j->wants_checkpoint, true);
        if (next->last_round) {
            atomic_store(&j->waited, true);
            *full = true;
            return OK;
        }
        j->current = (j->current + 1) % JOURNAL_FILES;
        j->position = 0;
        f = next;
    }
    if (f->bytes < bytes) {
        e = fill_zeros(j, f, f->bytes, (int64_t)padded((size_t)bytes));
    }
    return e;
}

err journal_commit(struct journal *j, uint64_t *round, bool *full)
{
    int64_t bytes = (int64_t)padded(j->used);

    pthread_mutex_lock(&j->lock);
    err e = make_room(j, bytes, full);
    struct journal_file *f = &j->files[j->current];
    if (!e && !*full) {
        f->last_round = j->next_round;
    }
    pthread_mutex_unlock(&j->lock);
    if (e || *full) {
        return e;
    }
    seal_block(j);
    e = os_write_at(j->os, f->file, (view){j->block, (size_t)bytes}, j->position);
    if (!e) {
        e = j->os->file_sync(j->os, f->file);
    }
    if (e) {
        return fault_prefix("journal: ");
    }
    j->position += bytes;
    *round = j->next_round++;
    return OK;
}

bool journal_wants_checkpoint(struct journal *j)
{
    return atomic_exchange(&j->wants_checkpoint, false);
}

static err grow(struct journal *j, int i, int64_t to)
{
    struct journal_file *f = &j->files[i];
    err e = fill_zeros(j, f, f->bytes, to);

    if (e == ERR_FULL) {
        return OK; /* it works at its size */
    }
    return e;
}

err journal_release(struct journal *j, uint64_t round, bool turns_fast)
{
    bool grows = atomic_exchange(&j->waited, false) || turns_fast;
    err e = OK;

    for (int i = 0; !e && i < JOURNAL_FILES; i++) {
        struct journal_file *f = &j->files[i];
        pthread_mutex_lock(&j->lock);
        bool done = f->last_round && f->last_round <= round && i != j->current;
        pthread_mutex_unlock(&j->lock);
        if (!done) {
            continue;
        }
        int64_t to = MIN(f->bytes * 2, j->file_bytes_max);
        if (grows && to > f->bytes) { /* nobody else touches it until last_round is 0 */
            e = grow(j, i, to);
        }
        pthread_mutex_lock(&j->lock);
        f->last_round = 0;
        pthread_mutex_unlock(&j->lock);
    }
    return e;
}

bool journal_is_full(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    bool full = j->files[(j->current + 1) % JOURNAL_FILES].last_round != 0;
    pthread_mutex_unlock(&j->lock);
    return full;
}

bool journal_head_read(view head, uint64_t *round, uint32_t *bytes)
{
    if (head.len < JOURNAL_HEAD_BYTES || get_u32(head.at) != JOURNAL_MAGIC ||
        get_u16(head.at + 4) != JOURNAL_VERSION ||
        get_u32(head.at + HEAD_CRC_AT) != head_crc(head.at)) {
        return false;
    }
    *round = get_u64(head.at + 8);
    *bytes = get_u32(head.at + 16);
    return *bytes >= JOURNAL_HEAD_BYTES;
}

bool journal_block_good(view block)
{
    return block.len >= JOURNAL_HEAD_BYTES && block.len == get_u32(block.at + 16) &&
           get_u32(block.at + BODY_CRC_AT) == body_crc(block.at, block.len);
}
