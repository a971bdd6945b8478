/* wire_test.c - compact and classic lengths, lies, tagged fields.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/wire.h"

static struct reader over(const struct writer *w)
{
    return (struct reader){.rest = writer_view(w)};
}

static void texts_and_blobs_come_back_in_both_forms(void **state)
{
    (void)state;
    for (int flex = 0; flex < 2; flex++) {
        struct writer w = {0};
        write_text(&w, flex, VIEW("topic"));
        write_text_or_null(&w, flex, (view){0});
        write_chars(&w, flex, "");
        write_blob(&w, flex, VIEW("\0bytes"));
        write_blob_or_null(&w, flex, (view){0});
        struct reader r = over(&w);
        assert_true(view_is_text(read_text(&r, flex), "topic"));
        assert_null(read_text_or_null(&r, flex).at);
        view empty = read_text(&r, flex);
        assert_non_null(empty.at);
        assert_int_equal(empty.len, 0);
        assert_true(view_is(read_blob(&r, flex), VIEW("\0bytes")));
        assert_null(read_blob_or_null(&r, flex).at);
        assert_false(r.bad);
        assert_int_equal(r.rest.len, 0);
        writer_fini(&w);
    }
}

static void a_compact_text_is_its_length_plus_one_and_its_bytes(void **state)
{
    struct writer w = {0};

    (void)state;
    write_text(&w, true, VIEW("ab"));
    write_text_or_null(&w, true, (view){0});
    assert_true(view_is(writer_view(&w), VIEW("\x03"
                                              "ab\x00")));
    writer_reset(&w);
    write_text(&w, false, VIEW("ab"));
    write_null_count(&w, false);
    assert_true(view_is(writer_view(&w), VIEW("\0\2ab\xff\xff\xff\xff")));
    writer_fini(&w);
}

static void null_where_none_may_be_is_bad(void **state)
{
    struct reader compact = {.rest = VIEW("\0rest")}, classic = {.rest = VIEW("\xff\xffrest")};

    (void)state;
    read_text(&compact, true);
    assert_true(compact.bad);
    read_text(&classic, false);
    assert_true(classic.bad);
}

static void a_length_below_minus_one_is_bad(void **state)
{
    struct reader text = {.rest = VIEW("\xff\xfe")}, blob = {.rest = VIEW("\x80\0\0\0")};

    (void)state;
    read_text_or_null(&text, false);
    assert_true(text.bad);
    read_blob_or_null(&blob, false);
    assert_true(blob.bad);
}

static void a_compact_text_is_no_longer_than_a_classic_one_may_be(void **state)
{
    struct writer w = {0};

    (void)state;
    for (uint32_t len = INT16_MAX; len <= INT16_MAX + 1; len++) {
        writer_reset(&w);
        write_uvarint(&w, len + 1);
        write_space(&w, len);
        struct reader text = over(&w), blob = over(&w);
        read_text_or_null(&text, true);
        read_blob(&blob, true);
        assert_int_equal(text.bad, len > INT16_MAX);
        assert_false(blob.bad);
    }
    writer_fini(&w);
}

static void a_count_that_cannot_fit_is_refused(void **state)
{
    struct reader fits = {.rest = VIEW("\0\0\0\2abcdefgh")};
    struct reader lies = {.rest = VIEW("\0\0\0\3abcdefgh")};
    struct reader huge = {.rest = VIEW("\xff\xff\xff\xff\x0f")}; /* compact, 2^32 - 2 items */

    (void)state;
    assert_int_equal(read_count(&fits, false, 4), 2);
    assert_false(fits.bad);
    assert_int_equal(read_count(&lies, false, 4), 0);
    assert_true(lies.bad);
    assert_int_equal(read_count(&huge, true, 1), 0);
    assert_true(huge.bad);
}

static void a_null_array_differs_from_an_empty_one(void **state)
{
    struct reader null = {.rest = VIEW("\xff\xff\xff\xff")}, empty = {.rest = VIEW("\0\0\0\0")};
    bool is_null = false;

    (void)state;
    assert_int_equal(read_count_or_null(&null, false, 1, &is_null), 0);
    assert_true(is_null);
    assert_int_equal(read_count_or_null(&empty, false, 1, &is_null), 0);
    assert_false(is_null);
    assert_false(null.bad || empty.bad);
}

