/* shard.c - the writers: each owns the partitions that hash to it.
 *
 * A turn takes all that waits, stages appends by partition, then lets each touched partition
 * write its share at once. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stddef.h>

static struct log_append *append_of(struct job *job)
{
    return (struct log_append *)((char *)job - offsetof(struct log_append, job));
}

static void stage(struct job *job)
{
    struct log_append *a = append_of(job);
    struct partition *p = a->partition;
    struct shard *shard = p->shard;

    assert(worker_is_current(&shard->worker));
    a->next = NULL;
    if (!p->staged) {
        p->staged = a;
        p->staged_next = NULL;
        *shard->touched_end = p;
        shard->touched_end = &p->staged_next;
    } else {
        p->staged_last->next = a;
    }
    p->staged_last = a;
}

static void write_touched(struct shard *shard)
{
    struct partition *p = shard->touched;

    shard->touched = NULL;
    shard->touched_end = &shard->touched;
    for (struct partition *next; p; p = next) {
        next = p->staged_next;
        struct topic *topic = topic_hold(p->topic); /* the last done() may drop it */
        partition_append_staged(p);
        topic_drop(topic);
    }
}

static int64_t shard_turn(struct worker *worker, struct job *jobs)
{
    struct shard *shard = worker->self;

    for (struct job *next; jobs; jobs = next) {
        next = jobs->next;
        if (jobs->work != stage) {
            write_touched(shard); /* other jobs see everything before them written */
        }
        jobs->work(jobs);
    }
    write_touched(shard);
    return WORKER_NEVER;
}

err shards_start(struct log *log)
{
    err e = OK;

    for (int i = 0; !e && i < log->config.shards; i++) {
        struct shard *shard = &log->shards[i];
        shard->log = log;
        shard->touched_end = &shard->touched;
        shard->worker = (struct worker){.name = "log-shard", .turn = shard_turn, .self = shard};
        e = worker_start(&shard->worker, log->os);
    }
    return e;
}

struct shard *log_shard_of(struct log *log, uuid topic_id, int32_t partition)
{
    uint64_t hash = view_hash(VIEW_OF(topic_id)) + (uint64_t)partition;

    return &log->shards[hash % (uint64_t)log->config.shards];
}

void log_append(struct log *log, struct log_append *chain)
{
    (void)log;
    for (struct log_append *a = chain, *next; a; a = next) {
        next = a->next;
        assert(a->done && a->partition);
        assert(a->batch.len == a->info.bytes && a->batch.len >= BATCH_HEAD_BYTES);
        a->job.work = stage;
        worker_post(&a->partition->shard->worker, &a->job);
    }
}

void log_run_on_shard(struct log *log, struct partition *partition, struct job *job)
{
    (void)log;
    worker_post(&partition->shard->worker, job);
}

const char *log_append_status_text(enum log_append_status status)
{
    static const char *const texts[] = {
        [LOG_APPEND_OK] = "appended",
        [LOG_APPEND_DUPLICATE] = "appended before",
        [LOG_APPEND_CORRUPT] = "batch is damaged",
        [LOG_APPEND_TOO_LARGE] = "batch is larger than max.message.bytes",
        [LOG_APPEND_INVALID_RECORD] = "a record does not parse",
        [LOG_APPEND_INVALID_TIMESTAMP] = "timestamp is outside of what the topic takes",
        [LOG_APPEND_NO_KEY] = "a compacted topic needs a key in every record",
        [LOG_APPEND_OUT_OF_ORDER] = "sequence number does not follow",
        [LOG_APPEND_OLD_EPOCH] = "a newer producer has taken over",
        [LOG_APPEND_UNKNOWN_PRODUCER] = "producer id is not known here",
        [LOG_APPEND_TXN_STATE] = "not possible in the transaction's state",
        [LOG_APPEND_TXN_MARKER_OLD] = "marker of an older epoch",
        [LOG_APPEND_STORAGE] = "storage failed",
        [LOG_APPEND_FULL] = "the disk is full",
        [LOG_APPEND_GONE] = "the topic was deleted",
        [LOG_APPEND_DENIED] = "internal topics take no writes from clients",
        [LOG_APPEND_OFFSET_MISMATCH] = "offset does not follow the log's end",
    };

    assert((size_t)status < COUNT(texts));
    return texts[status];
}
