/* log.c - opening, closing, cuts, releases, figures. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1 << 20)

static const char *const reserved[] = {"__*",
                                       NULL}; /* a program that knows its own says less */

void log_config_preset(struct log_config *config)
{
    *config = (struct log_config){
        .shards = 1,
        .readers = 4,
        .reserved = reserved,
        .journal_bytes_max = 256 * (int64_t)MIB,
        .unsynced_bytes_max = 64 * (int64_t)MIB,
        .unsynced_ms_max = 5000,
        .round_bytes_max = 4 * (int64_t)MIB,
        .files_max = 4096,
        .index_cache_bytes = 8 * (int64_t)MIB,
        .disk_percent_max = 95,
        .reserve_bytes = 64 * (int64_t)MIB,
        .retention_check_ms = 30000,
        .compaction_memory_bytes = 16 * (int64_t)MIB,
        .producers_max = 100000,
        .producer_expiry_ms = 86400000,
    };
    settings_defaults(&config->defaults);
}

static void set_cleaner_runs(struct log *log, bool runs)
{
    pthread_mutex_lock(&log->clean_lock);
    log->cleaner_runs = runs;
    pthread_mutex_unlock(&log->clean_lock);
}

static err start_workers(struct log *log)
{
    err e = shards_start(log);

    log->flusher = (struct worker){.name = "log-flusher", .turn = flusher_turn, .self = log};
    log->syncer = (struct worker){.name = "log-syncer", .turn = syncer_turn, .self = log};
    log->meta = (struct worker){.name = "log-meta", .turn = meta_turn, .self = log};
    log->cleaner = (struct worker){.name = "log-cleaner", .turn = cleaner_turn, .self = log};
    e = e ? e : worker_start(&log->flusher, log->os);
    e = e ? e : worker_start(&log->syncer, log->os);
    e = e ? e : worker_start(&log->meta, log->os);
    e = e ? e : worker_start(&log->cleaner, log->os);
    for (int i = 0; !e && i < log->config.readers; i++) {
        log->readers[i] = (struct worker){.name = "log-reader"};
        e = worker_start(&log->readers[i], log->os);
    }
    if (!e) {
        set_cleaner_runs(log, true);
    }
    return e;
}

static err lock_folder(struct log *log)
{
    char path[PATH_BYTES];

    if (strlen(log->folder) > PATH_BYTES / 2) {
        return fault(ERR_INVALID, "data folder's path is longer than %d bytes", PATH_BYTES / 2);
    }
    err e = os_make_folder(log->os, log->folder);
    snprintf(path, sizeof(path), "%s/lock", log->folder);
    return e ? e : log->os->path_lock(log->os, path, &log->lock_file);
}

static struct log *log_new(struct os *os, const struct log_config *config)
{
    struct log *log = xcalloc(1, sizeof(*log));

    assert(config->shards > 0 && config->shards <= SHARDS_MAX);
    assert(config->readers > 0 && config->readers <= READERS_MAX);
    log->os = os;
    log->config = *config;
    settings_copy(&log->config.defaults, &config->defaults);
    log->folder = xstrdup(config->folder);
    log->lock_file = OS_FILE_NONE;
    log->files = files_new(os, config->files_max);
    pthread_rwlock_init(&log->gate, NULL);
    pthread_rwlock_init(&log->topics_lock, NULL);
    pthread_mutex_init(&log->dirty_lock, NULL);
    pthread_mutex_init(&log->open_lock, NULL);
    pthread_mutex_init(&log->cold_lock, NULL);
    pthread_mutex_init(&log->clean_lock, NULL);
    pthread_mutex_init(&log->checkpoint_lock, NULL);
    log->last_checkpoint_ns = os->tick_ns(os);
    log->sync_job.work = log->clean_job.work = NULL; /* taken by the turns, never run */
    return log;
}

static void free_topics(struct log *log)
{
    struct topic **topics;
    size_t count = log_topics(log, &topics);

    for (size_t i = 0; i < count; i++) {
        topics_remove(log, topics[i]);
        topic_drop(topics[i]);
    }
    topics_drop(topics, count);
}

static void log_free(struct log *log)
{
    for (struct partition *p = log->dirty, *next; p; p = next) {
        next = p->dirty_next;
        topic_drop(p->topic);
    }
    meta_free(log);
    free_topics(log);
    map_fini(&log->topics_by_name);
    map_fini(&log->topics_by_id);
    journal_close(log->journal);
    files_free(log->files);
    log->os->file_close(log->os, log->lock_file);
    pthread_rwlock_destroy(&log->gate);
    pthread_rwlock_destroy(&log->topics_lock);
    pthread_mutex_destroy(&log->dirty_lock);
    pthread_mutex_destroy(&log->cold_lock);
    pthread_mutex_destroy(&log->open_lock);
    pthread_mutex_destroy(&log->clean_lock);
    pthread_mutex_destroy(&log->checkpoint_lock);
    settings_fini(&log->config.defaults);
    free(log->folder);
    free(log);
}

/* Each before those it hands work to; meta in two steps, because it waits for the flusher too.
 */
