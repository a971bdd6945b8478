/* groups_test.c - groups through the public calls, over the fake store and its clock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/groups.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "coord/fake.h"

struct client { /* one member's calls */
    struct arena arena;
    struct coord_join join;
    struct coord_sync sync;
    struct coord_heartbeat heartbeat;
    struct coord_assignment assignments[8];
    struct coord_protocol protocols[2];
    char member[128];
    int answers; /* done() calls so far */
};

static struct fake *fake;
static struct client clients[6];

static void count_answer(struct coord_ask *ask)
{
    ((struct client *)ask->owner)->answers++;
}

static void start_with(struct coord_config *config)
{
    memset(clients, 0, sizeof(clients));
    fake = fake_new();
    fake_open(fake, config);
}

static int setup(void **state)
{
    struct coord_config config;

    (void)state;
    coord_config_preset(&config);
    config.initial_rebalance_ms = 0;
    start_with(&config);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_free(fake);
    for (size_t i = 0; i < COUNT(clients); i++) {
        arena_fini(&clients[i].arena);
    }
    return 0;
}

static void ask_join(struct client *c, const char *member, const char *instance,
                     const char *metadata)
{
    c->protocols[0] = (struct coord_protocol){VIEW("range"), view_text(metadata)};
    c->join = (struct coord_join){
        .ask = {.arena = &c->arena, .owner = c, .done = count_answer},
        .group = VIEW("g"),
        .member = view_text(member),
        .instance = view_text(instance),
        .client_id = VIEW("client"),
        .client_host = VIEW("/127.0.0.1"),
        .protocol_type = VIEW("consumer"),
        .session_ms = 10000,
        .rebalance_ms = 30000,
        .protocols = c->protocols,
        .protocol_count = 1,
        .knows_member_id_required = true,
    };
    c->answers = 0;
    coord_join(fake->coord, &c->join);
    fake_run(fake);
}

static void remember(struct client *c)
{
    view id = c->join.own_member;

    assert_true(id.len < sizeof(c->member));
    memcpy(c->member, id.at, id.len);
    c->member[id.len] = '\0';
}

/* Both steps of a dynamic member's join (KIP-394). */
static void join(struct client *c)
{
    ask_join(c, "", NULL, "topics");
    assert_int_equal(c->join.ask.status, COORD_MEMBER_ID_REQUIRED);
    remember(c);
    ask_join(c, c->member, NULL, "topics");
}

static void rejoin(struct client *c)
{
    ask_join(c, c->member, NULL, "topics");
}

static void ask_sync(struct client *c, size_t assignment_count)
{
    c->sync = (struct coord_sync){
        .ask = {.arena = &c->arena, .owner = c, .done = count_answer},
        .group = VIEW("g"),
        .member = view_text(c->member),
        .generation = c->join.generation,
        .assignments = c->assignments,
        .assignment_count = assignment_count,
    };
    c->answers = 0;
    coord_sync(fake->coord, &c->sync);
    fake_run(fake);
}

static enum coord_status beat(struct client *c)
{
    c->heartbeat = (struct coord_heartbeat){
        .ask = {.arena = &c->arena, .owner = c, .done = count_answer},
        .group = VIEW("g"),
        .member = view_text(c->member),
        .generation = c->join.generation,
    };
    coord_heartbeat(fake->coord, &c->heartbeat);
    fake_run(fake);
    return c->heartbeat.ask.status;
}

/* A stable group of the first two clients: 0 leads. */
static void make_stable_pair(void)
{
    join(&clients[0]);
    assert_int_equal(clients[0].answers, 1);
    clients[0].assignments[0] =
        (struct coord_assignment){view_text(clients[0].member), VIEW("a")};
    ask_sync(&clients[0], 1);
    join(&clients[1]);
    assert_int_equal(clients[1].answers, 0); /* waits for the first */
    assert_int_equal(beat(&clients[0]), COORD_REBALANCE_IN_PROGRESS);
    rejoin(&clients[0]);
    assert_int_equal(clients[0].join.ask.status, COORD_OK);
    assert_int_equal(clients[1].answers, 1);
    ask_sync(&clients[1], 0);
    assert_int_equal(clients[1].answers, 0); /* waits for the leader's */
    clients[0].assignments[0] =
        (struct coord_assignment){view_text(clients[0].member), VIEW("a")};
    clients[0].assignments[1] =
        (struct coord_assignment){view_text(clients[1].member), VIEW("b")};
    ask_sync(&clients[0], 2);
    assert_int_equal(clients[1].answers, 1);
}

