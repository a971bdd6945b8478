/* partition_append.c - the writing half of a partition, on its shard.
 *
 * All appends that wait for a partition are decided and placed under one lock, written by one
 * pwritev, then handed to the flusher (flush.policy=sync) or published at once (os). What
 * readers may see is bounded by high throughout, so that placing before writing shows nothing,
 * and p->writing keeps checkpoints away until it is done. A write that fails is taken back
 * whole; one that failed for anything but want of space or descriptors ends writing to the
 * partition. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdlib.h>

#define RUN_PARTS_MAX 256
#define SYNC_START_BYTES (1 << 20) /* early writeback keeps later flushes short */

struct run { /* consecutive batches of one segment, one write */
    struct iovec parts[RUN_PARTS_MAX];
    int count;
    int64_t position, bytes;
    struct segment *segment;
    struct log_append *first, *last; /* linked by next */
};

struct mark { /* to take a run back */
    int64_t end;
    struct segment segment; /* its counts */
};

struct appending {
    struct partition *p;
    struct log *log;
    struct topic_settings settings;
    int64_t now_ms;
    struct run run;
    struct mark mark;
};

static void finish(struct log_append *a, enum log_append_status status)
{
    a->status = status;
    a->done(a);
}

static void mark_take(struct appending *at, struct segment *s)
{
    /* only what this thread alone writes: the file's fields are the descriptor cache's */
    struct segment counts = {
        .next = s->next,
        .bytes = s->bytes,
        .max_timestamp = s->max_timestamp,
        .max_timestamp_offset = s->max_timestamp_offset,
        .first_ms = s->first_ms,
        .index_count = s->index_count,
        .index_next = s->index_next,
    };

    at->mark = (struct mark){at->p->end, counts};
    at->run = (struct run){.position = s->bytes, .segment = s};
}

static void mark_restore(struct appending *at)
{
    struct partition *p = at->p;
    struct segment *s = at->run.segment;

    pthread_mutex_lock(&p->lock);
    p->end = at->mark.end;
    p->bytes -= at->run.bytes; /* retention may have made it less meanwhile */
    while (p->epoch_count && p->epochs[p->epoch_count - 1].offset >= p->end) {
        p->epoch_count--;
    }
    s->next = at->mark.segment.next;
    s->bytes = at->mark.segment.bytes;
    s->max_timestamp = at->mark.segment.max_timestamp;
    s->max_timestamp_offset = at->mark.segment.max_timestamp_offset;
    s->first_ms = at->mark.segment.first_ms;
    s->index_count = at->mark.segment.index_count;
    s->index_next = at->mark.segment.index_next;
    pthread_mutex_unlock(&p->lock);
}

/* The partition as if the run had never been: in memory, in the file, among the producers. */
static void take_back(struct appending *at, err e)
{
    struct partition *p = at->p;

    if (e == ERR_FULL) {
        log_space_is_out(at->log);
    } else if (e != ERR_BUSY) {
        partition_fail(p, "write failed");
    }
    mark_restore(at);
    if (e != ERR_BUSY && segment_cut(at->run.segment, at->run.position)) {
        partition_fail(p, "what a failed write left could not be removed");
    }
    if (partition_reload_producers(p)) { /* a checkpoint would promise what was refused */
        log_fail(at->log, "producer state could not be read back");
    }
}

static void run_refused(struct appending *at, err e)
{
    enum log_append_status status = e == ERR_FULL ? LOG_APPEND_FULL : LOG_APPEND_STORAGE;

    for (struct log_append *a = at->run.first, *next; a; a = next) {
        next = a == at->run.last ? NULL : a->next;
        a->base_offset = a->last_offset = -1;
        finish(a, status);
    }
}

static void to_flusher(struct appending *at, struct log_append *a, int64_t position)
{
    struct flush_item *item = xmalloc(sizeof(*item));

    a->status = LOG_APPEND_OK;
    topic_hold(at->p->topic);
    *item = (struct flush_item){
        .partition = at->p,
        .hold = buf_hold(a->hold),
        .batch = a->batch,
        .base_offset = a->base_offset,
        .end = a->last_offset + 1,
        .epoch = (int32_t)get_u32(a->batch.at + 12),
        .segment = at->run.segment->base,
        .position = position,
        .waiting = a->acks == LOG_ACKS_DURABLE ? a : NULL,
    };
    struct log_append *written = item->waiting ? NULL : a;
    worker_post(&at->log->flusher, &item->job);
    if (written) {
        finish(written, LOG_APPEND_OK);
    }
}

