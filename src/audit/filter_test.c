/* filter_test.c - searches in words: what they mean, and what is said of those that mean
 * nothing. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "audit/trail.h"

#define NOW_MS INT64_C(1700000000000)

struct parsed {
    struct arena arena;
    struct filter *filters;
    size_t count;
    err e;
};

static struct parsed parse(const char *text)
{
    struct parsed p = {.e = OK};
    view *words = NULL;
    size_t count = 0;

    p.e = filter_words(&p.arena, view_text(text), &words, &count);
    p.e = p.e ? p.e : filter_parse(&p.arena, words, count, NOW_MS, &p.filters, &p.count);
    return p;
}

static void check(const struct filter *f, enum filter_kind kind, const char *name,
                  const char *value)
{
    assert_int_equal(f->kind, kind);
    assert_true(view_is_text(f->name, name ? name : ""));
    assert_int_equal(f->value.at == NULL, value == NULL);
    assert_true(view_is_text(f->value, value ? value : ""));
}

static void a_sentence_is_a_list_of_filters(void **state)
{
    (void)state;
    struct parsed p = parse("table orders where status changed to shipped by ann since -1h");

    assert_int_equal(p.e, OK);
    assert_int_equal(p.count, 5);
    check(&p.filters[0], FILTER_TABLE, NULL, "orders");
    check(&p.filters[1], FILTER_CHANGED, "status", NULL);
    check(&p.filters[2], FILTER_AFTER, "status", "shipped");
    check(&p.filters[3], FILTER_ACTOR, NULL, "ann");
    assert_int_equal(p.filters[4].kind, FILTER_SINCE);
    assert_int_equal(p.filters[4].number, (NOW_MS - 3600000) * 1000);
    arena_fini(&p.arena);
}

static void pairs_say_the_same(void **state)
{
    (void)state;
    struct parsed p = parse("table=orders changed=status after.status=shipped actor=ann "
                            "op=updated context.request.id=7 before.n=null status=x n!=3");

    assert_int_equal(p.e, OK);
    assert_int_equal(p.count, 9);
    check(&p.filters[0], FILTER_TABLE, NULL, "orders");
    check(&p.filters[1], FILTER_CHANGED, "status", NULL);
    check(&p.filters[2], FILTER_AFTER, "status", "shipped");
    check(&p.filters[3], FILTER_ACTOR, NULL, "ann");
    check(&p.filters[4], FILTER_OPERATION, NULL, "update");
    check(&p.filters[5], FILTER_CONTEXT, "request.id", "7");
    check(&p.filters[6], FILTER_BEFORE, "n", NULL);
    check(&p.filters[7], FILTER_VALUE, "status", "x");
    check(&p.filters[8], FILTER_VALUE, "n", "3");
    assert_true(p.filters[8].is_not);
    assert_false(p.filters[7].is_not);
    arena_fini(&p.arena);
}

static void references_stand_for_what_they_name(void **state)
{
    (void)state;
    struct parsed p = parse("row:shop.public.orders/42 tx:shop/7812 tx 9@0/16B3748");

    assert_int_equal(p.e, OK);
    assert_int_equal(p.count, 4);
    check(&p.filters[0], FILTER_TABLE, NULL, "public.orders");
    check(&p.filters[1], FILTER_KEY, NULL, "42");
    check(&p.filters[2], FILTER_TX, NULL, "7812");
    check(&p.filters[3], FILTER_TX, NULL, "9@0/16B3748");
    arena_fini(&p.arena);
}

static void documents_keep_their_quotes_and_blanks(void **state)
{
    (void)state;
    struct parsed p = parse("context contains {\"user\": {\"name\": \"a } b\"}} and "
                            "after={\"tags\":[1, 2]} name is 'Ann O''Hara \"x\"'");

    assert_int_equal(p.e, OK);
    assert_int_equal(p.count, 3);
    check(&p.filters[0], FILTER_CONTAINS, "context", "{\"user\": {\"name\": \"a } b\"}}");
    check(&p.filters[1], FILTER_CONTAINS, "after", "{\"tags\":[1, 2]}");
    check(&p.filters[2], FILTER_AFTER, "name", "Ann OHara \"x\"");
    arena_fini(&p.arena);
}

static void not_turns_one_filter_around(void **state)
{
    (void)state;
    struct parsed p =
        parse("not deleted not by ann status is not new not context.job note was null");

    assert_int_equal(p.e, OK);
    assert_int_equal(p.count, 5);
    check(&p.filters[0], FILTER_OPERATION, NULL, "delete");
    check(&p.filters[1], FILTER_ACTOR, NULL, "ann");
    check(&p.filters[2], FILTER_AFTER, "status", "new");
    check(&p.filters[3], FILTER_CONTEXT, "job", NULL);
    check(&p.filters[4], FILTER_BEFORE, "note", NULL);
    for (size_t i = 0; i < 4; i++) {
        assert_true(p.filters[i].is_not);
    }
    assert_false(p.filters[4].is_not);
    arena_fini(&p.arena);
}

static void positions_in_the_database_bound_a_search(void **state)
{
    (void)state;
    struct parsed p = parse("since lsn:0/10 until lsn:shop/1/20 since 2023-11-14T00:00:00Z");

    assert_int_equal(p.e, OK);
    assert_int_equal(p.count, 3);
    assert_int_equal(p.filters[0].kind, FILTER_AFTER_LSN);
    assert_int_equal(p.filters[0].number, 0x10);
    assert_int_equal(p.filters[1].kind, FILTER_UNTIL_LSN);
    assert_int_equal(p.filters[1].number, INT64_C(0x100000020));
    assert_int_equal(p.filters[2].number, INT64_C(1699920000000000));
    arena_fini(&p.arena);
}

static void a_column_may_have_the_name_of_a_word(void **state)
{
    (void)state;
    struct parsed p = parse("created is 2020 value.table=t deleted changed");

    assert_int_equal(p.e, OK);
    assert_int_equal(p.count, 3);
    check(&p.filters[0], FILTER_AFTER, "created", "2020");
    check(&p.filters[1], FILTER_VALUE, "table", "t");
    check(&p.filters[2], FILTER_CHANGED, "deleted", NULL);
    arena_fini(&p.arena);
}

static void what_means_nothing_is_named(void **state)
{
    static const struct {
        const char *words, *said;
    } cases[] = {
        {"table", "\"table\""},
        {"table orders shipped", "\"shipped\""},
        {"op=paint", "\"paint\": no such operation"},
        {"since yesterday", "yesterday"},
        {"row orders", "\"orders\": a row is TABLE/KEY"},
        {"tx ann", "\"ann\": no number of a transaction"},
        {"context contains {a:1}", "no JSON document"},
        {"status changed to", "\"to\": what follows is missing"},
        {"by 'ann", "never closed"},
        {"not", "\"not\": what follows is missing"},
        {"not status changed to x", "\"to\""},
        {"since lsn:zz", "zz"},
        {"context.=1", "a path is missing"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct parsed p = parse(cases[i].words);
        assert_int_equal(p.e, ERR_INVALID);
        if (!strstr(fault_here.text, cases[i].said)) {
            fail_msg("%s: %s", cases[i].words, fault_here.text);
        }
        arena_fini(&p.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sentence_is_a_list_of_filters),
        cmocka_unit_test(pairs_say_the_same),
        cmocka_unit_test(references_stand_for_what_they_name),
        cmocka_unit_test(documents_keep_their_quotes_and_blanks),
        cmocka_unit_test(not_turns_one_filter_around),
        cmocka_unit_test(positions_in_the_database_bound_a_search),
        cmocka_unit_test(a_column_may_have_the_name_of_a_word),
        cmocka_unit_test(what_means_nothing_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
