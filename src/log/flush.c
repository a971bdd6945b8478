/* flush.c - the flusher: rounds of waiting appends, made durable by one journal block each.
 *
 * No timer: while a round is being flushed the next one gathers. After the flush the round is
 * published under the gate, so that a cut sees all of a partition's step or none of it, and
 * then its producers are told. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stddef.h>
#include <stdlib.h>

static struct flush_item *item_of(struct job *job)
{
    return (struct flush_item *)((char *)job - offsetof(struct flush_item, job));
}

void log_fail(struct log *log, const char *what)
{
    if (!atomic_exchange(&log->failed, true)) {
        trace_error("log",
                    "%s: %s: the log is read-only from here on; restart after the disk is "
                    "repaired",
                    what, fault_here.text);
    }
}

/* Adds items up to the round's limit; gives back the first that did not fit. */
static struct job *gather(struct log *log, struct job *jobs)
{
    journal_begin(log->journal);
    for (; jobs; jobs = jobs->next) {
        struct flush_item *item = item_of(jobs);
        if (!item->batch.len) {
            continue;
        }
        size_t used = journal_round_bytes(log->journal);
        if (!journal_has_room(log->journal) ||
            (used > JOURNAL_HEAD_BYTES &&
             used + item->batch.len > (size_t)log->config.round_bytes_max)) {
            break;
        }
        struct journal_entry entry = {
            .topic_id = item->partition->topic->id,
            .partition = item->partition->index,
            .epoch = item->epoch,
            .base_offset = item->base_offset,
            .end = item->end,
            .segment = item->segment,
            .position = item->position,
            .batch = item->batch,
        };
        journal_add(log->journal, &entry);
    }
    return jobs;
}

/* Until the round is durable; a full ring waits for the checkpoint it asked for, a full disk
 * for what the reserve gives back. */
static err commit(struct log *log)
{
    uint64_t round;
    bool full = false, eased = false;
    err e;

    if (journal_round_bytes(log->journal) == JOURNAL_HEAD_BYTES) {
        return OK; /* nothing but repeats */
    }
    int64_t begun = log->os->tick_ns(log->os);
    do {
        e = journal_commit(log->journal, &round, &full);
        if (!e && full) {
            e = checkpoint_run(log);
        }
        if (e == ERR_FULL && !eased) {
            log_space_is_out(log);
            full = eased = true;
            e = OK;
        }
    } while (!e && full);
    if (e) {
        return e;
    }
    int64_t ended = log->os->tick_ns(log->os);
    atomic_store(&log->flushed_ns, ended);
    atomic_store(&log->rounds_done, round);
    atomic_fetch_add(&log->flush_rounds, 1);
    atomic_fetch_add(&log->flush_bytes, (int64_t)journal_round_bytes(log->journal));
    atomic_fetch_add(&log->flush_ns, ended - begun);
    if (journal_wants_checkpoint(log->journal)) {
        log_ask_sync(log);
    }
    return OK;
}

static void publish(struct log *log, struct job *jobs, const struct job *end)
{
    pthread_rwlock_rdlock(&log->gate);
    for (; jobs != end; jobs = jobs->next) {
        struct flush_item *item = item_of(jobs);
        struct partition *p = item->partition;
        if (item->batch.len) {
            pthread_mutex_lock(&p->lock);
            partition_set_high(p, MIN(item->end, p->end));
            if (p->high == item->end) { /* flush.policy=os may have passed it */
                p->high_segment = item->segment;
                p->high_position = item->position + (int64_t)item->batch.len;
            }
            pthread_mutex_unlock(&p->lock);
        }
    }
    pthread_rwlock_unlock(&log->gate);
}

static void finish(struct job *jobs, const struct job *end, err e)
{
    for (struct job *next; jobs != end; jobs = next) {
        struct flush_item *item = item_of(jobs);
        next = jobs->next;
        if (e) {
            pthread_mutex_lock(&item->partition->lock);
            partition_wake(item->partition);
            pthread_mutex_unlock(&item->partition->lock);
        }
        if (item->waiting) {
            if (e) {
                item->waiting->status = LOG_APPEND_STORAGE;
                item->waiting->base_offset = -1;
            }
            item->waiting->done(item->waiting);
        }
        buf_drop(item->hold);
        topic_drop(item->partition->topic);
        free(item);
    }
}

int64_t flusher_turn(struct worker *worker, struct job *jobs)
{
    struct log *log = worker->self;

    while (jobs) {
        struct job *rest = gather(log, jobs);
        err e = atomic_load(&log->failed) ? ERR_IO : commit(log);
        if (e) {
            log_fail(log, "flush failed");
        } else {
            publish(log, jobs, rest);
        }
        finish(jobs, rest, e);
        jobs = rest;
    }
    return WORKER_NEVER;
}
