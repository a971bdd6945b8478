/* txn.c - transactional ids: their states (drawn in txns.h), records and partitions.
 *
 * Invariants: (1) only txn_adopt writes txn.facts, after their record is durable; Complete is
 * the exception: it is adopted first, for a restart finds it again from Prepare. (2) While a
 * record is pending or markers are out, asks about the id are deferred and run again later, in
 * order. SPDX-License-Identifier: Apache-2.0 */
#include "coord/txns.h"

#include <stdlib.h>
#include <string.h>

#define TO(state) (1u << TXN_##state)

static const struct {
    const char *name;
    unsigned next;
} txn_states[TXN_STATES] = {
    [TXN_EMPTY] = {"Empty", TO(EMPTY) | TO(ONGOING) | TO(PREPARE_ABORT) | TO(DEAD)},
    [TXN_ONGOING] = {"Ongoing", TO(ONGOING) | TO(PREPARE_COMMIT) | TO(PREPARE_ABORT)},
    [TXN_PREPARE_COMMIT] = {"PrepareCommit", TO(COMPLETE_COMMIT)},
    [TXN_PREPARE_ABORT] = {"PrepareAbort", TO(COMPLETE_ABORT)},
    [TXN_COMPLETE_COMMIT] = {"CompleteCommit",
                             TO(EMPTY) | TO(ONGOING) | TO(PREPARE_ABORT) | TO(DEAD)},
    [TXN_COMPLETE_ABORT] = {"CompleteAbort",
                            TO(EMPTY) | TO(ONGOING) | TO(PREPARE_ABORT) | TO(DEAD)},
    [TXN_DEAD] = {"Dead", 0},
    [TXN_PREPARE_EPOCH_FENCE] = {"PrepareEpochFence", TO(PREPARE_ABORT)},
};

const char *txn_state_name(enum txn_state state)
{
    return txn_states[state].name;
}

struct txn *txn_find(struct coord *c, view id)
{
    return map_get(&c->txns, id);
}

struct txn *txn_make(struct coord *c, view id)
{
    if ((int64_t)c->txns.count >= c->config.txn_ids_max) {
        return NULL;
    }
    struct txn *t = xcalloc(1, sizeof(*t));

    t->coord = c;
    t->id = blob_copy(id);
    t->facts = (struct txn_facts){.producer_id = -1,
                                  .previous_id = -1,
                                  .next_id = -1,
                                  .epoch = -1,
                                  .last_epoch = -1,
                                  .start_ms = -1,
                                  .update_ms = coord_now_ms(c)};
    map_put(&c->txns, blob_view(t->id), t);
    c->counters.txn_ids++;
    return t;
}

void txn_free(struct txn *t)
{
    struct coord *c = t->coord;

    assert(t->deferred_count == 0 && !t->ending);
    timer_clear(&c->timers, &t->timer);
    map_remove(&c->txns, blob_view(t->id));
    parts_clear(t);
    map_fini(&t->parts);
    free(t->deferred);
    txn_forget_marks(t);
    free(t->id.at);
    free(t);
    c->counters.txn_ids--;
}

view part_topic(const struct txn_part *part)
{
    return (view){part->key, part->topic_bytes};
}

static view part_key(const struct txn_part *part)
{
    return (view){part->key, part->topic_bytes + sizeof(part->partition)};
}

static struct txn_part *part_new(view topic, int32_t partition)
{
    struct txn_part *part = xcalloc(1, sizeof(*part) + topic.len + sizeof(partition));

    part->partition = partition;
    part->topic_bytes = (uint32_t)topic.len;
    memcpy(part->key, topic.at, topic.len);
    memcpy(part->key + topic.len, &partition, sizeof(partition));
    return part;
}

struct txn_part *part_find(const struct txn *t, view topic, int32_t partition)
{
    if (!topic.len || !t->parts.count) {
        return NULL;
    }
    struct txn_part *probe = part_new(topic, partition);
    struct txn_part *found = map_get(&t->parts, part_key(probe));

