/* compact_log_test.c - compaction inside a running log, over a simulated machine.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define BEAT_MS 100
#define LONG_MS 2000
#define KEYS 10

struct world {
    struct os_sim *sim;
    struct log_config config;
    struct log *log;
    struct topic *topic;
    struct partition *p;
    int count; /* of records put */
};

static struct setting setting(const char *name, const char *value)
{
    return (struct setting){(char *)(uintptr_t)name, (char *)(uintptr_t)value};
}

static int begin_with(void **state, int64_t beat_ms, int64_t sync_ms)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct setting settings[] = {setting("segment.bytes", "2000")};

    w->sim = os_sim_new(3);
    w->config = testing_config();
    w->config.unsynced_ms_max = sync_ms;
    w->config.retention_check_ms = beat_ms;
    w->config.files_max = 1;
    w->log = testing_open(w->sim, &w->config);
    w->topic = testing_topic(w->sim, w->log, "compacted", 1, settings, COUNT(settings));
    w->p = topic_partition(w->topic, 0);
    *state = w;
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, BEAT_MS, 10);
}

static int begin_without_beat(void **state)
{
    return begin_with(state, 1000 * LONG_MS, LONG_MS);
}

/* Only now, so that tests see the log before it. */
static void compact_from_now(struct world *w, const char *lag_ms)
{
    struct setting settings[] = {
        setting("cleanup.policy", "compact"), setting("segment.bytes", "2000"),
        setting("delete.retention.ms", "1000"), setting("min.compaction.lag.ms", lag_ms)};
    struct log_change change = {.kind = LOG_TOPIC_SETTINGS,
                                .topic = w->topic,
                                .settings = settings,
                                .setting_count = COUNT(settings)};

    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
}

static int finish(void **state)
{
    struct world *w = *state;

    topic_drop(w->topic);
    log_close(w->log);
    os_sim_free(w->sim);
    free(w->config.defaults.compression_type);
    free(w);
    return 0;
}

/* Lets the log live for so long. */
static void live(struct world *w, int64_t ms)
{
    struct os *os = os_sim_os(w->sim);

    for (int64_t end = os->now_ms(os) + ms; os->now_ms(os) < end;) {
        if (!os_sim_step(w->sim)) {
            os_sim_advance(w->sim, 1000000);
        }
    }
}

static int64_t put(struct world *w, const char *key, const char *value,
                   const struct batch_build *head)
{
    struct os *os = os_sim_os(w->sim);
    struct testing_record record = {key, value, os->now_ms(os)};
    enum log_append_status status;
    int64_t offset = testing_append(w->sim, w->log, w->p, &record, 1, head, &status);

    assert_int_equal(status, LOG_APPEND_OK);
    return offset;
}

/* Keys in turn; the value is the record's number, long enough for a few segments. */
static void put_many(struct world *w, int count)
{
    char key[8], value[200];

    for (int i = 0; i < count; i++, w->count++) {
        snprintf(key, sizeof(key), "%d", w->count % KEYS);
        snprintf(value, sizeof(value), "%d %0*d", w->count, 150, 0);
        (void)put(w, key, value, NULL);
    }
}

/* How many records a reader meets; *last is the offset after the last one. */
static int read_all(struct world *w, int64_t *last)
{
    struct partition_ends ends;
    int count = 0;

    partition_ends(w->p, &ends);
    *last = 0;
    while (*last < ends.high) {
        struct buf *bytes;
        struct batch_walk walk;
        struct record record;
        bool more = true;
        assert_int_equal(log_fetch(w->log, w->p, *last, 700, false, &bytes), OK);
        assert_non_null(bytes);
        batch_walk_init(&walk, (view){bytes->bytes, bytes->len});
        while (batch_walk_next(&walk, &record, &more) == OK && more) {
            count++;
        }
        *last = walk.info.base_offset + walk.info.last_offset_delta + 1;
        batch_walk_fini(&walk);
        buf_drop(bytes);
    }
    return count;
}

static void assert_compacted(struct world *w, bool yes)
{
    int64_t last;
    int count = read_all(w, &last);

    assert_int_equal(last, w->count);
    assert_true(yes ? count < w->count / 2 : count == w->count);
    for (int i = w->count - KEYS; i < w->count; i++) { /* the newest of each key */
        char number[20], *value = testing_get(w->log, w->p, i, false);
        snprintf(number, sizeof(number), "%d ", i);
        assert_non_null(value);
        assert_int_equal(strncmp(value, number, strlen(number)), 0);
        free(value);
    }
}

static void old_values_go_and_offsets_stay(void **state)
{
    struct world *w = *state;
    struct partition_ends before, after;

    put_many(w, 100);
    partition_ends(w->p, &before);
    compact_from_now(w, "0");
    live(w, 3 * BEAT_MS);
    partition_ends(w->p, &after);
    assert_compacted(w, true);
    assert_true(after.bytes < before.bytes / 2);
    assert_int_equal(after.start, 0);
    assert_int_equal(after.end, 100);
}

