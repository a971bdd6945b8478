/* partition_open.c - bringing a partition into memory, and taking in what a crash left behind.
 *
 * Opening reads the state file that the checkpoint names; where it is lost, every batch. After
 * an unclean stop the tail behind the recovery point is read too: batches that are whole and
 * follow each other count, the first that does not ends the log, unless the journal knows that
 * more was acknowledged: then that is damage, and it is named.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_BYTES_MAX (1 << 30)

static err read_state_file(struct partition *p)
{
    char folder[PATH_BYTES], path[PATH_BYTES + 32];
    struct buf *bytes = NULL;

    partition_folder(p, folder, sizeof(folder));
    snprintf(path, sizeof(path), "%s/state-%d", folder, p->recovery.slot);
    err e = os_read_file(p->topic->log->os, path, STATE_BYTES_MAX, &bytes);
    if (!e) {
        e = partition_state_read(p, (view){bytes->bytes, bytes->len});
        buf_drop(bytes);
    }
    return e;
}

struct bases {
    int64_t *at;
    size_t count, room;
};

static err note_base(void *self, const char *name)
{
    struct bases *bases = self;
    char *end;
    int64_t base = strtoll(name, &end, 10);

    if (strcmp(end, ".log") == 0 && strlen(name) == 24 && base >= 0) {
        bases->at = array_room(bases->at, bases->count, &bases->room, sizeof(*bases->at));
        bases->at[bases->count++] = base;
    }
    return OK;
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static err list_bases(struct partition *p, struct bases *out)
{
    char folder[PATH_BYTES];

    *out = (struct bases){0};
    partition_folder(p, folder, sizeof(folder));
    err e = p->topic->log->os->folder_list(p->topic->log->os, folder, note_base, out);
    if (out->count) {
        qsort(out->at, out->count, sizeof(*out->at), by_value);
    }
    return e == ERR_NOT_FOUND ? OK : e;
}

/* Takes a scanned batch into the segment, the epochs and the producers. */
struct taking {
    struct partition *p;
    struct segment *s;
    int64_t now_ms;
    int64_t rewrite_from; /* offset; INT64_MAX: none */
};

static err take_batch(void *self, const struct batch_info *info, view batch, int64_t position)
{
    struct taking *taking = self;
    struct iovec part = {(void *)(uintptr_t)batch.at, batch.len};

    assert(position == taking->s->bytes);
    if (info->base_offset >= taking->rewrite_from) {
        err e = segment_write(taking->s, &part, 1, position);
        if (e) {
            return e;
        }
    }
    segment_note(taking->s, info, info->base_offset, taking->now_ms);
    partition_note_epoch(taking->p, info->leader_epoch, info->base_offset);
    partition_apply(taking->p, info, batch, info->base_offset, false, taking->now_ms);
    return OK;
}

/* Scans s from where its counts end, up to file end or the first bad batch. From rewrite_from
 * on batches are written once more: a sync that failed before the stop leaves pages that read
 * well, count as clean and are not on disk. */
static err take_tail(struct partition *p, struct segment *s, int64_t rewrite_from,
                     struct segment_scan *scan)
{
    struct os *os = p->topic->log->os;
    struct taking taking = {p, s, os->now_ms(os), rewrite_from};

    *scan = (struct segment_scan){
        .segment = s,
        .position = s->bytes,
        .next = s->next,
        .epoch = p->epoch_count ? p->epochs[p->epoch_count - 1].epoch : 0,
        .each = take_batch,
        .self = &taking,
    };
    int64_t before = s->bytes;
    err e = segment_scan(scan);
    p->bytes += s->bytes - before;
    return e;
}

static err damaged(const struct partition *p, const struct segment_scan *scan)
{
    return fault(ERR_CORRUPT,
                 "%s-%d: segment %020" PRId64 " is broken at position %" PRId64
                 " (offset %" PRId64 "): %s",
                 p->topic->name, p->index, scan->segment->base, scan->position, scan->next,
                 batch_fault_text(scan->fault));
}

