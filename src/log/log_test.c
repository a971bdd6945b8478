/* log_test.c - what a user of the log relies on, over a simulated machine.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
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

    w->sim = os_sim_new(7);
    w->config = testing_config();
    w->log = testing_open(w->sim, &w->config);
    w->topic = testing_topic(w->sim, w->log, "orders", 2, NULL, 0);
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
    settings_free(NULL, 0);
    free(w->config.defaults.compression_type);
    free(w);
    return 0;
}

static void reopen(struct world *w)
{
    topic_drop(w->topic);
    log_close(w->log);
    w->log = testing_open(w->sim, &w->config);
    w->topic = log_topic(w->log, VIEW("orders"));
    assert_non_null(w->topic);
    w->p = topic_partition(w->topic, 0);
}

static void expect(struct world *w, int64_t offset, const char *value)
{
    char *got = testing_get(w->log, w->p, offset, false);

    assert_non_null(got);
    assert_string_equal(got, value);
    free(got);
}

static void what_is_appended_is_read_back(void **state)
{
    struct world *w = *state;

    assert_int_equal(testing_put(w->sim, w->log, w->p, "one"), 0);
    assert_int_equal(testing_put(w->sim, w->log, w->p, "two"), 1);
    expect(w, 0, "one");
    expect(w, 1, "two");
    assert_null(testing_get(w->log, w->p, 2, false));
}

static void everything_is_there_after_an_orderly_stop(void **state)
{
    struct world *w = *state;

    testing_put(w->sim, w->log, w->p, "one");
    testing_put(w->sim, w->log, w->p, "two");
    reopen(w);
    assert_true(log_started(w->log)->clean);
    expect(w, 1, "two");
    assert_int_equal(testing_put(w->sim, w->log, w->p, "three"), 2);
    expect(w, 2, "three");
}

static void segments_roll_and_are_read_across(void **state)
{
    struct world *w = *state;
    static const struct setting small[] = {
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t) "2000"}};
    struct log_change change = {
        .kind = LOG_TOPIC_SETTINGS, .topic = w->topic, .settings = small, .setting_count = 1};
    char value[200];

    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
    for (int i = 0; i < 100; i++) {
        snprintf(value, sizeof(value), "value %d %0*d", i, i, 0);
        assert_int_equal(testing_put(w->sim, w->log, w->p, value), i);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 100; i++) {
            snprintf(value, sizeof(value), "value %d %0*d", i, i, 0);
            expect(w, i, value);
        }
        reopen(w);
    }
}

#define TEXT(literal) ((char *)(uintptr_t)(literal))

struct chain { /* of two changes, one batch */
    struct log_change first, second;
    int left;
    bool done;
};

static void chain_done(struct log_change *change)
{
    struct chain *chain = change->owner.at ? (void *)(uintptr_t)change->owner.at : NULL;

    assert_null(change->fault);
    chain->done = --chain->left == 0;
}

static void run_chain(struct world *w, struct chain *chain)
{
    chain->left = 2;
    chain->first.next = &chain->second;
    chain->first.done = chain->second.done = chain_done;
    chain->first.owner = chain->second.owner = VIEW_OF(*chain);
    log_change(w->log, &chain->first);
    testing_until(w->sim, &chain->done);
}

static void expect_overrides(struct world *w, const char *text)
{
    struct setting *overrides = NULL;
    size_t count = topic_overrides(w->topic, &overrides);
    struct writer out = {0};

    for (size_t i = 0; i < count; i++) {
        write_format(&out, "%s=%s ", overrides[i].name, overrides[i].value);
    }
    write_u8(&out, 0);
    assert_string_equal((const char *)writer_view(&out).at, text);
    writer_fini(&out);
    settings_free(overrides, count);
}

