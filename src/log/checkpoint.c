/* checkpoint.c - the syncer: makes segments durable, then says so, so that the journal can
 * forget.
 *
 * Steps, in this order: note the last durable round; take the list of partitions written since;
 * for each write its index entries and state file; sync those files; replace the checkpoint
 * file; free the journal up to the noted round. A crash between any two leaves the old
 * checkpoint valid.
 *
 * File "checkpoint", big endian: {"TMCP", version u16, 0 u16, crc u32 of all that follows,
 * journal round u64, log epoch i32, count u32}, then per partition {topic id 16, partition i32,
 * epoch i32, start i64, stable i64, offset i64, state slot u8, segment base i64, position i64,
 * bytes i64, oldest time stamp i64}. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECKPOINT_MAGIC 0x544d4350u /* "TMCP" */
#define CHECKPOINT_VERSION 1
#define CHECKPOINT_HEAD_BYTES 12
#define CHECKPOINT_BYTES_MAX (1 << 30)
#define CHECKPOINT_FAST_NS 2000000000 /* more often than this: the ring should grow */
#define SYNC_EACH_MAX 4 /* more dirty partitions than this: one sync of the file system */

struct captured {
    struct partition *partition;         /* its topic is held */
    struct recovery_point point, before; /* before: what the file on disk says */
    struct writer state;                 /* empty: not open, only its start moved */
    struct segment **segments;           /* held: those written since the last recovery point */
    size_t segment_count;
    struct segment **doomed; /* this one's: gone when the checkpoint stands */
    size_t doomed_count;
};

static void post_once(struct worker *worker, struct job *job, _Atomic bool *posted)
{
    if (!atomic_exchange(posted, true)) {
        worker_post(worker, job);
    }
}

void log_ask_sync(struct log *log)
{
    atomic_store(&log->sync_asked, true);
    post_once(&log->syncer, &log->sync_job, &log->sync_posted);
}

void log_mark_dirty(struct log *log, struct partition *p, int64_t bytes)
{
    int64_t dirty = atomic_fetch_add(&log->dirty_bytes, bytes) + bytes;

    atomic_fetch_add(&log->appended_bytes, bytes);
    if (!atomic_exchange(&p->dirty, true)) {
        topic_hold(p->topic);
        pthread_mutex_lock(&log->dirty_lock);
        bool first = log->dirty == NULL;
        p->dirty_next = log->dirty;
        log->dirty = p;
        pthread_mutex_unlock(&log->dirty_lock);
        if (first && log->syncer.os) {
            post_once(&log->syncer, &log->sync_job, &log->sync_posted);
        }
    }
    if (dirty >= log->config.unsynced_bytes_max && log->syncer.os) {
        log_ask_sync(log);
    }
}

static struct partition *take_dirty(struct log *log)
{
    pthread_mutex_lock(&log->dirty_lock);
    struct partition *dirty = log->dirty;
    log->dirty = NULL;
    atomic_store(&log->dirty_bytes, 0);
    pthread_mutex_unlock(&log->dirty_lock);
    return dirty;
}

/* What the partition is at this instant, under its lock. */
static void capture(struct partition *p, struct captured *out)
{
    struct os *os = p->topic->log->os;
    int64_t now_ms = os->now_ms(os);

    *out = (struct captured){.partition = p};
    pthread_mutex_lock(&p->writing);
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->dirty, false);
    out->doomed = p->doomed;
    out->doomed_count = p->doomed_count;
    p->doomed = NULL;
    p->doomed_count = p->doomed_room = 0;
    out->point = out->before = p->recovery;
    out->point.start = p->start;
    out->point.stable = p->stable;
    if (atomic_load(&p->opened) && p->segment_count) {
        struct segment *active = p->segments[p->segment_count - 1];
        out->point = (struct recovery_point){
            .start = p->start,
            .stable = p->stable,
            .offset = p->end,
            .slot = p->recovery.slot ^ 1,
            .segment = active->base,
            .position = active->bytes,
            .epoch = p->epoch,
            .bytes = p->bytes,
            .oldest_ms = segment_age_stamp(p->segments[0], now_ms),
        };
        out->segments = xmalloc(p->segment_count * sizeof(struct segment *));
        for (size_t i = 0; i < p->segment_count; i++) {
            if (p->segments[i]->base >= p->recovery.segment &&
                p->segments[i]->bytes) { /* an empty one may have no file yet */
                out->segments[out->segment_count++] = segment_hold(p->segments[i]);
            }
        }
        partition_state_write(p, &out->state);
    }
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->writing);
}

