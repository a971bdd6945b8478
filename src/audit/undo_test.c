/* undo_test.c - plans: folding, order, statements, what stands against them; without a
 * database (undo_cases_test.c has one). SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "audit/undo_inside.h"

#define TABLES 2
#define COLUMNS 4
#define CHANGES 16
#define INT4 23
#define TEXT 25

/* p(id, u unique, name, note) and c(id, p -> p, sib -> c, name); id is the key of both. */
struct fixture {
    struct catalog catalog;
    struct catalog_table tables[TABLES];
    struct catalog_column columns[TABLES][COLUMNS];
    struct catalog_index indexes[3];
    struct catalog_foreign foreigns[2];
    struct relation relations[TABLES];
    struct column described[TABLES][COLUMNS];
    struct arena arena;
    const struct change *changes[CHANGES];
    size_t count;
    struct undo_plan *plan;
};

static int first[] = {0}, second[] = {1}, third[] = {2};

static void describe(struct fixture *f, int t, const char *name, const char *const *columns)
{
    struct catalog_table *table = &f->tables[t];

    *table = (struct catalog_table){.oid = (uint32_t)t + 100,
                                    .schema = VIEW("s"),
                                    .name = view_text(name),
                                    .quoted = view_text(t ? "s.c" : "s.p"),
                                    .columns = f->columns[t],
                                    .count = COLUMNS,
                                    .triggers = VIEW(""),
                                    .named = true};
    f->relations[t] = (struct relation){.oid = table->oid,
                                        .identity = 'f',
                                        .schema = table->schema,
                                        .name = table->name,
                                        .columns = f->described[t],
                                        .count = COLUMNS};
    for (int i = 0; i < COLUMNS; i++) {
        uint32_t type = i < 3 && !(t == 0 && i == 1) ? INT4 : TEXT;
        f->columns[t][i] = (struct catalog_column){.name = view_text(columns[i]),
                                                   .quoted = view_text(columns[i]),
                                                   .type_name = VIEW("text"),
                                                   .type = type,
                                                   .base = type,
                                                   .not_null = i == 0,
                                                   .nullable = i != 0,
                                                   .number = type == INT4};
        f->described[t][i] = (struct column){.name = view_text(columns[i]), .type = type};
    }
}

static int set_up(void **state)
{
    static const char *const p[] = {"id", "u", "n", "note"}, *const c[] = {"id", "p", "sib",
                                                                           "name"};
    struct fixture *f = xcalloc(1, sizeof(*f));

    describe(f, 0, "p", p);
    describe(f, 1, "c", c);
    f->indexes[0] = (struct catalog_index){
        .name = VIEW("p_pkey"), .columns = first, .count = 1, .primary = true};
    f->indexes[1] =
        (struct catalog_index){.name = VIEW("p_u_key"), .columns = second, .count = 1};
    f->indexes[2] = (struct catalog_index){
        .name = VIEW("c_pkey"), .columns = first, .count = 1, .primary = true};
    f->tables[0].indexes = &f->indexes[0];
    f->tables[0].index_count = 2;
    f->tables[1].indexes = &f->indexes[2];
    f->tables[1].index_count = 1;
    f->tables[0].key = &f->indexes[0];
    f->tables[1].key = &f->indexes[2];
    f->foreigns[0] = (struct catalog_foreign){.name = VIEW("c_p_fkey"),
                                              .from = &f->tables[1],
                                              .to = &f->tables[0],
                                              .from_columns = second,
                                              .to_columns = first,
                                              .count = 1,
                                              .on_delete = 'c',
                                              .on_update = 'a'};
    f->foreigns[1] = (struct catalog_foreign){.name = VIEW("c_sib_fkey"),
                                              .from = &f->tables[1],
                                              .to = &f->tables[1],
                                              .from_columns = third,
                                              .to_columns = first,
                                              .count = 1,
                                              .on_delete = 'a',
                                              .on_update = 'a'};
    f->catalog = (struct catalog){.tables = f->tables,
                                  .table_count = TABLES,
                                  .foreigns = f->foreigns,
                                  .foreign_count = 2};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    undo_plan_free(f->plan);
    arena_fini(&f->arena);
    free(f);
    return 0;
}