/* Recovery knows no holes: what flush.policy=os left to the system is on disk before anything
 * behind it is acknowledged as flushed. */
static void sync_what_is_before(struct partition *p)
{
    struct log *log = p->topic->log;
    struct recovery_point point;
    struct segment **tail;
    char folder[PATH_BYTES];
    size_t count = partition_hold_tail(p, &point, &tail);
    err e = OK;

    for (size_t i = 0; i < count; i++) {
        e = e ? e : segment_sync(tail[i]);
        segment_drop(tail[i]);
    }
    free(tail);
    partition_folder(p, folder, sizeof(folder));
    e = e ? e : log->os->folder_sync(log->os, folder);
    if (e) {
        log_fail(log, "sync of a segment failed");
    }
    p->unsynced = false;
}

static void run_written(struct appending *at)
{
    struct partition *p = at->p;
    int64_t position = at->run.position;
    bool sync = at->settings.flush_policy == TOPIC_FLUSH_SYNC;

    if (sync && p->unsynced) {
        sync_what_is_before(p);
    }
    if (!sync) {
        p->unsynced = true;
        pthread_rwlock_rdlock(&at->log->gate);
        pthread_mutex_lock(&p->lock);
        partition_set_high(p, at->run.last->last_offset + 1);
        p->high_segment = at->run.segment->base;
        p->high_position = at->run.position + at->run.bytes;
        pthread_mutex_unlock(&p->lock);
        pthread_rwlock_unlock(&at->log->gate);
    }
    for (struct log_append *a = at->run.first, *next; a; a = next) {
        next = a == at->run.last ? NULL : a->next;
        uint32_t bytes = a->info.bytes;
        if (sync) {
            to_flusher(at, a, position);
        } else {
            finish(a, LOG_APPEND_OK);
        }
        position += bytes;
    }
    if (position / SYNC_START_BYTES > p->sync_started / SYNC_START_BYTES) {
        int64_t from =
            MIN(p->sync_started, at->run.position) / SYNC_START_BYTES * SYNC_START_BYTES;
        segment_sync_start(at->run.segment, from,
                           position / SYNC_START_BYTES * SYNC_START_BYTES - from);
        p->sync_started = position;
    }
}

/* A repeat is answered when its first time is durable: an item without bytes, behind it. */
static void answer_duplicate(struct appending *at, struct log_append *a)
{
    a->status = LOG_APPEND_DUPLICATE;
    if (at->settings.flush_policy == TOPIC_FLUSH_OS || a->acks == LOG_ACKS_WRITTEN) {
        a->done(a);
        return;
    }
    struct flush_item *item = xmalloc(sizeof(*item));
    topic_hold(at->p->topic);
    *item = (struct flush_item){.partition = at->p, .waiting = a};
    worker_post(&at->log->flusher, &item->job);
}

/* Writes what is placed. */
static void run_write(struct appending *at)
{
    struct run *run = &at->run;

    if (run->count) {
        run->last->next = NULL;
        err e = segment_write(run->segment, run->parts, run->count, run->position);
        if (e) {
            take_back(at, e);
        } else {
            log_mark_dirty(at->log, at->p, run->bytes);
        }
        pthread_mutex_unlock(&at->p->writing);
        if (e) {
            run_refused(at, e);
        } else {
            run_written(at);
        }
    }
    run->count = 0;
    run->segment = NULL;
}

static bool must_roll(const struct appending *at, const struct segment *s,
                      const struct log_append *a)
{
    return s->bytes > 0 &&
           (s->bytes + a->info.bytes > at->settings.segment_bytes ||
            at->now_ms - s->first_ms > at->settings.segment_ms ||
            at->p->end + a->info.last_offset_delta - s->base > SEGMENT_OFFSETS_MAX);
}

err partition_roll(struct partition *p)
{
    struct log *log = p->topic->log;
    struct segment *last, *s = segment_new(p, p->end);
    os_file file;

    /* The file is there before anybody may want to sync it. */
    err e = files_use(log->files, s, true, true, &file);
    if (e) {
        segment_drop(s);
        return e;
    }
    files_done(log->files, s);
    pthread_mutex_lock(&p->lock);
    last = p->segment_count ? segment_hold(p->segments[p->segment_count - 1]) : NULL;
    if (last && last->index_room) {
        atomic_fetch_add(&log->index_cache_used,
                         (int64_t)(last->index_room * sizeof(*last->index)));
    }
    partition_add_segment(p, s);
    p->sync_started = 0;
    pthread_mutex_unlock(&p->lock);
    if (last) {
        if (segment_save_index(last)) {
            trace_warn("log", "%s", fault_here.text); /* it is rebuilt when needed */
        }
        segment_drop(last); /* sealed: retention may have given it up meanwhile */
        log_ask_clean(log);
    }
    return OK;
}

