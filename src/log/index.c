/* index.c - the sparse index of a segment: in memory while active, one small file when sealed.
 *
 * File: head {"TMIX", version u16, 0 u16, log bytes u64} then entries {offset u32, position
 * u32, max timestamp i64}, big endian. The head is written after the entries and names the
 * bytes of the .log it describes: a file that says another number is rebuilt from the batches.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stdlib.h>
#include <string.h>

#define INDEX_MAGIC 0x544d4958u /* "TMIX" */
#define INDEX_VERSION 1
#define INDEX_FILE_BYTES_MAX (256 << 20)

static void add_entry(struct segment *s, int64_t offset, int64_t position)
{
    assert(offset >= s->base && offset - s->base <= SEGMENT_OFFSETS_MAX);
    s->index = array_room(s->index, s->index_count, &s->index_room, sizeof(*s->index));
    s->index[s->index_count++] = (struct index_entry){
        .offset = (uint32_t)(offset - s->base),
        .position = (uint32_t)position,
        .max_timestamp = s->max_timestamp,
    };
    s->index_next = position + INDEX_STEP_BYTES;
}

void segment_note(struct segment *s, const struct batch_info *info, int64_t base_offset,
                  int64_t now_ms)
{
    if (s->bytes >= s->index_next && s->bytes > 0) {
        add_entry(s, base_offset, s->bytes);
    }
    if (s->bytes == 0) {
        s->index_next = INDEX_STEP_BYTES;
        s->first_ms = now_ms;
    }
    s->next = base_offset + info->last_offset_delta + 1;
    if (info->max_timestamp > s->max_timestamp) {
        s->max_timestamp = info->max_timestamp;
        s->max_timestamp_offset = s->next - 1;
    }
    s->bytes += info->bytes;
}

const struct index_entry *segment_floor(const struct segment *s, int64_t offset)
{
    size_t low = 0, high = s->index_count; /* the answer is before high, at or after low */

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->base + s->index[middle].offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low ? &s->index[low - 1] : NULL;
}

const struct index_entry *segment_floor_position(const struct segment *s, int64_t position)
{
    size_t low = 0, high = s->index_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->index[middle].position <= position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low ? &s->index[low - 1] : NULL;
}

void segment_forget_index(struct segment *s)
{
    struct log *log = s->partition->topic->log;

    if (s->sealed && s->index_room) {
        atomic_fetch_sub(&log->index_cache_used, (int64_t)(s->index_room * sizeof(*s->index)));
    }
    free(s->index);
    s->index = NULL;
    s->index_loaded = false;
    s->index_count = s->index_room = 0;
}

/* Into a scratch copy of the segment, so that readers meet a whole index or none. */
static err decode(struct segment *s, view bytes)
{
    struct reader r = {.rest = bytes};
    uint32_t magic = read_u32(&r);
    uint16_t version = read_u16(&r);
    (void)read_u16(&r);
    int64_t log_bytes = read_i64(&r);
    size_t count = r.rest.len / INDEX_ENTRY_BYTES;
    bool stale = s->sealed && log_bytes != s->bytes; /* compaction, or not sealed in order */

    if (r.bad || magic != INDEX_MAGIC || version != INDEX_VERSION || stale) {
        return ERR_CORRUPT;
    }
    for (size_t i = 0; i < count; i++) {
        struct index_entry entry = {.offset = read_u32(&r)};
        entry.position = read_u32(&r);
        entry.max_timestamp = read_i64(&r);
        const struct index_entry *last = i ? &s->index[i - 1] : NULL;
        if (entry.position >= s->bytes) {
            break; /* written ahead of the checkpoint: what follows is found again */
        }
        if (entry.position == 0 ||
            (last && (entry.position <= last->position || entry.offset <= last->offset))) {
            return ERR_CORRUPT;
        }
        s->index = array_room(s->index, s->index_count, &s->index_room, sizeof(*s->index));
        s->index[s->index_count++] = entry;
    }
    return OK;
}

static err rebuild_each(void *self, const struct batch_info *info, view batch, int64_t position)
{
    struct segment *s = self;

    (void)batch;
    if (position >= s->index_next && position > 0) {
        add_entry(s, info->base_offset, position);
    } else if (position == 0) {
        s->index_next = INDEX_STEP_BYTES;
    }
    s->max_timestamp = MAX(s->max_timestamp, info->max_timestamp);
    return OK;
}

/* Reads every batch of the segment. */
static err rebuild(struct segment *s, struct segment *scratch)
{
    struct segment_scan scan = {
        .segment = s, .next = s->base, .each = rebuild_each, .self = scratch};

    free(scratch->index);
    scratch->index = NULL;
    scratch->index_count = scratch->index_room = 0;
    scratch->max_timestamp = -1;
    return segment_scan(&scan);
}