static void two_members_share_by_the_leaders_word(void **state)
{
    (void)state;
    make_stable_pair();
    assert_int_equal(clients[0].join.generation, 2);
    assert_int_equal(clients[1].join.generation, 2);
    assert_int_equal(clients[0].join.member_count, 2);
    assert_int_equal(clients[1].join.member_count, 0);
    assert_true(view_is_text(clients[1].join.leader, clients[0].member));
    assert_true(view_is(clients[0].sync.assignment, VIEW("a")));
    assert_true(view_is(clients[1].sync.assignment, VIEW("b")));
    assert_true(view_is(clients[1].sync.own_protocol_name, VIEW("range")));
    assert_int_equal(beat(&clients[0]), COORD_OK);
    assert_int_equal(beat(&clients[1]), COORD_OK);
}

static void a_member_that_is_silent_is_taken_out(void **state)
{
    (void)state;
    make_stable_pair();
    for (int i = 0; i < 4; i++) {
        fake_pass(fake, 3000);
        beat(&clients[0]);
    }
    assert_int_equal(beat(&clients[0]), COORD_REBALANCE_IN_PROGRESS);
    assert_int_equal(beat(&clients[1]), COORD_UNKNOWN_MEMBER);
    rejoin(&clients[0]);
    assert_int_equal(clients[0].answers, 1);
    assert_int_equal(clients[0].join.generation, 3);
    assert_int_equal(clients[0].join.member_count, 1);
}

static void who_does_not_rejoin_in_time_is_left_out(void **state)
{
    (void)state;
    make_stable_pair();
    join(&clients[2]);
    rejoin(&clients[0]);
    for (int i = 0; i < 12; i++) { /* 1 beats but does not join */
        assert_int_equal(clients[0].answers, 0);
        assert_int_equal(beat(&clients[1]), COORD_REBALANCE_IN_PROGRESS);
        fake_pass(fake, 2500);
    }
    assert_int_equal(clients[0].answers, 1);
    assert_int_equal(clients[2].answers, 1);
    assert_int_equal(clients[0].join.member_count, 2);
    assert_int_equal(beat(&clients[1]), COORD_UNKNOWN_MEMBER);
}

static void a_leader_that_never_syncs_is_taken_out(void **state)
{
    (void)state;
    make_stable_pair();
    rejoin(&clients[0]);
    rejoin(&clients[1]);
    assert_int_equal(clients[0].join.generation, 3);
    ask_sync(&clients[1], 0);
    for (int i = 0; i < 12 && !clients[1].answers; i++) {
        assert_int_equal(beat(&clients[0]), COORD_OK);
        fake_pass(fake, 2600);
    }
    assert_int_equal(clients[1].answers, 1);
    assert_int_equal(clients[1].sync.ask.status, COORD_REBALANCE_IN_PROGRESS);
    assert_int_equal(beat(&clients[0]), COORD_UNKNOWN_MEMBER);
}

static void a_follower_that_joins_again_unchanged_is_answered_at_once(void **state)
{
    (void)state;
    make_stable_pair();
    rejoin(&clients[1]);
    assert_int_equal(clients[1].answers, 1);
    assert_int_equal(clients[1].join.generation, 2);
    assert_int_equal(beat(&clients[0]), COORD_OK);
    ask_join(&clients[1], clients[1].member, NULL, "other topics");
    assert_int_equal(clients[1].answers, 0);
    assert_int_equal(beat(&clients[0]), COORD_REBALANCE_IN_PROGRESS);
}