static void state_path(const struct captured *c, char *out, size_t room)
{
    char folder[PATH_BYTES];

    partition_folder(c->partition, folder, sizeof(folder));
    int len = snprintf(out, room, "%s/state-%d", folder, c->point.slot);
    assert(len > 0 && (size_t)len < room);
}

static err write_state(struct log *log, struct captured *c)
{
    char path[PATH_BYTES + 32];
    os_file file = OS_FILE_NONE;

    state_path(c, path, sizeof(path));
    err e = log->os->file_open(log->os, path, OS_OPEN_WRITE | OS_OPEN_CREATE, &file);
    if (!e) {
        e = os_write_at(log->os, file, writer_view(&c->state), 0);
    }
    log->os->file_close(log->os, file);
    return e;
}

static bool is_gone(struct partition *p)
{
    pthread_mutex_lock(&p->lock);
    bool gone = p->gone;
    pthread_mutex_unlock(&p->lock);
    return gone;
}

static err write_files(struct log *log, struct captured *c)
{
    err e = OK;

    for (size_t i = 0; !e && i < c->segment_count; i++) {
        pthread_mutex_lock(&c->partition->lock);
        bool deleted = c->segments[i]->deleted;
        pthread_mutex_unlock(&c->partition->lock);
        e = deleted ? OK : segment_save_index(c->segments[i]);
    }
    return !e && c->state.len ? write_state(log, c) : e;
}

static err sync_path(struct log *log, const char *path)
{
    os_file file;
    err e = log->os->file_open(log->os, path, OS_OPEN_WRITE, &file);

    if (!e) {
        e = log->os->file_sync(log->os, file);
        log->os->file_close(log->os, file);
    }
    return e;
}

static err sync_files(struct log *log, const struct captured *c)
{
    char folder[PATH_BYTES], path[PATH_BYTES + 32];
    err e = OK;

    partition_folder(c->partition, folder, sizeof(folder));
    for (size_t i = 0; !e && i < c->segment_count; i++) {
        e = segment_sync(c->segments[i]);
        segment_path(c->segments[i], ".index", path, sizeof(path));
        pthread_mutex_lock(&c->partition->lock);
        bool saved = c->segments[i]->index_saved > 0;
        pthread_mutex_unlock(&c->partition->lock);
        if (!e && saved) {
            e = sync_path(log, path);
        }
    }
    if (!e && c->state.len) {
        state_path(c, path, sizeof(path));
        e = sync_path(log, path);
        e = e ? e : log->os->folder_sync(log->os, folder);
    }
    return e;
}

static err sync_all(struct log *log, struct captured *captured, size_t count)
{
    char path[PATH_BYTES];
    err e = OK;

    snprintf(path, sizeof(path), "%s/p", log->folder);
    if (count > SYNC_EACH_MAX) {
        return log->os->file_sync_all(log->os, log->lock_file);
    }
    for (size_t i = 0; !e && i < count; i++) {
        e = sync_files(log, &captured[i]);
        e = is_gone(captured[i].partition) ? OK : e; /* its files go too */
    }
    return e ? e : log->os->folder_sync(log->os, path);
}

static void write_partition(struct writer *out, struct partition *p, uint32_t *count)
{
    struct recovery_point r = p->recovery;

    if (r.segment < 0 && r.start == 0) {
        return; /* never written */
    }
    write_bytes(out, p->topic->id.bytes, sizeof(p->topic->id.bytes));
    write_i32(out, p->index);
    write_i32(out, r.epoch);
    write_i64(out, r.start);
    write_i64(out, r.stable);
    write_i64(out, r.offset);
    write_u8(out, r.slot);
    write_i64(out, r.segment);
    write_i64(out, r.position);
    write_i64(out, r.bytes);
    write_i64(out, r.oldest_ms);
    ++*count;
}

