/* wire_test.c - binary reading and writing, checksums.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static void what_is_written_reads_back(void **state)
{
    struct writer w = {0};

    (void)state;
    write_u8(&w, 200), write_i8(&w, -5), write_bool(&w, true);
    write_u16(&w, 0xfedc), write_i16(&w, -2);
    write_u32(&w, 0xfedcba98), write_i32(&w, INT32_MIN);
    write_u64(&w, UINT64_MAX - 1), write_i64(&w, INT64_MIN);
    write_f64(&w, -0.5);
    write_view(&w, VIEW("bytes"));
    write_format(&w, "%d%%", 5);
    struct reader r = {.rest = writer_view(&w)};
    assert_int_equal(read_u8(&r), 200);
    assert_int_equal(read_i8(&r), -5);
    assert_true(read_bool(&r));
    assert_int_equal(read_u16(&r), 0xfedc);
    assert_int_equal(read_i16(&r), -2);
    assert_int_equal(read_u32(&r), 0xfedcba98);
    assert_int_equal(read_i32(&r), INT32_MIN);
    assert_true(read_u64(&r) == UINT64_MAX - 1);
    assert_true(read_i64(&r) == INT64_MIN);
    assert_true(read_f64(&r) <= -0.5 && read_f64(&(struct reader){0}) >= 0);
    assert_true(view_is_text(read_bytes(&r, 7), "bytes5%"));
    assert_false(r.bad);
    assert_int_equal(r.rest.len, 0);
    writer_fini(&w);
}

static void integers_are_big_endian(void **state)
{
    struct writer w = {0};
    uint8_t bytes[8];

    (void)state;
    write_u16(&w, 0x0102), write_u32(&w, 0x03040506), write_u64(&w, 0x0708090a0b0c0d0e);
    assert_memory_equal(w.at, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e", 14);
    put_u16(bytes, 0x1234), assert_int_equal(get_u16(bytes), 0x1234);
    put_u32(bytes, 0x12345678), assert_int_equal(get_u32(bytes), 0x12345678);
    put_u64(bytes, 0x123456789abcdef0), assert_true(get_u64(bytes) == 0x123456789abcdef0);
    assert_int_equal(bytes[0], 0x12);
    writer_fini(&w);
}

static void an_error_sticks_and_yields_zeros(void **state)
{
    struct reader r = {.rest = VIEW("\1\2\3")};

    (void)state;
    assert_int_equal(read_u32(&r), 0);
    assert_true(r.bad);
    assert_int_equal(read_u8(&r), 0); /* though there are bytes left */
    assert_null(read_bytes(&r, 0).at);
    struct reader none = {0};
    assert_int_equal(read_bytes(&none, 0).len, 0);
    assert_false(none.bad);
    assert_int_equal(read_bytes(&none, SIZE_MAX).len, 0);
    assert_true(none.bad);
}

static void varints_have_the_known_encodings(void **state)
{
    static const struct {
        int64_t value;
        const char *bytes;
        size_t len;
    } rows[] = {{0, "\0", 1},
                {-1, "\1", 1},
                {1, "\2", 1},
                {63, "\x7e", 1},
                {-64, "\x7f", 1},
                {64, "\x80\x01", 2},
                {-8192, "\xff\x7f", 2},
                {INT32_MAX, "\xfe\xff\xff\xff\x0f", 5},
                {INT32_MIN, "\xff\xff\xff\xff\x0f", 5}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct writer w = {0};
        write_varint(&w, (int32_t)rows[i].value);
        assert_int_equal(w.len, rows[i].len);
        assert_memory_equal(w.at, rows[i].bytes, w.len);
        write_varlong(&w, rows[i].value);
        assert_int_equal(w.len, 2 * rows[i].len);
        struct reader r = {.rest = writer_view(&w)};
        assert_int_equal(read_varint(&r), rows[i].value);
        assert_int_equal(read_varlong(&r), rows[i].value);
        assert_false(r.bad);
        writer_fini(&w);
    }
}

