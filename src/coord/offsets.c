/* offsets.c - commits, fetches and deletions of groups' offsets.
 *
 *   commit -> checked -> records (journal: one batch for all that wait) -> durable -> in memory
 *          -> answered
 *
 * What is not durable is never seen by a fetch. SPDX-License-Identifier: Apache-2.0 */
#include "coord/offsets_state.h"

#include <stdlib.h>

struct offsets_batch {          /* one ask's records on their way; in the ask's arena */
    struct journal_write write; /* first */
    struct coord *coord;
    struct group *group;
    struct coord_ask *ask;
    struct coord_offset *offsets;
    struct offset_value *values; /* of the accepted ones, in order */
    size_t count;
    void (*before_answer)(struct coord_ask *);
};

void offsets_refuse(struct coord_offset *offsets, size_t count, enum coord_status status)
{
    for (size_t i = 0; i < count; i++) {
        offsets[i].status = status;
    }
}

enum coord_status offsets_check(struct coord *c, view group, view member, view instance,
                                int32_t generation, bool in_txn)
{
    const struct group *g = group_find(c, group);
    struct member *m = NULL;

    if (!group.len && in_txn) {
        return COORD_INVALID_GROUP;
    }
    if (!g) {
        return generation < 0 ? COORD_OK : COORD_ILLEGAL_GENERATION;
    }
    if (g->state == GROUP_DEAD) {
        return COORD_LOADING;
    }
    if (generation < 0 && (g->state == GROUP_EMPTY || in_txn) && !member.len) {
        return COORD_OK;
    }
    if (generation < 0 && !member.len && !instance.at) {
        return COORD_UNKNOWN_MEMBER; /* a group with members owns its offsets */
    }
    enum coord_status status = group_check_member(g, member, instance, &m);
    if (status) {
        return status;
    }
    if (generation != g->generation) {
        return COORD_ILLEGAL_GENERATION;
    }
    if (!in_txn && g->state == GROUP_COMPLETING) {
        return COORD_REBALANCE_IN_PROGRESS;
    }
    member_beat(m);
    return COORD_OK;
}

static enum coord_status accept(struct group *g, const struct coord_offset *in,
                                struct offset_value *value)
{
    struct coord *c = g->coord;

    *value = (struct offset_value){
        .offset = in->offset,
        .leader_epoch = in->leader_epoch,
        .metadata = in->metadata,
        .commit_ms = coord_now_ms(c),
    };
    if ((int64_t)in->metadata.len > c->config.metadata_bytes_max) {
        return COORD_OFFSET_METADATA_TOO_LARGE;
    }
    if (c->counters.offsets >= c->config.offsets_max &&
        !offset_find(g, in->topic, in->partition)) {
        return COORD_TOO_MANY;
    }
    bool known = c->store->find(c->store, in->topic, in->partition, &value->topic_id);
    return known ? COORD_OK : COORD_UNKNOWN_TOPIC;
}

static void apply(struct offsets_batch *b, size_t i, const struct coord_offset *in)
{
    struct offset *o = offset_make(b->group, in->topic, in->partition);
    int64_t at = b->write.base_offset + (int64_t)i;

    if (b->write.producer_id < 0) {
        offset_set(o, &b->values[i], at);
    } else {
        hold_add(b->coord, b->write.producer_id, b->group, o, &b->values[i], at);
    }
}

static void offsets_written(struct journal_write *write)
{
    struct offsets_batch *b = (struct offsets_batch *)(void *)write;
    size_t at = 0;

    b->group->writes--;
    for (size_t i = 0; i < b->count; i++) {
        struct coord_offset *in = &b->offsets[i];
        if (in->status) {
            continue;
        }
        if (write->ok) {
            apply(b, at++, in);
        } else {
            in->status = COORD_STORAGE;
        }
    }
    assert(!write->ok || at == write->count);
    b->coord->counters.commits += write->ok ? 1 : 0;
    if (b->before_answer) {
        b->before_answer(b->ask);
    }
    ask_done(b->ask, write->ok ? COORD_OK : COORD_STORAGE);
}

static struct record offset_record(struct coord *c, struct arena *arena, view group,
                                   const struct coord_offset *in,
                                   const struct offset_value *value)
{
    struct header *id = arena_take(arena, sizeof(*id));

    id->key = VIEW(STORE_ID_HEADER);
    id->value = arena_copy(arena, VIEW_OF(value->topic_id));
    return (struct record){
        .timestamp_ms = value->commit_ms,
        .key = offset_key_write(arena, &c->scratch, group, in->topic, in->partition),
        .value = offset_value_write(arena, &c->scratch, value),
        .headers = id,
        .header_count = 1,
    };
}