static void stop_workers(struct log *log)
{
    set_cleaner_runs(log, false);
    worker_stop(&log->cleaner);
    for (int i = 0; i < log->config.readers; i++) {
        worker_stop(&log->readers[i]);
    }
    meta_close_begin(log);
    for (int i = 0; i < log->config.shards; i++) {
        worker_stop(&log->shards[i].worker);
    }
    worker_stop(&log->flusher);
    meta_close_end(log);
    worker_stop(&log->syncer);
}

err log_open(struct os *os, const struct log_config *config, struct log **out)
{
    struct log *log = log_new(os, config);
    int64_t begun = os->tick_ns(os);
    err e = lock_folder(log);

    e = e ? e : recovery_run(log);
    if (!e) {
        log_reserve_prepare(log);
        e = start_workers(log);
    }
    e = e ? e : meta_ensure_cluster(log);
    if (e) {
        stop_workers(log);
        log_free(log);
        return e;
    }
    log->start.took_ms = (os->tick_ns(os) - begun) / 1000000;
    *out = log;
    return OK;
}

void log_close(struct log *log)
{
    if (!log) {
        return;
    }
    stop_workers(log);
    if (!atomic_load(&log->failed)) {
        err e = checkpoint_run(log);
        e = e ? e : log_mark_clean(log);
        if (e) {
            trace_error("log", "not closed in order, the next start will recover: %s",
                        fault_here.text);
        }
    }
    log_free(log);
}

const struct log_start *log_started(const struct log *log)
{
    return &log->start;
}

uuid log_cluster_id(const struct log *log)
{
    return log->cluster_id;
}

struct os *log_os(const struct log *log)
{
    return log->os;
}

void log_release(struct log *log, struct partition *const *partitions, size_t count,
                 int64_t producer_id)
{
    pthread_rwlock_rdlock(&log->gate);
    for (size_t i = 0; i < count; i++) {
        struct partition *p = partitions[i];
        pthread_mutex_lock(&p->lock);
        if (p->producers) {
            producers_release(p->producers, producer_id);
            partition_set_high(p, p->high);
        }
        pthread_mutex_unlock(&p->lock);
    }
    pthread_rwlock_unlock(&log->gate);
}

static int by_place(const void *a, const void *b)
{
    const struct log_cut_entry *x = a, *y = b;
    int order = memcmp(x->topic_id.bytes, y->topic_id.bytes, sizeof(x->topic_id.bytes));

    return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

void log_cut(struct log *log, struct log_cut_entry **out, size_t *count)
{
    struct topic **topics;
    size_t room = 0;

    *out = NULL;
    *count = 0;
    pthread_rwlock_wrlock(&log->gate);
    size_t topic_count = log_topics(log, &topics); /* all that anything was published in */
    for (size_t i = 0; i < topic_count; i++) {
        for (int32_t k = 0; k < atomic_load(&topics[i]->partition_count); k++) {
            struct partition *p = topic_partition(topics[i], k);
            *out = array_room(*out, *count, &room, sizeof(**out));
            pthread_mutex_lock(&p->lock);
            (*out)[(*count)++] =
                (struct log_cut_entry){topics[i]->id, k, p->start, p->stable, p->high};
            pthread_mutex_unlock(&p->lock);
        }
    }
    pthread_rwlock_unlock(&log->gate);
    if (*count) {
        qsort(*out, *count, sizeof(**out), by_place);
    }
    topics_drop(topics, topic_count);
}

static void sample(struct writer *out, const char *name, const char *type, const char *help,
                   int64_t value)
{
    write_format(
        out,
        "# HELP tidemark_log_%s %s\n# TYPE tidemark_log_%s %s\ntidemark_log_%s %" PRId64 "\n",
        name, help, name, type, name, value);
}

void log_metrics(struct log *log, struct writer *out)
{
    sample(out, "appended_bytes_total", "counter", "Bytes of batches written.",
           atomic_load(&log->appended_bytes));
    sample(out, "flush_rounds_total", "counter", "Group commits.",
           atomic_load(&log->flush_rounds));
    sample(out, "flush_bytes_total", "counter", "Bytes written to the journal.",
           atomic_load(&log->flush_bytes));
    sample(out, "flush_seconds_total_ms", "counter", "Milliseconds spent in group commits.",
           atomic_load(&log->flush_ns) / 1000000);
    sample(out, "unsynced_bytes", "gauge",
           "Bytes written to segments since the last checkpoint.",
           atomic_load(&log->dirty_bytes));
    sample(out, "open_files", "gauge", "Segment files open.", files_open_count(log->files));
    sample(out, "index_cache_bytes", "gauge", "Memory of sealed segments' indexes.",
           atomic_load(&log->index_cache_used));
    sample(out, "disk_full", "gauge", "1 while writes are refused for want of space.",
           atomic_load(&log->disk_full));
    sample(out, "failed", "gauge", "1 after a flush failed: the log is read-only.",
           atomic_load(&log->failed));
    pthread_rwlock_rdlock(&log->topics_lock);
    int64_t topics = (int64_t)log->topics_by_name.count;
    pthread_rwlock_unlock(&log->topics_lock);
    sample(out, "topics", "gauge", "Topics, internal ones too.", topics);
}
