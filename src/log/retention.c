/* retention.c - the cleaner: what may go, goes; and what the disk has left decides who may
 * write.
 *
 * Per partition by age and by bytes, per topic by share of the disk, and for all topics
 * together by log.disk.percent.max: then the oldest sealed segment of all goes first, whosever
 * it is, but never of internal or protected topics. No segment goes past a pin, past high, or
 * the active one. The cleaner runs on a beat and is woken by every roll, so that a fast
 * producer cannot outrun it.
 *
 * A full disk: ordinary appends are refused, deletes go on, and __meta and the coordinators may
 * use up the reserve, a file kept for that; it is filled again before others may write.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RESERVE_NAME "reserve"
#define STAY_MS 300000     /* records stay so long, however old their time stamps */
#define FILES_IDLE_MAX 128 /* descriptors that stay open unused */
#define FULL_CHECK_MS 1000 /* how often a full disk is looked at again */

static err reserve_path(struct log *log, char *out, size_t room)
{
    int len = snprintf(out, room, "%s/%s", log->folder, RESERVE_NAME);

    return len > 0 && (size_t)len < room ? OK : fault(ERR_INVALID, "path is too long");
}

static err reserve_set(struct log *log, int64_t bytes)
{
    char path[PATH_BYTES];
    os_file file = OS_FILE_NONE;
    err e = reserve_path(log, path, sizeof(path));

    e = e ? e : log->os->file_open(log->os, path, OS_OPEN_WRITE | OS_OPEN_CREATE, &file);
    if (!e) {
        e = bytes ? log->os->file_allocate(log->os, file, bytes)
                  : log->os->file_truncate(log->os, file, 0);
        log->os->file_close(log->os, file);
    }
    return e;
}

void log_space_is_out(struct log *log)
{
    if (!atomic_exchange(&log->disk_full, true)) {
        trace_error("log",
                    "the disk is full: writes are refused until there is room; reads and "
                    "deletes go on");
    }
    if (!atomic_exchange(&log->reserve_spent, true) && reserve_set(log, 0)) {
        trace_warn("log", "reserve: %s", fault_here.text);
    }
    log_ask_clean(log);
}

bool log_has_room(struct log *log, bool internal)
{
    return internal || !atomic_load(&log->disk_full);
}

/* Room again: refills the reserve first; twice of it must be free, so that it does not flap. */
static void look_at_disk(struct log *log)
{
    struct os_space space;

    if (!atomic_load(&log->disk_full)) {
        return;
    }
    if (log->os->space(log->os, log->folder, &space) ||
        space.free_bytes < 2 * log->config.reserve_bytes) {
        return;
    }
    if (atomic_load(&log->reserve_spent) && reserve_set(log, log->config.reserve_bytes)) {
        return;
    }
    atomic_store(&log->reserve_spent, false);
    atomic_store(&log->disk_full, false);
    trace_info("log", "the disk has room again: writes are taken");
}

void log_reserve_prepare(struct log *log)
{
    struct os_space space;

    if (!log->os->space(log->os, log->folder, &space)) {
        /* A small disk is not eaten by its own reserve. */
        log->config.reserve_bytes = MIN(log->config.reserve_bytes, space.total_bytes / 50);
    }
    if (reserve_set(log, log->config.reserve_bytes)) {
        trace_warn("log", "no reserve could be set aside: %s", fault_here.text);
        atomic_store(&log->reserve_spent, true);
        atomic_store(&log->disk_full, fault_here.code == ERR_FULL);
    }
}

/* Offset behind the oldest sealed segment when it may go by the pin; -1: it may not. */
static int64_t first_end(struct partition *p)
{
    if (p->segment_count < 2 || !p->segments[0]->sealed) {
        return -1;
    }
    int64_t end = MAX(p->segments[0]->next, p->segments[1]->base);

    return end <= p->high && end <= p->pin ? end : -1;
}

/* A client's clock in the future must not keep a segment for ever: then its append time counts.
 */
int64_t segment_age_stamp(const struct segment *s, int64_t now_ms)
{
    bool sane = s->max_timestamp >= 0 && (s->max_timestamp <= now_ms || s->first_ms < 0);

    return sane ? s->max_timestamp : s->first_ms;
}

static bool is_past(int64_t stamp_ms, const struct topic_settings *settings, int64_t now_ms)
{
    return settings->retention_ms >= 0 && stamp_ms >= 0 &&
           now_ms - stamp_ms > settings->retention_ms;
}

/* Who imports old data, or sends records without a time, can read them at least for a while. */
static bool too_old(const struct segment *s, const struct topic_settings *settings,
                    int64_t now_ms)
{
    return is_past(segment_age_stamp(s, now_ms), settings, now_ms) &&
           now_ms - s->first_ms >= MIN(settings->retention_ms, STAY_MS);
}

