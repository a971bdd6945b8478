/* rules_test.c - ignoring and masking columns. SPDX-License-Identifier: Apache-2.0 */
#include "audit/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define T(literal)                                                                             \
    {                                                                                          \
        .kind = VALUE_TEXT, .text = VIEW(literal)                                              \
    }

static const uint8_t key[RULES_KEY_BYTES] = {1, 2, 3};

static struct relation *users(char identity)
{
    struct column columns[] = {
        {.name = VIEW("id"), .type = 23, .modifier = -1, .key = true},
        {.name = VIEW("email"), .type = 1043, .modifier = 24},
        {.name = VIEW("note"), .type = 25, .modifier = -1},
        {.name = VIEW("updated_at"), .type = 1184, .modifier = -1},
    };
    struct relation r = {.oid = 1,
                         .identity = identity,
                         .schema = VIEW("public"),
                         .name = VIEW("users"),
                         .columns = columns,
                         .count = 4};

    return relation_new(&r);
}

struct case_ {
    struct rules *rules;
    struct rules_table *table;
    struct relation *relation, *stored;
    struct arena arena;
};

static void open_case(struct case_ *c, char identity, const char *ignore, const char *mask)
{
    *c = (struct case_){.relation = users(identity)};
    assert_int_equal(rules_new(ignore, mask, key, &c->rules), OK);
    c->table = rules_table_new(c->rules, c->relation);
    c->stored = rules_relation(c->table);
}

static void close_case(struct case_ *c)
{
    rules_table_free(c->table);
    rules_free(c->rules);
    relation_drop(c->relation);
    relation_drop(c->stored);
    arena_fini(&c->arena);
}

static void masked_columns_are_dropped_hashed_and_truncated(void **state)
{
    struct value after[] = {
        T("7"), T("ann@example.com"), T("h\xC3\xA9llo"), {.kind = VALUE_NULL}};
    struct change change = {.kind = CHANGE_CREATE, .after = after}, out;
    struct case_ c;

    (void)state;
    open_case(&c, 'd', NULL, "users.email=hash, note=truncate:2 ,public.*.updated_at=drop");
    change.relation = c.relation;
    assert_int_equal(c.stored->count, 3);
    assert_int_equal(c.stored->columns[1].type, 25);
    assert_true(rules_apply(c.table, c.stored, &c.arena, &change, &out));
    assert_true(view_is_text(out.after[0].text, "7"));
    assert_int_equal(out.after[1].text.len, 32);
    assert_true(view_is_text(out.after[2].text, "h\xC3\xA9"));
    view first = out.after[1].text;
    assert_true(rules_apply(c.table, c.stored, &c.arena, &change, &out));
    assert_true(view_is(first, out.after[1].text)); /* equal values stay equal */
    close_case(&c);
}

static void an_update_of_ignored_columns_alone_makes_no_record(void **state)
{
    struct value before[] = {T("7"), T("a"), T("b"), T("1")};
    struct value touched[] = {T("7"), T("a"), T("b"), T("2")};
    struct value changed[] = {T("7"), T("z"), T("b"), T("2")};
    struct change change = {.kind = CHANGE_UPDATE, .before = before, .after = touched}, out;
    struct case_ c;

    (void)state;
    open_case(&c, 'f', "*.updated_at", NULL);
    change.relation = c.relation;
    assert_false(rules_apply(c.table, c.stored, &c.arena, &change, &out));
    change.after = changed;
    assert_true(rules_apply(c.table, c.stored, &c.arena, &change, &out));
    assert_true(view_is_text(out.after[3].text, "2"));
    change.after = before; /* nothing changed: nobody asked to ignore that */
    assert_true(rules_apply(c.table, c.stored, &c.arena, &change, &out));
    change.before = NULL; /* what changed is not known */
    assert_true(rules_apply(c.table, c.stored, &c.arena, &change, &out));
    close_case(&c);
}

static void a_column_of_the_key_is_hashed_not_dropped(void **state)
{
    struct case_ c;

    (void)state;
    open_case(&c, 'd', NULL, "id=drop");
    assert_int_equal(c.stored->count, 4);
    assert_int_equal(c.stored->columns[0].type, 25);
    close_case(&c);
}

static void rules_that_make_no_sense_are_named(void **state)
{
    struct rules *rules = NULL;

    (void)state;
    assert_int_equal(rules_new(NULL, "email", key, &rules), ERR_INVALID);
    assert_int_equal(rules_new(NULL, "email=burn", key, &rules), ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "email=burn"));
    assert_int_equal(rules_new(NULL, "email=truncate:x", key, &rules), ERR_INVALID);
    assert_int_equal(rules_new("a.b.c.d", NULL, key, &rules), ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "too many dots"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masked_columns_are_dropped_hashed_and_truncated),
        cmocka_unit_test(an_update_of_ignored_columns_alone_makes_no_record),
        cmocka_unit_test(a_column_of_the_key_is_hashed_not_dropped),
        cmocka_unit_test(rules_that_make_no_sense_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
