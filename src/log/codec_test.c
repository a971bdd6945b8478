/* codec_test.c - codecs against foreign bytes, limits and damage.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/batch.h"

#define FIXED(text)                                                                            \
    {                                                                                          \
        (const uint8_t *)(text), sizeof(text) - 1                                              \
    }
#define TIMES 12 /* "tidemark " in the foreign samples */

static const struct {
    enum codec codec;
    const char *what;
    view bytes;
    size_t clean[2]; /* cut there, nothing tells that more was meant */
} foreign[] = {
    {CODEC_GZIP,
     "two members",
     FIXED("\x1f\x8b\x08\0\0\0\0\0\x02\x03\x2b\xc9\x4c\x49\xcd\x4d\x2c\xca\x56\x28\x21\x96\x01"
           "\0\x62\xb4\x83\x87\x32\0\0\0\x1f\x8b\x08\0\0\0\0\0\x02\x03\x4b\x2c\xca\x56\x28\xc9"
           "\x4c\x49\xcd\x4d\x24\x95\x01\0\x47\xbd\x4c\x2b\x3a\0\0\0"),
     {32}},
    {CODEC_SNAPPY, "raw", FIXED("l tidemark \xfe\x09\0\x8a\x09\0"), {0}},
    {CODEC_SNAPPY,
     "xerial, two blocks",
     FIXED("\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x0e@ tidemark \xda\x09\0\0\0\0\x0e, idemark "
           "t\x8a\x09\0"),
     {16, 34}},
    {CODEC_LZ4,
     "independent blocks",
     FIXED("\x04\x22\x4d\x18\x60\x40\x82\x13\0\0\0\x9ftidemark \x09\0KPmark \0\0\0\0"),
     {0}},
    {CODEC_LZ4,
     "linked blocks, content size and checksum",
     FIXED("\x04\x22\x4d\x18\x6c\x40\x6c\0\0\0\0\0\0\0\x46\x13\0\0\0\x9ftidemark \x09\0KPmark "
           "\0\0\0\0\x2f\x4d\x05\x70"),
     {0}},
    {CODEC_ZSTD,
     "no content size",
     FIXED("\x28\xb5\x2f\xfd\0\x58\x85\0\0Htidemark \x01\0\x80\x69\x39\x02"),
     {0}},
};

static void foreign_bytes_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(foreign); i++) {
        struct writer out = {0};
        assert_int_equal(codec_inflate(foreign[i].codec, foreign[i].bytes, 1000, &out), OK);
        assert_int_equal(out.len, 9 * TIMES);
        for (size_t n = 0; n < TIMES; n++) {
            assert_memory_equal(out.at + 9 * n, "tidemark ", 9);
        }
        writer_fini(&out);
    }
}

static void foreign_bytes_cut_anywhere_are_corrupt(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(foreign); i++) {
        for (size_t len = 0; len < foreign[i].bytes.len; len++) {
            struct writer out = {0};
            uint8_t *copy = xmalloc(len);
            memcpy(copy, foreign[i].bytes.at, len);
            err e = codec_inflate(foreign[i].codec, (view){copy, len}, 1000, &out);
            bool clean = len && (len == foreign[i].clean[0] || len == foreign[i].clean[1]);
            assert_int_equal(e, clean ? OK : ERR_CORRUPT);
            writer_fini(&out);
            free(copy);
        }
    }
}

static void sample(struct writer *w, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        write_u8(w, (uint8_t)(i % 100 < 60 ? 'a' + i % 7 : seed >> 16));
    }
}

static void sizes_around_blocks_come_back(void **state)
{
    static const size_t sizes[] = {0,     1,     2,     4095,  4096,   4097,   32767,
                                   32768, 32769, 65536, 65537, 200000, 1 << 20};

    (void)state;
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        for (size_t i = 0; i < COUNT(sizes); i++) {
            struct writer in = {0}, packed = {0}, out = {0};
            sample(&in, sizes[i], (unsigned)i);
            write_u8(&packed, 'x'), write_u8(&out, 'y'); /* both append */
            assert_int_equal(codec_deflate((enum codec)codec, writer_view(&in), &packed), OK);
            view rest = view_from(writer_view(&packed), 1);
            assert_int_equal(codec_inflate((enum codec)codec, rest, sizes[i], &out), OK);
            assert_true(view_is(view_from(writer_view(&out), 1), writer_view(&in)));
            assert_int_equal(out.at[0], 'y');
            if (sizes[i] > 0) {
                writer_reset(&out);
                assert_int_equal(codec_inflate((enum codec)codec, rest, sizes[i] - 1, &out),
                                 ERR_TOO_LARGE);
                assert_true(out.len < sizes[i]);
            }
            writer_fini(&in), writer_fini(&packed), writer_fini(&out);
        }
    }
}

static void a_bomb_stops_at_the_limit(void **state)
{
    struct writer in = {0};

    (void)state;
    write_space(&in, 64 << 20);
    for (int codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct writer packed = {0}, out = {0};
        assert_int_equal(codec_deflate((enum codec)codec, writer_view(&in), &packed), OK);
        assert_int_equal(codec_inflate((enum codec)codec, writer_view(&packed), 1 << 20, &out),
                         ERR_TOO_LARGE);
        assert_true(out.room <= 1 << 20);
        writer_fini(&packed), writer_fini(&out);
    }
    writer_fini(&in);
}

static void a_snappy_length_that_lies_takes_no_memory(void **state)
{
    struct writer out = {0};

    (void)state;
    assert_int_equal(
        codec_inflate(CODEC_SNAPPY, VIEW("\xff\xff\xff\xff\x03 tid"), 1 << 30, &out),
        ERR_CORRUPT);
    assert_int_equal(out.room, 0);
    writer_fini(&out);
}

static void damaged_bytes_never_give_more_than_the_limit(void **state)
{
    unsigned seed = 7;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        size_t i = (size_t)round % COUNT(foreign);
        struct writer in = {0}, out = {0};
        write_view(&in, foreign[i].bytes);
        for (int n = 0; n < 3; n++) {
            seed = seed * 1103515245u + 12345u;
            in.at[(seed >> 8) % in.len] = (uint8_t)(seed >> 24);
        }
        err e = codec_inflate(foreign[i].codec, writer_view(&in), 500, &out);
        assert_true(e == OK || e == ERR_CORRUPT || e == ERR_TOO_LARGE);
        assert_true(out.len <= 500);
        writer_fini(&in), writer_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign_bytes_are_read),
        cmocka_unit_test(foreign_bytes_cut_anywhere_are_corrupt),
        cmocka_unit_test(sizes_around_blocks_come_back),
        cmocka_unit_test(a_bomb_stops_at_the_limit),
        cmocka_unit_test(a_snappy_length_that_lies_takes_no_memory),
        cmocka_unit_test(damaged_bytes_never_give_more_than_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