static err write_checkpoint(struct log *log, uint64_t round)
{
    struct writer out = {0};
    struct topic **topics;
    size_t topic_count = log_topics(log, &topics);
    uint32_t count = 0;

    write_u32(&out, CHECKPOINT_MAGIC);
    write_u16(&out, CHECKPOINT_VERSION);
    write_u16(&out, 0);
    write_u32(&out, 0); /* the checksum, below */
    write_u64(&out, round);
    write_i32(&out, log->epoch);
    write_u32(&out, 0); /* count, below */
    for (size_t i = 0; i < topic_count; i++) {
        for (int32_t k = 0; k < atomic_load(&topics[i]->partition_count); k++) {
            write_partition(&out, topic_partition(topics[i], k), &count);
        }
    }
    topics_drop(topics, topic_count);
    put_u32(out.at + CHECKPOINT_HEAD_BYTES + 12, count);
    put_u32(out.at + 8, crc32c(0, view_from(writer_view(&out), CHECKPOINT_HEAD_BYTES)));
    err e = os_replace_file(log->os, log->folder, "checkpoint", writer_view(&out));
    writer_fini(&out);
    return e;
}

err checkpoint_read(struct log *log, struct checkpoint *out)
{
    char path[PATH_BYTES];
    struct buf *bytes = NULL;

    *out = (struct checkpoint){0};
    snprintf(path, sizeof(path), "%s/checkpoint", log->folder);
    err e = os_read_file(log->os, path, CHECKPOINT_BYTES_MAX, &bytes);
    if (e) {
        return e;
    }
    struct reader r = {.rest = {bytes->bytes, bytes->len}};
    uint32_t magic = read_u32(&r);
    uint16_t version = read_u16(&r);
    (void)read_u16(&r);
    uint32_t crc = read_u32(&r);
    bool good = !r.bad && magic == CHECKPOINT_MAGIC && crc == crc32c(0, r.rest);
    out->round = read_u64(&r);
    out->epoch = read_i32(&r);
    uint32_t count = read_u32(&r);
    for (uint32_t i = 0; good && i < count && !r.bad; i++) {
        struct checkpoint_partition c = {0};
        view id = read_bytes(&r, sizeof(c.topic_id.bytes));
        memcpy(c.topic_id.bytes, id.len ? id.at : c.topic_id.bytes, id.len);
        c.partition = read_i32(&r);
        c.point = (struct recovery_point){.epoch = read_i32(&r)};
        c.point.start = read_i64(&r);
        c.point.stable = read_i64(&r);
        c.point.offset = read_i64(&r);
        c.point.slot = read_u8(&r) & 1;
        c.point.segment = read_i64(&r);
        c.point.position = read_i64(&r);
        c.point.bytes = read_i64(&r);
        c.point.oldest_ms = read_i64(&r);
        out->partitions = array_room(out->partitions, out->count, &out->room, sizeof(c));
        out->partitions[out->count++] = c;
    }
    buf_drop(bytes);
    if (!good || r.bad) {
        e = fault(ERR_CORRUPT, "%s is damaged", path);
    } else if (version != CHECKPOINT_VERSION) {
        e = fault(ERR_UNSUPPORTED, "%s has version %u; this program reads %d", path, version,
                  CHECKPOINT_VERSION);
    }
    if (e) {
        free(out->partitions);
    }
    return e;
}

/* Files that no checkpoint needs any more; after a failure the next one decides. */
static void drop_doomed(struct captured *c, bool saved)
{
    struct partition *p = c->partition;

    for (size_t i = 0; i < c->doomed_count; i++) {
        if (saved) {
            segment_drop(c->doomed[i]);
            continue;
        }
        pthread_mutex_lock(&p->lock);
        p->doomed = array_room(p->doomed, p->doomed_count, &p->doomed_room, sizeof(*p->doomed));
        p->doomed[p->doomed_count++] = c->doomed[i];
        pthread_mutex_unlock(&p->lock);
    }
    free(c->doomed);
}

/* Deleted while its files were written: some may have come after the others had gone. */
static void remove_remains(struct partition *p)
{
    char folder[PATH_BYTES];

    partition_folder(p, folder, sizeof(folder));
    err e = os_remove_tree(p->topic->log->os, folder);
    if (e && e != ERR_NOT_FOUND) {
        trace_warn("log", "%s", fault_here.text);
    }
}

static void captured_done(struct captured *c, bool saved)
{
    drop_doomed(c, saved);
    for (size_t i = 0; i < c->segment_count; i++) {
        segment_drop(c->segments[i]);
    }
    free(c->segments);
    if (is_gone(c->partition)) {
        remove_remains(c->partition);
    }
    writer_fini(&c->state);
    topic_drop(c->partition->topic);
}