static void stale_generations_and_strangers_are_refused(void **state)
{
    (void)state;
    make_stable_pair();
    clients[0].join.generation = 1;
    assert_int_equal(beat(&clients[0]), COORD_ILLEGAL_GENERATION);
    snprintf(clients[2].member, sizeof(clients[2].member), "nobody");
    assert_int_equal(beat(&clients[2]), COORD_UNKNOWN_MEMBER);
    ask_sync(&clients[2], 0);
    assert_int_equal(clients[2].sync.ask.status, COORD_UNKNOWN_MEMBER);
    ask_join(&clients[2], "nobody", NULL, "topics");
    assert_int_equal(clients[2].join.ask.status, COORD_UNKNOWN_MEMBER);
}

static void bad_joins_say_what_is_wrong(void **state)
{
    struct client *c = &clients[0];

    (void)state;
    make_stable_pair();
    ask_join(&clients[2], "", NULL, "topics");
    clients[2].join.session_ms = 1;
    coord_join(fake->coord, &clients[2].join);
    fake_run(fake);
    assert_int_equal(clients[2].join.ask.status, COORD_INVALID_SESSION_TIMEOUT);
    clients[2].join.session_ms = 10000;
    clients[2].protocols[0].name = VIEW("unheard-of");
    coord_join(fake->coord, &clients[2].join);
    fake_run(fake);
    assert_int_equal(clients[2].join.ask.status, COORD_INCONSISTENT_PROTOCOL);
    clients[2].join.group = VIEW("");
    coord_join(fake->coord, &clients[2].join);
    fake_run(fake);
    assert_int_equal(clients[2].join.ask.status, COORD_INVALID_GROUP);
    assert_int_equal(beat(c), COORD_OK);
}

static void leaving_makes_room_at_once(void **state)
{
    struct coord_leaver leaver = {.member = view_text(clients[1].member)};
    struct client *c = &clients[1];

    (void)state;
    make_stable_pair();
    leaver.member = view_text(c->member);
    struct coord_leave leave = {
        .ask = {.arena = &c->arena, .owner = c, .done = count_answer},
        .group = VIEW("g"),
        .members = &leaver,
        .member_count = 1,
    };
    coord_leave(fake->coord, &leave);
    fake_run(fake);
    assert_int_equal(leaver.status, COORD_OK);
    assert_int_equal(beat(&clients[0]), COORD_REBALANCE_IN_PROGRESS);
    rejoin(&clients[0]);
    assert_int_equal(clients[0].answers, 1);
    assert_int_equal(clients[0].join.member_count, 1);
}

static void a_static_member_returns_to_its_place_without_a_rebalance(void **state)
{
    struct client *a = &clients[0], *b = &clients[1];

    (void)state;
    ask_join(a, "", "one", "topics");
    assert_int_equal(a->join.ask.status, COORD_OK);
    remember(a);
    a->assignments[0] = (struct coord_assignment){view_text(a->member), VIEW("part")};
    ask_sync(a, 1);
    assert_true(view_is(a->sync.assignment, VIEW("part")));
    ask_join(b, "", "one", "topics"); /* the same one after a restart */
    assert_int_equal(b->answers, 1);
    assert_int_equal(b->join.ask.status, COORD_OK);
    assert_int_equal(b->join.generation, 1);
    assert_true(view_is_text(b->join.leader, a->member)); /* it must not lead anew */
    remember(b);
    ask_sync(b, 0);
    assert_true(view_is(b->sync.assignment, VIEW("part")));
    ask_join(a, a->member, "one", "topics");
    assert_int_equal(a->join.ask.status, COORD_FENCED_INSTANCE);
}

static void a_returning_member_is_answered_when_its_new_id_is_durable(void **state)
{
    struct client *a = &clients[0];

    (void)state;
    ask_join(a, "", "one", "topics");
    remember(a);
    a->assignments[0] = (struct coord_assignment){view_text(a->member), VIEW("part")};
    ask_sync(a, 1);
    fake->hold_back = true;
    ask_join(a, "", "one", "topics");
    assert_int_equal(a->answers, 0);
    fake_let_go(fake);
    assert_int_equal(a->answers, 1);
    remember(a);
    fake_crash(fake);
    struct coord_config config;
    coord_config_preset(&config);
    fake_open(fake, &config);
    assert_int_equal(beat(a), COORD_OK);
}