static void growth_and_settings_in_one_batch_both_last(void **state)
{
    struct world *w = *state;
    static const struct setting one[] = {{TEXT("retention.ms"), TEXT("1000")}};
    static const struct setting two[] = {{TEXT("retention.ms"), TEXT("2000")}};
    struct log_change set = {.kind = LOG_TOPIC_SETTINGS, .topic = w->topic, .setting_count = 1};
    struct log_change grow = {.kind = LOG_TOPIC_GROW, .topic = w->topic};
    struct chain chain = {.first = set, .second = grow};

    chain.first.settings = one;
    chain.second.partition_count = 3;
    run_chain(w, &chain);
    reopen(w);
    assert_int_equal(w->topic->partition_count, 3);
    expect_overrides(w, "retention.ms=1000 ");
    grow.topic = set.topic = w->topic;
    chain = (struct chain){.first = grow, .second = set};
    chain.first.partition_count = 5;
    chain.second.settings = two;
    run_chain(w, &chain);
    reopen(w);
    assert_int_equal(w->topic->partition_count, 5);
    expect_overrides(w, "retention.ms=2000 ");
}

static void settings_merged_at_one_time_all_count(void **state)
{
    struct world *w = *state;
    static const struct setting one[] = {{TEXT("retention.ms"), TEXT("1000")},
                                         {TEXT("segment.ms"), TEXT("5000")}};
    static const struct setting two[] = {{TEXT("retention.ms"), NULL},
                                         {TEXT("segment.bytes"), TEXT("9000")}};
    struct log_change set = {
        .kind = LOG_TOPIC_SETTINGS, .topic = w->topic, .merge = true, .setting_count = 2};
    struct chain chain = {.first = set, .second = set};

    chain.first.settings = one;
    chain.second.settings = two;
    run_chain(w, &chain);
    for (int round = 0; round < 2; round++) {
        expect_overrides(w, "segment.ms=5000 segment.bytes=9000 ");
        reopen(w);
    }
}

#define MANY 2500

struct long_chain {
    struct log_change changes[MANY];
    size_t left;
    bool done;
};

static void one_done(struct log_change *change)
{
    struct long_chain *chain = (void *)(uintptr_t)change->owner.at;

    assert_null(change->fault);
    assert_int_equal(change - chain->changes, MANY - chain->left); /* in order */
    topic_drop(change->topic);
    chain->done = --chain->left == 0;
}

static void a_chain_of_any_length_is_done_whole_and_in_order(void **state)
{
    struct world *w = *state;
    struct long_chain *chain = xcalloc(1, sizeof(*chain));
    struct arena names = {0};
    struct topic **topics = NULL;

    chain->left = MANY;
    for (size_t i = 0; i < MANY; i++) {
        chain->changes[i] = (struct log_change){
            .next = i + 1 < MANY ? &chain->changes[i + 1] : NULL,
            .kind = LOG_TOPIC_CREATE,
            .name = view_text(arena_format(&names, "topic-%zu", i)),
            .owner = VIEW_OF(*chain),
            .partition_count = 1,
            .done = one_done,
        };
    }
    log_change(w->log, &chain->changes[0]);
    testing_until(w->sim, &chain->done);
    for (size_t i = 0; i + 1 < MANY; i++) {
        assert_ptr_equal(chain->changes[i].next, &chain->changes[i + 1]); /* left as it was */
    }
    reopen(w);
    size_t count = log_topics(w->log, &topics);
    assert_int_equal(count, MANY + 2); /* ours and __meta */
    topics_drop(topics, count);
    arena_fini(&names);
    free(chain);
}

/* Several callers at once: what each goes through afterwards is its own. */
static void chains_asked_for_together_stay_apart(void **state)
{
    struct world *w = *state;
    static const struct setting one[] = {{TEXT("retention.ms"), TEXT("1000")}};
    struct log_change set = {
        .kind = LOG_TOPIC_SETTINGS, .topic = w->topic, .settings = one, .setting_count = 1};
    struct chain chains[3];

    for (size_t i = 0; i < COUNT(chains); i++) {
        chains[i] = (struct chain){.first = set, .second = set, .left = 2};
        chains[i].first.next = &chains[i].second;
        chains[i].first.done = chains[i].second.done = chain_done;
        chains[i].first.owner = chains[i].second.owner = VIEW_OF(chains[i]);
        log_change(w->log, &chains[i].first);
    }
    for (size_t i = 0; i < COUNT(chains); i++) {
        testing_until(w->sim, &chains[i].done);
        assert_ptr_equal(chains[i].first.next, &chains[i].second);
        assert_null(chains[i].second.next);
    }
}

