/* replay.c - state is a fold over records: offsets and groups, then transactions.
 *
 * The newest record of a key counts; one without value takes it away. Offsets of transactions
 * are held until a marker of their producer comes by in the same partition. What is damaged or
 * of another protocol is passed over: the log has checked the bytes, so it is a writer's
 * mistake and no reason to stay down. SPDX-License-Identifier: Apache-2.0 */
#include "coord/replay.h"

#include <stdlib.h>
#include <string.h>

#include "coord/offsets_state.h"
#include "coord/txns.h"

static void odd(const struct store_entry *e)
{
    trace_warn("coord", "%s/%d@%lld: a record that cannot be read is passed over",
               store_topic_name(e->topic), (int)e->partition, (long long)e->offset);
}

/* Times of records are taken for what this machine's clock may have said. */
static int64_t past_ms(struct coord *c, int64_t ms)
{
    return MIN(MAX(ms, 0), coord_now_ms(c));
}

static struct group *group_for(struct coord *c, view id)
{
    struct group *g = group_find(c, id);

    return g ? g : group_make(c, id);
}

static void take_offset(struct coord *c, const struct store_entry *e,
                        const struct offset_key *key)
{
    struct offset_value value;

    if (!offset_value_read(e->value, &value)) {
        odd(e);
        return;
    }
    struct group *g = group_for(c, key->group);
    if (!g) {
        return;
    }
    value.commit_ms = past_ms(c, value.commit_ms);
    if (e->topic_id.len == sizeof(value.topic_id)) {
        memcpy(value.topic_id.bytes, e->topic_id.at, e->topic_id.len);
    }
    struct offset *o = offset_make(g, key->topic, key->partition);
    if (e->transactional) {
        hold_add(c, e->producer_id, g, o, &value, e->offset);
    } else {
        offset_set(o, &value, e->offset);
    }
}

static void drop_offset(struct coord *c, const struct offset_key *key)
{
    struct group *g = group_find(c, key->group);
    struct offset *o = g ? offset_find(g, key->topic, key->partition) : NULL;

    if (o && o->holds) {
        o->offset = o->record_at = -1;
    } else if (o) {
        offset_forget(g, o);
    }
}

static void clear_members(struct group *g)
{
    while (g->member_count) {
        member_remove(g->members[g->member_count - 1], COORD_UNKNOWN_MEMBER);
    }
    blob_set(&g->protocol, (view){0});
    g->generation = 0;
    g->state = GROUP_EMPTY; /* before its life begins: no move */
}

static void add_member(struct group *g, const struct group_value *value,
                       const struct coord_member_value *in)
{
    struct coord_protocol offer = {value->protocol, in->subscription};
    struct coord_join join = {
        .instance = in->instance,
        .client_id = in->client_id,
        .client_host = in->client_host,
        .protocol_type = value->protocol_type,
        .session_ms = in->session_ms,
        .rebalance_ms = in->rebalance_ms,
        .protocols = &offer,
        .protocol_count = 1,
    };
    struct member *m = member_new(g, &join, in->member);

    blob_set(&m->assignment, in->assignment);
    if (view_is(in->member, value->leader)) {
        g->leader = m;
    }
}

static void take_group(struct coord *c, const struct store_entry *e, view id)
{
    struct arena arena = {0};
    struct group_value value;
    struct group *g = group_for(c, id);

    if (g && group_value_read(e->value, &arena, &value)) {
        clear_members(g);
        for (size_t i = 0; i < value.member_count; i++) {
            add_member(g, &value, &value.members[i]);
        }
        g->generation = value.generation;
        blob_set(&g->protocol_type, value.protocol_type);
        blob_set(&g->protocol, value.protocol);
        g->state = value.member_count ? GROUP_STABLE : GROUP_EMPTY;
        g->empty_since_ms = value.state_ms >= 0 ? past_ms(c, value.state_ms) : coord_now_ms(c);
        g->recorded = true;
    } else {
        odd(e);
    }
    arena_fini(&arena);
}

