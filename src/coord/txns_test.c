/* txns_test.c - offsets and transactions through the public calls, over the fake store.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/txns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "coord/fake.h"

static struct fake *fake;
static struct coord_config config;
static struct arena arena;
static int answers;

static void count_answer(struct coord_ask *ask)
{
    (void)ask;
    answers++;
}

#define ASK                                                                                    \
    {                                                                                          \
        .arena = &arena, .done = count_answer                                                  \
    }

static int setup(void **state)
{
    (void)state;
    coord_config_preset(&config);
    fake = fake_new();
    fake_open(fake, &config);
    answers = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_free(fake);
    arena_fini(&arena);
    return 0;
}

static void restart(void)
{
    fake_crash(fake);
    fake_open(fake, &config);
}

static enum coord_status commit(const char *topic, int32_t partition, int64_t offset)
{
    struct coord_offset one = {.topic = view_text(topic),
                               .partition = partition,
                               .offset = offset,
                               .leader_epoch = 3,
                               .metadata = VIEW("note")};
    struct coord_commit ask = {.ask = ASK,
                               .group = VIEW("g"),
                               .member = VIEW(""),
                               .generation = -1,
                               .offsets = &one,
                               .offset_count = 1};
    coord_commit(fake->coord, &ask);
    fake_run(fake);
    return one.status;
}

static int64_t fetch(const char *topic, int32_t partition, bool stable)
{
    struct coord_offset one = {.topic = view_text(topic), .partition = partition};
    struct coord_fetch_group group = {.group = VIEW("g"), .offsets = &one, .offset_count = 1};
    struct coord_fetch ask = {
        .ask = ASK, .groups = &group, .group_count = 1, .require_stable = stable};

    coord_fetch(fake->coord, &ask);
    fake_run(fake);
    return one.status ? -1000 - (int64_t)one.status : one.offset;
}

static size_t fetch_all(void)
{
    struct coord_fetch_group group = {.group = VIEW("g"), .all = true};
    struct coord_fetch ask = {.ask = ASK, .groups = &group, .group_count = 1};

    coord_fetch(fake->coord, &ask);
    fake_run(fake);
    return group.offset_count;
}

static void committed_offsets_are_fetched_also_after_a_restart(void **state)
{
    (void)state;
    assert_int_equal(fetch("in", 0, false), -1);
    assert_int_equal(commit("in", 0, 41), COORD_OK);
    assert_int_equal(commit("in", 0, 42), COORD_OK);
    assert_int_equal(commit("out", 3, 7), COORD_OK);
    assert_int_equal(fetch("in", 0, true), 42);
    assert_int_equal(fetch_all(), 2);
    restart();
    assert_int_equal(fetch("in", 0, false), 42);
    assert_int_equal(fetch("out", 3, false), 7);
    assert_int_equal(fetch("in", 1, false), -1);
}

static void a_commit_is_answered_when_durable_and_not_seen_before(void **state)
{
    struct coord_offset one = {.topic = VIEW("in"), .offset = 5, .leader_epoch = -1};
    struct coord_commit ask = {
        .ask = ASK, .group = VIEW("g"), .generation = -1, .offsets = &one, .offset_count = 1};

    (void)state;
    fake->hold_back = true;
    coord_commit(fake->coord, &ask);
    fake_run(fake);
    assert_int_equal(answers, 0);
    assert_int_equal(fetch("in", 0, false), -1);
    answers = 0;
    fake_let_go(fake);
    assert_int_equal(answers, 1);
    assert_int_equal(fetch("in", 0, false), 5);
}

static void commits_that_wait_together_are_one_batch(void **state)
{
    struct coord_offset ones[8];
    struct coord_commit asks[8];

    (void)state;
    fake->hold_back = true;
    for (int i = 0; i < 8; i++) {
        ones[i] = (struct coord_offset){.topic = VIEW("in"), .offset = i, .leader_epoch = -1};
        asks[i] = (struct coord_commit){.ask = ASK,
                                        .group = VIEW("g"),
                                        .generation = -1,
                                        .offsets = &ones[i],
                                        .offset_count = 1};
        coord_commit(fake->coord, &asks[i]);
    }
    fake_run(fake);
    fake_let_go(fake);
    assert_int_equal(answers, 8);
    assert_int_equal(fake->appends, 2); /* the first alone, then the seven */
    assert_int_equal(fetch("in", 0, false), 7);
}

