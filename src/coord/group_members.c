/* group_members.c - who is in a group: offers, places, sessions, and answers to what is parked.
 *
 * A member's id is its key in group.by_id; a static member's instance id is one in by_instance
 * too. A newcomer has only been told its id and is no member yet (KIP-394).
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/groups.h"

#include <stddef.h>
#include <stdlib.h>

#include "coord/records.h"

static bool offered_before(const struct member *m, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (view_is(blob_view(m->offers[i].name), blob_view(m->offers[at].name))) {
            return true;
        }
    }
    return false;
}

static void count_offer(struct group *g, view name)
{
    struct shared_offer *shared = map_get(&g->shared, name);

    if (!shared) {
        shared = xcalloc(1, sizeof(*shared));
        shared->name = blob_copy(name);
        map_put(&g->shared, blob_view(shared->name), shared);
    }
    shared->members++;
}

static void uncount_offer(struct group *g, view name)
{
    struct shared_offer *shared = map_get(&g->shared, name);

    assert(shared && shared->members > 0);
    if (--shared->members == 0) {
        map_remove(&g->shared, name);
        free(shared->name.at);
        free(shared);
    }
}

static void offers_free(struct member *m)
{
    for (size_t i = m->offer_count; i-- > 0;) {
        if (!offered_before(m, i)) {
            uncount_offer(m->group, blob_view(m->offers[i].name));
        }
        free(m->offers[i].name.at);
        free(m->offers[i].metadata.at);
    }
    free(m->offers);
    m->offers = NULL;
    m->offer_count = 0;
    m->group->coord->member_bytes -= m->bytes;
    m->bytes = 0;
}

int64_t join_bytes(const struct coord_join *join)
{
    size_t bytes = 0;

    for (size_t i = 0; i < join->protocol_count; i++) {
        bytes += join->protocols[i].name.len + join->protocols[i].metadata.len;
    }
    return (int64_t)bytes;
}

void member_update(struct member *m, const struct coord_join *join)
{
    offers_free(m);
    m->offers = xcalloc(join->protocol_count, sizeof(*m->offers));
    m->offer_count = join->protocol_count;
    for (size_t i = 0; i < join->protocol_count; i++) {
        m->offers[i].name = blob_copy(join->protocols[i].name);
        m->offers[i].metadata = blob_copy(join->protocols[i].metadata);
        if (!offered_before(m, i)) {
            count_offer(m->group, blob_view(m->offers[i].name));
        }
    }
    m->bytes = join_bytes(join);
    m->group->coord->member_bytes += m->bytes;
    blob_set(&m->client_id, join->client_id);
    blob_set(&m->client_host, join->client_host);
    m->session_ms = join->session_ms;
    m->rebalance_ms = join->rebalance_ms > 0 ? join->rebalance_ms : join->session_ms;
}

struct member *member_new(struct group *g, const struct coord_join *join, view id)
{
    struct member *m = xcalloc(1, sizeof(*m));

    m->group = g;
    m->id = blob_copy(id);
    m->instance = blob_copy(join->instance);
    member_update(m, join);
    g->members = array_room(g->members, g->member_count, &g->member_room, sizeof(*g->members));
    g->members[g->member_count++] = m;
    map_put(&g->by_id, blob_view(m->id), m);
    if (m->instance.at) {
        map_put(&g->by_instance, blob_view(m->instance), m);
    }
    if (!g->leader) {
        g->leader = m;
        blob_set(&g->protocol_type, join->protocol_type);
    }
    g->members_came = true;
    g->coord->counters.members++;
    return m;
}

void member_rename(struct member *m, view id)
{
    map_remove(&m->group->by_id, blob_view(m->id));
    blob_set(&m->id, id);
    map_put(&m->group->by_id, blob_view(m->id), m);
}

static void member_free(struct member *m)
{
    offers_free(m);
    free(m->id.at);
    free(m->instance.at);
    free(m->client_id.at);
    free(m->client_host.at);
    free(m->assignment.at);
    free(m);
}

void member_remove(struct member *m, enum coord_status why)
{
    struct group *g = m->group;
    size_t at = 0;

    while (g->members[at] != m) {
        at++;
        assert(at < g->member_count);
    }
    for (g->member_count--; at < g->member_count; at++) {
        g->members[at] = g->members[at + 1];
    }
    map_remove(&g->by_id, blob_view(m->id));
    if (m->instance.at) {
        map_remove(&g->by_instance, blob_view(m->instance));
    }
    if (g->leader == m) {
        g->leader = g->member_count ? g->members[0] : NULL;
    }
    if (m->join) {
        member_answer_join(m, why);
    }
    if (m->sync) {
        member_answer_sync(m, why);
    }
    timer_clear(&g->coord->timers, &m->session);
    g->coord->counters.members--;
    member_free(m);
}

bool member_offers_same(const struct member *m, const struct coord_join *join)
{
    bool same = m->offer_count == join->protocol_count;

    for (size_t i = 0; same && i < m->offer_count; i++) {
        same = view_is(blob_view(m->offers[i].name), join->protocols[i].name) &&
               view_is(blob_view(m->offers[i].metadata), join->protocols[i].metadata);
    }
    return same;
}

view member_metadata(const struct member *m, view protocol)
{
    for (size_t i = 0; i < m->offer_count; i++) {
        if (view_is(blob_view(m->offers[i].name), protocol)) {
            return blob_view(m->offers[i].metadata);
        }
    }
    return VIEW("");
}

static bool all_offer(const struct group *g, view protocol)
{
    const struct shared_offer *shared = map_get(&g->shared, protocol);

    return shared && shared->members == g->member_count;
}

bool group_accepts(const struct group *g, const struct coord_join *join)
{
    if (!g->member_count) {
        return true;
    }
    if (!view_is(blob_view(g->protocol_type), join->protocol_type)) {
        return false;
    }
    for (size_t i = 0; i < join->protocol_count; i++) {
        if (all_offer(g, join->protocols[i].name)) {
            return true;
        }
    }
    return false;
}

/* Each member votes for the first of its offers that all share. */
static size_t votes_for(const struct group *g, view protocol)
{
    size_t votes = 0;

    for (size_t i = 0; i < g->member_count; i++) {
        const struct member *m = g->members[i];
        size_t at = 0;
        while (at < m->offer_count && !all_offer(g, blob_view(m->offers[at].name))) {
            at++;
        }
        votes += at < m->offer_count && view_is(blob_view(m->offers[at].name), protocol);
    }
    return votes;
}