static void install(struct segment *s, struct segment *scratch)
{
    struct log *log = s->partition->topic->log;

    pthread_mutex_lock(&s->partition->lock);
    if (s->index_loaded) {
        free(scratch->index); /* another reader was faster */
    } else {
        s->index_loaded = true;
        free(s->index); /* what recovery noted of a tail: all of it is in the new one */
        s->index = scratch->index;
        s->index_count = scratch->index_count;
        s->index_room = scratch->index_room;
        s->index_saved = scratch->index_saved;
        s->index_next = s->index_count
                            ? s->index[s->index_count - 1].position + INDEX_STEP_BYTES
                            : INDEX_STEP_BYTES;
        if (s->sealed) {
            s->index_loaded_ms = log->os->now_ms(log->os);
            atomic_fetch_add(&log->index_cache_used,
                             (int64_t)(s->index_room * sizeof(*s->index)));
        }
    }
    pthread_mutex_unlock(&s->partition->lock);
}

err segment_load_index(struct segment *s)
{
    struct log *log = s->partition->topic->log;
    struct segment scratch = {.base = s->base};
    char path[PATH_BYTES];
    struct buf *bytes = NULL;
    err e = OK;

    pthread_mutex_lock(&s->partition->lock); /* another reader may be installing one */
    scratch.bytes = s->bytes;
    scratch.sealed = s->sealed;
    bool loaded = s->index_loaded || s->bytes <= INDEX_STEP_BYTES;
    pthread_mutex_unlock(&s->partition->lock);
    if (loaded) {
        return OK;
    }
    segment_path(s, ".index", path, sizeof(path));
    bool good = !files_is_pinned(log->files, s) &&
                os_read_file(log->os, path, INDEX_FILE_BYTES_MAX, &bytes) == OK &&
                decode(&scratch, (view){bytes->bytes, bytes->len}) == OK;
    buf_drop(bytes);
    scratch.index_saved = scratch.index_count;
    if (!good) {
        e = rebuild(s, &scratch);
        scratch.index_saved = 0;
    }
    if (e) { /* half an index would leave readers to walk the rest for ever */
        free(scratch.index);
        return e;
    }
    install(s, &scratch);
    return OK;
}

bool segment_wants_index(const struct segment *s)
{
    return !s->index_loaded && s->sealed && s->bytes > INDEX_STEP_BYTES;
}

/* Entries of batches that a crash took with it: some would lie inside of new ones. */
static err cut_stale(struct os *os, os_file file, size_t saved)
{
    int64_t wanted = INDEX_HEAD_BYTES + (int64_t)saved * INDEX_ENTRY_BYTES, bytes = 0;
    err e = os->file_size(os, file, &bytes);

    return !e && bytes > wanted ? os->file_truncate(os, file, wanted) : e;
}

static err write_entries(struct os *os, os_file file, const struct segment *copy,
                         const struct index_entry *entries)
{
    struct writer out = {0}, head = {0};
    err e = cut_stale(os, file, copy->index_saved);

    for (size_t i = 0; i < copy->index_count - copy->index_saved; i++) {
        write_u32(&out, entries[i].offset);
        write_u32(&out, entries[i].position);
        write_i64(&out, entries[i].max_timestamp);
    }
    write_u32(&head, INDEX_MAGIC);
    write_u16(&head, INDEX_VERSION);
    write_u16(&head, 0);
    write_i64(&head, copy->bytes);
    if (!e && out.len) {
        e = os_write_at(os, file, writer_view(&out),
                        INDEX_HEAD_BYTES + (int64_t)copy->index_saved * INDEX_ENTRY_BYTES);
    }
    if (!e) {
        e = os_write_at(os, file, writer_view(&head), 0);
    }
    writer_fini(&out);
    writer_fini(&head);
    return e;
}

/* The entries are copied: the shard goes on adding. None of a batch that may be taken back. */
err segment_save_index(struct segment *s)
{
    struct partition *p = s->partition;
    struct os *os = p->topic->log->os;
    char path[PATH_BYTES];
    os_file file = OS_FILE_NONE;

    pthread_mutex_lock(&p->writing);
    pthread_mutex_lock(&p->lock);
    struct segment copy = {.bytes = s->bytes,
                           .index_count = MAX(s->index_count, s->index_saved),
                           .index_saved = s->index_saved};
    size_t fresh = copy.index_count - copy.index_saved;
    bool due = fresh || s->sealed;
    struct index_entry *entries = xmalloc((fresh + 1) * sizeof(*entries));
    if (fresh) {
        memcpy(entries, s->index + s->index_saved, fresh * sizeof(*entries));
    }
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->writing);
    if (!due) {
        free(entries);
        return OK;
    }
    segment_path(s, ".index", path, sizeof(path));
    err e = os->file_open(os, path, OS_OPEN_WRITE | OS_OPEN_CREATE, &file);
    if (!e) {
        e = write_entries(os, file, &copy, entries);
    }
    os->file_close(os, file);
    free(entries);
    if (!e) {
        pthread_mutex_lock(&p->lock);
        s->index_saved = MAX(s->index_saved, copy.index_count);
        pthread_mutex_unlock(&p->lock);
    }
    return e;
}