/* "1 a ~ ?": values at blanks; ~ null, ? not sent, - not part of the image. NULL: no image. */
static struct value *image(struct fixture *f, const char *text)
{
    struct value *values = text ? arena_take(&f->arena, COLUMNS * sizeof(*values)) : NULL;
    view rest = view_text(text), word;

    for (int i = 0; values && i < COLUMNS; i++) {
        (void)view_cut(rest, ' ', &word, &rest);
        values[i].kind = view_is_text(word, "~")   ? VALUE_NULL
                         : view_is_text(word, "?") ? VALUE_UNKNOWN
                         : view_is_text(word, "-") ? VALUE_ABSENT
                                                   : VALUE_TEXT;
        values[i].text = values[i].kind == VALUE_TEXT ? word : (view){0};
    }
    return values;
}

static void happens(struct fixture *f, enum change_kind kind, int table, const char *before,
                    const char *after)
{
    struct change *change = arena_take(&f->arena, sizeof(*change));

    *change = (struct change){.kind = kind,
                              .relation = &f->relations[table],
                              .before = image(f, before),
                              .after = image(f, after)};
    assert_true(f->count < CHANGES);
    f->changes[f->count++] = change;
}

static void plan(struct fixture *f)
{
    undo_plan_free(f->plan);
    f->plan = undo_plan_new(f->changes, f->count, &f->catalog);
}

/* All statements, one a line. */
static void planned(struct fixture *f, const char *wanted)
{
    struct writer text = {0};

    plan(f);
    for (size_t i = 0; i < f->plan->step_count; i++) {
        write_format(&text, "%.*s\n", VIEW_ARG(f->plan->steps[i].sql));
    }
    write_u8(&text, 0);
    assert_string_equal((const char *)text.at, wanted);
    assert_int_equal(f->plan->conflict_count, 0);
    writer_fini(&text);
}

static void conflict(struct fixture *f, enum undo_note_kind kind, const char *column)
{
    plan(f);
    assert_int_equal(f->plan->conflict_count, 1);
    assert_int_equal(f->plan->conflicts[0].kind, kind);
    assert_true(f->plan->conflicts[0].words.len > 0);
    assert_true(f->plan->conflicts[0].fix.len > 0);
    if (column) {
        assert_int_equal(f->plan->conflicts[0].column_count, 1);
        assert_true(view_is_text(f->plan->conflicts[0].columns[0], column));
    }
}

static void an_update_puts_back_and_guards_what_changed_alone(void **state)
{
    happens(*state, CHANGE_UPDATE, 0, "1 a 5 x", "1 b 5 ~");
    planned(*state,
            "UPDATE s.p SET u = 'a', note = 'x' WHERE id = 1 AND u = 'b' AND note IS NULL\n");
}

static void a_created_row_is_deleted_if_it_is_as_it_was_created(void **state)
{
    happens(*state, CHANGE_CREATE, 0, NULL, "1 a 5 ~");
    planned(*state, "DELETE FROM s.p WHERE id = 1 AND u = 'a' AND n = 5 AND note IS NULL\n");
}

static void a_deleted_row_comes_back_whole(void **state)
{
    happens(*state, CHANGE_DELETE, 0, "1 it's 5 ~", NULL);
    planned(*state, "INSERT INTO s.p (id, u, n, note) VALUES (1, 'it''s', 5, NULL)\n");
}

static void what_came_and_went_is_nothing(void **state)
{
    happens(*state, CHANGE_CREATE, 0, NULL, "1 a 5 ~");
    happens(*state, CHANGE_UPDATE, 0, "1 a 5 ~", "2 a 5 ~");
    happens(*state, CHANGE_DELETE, 0, "2 a 5 ~", NULL);
    happens(*state, CHANGE_UPDATE, 0, "3 a 5 ~", "3 b 5 ~");
    happens(*state, CHANGE_UPDATE, 0, "3 b 5 ~", "3 a 5 ~");
    planned(*state, "");
}

static void changes_of_a_row_fold_under_all_its_keys(void **state)
{
    happens(*state, CHANGE_UPDATE, 0, "1 a 5 ~", "2 a 5 ~");
    happens(*state, CHANGE_UPDATE, 0, "2 a 5 ~", "2 a 6 ~");
    happens(*state, CHANGE_UPDATE, 0, "2 a 6 ~", "3 a 7 ~");
    planned(*state, "UPDATE s.p SET id = 1, n = 5 WHERE id = 3 AND n = 7\n");
}