view group_choose_protocol(const struct group *g)
{
    view best = {0};
    size_t most = 0;

    for (size_t i = 0; g->member_count && i < g->members[0]->offer_count; i++) {
        view name = blob_view(g->members[0]->offers[i].name);
        size_t votes = all_offer(g, name) ? votes_for(g, name) : 0;
        if (votes > most) {
            most = votes;
            best = name;
        }
    }
    return best;
}

static void session_over(struct timer *timer)
{
    struct member *m =
        (struct member *)(void *)((char *)timer - offsetof(struct member, session));
    struct group *g = m->group;

    trace_info("coord", "group %.*s: member %.*s is gone: no heartbeat in %d ms",
               VIEW_ARG(blob_view(g->id)), VIEW_ARG(blob_view(m->id)), (int)m->session_ms);
    member_remove(m, COORD_UNKNOWN_MEMBER);
    group_lost(g);
}

void member_beat(struct member *m)
{
    struct coord *c = m->group->coord;

    if (m->join || m->sync) {
        timer_clear(&c->timers, &m->session);
    } else {
        timer_set(&c->timers, &m->session, coord_due(c, m->session_ms), session_over);
    }
}

/* A null view stays null, unlike with arena_copy. */
static view keep(struct arena *arena, view v)
{
    return v.at ? arena_copy(arena, v) : v;
}

static void list_members(const struct group *g, struct coord_join *join)
{
    struct arena *arena = join->ask.arena;

    join->members = arena_take(arena, g->member_count * sizeof(*join->members));
    join->member_count = g->member_count;
    for (size_t i = 0; i < g->member_count; i++) {
        const struct member *m = g->members[i];
        join->members[i] = (struct coord_member){
            .member = arena_copy(arena, blob_view(m->id)),
            .instance = keep(arena, blob_view(m->instance)),
            .metadata = arena_copy(arena, member_metadata(m, blob_view(g->protocol))),
        };
    }
}

void member_answer_join(struct member *m, enum coord_status status)
{
    struct coord_join *join = m->join;
    struct group *g = m->group;
    struct arena *arena = join->ask.arena;

    m->join = NULL;
    join->own_member = arena_copy(arena, blob_view(m->id));
    if (status == COORD_OK) {
        assert(g->leader);
        bool leads = g->leader == m;
        join->generation = g->generation;
        join->protocol_name = keep(arena, blob_view(g->protocol));
        /* After a silent return of a static leader, an old client must not lead anew: it is
         * told another leader, the id it had before. */
        join->leader = leads && join->leader.at ? join->leader
                                                : arena_copy(arena, blob_view(g->leader->id));
        if (leads && (!m->returned || join->skip_assignment)) {
            list_members(g, join);
        }
    }
    m->returned = false;
    member_beat(m);
    ask_done(&join->ask, status);
}

void member_no_return(struct member *m)
{
    if (m->returned) {
        assert(m->join);
        m->returned = false;
        m->join->leader = (view){0};
        m->join->skip_assignment = false;
    }
}

void member_answer_sync(struct member *m, enum coord_status status)
{
    struct coord_sync *sync = m->sync;
    struct group *g = m->group;
    struct arena *arena = sync->ask.arena;

    m->sync = NULL;
    if (status == COORD_OK) {
        sync->own_protocol_type = keep(arena, blob_view(g->protocol_type));
        sync->own_protocol_name = keep(arena, blob_view(g->protocol));
        sync->assignment =
            m->assignment.at ? arena_copy(arena, blob_view(m->assignment)) : VIEW("");
    }
    member_beat(m);
    ask_done(&sync->ask, status);
}

static void newcomer_over(struct timer *timer)
{
    struct newcomer *n =
        (struct newcomer *)(void *)((char *)timer - offsetof(struct newcomer, expiry));
    struct group *g = n->group;

    newcomer_remove(n);
    group_joined(g);
}

void newcomer_add(struct group *g, view id, int32_t session_ms)
{
    struct newcomer *n = xcalloc(1, sizeof(*n));

    n->group = g;
    n->id = blob_copy(id);
    map_put(&g->newcomers, blob_view(n->id), n);
    timer_set(&g->coord->timers, &n->expiry, coord_due(g->coord, session_ms), newcomer_over);
}

void newcomer_remove(struct newcomer *n)
{
    timer_clear(&n->group->coord->timers, &n->expiry);
    map_remove(&n->group->newcomers, blob_view(n->id));
    free(n->id.at);
    free(n);
}

bool group_subscribes(const struct group *g, view topic)
{
    if (!view_is(blob_view(g->protocol_type), VIEW("consumer"))) {
        return g->member_count > 0;
    }
    for (size_t i = 0; i < g->member_count; i++) {
        view name = g->protocol.at               ? blob_view(g->protocol)
                    : g->members[i]->offer_count ? blob_view(g->members[i]->offers[0].name)
                                                 : (view){0};
        if (subscription_has(member_metadata(g->members[i], name), topic)) {
            return true;
        }
    }
    return false;
}