/* Every segment from its batches: the state file is lost or damaged. */
static err rebuild(struct partition *p)
{
    struct bases bases;
    struct segment_scan scan;
    err e = list_bases(p, &bases);

    trace_warn("log", "%s-%d: its state file is missing or damaged (%s), reading its segments",
               p->topic->name, p->index, fault_here.text);
    for (size_t i = 0; !e && i < bases.count && bases.at[i] <= p->recovery.segment; i++) {
        struct segment *s = segment_new(p, bases.at[i]);
        if (p->segment_count && s->base < p->segments[p->segment_count - 1]->next) {
            s->deleted = true; /* a compacted one stands for it */
            segment_drop(s);
            continue;
        }
        partition_add_segment(p, s);
        e = take_tail(p, s, INT64_MAX, &scan);
        if (!e && scan.fault && s->base < p->recovery.segment) {
            e = damaged(p, &scan);
        }
    }
    free(bases.at);
    return e;
}

static err count_batch(void *self, const struct batch_info *info, view batch, int64_t position)
{
    struct segment *s = self;

    (void)batch;
    (void)position;
    segment_note(s, info, info->base_offset, s->first_ms);
    return OK;
}

/* A sealed segment that compaction replaced after the state file was written. Epochs and
 * producers know its batches already. */
static err count_anew(struct partition *p, struct segment *s)
{
    struct segment_scan scan = {.segment = s, .next = s->base, .each = count_batch, .self = s};

    p->bytes -= s->bytes;
    s->bytes = 0;
    s->next = s->base;
    s->max_timestamp = s->max_timestamp_offset = -1;
    err e = segment_scan(&scan);
    p->bytes += s->bytes;
    segment_forget_index(s);
    return !e && scan.fault ? damaged(p, &scan) : e;
}

/* Base of the segment that compaction was about to replace, -1: none. */
static int64_t swapped_base(struct partition *p)
{
    char folder[PATH_BYTES], path[PATH_BYTES + 16];
    struct buf *text = NULL;
    int64_t base = -1;

    partition_folder(p, folder, sizeof(folder));
    snprintf(path, sizeof(path), "%s/%s", folder, PARTITION_SWAPPING);
    if (os_read_file(p->topic->log->os, path, PATH_BYTES, &text) == OK &&
        view_to_int((view){text->bytes, text->len}, &base)) {
        base = -1;
    }
    buf_drop(text);
    p->swap_unsettled = base >= 0;
    return base;
}

static err check_file(struct partition *p, struct segment *s, bool swapped)
{
    struct log *log = p->topic->log;
    os_file file;
    int64_t bytes = 0;
    err e = files_use(log->files, s, false, true, &file);

    if (e) {
        return e;
    }
    e = log->os->file_size(log->os, file, &bytes);
    files_done(log->files, s);
    if (!e && s->sealed && swapped) {
        return count_anew(p, s);
    }
    if (!e && (bytes < s->bytes || (s->sealed && bytes != s->bytes))) {
        e = fault(ERR_CORRUPT,
                  "segment %020" PRId64 " has %" PRId64 " bytes where %" PRId64
                  " had been acknowledged",
                  s->base, bytes, s->bytes);
    }
    return e;
}

/* Takes it off the list; nobody reads yet. */
static void leave_out(struct partition *p, struct segment *s, bool remove)
{
    p->bytes -= s->bytes;
    s->deleted = remove;
    segment_drop(s);
}

/* The list of the state file against the files: retention may have removed some in front, and a
 * compacted one may stand for those that follow it. */
static err check_files(struct partition *p)
{
    int64_t swapped = swapped_base(p);
    size_t count = p->segment_count, kept = 0, i = 0;
    err e = OK;

    for (; !e && i < count; i++) {
        struct segment *s = p->segments[i];
        if (kept && s->base < p->segments[kept - 1]->next) {
            leave_out(p, s, true);
            continue;
        }
        e = check_file(p, s, s->base == swapped);
        if (e == ERR_NOT_FOUND && kept && p->segments[kept - 1]->base == swapped) {
            leave_out(p, s, false);
            e = OK;
            continue;
        }
        if (e == ERR_NOT_FOUND && kept == 0 && i + 1 < count) {
            p->start = MAX(p->start, s->next);
            leave_out(p, s, false);
            e = OK;
            continue;
        }
        p->segments[kept++] = s;
    }
    for (; i < count; i++) {
        p->segments[kept++] = p->segments[i];
    }
    p->segment_count = kept;
    return e;
}

/* Into p, which is not the partition that others see yet. */
static err open_files(struct partition *p)
{
    if (p->recovery.segment < 0) {
        return OK;
    }
    p->folder_made = true;
    err e = read_state_file(p);
    if (e == ERR_NOT_FOUND || e == ERR_CORRUPT) {
        e = rebuild(p);
    } else if (!e) {
        e = check_files(p);
    }
    if (!e && p->segment_count) {
        e = segment_load_index(p->segments[p->segment_count - 1]);
    }
    return e;
}