static bool too_large(const struct partition *p, const struct topic_settings *settings)
{
    return settings->retention_bytes >= 0 &&
           p->bytes - p->segments[0]->bytes >= settings->retention_bytes;
}

struct rolling {
    struct job job;
    struct partition *partition;
};

/* The active segment of a quiet topic ages too: it is sealed, so that it can go. */
static void roll_aged(struct job *job)
{
    struct rolling *rolling = (struct rolling *)job;
    struct partition *p = rolling->partition;

    pthread_mutex_lock(&p->lock);
    bool due = !p->gone && p->segment_count && p->segments[p->segment_count - 1]->bytes > 0;
    pthread_mutex_unlock(&p->lock);
    if (due && !partition_failed(p)) {
        if (partition_roll(p)) {
            trace_warn("log", "%s", fault_here.text);
        }
        log_mark_dirty(p->topic->log, p, 0); /* an orderly stop must know the new one */
    }
    topic_drop(p->topic);
    free(rolling);
}

static void ask_roll(struct log *log, struct partition *p)
{
    struct rolling *rolling = xmalloc(sizeof(*rolling));

    *rolling = (struct rolling){{.work = roll_aged}, p};
    topic_hold(p->topic);
    log_run_on_shard(log, p, &rolling->job);
}

static void clean_by_rules(struct log *log, struct partition *p,
                           const struct topic_settings *settings, int64_t now_ms)
{
    bool more = true, aged = false;

    while (more) {
        pthread_mutex_lock(&p->lock);
        int64_t end = first_end(p);
        more =
            end >= 0 && (too_old(p->segments[0], settings, now_ms) || too_large(p, settings));
        const struct segment *last =
            p->segment_count ? p->segments[p->segment_count - 1] : NULL;
        aged =
            last && last->bytes > 0 && p->high == p->end &&
            (too_old(last, settings, now_ms) || now_ms - last->first_ms > settings->segment_ms);
        pthread_mutex_unlock(&p->lock);
        if (more) {
            partition_trim(p, end);
        }
    }
    if (aged) {
        ask_roll(log, p);
    }
}

struct victim {
    struct partition *partition;
    int64_t stamp, end, bytes;
};

/* Keeps the oldest sealed segment seen so far. */
static void consider(struct partition *p, struct victim *best)
{
    pthread_mutex_lock(&p->lock);
    int64_t end = atomic_load(&p->opened) ? first_end(p) : -1;
    if (end >= 0) {
        const struct segment *s = p->segments[0];
        int64_t stamp = s->first_ms;
        if (!best->partition || stamp < best->stamp) {
            *best = (struct victim){p, stamp, end, s->bytes};
        }
    }
    pthread_mutex_unlock(&p->lock);
}

static int64_t topic_bytes(struct topic *topic)
{
    int64_t bytes = 0;

    for (int32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
        struct partition_ends ends;
        partition_ends(topic_partition(topic, i), &ends);
        bytes += ends.bytes;
    }
    return bytes;
}

static struct victim oldest_of(struct topic *topic)
{
    struct victim best = {0};

    for (int32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
        consider(topic_partition(topic, i), &best);
    }
    return best;
}

static bool may_be_victim(struct topic *topic)
{
    struct topic_settings settings;

    topic_settings_get(topic, &settings);
    return !topic->internal && !settings.protect &&
           (topic_cleanup(&settings) & TOPIC_CLEANUP_DELETE);
}

/* Partitions that hold data but were not opened since the start must be, to be judged. */
static void open_all(struct topic *topic)
{
    for (int32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
        if (partition_open(topic_partition(topic, i))) {
            trace_warn("log", "%s", fault_here.text);
        }
    }
}

static void clean_topic_share(struct log *log, struct topic *topic,
                              const struct topic_settings *settings,
                              const struct os_space *space)
{
    int64_t limit = space->total_bytes / 100 * settings->retention_disk_percent;
    int64_t bytes = topic_bytes(topic);

    (void)log;
    if (settings->retention_disk_percent >= 100 || bytes <= limit) {
        return;
    }
    open_all(topic);
    for (struct victim v = oldest_of(topic); bytes > limit && v.partition;
         v = oldest_of(topic)) {
        partition_trim(v.partition, v.end);
        bytes -= v.bytes;
    }
}

/* Oldest first across topics until the whole log is within its share, and while the disk is
 * full. */
