/* catalog_match_test.c - descriptions of a table laid over the table as it is now.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "audit/catalog.h"

#define COLUMNS 12

/* "id:1 name:2 -:0": name and type by words; - was dropped, ! before a name is generated. */
static int read_now(const char *text, struct catalog_column *columns)
{
    view rest = view_text(text), word, name, type;
    int count = 0;

    while (rest.len) {
        (void)view_cut(rest, ' ', &word, &rest);
        (void)view_cut(word, ':', &name, &type);
        struct catalog_column *c = &columns[count++];
        *c = (struct catalog_column){.dropped = view_is_text(name, "-"),
                                     .generated = view_starts(name, VIEW("!"))};
        c->name = c->generated ? view_from(name, 1) : name;
        c->type = c->base = c->dropped ? 0 : (uint32_t)(type.at[0] - '0');
        rest = rest.at == word.at ? (view){0} : rest;
    }
    return count;
}

static int read_was(const char *text, struct column *columns)
{
    struct catalog_column parsed[COLUMNS];
    int count = read_now(text, parsed);

    for (int i = 0; i < count; i++) {
        columns[i] = (struct column){.name = parsed[i].name, .type = parsed[i].type};
    }
    return count;
}

/* wanted: a digit a column, x for none. */
static void match(const char *was, const char *now, const char *wanted, bool some)
{
    struct catalog_column is[COLUMNS];
    struct column columns[COLUMNS];
    int positions[COLUMNS];
    struct catalog_table table = {.oid = 1, .columns = is, .some_columns = some};
    struct relation relation = {.oid = 1, .columns = columns};
    char got[COLUMNS + 1] = "";

    table.count = read_now(now, is);
    relation.count = read_was(was, columns);
    catalog_match(&table, &relation, positions);
    for (int i = 0; i < relation.count; i++) {
        got[i] = positions[i] < 0 ? 'x' : (char)('0' + positions[i]);
    }
    assert_string_equal(got, wanted);
}

static void nothing_changed(void **state)
{
    (void)state;
    match("id:1 name:2 n:1", "id:1 name:2 n:1", "012", false);
}

static void a_renamed_column_keeps_its_place(void **state)
{
    (void)state;
    match("id:1 name:2 n:1", "id:1 full_name:2 n:1", "012", false);
    match("id:1 name:2 n:1", "id:1 full_name:2 n:1 name:2", "012", false);
}

static void names_that_changed_places_are_not_followed(void **state)
{
    (void)state;
    match("id:1 a:2 b:2", "id:1 b:2 a:2", "012", false);
    match("id:1 a:2 b:2", "id:1 b:2 a:2 c:2", "012", false);
}

static void what_came_later_belongs_to_nobody(void **state)
{
    (void)state;
    match("id:1 a:2", "id:1 a:2 b:2 c:2", "01", false);
}

static void what_was_dropped_before_is_passed_over(void **state)
{
    (void)state;
    match("id:1 b:2", "id:1 -:0 b:2", "02", false);
    match("id:1 b:2", "-:0 id:1 -:0 -:0 b:2 -:0", "14", false);
}

static void what_was_dropped_since_has_its_place(void **state)
{
    (void)state;
    match("id:1 a:2 b:2", "id:1 -:0 b:2", "012", false);
    match("id:1 a:2 b:2", "id:1 -:0 -:0 b:2", "013", false);
    match("id:1 a:2", "id:1 -:0", "01", false);
}

static void dropped_and_made_anew_is_another_column(void **state)
{
    (void)state;
    match("id:1 a:2", "id:1 -:0 x:2", "01", false); /* rather gone than renamed */
    match("id:1 a:2 b:1", "id:1 -:0 b:1 x:2", "012", false);
}

static void a_retyped_column_is_still_itself(void **state)
{
    (void)state;
    match("id:1 a:2 b:2", "id:1 a:3 b:2", "012", false);
    match("id:1 a:2 b:2", "id:1 q:3 b:2", "012", false);
}

static void generated_columns_are_in_no_description(void **state)
{
    (void)state;
    match("id:1 c:1", "id:1 !b:1 c:1", "02", false);
    match("id:1 c:1", "id:1 !b:1 x:1", "02", false);
}

static void a_list_of_columns_goes_by_name(void **state)
{
    (void)state;
    match("id:1 c:1", "id:1 b:1 c:1", "02", true);
    match("id:1 z:1", "id:1 b:1 c:1", "0x", true);
}

static void a_longer_description_is_of_another_table(void **state)
{
    (void)state;
    match("id:1 a:2 b:2", "b:2 id:1", "1x0", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changed),
        cmocka_unit_test(a_renamed_column_keeps_its_place),
        cmocka_unit_test(names_that_changed_places_are_not_followed),
        cmocka_unit_test(what_came_later_belongs_to_nobody),
        cmocka_unit_test(what_was_dropped_before_is_passed_over),
        cmocka_unit_test(what_was_dropped_since_has_its_place),
        cmocka_unit_test(dropped_and_made_anew_is_another_column),
        cmocka_unit_test(a_retyped_column_is_still_itself),
        cmocka_unit_test(generated_columns_are_in_no_description),
        cmocka_unit_test(a_list_of_columns_goes_by_name),
        cmocka_unit_test(a_longer_description_is_of_another_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