/* What was read becomes the partition's, at one instant for those who look at its ends. */
static void install(struct partition *p, struct partition *fresh)
{
    pthread_mutex_lock(&p->lock);
    assert(!p->segment_count && !p->producers && !p->epoch_count);
    for (size_t i = 0; i < fresh->segment_count; i++) {
        fresh->segments[i]->partition = p;
    }
    free(p->segments);
    free(p->epochs);
    p->segments = fresh->segments;
    p->segment_count = fresh->segment_count;
    p->segment_room = fresh->segment_room;
    p->epochs = fresh->epochs;
    p->epoch_count = fresh->epoch_count;
    p->epoch_room = fresh->epoch_room;
    p->producers = fresh->producers;
    p->bytes = fresh->bytes;
    p->start = MAX(p->start, fresh->start);
    p->folder_made |= fresh->folder_made;
    p->compacted = fresh->compacted;
    p->compact_due_ms = fresh->compact_due_ms;
    p->swap_unsettled = fresh->swap_unsettled;
    partition_set_high(p, p->high);
    atomic_store(&p->opened, true);
    size_t count = partition_cut_front(p); /* a trim while it was not open */
    pthread_mutex_unlock(&p->lock);
    if (count) {
        log_mark_dirty(p->topic->log, p, 0);
    }
    fresh->segments = NULL;
    fresh->epochs = NULL;
    fresh->producers = NULL;
    fresh->segment_count = fresh->epoch_count = 0;
}

err partition_open(struct partition *p)
{
    struct log *log = p->topic->log;
    err e = OK;

    if (atomic_load(&p->opened)) {
        return OK;
    }
    pthread_mutex_lock(&log->open_lock);
    if (!atomic_load(&p->opened)) {
        struct partition *fresh = partition_new(p->topic, p->index, p->shard);
        pthread_mutex_lock(&p->lock);
        fresh->recovery = p->recovery;
        fresh->start = p->start;
        bool gone = p->gone;
        pthread_mutex_unlock(&p->lock);
        e = gone ? fault(ERR_NOT_FOUND, "the topic was deleted") : open_files(fresh);
        if (!e) {
            install(p, fresh);
        } else {
            (void)fault_prefix("%s-%d: ", p->topic->name, p->index);
        }
        partition_free(fresh);
    }
    pthread_mutex_unlock(&log->open_lock);
    return e;
}

static err broken(const struct partition *p, const struct segment_scan *scan)
{
    return fault(ERR_CORRUPT,
                 "%s-%d: segment %020" PRId64 " is broken at position %" PRId64
                 ", offset %" PRId64 ", which had been acknowledged: %s",
                 p->topic->name, p->index, scan->segment->base, scan->position, scan->next,
                 batch_fault_text(scan->fault));
}

/* Ends the segment's file where its good part ends. No reader exists yet. */
static err cut_file(struct partition *p, const struct segment_scan *scan)
{
    struct log *log = p->topic->log;
    os_file file;
    err e = files_use(log->files, scan->segment, true, true, &file);

    if (e) {
        return e;
    }
    log->start.cut_bytes += scan->file_bytes - scan->position;
    trace_warn("log",
               "%s-%d: dropped %" PRId64 " bytes of a torn tail at offset %" PRId64 " (%s)",
               p->topic->name, p->index, scan->file_bytes - scan->position, scan->next,
               batch_fault_text(scan->fault));
    e = log->os->file_truncate(log->os, file, scan->position);
    files_done(log->files, scan->segment);
    return e;
}

/* One segment's tail; *whole is false when the log ends inside of it. */
static err recover_segment(struct partition *p, struct segment *s, int64_t journaled_end,
                           bool *whole)
{
    struct segment_scan scan;
    int64_t from = s->bytes;
    err e = take_tail(p, s, journaled_end, &scan); /* the journal has rewritten up to there */

    if (e) {
        return e;
    }
    p->topic->log->start.recovered_bytes += scan.file_bytes - from;
    *whole = scan.fault == BATCH_FINE;
    if (*whole) {
        return OK;
    }
    return scan.next < journaled_end ? broken(p, &scan) : cut_file(p, &scan);
}