static void refused_commits_say_why(void **state)
{
    char *text = calloc(5000, 1);
    struct coord_offset one = {
        .topic = VIEW("in"), .offset = 5, .metadata = {(uint8_t *)text, 5000}};
    struct coord_commit ask = {
        .ask = ASK, .group = VIEW("g"), .generation = -1, .offsets = &one, .offset_count = 1};

    (void)state;
    assert_int_equal(commit("none", 0, 1), COORD_UNKNOWN_TOPIC);
    assert_int_equal(commit("in", 4, 1), COORD_UNKNOWN_TOPIC);
    coord_commit(fake->coord, &ask);
    fake_run(fake);
    assert_int_equal(one.status, COORD_OFFSET_METADATA_TOO_LARGE);
    free(text);
    fake->fail_appends = 1;
    assert_int_equal(commit("in", 0, 1), COORD_STORAGE);
    assert_int_equal(fetch("in", 0, false), -1);
}

static void offsets_of_a_topic_made_anew_are_gone(void **state)
{
    (void)state;
    assert_int_equal(commit("in", 0, 41), COORD_OK);
    fake->topics[0].id.bytes[0] = 9;
    assert_int_equal(fetch("in", 0, false), -1);
    assert_int_equal(fetch_all(), 0);
    restart();
    assert_int_equal(fetch("in", 0, false), -1);
    assert_int_equal(commit("in", 0, 1), COORD_OK);
    assert_int_equal(fetch("in", 0, false), 1);
}

static void offsets_are_deleted_for_good(void **state)
{
    struct coord_offset one = {.topic = VIEW("in")};
    struct coord_delete_offsets ask = {
        .ask = ASK, .group = VIEW("g"), .offsets = &one, .offset_count = 1};

    (void)state;
    coord_delete_offsets(fake->coord, &ask);
    fake_run(fake);
    assert_int_equal(ask.ask.status, COORD_GROUP_NOT_FOUND);
    commit("in", 0, 41);
    commit("in", 1, 42);
    coord_delete_offsets(fake->coord, &ask);
    fake_run(fake);
    assert_int_equal(one.status, COORD_OK);
    assert_int_equal(fetch("in", 0, false), -1);
    restart();
    assert_int_equal(fetch("in", 0, false), -1);
    assert_int_equal(fetch("in", 1, false), 42);
}

static void offsets_are_forgotten_after_their_retention(void **state)
{
    (void)state;
    commit("in", 0, 41);
    fake_pass(fake, INT64_C(6) * 24 * 3600 * 1000);
    assert_int_equal(fetch("in", 0, false), 41);
    fake_pass(fake, INT64_C(2) * 24 * 3600 * 1000);
    assert_int_equal(fetch("in", 0, false), -1);
    assert_int_equal(fake->coord->groups.count, 0);
    restart();
    assert_int_equal(fake->coord->groups.count, 0);
}

/* ---- transactions ---- */

static struct coord_init_producer init;

static enum coord_status init_as(int64_t id, int16_t epoch)
{
    init = (struct coord_init_producer){.ask = ASK,
                                        .txn_id = VIEW("t"),
                                        .timeout_ms = 60000,
                                        .expect_id = id,
                                        .expect_epoch = epoch};
    coord_init_producer(fake->coord, &init);
    fake_run(fake);
    return init.ask.status;
}

static enum coord_status add(enum coord_txn_add how, int64_t id, int16_t epoch,
                             const char *topic, int32_t partition)
{
    struct coord_txn_partition part = {.topic = view_text(topic), .partition = partition};
    struct coord_add_partitions ask = {.ask = ASK,
                                       .how = how,
                                       .txn_id = VIEW("t"),
                                       .producer_id = id,
                                       .producer_epoch = epoch,
                                       .partitions = &part,
                                       .partition_count = 1};
    coord_add_partitions(fake->coord, &ask);
    fake_run(fake);
    return part.status;
}

