/* producer.c - a producer inside the process: asks and appends, waited for.
 *
 * Every end gives a new epoch (version 2), so sequences begin at 0 in each transaction.
 * Appends are pipelined; coord_end waits for the last of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/coord.h"

#include <pthread.h>
#include <stdlib.h>

#include "log/log.h"

struct target { /* a partition of the open transaction */
    struct partition *partition;
    int32_t next_sequence;
};

struct coord_producer {
    struct coord *coord;
    struct log *log;
    char *txn_id;
    int64_t id;
    int16_t epoch;
    bool open, added; /* a transaction; something in it */
    struct map targets;
    struct arena arena;
    pthread_mutex_t lock; /* of what follows, which callbacks change */
    pthread_cond_t changed;
    bool answered;
    size_t under_way; /* appends */
    enum log_append_status failure;
};

struct sending {
    struct log_append append; /* first */
    struct coord_producer *producer;
};

static err refused(enum coord_status status)
{
    static const struct {
        enum coord_status status;
        err code;
    } kinds[] = {
        {COORD_STORAGE, ERR_IO},
        {COORD_LOADING, ERR_BUSY},
        {COORD_TOO_MANY, ERR_BUSY},
        {COORD_CONCURRENT_TRANSACTIONS, ERR_BUSY},
        {COORD_NOT_COORDINATOR, ERR_CLOSED},
        {COORD_UNKNOWN_TOPIC, ERR_NOT_FOUND},
        {COORD_INVALID_REQUEST, ERR_INVALID},
        {COORD_INVALID_TXN_TIMEOUT, ERR_INVALID},
        {COORD_OFFSET_METADATA_TOO_LARGE, ERR_TOO_LARGE},
    };

    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (kinds[i].status == status) {
            return fault(kinds[i].code, "%s", coord_status_text(status));
        }
    }
    return status ? fault(ERR_CONFLICT, "%s", coord_status_text(status)) : OK;
}

