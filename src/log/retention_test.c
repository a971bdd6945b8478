/* retention_test.c - what goes when, what never does, and truncation for replication.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"
#include "log/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

struct world {
    struct os_sim *sim;
    struct log_config config;
    struct log *log;
    struct topic *topic;
    struct partition *p;
};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    w->sim = os_sim_new(11);
    w->config = testing_config();
    w->config.retention_check_ms = 1000;
    w->log = testing_open(w->sim, &w->config);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    topic_drop(w->topic);
    log_close(w->log);
    os_sim_free(w->sim);
    settings_fini(&w->config.defaults);
    free(w);
    return 0;
}

static struct setting set(const char *name, const char *value)
{
    return (struct setting){(char *)(uintptr_t)name, (char *)(uintptr_t)value};
}

static void make(struct world *w, struct setting more)
{
    const struct setting settings[] = {set("segment.bytes", "1000"), more};

    w->topic = testing_topic(w->sim, w->log, "t", 1, settings, COUNT(settings));
    w->p = topic_partition(w->topic, 0);
}

static void put_many(struct world *w, int count)
{
    for (int i = 0; i < count; i++) {
        testing_put(w->sim, w->log, w->p, "a value of some length, so that segments roll");
    }
}

/* Lets the cleaner have some beats. */
static void beats(struct world *w, int count)
{
    for (int i = 0; i < count; i++) {
        os_sim_advance(w->sim, 2000000000);
        for (int k = 0; k < 30; k++) {
            os_sim_step(w->sim);
        }
    }
}

static struct partition_ends ends_of(struct world *w)
{
    struct partition_ends ends;

    partition_ends(w->p, &ends);
    return ends;
}

static void bytes_bound_what_a_partition_keeps(void **state)
{
    struct world *w = *state;

    make(w, set("retention.bytes", "3000"));
    put_many(w, 100);
    beats(w, 3);
    struct partition_ends ends = ends_of(w);
    assert_true(ends.start > 0);
    assert_in_range(ends.bytes, 3000, 5000);
    assert_null(testing_get(w->log, w->p, 0, false));
    char *last = testing_get(w->log, w->p, 99, false);
    assert_non_null(last);
    free(last);
}

static void age_takes_the_active_segment_of_a_quiet_topic_too(void **state)
{
    struct world *w = *state;

    make(w, set("retention.ms", "3600000"));
    put_many(w, 5);
    beats(w, 3);
    assert_int_equal(ends_of(w).start, 0);
    os_sim_advance(w->sim, 7200LL * 1000000000);
    beats(w, 5);
    assert_int_equal(ends_of(w).start, 5);
    assert_int_equal(ends_of(w).end, 5);
    assert_int_equal(testing_put(w->sim, w->log, w->p, "next"), 5);
}

static void a_clock_in_the_future_keeps_nothing_for_ever(void **state)
{
    struct world *w = *state;
    struct testing_record record = {"k", "v", 0};

    make(w, set("retention.ms", "3600000"));
    record.timestamp = os_sim_os(w->sim)->now_ms(os_sim_os(w->sim)) + 3000000; /* 50 minutes */
    testing_append(w->sim, w->log, w->p, &record, 1, NULL, NULL);
    os_sim_advance(w->sim, 7200LL * 1000000000);
    beats(w, 5);
    assert_int_equal(ends_of(w).start, 1);
}

static void old_time_stamps_do_not_take_records_at_once(void **state)
{
    struct world *w = *state;
    struct testing_record record = {"k", "v", 0}; /* of 1970 */

    make(w, set("retention.ms", "3600000"));
    testing_append(w->sim, w->log, w->p, &record, 1, NULL, NULL);
    beats(w, 5);
    assert_int_equal(ends_of(w).start, 0);
    os_sim_advance(w->sim, 300LL * 1000000000);
    beats(w, 5);
    assert_int_equal(ends_of(w).start, 1);
}

