/* point_test.c - points as people write them. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define NOW INT64_C(1700000000000)

static struct point parsed(const char *text)
{
    struct point point;

    assert_int_equal(point_parse(view_text(text), NOW, &point), OK);
    return point;
}

static void expect_time(const char *text, int64_t ms)
{
    struct point point = parsed(text);

    assert_int_equal(point.kind, POINT_TIME);
    assert_int_equal(point.value, ms);
}

static void words_and_offsets_are_points(void **state)
{
    (void)state;
    assert_int_equal(parsed("earliest").kind, POINT_EARLIEST);
    assert_int_equal(parsed("latest").kind, POINT_LATEST);
    assert_int_equal(parsed("offset:0").kind, POINT_OFFSET);
    assert_int_equal(parsed("offset:1042").value, 1042);
    expect_time("now", NOW);
}

static void a_duration_back_counts_from_now(void **state)
{
    (void)state;
    expect_time("-15m", NOW - 900000);
    expect_time("-250ms", NOW - 250);
    expect_time("-7d", NOW - INT64_C(604800000));
}

static void dates_are_rfc_3339(void **state)
{
    (void)state;
    expect_time("1970-01-01T00:00:00Z", 0);
    expect_time("2026-01-31T12:00:00Z", INT64_C(1769860800000));
    expect_time("2026-01-31T12:00:00.25Z", INT64_C(1769860800250));
    expect_time("2026-01-31T12:00:00.1239Z", INT64_C(1769860800123));
    expect_time("2026-01-31T13:30:00+01:30", INT64_C(1769860800000));
    expect_time("2026-01-31T07:00:00-05:00", INT64_C(1769860800000));
    expect_time("2026-01-31", INT64_C(1769817600000));
    expect_time("2024-02-29", INT64_C(1709164800000));
}

static void what_is_no_point_is_refused_with_the_forms(void **state)
{
    static const char *const wrong[] = {
        "",
        "soon",
        "-",
        "-15",
        "-m",
        "--5m",
        "offset:",
        "offset:-1",
        "offset:1x",
        "2026-02-30",
        "2026-13-01",
        "2026-1-1",
        "2026-01-31T12:00:00", /* which zone? */
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00Zx",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00+1:00",
    };
    struct point point;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(point_parse(view_text(wrong[i]), NOW, &point), ERR_INVALID);
        assert_non_null(strstr(fault_here.text, "earliest"));
    }
}

static void points_of_other_doors_are_named_as_such(void **state)
{
    static const char *const others[] = {"mark:before", "commit:abc"};
    struct point point;

    (void)state;
    for (size_t i = 0; i < COUNT(others); i++) {
        assert_int_equal(point_parse(view_text(others[i]), NOW, &point), ERR_UNSUPPORTED);
        assert_non_null(strstr(fault_here.text, others[i]));
    }
}

static void a_position_of_a_database_names_its_source(void **state)
{
    static const char *const wrong[] = {
        "lsn:",
        "lsn:shop",
        "lsn:shop/0",
        "lsn:/0/1",
        "lsn:shop/0/",
        "lsn:shop//1",
        "lsn:shop/0/x",
        "lsn:shop/0/1/2",
        "lsn:shop/0/1 ",
        "lsn:shop/123456789/0",
        "lsn:shop/0/123456789",
    };
    struct point point = parsed("lsn:shop/1A/16b3");

    (void)state;
    assert_int_equal(point.kind, POINT_LSN);
    assert_true(view_is_text(point.source, "shop"));
    assert_int_equal(point.value, INT64_C(0x1a000016b3));
    assert_int_equal(parsed("lsn:a/FFFFFFFF/FFFFFFFF").value, -1);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(point_parse(view_text(wrong[i]), NOW, &point), ERR_INVALID);
        assert_non_null(strstr(fault_here.text, "lsn:SOURCE/"));
    }
}

static void a_time_is_printed_so_that_it_is_read_back(void **state)
{
    static const int64_t times[] = {0, 1, -1, NOW, INT64_C(253402300799999)};
    char text[POINT_TIME_BYTES];

    (void)state;
    for (size_t i = 0; i < COUNT(times); i++) {
        point_time_text(times[i], text);
        expect_time(text, times[i]);
    }
    point_time_text(INT64_MAX, text);
    assert_string_equal(text, "9223372036854775807");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_offsets_are_points),
        cmocka_unit_test(a_duration_back_counts_from_now),
        cmocka_unit_test(dates_are_rfc_3339),
        cmocka_unit_test(what_is_no_point_is_refused_with_the_forms),
        cmocka_unit_test(points_of_other_doors_are_named_as_such),
        cmocka_unit_test(a_position_of_a_database_names_its_source),
        cmocka_unit_test(a_time_is_printed_so_that_it_is_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