static struct coord_end_txn ended;

static enum coord_status end(int64_t id, int16_t epoch, bool do_commit, bool v2)
{
    ended = (struct coord_end_txn){.ask = ASK,
                                   .txn_id = VIEW("t"),
                                   .producer_id = id,
                                   .producer_epoch = epoch,
                                   .commit = do_commit,
                                   .v2 = v2};
    coord_end_txn(fake->coord, &ended);
    fake_run(fake);
    return ended.ask.status;
}

static enum coord_status commit_in_txn(int64_t id, int16_t epoch, int64_t offset, bool v2)
{
    struct coord_offset one = {.topic = VIEW("in"), .offset = offset, .leader_epoch = -1};
    struct coord_txn_commit ask = {.ask = ASK,
                                   .txn_id = VIEW("t"),
                                   .group = VIEW("g"),
                                   .member = VIEW(""),
                                   .generation = -1,
                                   .producer_id = id,
                                   .producer_epoch = epoch,
                                   .v2 = v2,
                                   .offsets = &one,
                                   .offset_count = 1};
    coord_txn_commit(fake->coord, &ask);
    fake_run(fake);
    return one.status;
}

static const char *state_of(const char *id)
{
    view name = view_text(id);
    struct coord_describe_txns ask = {.ask = ASK, .txn_ids = &name, .txn_id_count = 1};

    coord_describe_txns(fake->coord, &ask);
    fake_run(fake);
    return ask.found[0].status ? "none" : ask.found[0].state;
}

static void producer_ids_are_never_given_twice(void **state)
{
    struct coord_init_producer one = {.ask = ASK, .expect_id = -1, .expect_epoch = -1};
    int64_t last = -1;

    (void)state;
    for (int i = 0; i < 2500; i++) {
        coord_init_producer(fake->coord, &one);
        fake_run(fake);
        assert_int_equal(one.ask.status, COORD_OK);
        assert_true(one.producer_id > last);
        last = one.producer_id;
        if (i % 700 == 0) {
            restart();
        }
    }
}

static void a_transaction_marks_all_its_partitions_and_shows_them(void **state)
{
    (void)state;
    assert_int_equal(init_as(-1, -1), COORD_OK);
    int64_t id = init.producer_id;
    assert_int_equal(init.producer_epoch, 0);
    assert_int_equal(add(COORD_TXN_ADD, id, 0, "out", 0), COORD_OK);
    assert_int_equal(add(COORD_TXN_ADD, id, 0, "out", 1), COORD_OK);
    assert_int_equal(add(COORD_TXN_VERIFY, id, 0, "out", 1), COORD_OK);
    assert_int_equal(add(COORD_TXN_VERIFY, id, 0, "out", 2), COORD_TXN_ABORTABLE);
    assert_string_equal(state_of("t"), "Ongoing");
    assert_int_equal(fake->mark_count, 0);
    assert_int_equal(end(id, 0, true, false), COORD_OK);
    assert_int_equal(fake->mark_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(fake->marks[i].commit && fake->marks[i].released);
        assert_int_equal(fake->marks[i].epoch, 0);
    }
    assert_string_equal(state_of("t"), "CompleteCommit");
    assert_int_equal(end(id, 0, true, false), COORD_OK); /* asked once more */
    assert_int_equal(end(id, 0, false, false), COORD_INVALID_TXN_STATE);
    assert_int_equal(fake->mark_count, 2);
    assert_int_equal(add(COORD_TXN_VERIFY, id, 0, "out", 1), COORD_TXN_ABORTABLE);
}