static void varints_round_trip_at_every_bit(void **state)
{
    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)delta;
            struct writer w = {0};
            write_uvarlong(&w, value), write_varlong(&w, (int64_t)value);
            write_uvarint(&w, (uint32_t)value), write_varint(&w, (int32_t)value);
            struct reader r = {.rest = writer_view(&w)};
            assert_true(read_uvarlong(&r) == value);
            assert_true(read_varlong(&r) == (int64_t)value);
            assert_true(read_uvarint(&r) == (uint32_t)value);
            assert_true(read_varint(&r) == (int32_t)value);
            assert_true(!r.bad && r.rest.len == 0);
            writer_fini(&w);
        }
    }
}

static void varints_too_long_or_too_large_are_bad(void **state)
{
    struct reader rows[] = {
        {.rest = VIEW("\x80\x80\x80\x80\x80\x00")}, /* six bytes */
        {.rest = VIEW("\xff\xff\xff\xff\x1f")},     /* 33 bits */
        {.rest = VIEW("\x80\x80")},                 /* cut short */
    };
    struct reader longs[] = {
        {.rest = VIEW("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00")}, /* eleven bytes */
        {.rest = VIEW("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")},     /* 65 bits */
        {.rest = VIEW("")},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(read_uvarint(&rows[i]), 0);
        assert_true(rows[i].bad);
    }
    for (size_t i = 0; i < COUNT(longs); i++) {
        assert_true(read_uvarlong(&longs[i]) == 0);
        assert_true(longs[i].bad);
    }
}

static void every_cut_of_a_message_is_bad_and_none_reads_past_it(void **state)
{
    struct writer w = {0};

    (void)state;
    write_u8(&w, 1), write_u16(&w, 2), write_u32(&w, 3), write_u64(&w, 4);
    write_varlong(&w, INT64_MIN), write_varint(&w, INT32_MIN), write_f64(&w, 1);
    for (size_t len = 0; len <= w.len; len++) {
        uint8_t *exact = malloc(len ? len : 1); /* asan watches its end */
        memcpy(exact, w.at, len);
        struct reader r = {.rest = {exact, len}};
        (void)read_u8(&r), (void)read_u16(&r), (void)read_u32(&r), (void)read_u64(&r);
        (void)read_varlong(&r), (void)read_varint(&r), (void)read_f64(&r);
        assert_int_equal(r.bad, len < w.len);
        free(exact);
    }
    writer_fini(&w);
}

static void a_writer_grows_and_is_reused(void **state)
{
    struct writer w = {0};

    (void)state;
    assert_int_equal(writer_view(&w).len, 0);
    (void)write_space(&w, 0);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 10000; i++) {
            write_u32(&w, i);
        }
        assert_int_equal(get_u32(w.at + 4 * 9999), 9999);
        assert_int_equal(write_space(&w, 3)[2], 0);
        writer_reset(&w);
        assert_int_equal(w.len, 0);
    }
    writer_fini(&w);
    assert_null(w.at);
}

static void the_checksum_is_castagnolis_and_chains(void **state)
{
    uint8_t bytes[1000];

    (void)state;
    assert_int_equal(crc32c(0, VIEW("123456789")), 0xe3069283);
    assert_int_equal(crc32c(0, VIEW("")), 0);
    assert_int_equal(crc32c(0, (view){0}), 0);
    memset(bytes, 0, 32);
    assert_int_equal(crc32c(0, (view){bytes, 32}), 0x8a9136aa); /* RFC 3720 B.4 */
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c(0, (view){bytes, 32}), 0x62a8ab43);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    uint32_t whole = crc32c(0, (view){bytes, sizeof(bytes)});
    for (size_t cut = 0; cut <= sizeof(bytes); cut += 13) {
        uint32_t first = crc32c(0, (view){bytes, cut});
        assert_int_equal(crc32c(first, (view){bytes + cut, sizeof(bytes) - cut}), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(an_error_sticks_and_yields_zeros),
        cmocka_unit_test(varints_have_the_known_encodings),
        cmocka_unit_test(varints_round_trip_at_every_bit),
        cmocka_unit_test(varints_too_long_or_too_large_are_bad),
        cmocka_unit_test(every_cut_of_a_message_is_bad_and_none_reads_past_it),
        cmocka_unit_test(a_writer_grows_and_is_reused),
        cmocka_unit_test(the_checksum_is_castagnolis_and_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
