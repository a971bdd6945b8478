/* compact_test.c - what compaction keeps, over batches alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/compact.h"

#define RETENTION_MS 1000
#define BATCHES_MAX 100

struct world {
    struct writer log; /* batches back to back */
    int64_t end, now_ms;
    struct log_aborted aborts[10];
    size_t abort_count;
    struct producer_last lasts[10];
    size_t last_count;
    int64_t keep_offset;
    int64_t records_max; /* of the map, 0: plenty */
    /* results of a run */
    bool changed;
    int64_t horizon_ms, latest;
    size_t ended_count;
};

static int begin(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    w->keep_offset = -1;
    w->now_ms = 5000;
    *state = w;
    return 0;
}

static int finish(void **state)
{
    struct world *w = *state;

    writer_fini(&w->log);
    free(w);
    return 0;
}

struct put {
    const char *keys;   /* a record per character, '-': no key */
    const char *values; /* '.': a tombstone */
    enum codec codec;
    uint16_t attributes;
    int64_t producer_id; /* 0: none */
    int32_t sequence;
};

static void add(struct world *w, struct buf *b, view batch)
{
    struct batch_info info;

    assert_int_equal(batch_peek(batch, &info), BATCH_FINE);
    batch_patch(b->bytes, w->end, 3);
    w->end += info.last_offset_delta + 1;
    write_view(&w->log, batch);
    buf_drop(b);
}

static void put_as(struct world *w, struct put p)
{
    static const struct header header = {{(const uint8_t *)"h", 1}, {(const uint8_t *)"v", 1}};
    struct record records[16];
    size_t count = strlen(p.keys);
    view batch;

    for (size_t i = 0; i < count; i++) {
        const uint8_t *key = (const uint8_t *)p.keys + i,
                      *value = (const uint8_t *)p.values + i;
        records[i] = (struct record){
            .timestamp_ms = 100 + w->end + (int64_t)i,
            .key = *key == '-' ? (view){0} : (view){key, 1},
            .value = *value == '.' ? (view){0} : (view){value, 1},
            .headers = (struct header *)(uintptr_t)&header,
            .header_count = 1,
        };
    }
    struct buf *b =
        batch_new(&(struct batch_build){.records = records,
                                        .count = count,
                                        .codec = p.codec,
                                        .attributes = p.attributes,
                                        .producer_id = p.producer_id - !p.producer_id,
                                        .base_sequence = p.sequence},
                  &batch);
    add(w, b, batch);
}

static void put(struct world *w, const char *keys, const char *values)
{
    put_as(w, (struct put){.keys = keys, .values = values});
}

static void mark(struct world *w, int64_t producer_id, bool commit)
{
    view batch;
    struct buf *b = batch_marker(commit, producer_id, 0, 0, 100, &batch);

    add(w, b, batch);
}

static void pass(struct world *w, struct compactor *c, struct writer *out)
{
    struct log_aborted *aborts = xcalloc(w->abort_count, sizeof(*aborts));
    view rest = writer_view(&w->log);
    struct batch_info info;
    bool full = false;

    memcpy(aborts, w->aborts, w->abort_count * sizeof(*aborts));
    compactor_begin(c, aborts, w->abort_count);
    for (; rest.len && !full; rest = view_from(rest, info.bytes)) {
        assert_int_equal(batch_check_stored(rest, &info), BATCH_FINE);
        view batch = view_upto(rest, info.bytes);
        assert_int_equal(out ? compactor_rewrite(c, &info, batch, out)
                             : compactor_learn(c, &info, batch, &full),
                         OK);
    }
}