static void a_pin_stops_retention(void **state)
{
    struct world *w = *state;

    make(w, set("retention.bytes", "1000"));
    put_many(w, 3);
    struct log_change pin = {
        .kind = LOG_PIN, .topic = w->topic, .offset = 1, .owner = VIEW("me")};
    assert_int_equal(testing_change(w->sim, w->log, &pin), OK);
    put_many(w, 100);
    beats(w, 3);
    assert_true(ends_of(w).start <= 1);
    struct log_change trim = {.kind = LOG_TRIM, .topic = w->topic, .offset = 50};
    assert_int_equal(testing_change(w->sim, w->log, &trim), ERR_CONFLICT);
    struct log_change unpin = {.kind = LOG_UNPIN, .owner = VIEW("me")};
    assert_int_equal(testing_change(w->sim, w->log, &unpin), OK);
    beats(w, 3);
    assert_true(ends_of(w).start > 50);
}

static void a_share_of_the_disk_bounds_a_topic(void **state)
{
    struct world *w = *state;

    make(w, set("retention.disk.percent", "1"));
    os_sim_disk_bytes(w->sim,
                      500000 + (40LL << 20)); /* the journal's and the reserve's apart */
    put_many(w, 100);
    os_sim_disk_bytes(w->sim, 400000);
    beats(w, 3);
    assert_true(ends_of(w).bytes <= 4000 + 1000);
    assert_true(ends_of(w).start > 0);
}

static void the_oldest_segments_of_all_topics_go_first(void **state)
{
    struct world *w = *state;

    make(w, set("retention.ms", "-1"));
    put_many(w, 50);
    struct topic *old = w->topic;
    struct partition *old_p = w->p;
    os_sim_advance(w->sim, 1000000000);
    const struct setting settings[] = {set("segment.bytes", "1000")};
    w->topic = testing_topic(w->sim, w->log, "young", 1, settings, 1);
    w->p = topic_partition(w->topic, 0);
    put_many(w, 50);
    struct partition_ends young = ends_of(w), before;
    partition_ends(old_p, &before);
    w->log->config.disk_percent_max = 50;
    os_sim_disk_bytes(w->sim, (young.bytes + before.bytes) * 3 / 2);
    beats(w, 3);
    struct partition_ends after;
    partition_ends(old_p, &after);
    assert_true(after.start > 0);
    assert_int_equal(ends_of(w).start, 0);
    topic_drop(old);
}

struct cutting {
    struct log_truncate truncate;
    bool done;
};

static void cut_done(struct log_truncate *t)
{
    ((struct cutting *)t)->done = true;
}

static err cut(struct world *w, int64_t offset, bool reset)
{
    struct cutting cutting = {
        .truncate = {.partition = w->p, .offset = offset, .reset = reset, .done = cut_done}};

    log_truncate(w->log, &cutting.truncate);
    testing_until(w->sim, &cutting.done);
    return cutting.truncate.result;
}

static void a_cut_end_is_written_anew(void **state)
{
    struct world *w = *state;

    make(w, set("retention.ms", "-1"));
    put_many(w, 30);
    assert_int_equal(cut(w, 12, false), OK);
    assert_int_equal(ends_of(w).end, 12);
    assert_null(testing_get(w->log, w->p, 12, false));
    assert_int_equal(testing_put(w->sim, w->log, w->p, "new"), 12);
    char *got = testing_get(w->log, w->p, 12, false);
    assert_string_equal(got, "new");
    free(got);
    assert_int_equal(cut(w, 1000, true), OK);
    assert_int_equal(ends_of(w).start, 1000);
    assert_int_equal(testing_put(w->sim, w->log, w->p, "far"), 1000);
}