static void a_returning_leader_leads_when_others_came_meanwhile(void **state)
{
    struct client *a = &clients[0], *b = &clients[1];

    (void)state;
    ask_join(a, "", "one", "topics");
    remember(a);
    a->assignments[0] = (struct coord_assignment){view_text(a->member), VIEW("part")};
    ask_sync(a, 1);
    fake->hold_back = true;
    ask_join(a, "", "one", "topics");
    ask_join(b, "", "two", "topics"); /* both are there: a new generation */
    assert_int_equal(a->answers, 1);
    assert_int_equal(a->join.generation, 2);
    assert_true(view_is(a->join.leader, a->join.own_member));
    assert_int_equal(a->join.member_count, 2);
    fake_let_go(fake);
    assert_int_equal(a->answers, 1);
}

static void a_static_leader_that_knows_skips_its_assignment(void **state)
{
    struct client *a = &clients[0];

    (void)state;
    ask_join(a, "", "one", "topics");
    remember(a);
    a->assignments[0] = (struct coord_assignment){view_text(a->member), VIEW("part")};
    ask_sync(a, 1);
    a->join.member = VIEW("");
    a->join.knows_skip_assignment = true;
    coord_join(fake->coord, &a->join);
    fake_run(fake);
    assert_int_equal(a->join.ask.status, COORD_OK);
    assert_true(a->join.skip_assignment);
    assert_true(view_is(a->join.leader, a->join.own_member));
    assert_int_equal(a->join.member_count, 1);
}

static void the_first_join_phase_waits_for_more_members(void **state)
{
    struct coord_config config;

    (void)state;
    fake_free(fake);
    coord_config_preset(&config);
    start_with(&config);
    join(&clients[0]);
    fake_pass(fake, 400);
    join(&clients[1]);
    fake_pass(fake, 400);
    assert_int_equal(clients[0].answers, 0);
    fake_pass(fake, 700);
    assert_int_equal(clients[0].answers, 1);
    assert_int_equal(clients[1].answers, 1);
    assert_int_equal(clients[1].join.generation, 1);
    assert_int_equal(clients[0].join.member_count, 2);
}

static void an_abandoned_join_is_answered_and_times_out(void **state)
{
    (void)state;
    make_stable_pair();
    join(&clients[2]);
    uint64_t id = clients[2].join.ask.id;
    coord_abandon(fake->coord, id);
    fake_run(fake);
    assert_int_equal(clients[2].answers, 1);
    assert_int_equal(clients[2].join.ask.status, COORD_CANCELLED);
    coord_abandon(fake->coord, id); /* once more: nothing to do */
    fake_run(fake);
    assert_int_equal(clients[2].answers, 1);
    rejoin(&clients[0]);
    rejoin(&clients[1]);
    fake_pass(fake, 10001);
    assert_int_equal(clients[0].answers, 1);
    assert_int_equal(clients[0].join.member_count, 2);
}

static void an_assignment_is_told_to_nobody_before_it_is_durable(void **state)
{
    (void)state;
    join(&clients[0]);
    clients[0].assignments[0] =
        (struct coord_assignment){view_text(clients[0].member), VIEW("a")};
    fake->hold_back = true;
    ask_sync(&clients[0], 1);
    assert_int_equal(clients[0].answers, 0);
    fake_let_go(fake);
    assert_int_equal(clients[0].answers, 1);
    assert_true(view_is(clients[0].sync.assignment, VIEW("a")));
}

static void an_assignment_that_cannot_be_stored_is_an_error_and_a_rebalance(void **state)
{
    (void)state;
    join(&clients[0]);
    clients[0].assignments[0] =
        (struct coord_assignment){view_text(clients[0].member), VIEW("a")};
    fake->fail_appends = 1;
    ask_sync(&clients[0], 1);
    assert_int_equal(clients[0].answers, 1);
    assert_int_equal(clients[0].sync.ask.status, COORD_STORAGE);
    assert_int_equal(beat(&clients[0]), COORD_REBALANCE_IN_PROGRESS);
    rejoin(&clients[0]);
    ask_sync(&clients[0], 1);
    assert_int_equal(clients[0].sync.ask.status, COORD_OK);
}

