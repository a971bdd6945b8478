/* group_asks.c - join, sync, heartbeat and leave: checks in the order clients rely on, then a
 * change of the group (group.c).
 *
 * Happy path: join (told an id) -> join (parked) -> sync (parked) -> heartbeat ... -> leave.
 * Sources: KIP-62, KIP-345, KIP-394, KIP-814. SPDX-License-Identifier: Apache-2.0 */
#include "coord/groups.h"

#define PROTOCOLS_MAX 100 /* that one member offers */

static view member_id_new(struct coord *c, struct arena *arena, view prefix)
{
    char text[UUID_TEXT_BYTES];

    uuid_text(uuid_new(c->os), text);
    const char *id = arena_format(arena, "%.*s-%s", VIEW_ARG(prefix), text);
    return view_text(id);
}

static void park_join(struct member *m, struct coord_join *join)
{
    if (m->join) { /* the same member asked again: its connection was lost */
        member_answer_join(m, COORD_CANCELLED);
    }
    m->join = join;
    ask_park(&join->ask, m);
    member_beat(m);
}

/* Joins that change the group: a join phase begins, or goes on with one more. */
static void join_and_rebalance(struct member *m, struct coord_join *join)
{
    struct group *g = m->group;

    park_join(m, join);
    if (g->state == GROUP_PREPARING) {
        group_joined(g);
    } else {
        group_prepare(g);
    }
}

static void answer_now(struct member *m, struct coord_join *join)
{
    park_join(m, join);
    member_answer_join(m, COORD_OK);
}

static void join_as_new(struct group *g, struct coord_join *join, view id)
{
    join_and_rebalance(member_new(g, join, id), join);
}

/* A static member that restarted takes over from the one it was (KIP-345). */
static void join_returning(struct member *m, struct coord_join *join)
{
    struct group *g = m->group;
    struct arena *arena = join->ask.arena;
    bool leads = g->leader == m;

    if (m->join) {
        member_answer_join(m, COORD_FENCED_INSTANCE);
    }
    if (m->sync) {
        member_answer_sync(m, COORD_FENCED_INSTANCE);
    }
    if (leads && g->state == GROUP_STABLE) {
        join->skip_assignment = join->knows_skip_assignment;
        if (!join->skip_assignment) {
            join->leader = arena_copy(arena, blob_view(m->id));
        }
    }
    member_rename(m, member_id_new(g->coord, arena, join->instance));
    member_update(m, join);
    if (g->state == GROUP_STABLE && view_is(group_choose_protocol(g), blob_view(g->protocol))) {
        m->returned = true;
        park_join(m, join);
        group_record_renamed(m);
    } else {
        join->skip_assignment = false;
        join->leader = (view){0};
        join_and_rebalance(m, join);
    }
}

static void join_without_id(struct group *g, struct coord_join *join)
{
    struct coord *c = g->coord;

    if (join->instance.at) {
        struct member *m = map_get(&g->by_instance, join->instance);
        if (m) {
            join_returning(m, join);
        } else {
            join_as_new(g, join, member_id_new(c, join->ask.arena, join->instance));
        }
        return;
    }
    view id = member_id_new(c, join->ask.arena, join->client_id);
    if (join->knows_member_id_required) {
        newcomer_add(g, id, join->session_ms);
        join->own_member = id;
        ask_done(&join->ask, COORD_MEMBER_ID_REQUIRED);
    } else {
        join_as_new(g, join, id);
    }
}

static void join_again(struct member *m, struct coord_join *join)
{
    struct group *g = m->group;
    bool same = member_offers_same(m, join);

    switch (g->state) {
    case GROUP_PREPARING:
        member_update(m, join);
        join_and_rebalance(m, join);
        break;
    case GROUP_COMPLETING: /* it did not get the answer */
    case GROUP_STABLE:
        if (same && !(g->state == GROUP_STABLE && g->leader == m)) {
            answer_now(m, join);
        } else {
            member_update(m, join);
            join_and_rebalance(m, join);
        }
        break;
    default:
        ask_done(&join->ask, COORD_UNKNOWN_MEMBER);
    }
}