    free(probe);
    return found;
}

void part_add(struct txn *t, view topic, int32_t partition)
{
    if (!part_find(t, topic, partition)) {
        struct txn_part *part = part_new(topic, partition);
        map_put(&t->parts, part_key(part), part);
    }
}

void parts_clear(struct txn *t)
{
    struct txn_part *part;

    for (size_t at = 0; (part = map_next(&t->parts, &at));) {
        free(part);
    }
    map_fini(&t->parts);
}

void txn_defer(struct txn *t, struct coord_ask *ask)
{
    t->deferred = array_room(t->deferred, t->deferred_count, &t->deferred_room, sizeof(ask));
    t->deferred[t->deferred_count++] = ask;
}

void txn_undefer(struct txn *t)
{
    struct coord *c = t->coord;
    struct coord_ask **asks = t->deferred;
    size_t count = t->deferred_count;

    if (t->pending || !count) {
        return;
    }
    t->deferred = NULL;
    t->deferred_count = t->deferred_room = 0;
    for (size_t i = 0; i < count; i++) {
        asks[i]->kind->run(c, asks[i]); /* may free t, may defer again */
    }
    free(asks);
}

static bool is_open(enum txn_state state)
{
    return state == TXN_ONGOING || state == TXN_PREPARE_COMMIT || state == TXN_PREPARE_ABORT;
}

void txn_adopt(struct txn *t, const struct txn_facts *facts)
{
    struct coord *c = t->coord;
    enum txn_state before = t->facts.state;

    assert(txn_states[before].next & (1u << facts->state));
    t->facts = *facts;
    c->counters.txns_open += is_open(facts->state) - is_open(before);
    if (facts->state != TXN_ONGOING) {
        timer_clear(&c->timers, &t->timer);
    } else if (before != TXN_ONGOING) {
        int64_t left = facts->start_ms + facts->timeout_ms - coord_now_ms(c);
        timer_set(&c->timers, &t->timer, coord_due(c, MAX(left, 0)), txn_time_out);
    }
    if (!is_open(facts->state)) {
        parts_clear(t);
    }
}

struct txn_write {
    struct journal_write write; /* first */
    struct txn *txn;
    struct txn_facts next;
    const struct coord_txn_partition *added; /* in the arena */
    size_t added_count;
    struct coord_ask *ask;
    txn_then *then;
    struct record record;
    struct arena arena;
};

