/* batch_test.c - checking, walking and building batches. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/record.h"

#define T0 INT64_C(1700000000000)
#define FIXED(text)                                                                            \
    {                                                                                          \
        (const uint8_t *)(text), sizeof(text) - 1                                              \
    }

/* Made by another implementation: producer 7, epoch 3, sequence 11, three records. */
static const char foreign[] =
    "\0\0\0\0\0\0\0\0\0\0\0\x68\0\0\0\0\x02\x44\xc1\xff\x40\0\0\0\0\0\x02\0\0\x01\x8b\xcf\xe5"
    "\x68\0\0\0\x01\x8b\xcf\xe5\x68\x05\0\0\0\0\0\0\0\x07\0\x03\0\0\0\x0b\0\0\0\x03\x28\0\0\0"
    "\x04\x6b\x31\x0ahello\x04\x02h\x02x\x02n\x01\x34\0\x0a\x02\x01\x28worldworldworldworld\0"
    "\x0c\0\x13\x04\0\x01\0";

static view foreign_batch(void)
{
    return (view){(const uint8_t *)foreign, sizeof(foreign) - 1};
}

static const struct header headers_of_one[] = {{FIXED("h"), FIXED("x")}, {FIXED("n"), {0}}};
static const struct record three[] = {
    {0, T0, FIXED("k1"), FIXED("hello"), (struct header *)(uintptr_t)headers_of_one, 2},
    {0, T0 + 5, {0}, FIXED("worldworldworldworld"), NULL, 0},
    {0, T0 - 10, FIXED(""), {0}, NULL, 0},
};

static struct buf *three_records(enum codec codec, view *batch)
{
    return batch_new(&(struct batch_build){.records = three,
                                           .count = COUNT(three),
                                           .codec = codec,
                                           .producer_id = 7,
                                           .producer_epoch = 3,
                                           .base_sequence = 11},
                     batch);
}

/* Makes the CRC fit again after a test changed bytes. */
static void reseal(uint8_t *batch, size_t len)
{
    put_u32(batch + 17, crc32c(0, (view){batch + 21, len - 21}));
}

static void a_batch_of_another_implementation_is_fine(void **state)
{
    struct batch_info info;

    (void)state;
    assert_int_equal(batch_check(foreign_batch(), &info), BATCH_FINE);
    assert_int_equal(info.bytes, sizeof(foreign) - 1);
    assert_int_equal(info.producer_id, 7);
    assert_int_equal(info.producer_epoch, 3);
    assert_int_equal(info.base_sequence, 11);
    assert_int_equal(info.record_count, 3);
    assert_int_equal(info.last_offset_delta, 2);
    assert_int_equal(info.base_timestamp, T0);
    assert_int_equal(info.max_timestamp, T0 + 5);
}

static void what_we_build_is_byte_for_byte_the_same(void **state)
{
    view batch;
    struct buf *b = three_records(CODEC_NONE, &batch);

    (void)state;
    assert_true(view_is(batch, foreign_batch()));
    buf_drop(b);
}

static void assert_same_view(view a, view b)
{
    assert_int_equal(!a.at, !b.at); /* null is not empty */
    assert_true(view_is(a, b));
}

static void assert_same_record(const struct record *a, const struct record *b)
{
    assert_int_equal(a->timestamp_ms, b->timestamp_ms);
    assert_same_view(a->key, b->key);
    assert_same_view(a->value, b->value);
    assert_int_equal(a->header_count, b->header_count);
    for (size_t i = 0; i < a->header_count; i++) {
        assert_same_view(a->headers[i].key, b->headers[i].key);
        assert_same_view(a->headers[i].value, b->headers[i].value);
    }
}

static void records_come_back_from_every_codec(void **state)
{
    (void)state;
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        struct batch_walk walk;
        struct batch_info info;
        struct writer run = {0};
        struct record record;
        bool more;
        view batch;
        struct buf *b = three_records((enum codec)codec, &batch);

        assert_int_equal(batch_check(batch, &info), BATCH_FINE);
        assert_int_equal(batch_check_records(batch, false), BATCH_FINE);
        assert_int_equal(batch_check_records(batch, true), BATCH_NO_KEY);
        for (int64_t i = 0; i < 2; i++) { /* two batches in a row */
            batch_patch(b->bytes, 100 + 3 * i, 4);
            write_view(&run, batch);
        }
        batch_walk_init(&walk, writer_view(&run));
        for (int64_t i = 0; i < 6; i++) {
            assert_int_equal(batch_walk_next(&walk, &record, &more), OK);
            assert_true(more);
            assert_int_equal(record.offset, 100 + i);
            assert_same_record(&record, &three[i % 3]);
        }
        assert_int_equal(batch_walk_next(&walk, &record, &more), OK);
        assert_false(more);
        batch_walk_fini(&walk);
        writer_fini(&run);
        buf_drop(b);
    }
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct batch_info info;
    uint8_t copy[sizeof(foreign) - 1];

    (void)state;
    for (size_t bit = 0; bit < sizeof(copy) * 8; bit++) {
        size_t at = bit / 8;
        memcpy(copy, foreign, sizeof(copy));
        copy[at] ^= (uint8_t)(1u << bit % 8);
        bool patched = at < 8 || (at >= 12 && at < 16); /* offset, epoch: outside of the CRC */
        assert_int_equal(batch_check((view){copy, sizeof(copy)}, &info) == BATCH_FINE, patched);
    }
}

