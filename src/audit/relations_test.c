/* relations_test.c - names of types, and descriptions by OID.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "audit/relations.h"

static void types_are_named_as_people_know_them(void **state)
{
    (void)state;
    static const char *const names[][3] = {
        {"pg_catalog", "int4", "integer"},
        {"pg_catalog", "_timestamptz", "timestamp with time zone[]"},
        {"pg_catalog", "text", "text"},
        {"public", "mood", "mood"},
        {"public", "_mood", "mood[]"},
        {"geo", "point3", "geo.point3"},
        {"My", "_a\"b", "\"My\".\"a\"\"b\"[]"},
    };
    struct types types = {0};
    struct column column = {.type = 70000};
    struct relation relation = {.columns = &column, .count = 1};

    types_name(&types, &relation);
    assert_null(column.type_name.at);
    for (size_t i = 0; i < COUNT(names); i++) {
        types_put(&types, column.type, view_text(names[i][0]), view_text(names[i][1]));
        types_name(&types, &relation);
        assert_true(view_is_text(column.type_name, names[i][2]));
    }
    types_fini(&types);
}

static void the_newest_description_of_a_table_is_held(void **state)
{
    (void)state;
    struct relation source = {.oid = 16385, .name = VIEW("t")};
    struct relations relations = {0}, copy = {0};
    struct relation *first = relation_new(&source), *second = relation_new(&source);

    assert_null(relations_get(&relations, 16385));
    relations_put(&relations, first, 1);
    relations_copy(&copy, &relations);
    relations_put(&relations, second, 2);
    assert_ptr_equal(relations_get(&relations, 16385), second);
    assert_int_equal(relations_arrival(&relations, 16385), 2);
    assert_ptr_equal(relations_get(&copy, 16385), first);
    assert_int_equal(relations_arrival(&copy, 16386), 0);
    relations_put(&relations, second, 3); /* the same once more */
    assert_ptr_equal(relations_get(&relations, 16385), second);
    relation_drop(first);
    relation_drop(second);
    relations_fini(&relations);
    relations_fini(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_named_as_people_know_them),
        cmocka_unit_test(the_newest_description_of_a_table_is_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
