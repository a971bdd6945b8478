/* append_fault_test.c - writes that fail half way: what was refused is not there, what was
 * acknowledged stays, now and after a restart. SPDX-License-Identifier: Apache-2.0 */
#include "log/testing.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define PRODUCER 77
#define VALUE_BYTES 900

struct world {
    struct os_sim *sim;
    struct log_config config;
    struct log *log;
    struct topic *topic;
    struct partition *p;
};

static int setup(void **state)
{
    static const struct setting small[] = {
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t) "5000"}};
    struct world *w = xcalloc(1, sizeof(*w));

    trace_setup((enum trace_level) - 1, false); /* failing disks are what is asked for */
    w->sim = os_sim_new(11);
    w->config = testing_config();
    w->log = testing_open(w->sim, &w->config);
    w->topic = testing_topic(w->sim, w->log, "orders", 1, small, 1);
    w->p = topic_partition(w->topic, 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    topic_drop(w->topic);
    log_close(w->log);
    os_sim_free(w->sim);
    free(w->config.defaults.compression_type);
    free(w);
    return 0;
}

static void open_again(struct world *w)
{
    w->log = testing_open(w->sim, &w->config);
    w->topic = log_topic(w->log, VIEW("orders"));
    assert_non_null(w->topic);
    w->p = topic_partition(w->topic, 0);
}

static void reopen(struct world *w)
{
    topic_drop(w->topic);
    log_close(w->log);
    open_again(w);
}

struct put {
    struct log_append append;
    bool done;
};

static void put_done(struct log_append *a)
{
    ((struct put *)a)->done = true;
}

/* One record of sequence under an idempotent producer. */
static void put_make(struct world *w, struct put *put, int32_t sequence)
{
    char value[VALUE_BYTES];
    struct os *os = os_sim_os(w->sim);
    struct record record = {.timestamp_ms = os->now_ms(os), .value = VIEW_OF(value)};
    struct batch_build build = {
        .records = &record, .count = 1, .producer_id = PRODUCER, .base_sequence = sequence};

    memset(value, 'x', sizeof(value));
    snprintf(value, sizeof(value), "%d", (int)sequence);
    *put =
        (struct put){.append = {.partition = w->p, .acks = LOG_ACKS_DURABLE, .done = put_done}};
    put->append.hold = batch_new(&build, &put->append.batch);
    assert_int_equal(batch_check(put->append.batch, &put->append.info), BATCH_FINE);
}

/* All of them in one turn of the shard. */
static void put_all(struct world *w, struct put *puts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        puts[i].append.next = i + 1 < count ? &puts[i + 1].append : NULL;
    }
    log_append(w->log, &puts[0].append);
    for (size_t i = 0; i < count; i++) {
        testing_until(w->sim, &puts[i].done);
        buf_drop(puts[i].append.hold);
    }
}

static enum log_append_status put_one(struct world *w, int32_t sequence)
{
    struct put put;

    put_make(w, &put, sequence);
    put_all(w, &put, 1);
    return put.append.status;
}

static void expect_sequences(struct world *w, int32_t count)
{
    struct partition_ends ends;

    partition_ends(w->p, &ends);
    assert_int_equal(ends.high, count);
    for (int32_t i = 0; i < count; i++) {
        char want[16];
        char *got = testing_get(w->log, w->p, i, false);
        snprintf(want, sizeof(want), "%d", (int)i);
        assert_non_null(got);
        assert_string_equal(got, want);
        free(got);
    }
}

static void fail_write(struct world *w, int number)
{
    os_sim_plan(w->sim, OS_SIM_WRITE, (struct os_sim_fault){.nth = 1, .number = number});
}

static void room_again(struct world *w)
{
    enum log_append_status status = LOG_APPEND_FULL;

    for (int i = 0; i < 100 && status == LOG_APPEND_FULL; i++) {
        struct testing_record record = {"k", "v", 1};
        struct topic *other = log_topic(w->log, VIEW("other"));
        other = other ? other : testing_topic(w->sim, w->log, "other", 1, NULL, 0);
        testing_append(w->sim, w->log, topic_partition(other, 0), &record, 1, NULL, &status);
        topic_drop(other);
        os_sim_advance(w->sim, 1000000000);
    }
    assert_int_equal(status, LOG_APPEND_OK);
}

/* What the failed write left in a segment must not be taken for its batches once it is sealed.
 */
static void a_refused_write_leaves_nothing_behind(void **state)
{
    struct world *w = *state;
    int refused = 0;

    for (int round = 0; round < 20; round++) {
        struct put puts[3];
        struct partition_ends ends;
        partition_ends(w->p, &ends);
        int32_t next = (int32_t)ends.high;
        for (int i = 0; i < 3; i++) {
            put_make(w, &puts[i], next + i);
        }
        fail_write(w, ENOSPC);
        put_all(w, puts, 3);
        refused += puts[0].append.status == LOG_APPEND_FULL;
        room_again(w);
        partition_ends(w->p, &ends);
        next = (int32_t)ends.high;
        for (int i = 0; i < 7; i++) { /* over the end of that segment */
            assert_int_equal(put_one(w, next + i), LOG_APPEND_OK);
        }
        reopen(w);
        expect_sequences(w, next + 7);
    }
    assert_in_range(refused, 4, 20); /* some faults met a checkpoint instead */
}