static void join_with_id(struct group *g, struct coord_join *join)
{
    struct newcomer *newcomer = join->instance.at ? NULL : map_get(&g->newcomers, join->member);
    struct member *m = NULL;

    if (newcomer) {
        newcomer_remove(newcomer);
        join_as_new(g, join, join->member);
        return;
    }
    enum coord_status status = group_check_member(g, join->member, join->instance, &m);
    if (status) {
        ask_done(&join->ask, status);
    } else {
        join_again(m, join);
    }
}

static bool is_known(const struct group *g, const struct coord_join *join)
{
    return map_get(&g->by_id, join->member) || map_get(&g->newcomers, join->member) ||
           (join->instance.at && map_get(&g->by_instance, join->instance));
}

static enum coord_status check_join(struct coord *c, const struct coord_join *join)
{
    const struct group *g = group_find(c, join->group);

    if (!join->group.len) {
        return COORD_INVALID_GROUP;
    }
    if (join->session_ms < c->config.session_ms_min ||
        join->session_ms > c->config.session_ms_max) {
        return COORD_INVALID_SESSION_TIMEOUT;
    }
    if (!join->protocol_type.len || !join->protocol_count ||
        join->protocol_count > PROTOCOLS_MAX) {
        return COORD_INCONSISTENT_PROTOCOL;
    }
    if (c->member_bytes + join_bytes(join) > c->config.member_bytes_max) {
        return COORD_TOO_MANY;
    }
    if (!g) {
        return join->member.len ? COORD_UNKNOWN_MEMBER : COORD_OK;
    }
    if (g->state == GROUP_DEAD) {
        return COORD_LOADING; /* its end is on the way to the disk */
    }
    if (!is_known(g, join) &&
        (int64_t)(g->member_count + g->newcomers.count) >= c->config.members_max) {
        return COORD_GROUP_MAX_SIZE;
    }
    return group_accepts(g, join) ? COORD_OK : COORD_INCONSISTENT_PROTOCOL;
}

static void run_join(struct coord *c, struct coord_ask *ask)
{
    struct coord_join *join = (struct coord_join *)(void *)ask;
    enum coord_status status = check_join(c, join);
    struct group *g = status ? NULL : group_find(c, join->group);

    if (!status && !g) {
        g = group_make(c, join->group);
        status = g ? COORD_OK : COORD_TOO_MANY;
    }
    if (status) {
        ask_done(ask, status);
    } else if (join->member.len) {
        join_with_id(g, join);
    } else {
        join_without_id(g, join);
    }
}

static enum coord_status check_sync(struct coord *c, const struct coord_sync *sync,
                                    struct member **m)
{
    const struct group *g = group_find(c, sync->group);

    if (!g) {
        return COORD_UNKNOWN_MEMBER;
    }
    enum coord_status status = group_check_member(g, sync->member, sync->instance, m);
    if (status) {
        return status;
    }
    if (sync->generation != g->generation) {
        return COORD_ILLEGAL_GENERATION;
    }
    bool other_type =
        sync->protocol_type.at && !view_is(sync->protocol_type, blob_view(g->protocol_type));
    bool other_name =
        sync->protocol_name.at && !view_is(sync->protocol_name, blob_view(g->protocol));
    if (other_type || other_name) {
        return COORD_INCONSISTENT_PROTOCOL;
    }
    if (g->state == GROUP_COMPLETING || g->state == GROUP_STABLE) {
        return COORD_OK;
    }
    return g->state == GROUP_PREPARING ? COORD_REBALANCE_IN_PROGRESS : COORD_UNKNOWN_MEMBER;
}

