/* snapshot_window_test.c - which rows of a chunk still hold at its second message.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "audit/snapshot_inside.h"

static struct column columns[] = {{.name = {(const uint8_t *)"id", 2}, .key = true},
                                  {.name = {(const uint8_t *)"name", 4}}};
static struct relation relation = {.columns = columns, .count = 2, .holders = 1};
static int first_column[] = {0};
static const struct table keyed = {.relation = &relation, .key = first_column, .key_count = 1};
static const struct table keyless = {.relation = &relation};
static struct window window;

static err collect(void *self, struct value *values)
{
    struct writer *out = self;

    write_format(out, "%.*s=%.*s ", VIEW_ARG(values[0].text), VIEW_ARG(values[1].text));
    return OK;
}

static void gives(const char *expected)
{
    struct writer out = {0};

    assert_int_equal(window_give(&window, collect, &out), OK);
    write_u8(&out, 0);
    assert_string_equal((const char *)out.at, expected);
    writer_fini(&out);
}

/* Three rows, read in a snapshot that sees all before 100 but 90. */
static void begin(const struct table *table)
{
    window_begin(&window, table, 1);
    window.state = WINDOW_OPEN;
    assert_int_equal(window_snapshot(&window, VIEW("80:100:90")), OK);
    window_line(&window, VIEW("1\ta"));
    window_line(&window, VIEW("2\tb"));
    window_line(&window, VIEW("2\tb"));
}

static void touch(enum change_kind kind, uint32_t xid, const char *before, const char *after)
{
    struct value old[2] = {{.kind = VALUE_TEXT}, {.kind = VALUE_TEXT}};
    struct value new[2] = {{.kind = VALUE_TEXT}, {.kind = VALUE_TEXT}};
    struct change change = {.kind = kind, .relation = &relation, .place = {.xid = xid}};

    if (before) {
        view_cut(view_text(before), '=', &old[0].text, &old[1].text);
        change.before = old;
    }
    if (after) {
        view_cut(view_text(after), '=', &new[0].text, &new[1].text);
        change.after = new;
    }
    window_touch(&window, &change);
}

static void a_snapshot_tells_what_it_sees(void **state)
{
    (void)state;
    begin(&keyed);
    assert_true(window_sees(&window, 79));
    assert_true(window_sees(&window, 99));
    assert_false(window_sees(&window, 90));
    assert_false(window_sees(&window, 100));
    window_begin(&window, &keyed, 2);
    assert_int_equal(window_snapshot(&window, VIEW("5000000000:5000000010:")), OK);
    assert_true(window_sees(&window, (uint32_t)5000000009));
    assert_false(window_sees(&window, (uint32_t)5000000010));
    assert_int_equal(window_snapshot(&window, VIEW("80")), ERR_CORRUPT);
    assert_int_equal(window_snapshot(&window, VIEW("80:x:")), ERR_CORRUPT);
}

static void rows_that_nobody_touched_are_given(void **state)
{
    (void)state;
    begin(&keyed);
    touch(CHANGE_UPDATE, 95, NULL, "7=x");
    gives("1=a 2=b 2=b ");
}

static void touched_keys_are_left_to_the_stream(void **state)
{
    (void)state;
    begin(&keyed);
    touch(CHANGE_UPDATE, 95, NULL, "1=x");
    gives("2=b 2=b ");
    begin(&keyed);
    touch(CHANGE_DELETE, 120, "2=", NULL);
    gives("1=a ");
    begin(&keyed);
    touch(CHANGE_UPDATE, 120, "1=", "9=a"); /* the key changed: both are touched */
    gives("2=b 2=b ");
}

static void nothing_is_given_of_a_truncated_table(void **state)
{
    (void)state;
    begin(&keyed);
    touch(CHANGE_TRUNCATE, 95, NULL, NULL);
    gives("");
}

static void without_key_rows_are_counted(void **state)
{
    (void)state;
    begin(&keyless);
    touch(CHANGE_CREATE, 95, NULL, "2=b"); /* one of the two was made by the stream */
    gives("1=a 2=b ");
    begin(&keyless);
    touch(CHANGE_CREATE, 120, NULL, "2=b"); /* a third one, which the snapshot misses */
    gives("1=a 2=b 2=b ");
    begin(&keyless);
    touch(CHANGE_DELETE, 95, "2=b", NULL); /* was gone before */
    gives("1=a 2=b 2=b ");
    begin(&keyless);
    touch(CHANGE_DELETE, 90, "2=b", NULL); /* one went afterwards */
    gives("1=a 2=b ");
    begin(&keyless);
    touch(CHANGE_UPDATE, 120, "1=a", "1=c");
    gives("2=b 2=b ");
    begin(&keyless);
    touch(CHANGE_CREATE, 95, NULL, "2=b");
    touch(CHANGE_DELETE, 120, "2=b", NULL);
    gives("1=a 2=b ");
}

static void a_key_that_is_not_told_makes_it_unsure(void **state)
{
    struct value after[2] = {{.kind = VALUE_UNKNOWN}, {.kind = VALUE_NULL}};
    struct value before[2] = {{.kind = VALUE_TEXT, .text = VIEW("1")}, {.kind = VALUE_ABSENT}};
    struct change change = {.kind = CHANGE_UPDATE, .relation = &relation, .after = after};

    (void)state;
    begin(&keyed);
    change.before = before;
    window_touch(&window, &change); /* the other image tells it */
    assert_false(window.unsure);
    gives("2=b 2=b ");
    begin(&keyed);
    change.before = NULL;
    window_touch(&window, &change);
    assert_true(window.unsure);
}

static int teardown(void **state)
{
    (void)state;
    window_fini(&window);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_tells_what_it_sees),
        cmocka_unit_test(rows_that_nobody_touched_are_given),
        cmocka_unit_test(touched_keys_are_left_to_the_stream),
        cmocka_unit_test(nothing_is_given_of_a_truncated_table),
        cmocka_unit_test(without_key_rows_are_counted),
        cmocka_unit_test(a_key_that_is_not_told_makes_it_unsure),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