static void a_row_deleted_and_made_again_is_changed_back(void **state)
{
    happens(*state, CHANGE_DELETE, 0, "1 a 5 ~", NULL);
    happens(*state, CHANGE_CREATE, 0, NULL, "1 b 5 ~");
    planned(*state, "UPDATE s.p SET u = 'a' WHERE id = 1 AND u = 'b'\n");
}

static void a_key_taken_again_by_another_row_is_told_apart(void **state)
{
    happens(*state, CHANGE_DELETE, 0, "1 a 5 ~", NULL);
    happens(*state, CHANGE_UPDATE, 0, "2 b 6 ~", "1 b 6 ~");
    planned(*state, "UPDATE s.p SET id = 2 WHERE id = 1\n"
                    "INSERT INTO s.p (id, u, n, note) VALUES (1, 'a', 5, NULL)\n");
}

static void parents_come_first_and_children_go_first(void **state)
{
    struct fixture *f = *state;

    happens(f, CHANGE_DELETE, 0, "1 a 5 ~", NULL); /* a cascade logs the parent first */
    happens(f, CHANGE_DELETE, 1, "10 1 ~ x", NULL);
    planned(f, "INSERT INTO s.p (id, u, n, note) VALUES (1, 'a', 5, NULL)\n"
               "INSERT INTO s.c (id, p, sib, name) VALUES (10, 1, NULL, 'x')\n");
    f->count = 0;
    happens(f, CHANGE_CREATE, 1, NULL, "10 1 ~ x"); /* a deferred key permits this order */
    happens(f, CHANGE_CREATE, 0, NULL, "1 a 5 ~");
    planned(f, "DELETE FROM s.c WHERE id = 10 AND p = 1 AND sib IS NULL AND name = 'x'\n"
               "DELETE FROM s.p WHERE id = 1 AND u = 'a' AND n = 5 AND note IS NULL\n");
}

static void a_tree_comes_back_from_its_root(void **state)
{
    happens(*state, CHANGE_DELETE, 1, "1 ~ ~ a", NULL);
    happens(*state, CHANGE_DELETE, 1, "2 ~ 1 b", NULL);
    happens(*state, CHANGE_DELETE, 1, "3 ~ 2 c", NULL);
    planned(*state, "INSERT INTO s.c (id, p, sib, name) VALUES (1, NULL, NULL, 'a')\n"
                    "INSERT INTO s.c (id, p, sib, name) VALUES (2, NULL, 1, 'b')\n"
                    "INSERT INTO s.c (id, p, sib, name) VALUES (3, NULL, 2, 'c')\n");
}

static void rows_that_refer_to_each_other_come_back_in_two_steps(void **state)
{
    happens(*state, CHANGE_DELETE, 1, "1 ~ 2 a", NULL);
    happens(*state, CHANGE_DELETE, 1, "2 ~ 1 b", NULL);
    planned(*state, "INSERT INTO s.c (id, p, sib, name) VALUES (1, NULL, NULL, 'a')\n"
                    "INSERT INTO s.c (id, p, sib, name) VALUES (2, NULL, 1, 'b')\n"
                    "UPDATE s.c SET sib = 2 WHERE id = 1 AND sib IS NULL\n");
}

static void unique_values_swap_by_a_value_the_row_had_on_its_way(void **state)
{
    happens(*state, CHANGE_UPDATE, 0, "1 a 5 ~", "1 way 5 ~");
    happens(*state, CHANGE_UPDATE, 0, "2 b 5 ~", "2 a 5 ~");
    happens(*state, CHANGE_UPDATE, 0, "1 way 5 ~", "1 b 5 ~");
    planned(*state, "UPDATE s.p SET u = 'way' WHERE id = 1 AND u = 'b'\n"
                    "UPDATE s.p SET u = 'b' WHERE id = 2 AND u = 'a'\n"
                    "UPDATE s.p SET u = 'a' WHERE id = 1 AND u = 'way'\n");
}

static void unique_values_that_cannot_be_null_swap_by_a_made_up_one(void **state)
{
    struct fixture *f = *state;

    f->columns[0][1].nullable = false;
    happens(f, CHANGE_UPDATE, 0, "1 a 5 ~", "1 b 5 ~");
    happens(f, CHANGE_UPDATE, 0, "2 b 5 ~", "2 a 5 ~");
    planned(f, "UPDATE s.p SET u = 'tidemark-undo-0' WHERE id = 2 AND u = 'a'\n"
               "UPDATE s.p SET u = 'a' WHERE id = 1 AND u = 'b'\n"
               "UPDATE s.p SET u = 'b' WHERE id = 2 AND u = 'tidemark-undo-0'\n");
}