static void members_go_on_after_a_restart(void **state)
{
    struct coord_config config;

    (void)state;
    make_stable_pair();
    coord_config_preset(&config);
    fake_crash(fake);
    fake_open(fake, &config);
    assert_int_equal(beat(&clients[0]), COORD_OK);
    assert_int_equal(beat(&clients[1]), COORD_OK);
    ask_sync(&clients[1], 0);
    assert_true(view_is(clients[1].sync.assignment, VIEW("b")));
    fake_pass(fake, 10001);
    assert_int_equal(beat(&clients[0]), COORD_UNKNOWN_MEMBER);
}

static void what_members_may_hold_is_bounded(void **state)
{
    struct coord_config config;

    (void)state;
    fake_free(fake);
    coord_config_preset(&config);
    config.initial_rebalance_ms = 0;
    config.members_max = 2;
    config.groups_max = 1;
    config.member_bytes_max = 40;
    start_with(&config);
    join(&clients[0]);
    ask_join(&clients[1], "", "one", "thirty bytes of metadata, and more");
    assert_int_equal(clients[1].join.ask.status, COORD_TOO_MANY);
    ask_join(&clients[1], "", NULL, "topics");
    assert_int_equal(clients[1].join.ask.status, COORD_MEMBER_ID_REQUIRED);
    ask_join(&clients[2], "", NULL, "topics"); /* one told its id counts too */
    assert_int_equal(clients[2].join.ask.status, COORD_GROUP_MAX_SIZE);
    clients[2].join.group = VIEW("another");
    coord_join(fake->coord, &clients[2].join);
    fake_run(fake);
    assert_int_equal(clients[2].join.ask.status, COORD_TOO_MANY);
}

static void ask_vote(struct client *c, const char *first, const char *second)
{
    ask_join(c, "", NULL, "x");
    c->join.group = VIEW("voters");
    c->join.knows_member_id_required = false;
    c->join.member = view_text(c->member);
    c->join.protocol_count = 2;
    c->protocols[0] = (struct coord_protocol){view_text(first), VIEW("")};
    c->protocols[1] = (struct coord_protocol){view_text(second), VIEW("")};
    c->answers = 0;
    coord_join(fake->coord, &c->join);
    fake_run(fake);
}

static void the_protocol_most_vote_for_among_the_shared_wins(void **state)
{
    (void)state;
    ask_vote(&clients[0], "a", "b");
    assert_true(view_is(clients[0].join.protocol_name, VIEW("a")));
    remember(&clients[0]);
    ask_vote(&clients[1], "b", "a");
    ask_vote(&clients[0], "a", "b");
    remember(&clients[1]);
    ask_vote(&clients[2], "b", "a");
    ask_vote(&clients[0], "a", "b");
    ask_vote(&clients[1], "b", "a");
    assert_int_equal(clients[2].answers, 1);
    assert_true(view_is(clients[2].join.protocol_name, VIEW("b")));
    assert_true(view_is(clients[0].join.protocol_name, VIEW("b")));
    ask_vote(&clients[3], "c", "d");
    assert_int_equal(clients[3].join.ask.status, COORD_INCONSISTENT_PROTOCOL);
    ask_vote(&clients[3], "c", "a"); /* now only "a" is shared by all */
    for (int i = 0; i < 3; i++) {
        remember(&clients[i]);
        ask_vote(&clients[i], i ? "b" : "a", i ? "a" : "b");
    }
    assert_true(view_is(clients[3].join.protocol_name, VIEW("a")));
}

