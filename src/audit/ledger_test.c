/* ledger_test.c - ledgers over a real log in a temporary folder.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "audit/records.h"
#include "base/base.h"

struct world {
    char folder[64];
    struct log_config config;
    struct log *log;
    struct topic *topic;
    struct ledger *ledger;
};

static void open_log(struct world *w)
{
    log_config_preset(&w->config);
    w->config.folder = w->folder;
    w->config.journal_bytes_max = 16 << 20;
    assert_int_equal(log_open(os_real(), &w->config, &w->log), OK);
    assert_int_equal(records_topic(w->log, VIEW("shop.public.orders"), 1, NULL, 0, &w->topic),
                     OK);
    assert_int_equal(ledger_open(w->log, VIEW("shop"), &w->ledger), OK);
}

static void close_log(struct world *w)
{
    ledger_close(w->ledger);
    topic_drop(w->topic);
    log_close(w->log);
    free(w->config.defaults.compression_type);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    snprintf(w->folder, sizeof(w->folder), "/tmp/ledger-test-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    open_log(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    close_log(w);
    assert_int_equal(os_remove_tree(os_real(), w->folder), OK);
    free(w);
    return 0;
}

/* Appends one record and adds the batch that is stored to the digest. */
static int64_t put(struct world *w, const char *value, struct seal_digest *digest)
{
    struct partition *p = topic_partition(w->topic, 0);
    struct record record = {.timestamp_ms = 1, .value = view_text(value)};
    struct buf *bytes = NULL;
    int64_t offset = -1;

    assert_int_equal(records_append(w->log, p, &record, 1, &offset), OK);
    assert_int_equal(log_fetch(w->log, p, offset, 1 << 20, false, &bytes), OK);
    if (digest) {
        seal_digest_add(digest, (view){bytes->bytes, bytes->len});
    }
    buf_drop(bytes);
    return offset;
}

/* One record more, sealed. */
static err seal_one(struct world *w, uint64_t from, uint64_t to, const char *value)
{
    struct seal_digest *digest = seal_digest_new();
    struct seal_range range = {.topic = VIEW("shop.public.orders")};
    struct seal seal = {.from = from, .to = to, .changes = 1, .ranges = &range};

    seal.range_count = 1;
    range.from = put(w, value, digest);
    range.to = range.from + 1;
    seal_digest_end(digest, range.hash);
    seal_digest_free(digest);
    return ledger_seal(w->ledger, &seal);
}

static void begin(struct world *w)
{
    assert_int_equal(ledger_note(w->ledger, "begin", VIEW("{\"lsn\":\"0/64\"}")), OK);
}

static err prove(struct world *w, struct ledger_proof *proof)
{
    return ledger_prove(w->ledger, NULL, NULL, proof);
}

static void what_was_sealed_is_known_after_a_restart(void **state)
{
    struct world *w = *state;
    struct ledger_end before, after;

    begin(w);
    assert_int_equal(
        ledger_note(w->ledger, "system", VIEW("{\"system_id\":\"77\",\"timeline\":3}")), OK);
    assert_int_equal(seal_one(w, 100, 200, "a"), OK);
    assert_int_equal(seal_one(w, 200, 300, "b"), OK);
    ledger_end(w->ledger, &before);
    close_log(w);
    open_log(w);
    ledger_end(w->ledger, &after);
    assert_int_equal(after.to, 300);
    assert_int_equal(after.seals, 2);
    assert_string_equal(after.system_id, "77");
    assert_int_equal(after.timeline, 3);
    assert_memory_equal(before.hash, after.hash, SEAL_HASH_BYTES);
    assert_int_equal(ledger_sealed(w->ledger, VIEW("shop.public.orders"), 0), 2);
    assert_int_equal(seal_one(w, 300, 400, "c"), OK);

    struct ledger_proof proof;
    assert_int_equal(prove(w, &proof), OK);
    assert_int_equal(proof.seals, 3);
    assert_int_equal(proof.records, 3);
    assert_int_equal(proof.from, 100);
    assert_int_equal(proof.to, 400);
}

static void a_seal_goes_on_where_the_last_one_ended(void **state)
{
    struct world *w = *state;

    begin(w);
    assert_int_equal(seal_one(w, 100, 200, "a"), OK);
    assert_int_equal(seal_one(w, 150, 300, "b"), ERR_INVALID); /* WAL twice */
    assert_int_equal(seal_one(w, 200, 300, "c"), ERR_INVALID); /* "b" is in no seal */
    assert_non_null(strstr(fault_here.text, "sealed up to 1"));
}

static void a_gap_is_covered_and_counted(void **state)
{
    struct world *w = *state;
    struct ledger_proof proof;

    begin(w);
    assert_int_equal(seal_one(w, 100, 200, "a"), OK);
    assert_int_equal(ledger_gap(w->ledger, 200, 900, "the slot was lost"), OK);
    assert_int_equal(ledger_gap(w->ledger, 200, 900, "twice"), ERR_INVALID);
    assert_int_equal(seal_one(w, 900, 950, "b"), OK);
    assert_int_equal(prove(w, &proof), OK);
    assert_int_equal(proof.gaps, 1);
    assert_int_equal(proof.to, 950);
}

