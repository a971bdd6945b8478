/* offsets_forget.c - tombstones: deleted offsets and groups, and what has had its time.
 *
 * In memory a thing is gone when its tombstones are handed to the journal, whose order keeps
 * any later commit after them. SPDX-License-Identifier: Apache-2.0 */
#include "coord/offsets_state.h"

#include <stdlib.h>

#define BURIAL_WAITS_MAX 10 /* for a group's writes, before its deletion is refused */

struct tombstones {
    struct journal_write write; /* first */
    struct group *group;
    struct record *records;
    size_t count, room;
    struct arena arena;
    void (*done)(void *owner, bool ok);
    void *owner;
};

static struct tombstones *tombstones_new(struct group *g, size_t room)
{
    struct tombstones *t = xcalloc(1, sizeof(*t));

    t->group = g;
    t->room = room;
    t->records = arena_take(&t->arena, room * sizeof(*t->records));
    g->writes++;
    return t;
}

static void tombstones_add(struct tombstones *t, view key)
{
    assert(t->count < t->room);
    t->records[t->count++] =
        (struct record){.timestamp_ms = coord_now_ms(t->group->coord), .key = key};
}

/* The offset's tombstone; the offset is gone after it. */
static void tombstones_add_offset(struct tombstones *t, struct offset *o)
{
    struct group *g = t->group;

    tombstones_add(t, offset_key_write(&t->arena, &g->coord->scratch, blob_view(g->id),
                                       offset_topic(o), o->partition));
    offset_forget(g, o);
}

static void buried(struct journal_write *write)
{
    struct tombstones *t = (struct tombstones *)(void *)write;
    struct group *g = t->group;

    g->writes--;
    if (t->done) {
        t->done(t->owner, write->ok);
    }
    if (g->state == GROUP_DEAD && !g->writes) {
        group_free(g);
    }
    arena_fini(&t->arena);
    free(t);
}

static void tombstones_write(struct tombstones *t, void (*done)(void *, bool), void *owner)
{
    t->done = done;
    t->owner = owner;
    t->write = (struct journal_write){.records = t->records,
                                      .count = t->count,
                                      .producer_id = -1,
                                      .producer_epoch = -1,
                                      .done = buried};
    journal_submit(t->group->coord, STORE_OFFSETS, blob_view(t->group->id), &t->write);
}

/* A group without members: its offsets, its record and itself. */
static void group_bury(struct group *g, void (*done)(void *, bool), void *owner)
{
    assert(group_is_idle(g));
    size_t count = g->offsets.count;
    struct tombstones *t = tombstones_new(g, count + 1);
    void **offsets = values_of(&g->offsets);

    for (size_t i = 0; i < count; i++) {
        tombstones_add_offset(t, offsets[i]);
    }
    free(offsets);
    tombstones_add(t, group_key_write(&t->arena, &g->coord->scratch, blob_view(g->id)));
    group_move(g, GROUP_DEAD);
    tombstones_write(t, done, owner);
}

static void offsets_deleted(void *owner, bool ok)
{
    struct coord_delete_offsets *ask = owner;

    for (size_t i = 0; !ok && i < ask->offset_count; i++) {
        if (!ask->offsets[i].status) {
            ask->offsets[i].status = COORD_STORAGE;
        }
    }
    ask_done(&ask->ask, ok ? COORD_OK : COORD_STORAGE);
}

static enum coord_status check_delete(const struct group *g, const struct offset *o, view topic)
{
    if (g->member_count && group_subscribes(g, topic)) {
        return COORD_SUBSCRIBED_TO_TOPIC;
    }
    return o && o->holds ? COORD_UNSTABLE_OFFSETS : COORD_OK;
}

static void run_delete_offsets(struct coord *c, struct coord_ask *ask)
{
    struct coord_delete_offsets *delete = (struct coord_delete_offsets *)(void *)ask;
    struct group *g = group_find(c, delete->group);

    if (!g || g->state == GROUP_DEAD) {
        ask_refuse(ask, COORD_GROUP_NOT_FOUND);
        return;
    }
    struct tombstones *t = tombstones_new(g, delete->offset_count);
    for (size_t i = 0; i < delete->offset_count; i++) {
        struct coord_offset *one = &delete->offsets[i];
        struct offset *o = offset_find(g, one->topic, one->partition);
        one->status = check_delete(g, o, one->topic);
        if (!one->status && o) {
            tombstones_add_offset(t, o);
        }
    }
    if (t->count) {
        tombstones_write(t, offsets_deleted, delete);
        return;
    }
    g->writes--;
    arena_fini(&t->arena);
    free(t);
    ask_done(ask, COORD_OK);
}

static void refuse_delete_offsets(struct coord_ask *ask, enum coord_status status)
{
    struct coord_delete_offsets *delete = (struct coord_delete_offsets *)(void *)ask;

    offsets_refuse(delete->offsets, delete->offset_count, status);
}

struct burial { /* one group of a coord_delete_groups; in its arena */
    struct coord *coord;
    struct coord_delete_groups *ask;
    struct coord_delete_group *group;
    size_t *left; /* of the whole ask */
    int waits;
};