static void groups_are_described_listed_and_deleted(void **state)
{
    struct client *c = &clients[2];
    view names[] = {VIEW("g"), VIEW("none")};
    view stable = VIEW("stable");
    struct coord_delete_group victim = {.group = VIEW("g")};

    (void)state;
    make_stable_pair();
    struct coord_describe_groups d = {
        .ask = {.arena = &c->arena, .owner = c, .done = count_answer},
        .groups = names,
        .group_count = 2,
    };
    coord_describe_groups(fake->coord, &d);
    fake_run(fake);
    assert_string_equal(d.found[0].state, "Stable");
    assert_int_equal(d.found[0].member_count, 2);
    assert_true(view_is(d.found[0].members[1].assignment, VIEW("b")));
    assert_true(view_is(d.found[0].members[0].metadata, VIEW("topics")));
    assert_string_equal(d.found[1].state, "Dead");
    struct coord_list_groups l = {
        .ask = {.arena = &c->arena, .owner = c, .done = count_answer},
        .states = &stable,
        .state_count = 1,
    };
    coord_list_groups(fake->coord, &l);
    fake_run(fake);
    assert_int_equal(l.found_count, 1);
    struct coord_delete_groups del = {
        .ask = {.arena = &c->arena, .owner = c, .done = count_answer},
        .groups = &victim,
        .group_count = 1,
    };
    coord_delete_groups(fake->coord, &del);
    fake_run(fake);
    assert_int_equal(victim.status, COORD_NON_EMPTY_GROUP);
    fake_pass(fake, 11000); /* both sessions end */
    coord_delete_groups(fake->coord, &del);
    fake_run(fake);
    assert_int_equal(victim.status, COORD_OK);
    coord_delete_groups(fake->coord, &del);
    fake_run(fake);
    assert_int_equal(victim.status, COORD_GROUP_NOT_FOUND);
}

static void a_group_left_a_moment_ago_is_deleted(void **state)
{
    struct client *c = &clients[2];
    struct coord_delete_group victim = {.group = VIEW("g")};
    struct coord_delete_groups del = {
        .ask = {.arena = &c->arena, .owner = c, .done = count_answer},
        .groups = &victim,
        .group_count = 1,
    };

    (void)state;
    make_stable_pair();
    fake->hold_back = true; /* what the end of the sessions writes is under way */
    fake_pass(fake, 11000);
    int before = c->answers;
    coord_delete_groups(fake->coord, &del);
    fake_run(fake);
    assert_int_equal(c->answers, before);
    fake->hold_back = false;
    fake_let_go(fake);
    fake_run(fake);
    assert_int_equal(c->answers, before + 1);
    assert_int_equal(victim.status, COORD_OK);
}

#define GROUP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUP_TEST(two_members_share_by_the_leaders_word),
        GROUP_TEST(a_member_that_is_silent_is_taken_out),
        GROUP_TEST(who_does_not_rejoin_in_time_is_left_out),
        GROUP_TEST(a_leader_that_never_syncs_is_taken_out),
        GROUP_TEST(a_follower_that_joins_again_unchanged_is_answered_at_once),
        GROUP_TEST(stale_generations_and_strangers_are_refused),
        GROUP_TEST(bad_joins_say_what_is_wrong),
        GROUP_TEST(leaving_makes_room_at_once),
        GROUP_TEST(a_static_member_returns_to_its_place_without_a_rebalance),
        GROUP_TEST(a_returning_member_is_answered_when_its_new_id_is_durable),
        GROUP_TEST(a_returning_leader_leads_when_others_came_meanwhile),
        GROUP_TEST(a_static_leader_that_knows_skips_its_assignment),
        GROUP_TEST(the_first_join_phase_waits_for_more_members),
        GROUP_TEST(an_abandoned_join_is_answered_and_times_out),
        GROUP_TEST(an_assignment_is_told_to_nobody_before_it_is_durable),
        GROUP_TEST(an_assignment_that_cannot_be_stored_is_an_error_and_a_rebalance),
        GROUP_TEST(members_go_on_after_a_restart),
        GROUP_TEST(what_members_may_hold_is_bounded),
        GROUP_TEST(the_protocol_most_vote_for_among_the_shared_wins),
        GROUP_TEST(groups_are_described_listed_and_deleted),
        GROUP_TEST(a_group_left_a_moment_ago_is_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
