/* records.c - waiting for the log. SPDX-License-Identifier: Apache-2.0 */
#include "audit/records.h"

#include <pthread.h>
#include <stdlib.h>

#define FETCH_BYTES (1 << 20)

struct latch { /* a callback that may only post, waited for */
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open;
};

static void latch_open(struct latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    latch->open = true;
    pthread_cond_signal(&latch->opened);
    pthread_mutex_unlock(&latch->lock);
}

static void latch_wait(struct latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    while (!latch->open) {
        pthread_cond_wait(&latch->opened, &latch->lock);
    }
    pthread_mutex_unlock(&latch->lock);
    pthread_cond_destroy(&latch->opened);
    pthread_mutex_destroy(&latch->lock);
}

#define LATCH                                                                                  \
    {                                                                                          \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false                             \
    }

struct changing {
    struct log_change change; /* first */
    struct latch latch;
};

static void changed(struct log_change *change)
{
    latch_open(&((struct changing *)(void *)change)->latch);
}

err records_change(struct log *log, struct log_change *change)
{
    struct changing c = {.change = *change, .latch = LATCH};

    c.change.done = changed;
    log_change(log, &c.change);
    latch_wait(&c.latch);
    *change = c.change;
    if (!change->fault) {
        return OK;
    }
    err e = fault(change->fault->code, "%s", change->fault->text);
    free(change->fault);
    change->fault = NULL;
    return e;
}

err records_topic(struct log *log, view name, int32_t partitions,
                  const struct setting *settings, size_t count, struct topic **out)
{
    struct log_change change = {.kind = LOG_TOPIC_CREATE,
                                .name = name,
                                .partition_count = partitions,
                                .settings = settings,
                                .setting_count = count,
                                .internal = true};

    *out = log_topic(log, name);
    if (*out) {
        return OK;
    }
    err e = records_change(log, &change);
    *out = e ? log_topic(log, name) : change.topic; /* somebody may have been quicker */
    return *out ? OK : e;
}

struct appending {
    struct log_append append; /* first */
    struct latch latch;
};

static void appended(struct log_append *append)
{
    latch_open(&((struct appending *)(void *)append)->latch);
}

err records_append(struct log *log, struct partition *partition, const struct record *records,
                   size_t count, int64_t *offset)
{
    struct batch_build build = {
        .records = records,
        .count = count,
        .producer_id = -1,
        .producer_epoch = -1,
        .base_sequence = -1,
    };
    struct appending a = {.append = {.partition = partition,
                                     .acks = LOG_ACKS_DURABLE,
                                     .flags = LOG_APPEND_INTERNAL,
                                     .done = appended},
                          .latch = LATCH};

    assert(count > 0);
    a.append.hold = batch_new(&build, &a.append.batch);
    enum batch_fault bad = batch_peek(a.append.batch, &a.append.info);
    assert(bad == BATCH_FINE);
    log_append(log, &a.append);
    latch_wait(&a.latch);
    buf_drop(a.append.hold);
    if (offset) {
        *offset = a.append.base_offset;
    }
    if (a.append.status == LOG_APPEND_OK || a.append.status == LOG_APPEND_DUPLICATE) {
        return OK;
    }
    return fault(a.append.status == LOG_APPEND_FULL ? ERR_FULL : ERR_IO, "%s/%d: %s",
                 partition_topic(partition)->name, (int)partition_index(partition),
                 log_append_status_text(a.append.status));
}

void records_walk_init(struct records_walk *walk, struct log *log, struct partition *partition,
                       int64_t from, int64_t until)
{
    struct partition_ends ends;

    partition_ends(partition, &ends);
    *walk = (struct records_walk){.log = log,
                                  .partition = partition,
                                  .next = MAX(from, ends.start),
                                  .until = until < 0 ? ends.high : until};
}

static void close_batches(struct records_walk *walk)
{
    if (walk->open) {
        const struct batch_info *last = &walk->walk.info; /* markers were stepped over */
        walk->next = MAX(walk->next, last->base_offset + last->last_offset_delta + 1);
        batch_walk_fini(&walk->walk);
        buf_drop(walk->held);
    }
    walk->open = false;
    walk->held = NULL;
}

/* The next stretch of batches; *more false when nothing is there yet. */
static err open_batches(struct records_walk *walk, bool *more)
{
    close_batches(walk);
    *more = false;
    if (walk->next >= walk->until) {
        return OK;
    }
    err e = log_fetch(walk->log, walk->partition, walk->next, FETCH_BYTES, false, &walk->held);
    if (e || !walk->held) {
        return e;
    }
    batch_walk_init(&walk->walk, (view){walk->held->bytes, walk->held->len});
    walk->walk.skip_control = true;
    walk->open = true;
    *more = true;
    return OK;
}

err records_walk_next(struct records_walk *walk, struct record *out, bool *more)
{
    err e = OK;

    for (;;) {
        *more = walk->open;
        e = walk->open ? batch_walk_next(&walk->walk, out, more) : OK;
        if (e) {
            return fault_prefix("%s/%d: ", partition_topic(walk->partition)->name,
                                (int)partition_index(walk->partition));
        }
        if (*more && out->offset >= walk->until) {
            *more = false;
            return OK;
        }
        if (*more && out->offset >= walk->next) {
            walk->next = out->offset + 1;
            return OK;
        }
        if (*more) {
            continue; /* a batch may begin before what was asked for */
        }
        e = open_batches(walk, more);
        if (e || !*more) {
            return e;
        }
    }
}

void records_walk_fini(struct records_walk *walk)
{
    close_batches(walk);
}
