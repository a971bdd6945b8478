/* snapshot_line_test.c - COPY's text format. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "audit/snapshot_inside.h"

static struct arena arena;

static err parse(const char *line, struct value *values, int count)
{
    return line_parse(&arena, view_text(line), values, count);
}

static void fields_are_split_at_tabs(void **state)
{
    struct value v[3];

    (void)state;
    assert_int_equal(parse("42\tann\t", v, 3), OK);
    assert_true(view_is_text(v[0].text, "42"));
    assert_true(view_is_text(v[1].text, "ann"));
    assert_int_equal(v[2].kind, VALUE_TEXT);
    assert_int_equal(v[2].text.len, 0);
}

static void null_is_told_from_its_letters(void **state)
{
    struct value v[3];

    (void)state;
    assert_int_equal(parse("\\N\t\\\\N\tN", v, 3), OK);
    assert_int_equal(v[0].kind, VALUE_NULL);
    assert_int_equal(v[1].kind, VALUE_TEXT);
    assert_true(view_is_text(v[1].text, "\\N"));
    assert_true(view_is_text(v[2].text, "N"));
}

static void escapes_become_their_bytes(void **state)
{
    struct value v[2];

    (void)state;
    assert_int_equal(parse("a\\tb\\nc\\\\d\\re\\b\\f\\v\tx\\101\\q", v, 2), OK);
    assert_true(view_is_text(v[0].text, "a\tb\nc\\d\re\b\f\v"));
    assert_true(view_is_text(v[1].text, "xAq"));
}

static void a_backslash_at_the_end_stands_for_itself(void **state)
{
    struct value v[1];

    (void)state;
    assert_int_equal(parse("a\\", v, 1), OK);
    assert_true(view_is_text(v[0].text, "a\\"));
}

static void other_columns_than_the_table_has_are_corrupt(void **state)
{
    struct value v[3];

    (void)state;
    assert_int_equal(parse("1\t2", v, 3), ERR_CORRUPT);
    assert_non_null(strstr(fault_here.text, "fewer"));
    assert_int_equal(parse("1\t2", v, 1), ERR_CORRUPT);
    assert_non_null(strstr(fault_here.text, "more"));
    assert_int_equal(parse("1", v, 0), ERR_CORRUPT);
    assert_int_equal(parse("", v, 0), OK);
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_split_at_tabs),
        cmocka_unit_test(null_is_told_from_its_letters),
        cmocka_unit_test(escapes_become_their_bytes),
        cmocka_unit_test(a_backslash_at_the_end_stands_for_itself),
        cmocka_unit_test(other_columns_than_the_table_has_are_corrupt),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
