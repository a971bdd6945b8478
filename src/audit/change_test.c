/* change_test.c - relations there and back, keys as text, what counts as changed.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "audit/change.h"

#define TEXT(literal)                                                                          \
    {                                                                                          \
        VALUE_TEXT, VIEW(literal)                                                              \
    }
#define OF(kind)                                                                               \
    {                                                                                          \
        VALUE_##kind,                                                                          \
        {                                                                                      \
            0                                                                                  \
        }                                                                                      \
    }

static struct column columns[] = {
    {.name = {(const uint8_t *)"id", 2}, .type = 23, .modifier = -1, .key = true},
    {.name = {(const uint8_t *)"code", 4}, .type = 1043, .modifier = 24, .key = true},
    {.name = {(const uint8_t *)"mood", 4},
     .type = 16400,
     .modifier = -1,
     .type_name = {(const uint8_t *)"mood[]", 6}},
};

static struct relation table(int count)
{
    return (struct relation){.oid = 4000000000u,
                             .version = 7,
                             .identity = 'd',
                             .schema = VIEW("public"),
                             .name = VIEW("or\"ders"),
                             .columns = columns,
                             .count = count};
}

static void a_copied_relation_is_the_same_one(void **state)
{
    (void)state;
    struct relation source = table(3);
    struct relation *copy = relation_new(&source);

    assert_true(relation_is(&source, copy));
    assert_ptr_not_equal(copy->name.at, source.name.at);
    assert_int_equal(copy->version, 7);
    assert_null(copy->columns[0].type_name.at);
    assert_int_equal(relation_column(copy, VIEW("mood")), 2);
    assert_int_equal(relation_column(copy, VIEW("moo")), -1);
    copy->columns[1].modifier = 25;
    assert_false(relation_is(&source, copy));
    assert_ptr_equal(relation_hold(copy), copy);
    relation_drop(copy);
    relation_drop(copy);
    relation_drop(NULL);
}

static void a_relation_comes_back_from_its_json(void **state)
{
    (void)state;
    struct relation source = table(3), *back;
    struct writer text = {0};
    struct json_writer j = json_to(&text);
    struct arena arena = {0};
    struct json *json;

    relation_to_json(&source, &j);
    assert_int_equal(json_parse(&arena, writer_view(&text), &json), OK);
    assert_int_equal(relation_from_json(json, &back), OK);
    assert_true(relation_is(&source, back));
    assert_int_equal(back->version, 7);
    arena_fini(&arena); /* nothing of it is kept */
    assert_true(relation_is(&source, back));
    relation_drop(back);
    writer_fini(&text);
}

static void json_that_is_no_relation_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"schema\":\"s\",\"name\":\"n\",\"identity\":\"d\",\"oid\":1,\"version\":1}",
        "{\"schema\":\"s\",\"name\":\"n\",\"identity\":\"dd\",\"oid\":1,\"version\":1,"
        "\"columns\":[]}",
        "{\"schema\":\"s\",\"name\":\"n\",\"identity\":\"d\",\"oid\":-1,\"version\":1,"
        "\"columns\":[]}",
        "{\"schema\":\"s\",\"name\":\"n\",\"identity\":\"d\",\"oid\":1,\"version\":1,"
        "\"columns\":[{\"name\":\"a\",\"type\":23}]}",
        "{\"schema\":\"s\",\"name\":\"n\",\"identity\":\"d\",\"oid\":1,\"version\":1,"
        "\"columns\":[{\"name\":\"a\",\"type\":23,\"modifier\":99999999999}]}",
    };

    for (size_t i = 0; i < COUNT(texts); i++) {
        struct arena arena = {0};
        struct json *json;
        struct relation *relation;
        assert_int_equal(json_parse(&arena, view_text(texts[i]), &json), OK);
        assert_int_not_equal(relation_from_json(json, &relation), OK);
        arena_fini(&arena);
    }
}

static void assert_key(const struct change *change, const char *expected)
{
    struct writer out = {0};

    change_key_text(change, &out);
    write_u8(&out, '\0');
    assert_string_equal((const char *)out.at, expected);
    writer_fini(&out);
}

