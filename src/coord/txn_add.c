/* txn_add.c - what a transaction covers: partitions, and groups' offsets.
 *
 * An offset commit of a transaction is written to __consumer_offsets in the producer's name and
 * held back there until its marker. Under version 2 it adds the group by itself (KIP-890).
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/offsets_state.h"
#include "coord/txns.h"

#include <stdlib.h>

enum coord_status txn_check(const struct txn *t, int64_t producer_id, int16_t epoch)
{
    if (!t || t->facts.producer_id != producer_id) {
        return COORD_INVALID_PRODUCER_MAPPING;
    }
    return t->facts.epoch == epoch ? COORD_OK : COORD_PRODUCER_FENCED;
}

/* Asks come back when the record or the markers that are under way are done; when markers do
 * not get through, the client is told to come again itself. */
static bool must_wait(struct txn *t, struct coord_ask *ask)
{
    bool ending = t->facts.state == TXN_PREPARE_COMMIT || t->facts.state == TXN_PREPARE_ABORT;

    if (!t->pending && !ending) {
        return false;
    }
    if (t->tries > 1) {
        ask_refuse(ask, COORD_CONCURRENT_TRANSACTIONS);
    } else {
        txn_defer(t, ask);
    }
    return true;
}

static struct txn_facts ongoing(const struct txn *t, bool v2)
{
    struct txn_facts next = t->facts;

    next.state = TXN_ONGOING;
    next.version = v2 ? 2 : 0;
    if (t->facts.state != TXN_ONGOING) {
        next.start_ms = coord_now_ms(t->coord);
    }
    return next;
}

static void add_done(struct txn *t, struct coord_ask *ask, bool ok)
{
    if (ok) {
        ask_done(ask, COORD_OK);
    } else {
        ask_refuse(ask, COORD_STORAGE);
    }
    txn_undefer(t);
}

static void set_all(struct coord_add_partitions *add, enum coord_status status)
{
    for (size_t i = 0; i < add->partition_count; i++) {
        add->partitions[i].status = status;
    }
}

static void verify(const struct txn *t, struct coord_add_partitions *add)
{
    for (size_t i = 0; i < add->partition_count; i++) {
        struct coord_txn_partition *p = &add->partitions[i];
        bool in = t->facts.state == TXN_ONGOING && part_find(t, p->topic, p->partition);
        p->status = in ? COORD_OK : COORD_TXN_ABORTABLE;
    }
    ask_done(&add->ask, COORD_OK);
}

static bool all_exist(struct coord *c, struct coord_add_partitions *add)
{
    bool all = true;
    uuid id;

    for (size_t i = 0; i < add->partition_count; i++) {
        struct coord_txn_partition *p = &add->partitions[i];
        bool there = c->store->find(c->store, p->topic, p->partition, &id);
        p->status = there ? COORD_OK : COORD_UNKNOWN_TOPIC;
        all = all && there;
    }
    for (size_t i = 0; !all && i < add->partition_count; i++) {
        struct coord_txn_partition *p = &add->partitions[i];
        p->status = p->status ? p->status : COORD_NOT_ATTEMPTED;
    }
    return all;
}

static bool all_in(const struct txn *t, const struct coord_txn_partition *partitions,
                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!part_find(t, partitions[i].topic, partitions[i].partition)) {
            return false;
        }
    }
    return t->facts.state == TXN_ONGOING;
}

static void run_add_partitions(struct coord *c, struct coord_ask *ask)
{
    struct coord_add_partitions *add = (struct coord_add_partitions *)(void *)ask;
    struct txn *t = txn_find(c, add->txn_id);
    enum coord_status status = add->txn_id.len
                                   ? txn_check(t, add->producer_id, add->producer_epoch)
                                   : COORD_INVALID_REQUEST;

    if (status) {
        ask_refuse(ask, status);
        return;
    }
    if (must_wait(t, ask)) {
        return;
    }
    if (add->how == COORD_TXN_VERIFY) {
        verify(t, add);
        return;
    }
    if (!all_exist(c, add)) {
        ask_done(ask, COORD_OK);
        return;
    }
    if (all_in(t, add->partitions, add->partition_count)) {
        ask_done(ask, COORD_OK);
        return;
    }
    struct txn_facts next = ongoing(t, add->how == COORD_TXN_ADD_V2);
    txn_submit(t, &next, add->partitions, add->partition_count, ask, add_done);
}

