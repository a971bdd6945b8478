/* json_test.c - the JSON writer and reader. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static void assert_written(struct writer *w, const char *expected)
{
    write_u8(w, 0);
    assert_string_equal((char *)w->at, expected);
    writer_fini(w);
}

static void commas_and_nesting_come_out_right(void **state)
{
    struct writer w = {0};
    struct json_writer j = json_to(&w);

    (void)state;
    json_object(&j);
    json_name(&j, "a"), json_int(&j, -5);
    json_name(&j, "b"), json_array(&j);
    json_int(&j, 1), json_array(&j), json_end_array(&j), json_bool(&j, true);
    json_object(&j), json_end_object(&j);
    json_end_array(&j);
    json_name(&j, "c"), json_text(&j, NULL);
    json_name(&j, "d"), json_textf(&j, "%d%%", 7);
    json_name(&j, "e"), json_raw(&j, VIEW("[0]"));
    json_end_object(&j);
    assert_written(&w, "{\"a\":-5,\"b\":[1,[],true,{}],\"c\":null,\"d\":\"7%\",\"e\":[0]}");
}

static void texts_are_escaped_and_bad_bytes_replaced(void **state)
{
    static const struct {
        view text;
        const char *json;
    } rows[] = {
        {{(const uint8_t *)"", 0}, "\"\""},
        {{(const uint8_t *)"a\"b\\c/", 6}, "\"a\\\"b\\\\c/\""},
        {{(const uint8_t *)"\n\t\r\b\f\x01\0", 7}, "\"\\n\\t\\r\\b\\f\\u0001\\u0000\""},
        {{(const uint8_t *)"\x7f\xc3\xa9\xf0\x9f\x98\x80", 7},
         "\"\x7f\xc3\xa9\xf0\x9f\x98\x80\""},
        {{(const uint8_t *)"a\xff"
                           "b",
          3},
         "\"a\xef\xbf\xbd"
         "b\""},
        {{(const uint8_t *)"\xc3", 1}, "\"\xef\xbf\xbd\""},                 /* cut */
        {{(const uint8_t *)"\xc0\xaf", 2}, "\"\xef\xbf\xbd\xef\xbf\xbd\""}, /* overlong */
        {{(const uint8_t *)"\xed\xa0\x80", 3}, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct writer w = {0};
        struct json_writer j = json_to(&w);
        json_view(&j, rows[i].text);
        assert_written(&w, rows[i].json);
    }
}

static void numbers_are_short_and_read_back_the_same(void **state)
{
    static const struct {
        double value;
        const char *json;
    } rows[] = {{0.1, "0.1"},       {1e300, "1e+300"},
                {-2.5, "-2.5"},     {1.0 / 3, "0.3333333333333333"},
                {INFINITY, "null"}, {NAN, "null"}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct writer w = {0};
        struct json_writer j = json_to(&w);
        json_number(&j, rows[i].value);
        assert_written(&w, rows[i].json);
    }
}

static void a_document_is_read_whole(void **state)
{
    struct arena arena = {0};
    struct json *root;
    view text;
    int64_t number;
    bool truth;

    (void)state;
    assert_int_equal(json_parse(&arena,
                                VIEW(" {\"n\\u0061me\": \"x\\ud83d\\ude00\\n\\\"\", \"n\": "
                                     "-12, \"f\": 1.50e+2,\n\"t\": true, \"l\": [null, [], "
                                     "{}, \"\"], \"n\": 9007199254740993} "),
                                &root),
                     OK);
    assert_int_equal(json_get_text(root, "name", &text), OK);
    assert_true(view_is_text(text, "x\xf0\x9f\x98\x80\n\""));
    assert_int_equal(json_get_int(root, "n", &number), OK);
    assert_int_equal(number, 9007199254740993); /* the last of two; not rounded */
    assert_true(view_is_text(json_get(root, "f")->text, "1.50e+2"));
    assert_int_equal(json_get_bool(root, "t", &truth), OK);
    assert_true(truth);
    const struct json *item = json_get(root, "l")->inside;
    assert_int_equal(item->kind, JSON_NULL);
    assert_int_equal(item->next->kind, JSON_ARRAY);
    assert_int_equal(item->next->next->kind, JSON_OBJECT);
    assert_non_null(item->next->next->next->text.at); /* empty, not absent */
    assert_null(item->next->next->next->next);
    arena_fini(&arena);
}