/* Compacts all of the log. */
static void compact(struct world *w)
{
    struct compact_rules rules = {.memory_bytes = 1 << 20,
                                  .records = w->records_max ? w->records_max : 1000,
                                  .now_ms = w->now_ms,
                                  .delete_retention_ms = RETENTION_MS,
                                  .keep_offset = w->keep_offset,
                                  .producers = w->lasts,
                                  .producer_count = w->last_count};
    struct compactor c;
    struct writer out = {0};

    compactor_init(&c, &rules);
    if (w->records_max) {
        c.newest.count_max = (size_t)w->records_max;
    }
    pass(w, &c, NULL);
    pass(w, &c, &out);
    w->changed = c.changed;
    w->horizon_ms = c.horizon_ms;
    w->latest = c.latest;
    w->ended_count = c.ended_count;
    compactor_fini(&c);
    writer_fini(&w->log);
    w->log = out;
}

/* "offset key value" of each record, and "[first-last]" of batches without records. */
static void assert_log(struct world *w, const char *expected)
{
    struct writer text = {0};
    view rest = writer_view(&w->log);
    struct batch_info info;

    for (; rest.len; rest = view_from(rest, info.bytes)) {
        struct batch_walk walk;
        struct record record;
        bool more = true;
        assert_int_equal(batch_check_stored(rest, &info), BATCH_FINE);
        assert_int_equal(info.leader_epoch, 3);
        if (info.record_count == 0) {
            write_format(&text, "[%d-%d] ", (int)info.base_offset,
                         (int)info.base_offset + info.last_offset_delta);
        }
        batch_walk_init(&walk, view_upto(rest, info.bytes));
        while (batch_walk_next(&walk, &record, &more) == OK && more) {
            if (info.attributes & BATCH_CONTROL) {
                write_format(&text, "%d!%d ", (int)record.offset, record.key.at[3]);
                continue;
            }
            write_format(&text, "%d%.*s%.*s ", (int)record.offset, VIEW_ARG(record.key),
                         record.value.at ? (int)record.value.len : 1,
                         record.value.at ? (const char *)record.value.at : ".");
            assert_int_equal(record.timestamp_ms, 100 + record.offset);
            assert_int_equal(record.header_count, 1);
            assert_true(view_is(record.headers[0].value, VIEW("v")));
        }
        batch_walk_fini(&walk);
    }
    write_u8(&text, 0);
    assert_string_equal((char *)text.at, expected);
    writer_fini(&text);
}

static void the_newest_record_of_each_key_stays(void **state)
{
    struct world *w = *state;

    put(w, "abc", "123");
    put(w, "ab", "45");
    put(w, "ad", "67");
    compact(w);
    assert_log(w, "2c3 4b5 5a6 6d7 ");
    assert_true(w->changed);
    compact(w);
    assert_log(w, "2c3 4b5 5a6 6d7 ");
    assert_false(w->changed);
}

static void every_codec_survives(void **state)
{
    struct world *w = *state;

    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        put_as(w, (struct put){.keys = "abx", .values = "123", .codec = (enum codec)codec});
    }
    compact(w);
    assert_log(w, "12a1 13b2 14x3 ");
    put_as(w, (struct put){.keys = "ab", .values = "45", .codec = CODEC_ZSTD});
    compact(w);
    assert_log(w, "14x3 15a4 16b5 ");
    assert_int_equal(w->log.at[22] & BATCH_CODEC_MASK, CODEC_ZSTD);
}

static void batches_keep_their_first_and_last_offset(void **state)
{
    struct world *w = *state;
    struct batch_info info;

    put(w, "abcd", "1234");
    put(w, "acd", "567");
    compact(w);
    assert_log(w, "1b2 4a5 5c6 6d7 ");
    assert_int_equal(batch_peek(writer_view(&w->log), &info), BATCH_FINE);
    assert_int_equal(info.base_offset, 0);
    assert_int_equal(info.last_offset_delta, 3);
    assert_int_equal(info.record_count, 1);
    assert_int_equal(info.base_timestamp, 101);
    assert_int_equal(info.max_timestamp, 101);
}

