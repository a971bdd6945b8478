/* setup_test.c - patterns of tables, and plans as people and programs read them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "audit/setup_inside.h"

static void patterns_match_whole_names(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "a", true},
        {"a", "ab", false},
        {"*", "", true},
        {"*", "abc", true},
        {"a*", "abc", true},
        {"*c", "abc", true},
        {"*b", "abc", false},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"*a*b*", "xxaxxbxx", true},
        {"*ab", "aab", true},
        {"a**", "a", true},
        {"*?", "", false},
        {"*.orders", "s.orders", true},
        {"s.*", "t.orders", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool matches =
            setup_pattern_matches(view_text(rows[i].pattern), view_text(rows[i].text));
        if (matches != rows[i].matches) {
            print_message("%s on %s\n", rows[i].pattern, rows[i].text);
        }
        assert_int_equal(matches, rows[i].matches);
    }
}

static void a_pattern_without_dot_is_a_table_in_any_schema(void **state)
{
    (void)state;
    assert_true(setup_list_has("orders", VIEW("public"), VIEW("orders")));
    assert_true(setup_list_has("x, ord*", VIEW("shop"), VIEW("orders")));
    assert_false(setup_list_has("public.orders", VIEW("shop"), VIEW("orders")));
    assert_true(setup_list_has(" a.b , shop.* ", VIEW("shop"), VIEW("orders")));
    assert_false(setup_list_has("", VIEW("shop"), VIEW("orders")));
    assert_false(setup_list_has(" , ,", VIEW("shop"), VIEW("orders")));
}

static void plans_are_scripts_and_lists(void **state)
{
    struct setup_step steps[] = {{"SELECT 1", "because"}, {"SELECT '\"'", "so"}};
    const struct setup_plan plan = {.steps = steps, .count = 2};
    struct writer out = {0};

    (void)state;
    setup_to_sql(&plan, &out);
    assert_true(
        view_is_text(writer_view(&out), "-- because\nSELECT 1;\n\n-- so\nSELECT '\"';\n"));
    writer_reset(&out);
    struct json_writer j = json_to(&out);
    setup_to_json(&plan, &j);
    assert_true(view_is_text(writer_view(&out), "[{\"sql\":\"SELECT 1\",\"why\":\"because\"},"
                                                "{\"sql\":\"SELECT '\\\"'\",\"why\":\"so\"}]"));
    writer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_whole_names),
        cmocka_unit_test(a_pattern_without_dot_is_a_table_in_any_schema),
        cmocka_unit_test(plans_are_scripts_and_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