/* Five of 900 bytes fill a segment: the sixth is judged before the first five are written. */
static void what_follows_a_refused_batch_is_judged_anew(void **state)
{
    struct world *w = *state;
    struct put puts[8];

    for (int i = 0; i < 8; i++) {
        put_make(w, &puts[i], i);
    }
    assert_int_equal(testing_put(w->sim, w->log, w->p, "a segment"), 0);
    fail_write(w, EIO);
    put_all(w, puts, 8);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(puts[i].append.status, LOG_APPEND_STORAGE);
    }
}

/* A repeat in the same turn as a first time that is refused. */
static void a_repeat_of_a_refused_batch_is_no_success(void **state)
{
    struct world *w = *state;
    struct put puts[3];

    assert_int_equal(put_one(w, 0), LOG_APPEND_OK);
    put_make(w, &puts[0], 1);
    put_make(w, &puts[1], 1);
    put_make(w, &puts[2], 2);
    fail_write(w, ENOSPC);
    put_all(w, puts, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(puts[i].append.status, LOG_APPEND_OK);
        assert_int_not_equal(puts[i].append.status, LOG_APPEND_DUPLICATE);
    }
    room_again(w);
    assert_int_equal(put_one(w, 1), LOG_APPEND_OK);
    expect_sequences(w, 2);
}

/* The partition takes no more, and an orderly restart knows only what was written. */
static void an_error_of_the_disk_is_forgotten_by_a_restart(void **state)
{
    struct world *w = *state;

    assert_int_equal(put_one(w, 0), LOG_APPEND_OK);
    fail_write(w, EIO);
    assert_int_equal(put_one(w, 1), LOG_APPEND_STORAGE);
    assert_int_equal(put_one(w, 1), LOG_APPEND_STORAGE);
    reopen(w);
    expect_sequences(w, 1);
    for (int32_t i = 1; i < 20; i++) {
        assert_int_equal(put_one(w, i), LOG_APPEND_OK);
    }
    reopen(w);
    expect_sequences(w, 20);
}

static void too_many_open_files_is_a_passing_trouble(void **state)
{
    struct world *w = *state;

    os_sim_plan(w->sim, OS_SIM_OPEN, (struct os_sim_fault){.nth = 1, .number = EMFILE});
    assert_int_equal(put_one(w, 0), LOG_APPEND_STORAGE);
    assert_int_equal(put_one(w, 0), LOG_APPEND_OK);
    expect_sequences(w, 1);
}

/* Each read that fails leaves the segment to those that come after. */
static void an_index_that_cannot_be_read_fails_that_read_only(void **state)
{
    struct world *w = *state;
    const struct setting large[] = {
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t) "20000"}};
    struct log_change change = {
        .kind = LOG_TOPIC_SETTINGS, .topic = w->topic, .settings = large, .setting_count = 1};

    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
    for (int32_t i = 0; i < 60; i++) {
        assert_int_equal(put_one(w, i), LOG_APPEND_OK);
    }
    reopen(w);
    free(testing_get(w->log, w->p, 59, false)); /* opened; sealed indexes are not loaded */
    os_sim_plan(w->sim, OS_SIM_READ, (struct os_sim_fault){.one_in = 1});
    for (int i = 0; i < 5; i++) {
        assert_null(testing_get(w->log, w->p, 30, false));
    }
    os_sim_plan(w->sim, OS_SIM_READ, (struct os_sim_fault){0});
    expect_sequences(w, 60);
}

static void set_policy(struct world *w, const char *policy)
{
    const struct setting settings[] = {
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t) "5000"},
        {(char *)(uintptr_t) "flush.policy", (char *)(uintptr_t)policy}};
    struct log_change change = {.kind = LOG_TOPIC_SETTINGS,
                                .topic = w->topic,
                                .settings = settings,
                                .setting_count = COUNT(settings)};

    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
}

/* What the journal has begins behind what only the page cache had. */
static void what_is_before_an_acknowledged_batch_is_on_disk(void **state)
{
    struct world *w = *state;

    for (int32_t round = 0; round < 20; round++) {
        struct partition_ends ends;
        partition_ends(w->p, &ends);
        int32_t next = (int32_t)ends.high;
        set_policy(w, "os");
        for (int32_t i = 0; i < 8; i++) {
            assert_int_equal(put_one(w, next + i), LOG_APPEND_OK);
        }
        set_policy(w, "sync");
        assert_int_equal(put_one(w, next + 8), LOG_APPEND_OK);
        topic_drop(w->topic);
        os_sim_crash(w->sim);
        open_again(w);
        expect_sequences(w, next + 9);
    }
}

/* A crash leaves the objects of that life behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_refused_write_leaves_nothing_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(what_follows_a_refused_batch_is_judged_anew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_repeat_of_a_refused_batch_is_no_success, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_error_of_the_disk_is_forgotten_by_a_restart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_before_an_acknowledged_batch_is_on_disk, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_index_that_cannot_be_read_fails_that_read_only,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_open_files_is_a_passing_trouble, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