static void members_missing_or_of_another_kind_are_named(void **state)
{
    struct arena arena = {0};
    struct json *root;
    view text;
    int64_t number;
    bool truth;

    (void)state;
    assert_int_equal(json_parse(&arena, VIEW("{\"a\":1.5,\"b\":\"x\"}"), &root), OK);
    assert_int_equal(json_get_text(root, "c", &text), ERR_NOT_FOUND);
    assert_string_equal(fault_here.text, "\"c\" is missing");
    assert_int_equal(json_get_bool(root, "b", &truth), ERR_INVALID);
    assert_string_equal(fault_here.text, "\"b\" must be true or false, it is a text");
    assert_int_equal(json_get_int(root, "a", &number), ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "\"a\": "));
    assert_null(json_get(json_get(root, "b"), "x"));
    assert_null(json_get(NULL, "x"));
    arena_fini(&arena);
}

static void what_is_not_json_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "line 1, column 1: a value is expected"},
        {"{\"a\": 1,\n  b: 2}", "line 2, column 3: a text is expected"},
        {"[1,]", "line 1, column 4: a value is expected"},
        {"[1 2]", "line 1, column 4: a comma or ']' is expected"},
        {"{\"a\" 1}", "column 6: a colon is expected"},
        {"{\"a\":1,}", "column 8: a text is expected"},
        {"\"\xc3\xa9\xc3\xa9\" x", "column 6: something follows"},
        {"01", "column 2: not a number"},
        {"-", "a value is expected"},
        {"1.", "digits are expected after the point"},
        {"1e+", "digits are expected in the exponent"},
        {"1x", "not a number"},
        {"+1", "a value is expected"},
        {"nul", "a value is expected"},
        {"truest", "a value is expected"},
        {"\"a", "the text is not closed"},
        {"\"a\\", "the text is not closed"},
        {"\"a\\\"", "the text is not closed"},
        {"\"\\x\"", "no such escape"},
        {"\"\\u12g4\"", "four hex digits"},
        {"\"\\u12\"", "four hex digits"},
        {"\"\\ud800\"", "half of a surrogate pair"},
        {"\"\\udc00\"", "half of a surrogate pair"},
        {"\"\\ud800\\u0041\"", "half of a surrogate pair"},
        {"\"a\nb\"", "a control character"},
        {"\"\xff\"", "not UTF-8"},
        {"\"\\\xff\"", "not UTF-8"},
        {"{", "a text is expected"},
        {"[", "a value is expected"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        struct json *root;
        size_t len = strlen(rows[i].text);
        uint8_t *exact = malloc(len ? len : 1); /* so that a read past the end is seen */
        memcpy(exact, rows[i].text, len);
        assert_int_equal(json_parse(&arena, (view){exact, len}, &root), ERR_INVALID);
        if (!strstr(fault_here.text, rows[i].says)) {
            fail_msg("%s: says \"%s\"", rows[i].text, fault_here.text);
        }
        arena_fini(&arena);
        free(exact);
    }
}

static void depth_is_limited_and_the_limit_itself_fits(void **state)
{
    char text[2 * JSON_DEPTH_MAX + 3];
    struct arena arena = {0};
    struct json *root;

    (void)state;
    memset(text, '[', sizeof(text));
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(json_parse(&arena, (view){(uint8_t *)text, 2 * JSON_DEPTH_MAX}, &root),
                     OK);
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(json_parse(&arena, (view){(uint8_t *)text, 2 * JSON_DEPTH_MAX + 2}, &root),
                     ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "deeper than 64"));
    arena_fini(&arena);
}

static void any_bytes_written_as_text_read_back_when_they_are_utf8(void **state)
{
    uint8_t bytes[128];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    struct arena arena = {0};
    struct writer w = {0};
    struct json_writer j = json_to(&w);
    struct json *root;
    json_view(&j, (view){bytes, sizeof(bytes)});
    assert_int_equal(json_parse(&arena, writer_view(&w), &root), OK);
    assert_int_equal(root->text.len, sizeof(bytes));
    assert_memory_equal(root->text.at, bytes, sizeof(bytes));
    writer_fini(&w);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_and_nesting_come_out_right),
        cmocka_unit_test(texts_are_escaped_and_bad_bytes_replaced),
        cmocka_unit_test(numbers_are_short_and_read_back_the_same),
        cmocka_unit_test(a_document_is_read_whole),
        cmocka_unit_test(members_missing_or_of_another_kind_are_named),
        cmocka_unit_test(what_is_not_json_is_refused_with_its_place),
        cmocka_unit_test(depth_is_limited_and_the_limit_itself_fits),
        cmocka_unit_test(any_bytes_written_as_text_read_back_when_they_are_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