static void records_that_are_not_those_sealed_break_the_proof(void **state)
{
    struct world *w = *state;
    struct ledger_proof proof;
    struct seal_range range = {.topic = VIEW("shop.public.orders")};
    struct seal seal = {.from = 100, .to = 200, .changes = 1, .ranges = &range};

    begin(w);
    range.from = put(w, "altered", NULL);
    range.to = range.from + 1;
    seal.range_count = 1;
    assert_int_equal(ledger_seal(w->ledger, &seal), OK);
    assert_int_equal(prove(w, &proof), ERR_CORRUPT);
    assert_non_null(strstr(fault_here.text, "seal 1"));
    assert_non_null(strstr(fault_here.text, "not those that were sealed"));
}

/* Appends to the ledger's own topic behind its back: a copy of a record with a byte changed. */
static void forge(struct world *w, int64_t offset, const char *find, const char *replace)
{
    struct topic *topic = log_topic(w->log, VIEW("__ledger.shop"));
    struct records_walk walk;
    struct record record;
    bool more = false;

    records_walk_init(&walk, w->log, topic_partition(topic, 0), offset, -1);
    assert_int_equal(records_walk_next(&walk, &record, &more), OK);
    assert_true(more);
    char *text = text_of(record.value);
    char *at = strstr(text, find);
    assert_non_null(at);
    memcpy(at, replace, strlen(replace));
    record.value = view_text(text);
    assert_int_equal(records_append(w->log, topic_partition(topic, 0), &record, 1, NULL), OK);
    records_walk_fini(&walk);
    free(text);
    topic_drop(topic);
}

static void an_altered_seal_is_named(void **state)
{
    struct world *w = *state;
    struct ledger_proof proof;

    begin(w);
    assert_int_equal(seal_one(w, 100, 200, "a"), OK);
    forge(w, 1, "\"number\":1", "\"number\":2");
    assert_int_equal(prove(w, &proof), ERR_CORRUPT);
    assert_non_null(strstr(fault_here.text, "own hash"));
}

static void a_repeated_seal_is_out_of_order(void **state)
{
    struct world *w = *state;
    struct ledger_proof proof;

    begin(w);
    assert_int_equal(seal_one(w, 100, 200, "a"), OK);
    forge(w, 1, "\"number\":1", "\"number\":1");
    assert_int_equal(prove(w, &proof), ERR_CORRUPT);
    assert_non_null(strstr(fault_here.text, "seal 1"));
}

static struct relation *some_table(uint32_t type)
{
    struct column columns[] = {{.name = VIEW("id"), .type = 23, .modifier = -1, .key = true},
                               {.name = VIEW("v"), .type = type, .modifier = -1}};
    struct relation r = {.oid = 5,
                         .identity = 'd',
                         .schema = VIEW("public"),
                         .name = VIEW("orders"),
                         .columns = columns,
                         .count = 2};

    return relation_new(&r);
}

static void tables_have_versions_that_survive(void **state)
{
    struct world *w = *state;
    struct relation *a = some_table(25), *b = some_table(1043), *recorded = NULL;

    assert_int_equal(ledger_describe(w->ledger, a, &recorded), OK);
    assert_int_equal(recorded->version, 1);
    assert_int_equal(ledger_describe(w->ledger, a, &recorded), OK);
    assert_int_equal(recorded->version, 1);
    assert_int_equal(ledger_describe(w->ledger, b, &recorded), OK);
    assert_int_equal(recorded->version, 2);
    close_log(w);
    open_log(w);
    assert_true(relation_is(ledger_relation(w->ledger, 1), a));
    assert_true(relation_is(ledger_relation(w->ledger, 2), b));
    assert_null(ledger_relation(w->ledger, 3));
    struct relation *newest = ledger_table(w->ledger, VIEW("public"), VIEW("orders"));
    assert_int_equal(newest->version, 2);
    relation_drop(newest);
    relation_drop(a);
    relation_drop(b);
}

static void a_walk_gives_every_entry_and_waits_for_more(void **state)
{
    struct world *w = *state;
    struct ledger_walk *walk = ledger_walk_new(w->ledger, 0);
    struct ledger_entry entry;
    bool more = true;

    assert_int_equal(ledger_walk_next(walk, 20, &entry, &more), OK);
    assert_false(more);
    begin(w);
    assert_int_equal(seal_one(w, 100, 200, "a"), OK);
    assert_int_equal(ledger_walk_next(walk, 1000, &entry, &more), OK);
    assert_true(more);
    assert_int_equal(entry.kind, LEDGER_NOTE);
    assert_true(view_is_text(entry.words, "begin"));
    assert_int_equal(ledger_walk_next(walk, 0, &entry, &more), OK);
    assert_int_equal(entry.kind, LEDGER_SEAL);
    assert_int_equal(entry.seal.range_count, 1);
    assert_int_equal(entry.seal.ranges[0].to, 1);
    assert_int_equal(ledger_walk_next(walk, 0, &entry, &more), OK);
    assert_false(more);
    ledger_walk_free(walk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(what_was_sealed_is_known_after_a_restart),
        T(a_seal_goes_on_where_the_last_one_ended),
        T(a_gap_is_covered_and_counted),
        T(records_that_are_not_those_sealed_break_the_proof),
        T(an_altered_seal_is_named),
        T(a_repeated_seal_is_out_of_order),
        T(tables_have_versions_that_survive),
        T(a_walk_gives_every_entry_and_waits_for_more),
#undef T
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
