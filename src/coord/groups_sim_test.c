/* groups_sim_test.c - a group under members that come, go, stall and lose their connections,
 * and power losses at any moment, over the log and a simulated machine.
 *
 * Checked at every answered sync: in one generation no partition belongs to two members, also
 * when the machine died in between; and generations that a member sees never go back while it
 * stays. At the end of each life a quiet group must become stable with every partition given
 * out. TIDEMARK_SIM_SEEDS says how many seeds, TIDEMARK_SIM_SEED runs a single one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/coord.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/os_sim.h"
#include "log/log.h"

#define CLIENTS 5
#define PARTITIONS 6
#define GENERATIONS_MAX 4000
#define LIVES 4
#define STEPS_MAX 1500 /* of one life */
#define SEEDS_PRESET 60

/* A crash leaves the objects of that life behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

enum step { JOIN, SYNC, BEAT, GONE };

struct client {
    struct world *world;
    int index;
    enum step step;
    bool busy, is_static;
    char member[64], instance[32];
    char owner[64]; /* who it is over its incarnations: instance or member id */
    int32_t generation;
    struct arena arena;
    struct coord_protocol protocol;
    struct coord_join join;
    struct coord_sync sync;
    struct coord_assignment assignments[CLIENTS * 2];
    size_t assignment_count;
    char names[CLIENTS * 2][64]; /* of the members it leads */
    struct coord_heartbeat heartbeat;
    struct coord_leave leave;
    struct coord_leaver leaver;
};

struct world {
    struct os_sim *sim;
    struct log_config log_config;
    struct coord_config config;
    struct log *log;
    struct coord *coord;
    struct client *clients[CLIENTS];
    char owners[GENERATIONS_MAX][PARTITIONS][64]; /* empty: nobody yet */
    int32_t newest;                               /* generation given out so far */
    int64_t syncs;
    bool quiet;  /* nobody comes or goes any more */
    bool faulty; /* a sync may fail in this life */
    uint64_t seed;
};

#define require(condition, w)                                                                  \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fail_msg("seed %llu: %s (run it with TIDEMARK_SIM_SEED); last error: %s",          \
                     (unsigned long long)(w)->seed, #condition, fault_here.text);              \
        }                                                                                      \
    } while (0)

static bool is_alive(const struct client *c)
{
    return !os_sim_is_dead(c->world->sim);
}

static void copy_name(char *to, size_t room, view name)
{
    assert(name.len < room);
    memcpy(to, name.at, name.len);
    to[name.len] = '\0';
}

static void start_over(struct client *c)
{
    c->member[0] = '\0';
    c->generation = -1;
    c->step = JOIN;
}

/* The leader gives every partition to exactly one member. */
static void decide(struct client *c)
{
    size_t count = c->join.member_count;

    c->assignment_count = count;
    require(count <= COUNT(c->assignments), c->world);
    for (size_t i = 0; i < count; i++) {
        copy_name(c->names[i], sizeof(c->names[i]), c->join.members[i].member);
    }
    char(*parts)[PARTITIONS + 1] = arena_take(&c->arena, count * sizeof(*parts));
    for (int p = 0; p < PARTITIONS && count; p++) {
        char *mine = parts[os_sim_below(c->world->sim, count)];
        mine[strlen(mine)] = (char)('0' + p);
    }
    for (size_t i = 0; i < count; i++) {
        c->assignments[i] =
            (struct coord_assignment){view_text(c->names[i]), view_text(parts[i])};
    }
}

static void joined(struct coord_ask *ask)
{
    struct client *c = ask->owner;

    c->busy = false;
    if (!is_alive(c)) {
        return;
    }
    switch (ask->status) {
    case COORD_OK:
        require(c->join.generation > c->generation ||
                    (c->join.generation == c->generation && c->generation >= 0),
                c->world);
        copy_name(c->member, sizeof(c->member), c->join.own_member);
        snprintf(c->owner, sizeof(c->owner), "%s", c->is_static ? c->instance : c->member);
        c->generation = c->join.generation;
        decide(c);
        c->step = SYNC;
        break;
    case COORD_MEMBER_ID_REQUIRED:
        copy_name(c->member, sizeof(c->member), c->join.own_member);
        break;
    case COORD_UNKNOWN_MEMBER:
    case COORD_FENCED_INSTANCE:
        start_over(c);
        break;
    default:
        break; /* once more */
    }
}