static err make_folder(struct partition *p)
{
    char folder[PATH_BYTES];

    partition_folder(p, folder, sizeof(folder));
    err e = p->topic->log->os->folder_make(p->topic->log->os, folder);
    p->folder_made = !e;
    return e;
}

/* The list is changed by the cleaner too, but for its last one. */
static struct segment *active_segment(struct partition *p)
{
    pthread_mutex_lock(&p->lock);
    struct segment *s = p->segment_count ? p->segments[p->segment_count - 1] : NULL;
    pthread_mutex_unlock(&p->lock);
    return s;
}

static bool ends_run(const struct appending *at, const struct log_append *a)
{
    return at->run.count == RUN_PARTS_MAX || must_roll(at, at->run.segment, a);
}

/* The segment for the next batch; rolls where needed, which no run outlives. */
static err run_for(struct appending *at, const struct log_append *a)
{
    struct partition *p = at->p;
    struct segment *s = at->run.count ? at->run.segment : active_segment(p);
    err e = OK;

    if (!s || must_roll(at, s, a)) {
        assert(!at->run.count);
        e = p->folder_made ? OK : make_folder(p);
        e = e ? e : partition_roll(p);
        s = e ? NULL : active_segment(p);
    }
    if (!e && at->run.segment != s) {
        mark_take(at, s);
    }
    return e;
}

static enum log_append_status check_times(struct appending *at, struct log_append *a)
{
    if (a->flags & (LOG_APPEND_FOLLOWER | LOG_APPEND_INTERNAL)) {
        return LOG_APPEND_OK;
    }
    if (at->settings.timestamp_type == TOPIC_CLOCK_APPEND) {
        batch_stamp((uint8_t *)(uintptr_t)a->batch.at, at->now_ms);
        a->info.max_timestamp = a->append_ms = at->now_ms;
        a->info.attributes |= BATCH_APPEND_TIME;
        return LOG_APPEND_OK;
    }
    if (a->info.attributes & BATCH_APPEND_TIME) { /* the broker's to set: its CRC covers it */
        return LOG_APPEND_INVALID_TIMESTAMP;
    }
    bool late = a->info.max_timestamp > at->now_ms && /* first: any number may come */
                a->info.max_timestamp - at->now_ms > at->settings.timestamp_after_max_ms;
    bool early = at->now_ms - a->info.base_timestamp > at->settings.timestamp_before_max_ms &&
                 a->info.base_timestamp >= 0;
    return late || early ? LOG_APPEND_INVALID_TIMESTAMP : LOG_APPEND_OK;
}

static enum log_append_status check_records(struct appending *at, const struct log_append *a)
{
    if (!(topic_cleanup(&at->settings) & TOPIC_CLEANUP_COMPACT) ||
        (a->flags & (LOG_APPEND_FOLLOWER | LOG_APPEND_INTERNAL))) {
        return LOG_APPEND_OK;
    }
    switch (batch_check_records(a->batch, true)) {
    case BATCH_FINE:
        return LOG_APPEND_OK;
    case BATCH_NO_KEY:
        return LOG_APPEND_NO_KEY;
    default:
        return LOG_APPEND_INVALID_RECORD;
    }
}

static enum log_append_status check_producer(struct appending *at, struct log_append *a)
{
    struct partition *p = at->p;

    if (a->info.producer_id < 0) {
        return LOG_APPEND_OK;
    }
    pthread_mutex_lock(&p->lock);
    if (!p->producers) {
        p->producers =
            producers_new(at->log->config.producers_max, at->log->config.producer_expiry_ms);
    }
    enum log_append_status status = producers_check(p->producers, &a->info, a->batch, a->flags,
                                                    &a->base_offset, &a->last_offset);
    pthread_mutex_unlock(&p->lock);
    return status;
}

static bool look_at_start(struct partition *p, int64_t *start)
{
    pthread_mutex_lock(&p->lock);
    *start = p->start;
    bool gone = p->gone;
    pthread_mutex_unlock(&p->lock);
    return !gone && !atomic_load(&p->topic->deleted);
}

