/* asof_format_test.c - rows as CSV, JSON lines and SQL. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "audit/asof.h"

static struct column columns[] = {
    {.name = {(const uint8_t *)"id", 2}, .type = 23, .modifier = -1, .key = true},
    {.name = {(const uint8_t *)"a \"b\"", 5}, .type = 25, .modifier = -1},
    {.name = {(const uint8_t *)"ok", 2}, .type = 16, .modifier = -1},
    {.name = {(const uint8_t *)"doc", 3}, .type = 3802, .modifier = -1},
};
static struct relation relation = {.identity = 'd',
                                   .schema = {(const uint8_t *)"public", 6},
                                   .name = {(const uint8_t *)"odd.name", 8},
                                   .columns = columns,
                                   .count = COUNT(columns)};

static struct value text(const char *of)
{
    return (struct value){VALUE_TEXT, view_text(of)};
}

static void expect(enum asof_format format, const struct value *values, const char *written)
{
    struct writer out = {0};

    asof_write_head(format, &relation, &out);
    asof_write_row(format, &relation, values, &out);
    asof_write_end(format, &out);
    write_u8(&out, '\0');
    assert_string_equal((const char *)out.at, written);
    writer_fini(&out);
}

static void values_are_quoted_where_they_must_be(void **state)
{
    const struct value values[] = {text("-7"), text("it's, \"so\"\n"), text("t"),
                                   text("{\"n\": 1.50}")};

    (void)state;
    expect(ASOF_CSV, values,
           "id,\"a \"\"b\"\"\",ok,doc\r\n"
           "-7,\"it's, \"\"so\"\"\n\",t,\"{\"\"n\"\": 1.50}\"\r\n");
    expect(ASOF_JSON, values,
           "{\"id\":-7,\"a \\\"b\\\"\":\"it's, \\\"so\\\"\\n\",\"ok\":true,"
           "\"doc\":{\"n\": 1.50}}\n");
    expect(ASOF_SQL, values,
           "BEGIN;\nINSERT INTO \"public\".\"odd.name\" (\"id\", \"a \"\"b\"\"\", \"ok\", "
           "\"doc\") "
           "OVERRIDING SYSTEM VALUE VALUES (-7, 'it''s, \"so\"\n', true, '{\"n\": 1.50}');\n"
           "COMMIT;\n");
}

static void null_empty_and_unknown_stay_three_things(void **state)
{
    const struct value values[] = {
        text("1"), text(""), {.kind = VALUE_NULL}, {.kind = VALUE_UNKNOWN}};

    (void)state;
    expect(ASOF_CSV, values,
           "id,\"a \"\"b\"\"\",ok,doc\r\n1,\"\",,__debezium_unavailable_value\r\n");
    expect(ASOF_JSON, values,
           "{\"id\":1,\"a \\\"b\\\"\":\"\",\"ok\":null,\"$unknown\":[\"doc\"]}\n");
    expect(ASOF_SQL, values,
           "BEGIN;\nINSERT INTO \"public\".\"odd.name\" (\"id\", \"a \"\"b\"\"\", \"ok\") "
           "OVERRIDING SYSTEM VALUE VALUES (1, '', NULL);\nCOMMIT;\n");
}

static void keys_sort_as_their_values_do(void **state)
{
    static const char *const numbers[] = {"-9223372036854775808", "-5", "0", "9", "10", "200"};
    struct writer before = {0}, key = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const struct value values[COUNT(columns)] = {text(numbers[i])};
        writer_reset(&key);
        asof_key(&relation, values, &key);
        assert_true(view_order(writer_view(&before), writer_view(&key)) < 0);
        writer_reset(&before);
        write_view(&before, writer_view(&key));
    }
    writer_fini(&before);
    writer_fini(&key);
}

static void there_are_three_formats(void **state)
{
    enum asof_format format;

    (void)state;
    assert_int_equal(asof_format_parse(VIEW("sql"), &format), OK);
    assert_int_equal(format, ASOF_SQL);
    assert_int_equal(asof_format_parse(VIEW("xml"), &format), ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "csv, json and sql"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_quoted_where_they_must_be),
        cmocka_unit_test(null_empty_and_unknown_stay_three_things),
        cmocka_unit_test(keys_sort_as_their_values_do),
        cmocka_unit_test(there_are_three_formats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
