/* envelope_shape_test.c - which records a change becomes, and what is refused when read.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "audit/envelope.h"

#define WORDS(literal)                                                                         \
    {                                                                                          \
        (const uint8_t *)(literal), sizeof(literal) - 1                                        \
    }

static const struct envelope_options options = {
    .source = WORDS("shop"), .database = WORDS("db"), .tombstones = true};
static const struct envelope_source origin = {.now_ms = 1000, .last_commit = 7};
static const struct change_place place = {
    .xid = 5, .lsn = 90, .commit_lsn = 100, .end_lsn = 110, .committed_us = 1234567, .seq = 3};

struct bench {
    struct arena arena;
    struct envelope_out out;
    struct relation *relation;
};

static int make(void **state)
{
    struct bench *b = xcalloc(1, sizeof(*b));
    struct column columns[] = {{.name = VIEW("id"), .type = 23, .modifier = -1, .key = true},
                               {.name = VIEW("note"), .type = 25, .modifier = -1}};
    struct relation relation = {.version = 4,
                                .identity = 'd',
                                .schema = VIEW("public"),
                                .name = VIEW("orders"),
                                .columns = columns,
                                .count = 2};

    b->relation = relation_new(&relation);
    b->out.arena = &b->arena;
    *state = b;
    return 0;
}

static int unmake(void **state)
{
    struct bench *b = *state;

    envelope_out_fini(&b->out);
    relation_drop(b->relation);
    arena_fini(&b->arena);
    free(b);
    return 0;
}

static struct value text(const char *words)
{
    return (struct value){VALUE_TEXT, view_text(words)};
}

static void assert_text(view got, const char *want)
{
    if (!view_is_text(got, want)) {
        fail_msg("%.*s is not %s", VIEW_ARG(got), want);
    }
}

static bool has(view in, const char *part)
{
    return memmem(in.at, in.len, part, strlen(part)) != NULL;
}

static void write_update(struct bench *b, const char *old_id, const char *new_id)
{
    struct value before[] = {text(old_id), {.kind = VALUE_ABSENT}};
    struct value after[] = {text(new_id), text("x")};
    struct change change = {.kind = CHANGE_UPDATE,
                            .relation = b->relation,
                            .before = before,
                            .after = after,
                            .place = place};

    envelope_write(&options, &origin, &change, &b->out);
}

static void an_update_that_keeps_its_key_is_one_record(void **state)
{
    struct bench *b = *state;

    write_update(b, "1", "1");
    assert_int_equal(b->out.count, 1);
    assert_text(b->out.records[0].key, "{\"id\":1}");
    assert_true(has(b->out.records[0].value, "\"op\":\"u\""));
    assert_true(has(b->out.records[0].value, "\"before\":{\"id\":1},"));
}

static void a_changed_key_is_delete_tombstone_and_create(void **state)
{
    struct bench *b = *state;

    write_update(b, "1", "2");
    assert_int_equal(b->out.count, 3);
    const struct record *r = b->out.records;
    assert_text(r[0].key, "{\"id\":1}");
    assert_text(r[1].key, "{\"id\":1}");
    assert_text(r[2].key, "{\"id\":2}");
    assert_true(has(r[0].value, "\"op\":\"d\"") && has(r[2].value, "\"op\":\"c\""));
    assert_null(r[1].value.at);
    assert_text(r[0].headers[1].key, "__debezium.newkey");
    assert_text(r[0].headers[1].value, "{\"id\":2}");
    assert_text(r[2].headers[1].key, "__debezium.oldkey");
    assert_text(r[2].headers[1].value, "{\"id\":1}");
}

static void each_record_of_a_change_tells_its_place(void **state)
{
    struct bench *b = *state;

    write_update(b, "1", "2");
    for (size_t i = 0; i < b->out.count; i++) {
        view header = b->out.records[i].headers[0].value;
        assert_true(has(header, "{\"v\":1,\"table\":4,\"seq\":3,\"commit\":100,\"end\":110"));
    }
}

static void a_delete_is_followed_by_its_tombstone_when_that_is_wanted(void **state)
{
    struct bench *b = *state;
    struct value before[] = {text("1"), {.kind = VALUE_ABSENT}};
    struct change change = {
        .kind = CHANGE_DELETE, .relation = b->relation, .before = before, .place = place};
    struct envelope_options without = options;

    envelope_write(&options, &origin, &change, &b->out);
    assert_int_equal(b->out.count, 2);
    assert_null(b->out.records[1].value.at);
    without.tombstones = false;
    envelope_write(&without, &origin, &change, &b->out);
    assert_int_equal(b->out.count, 1);
}

static void a_table_whose_key_is_all_its_columns_has_null_keys(void **state)
{
    struct bench *b = *state;
    struct value after[] = {text("1"), text("x")};
    struct change change = {.kind = CHANGE_CREATE, .after = after, .place = place};

    b->relation->identity = 'f';
    b->relation->columns[1].key = true;
    change.relation = b->relation;
    envelope_write(&options, &origin, &change, &b->out);
    assert_null(b->out.records[0].key.at);
}

static void a_truncate_has_neither_key_nor_rows(void **state)
{
    struct bench *b = *state;
    struct change change = {
        .kind = CHANGE_TRUNCATE, .relation = b->relation, .place = place, .cascade = true};

    envelope_write(&options, &origin, &change, &b->out);
    assert_int_equal(b->out.count, 1);
    assert_null(b->out.records[0].key.at);
    assert_true(has(b->out.records[0].value, "{\"before\":null,\"after\":null,"));
    assert_true(has(b->out.records[0].headers[0].value, "\"cascade\":true"));
}

static void the_transaction_block_counts_when_it_is_wanted(void **state)
{
    struct bench *b = *state;
    struct value after[] = {text("1"), text("x")};
    struct change change = {
        .kind = CHANGE_CREATE, .relation = b->relation, .after = after, .place = place};
    struct envelope_source counted = origin;

    counted.total_order = 9;
    counted.collection_order = 2;
    envelope_write(&options, &counted, &change, &b->out);
    assert_true(has(b->out.records[0].value,
                    "\"transaction\":{\"id\":\"5:100\",\"total_order\":9,"
                    "\"data_collection_order\":2}"));
}

static void the_first_commit_has_none_before_it(void **state)
{
    struct bench *b = *state;
    struct change change = {.kind = CHANGE_TRUNCATE, .relation = b->relation, .place = place};
    struct envelope_source first = origin;

    first.last_commit = 0;
    envelope_write(&options, &first, &change, &b->out);
    assert_true(has(b->out.records[0].value, "\"sequence\":\"[null,\\\"90\\\"]\""));
}

static void what_was_not_sent_has_a_placeholder_of_its_type(void **state)
{
    struct bench *b = *state;
    static const struct {
        uint32_t type;
        const char *want;
    } cases[] = {
        {25, "\"note\":\"__debezium_unavailable_value\""},
        {1009, "\"note\":[\"__debezium_unavailable_value\"]"},
        {17, "\"note\":\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\""},
        {1007, "\"note\":[95,95,100,101,98,101,122,105,117,109,95,117"},
        {2951, "\"note\":[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"]"},
        {1700, "\"note\":{\"scale\":0,\"value\":\"X19k"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct value after[] = {text("1"), {.kind = VALUE_UNKNOWN}};
        struct relation *relation = relation_new(b->relation);
        relation->columns[1].type = cases[i].type;
        struct change change = {
            .kind = CHANGE_CREATE, .relation = relation, .after = after, .place = place};
        envelope_write(&options, &origin, &change, &b->out);
        assert_true(has(b->out.records[0].value, cases[i].want));
        assert_true(
            has(b->out.records[0].headers[0].value, "\"unknown\":{\"after\":[\"note\"]}"));
        relation_drop(relation);
    }
}

static void topics_take_no_character_that_kafka_refuses(void **state)
{
    struct relation relation = {.schema = VIEW("My Schema"), .name = VIEW("größe$1")};
    struct writer out = {0};

    (void)state;
    envelope_topic(&options, &relation, &out);
    assert_text(writer_view(&out), "shop.My_Schema.gr__e_1");
    writer_reset(&out);
    envelope_topic(&options, NULL, &out);
    assert_text(writer_view(&out), "shop.message");
    writer_reset(&out);
    envelope_transaction_topic(&options, &out);
    assert_text(writer_view(&out), "shop.transaction");
    writer_reset(&out);
    envelope_heartbeat_topic(&options, &out);
    assert_text(writer_view(&out), "__debezium-heartbeat.shop");
    writer_fini(&out);
}

static void transactions_begin_and_end_with_a_record(void **state)
{
    struct bench *b = *state;
    struct envelope_collection parts[] = {{VIEW("s1"), VIEW("a"), 1},
                                          {VIEW("s2"), VIEW("a"), 2}};

    envelope_begin(&options, &origin, &place, &b->out);
    assert_text(b->out.records[0].key, "{\"id\":\"5:100\"}");
    assert_text(b->out.records[0].value,
                "{\"status\":\"BEGIN\",\"id\":\"5:100\",\"ts_ms\":1234,\"event_count\":null,"
                "\"data_collections\":null}");
    envelope_end(&options, &origin, &place, parts, 2, &b->out);
    assert_text(b->out.records[0].value,
                "{\"status\":\"END\",\"id\":\"5:100\",\"ts_ms\":1234,\"event_count\":3,"
                "\"data_collections\":[{\"data_collection\":\"s1.a\",\"event_count\":1},"
                "{\"data_collection\":\"s2.a\",\"event_count\":2}]}");
    envelope_heartbeat(&options, 77, &b->out);
    assert_text(b->out.records[0].key, "{\"serverName\":\"shop\"}");
    assert_text(b->out.records[0].value, "{\"ts_ms\":77}");
}

static struct relation *find(void *self, uint32_t version)
{
    struct relation *relation = self;

    return relation->version == version ? relation : NULL;
}

static void records_that_do_not_fit_are_refused(void **state)
{
    struct bench *b = *state;
    const struct relation_finder finder = {find, b->relation};
    static const struct {
        const char *header, *value;
        err want;
    } cases[] = {
        {"{\"v\":1,\"table\":4}", "{\"source\":{},\"op\":\"c\",\"after\":{\"id\":1}}", OK},
        {"{\"v\":2,\"table\":4}", "{\"source\":{},\"op\":\"c\",\"after\":{\"id\":1}}",
         ERR_CORRUPT},
        {"{\"v\":1,\"table\":9}", "{\"source\":{},\"op\":\"c\"}", ERR_NOT_FOUND},
        {"{\"v\":1,\"table\":4}", "{\"source\":{},\"op\":\"x\"}", ERR_CORRUPT},
        {"{\"v\":1,\"table\":4}", "{\"op\":\"c\",\"after\":{\"id\":1}}", ERR_CORRUPT},
        {"{\"v\":1,\"table\":4}", "{\"source\":{},\"op\":\"c\",\"after\":{\"no\":1}}",
         ERR_CORRUPT},
        {"{\"v\":1,\"table\":4}", "{\"source\":{},\"op\":\"c\",\"after\":{\"id\":[]}}",
         ERR_CORRUPT},
        {"{\"v\":1,\"table\":4}", "{\"source\":{},\"op\":\"c\",\"after\":{\"id\":1}",
         ERR_CORRUPT},
        {"{\"v\":1,\"context\":[]}", "{}", ERR_CORRUPT},
        {"{\"v\":1,\"table\":4}", "{\"source\":{},\"op\":\"c\",\"after\":5}", ERR_CORRUPT},
        {"{\"v\":1,\"table\":4}", "{\"source\":{},\"op\":\"d\"}", ERR_CORRUPT},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct header header = {VIEW("tidemark"), view_text(cases[i].header)};
        struct record record = {
            .value = view_text(cases[i].value), .headers = &header, .header_count = 1};
        struct change change;
        bool is_change;
        err e = envelope_read(&b->arena, &record, &finder, &change, &is_change);
        assert_int_equal(e, cases[i].want);
        assert_int_equal(is_change, e == OK);
    }
}

static void a_tombstone_of_somebody_else_is_no_change(void **state)
{
    struct bench *b = *state;
    struct record record = {.key = VIEW("k")};
    struct change change;
    bool is_change = true;

    assert_int_equal(envelope_read(&b->arena, &record, &(struct relation_finder){find, NULL},
                                   &change, &is_change),
                     OK);
    assert_false(is_change);
    assert_true(change.place.seq == -1);
}

int main(void)
{
#define SHAPE(name) cmocka_unit_test_setup_teardown(name, make, unmake)
    const struct CMUnitTest tests[] = {
        SHAPE(an_update_that_keeps_its_key_is_one_record),
        SHAPE(a_changed_key_is_delete_tombstone_and_create),
        SHAPE(each_record_of_a_change_tells_its_place),
        SHAPE(a_delete_is_followed_by_its_tombstone_when_that_is_wanted),
        SHAPE(a_table_whose_key_is_all_its_columns_has_null_keys),
        SHAPE(a_truncate_has_neither_key_nor_rows),
        SHAPE(the_transaction_block_counts_when_it_is_wanted),
        SHAPE(the_first_commit_has_none_before_it),
        SHAPE(what_was_not_sent_has_a_placeholder_of_its_type),
        SHAPE(topics_take_no_character_that_kafka_refuses),
        SHAPE(transactions_begin_and_end_with_a_record),
        SHAPE(records_that_do_not_fit_are_refused),
        SHAPE(a_tombstone_of_somebody_else_is_no_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