static void a_key_is_told_from_any_other(void **state)
{
    (void)state;
    struct relation relation = table(3), keyless = table(3);
    struct column plain[3];
    struct value after[] = {TEXT("42"), TEXT("a,b\\c"), OF(UNKNOWN)};
    struct value before[] = {TEXT("41"), OF(NULL), OF(ABSENT)};
    struct change change = {.kind = CHANGE_UPDATE, .relation = &relation, .after = after};

    assert_key(&change, "42,a\\,b\\\\c");
    change.before = before; /* a changed key: the row goes on under the new one */
    assert_key(&change, "42,a\\,b\\\\c");
    change.after = NULL;
    assert_key(&change, "41,\\N");
    after[1] = (struct value)OF(UNKNOWN);
    change.after = after;
    assert_key(&change, "42,\\N");
    change.before = NULL;
    assert_key(&change, "42,\\?");
    memcpy(plain, columns, sizeof(plain));
    plain[0].key = plain[1].key = false;
    keyless.columns = plain;
    change.relation = &keyless;
    assert_key(&change, "42,\\?,\\?");
    change = (struct change){.kind = CHANGE_MESSAGE};
    assert_key(&change, "");
}

static void only_what_both_sides_know_can_have_changed(void **state)
{
    (void)state;
    struct relation relation = table(3);
    struct value before[] = {TEXT("1"), OF(NULL), TEXT("x")};
    struct value after[] = {TEXT("2"), OF(NULL), OF(UNKNOWN)};
    struct change change = {
        .kind = CHANGE_UPDATE, .relation = &relation, .before = before, .after = after};

    assert_true(change_is_changed(&change, 0));
    assert_false(change_is_changed(&change, 1));
    assert_false(change_is_changed(&change, 2));
    after[1] = (struct value)TEXT("");
    assert_true(change_is_changed(&change, 1)); /* NULL is no empty text */
    before[0] = (struct value)OF(ABSENT);
    assert_false(change_is_changed(&change, 0));
    change.before = NULL;
    assert_false(change_is_changed(&change, 1));
}

static void a_copied_change_outlives_its_message(void **state)
{
    (void)state;
    struct relation relation = table(3);
    char bytes[] = "42", context[] = "{\"by\":1}";
    struct value after[] = {{VALUE_TEXT, view_text(bytes)}, TEXT(""), OF(NULL)};
    struct change change = {.kind = CHANGE_CREATE,
                            .relation = &relation,
                            .after = after,
                            .context = view_text(context),
                            .place = {.seq = 5}};
    struct arena arena = {0};
    struct change *copy = change_copy(&arena, &change);

    memset(bytes, 'x', 2);
    memset(context, 'x', 2);
    assert_true(view_is_text(copy->after[0].text, "42"));
    assert_non_null(copy->after[1].text.at);
    assert_int_equal(copy->after[2].kind, VALUE_NULL);
    assert_null(copy->before);
    assert_null(copy->prefix.at);
    assert_true(view_is_text(copy->context, "{\"by\":1}"));
    assert_int_equal(copy->place.seq, 5);
    arena_fini(&arena);
}

static void a_place_in_the_log_is_read_as_it_is_written(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",      "0",    "/",          "0/",          "/0",
                                        "0/0/0", "0/ 1", "0x1/2",      "123456789/0", "0/G",
                                        "-1/0",  "0/1 ", "0/123456789"};
    char text[LSN_TEXT_BYTES];
    uint64_t lsn;

    lsn_text(UINT64_C(0x16B374D848), text);
    assert_string_equal(text, "16/B374D848");
    assert_int_equal(lsn_parse(view_text(text), &lsn), OK);
    assert_int_equal(lsn, UINT64_C(0x16B374D848));
    lsn_text(UINT64_MAX, text);
    assert_int_equal(lsn_parse(view_text(text), &lsn), OK);
    assert_true(lsn == UINT64_MAX);
    assert_int_equal(lsn_parse(VIEW("0/ab"), &lsn), OK);
    assert_int_equal(lsn, 0xab);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(lsn_parse(view_text(wrong[i]), &lsn), ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copied_relation_is_the_same_one),
        cmocka_unit_test(a_relation_comes_back_from_its_json),
        cmocka_unit_test(json_that_is_no_relation_is_refused),
        cmocka_unit_test(a_key_is_told_from_any_other),
        cmocka_unit_test(only_what_both_sides_know_can_have_changed),
        cmocka_unit_test(a_copied_change_outlives_its_message),
        cmocka_unit_test(a_place_in_the_log_is_read_as_it_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