static void refuse_add_partitions(struct coord_ask *ask, enum coord_status status)
{
    set_all((struct coord_add_partitions *)(void *)ask, status);
}

static struct coord_txn_partition offsets_part(struct coord *c, view group)
{
    return (struct coord_txn_partition){
        .topic = view_text(store_topic_name(STORE_OFFSETS)),
        .partition = journal_partition(c, STORE_OFFSETS, group),
    };
}

static void run_add_offsets(struct coord *c, struct coord_ask *ask)
{
    struct coord_add_offsets *add = (struct coord_add_offsets *)(void *)ask;
    struct txn *t = txn_find(c, add->txn_id);
    enum coord_status status = !add->txn_id.len ? COORD_INVALID_REQUEST
                               : !add->group.len
                                   ? COORD_INVALID_GROUP
                                   : txn_check(t, add->producer_id, add->producer_epoch);

    if (status) {
        ask_done(ask, status);
        return;
    }
    if (must_wait(t, ask)) {
        return;
    }
    struct coord_txn_partition part = offsets_part(c, add->group);
    if (all_in(t, &part, 1)) {
        ask_done(ask, COORD_OK);
        return;
    }
    struct txn_facts next = ongoing(t, false);
    txn_submit(t, &next, &part, 1, ask, add_done);
}

static void offsets_are_held(struct coord_ask *ask)
{
    struct coord_txn_commit *commit = (struct coord_txn_commit *)(void *)ask;
    struct txn *t = txn_find(ask->coord, commit->txn_id);

    assert(t && t->offset_writes > 0);
    if (--t->offset_writes == 0) {
        txn_undefer(t); /* an end may have waited for it */
    }
}

static void hold_offsets(struct txn *t, struct coord_txn_commit *commit)
{
    t->offset_writes++;
    offsets_write(t->coord, &commit->ask, commit->group, commit->offsets, commit->offset_count,
                  commit->producer_id, commit->producer_epoch, offsets_are_held);
}

static void added_for_commit(struct txn *t, struct coord_ask *ask, bool ok)
{
    if (ok) {
        hold_offsets(t, (struct coord_txn_commit *)(void *)ask);
    } else {
        ask_refuse(ask, COORD_STORAGE);
    }
    txn_undefer(t);
}

static void run_txn_commit(struct coord *c, struct coord_ask *ask)
{
    struct coord_txn_commit *commit = (struct coord_txn_commit *)(void *)ask;
    struct txn *t = txn_find(c, commit->txn_id);
    enum coord_status status = offsets_check(c, commit->group, commit->member, commit->instance,
                                             commit->generation, true);

    status = status ? status : txn_check(t, commit->producer_id, commit->producer_epoch);
    if (status) {
        ask_refuse(ask, status);
        return;
    }
    if (must_wait(t, ask)) {
        return;
    }
    struct coord_txn_partition part = offsets_part(c, commit->group);
    if (all_in(t, &part, 1)) {
        hold_offsets(t, commit);
    } else if (commit->v2) {
        struct txn_facts next = ongoing(t, true);
        txn_submit(t, &next, &part, 1, ask, added_for_commit);
    } else {
        ask_refuse(ask, COORD_INVALID_TXN_STATE);
    }
}

static void refuse_txn_commit(struct coord_ask *ask, enum coord_status status)
{
    struct coord_txn_commit *commit = (struct coord_txn_commit *)(void *)ask;

    offsets_refuse(commit->offsets, commit->offset_count, status);
}

static const struct ask_kind add_partitions_kind = {.run = run_add_partitions,
                                                    .refuse = refuse_add_partitions};
static const struct ask_kind add_offsets_kind = {.run = run_add_offsets};
static const struct ask_kind txn_commit_kind = {.run = run_txn_commit,
                                                .refuse = refuse_txn_commit};

void coord_add_partitions(struct coord *c, struct coord_add_partitions *add)
{
    ask_post(c, &add->ask, &add_partitions_kind);
}

void coord_add_offsets(struct coord *c, struct coord_add_offsets *add)
{
    ask_post(c, &add->ask, &add_offsets_kind);
}

void coord_txn_commit(struct coord *c, struct coord_txn_commit *commit)
{
    ask_post(c, &commit->ask, &txn_commit_kind);
}
