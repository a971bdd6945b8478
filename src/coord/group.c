/* group.c - the life of a group: join phase, sync phase, stability; drawn in groups.h.
 *
 * Invariants: (1) only group_move writes group.state. (2) A generation's assignment is answered
 * to nobody before its record is durable, so that after a crash no generation is given out
 * twice with different contents. (3) A member with a parked join or sync has no session timer:
 * it is alive by waiting. (4) A group with writes or holds under way is never freed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/groups.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "coord/records.h"

#define TO(state) (1u << GROUP_##state)

static const struct {
    const char *name;
    unsigned next;
} group_states[GROUP_STATES] = {
    [GROUP_EMPTY] = {"Empty", TO(PREPARING) | TO(DEAD)},
    [GROUP_PREPARING] = {"PreparingRebalance", TO(COMPLETING) | TO(EMPTY) | TO(DEAD)},
    [GROUP_COMPLETING] = {"CompletingRebalance", TO(STABLE) | TO(PREPARING) | TO(DEAD)},
    [GROUP_STABLE] = {"Stable", TO(PREPARING) | TO(DEAD)},
    [GROUP_DEAD] = {"Dead", 0},
};

const char *group_state_name(enum group_state state)
{
    return group_states[state].name;
}

void group_move(struct group *g, enum group_state next)
{
    assert(group_states[g->state].next & (1u << next));
    g->state = next;
}

view blob_view(struct blob b)
{
    return (view){b.at, b.len};
}

struct blob blob_copy(view v)
{
    if (!v.at) {
        return (struct blob){0};
    }
    struct blob b = {xmalloc(v.len + 1), v.len};
    memcpy(b.at, v.at, v.len);
    return b;
}

void blob_set(struct blob *b, view v)
{
    struct blob before = *b;

    *b = blob_copy(v); /* v may lie inside the old bytes */
    free(before.at);
}

struct group *group_find(struct coord *c, view id)
{
    return map_get(&c->groups, id);
}

struct group *group_make(struct coord *c, view id)
{
    if ((int64_t)c->groups.count >= c->config.groups_max) {
        return NULL;
    }
    struct group *g = xcalloc(1, sizeof(*g));

    g->coord = c;
    g->id = blob_copy(id);
    g->initial_left_ms = -1;
    g->deciding = -1;
    g->empty_since_ms = coord_now_ms(c);
    map_put(&c->groups, blob_view(g->id), g);
    c->counters.groups++;
    return g;
}

void group_free(struct group *g)
{
    assert(g->member_count == 0);
    assert(g->offsets.count == 0);
    assert(g->writes == 0 && g->hold_count == 0);
    struct coord *c = g->coord;
    size_t count = g->newcomers.count;
    void **newcomers = values_of(&g->newcomers);

    for (size_t i = 0; i < count; i++) {
        newcomer_remove(newcomers[i]);
    }
    free(newcomers);
    timer_clear(&c->timers, &g->phase);
    map_remove(&c->groups, blob_view(g->id));
    map_fini(&g->newcomers);
    map_fini(&g->shared);
    map_fini(&g->by_id);
    map_fini(&g->by_instance);
    map_fini(&g->offsets);
    free(g->members);
    free(g->protocol_type.at);
    free(g->protocol.at);
    free(g->id.at);
    free(g);
    c->counters.groups--;
}

bool group_is_deserted(const struct group *g)
{
    return g->state == GROUP_EMPTY && !g->newcomers.count && !g->hold_count;
}

bool group_is_idle(const struct group *g)
{
    return group_is_deserted(g) && !g->writes;
}

enum coord_status group_check_member(const struct group *g, view member, view instance,
                                     struct member **out)
{
    if (instance.at) {
        struct member *m = map_get(&g->by_instance, instance);
        if (!m) {
            return COORD_UNKNOWN_MEMBER;
        }
        *out = m;
        return view_is(blob_view(m->id), member) ? COORD_OK : COORD_FENCED_INSTANCE;
    }
    *out = map_get(&g->by_id, member);
    return *out ? COORD_OK : COORD_UNKNOWN_MEMBER;
}

static int64_t rebalance_ms_max(const struct group *g)
{
    int64_t most = 0;

    for (size_t i = 0; i < g->member_count; i++) {
        most = MAX(most, g->members[i]->rebalance_ms);
    }
    return most;
}

/* A record about the group, and whatever must happen once it is durable. */
struct record_write {
    struct journal_write write; /* first */
    struct group *group;
    struct record record;
    struct arena arena;
    int32_t generation;
    struct map assignments; /* of a decision: member id to struct coord_assignment */
    view renamed;           /* the id of the member whose join waits for this */
    void (*then)(void *);   /* told when it is done, or NULL */
    void *owner;
};

static view assignment_for(const struct record_write *w, const struct member *m)
{
    const struct coord_assignment *found = map_get(&w->assignments, blob_view(m->id));

    return found ? found->assignment : VIEW("");
}