static void version_two_bumps_the_epoch_with_every_end(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    assert_int_equal(add(COORD_TXN_ADD_V2, id, 0, "out", 0), COORD_OK);
    assert_int_equal(end(id, 0, true, true), COORD_OK);
    assert_int_equal(ended.next_id, id);
    assert_int_equal(ended.next_epoch, 1);
    assert_int_equal(fake->marks[0].epoch, 1);          /* above all that was written */
    assert_int_equal(end(id, 0, true, true), COORD_OK); /* its answer got lost */
    assert_int_equal(ended.next_epoch, 1);
    assert_int_equal(end(id, 0, false, true), COORD_INVALID_TXN_STATE);
    assert_int_equal(add(COORD_TXN_ADD_V2, id, 0, "out", 0), COORD_PRODUCER_FENCED);
    assert_int_equal(add(COORD_TXN_ADD_V2, id, 1, "out", 0), COORD_OK);
    assert_int_equal(end(id, 0, true, true), COORD_PRODUCER_FENCED); /* late */
    assert_int_equal(end(id, 1, false, true), COORD_OK);
    assert_int_equal(ended.next_epoch, 2);
    assert_false(fake->marks[1].commit);
    assert_int_equal(end(id, 2, false, true), COORD_OK); /* nothing was written yet */
    assert_int_equal(ended.next_epoch, 3);
    assert_int_equal(end(id, 3, true, true), COORD_INVALID_TXN_STATE);
}

static void epochs_that_run_out_go_on_with_a_new_id(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    struct txn *t = txn_find(fake->coord, VIEW("t"));
    t->facts.epoch = INT16_MAX - 1;
    assert_int_equal(add(COORD_TXN_ADD_V2, id, INT16_MAX - 1, "out", 0), COORD_OK);
    assert_int_equal(end(id, INT16_MAX - 1, true, true), COORD_OK);
    assert_int_not_equal(ended.next_id, id);
    assert_int_equal(ended.next_epoch, 0);
    assert_int_equal(fake->marks[0].epoch, INT16_MAX);
    assert_int_equal(fake->marks[0].producer_id, id);
    int64_t next = ended.next_id;
    assert_int_equal(end(id, INT16_MAX - 1, true, true), COORD_OK); /* once more */
    assert_int_equal(ended.next_id, next);
    t->facts.epoch = INT16_MAX - 1;
    assert_int_equal(init_as(-1, -1), COORD_OK);
    assert_int_not_equal(init.producer_id, next);
    assert_int_equal(init.producer_epoch, 0);
}

static void a_new_producer_fences_the_old_and_ends_what_it_left_open(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    add(COORD_TXN_ADD, id, 0, "out", 0);
    assert_int_equal(init_as(-1, -1), COORD_OK);
    assert_int_equal(init.producer_id, id);
    assert_int_equal(init.producer_epoch, 2); /* one for the abort, one for the new one */
    assert_int_equal(fake->mark_count, 1);
    assert_false(fake->marks[0].commit);
    assert_int_equal(fake->marks[0].epoch, 1);
    assert_int_equal(add(COORD_TXN_ADD, id, 0, "out", 0), COORD_PRODUCER_FENCED);
    assert_int_equal(end(id, 0, true, false), COORD_PRODUCER_FENCED);
    assert_int_equal(add(COORD_TXN_ADD, id + 1, 2, "out", 0), COORD_INVALID_PRODUCER_MAPPING);
    assert_int_equal(add(COORD_TXN_ADD, id, 2, "out", 0), COORD_OK);
}

static void a_producer_that_names_itself_goes_on_others_do_not(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    assert_int_equal(init_as(id, 0), COORD_OK);
    assert_int_equal(init.producer_epoch, 1);
    assert_int_equal(init_as(id, 0), COORD_OK); /* its answer got lost */
    assert_int_equal(init.producer_epoch, 1);
    assert_int_equal(init_as(-1, -1), COORD_OK);
    assert_int_equal(init.producer_epoch, 2);
    assert_int_equal(init_as(id, 1), COORD_PRODUCER_FENCED);
    assert_int_equal(init_as(id + 5, 2), COORD_PRODUCER_FENCED);
}

