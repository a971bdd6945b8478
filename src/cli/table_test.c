/* table_test.c - aligned columns. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "cli/command.h"

static const char *const heads[] = {"NAME", ">COUNT", "NOTE"};

static void expect(const struct table *t, size_t width, const char *text)
{
    struct writer out = {0};

    table_write(t, width, &out);
    write_u8(&out, '\0');
    assert_string_equal((const char *)out.at, text);
    writer_fini(&out);
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
    struct table *t = table_new(heads, COUNT(heads));

    (void)state;
    table_cell(t, "gr\xc3\xbc\xc3\x9f");
    table_cell(t, "%d", 7);
    table_cell(t, "x");
    table_cell(t, "a");
    table_cell(t, "%d", 1234567);
    table_cell(t, "%s", "");
    expect(t, 0, "NAME    COUNT  NOTE\ngr\xc3\xbc\xc3\x9f        7  x\na     1234567\n");
    table_free(t);
}

static void a_narrow_terminal_cuts_the_widest_text(void **state)
{
    struct table *t = table_new(heads, COUNT(heads));

    (void)state;
    table_cell(t, "a-name-that-is-long");
    table_cell(t, "1");
    table_cell(t, "note");
    expect(t, 23, "NAME        COUNT  NOTE\na-name-th…      1  note\n");
    table_free(t);
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
    struct table *t = table_new(heads, COUNT(heads));

    (void)state;
    table_cell(t, "a\x1b[31m\n");
    table_cell(t, "1");
    table_cell(t, "b");
    expect(t, 0, "NAME     COUNT  NOTE\na?[31m?      1  b\n");
    table_free(t);
}

static void bytes_are_said_in_the_largest_fitting_unit(void **state)
{
    char text[BYTES_TEXT];

    (void)state;
    assert_string_equal(bytes_text(0, text), "0 B");
    assert_string_equal(bytes_text(1023, text), "1023 B");
    assert_string_equal(bytes_text(1536, text), "1.5 KiB");
    assert_string_equal(bytes_text(1048575, text), "1.0 MiB");
    assert_string_equal(bytes_text(INT64_MAX, text), "8192.0 PiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(a_narrow_terminal_cuts_the_widest_text),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(bytes_are_said_in_the_largest_fitting_unit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