static struct record_write *record_write_new(struct group *g)
{
    struct record_write *w = xcalloc(1, sizeof(*w));

    w->group = g;
    w->generation = g->generation;
    return w;
}

/* decided: the assignments are those of the write, else the members' present ones. */
static void record_write_submit(struct record_write *w, bool tombstone, bool decided,
                                void (*done)(struct journal_write *))
{
    struct group *g = w->group;
    struct coord *c = g->coord;
    struct group_value value = {
        .protocol_type = g->protocol_type.at ? blob_view(g->protocol_type) : VIEW(""),
        .generation = g->generation,
        .protocol = blob_view(g->protocol),
        .leader = g->leader ? blob_view(g->leader->id) : (view){0},
        .state_ms = coord_now_ms(c),
        .members = arena_take(&w->arena, g->member_count * sizeof(struct coord_member_value)),
        .member_count = g->member_count,
    };

    for (size_t i = 0; i < g->member_count; i++) {
        const struct member *m = g->members[i];
        value.members[i] = (struct coord_member_value){
            .member = blob_view(m->id),
            .instance = blob_view(m->instance),
            .client_id = blob_view(m->client_id),
            .client_host = blob_view(m->client_host),
            .rebalance_ms = m->rebalance_ms,
            .session_ms = m->session_ms,
            .subscription = member_metadata(m, value.protocol),
            .assignment = decided ? assignment_for(w, m) : blob_view(m->assignment),
        };
    }
    w->record.timestamp_ms = value.state_ms;
    w->record.key = group_key_write(&w->arena, &c->scratch, blob_view(g->id));
    w->record.value = tombstone ? (view){0} : group_value_write(&w->arena, &c->scratch, &value);
    w->write = (struct journal_write){
        .records = &w->record, .count = 1, .producer_id = -1, .producer_epoch = -1};
    w->write.done = done;
    g->writes++;
    g->recorded = !tombstone;
    journal_submit(c, STORE_OFFSETS, blob_view(g->id), &w->write);
}

static void record_write_free(struct record_write *w)
{
    w->group->writes--;
    map_fini(&w->assignments);
    arena_fini(&w->arena);
    free(w);
}

static void recorded(struct journal_write *write)
{
    struct record_write *w = (struct record_write *)(void *)write;
    struct group *g = w->group;

    if (!write->ok) {
        trace_warn("coord", "group %.*s: its state could not be stored",
                   VIEW_ARG(blob_view(g->id)));
    }
    bool gone = g->state == GROUP_DEAD;
    void (*then)(void *) = w->then;
    void *owner = w->owner;
    record_write_free(w);
    if (gone && !g->writes) {
        group_free(g);
    }
    if (then) {
        then(owner);
    }
}

void group_record(struct group *g, bool tombstone)
{
    record_write_submit(record_write_new(g), tombstone, false, recorded);
}

/* Writes of a group are answered in their order, so one more comes after all others. */
void group_settle(struct group *g, void (*then)(void *owner), void *owner)
{
    struct record_write *w = record_write_new(g);

    w->then = then;
    w->owner = owner;
    record_write_submit(w, false, false, recorded);
}

/* A static member came back under a new id: its join, parked, is answered once that is known
 * for good, else a restart would fence it. */
static void renamed(struct journal_write *write)
{
    struct record_write *w = (struct record_write *)(void *)write;
    struct group *g = w->group;

    struct member *m = map_get(&g->by_id, w->renamed);

    if (m && m->join && g->state == GROUP_STABLE && g->generation == w->generation) {
        member_answer_join(m, write->ok ? COORD_OK : COORD_STORAGE);
    }
    record_write_free(w);
}

void group_record_renamed(struct member *m)
{
    struct record_write *w = record_write_new(m->group);

    w->renamed = arena_copy(&w->arena, blob_view(m->id));
    record_write_submit(w, false, false, renamed);
}

static void phase_over(struct timer *timer);

static void phase_set(struct group *g, int64_t wait_ms)
{
    timer_set(&g->coord->timers, &g->phase, coord_due(g->coord, wait_ms), phase_over);
}

static void drop_absent(struct group *g)
{
    for (size_t i = g->member_count; i-- > 0;) {
        struct member *m = g->members[i];
        if (!m->join && !m->instance.at) {
            member_remove(m, COORD_UNKNOWN_MEMBER);
        }
    }
}

static void become_empty(struct group *g)
{
    g->generation++;
    blob_set(&g->protocol, (view){0});
    group_move(g, GROUP_EMPTY);
    g->empty_since_ms = coord_now_ms(g->coord);
    timer_clear(&g->coord->timers, &g->phase);
    group_record(g, false);
}