static void deferrable_unique_values_swap_as_they_are(void **state)
{
    struct fixture *f = *state;

    f->indexes[1].deferrable = true;
    happens(f, CHANGE_UPDATE, 0, "1 a 5 ~", "1 b 5 ~");
    happens(f, CHANGE_UPDATE, 0, "2 b 5 ~", "2 a 5 ~");
    plan(f);
    assert_int_equal(f->plan->step_count, 2);
    assert_null(f->plan->rows[0]->park);
    assert_null(f->plan->rows[1]->park);
}

static void a_cascade_of_the_key_is_left_to_the_database(void **state)
{
    struct fixture *f = *state;

    f->foreigns[0].on_update = 'c';
    happens(f, CHANGE_UPDATE, 0, "1 a 5 ~", "2 a 5 ~");
    happens(f, CHANGE_UPDATE, 1, "10 1 ~ x", "10 2 ~ x");
    planned(f, "UPDATE s.p SET id = 1 WHERE id = 2\n");
}

static void columns_that_fill_themselves_are_left_out(void **state)
{
    struct fixture *f = *state;

    f->columns[0][0].identity = true;
    f->columns[0][3].generated = true;
    happens(f, CHANGE_DELETE, 0, "1 a 5 ~", NULL);
    planned(f, "INSERT INTO s.p (id, u, n) OVERRIDING SYSTEM VALUE VALUES (1, 'a', 5)\n");
}

static void a_row_without_a_key_is_one_of_those_that_are_like_it(void **state)
{
    struct fixture *f = *state;

    f->tables[0].key = NULL;
    happens(f, CHANGE_CREATE, 0, NULL, "1 a 5 ~");
    happens(f, CHANGE_CREATE, 0, NULL, "1 a 5 ~");
    happens(f, CHANGE_DELETE, 0, "1 a 5 ~", NULL);
    planned(f, "DELETE FROM s.p WHERE ctid = (SELECT ctid FROM s.p WHERE id = 1 AND u = 'a' "
               "AND n = 5 AND note IS NULL LIMIT 1)\n");
}

static void what_did_not_change_need_not_be_known(void **state)
{
    happens(*state, CHANGE_UPDATE, 0, "1 a 5 ?", "1 b 5 ?");
    planned(*state, "UPDATE s.p SET u = 'a' WHERE id = 1 AND u = 'b'\n");
}

static void a_later_change_tells_what_an_earlier_one_did_not(void **state)
{
    happens(*state, CHANGE_UPDATE, 0, "1 a 5 ?", "1 b 5 ?");
    happens(*state, CHANGE_DELETE, 0, "1 b 5 long", NULL);
    planned(*state, "INSERT INTO s.p (id, u, n, note) VALUES (1, 'a', 5, 'long')\n");
}

static void an_update_without_its_old_values_is_no_guess(void **state)
{
    happens(*state, CHANGE_UPDATE, 0, NULL, "1 b ? ?");
    conflict(*state, UNDO_BEFORE_IMAGE_MISSING, "u");
}

static void a_deleted_row_of_which_a_value_is_not_known_stays_away(void **state)
{
    happens(*state, CHANGE_DELETE, 0, "1 a 5 ?", NULL);
    conflict(*state, UNDO_BEFORE_IMAGE_MISSING, "note");
}

static void a_masked_value_is_never_put_back(void **state)
{
    struct fixture *f = *state;

    f->columns[0][3].masked = true;
    happens(f, CHANGE_UPDATE, 0, "1 a 5 hash1", "1 a 5 hash2");
    conflict(f, UNDO_BEFORE_IMAGE_MISSING, "note");
}

static void a_truncate_has_no_rows_to_put_back(void **state)
{
    happens(*state, CHANGE_TRUNCATE, 0, NULL, NULL);
    conflict(*state, UNDO_TRUNCATE_HAS_NO_ROW_IMAGES, NULL);
}