static void a_time_finds_the_first_record_at_or_after_it(void **state)
{
    struct world *w = *state;
    struct log_time_answer answer;

    for (int i = 0; i < 50; i++) {
        struct testing_record record = {"k", "v", 1000 + i * 10};
        testing_append(w->sim, w->log, w->p, &record, 1, NULL, NULL);
    }
    assert_int_equal(partition_find_time(w->p, 1245, false, &answer), OK);
    assert_int_equal(answer.offset, 25);
    assert_int_equal(answer.timestamp, 1250);
    assert_int_equal(partition_find_time(w->p, 5000, false, &answer), OK);
    assert_int_equal(answer.offset, -1);
    assert_int_equal(partition_find_max_time(w->p, &answer), OK);
    assert_int_equal(answer.offset, 49);
}

static void a_repeat_of_an_idempotent_batch_gets_its_old_offset(void **state)
{
    struct world *w = *state;
    struct testing_record record = {"k", "v", 1};
    struct batch_build head = {.producer_id = 5, .producer_epoch = 0, .base_sequence = 0};
    enum log_append_status status;

    assert_int_equal(testing_append(w->sim, w->log, w->p, &record, 1, &head, &status), 0);
    head.base_sequence = 1;
    assert_int_equal(testing_append(w->sim, w->log, w->p, &record, 1, &head, &status), 1);
    assert_int_equal(testing_append(w->sim, w->log, w->p, &record, 1, &head, &status), 1);
    assert_int_equal(status, LOG_APPEND_DUPLICATE);
    head.base_sequence = 5;
    testing_append(w->sim, w->log, w->p, &record, 1, &head, &status);
    assert_int_equal(status, LOG_APPEND_OUT_OF_ORDER);
    reopen(w);
    head.base_sequence = 1;
    assert_int_equal(testing_append(w->sim, w->log, w->p, &record, 1, &head, &status), 1);
    assert_int_equal(status, LOG_APPEND_DUPLICATE);
}

static void committed_readers_stop_at_an_open_transaction(void **state)
{
    struct world *w = *state;
    struct testing_record record = {"k", "in a transaction", 1};
    struct batch_build head = {.producer_id = 5, .attributes = BATCH_TRANSACTIONAL};

    testing_put(w->sim, w->log, w->p, "before");
    assert_int_equal(testing_append(w->sim, w->log, w->p, &record, 1, &head, NULL), 1);
    testing_put(w->sim, w->log, w->p, "behind");
    assert_null(testing_get(w->log, w->p, 1, true));
    assert_null(testing_get(w->log, w->p, 2, true));
    expect(w, 2, "behind");
    reopen(w);
    struct partition_ends ends;
    partition_ends(w->p, &ends);
    assert_int_equal(ends.stable, 1);
    assert_int_equal(ends.high, 3);
    assert_null(testing_get(w->log, w->p, 1, true));
}

static void a_deleted_topic_is_gone_and_its_name_free(void **state)
{
    struct world *w = *state;
    struct log_change change = {.kind = LOG_TOPIC_DELETE, .topic = w->topic};
    uuid id = w->topic->id;

    testing_put(w->sim, w->log, w->p, "old");
    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
    assert_null(log_topic(w->log, VIEW("orders")));
    topic_drop(w->topic);
    w->topic = testing_topic(w->sim, w->log, "orders", 1, NULL, 0);
    w->p = topic_partition(w->topic, 0);
    assert_false(uuid_is(id, w->topic->id));
    assert_int_equal(testing_put(w->sim, w->log, w->p, "new"), 0);
    reopen(w);
    expect(w, 0, "new");
}

static void a_trim_moves_the_start_for_good(void **state)
{
    struct world *w = *state;
    struct log_change change = {.kind = LOG_TRIM, .topic = w->topic, .offset = 2};
    struct partition_ends ends;

    for (int i = 0; i < 4; i++) {
        testing_put(w->sim, w->log, w->p, "x");
    }
    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
    reopen(w);
    partition_ends(w->p, &ends);
    assert_int_equal(ends.start, 2);
    assert_null(testing_get(w->log, w->p, 1, false));
    expect(w, 2, "x");
}