static void a_batch_cut_anywhere_is_short(void **state)
{
    struct batch_info info;

    (void)state;
    for (size_t len = 0; len < sizeof(foreign) - 1; len++) {
        uint8_t *copy = xmalloc(len); /* of its own: reads past the end are seen */
        memcpy(copy, foreign, len);
        assert_int_equal(batch_check((view){copy, len}, &info), BATCH_SHORT);
        assert_int_equal(batch_check_stored((view){copy, len}, &info), BATCH_SHORT);
        assert_int_equal(batch_peek((view){copy, len}, &info),
                         len < BATCH_HEAD_BYTES ? BATCH_SHORT : BATCH_FINE);
        free(copy);
    }
}

struct change {
    size_t at;
    uint8_t byte;
    enum batch_fault fault;
};

static void faults_behind_a_good_checksum_are_named(void **state)
{
    static const struct change rows[] = {
        {16, 1, BATCH_BAD_MAGIC},         {8, 0x7f, BATCH_BAD_LENGTH},
        {11, 48, BATCH_BAD_LENGTH},       {11, 0x67, BATCH_BAD_LENGTH},
        {11, 0x69, BATCH_SHORT},          {22, 5, BATCH_BAD_CODEC},
        {22, 0x20, BATCH_BAD_ATTRIBUTES}, {22, 0x40, BATCH_BAD_ATTRIBUTES},
        {26, 3, BATCH_BAD_COUNT},         {60, 2, BATCH_BAD_COUNT},
        {57, 0x80, BATCH_BAD_COUNT},      {51, 0x80, BATCH_BAD_ATTRIBUTES},
        {53, 0x80, BATCH_BAD_ATTRIBUTES}, {61, 0x29, BATCH_BAD_RECORDS}, /* negative length */
        {61, 0x26, BATCH_BAD_RECORDS},    {64, 2, BATCH_BAD_RECORDS},    /* offset delta 1 */
        {65, 0x7e, BATCH_BAD_RECORDS},    {65, 0x03, BATCH_BAD_RECORDS}, /* key length -2 */
        {74, 0x06, BATCH_BAD_RECORDS},    {75, 0x01, BATCH_BAD_RECORDS}, /* null header key */
    };
    struct batch_info info;
    uint8_t copy[sizeof(foreign) - 1];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        memcpy(copy, foreign, sizeof(copy));
        copy[rows[i].at] = rows[i].byte;
        reseal(copy, sizeof(copy));
        assert_int_equal(batch_check((view){copy, sizeof(copy)}, &info), rows[i].fault);
    }
}

static void bytes_behind_the_last_record_are_noticed(void **state)
{
    struct batch_info info;
    uint8_t copy[sizeof(foreign)];

    (void)state;
    memcpy(copy, foreign, sizeof(copy)); /* with the NUL of the literal */
    put_u32(copy + BATCH_LENGTH_AT, sizeof(copy) - 12);
    reseal(copy, sizeof(copy));
    assert_int_equal(batch_check((view){copy, sizeof(copy)}, &info), BATCH_BAD_RECORDS);
    assert_int_equal(batch_check_records((view){copy, sizeof(copy)}, false), BATCH_BAD_RECORDS);
}

static void a_producer_may_not_send_an_empty_batch(void **state)
{
    struct batch_info info = {.last_offset_delta = -1, .producer_id = -1};
    struct writer out = {0};

    (void)state;
    batch_seal(&info, (view){0}, &out);
    assert_int_equal(batch_check(writer_view(&out), &info), BATCH_BAD_COUNT);
    writer_fini(&out);
}

static void a_transactional_batch_needs_a_producer(void **state)
{
    struct batch_info info;
    uint8_t copy[sizeof(foreign) - 1];

    (void)state;
    memcpy(copy, foreign, sizeof(copy));
    copy[22] = BATCH_TRANSACTIONAL;
    reseal(copy, sizeof(copy));
    assert_int_equal(batch_check((view){copy, sizeof(copy)}, &info), BATCH_FINE);
    memset(copy + 43, 0xff, 8);
    reseal(copy, sizeof(copy));
    assert_int_equal(batch_check((view){copy, sizeof(copy)}, &info), BATCH_BAD_ATTRIBUTES);
}

