/* trail_match_test.c - what filters mean, one change at a time; and that the terms of a change
 * meet whatever matches it. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "audit/trail_match.h"
#include "audit/trail_terms.h"

#define TEXT(literal)                                                                          \
    {                                                                                          \
        VALUE_TEXT,                                                                            \
        {                                                                                      \
            (const uint8_t *)(literal), sizeof(literal) - 1                                    \
        }                                                                                      \
    }
#define NONE(kind)                                                                             \
    {                                                                                          \
        VALUE_##kind,                                                                          \
        {                                                                                      \
            0                                                                                  \
        }                                                                                      \
    }

static struct column columns[] = {
    {.name = {(const uint8_t *)"id", 2}, .type = 23, .modifier = -1, .key = true},
    {.name = {(const uint8_t *)"status", 6}, .type = 25, .modifier = -1},
    {.name = {(const uint8_t *)"total", 5}, .type = 1700, .modifier = -1},
    {.name = {(const uint8_t *)"data", 4}, .type = 3802, .modifier = -1},
    {.name = {(const uint8_t *)"paid", 4}, .type = 16, .modifier = -1},
    {.name = {(const uint8_t *)"body", 4}, .type = 25, .modifier = -1},
};
static struct relation orders = {.identity = 'f',
                                 .schema = {(const uint8_t *)"public", 6},
                                 .name = {(const uint8_t *)"orders", 6},
                                 .columns = columns,
                                 .count = COUNT(columns)};

static struct value before[] = {TEXT("42"),         TEXT("new"), TEXT("5.00"),
                                TEXT("{\"a\": 1}"), TEXT("f"),   NONE(UNKNOWN)};
static struct value after[] = {
    TEXT("43"),   TEXT("shipped"),
    TEXT("5.00"), TEXT("{\"a\": {\"b\": [1, {\"c\": null}]}, \"t.x\": true}"),
    TEXT("t"),    NONE(NULL)};

static struct change update(void)
{
    return (struct change){
        .kind = CHANGE_UPDATE,
        .relation = &orders,
        .before = before,
        .after = after,
        .place = {.xid = 7812, .lsn = 0x100, .commit_lsn = 0x16B3748, .committed_us = 5000000},
        .context = VIEW("{\"user\": {\"id\": 7, \"name\": \"ann\"}, \"tags\": [\"x\", \"y\"], "
                        "\"n\": 1e2, \"ok\": true, \"nil\": null}"),
    };
}

static bool holds(const struct trail_need *need, const struct terms *terms)
{
    for (size_t i = 0; i < need->count; i++) {
        for (size_t t = 0; t < terms->count; t++) {
            if (need->terms[i] == terms->at[t]) {
                return true;
            }
        }
    }
    return false;
}

/* What matches is proposed by its terms and passed by its place. */
static bool matches(const struct change *change, const char *words)
{
    struct arena arena = {0};
    struct filter *filters = NULL;
    struct terms terms = {0};
    struct plan plan;
    view *all = NULL;
    size_t count = 0, filter_count = 0;

    assert_int_equal(filter_words(&arena, view_text(words), &all, &count), OK);
    if (filter_parse(&arena, all, count, 10000, &filters, &filter_count)) {
        fail_msg("%s", fault_here.text);
    }
    assert_int_equal(plan_init(&plan, filters, filter_count), OK);
    bool match = plan_match(&plan, &arena, change);
    terms_of(change, &terms);
    for (size_t i = 0; i < plan.need_count && match; i++) {
        assert_true(holds(&plan.needs[i], &terms));
    }
    struct trail_place place = {.committed_us = change->place.committed_us,
                                .commit_lsn = change->place.commit_lsn,
                                .xid = change->place.xid,
                                .kind = (uint8_t)change->kind};
    struct trail_table table = {.schema = change->relation ? orders.schema : VIEW(""),
                                .name = change->relation ? orders.name : VIEW("")};
    assert_true(!match || plan_place(&plan, &place, &table));
    plan_fini(&plan);
    terms_fini(&terms);
    arena_fini(&arena);
    return match;
}

static void check(const struct change *change, const char *const *words, bool wanted)
{
    for (; *words; words++) {
        if (matches(change, *words) != wanted) {
            fail_msg("%s: %s", *words, wanted ? "no" : "yes");
        }
    }
}

static void an_update_is_found_by_all_that_is_true_of_it(void **state)
{
    static const char *const words[] = {
        "table orders",
        "table public.orders",
        "key 42",
        "key 43",
        "row orders/42",
        "updated",
        "status changed",
        "status changed from new to shipped",
        "id changed",
        "status was new",
        "status is shipped",
        "status=new",
        "status=shipped",
        "total=5",
        "after.total=5.000",
        "total is 05",
        "paid is true",
        "paid was f",
        "body is null",
        "data changed",
        "data.a=1",
        "before.data.a=1.0",
        "after.data.a.b=1",
        "after.data.a.b.c=null",
        "after.data.t.x=true",
        "by ann",
        "tx 7812",
        "tx 7812@0/16B3748",
        "context.user.name is ann",
        "context.user.id=7.0",
        "context.tags=y",
        "context.tags",
        "context.n=100",
        "context.ok=true",
        "context.nil",
        "context.nil=null",
        "context contains {\"user\":{\"id\":7},\"tags\":[\"y\"]}",
        "context contains {}",
        "after contains {\"id\":43,\"total\":5}",
        "after contains {\"paid\":true}",
        "after contains {\"data\":{\"a\":{\"b\":[{\"c\":null}]}}}",
        "after contains {\"body\":null}",
        "before contains {\"status\":\"new\"}",
        "since 1970-01-01T00:00:05Z",
        "until 1970-01-01T00:00:05Z",
        "since lsn:0/16B3747",
        "until lsn:0/16B3748",
        "not deleted",
        "not by bob",
        "status is not new",
        "table orders by ann not tx 1",
        "",
        NULL};
    struct change c = update();

    (void)state;
    check(&c, words, true);
}