static void a_full_disk_refuses_writes_and_recovers_by_itself(void **state)
{
    struct world *w = *state;
    struct testing_record record = {"k", "v", 1};
    enum log_append_status status = LOG_APPEND_OK;
    int64_t last = 0;

    testing_put(w->sim, w->log, w->p, "kept");
    char *large = xmalloc(100001);
    memset(large, 'x', 100000);
    large[100000] = '\0';
    record.value = large;
    os_sim_disk_bytes(w->sim, 40 << 20);
    for (int i = 0; i < 2000 && status == LOG_APPEND_OK; i++) {
        last = testing_append(w->sim, w->log, w->p, &record, 1, NULL, &status);
    }
    assert_int_equal(status, LOG_APPEND_FULL);
    (void)last;
    expect(w, 0, "kept");
    os_sim_disk_bytes(w->sim, (int64_t)1 << 40);
    bool room = false;
    for (int i = 0; i < 100 && !room; i++) {
        os_sim_advance(w->sim, 1000000000);
        for (int k = 0; k < 20; k++) {
            os_sim_step(w->sim);
        }
        testing_append(w->sim, w->log, w->p, &record, 1, NULL, &status);
        room = status == LOG_APPEND_OK;
    }
    assert_true(room);
    free(large);
}

static void the_old_end_can_be_cut_off(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 10; i++) {
        testing_put(w->sim, w->log, w->p, "x");
    }
    struct partition_ends ends;
    struct log_cut_entry *cut;
    size_t count;
    log_cut(w->log, &cut, &count);
    assert_int_equal(count, 3); /* __meta and two of orders */
    free(cut);
    partition_ends(w->p, &ends);
    assert_int_equal(ends.end, 10);
}

static void a_file_that_lost_its_end_is_named(void **state)
{
    struct world *w = *state;
    struct os *os = os_sim_os(w->sim);
    struct log_read read = {.bytes_max = 1000, .may_block = true};
    char id[UUID_TEXT_BYTES], path[128];
    os_file file;

    for (int i = 0; i < 3; i++) {
        testing_put(w->sim, w->log, w->p, "value");
    }
    uuid_text(w->topic->id, id);
    snprintf(path, sizeof(path), "data/p/%s-0/%020d.log", id, 0);
    topic_drop(w->topic);
    log_close(w->log);
    assert_int_equal(os->file_open(os, path, OS_OPEN_WRITE, &file), OK);
    int64_t bytes;
    assert_int_equal(os->file_size(os, file, &bytes), OK);
    assert_int_equal(os->file_truncate(os, file, bytes / 3), OK); /* whole batches are left */
    os->file_close(os, file);
    w->log = testing_open(w->sim, &w->config);
    w->topic = log_topic(w->log, VIEW("orders"));
    w->p = read.partition = topic_partition(w->topic, 0);
    log_read(w->log, &read);
    assert_int_equal(read.status, LOG_READ_FAILED);
    assert_non_null(strstr(fault_here.text, "had been acknowledged"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_appended_is_read_back),
        TEST(everything_is_there_after_an_orderly_stop),
        TEST(segments_roll_and_are_read_across),
        TEST(a_file_that_lost_its_end_is_named),
        TEST(growth_and_settings_in_one_batch_both_last),
        TEST(settings_merged_at_one_time_all_count),
        TEST(a_chain_of_any_length_is_done_whole_and_in_order),
        TEST(chains_asked_for_together_stay_apart),
        TEST(a_time_finds_the_first_record_at_or_after_it),
        TEST(a_repeat_of_an_idempotent_batch_gets_its_old_offset),
        TEST(committed_readers_stop_at_an_open_transaction),
        TEST(a_deleted_topic_is_gone_and_its_name_free),
        TEST(a_trim_moves_the_start_for_good),
        TEST(a_full_disk_refuses_writes_and_recovers_by_itself),
        TEST(the_old_end_can_be_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