static void a_slow_transaction_is_aborted_and_its_commit_fenced(void **state)
{
    (void)state;
    for (int v2 = 0; v2 < 2; v2++) {
        init_as(-1, -1);
        int64_t id = init.producer_id;
        int16_t epoch = init.producer_epoch;
        add(v2 ? COORD_TXN_ADD_V2 : COORD_TXN_ADD, id, epoch, "out", 0);
        fake_pass(fake, 59000);
        assert_string_equal(state_of("t"), "Ongoing");
        fake_pass(fake, 2000);
        assert_string_equal(state_of("t"), "CompleteAbort");
        assert_int_equal(end(id, epoch, true, v2), COORD_PRODUCER_FENCED);
        assert_false(fake->marks[fake->mark_count - 1].commit);
        assert_int_equal(fake->marks[fake->mark_count - 1].epoch, epoch + 1);
    }
}

static void offsets_of_a_transaction_count_with_its_commit(void **state)
{
    (void)state;
    commit("in", 0, 10);
    init_as(-1, -1);
    int64_t id = init.producer_id;
    assert_int_equal(commit_in_txn(id, 0, 20, false), COORD_INVALID_TXN_STATE);
    assert_int_equal(commit_in_txn(id, 0, 20, true), COORD_OK);
    assert_int_equal(fetch("in", 0, false), 10);
    assert_int_equal(fetch("in", 0, true), -1000 - COORD_UNSTABLE_OFFSETS);
    assert_int_equal(end(id, 0, true, true), COORD_OK);
    assert_int_equal(fetch("in", 0, true), 20);
    assert_int_equal(commit_in_txn(id, 1, 30, true), COORD_OK);
    assert_int_equal(end(id, 1, false, true), COORD_OK);
    assert_int_equal(fetch("in", 0, true), 20);
    assert_int_equal(commit_in_txn(id, 1, 40, true), COORD_PRODUCER_FENCED);
    restart();
    assert_int_equal(fetch("in", 0, true), 20);
}

static void the_record_that_is_later_in_the_log_wins(void **state)
{
    (void)state;
    init_as(-1, -1);
    commit_in_txn(init.producer_id, 0, 20, true);
    assert_int_equal(commit("in", 0, 30), COORD_OK);
    assert_int_equal(end(init.producer_id, 0, true, true), COORD_OK);
    assert_int_equal(fetch("in", 0, true), 30); /* compaction may have taken the other one */
    restart();
    assert_int_equal(fetch("in", 0, true), 30);
}

static void held_offsets_survive_a_restart_and_still_wait(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    commit_in_txn(id, 0, 20, true);
    restart();
    assert_int_equal(fetch("in", 0, false), -1);
    assert_int_equal(fetch("in", 0, true), -1000 - COORD_UNSTABLE_OFFSETS);
    assert_string_equal(state_of("t"), "Ongoing");
    assert_int_equal(end(id, 0, true, true), COORD_OK);
    assert_int_equal(fetch("in", 0, true), 20);
}

static void a_prepared_transaction_is_finished_after_a_restart(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    add(COORD_TXN_ADD, id, 0, "out", 0);
    commit_in_txn(id, 0, 20, true);
    fake->fail_marks = 1000;
    ended.ask.status = COORD_OK;
    end(id, 0, true, true);
    assert_string_equal(state_of("t"), "PrepareCommit");
    restart();
    assert_true(coord_is_settled(fake->coord));
    assert_string_equal(state_of("t"), "CompleteCommit");
    assert_int_equal(fake->mark_count, 2);
    assert_true(fake->marks[0].commit && fake->marks[0].released);
    assert_int_equal(fetch("in", 0, true), 20);
}

static void markers_are_tried_until_they_get_through(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    add(COORD_TXN_ADD, id, 0, "out", 0);
    add(COORD_TXN_ADD, id, 0, "in", 0);
    fake->fail_marks = 3;
    answers = 0;
    end(id, 0, true, false);
    assert_int_equal(answers, 0);
    assert_false(fake->mark_count == 2 && fake->marks[0].released);
    fake_pass(fake, 1000);
    assert_int_equal(answers, 1);
    assert_int_equal(ended.ask.status, COORD_OK);
    assert_int_equal(fake->mark_count, 2);
    assert_true(fake->marks[0].released && fake->marks[1].released);
}