static void elect_leader(struct group *g)
{
    for (size_t i = 0; (!g->leader || !g->leader->join) && i < g->member_count; i++) {
        if (g->members[i]->join) {
            g->leader = g->members[i];
        }
    }
}

static void complete_join(struct group *g)
{
    g->initial_left_ms = -1;
    drop_absent(g);
    if (!g->member_count) {
        become_empty(g);
        return;
    }
    elect_leader(g);
    if (!g->leader || !g->leader->join) { /* only static members, all of them away */
        phase_set(g, rebalance_ms_max(g));
        return;
    }
    g->generation++;
    blob_set(&g->protocol, group_choose_protocol(g));
    group_move(g, GROUP_COMPLETING);
    g->coord->counters.rebalances++;
    for (size_t i = 0; i < g->member_count; i++) {
        struct member *m = g->members[i];
        m->synced = !m->join; /* one that is away is not waited for */
        if (m->join) {
            member_answer_join(m, COORD_OK);
        }
    }
    phase_set(g, rebalance_ms_max(g));
}

static bool all_joined(const struct group *g)
{
    for (size_t i = 0; i < g->member_count; i++) {
        if (!g->members[i]->join) {
            return false;
        }
    }
    return g->newcomers.count == 0;
}

void group_joined(struct group *g)
{
    if (g->state == GROUP_PREPARING && g->initial_left_ms < 0 && all_joined(g)) {
        complete_join(g);
    }
}

static void prolong_initial(struct group *g)
{
    int64_t more = MIN(g->coord->config.initial_rebalance_ms, g->initial_left_ms);

    g->initial_left_ms -= more;
    g->members_came = false;
    phase_set(g, more);
}

void group_prepare(struct group *g)
{
    bool first = g->state == GROUP_EMPTY && g->coord->config.initial_rebalance_ms > 0;

    for (size_t i = 0; i < g->member_count; i++) {
        struct member *m = g->members[i];
        if (m->sync) {
            member_answer_sync(m, COORD_REBALANCE_IN_PROGRESS);
        }
        if (g->state == GROUP_COMPLETING) {
            blob_set(&m->assignment, (view){0});
        }
        member_no_return(m);
    }
    group_move(g, GROUP_PREPARING);
    g->initial_left_ms = first ? rebalance_ms_max(g) : -1;
    if (first) {
        prolong_initial(g);
    } else {
        phase_set(g, rebalance_ms_max(g));
        group_joined(g);
    }
}

void group_lost(struct group *g)
{
    if (g->state == GROUP_STABLE || g->state == GROUP_COMPLETING) {
        group_prepare(g);
    } else {
        group_joined(g);
    }
}

static void drop_unsynced(struct group *g)
{
    bool any = false;

    for (size_t i = g->member_count; i-- > 0 && g->state == GROUP_COMPLETING;) {
        struct member *m = g->members[i];
        if (!m->synced) {
            any = true;
            member_remove(m, COORD_UNKNOWN_MEMBER);
        }
    }
    if (any) {
        group_prepare(g);
    }
}

static void phase_over(struct timer *timer)
{
    struct group *g = (struct group *)(void *)((char *)timer - offsetof(struct group, phase));

    if (g->state == GROUP_COMPLETING) {
        drop_unsynced(g);
    } else if (g->initial_left_ms > 0 && g->members_came) {
        prolong_initial(g);
    } else {
        assert(g->state == GROUP_PREPARING);
        complete_join(g);
    }
}

static void decided(struct journal_write *write)
{
    struct record_write *w = (struct record_write *)(void *)write;
    struct group *g = w->group;
    bool current = g->state == GROUP_COMPLETING && g->generation == w->generation;

    if (g->deciding == w->generation) {
        g->deciding = -1;
    }
    if (current && write->ok) {
        group_move(g, GROUP_STABLE);
        timer_clear(&g->coord->timers, &g->phase);
    }
    for (size_t i = 0; current && i < g->member_count; i++) {
        struct member *m = g->members[i];
        blob_set(&m->assignment, write->ok ? assignment_for(w, m) : (view){0});
        if (m->sync) {
            member_answer_sync(m, write->ok ? COORD_OK : COORD_STORAGE);
        }
    }
    bool failed = current && !write->ok;
    record_write_free(w);
    if (failed) {
        group_prepare(g);
    }
}

void group_decide(struct group *g, const struct coord_sync *sync)
{
    struct record_write *w = record_write_new(g);

    assert(g->state == GROUP_COMPLETING);
    g->deciding = g->generation;
    for (size_t i = 0; i < sync->assignment_count; i++) {
        struct coord_assignment *one = arena_take(&w->arena, sizeof(*one));
        one->member = arena_copy(&w->arena, sync->assignments[i].member);
        one->assignment = arena_copy(&w->arena, sync->assignments[i].assignment);
        map_put(&w->assignments, one->member, one);
    }
    record_write_submit(w, false, true, decided);
}