static void drop_group(struct coord *c, view id)
{
    struct group *g = group_find(c, id);

    if (g) {
        clear_members(g);
        g->recorded = false;
        if (!g->offsets.count && group_is_idle(g)) {
            group_free(g);
        }
    }
}

static void fold_offsets(void *self, const struct store_entry *e)
{
    struct coord *c = self;

    if (!e->key.at) {
        hold_end(c, e->producer_id, e->partition, e->commit);
        return;
    }
    struct offset_key key = offset_key_read(e->key);
    if (key.kind == RECORD_OFFSET && e->value.at) {
        take_offset(c, e, &key);
    } else if (key.kind == RECORD_OFFSET) {
        drop_offset(c, &key);
    } else if (key.kind == RECORD_GROUP && e->value.at) {
        take_group(c, e, key.group);
    } else if (key.kind == RECORD_GROUP) {
        drop_group(c, key.group);
    }
}

static bool state_is_known(int8_t state)
{
    return state >= TXN_EMPTY && state <= TXN_COMPLETE_ABORT;
}

static void take_txn(struct coord *c, const struct store_entry *e, view id)
{
    struct arena arena = {0};
    struct txn_value value;
    struct txn *t = txn_find(c, id);

    t = t ? t : txn_make(c, id);
    if (t && txn_value_read(e->value, &arena, &value) && state_is_known(value.state)) {
        parts_clear(t);
        for (size_t i = 0; i < value.partition_count; i++) {
            part_add(t, value.partitions[i].topic, value.partitions[i].partition);
        }
        t->facts = (struct txn_facts){
            .state = (enum txn_state)value.state,
            .producer_id = value.producer_id,
            .previous_id = value.previous_id,
            .next_id = value.next_id,
            .epoch = value.producer_epoch,
            .last_epoch = -1,
            .version = value.version,
            .timeout_ms = value.timeout_ms,
            .start_ms = value.start_ms < 0 ? -1 : past_ms(c, value.start_ms),
            .update_ms = past_ms(c, value.update_ms),
        };
    } else {
        odd(e);
    }
    arena_fini(&arena);
}

static void fold_txns(void *self, const struct store_entry *e)
{
    struct coord *c = self;
    view id;

    if (!e->key.at) {
        return;
    }
    if (!txn_key_read(e->key, &id)) {
        odd(e);
    } else if (e->value.at) {
        take_txn(c, e, id);
    } else {
        struct txn *t = txn_find(c, id);
        if (t) {
            txn_free(t);
        }
    }
}

err replay_offsets(struct coord *c)
{
    return c->store->read(c->store, STORE_OFFSETS, fold_offsets, c);
}

static bool is_prepared(const struct txn *t)
{
    return t->facts.state == TXN_PREPARE_COMMIT || t->facts.state == TXN_PREPARE_ABORT;
}

err replay_txns(struct coord *c)
{
    err e = c->store->read(c->store, STORE_TXNS, fold_txns, c);
    struct txn *t;

    for (size_t at = 0; (t = map_next(&c->txns, &at));) {
        t->unsettled = is_prepared(t);
        c->unsettled += t->unsettled;
        c->counters.txns_open += t->unsettled || t->facts.state == TXN_ONGOING;
    }
    return e;
}

void replay_resume(struct coord *c)
{
    struct group *g;
    struct txn *t;

    for (size_t at = 0; (g = map_next(&c->groups, &at));) {
        for (size_t i = 0; i < g->member_count; i++) {
            member_beat(g->members[i]);
        }
    }
    for (size_t at = 0; (t = map_next(&c->txns, &at));) {
        if (t->facts.state == TXN_ONGOING) {
            int64_t left = t->facts.start_ms + t->facts.timeout_ms - coord_now_ms(c);
            timer_set(&c->timers, &t->timer, coord_due(c, MAX(left, 0)), txn_time_out);
        } else if (t->unsettled) {
            txn_mark(t); /* without partitions it is complete at once: the map stays as it is */
        }
    }
    coord_say_settled(c);
}