static void clean_disk_share(struct log *log, struct topic **topics, size_t count,
                             const struct os_space *space)
{
    int64_t limit = space->total_bytes / 100 * log->config.disk_percent_max, bytes = 0;

    for (size_t i = 0; i < count; i++) {
        bytes += topic_bytes(topics[i]);
    }
    if (log->config.disk_percent_max >= 100 || bytes <= limit) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (may_be_victim(topics[i])) {
            open_all(topics[i]);
        }
    }
    while (bytes > limit) {
        struct victim best = {0};
        for (size_t i = 0; i < count; i++) {
            int32_t partitions =
                may_be_victim(topics[i]) ? atomic_load(&topics[i]->partition_count) : 0;
            for (int32_t k = 0; k < partitions; k++) {
                consider(topic_partition(topics[i], k), &best);
            }
        }
        if (!best.partition) {
            trace_warn("log",
                       "log.disk.percent.max is passed by %" PRId64
                       " bytes, and no segment may be deleted (pins, protected topics)",
                       bytes - limit);
            return;
        }
        partition_trim(best.partition, best.end);
        bytes -= best.bytes;
    }
}

/* A partition not opened since the start is judged by what the checkpoint says of it. */
static bool worth_opening(struct partition *p, const struct topic_settings *settings,
                          int64_t now_ms)
{
    pthread_mutex_lock(&p->lock);
    bool worth = atomic_load(&p->opened) ||
                 (p->recovery.segment >= 0 && p->high > p->start &&
                  (is_past(p->recovery.oldest_ms, settings, now_ms) ||
                   (settings->retention_bytes >= 0 && p->bytes > settings->retention_bytes)));
    pthread_mutex_unlock(&p->lock);
    return worth;
}

static void clean_topic(struct log *log, struct topic *topic, const struct os_space *space,
                        int64_t now_ms)
{
    struct topic_settings settings;

    topic_settings_get(topic, &settings);
    for (int32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
        struct partition *p = topic_partition(topic, i);
        if (!worth_opening(p, &settings, now_ms) || partition_open(p)) {
            continue;
        }
        if (topic_cleanup(&settings) & TOPIC_CLEANUP_DELETE) {
            clean_by_rules(log, p, &settings, now_ms);
        }
        if ((topic_cleanup(&settings) & TOPIC_CLEANUP_COMPACT) && !atomic_load(&log->failed) &&
            partition_compact(p)) {
            trace_warn("log", "compaction of %s-%d: %s", topic->name, i, fault_here.text);
        }
        pthread_mutex_lock(&p->lock);
        if (p->producers) {
            producers_expire(p->producers, now_ms);
        }
        pthread_mutex_unlock(&p->lock);
    }
    clean_topic_share(log, topic, &settings, space);
}

static void forget_indexes(struct topic *topic, int64_t before_ms)
{
    for (int32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
        struct partition *p = topic_partition(topic, i);
        pthread_mutex_lock(&p->lock);
        for (size_t k = 0; k + 1 < p->segment_count; k++) {
            struct segment *s = p->segments[k];
            if (s->sealed && s->index && s->index_saved == s->index_count &&
                s->index_loaded_ms <= before_ms) {
                segment_forget_index(s);
            }
        }
        pthread_mutex_unlock(&p->lock);
    }
}

/* Indexes of sealed segments: those loaded longest ago go first, by halving the age allowed. */
static void shrink_indexes(struct log *log, struct topic **topics, size_t count, int64_t now_ms)
{
    for (int64_t age_ms = 60000;
         atomic_load(&log->index_cache_used) > log->config.index_cache_bytes && age_ms > 0;
         age_ms /= 2) {
        for (size_t i = 0; i < count; i++) {
            forget_indexes(topics[i], now_ms - age_ms);
        }
    }
}

int64_t cleaner_turn(struct worker *worker, struct job *jobs)
{
    struct log *log = worker->self;
    struct os_space space = {.total_bytes = INT64_MAX, .free_bytes = INT64_MAX};
    struct topic **topics;
    int64_t now_ms = log->os->now_ms(log->os);

    if (jobs) {
        atomic_store(&log->clean_posted, false);
    }
    if (log->os->space(log->os, log->folder, &space)) {
        trace_warn("log", "%s", fault_here.text);
    }
    size_t count = log_topics(log, &topics);
    for (size_t i = 0; i < count; i++) {
        clean_topic(log, topics[i], &space, now_ms);
    }
    clean_disk_share(log, topics, count, &space);
    shrink_indexes(log, topics, count, now_ms);
    topics_drop(topics, count);
    look_at_disk(log);
    if (!jobs) {
        files_shrink(log->files, FILES_IDLE_MAX);
    }
    int64_t wait_ms =
        atomic_load(&log->disk_full) ? FULL_CHECK_MS : log->config.retention_check_ms;
    return log->os->tick_ns(log->os) + wait_ms * 1000000;
}

void log_ask_clean(struct log *log)
{
    pthread_mutex_lock(&log->clean_lock);
    if (log->cleaner_runs && !atomic_exchange(&log->clean_posted, true)) {
        worker_post(&log->cleaner, &log->clean_job);
    }
    pthread_mutex_unlock(&log->clean_lock);
}
