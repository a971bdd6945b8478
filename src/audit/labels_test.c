/* labels_test.c - words for tables, columns and values. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "audit/labels.h"

static const char file[] = "public.orders:\n"
                           "  label: Order\n"
                           "  columns:\n"
                           "    status: {label: State, values: {n: new, s: sent off}}\n"
                           "    total: Total\n"
                           "orders: Some order\n"
                           "items:\n"
                           "  columns: {kind: {values: {1: thing}}}\n";

static void names_and_codes_have_words(void **state)
{
    struct labels *l = NULL;
    view public = VIEW("public"), orders = VIEW("orders"), items = VIEW("items");

    (void)state;
    assert_int_equal(labels_parse("l.yaml", view_text(file), &l), OK);
    assert_true(view_is_text(labels_table(l, public, orders), "Order"));
    assert_true(view_is_text(labels_table(l, VIEW("other"), orders), "Some order"));
    assert_null(labels_table(l, public, items).at);
    assert_true(view_is_text(labels_column(l, public, orders, VIEW("status")), "State"));
    assert_true(view_is_text(labels_column(l, public, orders, VIEW("total")), "Total"));
    assert_null(labels_column(l, public, orders, VIEW("id")).at);
    assert_true(
        view_is_text(labels_value(l, public, orders, VIEW("status"), VIEW("s")), "sent off"));
    assert_null(labels_value(l, public, orders, VIEW("status"), VIEW("x")).at);
    assert_null(labels_value(l, public, orders, VIEW("total"), VIEW("5")).at);
    assert_true(view_is_text(labels_value(l, public, items, VIEW("kind"), VIEW("1")), "thing"));
    labels_free(l);
}

static void without_a_file_nothing_has_words(void **state)
{
    struct labels *l = NULL;

    (void)state;
    assert_int_equal(labels_load(os_real(), "", &l), OK);
    assert_null(l);
    assert_null(labels_table(l, VIEW("public"), VIEW("orders")).at);
    assert_int_equal(labels_parse("l.yaml", VIEW(""), &l), OK);
    assert_null(labels_table(l, VIEW("public"), VIEW("orders")).at);
    labels_free(l);
}

static void mistakes_are_named_with_their_place(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"orders:\n  lable: x\n", "l.yaml:2:10: \"lable\""},
        {"orders: [a]\n", "l.yaml:1:9: a list"},
        {"orders:\n  columns: x\n", "l.yaml:2:12: \"columns\""},
        {"orders:\n  columns: {a: {values: {b: {c: d}}}}\n", "a value's words are a text"},
        {"a: {b: {c: {d: {e: {f: {g: 1}}}}}}\n", "nested deeper"},
        {"a: &x 1\nb: *x\n", "aliases"},
        {"a: {\n", "l.yaml:2"},
        {"orders\n", "names of tables"},
        {"a: b\n---\nc: d\n", "a second document"},
        {"{a: b}: c\n", "a name must be a text"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct labels *l = NULL;
        assert_int_equal(labels_parse("l.yaml", view_text(cases[i].text), &l), ERR_INVALID);
        if (!strstr(fault_here.text, cases[i].said)) {
            fail_msg("%s: %s", cases[i].text, fault_here.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_codes_have_words),
        cmocka_unit_test(without_a_file_nothing_has_words),
        cmocka_unit_test(mistakes_are_named_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
