/* change_json_test.c - the change that everybody sees, and who did it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "audit/envelope.h"

static struct relation *orders(void)
{
    struct column columns[] = {{.name = VIEW("id"), .type = 23, .modifier = -1, .key = true},
                               {.name = VIEW("total"), .type = 1700, .modifier = -1},
                               {.name = VIEW("paid"), .type = 16, .modifier = -1},
                               {.name = VIEW("data"), .type = 3802, .modifier = -1},
                               {.name = VIEW("note"), .type = 25, .modifier = -1}};
    struct relation relation = {.identity = 'd',
                                .schema = VIEW("public"),
                                .name = VIEW("orders"),
                                .columns = columns,
                                .count = COUNT(columns)};

    return relation_new(&relation);
}

static struct value text(const char *words)
{
    return (struct value){VALUE_TEXT, view_text(words)};
}

static void assert_shown(const struct change *change, const char *want)
{
    const struct change_origin origin = {.source = VIEW("shop"),
                                         .topic = VIEW("shop.public.orders"),
                                         .partition = 0,
                                         .offset = 42};
    struct writer out = {0};
    struct json_writer j = json_to(&out);

    change_to_json(change, &origin, &j);
    if (!view_is_text(writer_view(&out), want)) {
        fail_msg("%.*s\nis not %s", VIEW_ARG(writer_view(&out)), want);
    }
    writer_fini(&out);
}

static void a_change_is_shown_with_its_values_as_they_are(void **state)
{
    struct relation *relation = orders();
    struct value before[] = {
        text("1"), text("10.50"), text("f"), text("{\"a\": [1]}"), {.kind = VALUE_NULL}};
    struct value after[] = {text("1"),
                            text("10.5000000000000000001"),
                            text("t"),
                            text("{\"a\": [1]}"),
                            {.kind = VALUE_UNKNOWN}};
    struct change change = {
        .kind = CHANGE_UPDATE,
        .relation = relation,
        .before = before,
        .after = after,
        .context = VIEW("{\"user\":\"ann\"}"),
        .place = {7812, 0x16b3, 0x100000010, 0x100000020, 1700000000123456, 3}};

    (void)state;
    assert_shown(&change,
                 "{\"ref\":\"topic:shop.public.orders/0@42\",\"source\":\"shop\",\"schema\":"
                 "\"public\",\"table\":\"orders\",\"key\":\"1\",\"operation\":\"update\","
                 "\"before\":{\"id\":1,\"total\":10.50,\"paid\":false,\"data\":{\"a\": [1]},"
                 "\"note\":null},\"after\":{\"id\":1,\"total\":10.5000000000000000001,\"paid\":"
                 "true,\"data\":{\"a\": [1]}},\"changed\":[\"total\",\"paid\"],\"context\":{"
                 "\"user\":\"ann\"},\"actor\":\"ann\",\"committed_at\":"
                 "\"2023-11-14T22:13:20.123456Z\",\"tx\":7812,\"lsn\":\"0/16B3\","
                 "\"commit_lsn\":\"1/10\",\"position\":3,\"unknown\":[\"note\"]}");
    relation_drop(relation);
}

static void what_cannot_be_known_is_null_and_never_guessed(void **state)
{
    struct relation *relation = orders();
    struct value after[] = {
        text("1"), text("NaN"), {.kind = VALUE_NULL}, text("not json"), text("line\n\"")};
    struct change change = {.kind = CHANGE_UPDATE, .relation = relation, .after = after};

    (void)state;
    assert_shown(&change,
                 "{\"ref\":\"topic:shop.public.orders/0@42\",\"source\":\"shop\",\"schema\":"
                 "\"public\",\"table\":\"orders\",\"key\":\"1\",\"operation\":\"update\","
                 "\"before\":null,\"after\":{\"id\":1,\"total\":\"NaN\",\"paid\":null,\"data\":"
                 "\"not json\",\"note\":\"line\\n\\\"\"},\"changed\":null,\"context\":{},"
                 "\"actor\":null,\"committed_at\":\"1970-01-01T00:00:00.000000Z\",\"tx\":0,"
                 "\"lsn\":\"0/0\",\"commit_lsn\":\"0/0\",\"position\":0,\"unknown\":[]}");
    relation_drop(relation);
}

static void the_actor_is_the_best_name_that_a_context_has(void **state)
{
    static const struct {
        const char *context, *actor;
    } cases[] = {
        {"{\"user_id\":7,\"user\":\"ann\"}", "ann"},
        {"{\"user\":{\"id\":7,\"email\":\"ann@example.com\"}}", "ann@example.com"},
        {"{\"userId\":12345678901234567890}", "12345678901234567890"},
        {"{\"actor\":\"\",\"email\":\"b@example.com\"}", "b@example.com"},
        {"{\"user\":null,\"database_user\":\"app\"}", "app"},
        {"{\"user\":[1],\"path\":\"/x\"}", NULL},
        {"{}", NULL},
        {"{\"user\":\"J\\u00f6rg \\\"x\\\"\"}", "Jörg \"x\""},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        view actor = change_actor(&arena, view_text(cases[i].context));
        assert_int_equal(actor.at != NULL, cases[i].actor != NULL);
        assert_true(!cases[i].actor || view_is_text(actor, cases[i].actor));
    }
    assert_null(change_actor(&arena, (view){0}).at);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_is_shown_with_its_values_as_they_are),
        cmocka_unit_test(what_cannot_be_known_is_null_and_never_guessed),
        cmocka_unit_test(the_actor_is_the_best_name_that_a_context_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
