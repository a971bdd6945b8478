/* view_test.c - views and what is parsed from them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/base.h"

static void parts_of_a_view_stay_inside_it(void **state)
{
    view v = VIEW("hello"), none = {0};

    (void)state;
    assert_true(view_is_text(view_from(v, 2), "llo"));
    assert_true(view_is_text(view_from(v, 9), ""));
    assert_non_null(view_from(v, 9).at);
    assert_true(view_is_text(view_upto(v, 2), "he"));
    assert_true(view_is_text(view_upto(v, 9), "hello"));
    assert_null(view_from(none, 3).at);
    assert_true(view_is(none, VIEW("")));
    assert_null(view_text(NULL).at);
    assert_true(view_is_text(view_trim(VIEW(" \t a b\r\n")), "a b"));
    assert_true(view_is_text(view_trim(VIEW(" \n ")), ""));
}

static void views_compare_by_bytes_then_length(void **state)
{
    (void)state;
    assert_true(view_order(VIEW("a"), VIEW("b")) < 0);
    assert_true(view_order(VIEW("ab"), VIEW("a")) > 0);
    assert_true(view_order(VIEW("\xff"), VIEW("a")) > 0);
    assert_int_equal(view_order(VIEW("ab"), VIEW("ab")), 0);
    assert_int_equal(view_order((view){0}, VIEW("")), 0);
    assert_true(view_starts(VIEW("abc"), VIEW("ab")));
    assert_true(view_starts(VIEW("abc"), VIEW("")));
    assert_false(view_starts(VIEW("a"), VIEW("ab")));
}

static void cutting_gives_what_is_before_and_after(void **state)
{
    view head, tail;

    (void)state;
    assert_true(view_cut(VIEW("a=b=c"), '=', &head, &tail));
    assert_true(view_is_text(head, "a") && view_is_text(tail, "b=c"));
    assert_true(view_cut(VIEW("a="), '=', &head, &tail));
    assert_true(tail.at && tail.len == 0);
    assert_false(view_cut(VIEW("abc"), '=', &head, &tail));
    assert_true(view_is_text(head, "abc") && !tail.at);
    assert_false(view_cut((view){0}, '=', &head, &tail));
}

static void whole_numbers_are_read_to_their_limits(void **state)
{
    static const char *const wrong[] = {"",    " 1",
                                        "1 ",  "1x",
                                        "x",   "9223372036854775808",
                                        "--1", "0x1",
                                        "1.0", "1234567890123456789012345"};
    int64_t n;

    (void)state;
    assert_int_equal(view_to_int(VIEW("9223372036854775807"), &n), OK);
    assert_true(n == INT64_MAX);
    assert_int_equal(view_to_int(VIEW("-9223372036854775808"), &n), OK);
    assert_true(n == INT64_MIN);
    assert_int_equal(view_to_int(view_upto(VIEW("123456"), 3), &n), OK);
    assert_int_equal(n, 123);
    assert_int_equal(view_to_int(VIEW("12\0"), &n), ERR_INVALID);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(view_to_int(view_text(wrong[i]), &n), ERR_INVALID);
    }
}

static void amounts_take_their_units(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } rows[] = {{"0", 0},         {"10", 10},       {"10B", 10},
                {"64KiB", 65536}, {"64kib", 65536}, {"1.5GiB", INT64_C(3) << 29},
                {"5MB", 5000000}, {"2k", 2048},     {"8TiB", INT64_C(8) << 40},
                {"-1", -1}};
    static const char *const wrong[] = {"",           "KiB",    "1 KiB", "1QB",
                                        "0x10KiB",    "infB",   "nanB",  "1e3KB",
                                        "9999999TiB", "1.KiB.", "1..5KB"};
    int64_t n;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(view_to_bytes(view_text(rows[i].text), &n), OK);
        assert_int_equal(n, rows[i].bytes);
    }
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(view_to_bytes(view_text(wrong[i]), &n), ERR_INVALID);
    }
    assert_int_equal(view_to_bytes(VIEW("1KiB\0x"), &n), ERR_INVALID);
}

static void times_take_their_units(void **state)
{
    static const struct {
        const char *text;
        int64_t millis;
    } rows[] = {{"250ms", 250},    {"30s", 30000},     {"5m", 300000}, {"12h", 43200000},
                {"7d", 604800000}, {"2w", 1209600000}, {"42", 42},     {"0.5s", 500}};
    int64_t n;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(view_to_millis(view_text(rows[i].text), &n), OK);
        assert_int_equal(n, rows[i].millis);
    }
    assert_int_equal(view_to_millis(VIEW("5 years"), &n), ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "30s"));
}

static void the_nearest_name_is_near_or_none(void **state)
{
    static const char *const names[] = {"create", "delete", "ls", "describe"};

    (void)state;
    assert_string_equal(nearest_name(VIEW("creat"), names, COUNT(names)), "create");
    assert_string_equal(nearest_name(VIEW("DELETE"), names, COUNT(names)), "delete");
    assert_string_equal(nearest_name(VIEW("l"), names, COUNT(names)), "ls");
    assert_null(nearest_name(VIEW("zzzzzzzz"), names, COUNT(names)));
    assert_null(nearest_name(VIEW("create"), names, 0));
    char long_name[200];
    memset(long_name, 'a', sizeof(long_name));
    assert_null(nearest_name((view){(uint8_t *)long_name, 200}, names, COUNT(names)));
}

static void hashes_differ_where_bytes_or_length_do(void **state)
{
    uint8_t zeros[40] = {0};
    uint64_t seen[41];

    (void)state;
    for (size_t len = 0; len <= 40; len++) {
        seen[len] = view_hash((view){zeros, len});
        for (size_t i = 0; i < len; i++) {
            assert_true(seen[i] != seen[len]);
        }
    }
    assert_true(view_hash(VIEW("abcdefgh1")) != view_hash(VIEW("abcdefgh2")));
    assert_true(view_hash(VIEW("abc")) == view_hash(view_upto(VIEW("abcd"), 3)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_a_view_stay_inside_it),
        cmocka_unit_test(views_compare_by_bytes_then_length),
        cmocka_unit_test(cutting_gives_what_is_before_and_after),
        cmocka_unit_test(whole_numbers_are_read_to_their_limits),
        cmocka_unit_test(amounts_take_their_units),
        cmocka_unit_test(times_take_their_units),
        cmocka_unit_test(the_nearest_name_is_near_or_none),
        cmocka_unit_test(hashes_differ_where_bytes_or_length_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