/* May this batch be appended now? Changes nothing but its log append time. Not under the lock:
 * records may have to be inflated, and loops ask for the ends meanwhile. */
static enum log_append_status admit(struct appending *at, struct log_append *a)
{
    struct partition *p = at->p;
    bool internal = a->flags & LOG_APPEND_INTERNAL, follower = a->flags & LOG_APPEND_FOLLOWER;

    a->base_offset = a->last_offset = a->append_ms = -1;
    if (!look_at_start(p, &a->start)) {
        return LOG_APPEND_GONE;
    }
    if (partition_failed(p)) {
        return LOG_APPEND_STORAGE;
    }
    if (p->topic->internal && !internal) {
        return LOG_APPEND_DENIED;
    }
    if (!log_has_room(at->log, internal)) {
        return LOG_APPEND_FULL;
    }
    if (a->info.bytes > at->settings.max_message_bytes && !internal && !follower) {
        return LOG_APPEND_TOO_LARGE;
    }
    if (follower) { /* the end is this shard's own */
        return a->info.base_offset == p->end ? LOG_APPEND_OK : LOG_APPEND_OFFSET_MISMATCH;
    }
    enum log_append_status status = check_times(at, a);
    if (status == LOG_APPEND_OK) {
        status = check_records(at, a);
    }
    return status == LOG_APPEND_OK ? check_producer(at, a) : status;
}

/* Gives the batch its offsets and its place. */
static void place(struct appending *at, struct log_append *a)
{
    struct partition *p = at->p;
    struct run *run = &at->run;
    int32_t epoch = p->epoch;

    if (!run->count) {
        pthread_mutex_lock(&p->writing);
    }
    pthread_mutex_lock(&p->lock);
    if (a->flags & LOG_APPEND_FOLLOWER) {
        epoch = p->epoch = a->info.leader_epoch;
    } else {
        batch_patch((uint8_t *)(uintptr_t)a->batch.at, p->end, epoch);
    }
    a->base_offset = p->end;
    a->last_offset = p->end + a->info.last_offset_delta;
    a->start = p->start;
    a->status = LOG_APPEND_OK;
    partition_note_epoch(p, epoch, p->end);
    segment_note(run->segment, &a->info, p->end, at->now_ms);
    partition_apply(p, &a->info, a->batch, p->end, a->flags & LOG_APPEND_HOLD, at->now_ms);
    p->end = a->last_offset + 1;
    p->bytes += a->info.bytes;
    run->parts[run->count++] = (struct iovec){(void *)(uintptr_t)a->batch.at, a->batch.len};
    run->bytes += a->info.bytes;
    pthread_mutex_unlock(&p->lock);
    *(run->last ? &run->last->next : &run->first) = a;
    run->last = a;
}

static void append_one(struct appending *at, struct log_append *a)
{
    struct partition *p = at->p;

    a->next = NULL;
    enum log_append_status status = admit(at, a);
    if (at->run.count &&
        (status == LOG_APPEND_DUPLICATE || (status == LOG_APPEND_OK && ends_run(at, a)))) {
        run_write(at);
        status = admit(at, a); /* anew: what it repeats or follows may have been refused */
    }
    if (status == LOG_APPEND_DUPLICATE) {
        answer_duplicate(at, a);
        return;
    }
    err e = status == LOG_APPEND_OK ? run_for(at, a) : OK;
    if (e) {
        status = e == ERR_FULL ? LOG_APPEND_FULL : LOG_APPEND_STORAGE;
    }
    if (e == ERR_FULL) {
        log_space_is_out(at->log);
    } else if (e && e != ERR_BUSY) {
        partition_fail(p, "no new segment");
    }
    if (status != LOG_APPEND_OK) {
        finish(a, status);
        return;
    }
    place(at, a);
}

void partition_append_staged(struct partition *p)
{
    struct log *log = p->topic->log;
    struct log_append *a = p->staged;
    struct appending at = {.p = p, .log = log, .now_ms = log->os->now_ms(log->os)};
    err e = partition_open(p);

    p->staged = p->staged_last = NULL;
    topic_settings_get(p->topic, &at.settings);
    for (struct log_append *next; a; a = next) {
        next = a->next;
        if (e) {
            a->base_offset = -1;
            finish(a, atomic_load(&p->topic->deleted) ? LOG_APPEND_GONE : LOG_APPEND_STORAGE);
        } else {
            append_one(&at, a);
        }
    }
    run_write(&at);
}
