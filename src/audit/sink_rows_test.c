/* sink_rows_test.c - changes as rows of the changes table.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/sink_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define INT4 23
#define TEXT 25
#define TEXT_ARRAY 1009

static struct column columns[] = {
    {.name = {(const uint8_t *)"id", 2}, .type = INT4, .modifier = -1, .key = true},
    {.name = {(const uint8_t *)"note", 4}, .type = TEXT, .modifier = -1},
    {.name = {(const uint8_t *)"tags", 4}, .type = TEXT_ARRAY, .modifier = -1},
};
static struct relation todo = {.schema = {(const uint8_t *)"public", 6},
                               .name = {(const uint8_t *)"todo", 4},
                               .identity = 'd',
                               .columns = columns,
                               .count = 3};
static const struct sink_names names = {"7", "shop", "shop_db"};

static struct change change_of(enum change_kind kind, struct value *before, struct value *after)
{
    return (struct change){.kind = kind,
                           .relation = &todo,
                           .before = before,
                           .after = after,
                           .place = {.xid = 768,
                                     .lsn = 35878528,
                                     .commit_lsn = 35878600,
                                     .committed_us = 1701191180939000,
                                     .seq = 2}};
}

/* The row, parsed; lives in the arena. */
static const struct json *row_of(struct arena *arena, const struct change *change, bool plain)
{
    struct writer out = {0};
    struct json *json = NULL;

    sink_row(&names, change, 5, plain, &out);
    view text = arena_copy(arena, writer_view(&out));
    writer_fini(&out);
    assert_int_equal(json_parse(arena, text, &json), OK);
    return json;
}

static void assert_text(const struct json *object, const char *name, const char *expected)
{
    const struct json *found = json_get(object, name);

    assert_non_null(found);
    assert_true(view_is_text(found->text, expected));
}

static void a_row_says_what_bemis_would(void **state)
{
    struct arena arena = {0};
    struct value after[] = {
        {VALUE_TEXT, VIEW("2")}, {VALUE_TEXT, VIEW("Test")}, {.kind = VALUE_NULL}};
    struct change change = change_of(CHANGE_CREATE, NULL, after);
    const struct json *row = row_of(&arena, &change, false);

    (void)state;
    assert_text(row, "operation", "CREATE");
    assert_text(row, "database", "shop_db");
    assert_text(row, "primary_key", "2");
    assert_text(row, "position", "35878528");
    assert_text(row, "transaction_id", "768");
    assert_text(row, "committed_us", "1701191180939000");
    assert_null(json_get(row, "before")->inside);
    assert_null(json_get(row, "context")->inside);
    assert_int_equal(json_get(json_get(row, "after"), "id")->kind, JSON_NUMBER);
    assert_int_equal(json_get(json_get(row, "after"), "tags")->kind, JSON_NULL);
    arena_fini(&arena);
}

static void what_was_not_sent_is_marked_or_taken_from_before(void **state)
{
    struct arena arena = {0};
    struct value before[] = {
        {VALUE_TEXT, VIEW("2")}, {VALUE_TEXT, VIEW("long")}, {.kind = VALUE_ABSENT}};
    struct value after[] = {
        {VALUE_TEXT, VIEW("2")}, {.kind = VALUE_UNKNOWN}, {.kind = VALUE_UNKNOWN}};
    struct change change = change_of(CHANGE_UPDATE, before, after);
    const struct json *row = row_of(&arena, &change, false), *image = json_get(row, "after");

    (void)state;
    assert_text(image, "note", "long");
    assert_int_equal(json_get(image, "tags")->kind, JSON_ARRAY);
    assert_true(
        view_is_text(json_get(image, "tags")->inside->text, "__bemi_unavailable_value"));
    assert_null(json_get(json_get(row, "before"), "tags"));
    change = change_of(CHANGE_UPDATE, NULL, after);
    image = json_get(row_of(&arena, &change, false), "after");
    assert_text(image, "note", "__bemi_unavailable_value");
    arena_fini(&arena);
}

static void a_delete_has_its_key_from_before(void **state)
{
    struct arena arena = {0};
    struct value before[] = {
        {VALUE_TEXT, VIEW("9")}, {.kind = VALUE_ABSENT}, {.kind = VALUE_ABSENT}};
    struct change change = change_of(CHANGE_DELETE, before, NULL);
    const struct json *row = row_of(&arena, &change, false);

    (void)state;
    assert_text(row, "primary_key", "9");
    assert_null(json_get(row, "after")->inside);
    change = change_of(CHANGE_TRUNCATE, NULL, NULL);
    assert_int_equal(json_get(row_of(&arena, &change, false), "primary_key")->kind, JSON_NULL);
    arena_fini(&arena);
}

static void ids_follow_from_places_alone(void **state)
{
    struct arena arena = {0};
    struct change change = change_of(CHANGE_TRUNCATE, NULL, NULL), other = change;
    view id = json_get(row_of(&arena, &change, false), "id")->text;

    (void)state;
    change.context = VIEW("{\"a\":1}");
    assert_true(view_is(json_get(row_of(&arena, &change, true), "id")->text, id));
    other.place.seq++;
    assert_false(view_is(json_get(row_of(&arena, &other, false), "id")->text, id));
    other = change;
    other.place.commit_lsn++;
    assert_false(view_is(json_get(row_of(&arena, &other, false), "id")->text, id));
    assert_int_equal(id.len, 36);
    assert_int_equal(id.at[14], '5');
    arena_fini(&arena);
}

static void a_context_is_json_or_plain_text(void **state)
{
    struct arena arena = {0};
    struct change change = change_of(CHANGE_TRUNCATE, NULL, NULL);

    (void)state;
    change.context = VIEW("{\"user\":\"ann\"}");
    assert_text(json_get(row_of(&arena, &change, false), "context"), "user", "ann");
    assert_text(json_get(row_of(&arena, &change, true), "context"), "$raw",
                "{\"user\":\"ann\"}");
    arena_fini(&arena);
}

static void its_own_rows_snapshots_and_messages_stay_out(void **state)
{
    struct change change = change_of(CHANGE_READ, NULL, NULL);
    struct relation own = todo;

    (void)state;
    assert_false(sink_takes(&change));
    change.kind = CHANGE_MESSAGE;
    assert_false(sink_takes(&change));
    change.kind = CHANGE_DELETE;
    assert_true(sink_takes(&change));
    own.name = VIEW("changes");
    change.relation = &own;
    assert_false(sink_takes(&change));
    own.schema = VIEW("shop");
    assert_true(sink_takes(&change));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_says_what_bemis_would),
        cmocka_unit_test(what_was_not_sent_is_marked_or_taken_from_before),
        cmocka_unit_test(a_delete_has_its_key_from_before),
        cmocka_unit_test(ids_follow_from_places_alone),
        cmocka_unit_test(a_context_is_json_or_plain_text),
        cmocka_unit_test(its_own_rows_snapshots_and_messages_stay_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