static int by_topic(const void *left, const void *right)
{
    const struct coord_txn_partition *a = left, *b = right;
    int order = view_order(a->topic, b->topic);

    return order ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static view facts_value(struct txn_write *w)
{
    const struct txn *t = w->txn;
    const struct txn_facts *f = &w->next;
    size_t count = 0;
    struct txn_part *part;
    struct txn_value value = {
        .producer_id = f->producer_id,
        .previous_id = f->previous_id,
        .next_id = f->next_id,
        .producer_epoch = f->epoch,
        .version = f->version,
        .timeout_ms = f->timeout_ms,
        .state = (int8_t)f->state,
        .update_ms = f->update_ms,
        .start_ms = f->start_ms,
    };

    value.partitions =
        arena_take(&w->arena, (t->parts.count + w->added_count) * sizeof(*value.partitions));
    for (size_t at = 0; is_open(f->state) && (part = map_next(&t->parts, &at));) {
        value.partitions[count].topic = part_topic(part);
        value.partitions[count++].partition = part->partition;
    }
    for (size_t i = 0; i < w->added_count; i++) {
        value.partitions[count++] = w->added[i];
    }
    value.partition_count = count;
    if (count) {
        qsort(value.partitions, count, sizeof(*value.partitions), by_topic);
    }
    return txn_value_write(&w->arena, &t->coord->scratch, &value);
}

static void txn_write_free(struct txn_write *w)
{
    arena_fini(&w->arena);
    free(w);
}

static void txn_written(struct journal_write *write)
{
    struct txn_write *w = (struct txn_write *)(void *)write;
    struct txn *t = w->txn;

    t->pending = false;
    if (write->ok) {
        for (size_t i = 0; i < w->added_count; i++) {
            part_add(t, w->added[i].topic, w->added[i].partition);
        }
        txn_adopt(t, &w->next);
    }
    w->then(t, w->ask, write->ok);
    txn_write_free(w);
}

static struct txn_write *txn_write_new(struct txn *t, const struct txn_facts *next)
{
    struct txn_write *w = xcalloc(1, sizeof(*w));

    w->txn = t;
    w->next = *next;
    w->next.update_ms = coord_now_ms(t->coord);
    return w;
}

static void txn_write_submit(struct txn_write *w, view value,
                             void (*done)(struct journal_write *))
{
    struct txn *t = w->txn;

    w->record = (struct record){
        .timestamp_ms = w->next.update_ms,
        .key = txn_key_write(&w->arena, &t->coord->scratch, blob_view(t->id)),
        .value = value,
    };
    w->write = (struct journal_write){.records = &w->record,
                                      .count = 1,
                                      .producer_id = -1,
                                      .producer_epoch = -1,
                                      .done = done};
    journal_submit(t->coord, STORE_TXNS, blob_view(t->id), &w->write);
}

void txn_submit(struct txn *t, const struct txn_facts *next,
                const struct coord_txn_partition *added, size_t added_count,
                struct coord_ask *ask, txn_then *then)
{
    struct txn_write *w = txn_write_new(t, next);
    struct coord_txn_partition *copies =
        arena_take(&w->arena, added_count * sizeof(struct coord_txn_partition));

    assert(!t->pending);
    assert(txn_states[t->facts.state].next & (1u << next->state));
    for (size_t i = 0; i < added_count; i++) {
        copies[i].topic = arena_copy(&w->arena, added[i].topic);
        copies[i].partition = added[i].partition;
    }
    w->added = copies;
    w->added_count = added_count;
    w->ask = ask;
    w->then = then;
    t->pending = true;
    txn_write_submit(w, facts_value(w), txn_written);
}

static void lazily_written(struct journal_write *write)
{
    txn_write_free((struct txn_write *)(void *)write);
}

void txn_record_lazily(struct txn *t)
{
    struct txn_write *w = txn_write_new(t, &t->facts);

    txn_write_submit(w, facts_value(w), lazily_written);
}

static void buried(struct journal_write *write)
{
    struct txn_write *w = (struct txn_write *)(void *)write;
    struct txn *t = w->txn;

    t->pending = false;
    if (write->ok) {
        map_remove(&t->coord->txns, blob_view(t->id));
        struct coord_ask **asks = t->deferred; /* they find it gone */
        size_t count = t->deferred_count;
        struct coord *c = t->coord;
        t->deferred = NULL;
        t->deferred_count = 0;
        txn_free(t);
        for (size_t i = 0; i < count; i++) {
            asks[i]->kind->run(c, asks[i]);
        }
        free(asks);
    } else {
        txn_undefer(t);
    }
    txn_write_free(w);
}

void txn_bury(struct txn *t)
{
    assert(!t->pending && !is_open(t->facts.state));
    t->pending = true;
    txn_write_submit(txn_write_new(t, &t->facts), (view){0}, buried);
}

void txns_expire(struct coord *c)
{
    size_t count = 0, at = 0;
    struct txn **expired = xcalloc(c->txns.count + 1, sizeof(struct txn *)), *t;
    int64_t oldest = coord_now_ms(c) - c->config.txn_id_expiry_ms;

    while ((t = map_next(&c->txns, &at))) {
        if (!is_open(t->facts.state) && !t->pending && t->facts.update_ms <= oldest) {
            expired[count++] = t;
        }
    }
    for (size_t i = 0; i < count; i++) {
        txn_bury(expired[i]);
    }
    free(expired);
}
