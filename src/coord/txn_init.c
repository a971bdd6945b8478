/* txn_init.c - producer ids, and who may use a transactional id.
 *
 * Ids come from blocks that are reserved durably before the first of them is given out, so none
 * is ever given twice. Whoever initialises a transactional id gets a higher epoch than any
 * before, which fences the others; an open transaction is aborted first. KIP-360: a producer
 * that names its present id and epoch may go on with the next epoch.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/txns.h"

#include <stddef.h>
#include <stdlib.h>

enum { EPOCH_LAST_USED = INT16_MAX - 1 };

static void ids_came(struct job *job)
{
    struct store_ids *ids = (struct store_ids *)(void *)job;
    struct coord *c = (struct coord *)(void *)((char *)ids - offsetof(struct coord, ids.store));
    struct coord_ask **waiting = c->ids.waiting;
    size_t count = c->ids.waiting_count;

    c->store_calls--;
    c->ids.asked = false;
    c->ids.waiting = NULL;
    c->ids.waiting_count = c->ids.waiting_room = 0;
    if (ids->ok) {
        c->ids.next = ids->first;
        c->ids.end = ids->first + ids->count;
    }
    for (size_t i = 0; i < count; i++) {
        if (ids->ok) {
            waiting[i]->kind->run(c, waiting[i]);
        } else {
            ask_refuse(waiting[i], COORD_STORAGE);
        }
    }
    free(waiting);
}

static void ids_stored(struct store_ids *ids)
{
    struct coord *c = (struct coord *)(void *)((char *)ids - offsetof(struct coord, ids.store));

    ids->job.work = ids_came;
    worker_post(&c->worker, &ids->job);
}

int64_t ids_take(struct coord *c)
{
    if (c->ids.next < c->ids.end) {
        return c->ids.next++;
    }
    if (!c->ids.asked) {
        c->ids.asked = true;
        c->store_calls++;
        c->ids.store = (struct store_ids){.done = ids_stored};
        c->store->reserve(c->store, &c->ids.store);
    }
    return -1;
}

void ids_await(struct coord *c, struct coord_ask *ask)
{
    c->ids.waiting =
        array_room(c->ids.waiting, c->ids.waiting_count, &c->ids.waiting_room, sizeof(ask));
    c->ids.waiting[c->ids.waiting_count++] = ask;
}

void ids_fini(struct coord *c)
{
    free(c->ids.waiting);
    c->ids.waiting = NULL;
    c->ids.waiting_count = 0;
}

static void answer(struct coord_init_producer *init, int64_t id, int16_t epoch)
{
    init->producer_id = id;
    init->producer_epoch = epoch;
    ask_done(&init->ask, COORD_OK);
}

static void initialised(struct txn *t, struct coord_ask *ask, bool ok)
{
    struct coord_init_producer *init = (struct coord_init_producer *)(void *)ask;

    if (ok) {
        answer(init, t->facts.producer_id, t->facts.epoch);
    } else {
        ask_done(ask, COORD_STORAGE);
    }
    txn_undefer(t);
}

/* A producer that says who it is must be the present one, or one whose last answer got lost. */
static bool may_init(const struct txn *t, const struct coord_init_producer *init)
{
    const struct txn_facts *f = &t->facts;

    if (init->expect_id < 0 || f->epoch < 0) {
        return true;
    }
    if (init->expect_id == f->producer_id) {
        return init->expect_epoch == f->epoch ||
               (f->last_epoch >= 0 && init->expect_epoch == f->last_epoch);
    }
    return init->expect_id == f->previous_id && f->epoch == 0 &&
           init->expect_epoch >= EPOCH_LAST_USED;
}

static void take_over(struct txn *t, struct coord_init_producer *init)
{
    struct txn_facts next = t->facts;
    bool lost_answer =
        init->expect_id >= 0 && t->facts.epoch >= 0 &&
        !(init->expect_id == t->facts.producer_id && init->expect_epoch == t->facts.epoch);
    bool needs_id = next.producer_id < 0 || (!lost_answer && next.epoch >= EPOCH_LAST_USED);
    int64_t id = needs_id ? ids_take(t->coord) : next.producer_id;

    if (id < 0) {
        ids_await(t->coord, &init->ask);
        return;
    }
    next.state = TXN_EMPTY;
    next.timeout_ms = init->timeout_ms;
    next.start_ms = -1;
    next.version = 0;
    next.next_id = -1;
    if (needs_id) {
        next.previous_id = next.producer_id;
        next.producer_id = id;
        next.last_epoch = next.epoch;
        next.epoch = 0;
    } else if (!lost_answer) {
        next.last_epoch = init->expect_id >= 0 ? next.epoch : -1;
        next.epoch++;
    }
    txn_submit(t, &next, NULL, 0, &init->ask, initialised);
}

static void init_txn(struct coord *c, struct coord_init_producer *init)
{
    struct txn *t = txn_find(c, init->txn_id);

    t = t ? t : txn_make(c, init->txn_id);
    if (!t) {
        ask_done(&init->ask, COORD_TOO_MANY);
        return;
    }
    bool ending = t->facts.state == TXN_PREPARE_COMMIT || t->facts.state == TXN_PREPARE_ABORT;
    if (t->pending || ending || t->offset_writes) {
        if (t->tries > 1) {
            ask_done(&init->ask, COORD_CONCURRENT_TRANSACTIONS);
        } else {
            txn_defer(t, &init->ask);
        }
    } else if (!may_init(t, init)) {
        ask_done(&init->ask, COORD_PRODUCER_FENCED);
    } else if (t->facts.state == TXN_ONGOING) {
        txn_defer(t, &init->ask); /* goes on when the abort is complete */
        txn_end(t,
                (struct txn_ending){.fence = true,
                                    .may_resume = init->expect_id >= 0,
                                    .version = t->facts.version,
                                    .next_id = -1},
                NULL);
    } else {
        take_over(t, init);
    }
}

static void run_init(struct coord *c, struct coord_ask *ask)
{
    struct coord_init_producer *init = (struct coord_init_producer *)(void *)ask;

    if (!init->txn_id.at) {
        int64_t id = ids_take(c);
        if (id < 0) {
            ids_await(c, ask);
        } else {
            answer(init, id, 0);
        }
    } else if (!init->txn_id.len) {
        ask_done(ask, COORD_INVALID_REQUEST);
    } else if (init->timeout_ms <= 0 || init->timeout_ms > c->config.txn_timeout_ms_max) {
        ask_done(ask, COORD_INVALID_TXN_TIMEOUT);
    } else {
        init_txn(c, init);
    }
}

static const struct ask_kind init_kind = {.run = run_init};

void coord_init_producer(struct coord *c, struct coord_init_producer *init)
{
    init->producer_id = -1;
    init->producer_epoch = -1;
    ask_post(c, &init->ask, &init_kind);
}