static void a_tombstone_goes_after_its_horizon(void **state)
{
    struct world *w = *state;

    put(w, "ab", "1x");
    put(w, "a", ".");
    compact(w);
    assert_log(w, "1bx 2a. ");
    assert_int_equal(w->horizon_ms, w->now_ms + RETENTION_MS);
    w->now_ms += RETENTION_MS - 1;
    compact(w);
    assert_log(w, "1bx 2a. ");
    assert_false(w->changed);
    assert_int_equal(w->horizon_ms, w->now_ms + 1);
    w->now_ms += 1;
    compact(w);
    assert_log(w, "1bx ");
    assert_int_equal(w->horizon_ms, INT64_MAX);
}

static void records_without_key_go(void **state)
{
    struct world *w = *state;

    put(w, "a-", "12");
    compact(w);
    assert_log(w, "0a1 ");
}

static void what_a_full_map_did_not_learn_stays(void **state)
{
    struct world *w = *state;

    put(w, "ab", "12");
    put(w, "abc", "345");
    put(w, "ab", "67");
    w->records_max = 2;
    compact(w);
    assert_int_equal(w->latest, 3);
    assert_log(w, "2a3 3b4 4c5 5a6 6b7 ");
}

static void a_producers_newest_batch_stays_without_records(void **state)
{
    struct world *w = *state;

    put_as(w, (struct put){.keys = "a", .values = "1", .producer_id = 7, .sequence = 0});
    put_as(
        w,
        (struct put){
            .keys = "a", .values = "2", .producer_id = 7, .sequence = 1, .codec = CODEC_GZIP});
    put(w, "a", "3");
    w->lasts[0] = (struct producer_last){7, 1, 0};
    w->last_count = 1;
    compact(w);
    assert_log(w, "[1-1] 2a3 ");
    struct batch_info info;
    assert_int_equal(batch_peek(writer_view(&w->log), &info), BATCH_FINE);
    assert_int_equal(info.base_sequence, 1);
    assert_int_equal(info.base_timestamp, -1);
    assert_int_equal(info.producer_id, 7);
    compact(w);
    assert_log(w, "[1-1] 2a3 ");
    assert_false(w->changed);
    w->last_count = 0;
    compact(w);
    assert_log(w, "2a3 ");
}

static void the_end_of_the_log_stays_marked(void **state)
{
    struct world *w = *state;

    put(w, "a", "1");
    put(w, "--", "23");
    w->keep_offset = 2;
    compact(w);
    assert_log(w, "0a1 [1-2] ");
}

static void aborted_records_go_and_their_marker_by_its_horizon(void **state)
{
    struct world *w = *state;
    uint16_t txn = BATCH_TRANSACTIONAL;

    put(w, "ab", "12");
    put_as(w, (struct put){.keys = "a", .values = "3", .attributes = txn, .producer_id = 7});
    mark(w, 7, false);
    put_as(w,
           (struct put){
               .keys = "c", .values = "4", .attributes = txn, .producer_id = 7, .sequence = 1});
    mark(w, 7, true);
    w->aborts[0] = (struct log_aborted){7, 2};
    w->abort_count = 1;
    compact(w);
    assert_log(w, "0a1 1b2 3!0 4c4 5!1 "); /* the old value of a is the newest one committed */
    compact(w);
    assert_true(w->changed); /* the abort's marker has its horizon now */
    assert_int_equal(w->ended_count, 0);
    w->now_ms += RETENTION_MS;
    compact(w);
    assert_log(w, "0a1 1b2 4c4 5!1 ");
    assert_int_equal(w->ended_count, 1);
}

static void a_commit_marker_stays_while_its_data_does(void **state)
{
    struct world *w = *state;
    uint16_t txn = BATCH_TRANSACTIONAL;

    put_as(w, (struct put){.keys = "a", .values = "1", .attributes = txn, .producer_id = 7});
    mark(w, 7, true);
    for (int i = 0; i < 3; i++) {
        w->now_ms += RETENTION_MS;
        compact(w);
        assert_log(w, "0a1 1!1 ");
        assert_false(w->changed);
    }
    put(w, "a", "2");
    compact(w); /* its data goes now, the marker is still needed by this pass */
    assert_log(w, "1!1 2a2 ");
    compact(w);
    w->now_ms += RETENTION_MS;
    compact(w);
    assert_log(w, "2a2 ");
}