static void synced(struct coord_ask *ask)
{
    struct client *c = ask->owner;
    struct world *w = c->world;

    c->busy = false;
    if (!is_alive(c)) {
        return;
    }
    if (ask->status == COORD_UNKNOWN_MEMBER || ask->status == COORD_FENCED_INSTANCE) {
        start_over(c);
        return;
    }
    if (ask->status) {
        c->step = JOIN;
        return;
    }
    require(c->generation < GENERATIONS_MAX, w);
    for (size_t i = 0; i < c->sync.assignment.len; i++) {
        char *owner = w->owners[c->generation][c->sync.assignment.at[i] - '0'];
        require(!owner[0] || strcmp(owner, c->owner) == 0, w);
        snprintf(owner, 64, "%s", c->owner);
    }
    w->newest = MAX(w->newest, c->generation);
    w->syncs++;
    c->step = BEAT;
}

static void beaten(struct coord_ask *ask)
{
    struct client *c = ask->owner;

    c->busy = false;
    if (!is_alive(c)) {
        return;
    }
    if (ask->status == COORD_UNKNOWN_MEMBER || ask->status == COORD_FENCED_INSTANCE) {
        start_over(c);
    } else if (ask->status) {
        c->step = JOIN;
    }
}

static void left(struct coord_ask *ask)
{
    struct client *c = ask->owner;

    c->busy = false;
    if (is_alive(c)) {
        start_over(c);
    }
}

static struct coord_ask ask_of(struct client *c, void (*done)(struct coord_ask *))
{
    c->busy = true;
    return (struct coord_ask){.arena = &c->arena, .owner = c, .done = done};
}

static view instance_of(struct client *c)
{
    return c->is_static ? view_text(c->instance) : (view){0};
}

static void start_join(struct client *c)
{
    arena_reset(&c->arena); /* the decision lived there, until the next join */
    c->assignment_count = 0;
    c->protocol = (struct coord_protocol){VIEW("range"), VIEW("t")};
    c->join = (struct coord_join){
        .ask = ask_of(c, joined),
        .group = VIEW("g"),
        .member = view_text(c->member),
        .instance = instance_of(c),
        .client_id = VIEW("c"),
        .client_host = VIEW("/h"),
        .protocol_type = VIEW("consumer"),
        .session_ms = 10000,
        .rebalance_ms = 20000,
        .protocols = &c->protocol,
        .protocol_count = 1,
        .knows_member_id_required = true,
    };
    coord_join(c->world->coord, &c->join);
}

static void start_sync(struct client *c)
{
    c->sync = (struct coord_sync){
        .ask = ask_of(c, synced),
        .group = VIEW("g"),
        .member = view_text(c->member),
        .instance = instance_of(c),
        .generation = c->generation,
        .assignments = c->assignments,
        .assignment_count = c->assignment_count,
    };
    coord_sync(c->world->coord, &c->sync);
}

static void start_beat(struct client *c)
{
    c->heartbeat = (struct coord_heartbeat){
        .ask = ask_of(c, beaten),
        .group = VIEW("g"),
        .member = view_text(c->member),
        .instance = instance_of(c),
        .generation = c->generation,
    };
    coord_heartbeat(c->world->coord, &c->heartbeat);
}

static void start_leave(struct client *c)
{
    c->leaver =
        (struct coord_leaver){.member = view_text(c->member), .instance = instance_of(c)};
    c->leave = (struct coord_leave){
        .ask = ask_of(c, left), .group = VIEW("g"), .members = &c->leaver, .member_count = 1};
    coord_leave(c->world->coord, &c->leave);
}

static void go(struct client *c)
{
    struct world *w = c->world;

    if (c->busy) {
        if (!w->quiet && c->step != GONE && os_sim_below(w->sim, 40) == 0) {
            coord_abandon(w->coord, c->step == JOIN ? c->join.ask.id : c->sync.ask.id);
        }
        return;
    }
    if (!w->quiet && c->step == BEAT && os_sim_below(w->sim, 60) == 0) {
        start_leave(c);
    } else if (!w->quiet && os_sim_below(w->sim, 80) == 0) {
        start_over(c); /* the process died and came back: its member is left behind */
    } else if (c->step == JOIN) {
        start_join(c);
    } else if (c->step == SYNC) {
        start_sync(c);
    } else if (c->step == BEAT) {
        start_beat(c);
    }
}

static struct client *client_new(struct world *w, int index)
{
    struct client *c = xcalloc(1, sizeof(*c));

    c->world = w;
    c->index = index;
    c->is_static = index % 2 == 0;
    c->generation = -1;
    snprintf(c->instance, sizeof(c->instance), "static-%d", index);
    return c;
}