static void burial_done(struct coord_delete_groups *ask, size_t *left)
{
    if (--*left == 0) {
        ask_done(&ask->ask, COORD_OK);
    }
}

static void group_deleted(void *owner, bool ok)
{
    struct burial *b = owner;

    b->group->status = ok ? COORD_OK : COORD_STORAGE;
    burial_done(b->ask, b->left);
}

static enum coord_status check_delete_group(const struct group *g, view id)
{
    if (!id.len) {
        return COORD_INVALID_GROUP;
    }
    if (!g || g->state == GROUP_DEAD) {
        return COORD_GROUP_NOT_FOUND;
    }
    return group_is_deserted(g) ? COORD_OK : COORD_NON_EMPTY_GROUP;
}

/* Who deletes right after the last member left, or a commit, meets their writes under way: a
 * commit applied behind the tombstones would outlive the group, so those writes come first. */
static void bury_when_idle(void *owner)
{
    struct burial *b = owner;
    struct group *g = group_find(b->coord, b->group->group);

    b->group->status = check_delete_group(g, b->group->group);
    if (b->group->status) {
        burial_done(b->ask, b->left);
    } else if (group_is_idle(g)) {
        group_bury(g, group_deleted, b);
    } else if (b->waits++ < BURIAL_WAITS_MAX) {
        group_settle(g, bury_when_idle, b);
    } else {
        b->group->status = COORD_NON_EMPTY_GROUP; /* somebody keeps committing */
        burial_done(b->ask, b->left);
    }
}

static void run_delete_groups(struct coord *c, struct coord_ask *ask)
{
    struct coord_delete_groups *delete = (struct coord_delete_groups *)(void *)ask;
    size_t *left = arena_take(ask->arena, sizeof(*left));

    *left = delete->group_count + 1; /* one is this loop's own */
    for (size_t i = 0; i < delete->group_count; i++) {
        struct burial *b = arena_take(ask->arena, sizeof(*b));
        *b = (struct burial){c, delete, &delete->groups[i], left, 0};
        bury_when_idle(b);
    }
    burial_done(delete, left);
}

static void refuse_delete_groups(struct coord_ask *ask, enum coord_status status)
{
    struct coord_delete_groups *delete = (struct coord_delete_groups *)(void *)ask;

    for (size_t i = 0; i < delete->group_count; i++) {
        delete->groups[i].status = status;
    }
}

/* Kafka's rules: the time runs from the later of the commit and the group's becoming empty;
 * with members, for topics they do not read, from the commit. */
static bool has_expired(const struct group *g, const struct offset *o, int64_t now_ms)
{
    struct coord *c = g->coord;
    int64_t since = o->commit_ms;
    uuid id;

    if (o->holds) {
        return false;
    }
    if (!c->store->find(c->store, offset_topic(o), o->partition, &id) ||
        !(uuid_is_zero(o->topic_id) || uuid_is(o->topic_id, id))) {
        return true; /* its topic is gone */
    }
    if (g->member_count) {
        return g->state == GROUP_STABLE && !group_subscribes(g, offset_topic(o)) &&
               now_ms - since >= c->config.offsets_retention_ms;
    }
    since = g->protocol_type.at ? MAX(since, g->empty_since_ms) : since;
    return now_ms - since >= c->config.offsets_retention_ms;
}

static void group_expire(struct group *g, int64_t now_ms)
{
    struct offset **expired = xcalloc(g->offsets.count + 1, sizeof(struct offset *)), *o;
    size_t count = 0;

    for (size_t at = 0; (o = map_next(&g->offsets, &at));) {
        if (has_expired(g, o, now_ms)) {
            expired[count++] = o;
        }
    }
    if (group_is_idle(g) && count == g->offsets.count) {
        if (count || g->recorded) {
            group_bury(g, NULL, NULL);
        } else {
            group_free(g); /* nothing of it is in the log */
        }
    } else if (count) {
        struct tombstones *t = tombstones_new(g, count);
        for (size_t i = 0; i < count; i++) {
            tombstones_add_offset(t, expired[i]);
        }
        tombstones_write(t, NULL, NULL);
    }
    free(expired);
}

void offsets_expire(struct coord *c)
{
    size_t count = c->groups.count;
    void **groups = values_of(&c->groups);
    int64_t now_ms = coord_now_ms(c);

    for (size_t i = 0; i < count; i++) {
        struct group *g = groups[i];
        if (g->state != GROUP_DEAD) {
            group_expire(g, now_ms);
        }
    }
    free(groups);
}

static const struct ask_kind delete_offsets_kind = {.run = run_delete_offsets,
                                                    .refuse = refuse_delete_offsets};
static const struct ask_kind delete_groups_kind = {.run = run_delete_groups,
                                                   .refuse = refuse_delete_groups};

void coord_delete_offsets(struct coord *c, struct coord_delete_offsets *offsets)
{
    ask_post(c, &offsets->ask, &delete_offsets_kind);
}

void coord_delete_groups(struct coord *c, struct coord_delete_groups *groups)
{
    ask_post(c, &groups->ask, &delete_groups_kind);
}
