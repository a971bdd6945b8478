/* txn_marks.c - what follows a durable Prepare: markers, one release, Complete, the answer.
 *
 *   marker to every partition, held -> all durable -> store.release: visible in one step
 *     -> held offsets count -> Complete (lazily written) -> answer -> deferred asks run
 *
 * A marker that fails is tried again for ever, with growing pauses; a partition that was
 * deleted is left out. SPDX-License-Identifier: Apache-2.0 */
#include "coord/offsets_state.h"
#include "coord/txns.h"

#include <stddef.h>
#include <stdlib.h>

enum { RETRY_MS_MIN = 50, RETRY_MS_MAX = 5000 };

struct mark_job {           /* the owner of a mark is found by its place */
    struct store_mark mark; /* first */
    struct txn *txn;
    bool done;
};

static void end_holds(struct txn *t, bool commit)
{
    view offsets_topic = view_text(store_topic_name(STORE_OFFSETS));
    struct txn_part *part;

    for (size_t at = 0; (part = map_next(&t->parts, &at));) {
        if (view_is(part_topic(part), offsets_topic)) {
            hold_end(t->coord, t->facts.producer_id, part->partition, commit);
        }
    }
}

static void answer(struct txn *t)
{
    struct coord_end_txn *end = (struct coord_end_txn *)(void *)t->ending;

    t->ending = NULL;
    if (end) {
        end->next_id = t->facts.producer_id;
        end->next_epoch = t->facts.epoch;
        ask_done(&end->ask, COORD_OK);
    }
}

void txn_forget_marks(struct txn *t)
{
    struct coord_store *store = t->coord->store;

    for (size_t i = 0; i < t->mark_count; i++) {
        store->forget(store, &t->marks[i].mark);
    }
    free(t->marks);
    t->marks = NULL;
    t->mark_count = 0;
}

static void complete(struct txn *t)
{
    struct coord *c = t->coord;
    struct txn_facts next = t->facts;
    bool commit = t->facts.state == TXN_PREPARE_COMMIT;

    if (commit) {
        c->counters.txns_committed++;
    } else {
        c->counters.txns_aborted++;
    }
    end_holds(t, commit);
    next.state = commit ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
    next.start_ms = -1;
    next.update_ms = coord_now_ms(c);
    if (next.next_id >= 0) {
        next.previous_id = next.producer_id;
        next.producer_id = next.next_id;
        next.next_id = -1;
        next.epoch = 0;
    }
    txn_forget_marks(t);
    t->tries = 0;
    txn_adopt(t, &next);
    txn_record_lazily(t);
    if (t->unsettled) {
        t->unsettled = false;
        c->unsettled--;
        coord_say_settled(c);
    }
    answer(t);
    txn_undefer(t);
}

static void release(struct txn *t)
{
    struct coord *c = t->coord;
    struct store_mark **marks = xcalloc(t->mark_count + 1, sizeof(struct store_mark *));
    size_t count = 0;

    for (size_t i = 0; i < t->mark_count; i++) {
        if (t->marks[i].mark.result == STORE_MARK_DONE) {
            marks[count++] = &t->marks[i].mark;
        }
    }
    if (count) {
        c->store->release(c->store, marks, count);
    }
    free(marks);
}

static void send_marks(struct txn *t);

static void retry(struct timer *timer)
{
    send_marks((struct txn *)(void *)((char *)timer - offsetof(struct txn, timer)));
}

static void round_over(struct txn *t)
{
    struct coord *c = t->coord;
    bool all = true;

    for (size_t i = 0; i < t->mark_count; i++) {
        all = all && t->marks[i].done;
    }
    if (all) {
        release(t);
        complete(t);
        return;
    }
    int64_t wait_ms = MIN((int64_t)RETRY_MS_MIN << MIN(t->tries, 10), (int64_t)RETRY_MS_MAX);
    trace_warn("coord", "markers of %.*s did not all get through; once more in %d ms",
               VIEW_ARG(blob_view(t->id)), (int)wait_ms);
    timer_set(&c->timers, &t->timer, coord_due(c, wait_ms), retry);
    for (size_t i = 0; t->tries > 1 && i < t->deferred_count; i++) {
        ask_refuse(t->deferred[i], COORD_CONCURRENT_TRANSACTIONS);
    }
    t->deferred_count = t->tries > 1 ? 0 : t->deferred_count;
}

static void mark_finish(struct job *job)
{
    struct mark_job *m = (struct mark_job *)(void *)job;
    struct txn *t = m->txn;

    t->coord->store_calls--;
    m->done = m->mark.result != STORE_MARK_FAILED;
    if (--t->marks_under_way == 0) {
        round_over(t);
    }
}

static void mark_stored(struct store_mark *mark)
{
    struct mark_job *m = (struct mark_job *)(void *)mark;

    mark->job.work = mark_finish;
    worker_post(&m->txn->coord->worker, &mark->job);
}

static void send_marks(struct txn *t)
{
    struct coord *c = t->coord;

    t->tries++;
    for (size_t i = 0; i < t->mark_count; i++) {
        t->marks_under_way += t->marks[i].done ? 0 : 1;
    }
    if (!t->marks_under_way) { /* nothing was written */
        round_over(t);
        return;
    }
    for (size_t i = 0; i < t->mark_count; i++) {
        if (!t->marks[i].done) {
            c->store_calls++;
            c->store->mark(c->store, &t->marks[i].mark);
        }
    }
}

void txn_mark(struct txn *t)
{
    struct mark_job *jobs = xcalloc(t->parts.count + 1, sizeof(*jobs));
    struct txn_part *part;

    assert(!t->marks);
    t->marks = jobs;
    t->mark_count = 0;
    for (size_t at = 0; (part = map_next(&t->parts, &at));) {
        struct mark_job *m = &jobs[t->mark_count++];
        m->txn = t;
        m->mark = (struct store_mark){
            .topic = part_topic(part),
            .partition = part->partition,
            .commit = t->facts.state == TXN_PREPARE_COMMIT,
            .v2 = t->facts.version >= 2,
            .producer_id = t->facts.producer_id,
            .producer_epoch = t->facts.epoch,
            .done = mark_stored,
        };
    }
    send_marks(t);
}