static bool is_settled(void *coord)
{
    return coord_is_settled(coord);
}

static void open_life(struct world *w)
{
    require(log_open(os_sim_os(w->sim), &w->log_config, &w->log) == OK, w);
    require(coord_open(w->log, &w->config, &w->coord) == OK, w);
    require(os_sim_run_until(w->sim, is_settled, w->coord), w);
    for (int i = 0; i < CLIENTS;
         i++) { /* clients live elsewhere: they only lost a connection */
        struct client *old = w->clients[i];
        w->clients[i] = client_new(w, i);
        if (old && os_sim_below(w->sim, 3)) {
            memcpy(w->clients[i]->member, old->member, sizeof(old->member));
            memcpy(w->clients[i]->owner, old->owner, sizeof(old->owner));
            if (old->step == BEAT) { /* others' generations nobody had a part in: not kept */
                w->clients[i]->generation = old->generation;
                w->clients[i]->step = BEAT;
            }
        }
    }
    w->quiet = false;
}

/* Now and then a sync fails: the log takes no more writes until the next start. */
static void plan_faults(struct world *w, bool any)
{
    uint64_t nth = any && os_sim_below(w->sim, 4) == 0 ? 1 + os_sim_below(w->sim, 100) : 0;

    w->faulty = nth != 0;
    os_sim_plan(w->sim, OS_SIM_SYNC, (struct os_sim_fault){.nth = nth});
}

static void live(struct world *w)
{
    size_t steps = os_sim_below(w->sim, STEPS_MAX);

    if (os_sim_below(w->sim, 2)) {
        os_sim_kill_after(w->sim, 1 + os_sim_below(w->sim, 500));
    }
    plan_faults(w, true);
    while (steps-- && !os_sim_is_dead(w->sim)) {
        if (os_sim_below(w->sim, 2)) {
            go(w->clients[os_sim_below(w->sim, CLIENTS)]);
        } else if (!os_sim_step(w->sim)) {
            os_sim_advance(w->sim, 1000000);
        }
    }
}

static bool all_stable(struct world *w)
{
    for (int i = 0; i < CLIENTS; i++) {
        if (w->clients[i]->step != BEAT || w->clients[i]->generation != w->newest) {
            return false;
        }
    }
    return true;
}

/* Everybody does as told: there must be one generation in which all is given out. */
static void settle_down(struct world *w)
{
    os_sim_kill_after(w->sim, UINT64_MAX - 1);
    w->quiet = true;
    for (int i = 0; i < 200000 && !all_stable(w); i++) {
        for (int k = 0; k < CLIENTS; k++) {
            go(w->clients[k]);
        }
        os_sim_step(w->sim);
    }
    require(all_stable(w), w);
    for (int p = 0; p < PARTITIONS; p++) {
        require(w->owners[w->newest][p][0], w);
    }
}

static int64_t run_seed(uint64_t seed)
{
    struct world *w = xcalloc(1, sizeof(*w));

    w->seed = seed;
    w->sim = os_sim_new(seed);
    log_config_preset(&w->log_config);
    w->log_config.folder = "data";
    w->log_config.readers = 1;
    w->log_config.reserve_bytes = 1 << 20;
    w->log_config.journal_bytes_max = 0;
    coord_config_preset(&w->config);
    w->config.expiry_check_ms = INT64_MAX / 4; /* else an empty group ends, and starts at 1 */
    for (int i = 0; i < LIVES; i++) {
        open_life(w);
        live(w);
        if (!os_sim_is_dead(w->sim) && !w->faulty) {
            settle_down(w);
        }
        os_sim_crash(w->sim);
        plan_faults(w, false);
    }
    int64_t syncs = w->syncs;
    os_sim_free(w->sim);
    free(w);
    return syncs;
}

static void no_generation_gives_a_partition_to_two(void **state)
{
    const char *one = getenv("TIDEMARK_SIM_SEED"), *many = getenv("TIDEMARK_SIM_SEEDS");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_PRESET;
    int64_t syncs = 0;

    (void)state;
    if (!one) {
        trace_setup((enum trace_level) - 1,
                    false); /* sessions that end are what is asked for */
    }
    for (uint64_t seed = from; seed < from + count; seed++) {
        syncs += run_seed(seed);
    }
    printf("%llu seeds, %lld answered syncs, %d lives each\n", (unsigned long long)count,
           (long long)syncs, LIVES);
    assert_true(syncs > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_generation_gives_a_partition_to_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