/* True when a compacted topic has more sealed segments before its recovery point now: the
 * cleaner that their roll woke could not touch them yet. */
static bool set_points(struct captured *captured, size_t count)
{
    bool compactable = false;

    for (size_t i = 0; i < count; i++) {
        struct partition *p = captured[i].partition;
        struct topic_settings settings;
        pthread_mutex_lock(&p->lock);
        const struct recovery_point *point = &captured[i].point;
        bool sealed = point->segment > p->recovery.segment && point->segment > point->start;
        p->recovery = *point;
        pthread_mutex_unlock(&p->lock);
        topic_settings_get(p->topic, &settings);
        compactable |= sealed && (topic_cleanup(&settings) & TOPIC_CLEANUP_COMPACT);
    }
    return compactable;
}

/* The checkpoint on disk is the old one still, and so is the state file it names. */
static void restore_points(struct captured *captured, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct partition *p = captured[i].partition;
        pthread_mutex_lock(&p->lock);
        p->recovery = captured[i].before;
        pthread_mutex_unlock(&p->lock);
    }
}

static err checkpoint_steps(struct log *log, struct captured *captured, size_t count,
                            uint64_t round)
{
    err e = OK;

    for (size_t i = 0; !e && i < count; i++) {
        e = write_files(log, &captured[i]);
        if (e && is_gone(captured[i].partition)) {
            e = OK; /* deleted meanwhile */
            writer_reset(&captured[i].state);
        }
    }
    e = e ? e : sync_all(log, captured, count);
    if (e && e != ERR_FULL && e != ERR_BUSY) {
        log_fail(log, "sync of segments failed"); /* a second sync would lie */
    }
    if (e) {
        return e;
    }
    bool compactable = set_points(captured, count);
    e = write_checkpoint(log, round);
    if (e) {
        restore_points(captured, count);
    } else if (compactable) {
        log_ask_clean(log);
    }
    if (!e) {
        log->checkpoint_round = round;
        bool fast = log->os->tick_ns(log->os) - log->last_checkpoint_ns < CHECKPOINT_FAST_NS;
        e = log->journal ? journal_release(log->journal, round, fast) : OK;
    }
    return e;
}

err checkpoint_run(struct log *log)
{
    struct captured *captured = NULL;
    size_t count = 0, room = 0;
    err e;

    pthread_mutex_lock(&log->checkpoint_lock);
    if (atomic_load(&log->failed)) {
        pthread_mutex_unlock(&log->checkpoint_lock);
        return fault(ERR_IO, "the log is read-only since a flush failed");
    }
    uint64_t round = atomic_load(&log->rounds_done);
    for (struct partition *p = take_dirty(log), *next; p; p = next) {
        next = p->dirty_next;
        captured = array_room(captured, count, &room, sizeof(*captured));
        capture(p, &captured[count++]);
    }
    e = checkpoint_steps(log, captured, count, round);
    for (size_t i = 0; i < count; i++) {
        if (e) {
            log_mark_dirty(log, captured[i].partition, 0);
        }
        captured_done(&captured[i], !e);
    }
    free(captured);
    log->last_checkpoint_ns = log->os->tick_ns(log->os);
    pthread_mutex_unlock(&log->checkpoint_lock);
    return e;
}

int64_t syncer_turn(struct worker *worker, struct job *jobs)
{
    struct log *log = worker->self;
    int64_t wait_ns = log->config.unsynced_ms_max * 1000000;

    if (jobs) {
        atomic_store(&log->sync_posted, false);
    }
    pthread_mutex_lock(&log->dirty_lock);
    bool dirty = log->dirty != NULL;
    pthread_mutex_unlock(&log->dirty_lock);
    bool asked = atomic_exchange(&log->sync_asked, false);
    if (!asked && !dirty) {
        return WORKER_NEVER;
    }
    if (asked || log->os->tick_ns(log->os) >= log->last_checkpoint_ns + wait_ns) {
        err e = checkpoint_run(log);
        if (e == ERR_FULL) {
            log_space_is_out(log); /* the journal still holds what counts; tried again */
        } else if (e == ERR_BUSY) {
            trace_warn("log", "checkpoint put off: %s", fault_here.text);
        } else if (e) {
            log_fail(log, "checkpoint failed");
            return WORKER_NEVER;
        }
    }
    return log->last_checkpoint_ns + wait_ns;
}