static void a_stored_batch_may_have_holes_or_be_empty(void **state)
{
    struct batch_info info = {.base_offset = 40,
                              .last_offset_delta = 9,
                              .base_timestamp = T0,
                              .max_timestamp = T0,
                              .producer_id = -1,
                              .producer_epoch = -1,
                              .base_sequence = -1,
                              .record_count = 1};
    struct writer records = {0}, out = {0};
    struct batch_walk walk;
    struct record record;
    bool more;

    (void)state;
    record_write(&records, 3, 4, &three[0]);
    batch_seal(&info, writer_view(&records), &out);
    info.base_offset = 50;
    info.record_count = 0;
    batch_seal(&info, (view){0}, &out);
    assert_int_equal(batch_check_stored(writer_view(&out), &info), BATCH_FINE);
    assert_int_equal(batch_check(view_upto(writer_view(&out), info.bytes), &info),
                     BATCH_BAD_COUNT);
    batch_walk_init(&walk, writer_view(&out));
    assert_int_equal(batch_walk_next(&walk, &record, &more), OK);
    assert_true(more);
    assert_int_equal(record.offset, 44);
    assert_int_equal(record.timestamp_ms, T0 + 3);
    assert_int_equal(batch_walk_next(&walk, &record, &more), OK);
    assert_false(more);
    batch_walk_fini(&walk);
    writer_fini(&records);
    writer_fini(&out);
}

static void a_stamp_renews_the_checksum_and_wins_over_record_times(void **state)
{
    struct batch_walk walk;
    struct batch_info info;
    struct record record;
    bool more;
    view batch;
    struct buf *b = three_records(CODEC_LZ4, &batch);

    (void)state;
    batch_stamp(b->bytes, T0 + 999);
    assert_int_equal(batch_check(batch, &info), BATCH_FINE);
    assert_int_equal(info.max_timestamp, T0 + 999);
    assert_int_equal(info.attributes, CODEC_LZ4 | BATCH_APPEND_TIME);
    batch_walk_init(&walk, batch);
    assert_int_equal(batch_walk_next(&walk, &record, &more), OK);
    assert_int_equal(record.timestamp_ms, T0 + 999);
    batch_walk_fini(&walk);
    buf_drop(b);
}

static void markers_are_read_back_and_stepped_over(void **state)
{
    struct batch_walk walk;
    struct batch_info info;
    struct record record;
    bool commit, more;
    int32_t epoch;
    view batch;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct buf *b = batch_marker(i == 1, 9, 2, 31, T0, &batch);
        assert_int_equal(batch_check_stored(batch, &info), BATCH_FINE);
        assert_int_equal(batch_check(batch, &info), BATCH_BAD_ATTRIBUTES);
        assert_int_equal(info.attributes, BATCH_CONTROL | BATCH_TRANSACTIONAL);
        assert_int_equal(info.base_sequence, -1);
        assert_true(batch_marker_read(batch, &commit, &epoch));
        assert_int_equal(commit, i == 1);
        assert_int_equal(epoch, 31);
        batch_walk_init(&walk, batch);
        walk.skip_control = true;
        assert_int_equal(batch_walk_next(&walk, &record, &more), OK);
        assert_false(more);
        batch_walk_fini(&walk);
        buf_drop(b);
    }
    assert_false(batch_marker_read(foreign_batch(), &commit, &epoch));
}

static void a_walk_names_the_offset_of_a_bad_batch(void **state)
{
    struct writer run = {0};
    struct batch_walk walk;
    struct record record;
    bool more;

    (void)state;
    write_view(&run, foreign_batch());
    write_view(&run, foreign_batch());
    batch_patch(run.at + sizeof(foreign) - 1, 777, 0);
    run.at[run.len - 1] ^= 1;
    batch_walk_init(&walk, writer_view(&run));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(batch_walk_next(&walk, &record, &more), OK);
    }
    assert_int_equal(batch_walk_next(&walk, &record, &more), ERR_CORRUPT);
    assert_false(more);
    assert_non_null(strstr(fault_here.text, "777"));
    batch_walk_fini(&walk);
    writer_fini(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_of_another_implementation_is_fine),
        cmocka_unit_test(what_we_build_is_byte_for_byte_the_same),
        cmocka_unit_test(records_come_back_from_every_codec),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(a_batch_cut_anywhere_is_short),
        cmocka_unit_test(faults_behind_a_good_checksum_are_named),
        cmocka_unit_test(bytes_behind_the_last_record_are_noticed),
        cmocka_unit_test(a_producer_may_not_send_an_empty_batch),
        cmocka_unit_test(a_transactional_batch_needs_a_producer),
        cmocka_unit_test(a_stored_batch_may_have_holes_or_be_empty),
        cmocka_unit_test(a_stamp_renews_the_checksum_and_wins_over_record_times),
        cmocka_unit_test(markers_are_read_back_and_stepped_over),
        cmocka_unit_test(a_walk_names_the_offset_of_a_bad_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