/* A file that retention had given up, but a crash kept. */
static void remove_left(struct partition *p, int64_t base)
{
    for (size_t i = 0; i < p->segment_count; i++) {
        if (p->segments[i]->base == base) {
            return;
        }
    }
    struct segment *s = segment_new(p, base);
    s->deleted = true;
    segment_drop(s);
}

static err recover_segments(struct partition *p, const struct bases *bases,
                            int64_t journaled_end)
{
    struct segment *last = p->segment_count ? p->segments[p->segment_count - 1] : NULL;
    bool whole = true;
    err e = last ? recover_segment(p, last, journaled_end, &whole) : OK;

    for (size_t i = 0; !e && i < bases->count; i++) {
        if (last && bases->at[i] <= last->base) {
            remove_left(p, bases->at[i]);
            continue;
        }
        struct segment *s = segment_new(p, bases->at[i]);
        if (!whole ||
            (last && s->base != last->next)) { /* behind the end: never acknowledged */
            s->deleted = true;
            segment_drop(s);
            continue;
        }
        partition_add_segment(p, s);
        e = recover_segment(p, s, journaled_end, &whole);
        last = s;
    }
    return e;
}

err partition_recover(struct partition *p, int64_t journaled_end)
{
    struct bases bases;
    err e = list_bases(p, &bases);

    if (!e) {
        e = partition_open(p);
    }
    if (!e) {
        e = recover_segments(p, &bases, journaled_end);
    }
    free(bases.at);
    if (e) {
        return e;
    }
    struct segment *last = p->segment_count ? p->segments[p->segment_count - 1] : NULL;
    p->end = MAX(p->end, last ? last->next : 0);
    if (p->end < journaled_end) {
        return fault(ERR_CORRUPT,
                     "%s-%d ends at offset %" PRId64 ", but %" PRId64 " was acknowledged",
                     p->topic->name, p->index, p->end, journaled_end);
    }
    p->folder_made = p->folder_made || last;
    p->start = p->segment_count ? MAX(p->start, p->segments[0]->base) : p->start;
    partition_set_high(p, p->end);
    log_mark_dirty(p->topic->log, p, 0);
    return OK;
}

/* Reload: batches between the recovery point and the end, as the segments have them. */
struct reloading {
    struct partition *p, *fresh;
    int64_t now_ms;
};

static err reload_batch(void *self, const struct batch_info *info, view batch, int64_t position)
{
    struct reloading *reloading = self;

    (void)position;
    if (info->base_offset >= reloading->p->end) {
        return ERR_CANCELLED; /* left by the write that failed */
    }
    partition_apply(reloading->fresh, info, batch, info->base_offset, false, reloading->now_ms);
    return OK;
}

size_t partition_hold_tail(struct partition *p, struct recovery_point *point,
                           struct segment ***out)
{
    size_t count = 0;

    pthread_mutex_lock(&p->lock);
    *point = p->recovery;
    *out = xmalloc((p->segment_count + 1) * sizeof(struct segment *));
    for (size_t i = 0; i < p->segment_count; i++) {
        if (p->segments[i]->base >= point->segment) {
            (*out)[count++] = segment_hold(p->segments[i]);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return count;
}

err partition_reload_producers(struct partition *p)
{
    struct log *log = p->topic->log;
    struct partition *fresh;
    struct segment **tail;
    err e = OK;

    if (!p->producers) {
        return OK;
    }
    fresh = partition_new(p->topic, p->index, p->shard);
    struct reloading reloading = {p, fresh, log->os->now_ms(log->os)};
    size_t count = partition_hold_tail(p, &fresh->recovery, &tail);
    if (fresh->recovery.segment >= 0) {
        e = read_state_file(fresh);
    }
    for (size_t i = 0; i < count; i++) {
        struct segment_scan scan = {
            .segment = tail[i], .each = reload_batch, .self = &reloading};
        if (tail[i]->base == fresh->recovery.segment) {
            scan.position = fresh->recovery.position;
        }
        e = e ? e : segment_scan(&scan);
        e = e == ERR_CANCELLED ? OK : e;
        segment_drop(tail[i]);
    }
    free(tail);
    if (!e) {
        pthread_mutex_lock(&p->lock);
        producers_free(p->producers);
        p->producers = fresh->producers;
        fresh->producers = NULL;
        pthread_mutex_unlock(&p->lock);
    }
    partition_free(fresh);
    return e;
}
