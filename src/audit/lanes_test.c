/* lanes_test.c - lanes over a real log in a temporary folder.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/lanes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "audit/envelope.h"
#include "audit/records.h"
#include "base/base.h"

#define TOPIC "shop.public.orders"

struct world {
    char folder[64];
    struct log_config config;
    struct log *log;
    struct ledger *ledger;
    struct relation *table; /* the ledger's */
    struct lanes *lanes;
    struct lane *lane;
    struct lane_writer *writer;
    struct envelope_out out;
};

static void wake(void *self)
{
    (void)self;
}

static err wait_a_moment(void *self)
{
    struct timespec moment = {.tv_nsec = 1000000};

    (void)self;
    nanosleep(&moment, NULL);
    return OK;
}

static void open_lane(struct world *w)
{
    const struct lanes_config config = {
        .os = os_real(), .log = w->log, .ledger = w->ledger, .keep_ms = -1, .wake = wake};

    w->lanes = lanes_new(&config);
    assert_int_equal(lanes_open(w->lanes, VIEW(TOPIC), 0, 1, true, &w->lane), OK);
    w->writer = lane_writer_new(w->lanes, true, wait_a_moment, NULL);
}

static void close_lane(struct world *w)
{
    lane_writer_free(w->writer);
    lanes_free(w->lanes);
    envelope_out_fini(&w->out);
    w->out = (struct envelope_out){0};
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct column columns[] = {{.name = VIEW("id"), .type = 23, .modifier = -1, .key = true}};
    struct relation orders = {.oid = 5,
                              .identity = 'd',
                              .schema = VIEW("public"),
                              .name = VIEW("orders"),
                              .columns = columns,
                              .count = 1};

    snprintf(w->folder, sizeof(w->folder), "/tmp/lanes-test-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    log_config_preset(&w->config);
    w->config.folder = w->folder;
    w->config.journal_bytes_max = 16 << 20;
    assert_int_equal(log_open(os_real(), &w->config, &w->log), OK);
    assert_int_equal(ledger_open(w->log, VIEW("shop"), &w->ledger), OK);
    assert_int_equal(ledger_note(w->ledger, "begin", VIEW("{\"lsn\":\"0/64\"}")), OK);
    assert_int_equal(ledger_describe(w->ledger, &orders, &w->table), OK);
    open_lane(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    close_lane(w);
    ledger_close(w->ledger);
    log_close(w->log);
    free(w->config.defaults.compression_type);
    assert_int_equal(os_remove_tree(os_real(), w->folder), OK);
    free(w);
    return 0;
}

static struct change_place place(uint64_t commit, int64_t seq)
{
    return (struct change_place){
        .xid = 7, .lsn = commit, .commit_lsn = commit, .end_lsn = commit + 8, .seq = seq};
}

static void add(struct world *w, uint64_t commit, int64_t seq)
{
    const struct envelope_options options = {.source = VIEW("shop"), .database = VIEW("shop")};
    const struct envelope_source source = {.now_ms = 1};
    struct value after[] = {{.kind = VALUE_TEXT, .text = VIEW("42")}};
    struct change change = {.kind = CHANGE_CREATE,
                            .relation = w->table,
                            .after = after,
                            .place = place(commit, seq)};

    w->out.arena = lane_writer_arena(w->writer);
    envelope_write(&options, &source, &change, &w->out);
    assert_int_equal(lane_add(w->writer, w->lane, w->out.records, w->out.count, &change.place),
                     OK);
}

static void store(struct world *w)
{
    assert_int_equal(lane_flush(w->writer), OK);
    while (lanes_are_busy(w->lanes)) {
        assert_int_equal(wait_a_moment(NULL), OK);
    }
}

static err seal(struct world *w, uint64_t from, uint64_t to)
{
    struct arena arena = {0};
    struct seal_range *ranges = NULL;
    uint64_t generation = 0;
    size_t count = lanes_cut(w->lanes, &arena, &ranges, &generation);
    struct seal made = {.from = from, .to = to, .ranges = ranges, .range_count = count};

    while (!lanes_are_stored(w->lanes, generation)) {
        assert_int_equal(wait_a_moment(NULL), OK);
    }
    err e = ledger_seal(w->ledger, &made);
    arena_fini(&arena);
    return e;
}

static void what_was_sealed_is_proven_from_the_log(void **state)
{
    struct world *w = *state;
    struct ledger_proof proof;

    add(w, 200, 0);
    add(w, 200, 1);
    store(w);
    add(w, 300, 0);
    assert_int_equal(lane_flush(w->writer), OK); /* on its way when the cut is made */
    assert_int_equal(seal(w, 100, 308), OK);
    assert_int_equal(ledger_prove(w->ledger, NULL, NULL, &proof), OK);
    assert_int_equal(proof.records, 3);
}

static void what_is_behind_the_last_seal_is_known_to_the_next_lanes(void **state)
{
    struct world *w = *state;
    struct ledger_proof proof;

    add(w, 200, 0);
    store(w);
    assert_int_equal(seal(w, 100, 208), OK);
    add(w, 300, 0);
    add(w, 300, 1);
    store(w);
    close_lane(w);
    open_lane(w);
    struct change_place seen = place(300, 1), later = place(300, 2), next = place(400, 0);
    assert_true(lane_has(w->lane, &seen));
    assert_false(lane_has(w->lane, &later));
    assert_false(lane_has(w->lane, &next));
    assert_int_equal(lanes_tail(w->lanes), 300);
    assert_int_equal(lane_end(w->lane), 3);
    add(w, 300, 2);
    store(w);
    assert_int_equal(seal(w, 208, 308), OK);
    assert_int_equal(ledger_prove(w->ledger, NULL, NULL, &proof), OK);
    assert_int_equal(proof.records, 4);
}

static void nothing_is_known_of_what_is_sealed_already(void **state)
{
    struct world *w = *state;
    struct change_place seen = place(200, 0);

    add(w, 200, 0);
    store(w);
    assert_int_equal(seal(w, 100, 208), OK);
    close_lane(w);
    open_lane(w);
    assert_false(lane_has(w->lane, &seen)); /* the slot does not send it again */
    assert_int_equal(lanes_tail(w->lanes), 0);
    assert_false(lanes_have_more(w->lanes));
}

static void another_writer_is_noticed_and_its_record_sealed_with_the_rest(void **state)
{
    struct world *w = *state;
    struct topic *topic = log_topic(w->log, VIEW(TOPIC));
    struct record record = {.timestamp_ms = 1, .value = VIEW("not ours")};
    struct ledger_proof proof;

    add(w, 200, 0);
    store(w);
    assert_int_equal(records_append(w->log, topic_partition(topic, 0), &record, 1, NULL), OK);
    topic_drop(topic);
    add(w, 300, 0);
    store(w);
    assert_int_equal(lanes_check(w->lanes), ERR_BUSY);
    assert_non_null(strstr(fault_here.text, "somebody else"));
    close_lane(w);
    open_lane(w);
    assert_int_equal(seal(w, 100, 308), OK);
    assert_int_equal(ledger_prove(w->ledger, NULL, NULL, &proof), OK);
    assert_int_equal(proof.records, 3);
}

static void a_topic_that_was_cut_back_is_refused(void **state)
{
    struct world *w = *state;
    struct log_change gone = {.kind = LOG_TOPIC_DELETE, .internal = true};
    struct lane *lane = NULL;

    add(w, 200, 0);
    store(w);
    assert_int_equal(seal(w, 100, 208), OK);
    close_lane(w);
    gone.topic = log_topic(w->log, VIEW(TOPIC));
    assert_int_equal(records_change(w->log, &gone), OK);
    topic_drop(gone.topic);
    const struct lanes_config config = {
        .os = os_real(), .log = w->log, .ledger = w->ledger, .keep_ms = -1, .wake = wake};
    w->lanes = lanes_new(&config);
    w->writer = NULL;
    assert_int_equal(lanes_open(w->lanes, VIEW(TOPIC), 0, 1, true, &lane), ERR_CONFLICT);
    assert_non_null(strstr(fault_here.text, "deleted or cut back"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(what_was_sealed_is_proven_from_the_log),
        T(what_is_behind_the_last_seal_is_known_to_the_next_lanes),
        T(nothing_is_known_of_what_is_sealed_already),
        T(another_writer_is_noticed_and_its_record_sealed_with_the_rest),
        T(a_topic_that_was_cut_back_is_refused),
#undef T
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