static void a_column_that_is_gone_cannot_be_put_back(void **state)
{
    struct fixture *f = *state;

    f->columns[0][3] = (struct catalog_column){.name = VIEW("gone"), .dropped = true};
    happens(f, CHANGE_UPDATE, 0, "1 a 5 x", "1 a 5 y");
    conflict(f, UNDO_COLUMN_DROPPED, "note");
}

static void a_row_comes_back_without_a_column_that_is_gone(void **state)
{
    struct fixture *f = *state;

    f->columns[0][3] = (struct catalog_column){.name = VIEW("gone"), .dropped = true};
    happens(f, CHANGE_DELETE, 0, "1 a 5 x", NULL);
    planned(f, "INSERT INTO s.p (id, u, n) VALUES (1, 'a', 5)\n");
    assert_int_equal(f->plan->warning_count, 1);
    assert_int_equal(f->plan->warnings[0].kind, UNDO_COLUMN_DROPPED);
    assert_true(view_is_text(f->plan->warnings[0].columns[0], "note"));
}

static void a_column_that_must_be_filled_now_stands_against_it(void **state)
{
    struct fixture *f = *state;

    f->relations[0].count = 3; /* the fourth came since */
    f->columns[0][3].not_null = true;
    happens(f, CHANGE_DELETE, 0, "1 a 5 -", NULL);
    conflict(f, UNDO_NOT_NULL_ADDED, "note");
    f->columns[0][3].filled = true;
    planned(f, "INSERT INTO s.p (id, u, n) VALUES (1, 'a', 5)\n");
}

static void a_table_that_is_gone_is_one_conflict(void **state)
{
    struct fixture *f = *state;

    f->relations[0].oid = 7;
    f->relations[0].name = VIEW("other");
    happens(f, CHANGE_DELETE, 0, "1 a 5 ~", NULL);
    happens(f, CHANGE_DELETE, 0, "2 b 5 ~", NULL);
    conflict(f, UNDO_TABLE_MISSING, NULL);
}

static void conflicts_past_the_limit_are_counted(void **state)
{
    struct fixture *f = *state;
    const size_t many = UNDO_NOTES_MAX + 50;
    const struct change **changes = xcalloc(many, sizeof(struct change *));

    for (size_t i = 0; i < many; i++) {
        f->count = 0;
        happens(f, CHANGE_DELETE, 0, "1 a 5 ?", NULL);
        struct change *change = (struct change *)(uintptr_t)f->changes[0];
        change->before[0].text = view_text(arena_format(&f->arena, "%zu", i));
        changes[i] = change;
    }
    f->plan = undo_plan_new(changes, many, &f->catalog);
    assert_int_equal(f->plan->conflict_count, many);
    free(changes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_update_puts_back_and_guards_what_changed_alone),
        TEST(a_created_row_is_deleted_if_it_is_as_it_was_created),
        TEST(a_deleted_row_comes_back_whole),
        TEST(what_came_and_went_is_nothing),
        TEST(changes_of_a_row_fold_under_all_its_keys),
        TEST(a_row_deleted_and_made_again_is_changed_back),
        TEST(a_key_taken_again_by_another_row_is_told_apart),
        TEST(parents_come_first_and_children_go_first),
        TEST(a_tree_comes_back_from_its_root),
        TEST(rows_that_refer_to_each_other_come_back_in_two_steps),
        TEST(unique_values_swap_by_a_value_the_row_had_on_its_way),
        TEST(unique_values_that_cannot_be_null_swap_by_a_made_up_one),
        TEST(deferrable_unique_values_swap_as_they_are),
        TEST(a_cascade_of_the_key_is_left_to_the_database),
        TEST(columns_that_fill_themselves_are_left_out),
        TEST(a_row_without_a_key_is_one_of_those_that_are_like_it),
        TEST(what_did_not_change_need_not_be_known),
        TEST(a_later_change_tells_what_an_earlier_one_did_not),
        TEST(an_update_without_its_old_values_is_no_guess),
        TEST(a_deleted_row_of_which_a_value_is_not_known_stays_away),
        TEST(a_masked_value_is_never_put_back),
        TEST(a_truncate_has_no_rows_to_put_back),
        TEST(a_column_that_is_gone_cannot_be_put_back),
        TEST(a_row_comes_back_without_a_column_that_is_gone),
        TEST(a_column_that_must_be_filled_now_stands_against_it),
        TEST(a_table_that_is_gone_is_one_conflict),
        TEST(conflicts_past_the_limit_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