static void a_marker_is_kept_for_a_producer_without_data(void **state)
{
    struct world *w = *state;

    mark(w, 7, true);
    put(w, "a", "2");
    w->lasts[0] = (struct producer_last){7, -1, 0};
    w->last_count = 1;
    compact(w);
    w->now_ms += RETENTION_MS;
    compact(w);
    assert_log(w, "[0-0] 1a2 ");
    w->lasts[0].epoch = 1;
    compact(w);
    assert_log(w, "1a2 ");
}

/* Many keys, many batches, against a plain array. */
static void random_logs_agree_with_an_array(void **state)
{
    struct world *w = *state;
    unsigned seed = 4711;

    for (int round = 0; round < 30; round++) {
        int64_t newest[26];
        struct writer text = {0};
        char keys[8], values[8], all[BATCHES_MAX * 8], all_values[BATCHES_MAX * 8];
        memset(newest, 0xff, sizeof(newest));
        writer_reset(&w->log);
        w->end = 0;
        for (int i = 0; i < BATCHES_MAX; i++) {
            size_t count = 1 + (seed >> 8) % 7;
            for (size_t n = 0; n < count; n++) {
                seed = seed * 1103515245u + 12345u;
                keys[n] = (char)('a' + (seed >> 16) % 26);
                values[n] = (char)('0' + (seed >> 24) % 10);
                all[w->end + (int64_t)n] = keys[n];
                all_values[w->end + (int64_t)n] = values[n];
                newest[keys[n] - 'a'] = w->end + (int64_t)n;
            }
            keys[count] = values[count] = '\0';
            put_as(w, (struct put){.keys = keys,
                                   .values = values,
                                   .codec = (enum codec)(i % CODEC_COUNT)});
        }
        for (int64_t i = 0; i < w->end; i++) {
            if (newest[all[i] - 'a'] == i) {
                write_format(&text, "%d%c%c ", (int)i, all[i], all_values[i]);
            }
        }
        write_u8(&text, 0);
        compact(w);
        assert_log(w, (char *)text.at);
        writer_fini(&text);
    }
}

static void the_map_holds_what_it_says(void **state)
{
    struct offset_map m;
    char key[32];
    int64_t put_count = 0;

    (void)state;
    offset_map_init(&m, 64 << 10, 1 << 20);
    for (;; put_count++) {
        int len = snprintf(key, sizeof(key), "key-%d", (int)put_count);
        if (!offset_map_put(&m, (view){(uint8_t *)key, (size_t)len}, put_count)) {
            break;
        }
    }
    assert_in_range(put_count, 2000, (64 << 10) / 24);
    for (int64_t i = 0; i <= put_count; i++) {
        int len = snprintf(key, sizeof(key), "key-%d", (int)i);
        assert_int_equal(offset_map_get(&m, (view){(uint8_t *)key, (size_t)len}),
                         i < put_count ? i : -1);
    }
    assert_true(offset_map_put(&m, VIEW("key-5"), 1 << 30)); /* known: always room */
    assert_int_equal(offset_map_get(&m, VIEW("key-5")), 1 << 30);
    offset_map_fini(&m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_newest_record_of_each_key_stays),
        TEST(every_codec_survives),
        TEST(batches_keep_their_first_and_last_offset),
        TEST(a_tombstone_goes_after_its_horizon),
        TEST(records_without_key_go),
        TEST(what_a_full_map_did_not_learn_stays),
        TEST(a_producers_newest_batch_stays_without_records),
        TEST(the_end_of_the_log_stays_marked),
        TEST(aborted_records_go_and_their_marker_by_its_horizon),
        TEST(a_commit_marker_stays_while_its_data_does),
        TEST(a_marker_is_kept_for_a_producer_without_data),
        TEST(random_logs_agree_with_an_array),
        TEST(the_map_holds_what_it_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