static void answered(struct coord_ask *ask)
{
    struct coord_producer *p = ask->owner;

    pthread_mutex_lock(&p->lock);
    p->answered = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static struct coord_ask ask_of(struct coord_producer *p)
{
    arena_reset(&p->arena);
    p->answered = false;
    return (struct coord_ask){.arena = &p->arena, .owner = p, .done = answered};
}

static err await(struct coord_producer *p, const struct coord_ask *ask)
{
    pthread_mutex_lock(&p->lock);
    while (!p->answered) {
        pthread_cond_wait(&p->changed, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return refused(ask->status);
}

err coord_producer_open(struct coord *coord, struct log *log, view txn_id, int32_t timeout_ms,
                        struct coord_producer **out)
{
    struct coord_producer *p = xcalloc(1, sizeof(*p));

    p->coord = coord;
    p->log = log;
    p->txn_id = text_of(txn_id);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    struct coord_init_producer init = {
        .ask = ask_of(p),
        .txn_id = view_text(p->txn_id),
        .timeout_ms = timeout_ms,
        .expect_id = -1,
        .expect_epoch = -1,
    };
    coord_init_producer(coord, &init);
    err e = await(p, &init.ask);
    if (e) {
        coord_producer_close(p);
        return e;
    }
    p->id = init.producer_id;
    p->epoch = init.producer_epoch;
    *out = p;
    return OK;
}

err coord_begin(struct coord_producer *p)
{
    assert(!p->open && p->under_way == 0);
    p->open = true;
    p->added = false;
    p->failure = LOG_APPEND_OK;
    return OK;
}

static err add_target(struct coord_producer *p, struct partition *partition,
                      struct target **out)
{
    struct coord_txn_partition one = {.topic = view_text(partition_topic(partition)->name),
                                      .partition = partition_index(partition)};
    struct coord_add_partitions add = {
        .ask = ask_of(p),
        .how = COORD_TXN_ADD_V2,
        .txn_id = view_text(p->txn_id),
        .producer_id = p->id,
        .producer_epoch = p->epoch,
        .partitions = &one,
        .partition_count = 1,
    };

    coord_add_partitions(p->coord, &add);
    err e = await(p, &add.ask);
    e = e ? e : refused(one.status);
    if (e) {
        return e;
    }
    struct target *t = xcalloc(1, sizeof(*t));
    t->partition = partition;
    map_put(&p->targets, VIEW_OF(t->partition), t);
    p->added = true;
    *out = t;
    return OK;
}

static void sent(struct log_append *append)
{
    struct sending *s = (struct sending *)(void *)append;
    struct coord_producer *p = s->producer;

    buf_drop(append->hold);
    pthread_mutex_lock(&p->lock);
    if (append->status != LOG_APPEND_OK && append->status != LOG_APPEND_DUPLICATE) {
        p->failure = append->status;
    }
    p->under_way--;
    pthread_cond_signal(&p->changed); /* under the lock: p may be gone right after it */
    pthread_mutex_unlock(&p->lock);
    free(s);
}

err coord_send(struct coord_producer *p, struct partition *partition,
               const struct record *records, size_t count)
{
    struct target *t = map_get(&p->targets, VIEW_OF(partition));
    err e = t ? OK : add_target(p, partition, &t);

    assert(p->open);
    if (e) {
        return e;
    }
    struct batch_build build = {
        .records = records,
        .count = count,
        .attributes = BATCH_TRANSACTIONAL,
        .producer_id = p->id,
        .producer_epoch = p->epoch,
        .base_sequence = t->next_sequence,
    };
    struct sending *s = xcalloc(1, sizeof(*s));
    s->producer = p;
    s->append = (struct log_append){
        .partition = partition,
        .acks = LOG_ACKS_DURABLE,
        .flags = LOG_APPEND_INTERNAL | LOG_APPEND_VERIFIED | LOG_APPEND_TXN_V2,
        .done = sent,
    };
    s->append.hold = batch_new(&build, &s->append.batch);
    enum batch_fault bad = batch_peek(s->append.batch, &s->append.info);
    assert(bad == BATCH_FINE);
    t->next_sequence += (int32_t)count;
    pthread_mutex_lock(&p->lock);
    p->under_way++;
    pthread_mutex_unlock(&p->lock);
    log_append(p->log, &s->append);
    return OK;
}

err coord_send_offsets(struct coord_producer *p, view group, struct coord_offset *offsets,
                       size_t count)
{
    struct coord_txn_commit commit = {
        .ask = ask_of(p),
        .txn_id = view_text(p->txn_id),
        .group = group,
        .member = VIEW(""),
        .generation = -1,
        .producer_id = p->id,
        .producer_epoch = p->epoch,
        .v2 = true,
        .offsets = offsets,
        .offset_count = count,
    };

    assert(p->open);
    coord_txn_commit(p->coord, &commit);
    err e = await(p, &commit.ask);
    p->added = true; /* also when some were refused */
    for (size_t i = 0; !e && i < count; i++) {
        e = refused(offsets[i].status);
    }
    return e;
}

static void targets_clear(struct coord_producer *p)
{
    struct target *t;

    for (size_t at = 0; (t = map_next(&p->targets, &at));) {
        free(t);
    }
    map_fini(&p->targets);
}

/* The appends' failure, if there was one. */
static err await_appends(struct coord_producer *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->under_way) {
        pthread_cond_wait(&p->changed, &p->lock);
    }
    enum log_append_status failure = p->failure;
    pthread_mutex_unlock(&p->lock);
    return failure ? fault(failure == LOG_APPEND_OLD_EPOCH ? ERR_CONFLICT : ERR_IO,
                           "a batch of the transaction was refused: %s",
                           log_append_status_text(failure))
                   : OK;
}

static err end_now(struct coord_producer *p, bool commit)
{
    struct coord_end_txn end = {
        .ask = ask_of(p),
        .txn_id = view_text(p->txn_id),
        .producer_id = p->id,
        .producer_epoch = p->epoch,
        .commit = commit,
        .v2 = true,
    };

    coord_end_txn(p->coord, &end);
    err e = await(p, &end.ask);
    if (!e) {
        p->id = end.next_id;
        p->epoch = end.next_epoch;
    }
    return e;
}

err coord_end(struct coord_producer *p, bool commit)
{
    assert(p->open);
    err e = await_appends(p);
    struct fault first = fault_here;

    p->open = false;
    targets_clear(p);
    if (!p->added && commit) {
        return e; /* nothing to commit, and nothing to tell the coordinator */
    }
    err ended = end_now(p, commit && !e);
    if (e) {
        return fault(first.code, "%s", first.text); /* the first cause, whatever became of the
                                                       abort: its timeout ends it too */
    }
    return ended;
}

void coord_producer_close(struct coord_producer *p)
{
    if (!p) {
        return;
    }
    if (p->open && coord_end(p, false)) {
        trace_debug("coord", "%s was not aborted: %s", p->txn_id, fault_here.text);
    }
    targets_clear(p);
    arena_fini(&p->arena);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->txn_id);
    free(p);
}