static void a_deleted_topic_does_not_hold_up_its_transaction(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    add(COORD_TXN_ADD, id, 0, "in", 0);
    add(COORD_TXN_ADD, id, 0, "out", 0);
    fake->topic_count = 1; /* "out" is gone */
    assert_int_equal(end(id, 0, true, false), COORD_OK);
    assert_int_equal(fake->mark_count, 1);
}

static void an_end_that_cannot_be_stored_leaves_the_transaction_open(void **state)
{
    (void)state;
    init_as(-1, -1);
    int64_t id = init.producer_id;
    add(COORD_TXN_ADD, id, 0, "out", 0);
    fake->fail_appends = 1;
    assert_int_equal(end(id, 0, true, false), COORD_STORAGE);
    assert_string_equal(state_of("t"), "Ongoing");
    assert_int_equal(fake->mark_count, 0);
    assert_int_equal(end(id, 0, true, false), COORD_OK);
    assert_int_equal(fake->mark_count, 1);
}

static void an_unused_transactional_id_is_forgotten(void **state)
{
    (void)state;
    init_as(-1, -1);
    fake_pass(fake, INT64_C(6) * 24 * 3600 * 1000);
    assert_string_equal(state_of("t"), "Empty");
    fake_pass(fake, INT64_C(2) * 24 * 3600 * 1000);
    assert_string_equal(state_of("t"), "none");
    restart();
    assert_string_equal(state_of("t"), "none");
}

static void bad_transactions_say_what_is_wrong(void **state)
{
    (void)state;
    assert_int_equal(add(COORD_TXN_ADD, 1, 0, "out", 0), COORD_INVALID_PRODUCER_MAPPING);
    init_as(-1, -1);
    assert_int_equal(add(COORD_TXN_ADD, init.producer_id, 0, "none", 0), COORD_UNKNOWN_TOPIC);
    init.timeout_ms = 1000000;
    coord_init_producer(fake->coord, &init);
    fake_run(fake);
    assert_int_equal(init.ask.status, COORD_INVALID_TXN_TIMEOUT);
    init.txn_id = VIEW("");
    coord_init_producer(fake->coord, &init);
    fake_run(fake);
    assert_int_equal(init.ask.status, COORD_INVALID_REQUEST);
}

#define COORD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(committed_offsets_are_fetched_also_after_a_restart),
        COORD_TEST(a_commit_is_answered_when_durable_and_not_seen_before),
        COORD_TEST(commits_that_wait_together_are_one_batch),
        COORD_TEST(refused_commits_say_why),
        COORD_TEST(offsets_of_a_topic_made_anew_are_gone),
        COORD_TEST(offsets_are_deleted_for_good),
        COORD_TEST(offsets_are_forgotten_after_their_retention),
        COORD_TEST(producer_ids_are_never_given_twice),
        COORD_TEST(a_transaction_marks_all_its_partitions_and_shows_them),
        COORD_TEST(version_two_bumps_the_epoch_with_every_end),
        COORD_TEST(epochs_that_run_out_go_on_with_a_new_id),
        COORD_TEST(a_new_producer_fences_the_old_and_ends_what_it_left_open),
        COORD_TEST(a_producer_that_names_itself_goes_on_others_do_not),
        COORD_TEST(a_slow_transaction_is_aborted_and_its_commit_fenced),
        COORD_TEST(offsets_of_a_transaction_count_with_its_commit),
        COORD_TEST(the_record_that_is_later_in_the_log_wins),
        COORD_TEST(held_offsets_survive_a_restart_and_still_wait),
        COORD_TEST(a_prepared_transaction_is_finished_after_a_restart),
        COORD_TEST(markers_are_tried_until_they_get_through),
        COORD_TEST(a_deleted_topic_does_not_hold_up_its_transaction),
        COORD_TEST(an_end_that_cannot_be_stored_leaves_the_transaction_open),
        COORD_TEST(an_unused_transactional_id_is_forgotten),
        COORD_TEST(bad_transactions_say_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