static void arrays_of_numbers_and_texts_come_back(void **state)
{
    const int32_t numbers[] = {1, -1, INT32_MAX};
    struct arena arena = {0};

    (void)state;
    for (int flex = 0; flex < 2; flex++) {
        struct writer w = {0};
        size_t count = 0;
        write_i32_array(&w, flex, numbers, COUNT(numbers));
        write_count(&w, flex, 2);
        write_text(&w, flex, VIEW("a"));
        write_text(&w, flex, VIEW(""));
        struct reader r = over(&w);
        int32_t *back = read_i32_array(&r, flex, &arena, &count);
        assert_int_equal(count, COUNT(numbers));
        assert_memory_equal(back, numbers, sizeof(numbers));
        view *texts = read_text_array(&r, flex, &arena, &count);
        assert_int_equal(count, 2);
        assert_true(view_is_text(texts[0], "a"));
        assert_false(r.bad);
        writer_fini(&w);
    }
    arena_fini(&arena);
}

static void note_tag(void *self, uint32_t tag, struct reader *field)
{
    uint32_t *seen = self;

    *seen = *seen * 10 + tag;
    if (tag == 7) {
        field->bad = read_u8(field) != 'x';
    }
}

static void tagged_fields_are_handed_over_or_stepped_over(void **state)
{
    view bytes = VIEW("\2\1\2ab\7\1xrest");
    struct reader r = {.rest = bytes}, all = {.rest = bytes};
    uint32_t seen = 0;

    (void)state;
    read_tags_each(&r, true, note_tag, &seen);
    assert_int_equal(seen, 17);
    assert_false(r.bad);
    assert_true(view_is_text(r.rest, "rest"));
    read_tags(&all, true);
    assert_true(view_is_text(all.rest, "rest"));
    read_tags(&all, false); /* not flexible: there are none */
    assert_true(view_is_text(all.rest, "rest"));
}

static void tags_that_do_not_rise_or_lie_are_bad(void **state)
{
    struct reader same = {.rest = VIEW("\2\1\0\1\0")}, shortened = {.rest = VIEW("\1\0\5ab")};
    struct reader many = {.rest = VIEW("\xff\xff\xff\xff\x0f")};
    struct reader nonsense = {.rest = VIEW("\1\7\1y")};
    uint32_t seen = 0;

    (void)state;
    read_tags(&same, true);
    assert_true(same.bad);
    read_tags(&shortened, true);
    assert_true(shortened.bad);
    read_tags(&many, true);
    assert_true(many.bad);
    read_tags_each(&nonsense, true, note_tag, &seen);
    assert_true(nonsense.bad);
}

static void a_written_tag_reads_back(void **state)
{
    struct writer w = {0};
    uint32_t seen = 0;

    (void)state;
    write_uvarint(&w, 1);
    write_tag(&w, 7, VIEW("x"));
    struct reader r = over(&w);
    read_tags_each(&r, true, note_tag, &seen);
    assert_int_equal(seen, 7);
    assert_false(r.bad);
    assert_int_equal(r.rest.len, 0);
    writer_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_and_blobs_come_back_in_both_forms),
        cmocka_unit_test(a_compact_text_is_its_length_plus_one_and_its_bytes),
        cmocka_unit_test(null_where_none_may_be_is_bad),
        cmocka_unit_test(a_length_below_minus_one_is_bad),
        cmocka_unit_test(a_compact_text_is_no_longer_than_a_classic_one_may_be),
        cmocka_unit_test(a_count_that_cannot_fit_is_refused),
        cmocka_unit_test(a_null_array_differs_from_an_empty_one),
        cmocka_unit_test(arrays_of_numbers_and_texts_come_back),
        cmocka_unit_test(tagged_fields_are_handed_over_or_stepped_over),
        cmocka_unit_test(tags_that_do_not_rise_or_lie_are_bad),
        cmocka_unit_test(a_written_tag_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