void offsets_write(struct coord *c, struct coord_ask *ask, view group,
                   struct coord_offset *offsets, size_t count, int64_t producer_id,
                   int16_t producer_epoch, void (*before_answer)(struct coord_ask *))
{
    struct arena *arena = ask->arena;
    struct offsets_batch *b = arena_take(arena, sizeof(*b));
    struct record *records = arena_take(arena, count * sizeof(*records));
    struct group *g = group_find(c, group);
    size_t accepted = 0;

    g = g ? g : group_make(c, group);
    b->values = arena_take(arena, count * sizeof(*b->values));
    for (size_t i = 0; i < count; i++) {
        offsets[i].status = g ? accept(g, &offsets[i], &b->values[accepted]) : COORD_TOO_MANY;
        if (!offsets[i].status) {
            records[accepted] =
                offset_record(c, arena, group, &offsets[i], &b->values[accepted]);
            accepted++;
        }
    }
    if (!accepted) {
        if (before_answer) {
            before_answer(ask);
        }
        ask_done(ask, g ? COORD_OK : COORD_TOO_MANY);
        return;
    }
    b->coord = c;
    b->group = g;
    b->ask = ask;
    b->offsets = offsets;
    b->count = count;
    b->before_answer = before_answer;
    b->write = (struct journal_write){.records = records,
                                      .count = accepted,
                                      .producer_id = producer_id,
                                      .producer_epoch = producer_epoch,
                                      .done = offsets_written};
    g->writes++;
    journal_submit(c, STORE_OFFSETS, group, &b->write);
}

static void run_commit(struct coord *c, struct coord_ask *ask)
{
    struct coord_commit *commit = (struct coord_commit *)(void *)ask;
    enum coord_status status = offsets_check(c, commit->group, commit->member, commit->instance,
                                             commit->generation, false);

    if (status) {
        ask_refuse(ask, status);
    } else {
        offsets_write(c, ask, commit->group, commit->offsets, commit->offset_count, -1, -1,
                      NULL);
    }
}

static void refuse_commit(struct coord_ask *ask, enum coord_status status)
{
    struct coord_commit *commit = (struct coord_commit *)(void *)ask;

    offsets_refuse(commit->offsets, commit->offset_count, status);
}

/* False: there is none, or it belongs to a topic that is no more. */
static bool is_current(struct coord *c, const struct offset *o)
{
    uuid id;

    return o && o->offset >= 0 &&
           c->store->find(c->store, offset_topic(o), o->partition, &id) &&
           (uuid_is_zero(o->topic_id) || uuid_is(o->topic_id, id));
}

static void fetch_one(struct coord *c, const struct offset *o, bool require_stable,
                      struct arena *arena, struct coord_offset *out)
{
    out->offset = -1;
    out->leader_epoch = -1;
    out->metadata = VIEW("");
    out->status = COORD_OK;
    if (o && o->holds && require_stable) {
        out->status = COORD_UNSTABLE_OFFSETS;
    } else if (is_current(c, o)) {
        out->offset = o->offset;
        out->leader_epoch = o->leader_epoch;
        out->metadata = o->metadata.at ? arena_copy(arena, blob_view(o->metadata)) : VIEW("");
    }
}

static int by_topic(const void *left, const void *right)
{
    const struct coord_offset *a = left, *b = right;
    int order = view_order(a->topic, b->topic);

    return order ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static void fetch_all(struct coord *c, const struct group *g, bool require_stable,
                      struct arena *arena, struct coord_fetch_group *out)
{
    const struct offset *o;

    out->offset_count = 0;
    out->offsets = arena_take(arena, (g ? g->offsets.count : 0) * sizeof(*out->offsets));
    for (size_t at = 0; g && (o = map_next(&g->offsets, &at));) {
        struct coord_offset *one = &out->offsets[out->offset_count];
        if (!is_current(c, o) && !(o->holds && require_stable)) {
            continue;
        }
        one->topic = arena_copy(arena, offset_topic(o));
        one->partition = o->partition;
        fetch_one(c, o, require_stable, arena, one);
        out->offset_count++;
    }
    if (out->offset_count) {
        qsort(out->offsets, out->offset_count, sizeof(*out->offsets), by_topic);
    }
}

static void run_fetch(struct coord *c, struct coord_ask *ask)
{
    struct coord_fetch *fetch = (struct coord_fetch *)(void *)ask;

    for (size_t i = 0; i < fetch->group_count; i++) {
        struct coord_fetch_group *one = &fetch->groups[i];
        const struct group *g = group_find(c, one->group);
        one->status = COORD_OK;
        if (one->all) {
            fetch_all(c, g, fetch->require_stable, ask->arena, one);
        }
        for (size_t k = 0; !one->all && k < one->offset_count; k++) {
            struct coord_offset *out = &one->offsets[k];
            const struct offset *o = g ? offset_find(g, out->topic, out->partition) : NULL;
            fetch_one(c, o, fetch->require_stable, ask->arena, out);
        }
    }
    ask_done(ask, COORD_OK);
}

static void refuse_fetch(struct coord_ask *ask, enum coord_status status)
{
    struct coord_fetch *fetch = (struct coord_fetch *)(void *)ask;

    for (size_t i = 0; i < fetch->group_count; i++) {
        struct coord_fetch_group *one = &fetch->groups[i];
        one->status = status;
        if (one->all) {
            one->offset_count = 0;
        }
        offsets_refuse(one->offsets, one->offset_count, status);
    }
}

static const struct ask_kind commit_kind = {.run = run_commit, .refuse = refuse_commit};
static const struct ask_kind fetch_kind = {.run = run_fetch, .refuse = refuse_fetch};

void coord_commit(struct coord *c, struct coord_commit *commit)
{
    ask_post(c, &commit->ask, &commit_kind);
}

void coord_fetch(struct coord *c, struct coord_fetch *fetch)
{
    ask_post(c, &fetch->ask, &fetch_kind);
}
