/* txn_end.c - ends of transactions: asked for, timed out, or forced by a newer producer.
 *
 *   Ongoing -> [Prepare record] -> markers (txn_marks.c) -> Complete -> answer
 *
 * The commit point is the durable Prepare record. Version 2 clients get epoch + 1 with every
 * end, so that the markers' epoch is above all that the transaction wrote; other clients keep
 * their epoch unless they are being fenced. Near the end of the epochs version 2 goes on with a
 * new producer id. SPDX-License-Identifier: Apache-2.0 */
#include "coord/txns.h"

#include <stddef.h>
#include <stdlib.h>

enum { EPOCH_LAST_USED = INT16_MAX - 1 }; /* the one above it is for fencing */

static void prepared(struct txn *t, struct coord_ask *ask, bool ok)
{
    if (!ok) { /* it stays as it was: the client, or the timeout, tries again */
        if (ask) {
            ask_done(ask, COORD_STORAGE);
        }
        if (t->facts.state == TXN_ONGOING) {
            timer_set(&t->coord->timers, &t->timer, coord_due(t->coord, t->facts.timeout_ms),
                      txn_time_out);
        }
        txn_undefer(t);
        return;
    }
    t->ending = ask;
    txn_mark(t);
}

void txn_end(struct txn *t, struct txn_ending how, struct coord_ask *ask)
{
    struct txn_facts next = t->facts;

    next.state = how.commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT;
    next.last_epoch = how.fence && !how.may_resume ? -1 : t->facts.epoch;
    next.version = how.version;
    next.next_id = how.next_id;
    if ((how.fence || how.version >= 2) && next.epoch < INT16_MAX) {
        next.epoch++;
    }
    txn_submit(t, &next, NULL, 0, ask, prepared);
}

void txn_time_out(struct timer *timer)
{
    struct txn *t = (struct txn *)(void *)((char *)timer - offsetof(struct txn, timer));

    assert(t->facts.state == TXN_ONGOING);
    if (t->pending || t->offset_writes) { /* look again when that is done */
        timer_set(&t->coord->timers, &t->timer, coord_due(t->coord, 10), txn_time_out);
        return;
    }
    trace_info("coord", "transaction of %.*s took longer than its %d ms: aborted",
               VIEW_ARG(blob_view(t->id)), (int)t->facts.timeout_ms);
    t->coord->counters.txns_timed_out++;
    txn_end(t, (struct txn_ending){.fence = true, .version = t->facts.version, .next_id = -1},
            NULL);
}

struct claim {  /* how an end's id and epoch relate to what is known */
    bool right; /* present ones */
    bool retry; /* version 2: those before the end that it asks for once more */
};

static struct claim claim_of(const struct txn *t, const struct coord_end_txn *end)
{
    const struct txn_facts *f = &t->facts;
    struct claim claim = {.right = f->producer_id == end->producer_id &&
                                   f->epoch == end->producer_epoch};
    bool bumped = f->producer_id == end->producer_id && f->epoch == end->producer_epoch + 1;
    bool new_id = f->previous_id == end->producer_id && f->epoch == 0 &&
                  end->producer_epoch >= EPOCH_LAST_USED;

    claim.retry = end->v2 && f->version >= 2 && (bumped || new_id);
    return claim;
}

static void answer_end(struct txn *t, struct coord_end_txn *end)
{
    end->next_id = t->facts.producer_id;
    end->next_epoch = t->facts.epoch;
    ask_done(&end->ask, COORD_OK);
}

/* Nothing is open: a repetition of what was done, or, under version 2, the abort of a
 * transaction that has not written anything yet. */
static void end_closed(struct txn *t, struct coord_end_txn *end, struct claim claim)
{
    enum txn_state same = end->commit ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
    bool repeats = t->facts.state == same && (claim.retry || !end->v2);

    if (repeats) {
        answer_end(t, end);
    } else if (claim.retry && t->facts.state == TXN_COMPLETE_ABORT) {
        /* Aborted by its timeout: the producer must see that it was fenced. */
        ask_done(&end->ask, COORD_PRODUCER_FENCED);
    } else if (end->v2 && !end->commit && claim.right) {
        txn_end(t, (struct txn_ending){.version = 2, .next_id = -1}, &end->ask);
    } else {
        ask_done(&end->ask, COORD_INVALID_TXN_STATE);
    }
}

static void end_ongoing(struct txn *t, struct coord_end_txn *end)
{
    int64_t next_id = -1;

    if (end->v2 && t->facts.epoch >= EPOCH_LAST_USED) {
        next_id = ids_take(t->coord);
        if (next_id < 0) {
            ids_await(t->coord, &end->ask);
            return;
        }
    }
    txn_end(t,
            (struct txn_ending){
                .commit = end->commit, .version = end->v2 ? 2 : 0, .next_id = next_id},
            &end->ask);
}

static void run_end(struct coord *c, struct coord_ask *ask)
{
    struct coord_end_txn *end = (struct coord_end_txn *)(void *)ask;
    struct txn *t = txn_find(c, end->txn_id);

    if (!end->txn_id.len) {
        ask_done(ask, COORD_INVALID_REQUEST);
        return;
    }
    struct claim claim = t ? claim_of(t, end) : (struct claim){0};
    bool known_id = t && (t->facts.producer_id == end->producer_id || claim.retry);
    if (!known_id) {
        ask_done(ask, COORD_INVALID_PRODUCER_MAPPING);
        return;
    }
    bool ending = t->facts.state == TXN_PREPARE_COMMIT || t->facts.state == TXN_PREPARE_ABORT;
    if (t->pending || ending || t->offset_writes) {
        if (t->tries > 1) {
            ask_done(ask, COORD_CONCURRENT_TRANSACTIONS);
        } else {
            txn_defer(t, ask);
        }
    } else if (!claim.right && !claim.retry) {
        ask_done(ask, COORD_PRODUCER_FENCED);
    } else if (t->facts.state == TXN_ONGOING && claim.right) {
        end_ongoing(t, end);
    } else if (t->facts.state == TXN_ONGOING) { /* of an earlier one, late */
        ask_done(ask, COORD_PRODUCER_FENCED);
    } else {
        end_closed(t, end, claim);
    }
}

static const struct ask_kind end_kind = {.run = run_end};

void coord_end_txn(struct coord *c, struct coord_end_txn *end)
{
    end->next_id = -1;
    end->next_epoch = -1;
    ask_post(c, &end->ask, &end_kind);
}