static void and_by_nothing_that_is_not(void **state)
{
    static const char *const words[] = {"table order",
                                        "table other.orders",
                                        "table rs",
                                        "key 4",
                                        "key 42,43",
                                        "created",
                                        "total changed",
                                        "paid changed from t",
                                        "body changed",
                                        "nothing changed",
                                        "status was shipped",
                                        "status is new",
                                        "total=5.01",
                                        "status=5",
                                        "paid is yes",
                                        "body was null",
                                        "body is ''",
                                        "before.data.a.b=1",
                                        "after.data.a=1",
                                        "after.data.b=1",
                                        "data.a=null",
                                        "by Ann",
                                        "tx 7813",
                                        "tx 7812@0/16B3749",
                                        "context.user.name=an",
                                        "context.user=7",
                                        "context.tag",
                                        "context.tags.x",
                                        "context.nil=x",
                                        "context.user.id is 70",
                                        "context contains {\"user\":7}",
                                        "context contains [\"x\"]",
                                        "context contains {\"tags\":\"x\"}",
                                        "after contains {\"id\":\"43\"}",
                                        "after contains {\"paid\":\"t\"}",
                                        "before contains {\"body\":null}",
                                        "after contains {\"data\":{\"a\":{\"b\":[{\"c\":1}]}}}",
                                        "since 1970-01-01T00:00:05.001Z",
                                        "until 1970-01-01T00:00:04Z",
                                        "since lsn:0/16B3748",
                                        "until lsn:0/16B3747",
                                        "not updated",
                                        "not by ann",
                                        "status is not shipped",
                                        "table orders by bob",
                                        NULL};
    struct change c = update();

    (void)state;
    check(&c, words, false);
}

static void what_was_not_sent_is_not_found_by_value(void **state)
{
    static const char *const yes[] = {"status is shipped", "not status changed", "key 43",
                                      NULL};
    static const char *const no[] = {"status changed", "status was new", "before contains {}",
                                     "key 42", NULL};
    struct change c = update();

    (void)state;
    c.before = NULL;
    check(&c, yes, true);
    check(&c, no, false);
}

static void a_message_is_no_row(void **state)
{
    static const char *const yes[] = {"operation message", "by ann", "not table orders", NULL};
    static const char *const no[] = {"table orders", "key 1", "status=new", "status changed",
                                     NULL};
    struct change c = update();

    (void)state;
    c.kind = CHANGE_MESSAGE;
    c.relation = NULL;
    c.before = c.after = NULL;
    c.prefix = VIEW("p");
    check(&c, yes, true);
    check(&c, no, false);
}

static void a_context_with_too_many_fields_is_found_all_the_same(void **state)
{
    struct writer context = {0};
    struct change c = update();

    (void)state;
    write_view(&context, VIEW("{"));
    for (int i = 0; i < 5000; i++) {
        write_format(&context, "\"f%d\":{\"v\":%d},", i, i);
    }
    write_view(&context, VIEW("\"user\":\"zoe\"}"));
    c.context = writer_view(&context);
    static const char *const yes[] = {"by zoe", "context.f4999.v=4999", "context.f0.v",
                                      "context contains {\"f3000\":{\"v\":3000}}", NULL};
    check(&c, yes, true);
    static const char *const no[] = {"by ann", "context.f4999.v=1", NULL};
    check(&c, no, false);
    writer_fini(&context);
}

static void equal_numbers_have_one_form(void **state)
{
    static const char *const pairs[][2] = {
        {"5", "5.00"},   {"-0", "0"},   {"1e2", "100"}, {"0.010", "1E-2"}, {"+0", NULL},
        {"100", "1000"}, {"1", "-1"},   {"", NULL},     {"-", NULL},       {".", NULL},
        {"1e", NULL},    {"NaN", NULL}, {"1 ", NULL}};
    char a[NUMBER_TEXT_MAX + 16], b[NUMBER_TEXT_MAX + 16];
    size_t a_len = 0, b_len = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        bool number = number_plain(view_text(pairs[i][0]), a, &a_len);
        assert_int_equal(number, pairs[i][1] != NULL);
        if (number) {
            assert_true(number_plain(view_text(pairs[i][1]), b, &b_len));
            bool same = a_len == b_len && !memcmp(a, b, a_len);
            assert_int_equal(same, i < 4);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_update_is_found_by_all_that_is_true_of_it),
        cmocka_unit_test(and_by_nothing_that_is_not),
        cmocka_unit_test(what_was_not_sent_is_not_found_by_value),
        cmocka_unit_test(a_message_is_no_row),
        cmocka_unit_test(a_context_with_too_many_fields_is_found_all_the_same),
        cmocka_unit_test(equal_numbers_have_one_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