static void it_holds_over_an_orderly_stop(void **state)
{
    struct world *w = *state;
    struct partition_ends before, after;

    put_many(w, 100);
    compact_from_now(w, "0");
    live(w, 3 * BEAT_MS);
    partition_ends(w->p, &before);
    topic_drop(w->topic);
    log_close(w->log);
    w->log = testing_open(w->sim, &w->config);
    w->topic = log_topic(w->log, VIEW("compacted"));
    w->p = topic_partition(w->topic, 0);
    assert_true(log_started(w->log)->clean);
    assert_compacted(w, true);
    partition_ends(w->p, &after);
    assert_int_equal(after.bytes, before.bytes);
    put_many(w, 100);
    live(w, 3 * BEAT_MS);
    assert_compacted(w, true);
}

static void a_reader_under_way_keeps_the_old_file(void **state)
{
    struct world *w = *state;
    struct log_read read = {
        .partition = w->p, .bytes_max = 1000000, .whole_first = true, .may_block = true};
    uint8_t *before, *after;

    put_many(w, 100);
    log_read(w->log, &read);
    assert_int_equal(read.status, LOG_READ_OK);
    assert_true(read.range.bytes > 1000);
    before = xmalloc(read.range.bytes);
    after = xmalloc(read.range.bytes);
    assert_int_equal(log_range_read(w->log, &read.range, 0, before, read.range.bytes, true),
                     OS_READ_DONE);
    compact_from_now(w, "0");
    live(w, 3 * BEAT_MS);
    assert_compacted(w, true); /* opens other files: the limit is one */
    assert_int_equal(log_range_read(w->log, &read.range, 0, after, read.range.bytes, true),
                     OS_READ_DONE);
    assert_memory_equal(before, after, read.range.bytes);
    log_range_drop(w->log, &read.range);
    assert_compacted(w, true);
    free(before);
    free(after);
}

static void nothing_goes_behind_a_pin(void **state)
{
    struct world *w = *state;
    struct log_change pin = {.kind = LOG_PIN,
                             .topic = w->topic,
                             .partition = 0,
                             .offset = 5,
                             .owner = VIEW("mark/1")};

    put_many(w, 10);
    assert_int_equal(testing_change(w->sim, w->log, &pin), OK);
    put_many(w, 90);
    compact_from_now(w, "0");
    live(w, 3 * BEAT_MS);
    assert_compacted(w, false);
    pin.kind = LOG_UNPIN;
    assert_int_equal(testing_change(w->sim, w->log, &pin), OK);
    live(w, 3 * BEAT_MS);
    assert_compacted(w, true);
}

static void nothing_goes_behind_an_open_transaction(void **state)
{
    struct world *w = *state;
    struct batch_build txn = {.attributes = BATCH_TRANSACTIONAL, .producer_id = 5};

    (void)put(w, "x", "open", &txn);
    w->count++;
    put_many(w, 99);
    compact_from_now(w, "0");
    live(w, 3 * BEAT_MS);
    int64_t last;
    assert_int_equal(read_all(w, &last), 100);
}

static void young_records_wait(void **state)
{
    struct world *w = *state;
    put_many(w, 100);
    compact_from_now(w, "60000");
    live(w, 3 * BEAT_MS);
    assert_compacted(w, false);
    live(w, 60000);
    assert_compacted(w, true);
}

static bool has_record(struct world *w, int64_t offset)
{
    char *value = testing_get(w->log, w->p, offset, false);

    free(value);
    return value != NULL;
}

static void a_tombstone_goes_by_itself_when_it_is_due(void **state)
{
    struct world *w = *state;

    (void)put(w, "gone", "value", NULL);
    (void)put(w, "gone", NULL, NULL);
    w->count = 2;
    put_many(w, 98);
    compact_from_now(w, "0");
    live(w, 3 * BEAT_MS);
    assert_false(has_record(w, 0));
    assert_true(has_record(w, 1));
    live(w, 1000 + 2 * BEAT_MS); /* nobody writes: the cleaner knows when */
    assert_false(has_record(w, 1));
    assert_compacted(w, true);
}

static void a_checkpoint_lets_what_was_sealed_be_compacted(void **state)
{
    struct world *w = *state;
    struct os *os = os_sim_os(w->sim);
    int64_t last, begun_ms;

    compact_from_now(w, "0");
    put_many(w, 100);
    begun_ms = os->now_ms(os);
    assert_int_equal(read_all(w, &last), 100); /* the rolls came before any checkpoint */
    while (read_all(w, &last) == 100) {
        (void)os_sim_step(w->sim);
    }
    assert_true(os->now_ms(os) < begun_ms + 2 * LONG_MS); /* not the beat */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(old_values_go_and_offsets_stay),
        TEST(it_holds_over_an_orderly_stop),
        TEST(a_reader_under_way_keeps_the_old_file),
        TEST(nothing_goes_behind_a_pin),
        TEST(nothing_goes_behind_an_open_transaction),
        TEST(young_records_wait),
        TEST(a_tombstone_goes_by_itself_when_it_is_due),
        cmocka_unit_test_setup_teardown(a_checkpoint_lets_what_was_sealed_be_compacted,
                                        begin_without_beat, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