static void run_sync(struct coord *c, struct coord_ask *ask)
{
    struct coord_sync *sync = (struct coord_sync *)(void *)ask;
    struct member *m = NULL;
    enum coord_status status = check_sync(c, sync, &m);

    if (status) {
        ask_done(ask, status);
        return;
    }
    struct group *g = m->group;
    if (m->sync) {
        member_answer_sync(m, COORD_CANCELLED);
    }
    m->synced = true;
    m->sync = sync;
    ask_park(ask, m);
    member_beat(m);
    if (g->state == GROUP_STABLE) {
        member_answer_sync(m, COORD_OK);
    } else if (g->leader == m && g->deciding != g->generation) {
        group_decide(g, sync);
    }
}

static void run_heartbeat(struct coord *c, struct coord_ask *ask)
{
    struct coord_heartbeat *heartbeat = (struct coord_heartbeat *)(void *)ask;
    const struct group *g = group_find(c, heartbeat->group);
    struct member *m = NULL;
    enum coord_status status =
        g ? group_check_member(g, heartbeat->member, heartbeat->instance, &m)
          : COORD_UNKNOWN_MEMBER;

    if (!status && heartbeat->generation != g->generation) {
        status = COORD_ILLEGAL_GENERATION;
    }
    if (!status) {
        member_beat(m);
        status = g->state == GROUP_PREPARING ? COORD_REBALANCE_IN_PROGRESS : COORD_OK;
    }
    ask_done(ask, status);
}

static enum coord_status leave_one(struct group *g, const struct coord_leaver *leaver)
{
    struct newcomer *newcomer = map_get(&g->newcomers, leaver->member);
    struct member *m = NULL;

    if (newcomer && !leaver->instance.at) {
        newcomer_remove(newcomer);
        group_joined(g);
        return COORD_OK;
    }
    if (leaver->instance.at && !leaver->member.len) {
        m = map_get(&g->by_instance, leaver->instance);
    } else {
        enum coord_status status = group_check_member(g, leaver->member, leaver->instance, &m);
        if (status) {
            return status;
        }
    }
    if (!m) {
        return COORD_UNKNOWN_MEMBER;
    }
    member_remove(m, COORD_UNKNOWN_MEMBER);
    return COORD_OK;
}

static void run_leave(struct coord *c, struct coord_ask *ask)
{
    struct coord_leave *leave = (struct coord_leave *)(void *)ask;
    struct group *g = group_find(c, leave->group);
    bool any = false;

    for (size_t i = 0; i < leave->member_count; i++) {
        struct coord_leaver *leaver = &leave->members[i];
        leaver->status = g ? leave_one(g, leaver) : COORD_UNKNOWN_MEMBER;
        any = any || leaver->status == COORD_OK;
    }
    if (any && g->state != GROUP_EMPTY) {
        group_lost(g); /* once for all of them: one rebalance */
    }
    ask_done(ask, leave->group.len ? COORD_OK : COORD_INVALID_GROUP);
}

static void refuse_leave(struct coord_ask *ask, enum coord_status status)
{
    struct coord_leave *leave = (struct coord_leave *)(void *)ask;

    for (size_t i = 0; i < leave->member_count; i++) {
        leave->members[i].status = status;
    }
}

static const struct ask_kind join_kind = {.run = run_join};
static const struct ask_kind sync_kind = {.run = run_sync};
static const struct ask_kind heartbeat_kind = {.run = run_heartbeat};
static const struct ask_kind leave_kind = {.run = run_leave, .refuse = refuse_leave};

void coord_join(struct coord *c, struct coord_join *join)
{
    join->generation = -1;
    join->protocol_name = join->leader = join->own_member = (view){0};
    join->skip_assignment = false;
    join->members = NULL;
    join->member_count = 0;
    ask_post(c, &join->ask, &join_kind);
}

void coord_sync(struct coord *c, struct coord_sync *sync)
{
    sync->own_protocol_type = sync->own_protocol_name = (view){0};
    sync->assignment = VIEW("");
    ask_post(c, &sync->ask, &sync_kind);
}

void coord_heartbeat(struct coord *c, struct coord_heartbeat *heartbeat)
{
    ask_post(c, &heartbeat->ask, &heartbeat_kind);
}

void coord_leave(struct coord *c, struct coord_leave *leave)
{
    ask_post(c, &leave->ask, &leave_kind);
}