static void an_epoch_ends_where_the_next_begins(void **state)
{
    struct world *w = *state;
    int32_t found;
    int64_t end;

    make(w, set("retention.ms", "-1"));
    put_many(w, 3);
    topic_drop(w->topic);
    os_sim_crash(w->sim);
    w->log = testing_open(w->sim, &w->config);
    w->topic = log_topic(w->log, VIEW("t"));
    w->p = topic_partition(w->topic, 0);
    put_many(w, 2);
    assert_int_equal(ends_of(w).leader_epoch, 1);
    assert_int_equal(partition_epoch_end(w->p, 0, &found, &end), OK);
    assert_int_equal(found, 0);
    assert_int_equal(end, 3);
    assert_int_equal(partition_epoch_end(w->p, 1, &found, &end), OK);
    assert_int_equal(end, 5);
    assert_int_equal(partition_epoch_end(w->p, 2, &found, &end), OK); /* not known here */
    assert_int_equal(found, -1);
    assert_int_equal(end, -1);
    struct log_change trim = {.kind = LOG_TRIM, .topic = w->topic, .offset = 4};
    assert_int_equal(testing_change(w->sim, w->log, &trim), OK);
    assert_int_equal(partition_epoch_end(w->p, 0, &found, &end), OK); /* trimmed, not gone */
    assert_int_equal(found, 0);
    assert_int_equal(end, 4);
}

static void a_trim_while_closed_frees_the_segments_when_opened(void **state)
{
    struct world *w = *state;
    struct log_change change = {.kind = LOG_TRIM, .offset = 60};

    make(w, set("retention.bytes", "-1"));
    put_many(w, 100);
    int64_t bytes = ends_of(w).bytes;
    topic_drop(w->topic);
    log_close(w->log);
    w->log = testing_open(w->sim, &w->config);
    w->topic = log_topic(w->log, VIEW("t"));
    w->p = topic_partition(w->topic, 0);
    change.topic = w->topic;
    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
    free(testing_get(w->log, w->p, 60, false)); /* opens it */
    assert_in_range(ends_of(w).bytes, 1, bytes / 2);
    const struct setting none[] = {set("segment.bytes", "1000"), set("retention.bytes", "0")};
    change = (struct log_change){.kind = LOG_TOPIC_SETTINGS,
                                 .topic = w->topic,
                                 .settings = none,
                                 .setting_count = COUNT(none)};
    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
    beats(w, 3); /* the cleaner comes to an end */
    assert_in_range(ends_of(w).start, 61, 100);
}

static void no_news(struct log_change *change)
{
    (void)change;
}

static void second_done(struct log_change *change)
{
    *(bool *)(change + 1) = true;
}

static void a_pin_is_not_set_before_a_trim_under_way(void **state)
{
    struct world *w = *state;

    make(w, set("retention.bytes", "-1"));
    put_many(w, 100);
    struct two {
        struct log_change first, second;
        bool done;
    } two = {.first = {.kind = LOG_TRIM, .topic = w->topic, .offset = 50, .done = no_news},
             .second = {.kind = LOG_PIN,
                        .topic = w->topic,
                        .offset = 10,
                        .owner = VIEW("o"),
                        .done = second_done}};
    two.first.next = &two.second;
    log_change(w->log, &two.first);
    testing_until(w->sim, &two.done);
    assert_null(two.first.fault);
    assert_non_null(two.second.fault);
    assert_int_equal(two.second.fault->code, ERR_OUT_OF_RANGE);
    free(two.second.fault);
    assert_int_equal(ends_of(w).start, 50);
}

/* The crash of one test leaves its objects behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(bytes_bound_what_a_partition_keeps),
        TEST(age_takes_the_active_segment_of_a_quiet_topic_too),
        TEST(a_clock_in_the_future_keeps_nothing_for_ever),
        TEST(old_time_stamps_do_not_take_records_at_once),
        TEST(a_pin_stops_retention),
        TEST(a_share_of_the_disk_bounds_a_topic),
        TEST(the_oldest_segments_of_all_topics_go_first),
        TEST(a_cut_end_is_written_anew),
        TEST(an_epoch_ends_where_the_next_begins),
        TEST(a_trim_while_closed_frees_the_segments_when_opened),
        TEST(a_pin_is_not_set_before_a_trim_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
