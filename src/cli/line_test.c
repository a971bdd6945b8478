/* line_test.c - records as lines, both ways. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "cli/line.h"

static struct arena arena;

static err read_line(enum line_format format, const char *line, struct line_record *out)
{
    return line_read(format, LINE_SEPARATOR, view_text(line), &arena, out);
}

static void a_value_is_the_whole_line(void **state)
{
    struct line_record record;

    (void)state;
    assert_int_equal(read_line(LINE_VALUE, "a\tb ", &record), OK);
    assert_null(record.key.at);
    assert_true(view_is_text(record.value, "a\tb "));
    assert_int_equal(read_line(LINE_VALUE, "", &record), OK);
    assert_non_null(record.value.at); /* empty is not null */
}

static void the_first_separator_ends_the_key(void **state)
{
    struct line_record record;

    (void)state;
    assert_int_equal(read_line(LINE_KEY_VALUE, "k\tv\tw", &record), OK);
    assert_true(view_is_text(record.key, "k"));
    assert_true(view_is_text(record.value, "v\tw"));
    assert_int_equal(read_line(LINE_KEY_VALUE, "k v", &record), ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "--separator"));
}

static void hex_knows_null_and_empty(void **state)
{
    struct line_record record;

    (void)state;
    assert_int_equal(read_line(LINE_HEX, "- 00fF", &record), OK);
    assert_null(record.key.at);
    assert_int_equal(record.value.len, 2);
    assert_int_equal(record.value.at[1], 0xff);
    assert_int_equal(read_line(LINE_HEX, " -", &record), OK);
    assert_non_null(record.key.at);
    assert_null(record.value.at);
    assert_int_equal(read_line(LINE_HEX, "0 -", &record), ERR_INVALID);
    assert_int_equal(read_line(LINE_HEX, "zz -", &record), ERR_INVALID);
}

static void a_json_record_has_only_known_members(void **state)
{
    struct line_record record;

    (void)state;
    assert_int_equal(read_line(LINE_JSON, "{\"valeu\":\"x\"}", &record), ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "did you mean value"));
    assert_int_equal(read_line(LINE_JSON, "[1]", &record), ERR_INVALID);
    assert_int_equal(read_line(LINE_JSON, "{\"value\":1}", &record), ERR_INVALID);
    assert_int_equal(read_line(LINE_JSON, "{\"timestamp\":\"-5m\"}", &record), ERR_INVALID);
    assert_int_equal(read_line(LINE_JSON, "{\"key\":\"a\",\"key_hex\":\"61\"}", &record),
                     ERR_INVALID);
}

static void json_is_read_back_as_it_was_written(void **state)
{
    struct line_header headers[] = {{VIEW("h"), VIEW("\xff\0")}, {VIEW("h"), {0}}};
    struct line_record record = {.topic = VIEW("t"),
                                 .partition = 3,
                                 .offset = 17,
                                 .timestamp_ms = 1700000000123,
                                 .key = VIEW("\xed\xa0\x80"), /* a surrogate: not UTF-8 */
                                 .value = VIEW("gr\xc3\xbc\xc3\x9f\n"),
                                 .headers = headers,
                                 .header_count = 2};
    struct line_record again;
    struct writer out = {0};

    (void)state;
    line_write(LINE_JSON, "", &record, &out);
    assert_non_null(memmem(out.at, out.len, "\"ref\":\"topic:t/3@17\"", 20));
    assert_int_equal(line_read(LINE_JSON, "", writer_view(&out), &arena, &again), OK);
    assert_true(view_is(again.key, record.key));
    assert_true(view_is(again.value, record.value));
    assert_int_equal(again.timestamp_ms, record.timestamp_ms);
    assert_int_equal(again.header_count, 2);
    assert_true(view_is(again.headers[0].value, headers[0].value));
    assert_null(again.headers[1].value.at);
    assert_int_equal(again.partition, -1); /* where it came from is not where it goes */
    writer_fini(&out);
}

static int forget(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_value_is_the_whole_line, forget),
        cmocka_unit_test_teardown(the_first_separator_ends_the_key, forget),
        cmocka_unit_test_teardown(hex_knows_null_and_empty, forget),
        cmocka_unit_test_teardown(a_json_record_has_only_known_members, forget),
        cmocka_unit_test_teardown(json_is_read_back_as_it_was_written, forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
