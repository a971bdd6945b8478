/* rows_test.c - a little table's history on a real log: rows walked, tables folded, traced.
 *
 * The changes are what a server with default identity sends: no image from before but a changed
 * key, and a large value that did not change is not sent. A plain array of the rows after each
 * transaction says what must come out. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/asof.h"
#include "audit/inside.h"
#include "audit/lineage.h"
#include "audit/records.h"
#include "audit/retention.h"
#include "audit/row.h"

#define SEED 20261120
#define PARTITIONS 3
#define KEYS 12
#define TRANSACTIONS 250
#define BEGIN_US INT64_C(1700000000000000)
#define STEP_US 1000000

enum { ID, STATUS, TOTAL, NOTE, COLUMNS };

static struct column columns[COLUMNS] = {
    {.name = {(const uint8_t *)"id", 2}, .type = 23, .modifier = -1, .key = true},
    {.name = {(const uint8_t *)"status", 6}, .type = 25, .modifier = -1},
    {.name = {(const uint8_t *)"total", 5}, .type = 1700, .modifier = -1},
    {.name = {(const uint8_t *)"note", 4}, .type = 25, .modifier = -1},
};

struct world {
    char folder[64], path[96];
    struct log_config config;
    struct audit audit; /* only what is asked of it: the log */
    struct source source;
    struct topic *topic;
    struct relation *relation;
    uint64_t lsn, random;
    uint32_t xid;
    struct arena arena; /* of the transaction under way, and of the model */
    struct change *changes[64];
    size_t count;
    view context;
};

static uint32_t chance(struct world *w, uint32_t below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(w->random >> 33) % below;
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    struct relation r = {.oid = 100,
                         .identity = 'd',
                         .columns = columns,
                         .schema = VIEW("public"),
                         .name = VIEW("orders"),
                         .count = COLUMNS};

    snprintf(w->folder, sizeof(w->folder), "/tmp/rows-test-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof(w->path), "%s/view.sqlite", w->folder);
    log_config_preset(&w->config);
    w->config.folder = w->folder;
    w->config.journal_bytes_max = 16 << 20;
    assert_int_equal(log_open(os_real(), &w->config, &w->audit.log), OK);
    w->audit.os = os_real();
    w->source.name = xstrdup("shop");
    w->source.audit = &w->audit;
    assert_int_equal(ledger_open(w->audit.log, VIEW("shop"), &w->source.ledger), OK);
    assert_int_equal(ledger_note(w->source.ledger, "begin", VIEW("{\"lsn\":\"0/64\"}")), OK);
    assert_int_equal(ledger_describe(w->source.ledger, &r, &w->relation), OK);
    assert_int_equal(
        records_topic(w->audit.log, VIEW("shop.public.orders"), PARTITIONS, NULL, 0, &w->topic),
        OK);
    struct trail_config config = {.os = os_real(),
                                  .log = w->audit.log,
                                  .ledger = w->source.ledger,
                                  .source = VIEW("shop"),
                                  .path = w->path,
                                  .hot_ms = -1,
                                  .memory_bytes = 8 << 20};
    assert_int_equal(trail_open(&config, &w->source.trail), OK);
    w->lsn = 0x64;
    w->random = SEED;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    trail_close(w->source.trail);
    ledger_close(w->source.ledger);
    topic_drop(w->topic);
    log_close(w->audit.log);
    free(w->config.defaults.compression_type);
    free(w->source.name);
    arena_fini(&w->arena);
    assert_int_equal(os_remove_tree(os_real(), w->folder), OK);
    free(w);
    return 0;
}

/* --- making history --- */

/* "?" is not sent, NULL is null. */
static struct value *image(struct world *w, const char *const texts[COLUMNS])
{
    struct value *made = arena_take(&w->arena, COLUMNS * sizeof(*made));

    for (int i = 0; i < COLUMNS; i++) {
        made[i].kind = !texts[i]                ? VALUE_NULL
                       : !strcmp(texts[i], "?") ? VALUE_UNKNOWN
                                                : VALUE_TEXT;
        made[i].text = texts[i] ? arena_copy(&w->arena, view_text(texts[i])) : (view){0};
    }
    return made;
}

static struct value *key_image(struct world *w, const char *key)
{
    struct value *made = arena_take(&w->arena, COLUMNS * sizeof(*made));

    made[ID] = (struct value){VALUE_TEXT, arena_copy(&w->arena, view_text(key))};
    return made;
}

static struct change *add(struct world *w, enum change_kind kind)
{
    struct change *c = arena_take(&w->arena, sizeof(*c));

    assert_in_range(w->count, 0, COUNT(w->changes) - 1);
    c->kind = kind;
    c->relation = w->relation;
    w->changes[w->count++] = c;
    return c;
}

static void insert(struct world *w, const char *id, const char *status, const char *total,
                   const char *note)
{
    add(w, CHANGE_CREATE)->after = image(w, (const char *const[]){id, status, total, note});
}

static void update(struct world *w, const char *old_id, const char *id, const char *status,
                   const char *total, const char *note)
{
    struct change *c = add(w, CHANGE_UPDATE);

    c->after = image(w, (const char *const[]){id, status, total, note});
    c->before = strcmp(old_id, id) ? key_image(w, old_id) : NULL;
}

static void delete (struct world *w, const char *id)
{
    add(w, CHANGE_DELETE)->before = key_image(w, id);
}

static void write_records(struct arena *arena, struct change *c, int partition,
                          struct record *records, size_t *counts)
{
    static const struct envelope_options options = {.source = {(const uint8_t *)"shop", 4},
                                                    .database = {(const uint8_t *)"d", 1},
                                                    .tombstones = true};
    struct envelope_source source = {.now_ms = 1};
    struct envelope_out out = {.arena = arena};

    source.snapshot = c->kind == CHANGE_READ ? "true" : NULL;
    envelope_write(&options, &source, c, &out);
    for (size_t i = 0; i < out.count; i++) {
        records[(size_t)partition * 256 + counts[partition]++] = out.records[i];
    }
    envelope_out_fini(&out);
}

static void append(struct world *w, int partition, const struct record *records, size_t count,
                   struct seal_range *range)
{
    struct partition *p = topic_partition(w->topic, partition);
    struct seal_digest *digest = seal_digest_new();
    struct buf *bytes = NULL;

    assert_int_equal(records_append(w->audit.log, p, records, count, &range->from), OK);
    assert_int_equal(log_fetch(w->audit.log, p, range->from, 64 << 20, false, &bytes), OK);
    seal_digest_add(digest, (view){bytes->bytes, bytes->len});
    seal_digest_end(digest, range->hash);
    seal_digest_free(digest);
    buf_drop(bytes);
    range->topic = view_text(w->topic->name);
    range->partition = partition;
    range->to = range->from + (int64_t)count;
}

/* Seals what was added as one transaction; gives its commit's LSN. */
static uint64_t commit(struct world *w, const char *context)
{
    struct record *records = xcalloc(PARTITIONS * 256, sizeof(*records));
    size_t counts[PARTITIONS] = {0};
    struct seal_range ranges[PARTITIONS] = {0};
    struct arena arena = {0};
    struct seal seal = {.from = w->lsn, .ranges = ranges, .transactions = 1};
    struct writer key = {0};

    w->lsn += 1000;
    w->xid++;
    for (size_t i = 0; i < w->count; i++) {
        struct change *c = w->changes[i];
        c->place = (struct change_place){.xid = w->xid,
                                         .lsn = w->lsn - 900 + i,
                                         .commit_lsn = w->lsn - 10,
                                         .end_lsn = w->lsn,
                                         .committed_us = BEGIN_US + (int64_t)w->xid * STEP_US,
                                         .seq = (int64_t)i};
        c->context = context ? view_text(context) : (view){0};
        writer_reset(&key);
        change_key_text(c, &key);
        int partition = key.len ? key.at[key.len - 1] % PARTITIONS : 0;
        write_records(&arena, c, partition, records, counts);
    }
    for (int i = 0; i < PARTITIONS; i++) {
        if (counts[i]) {
            append(w, i, &records[i * 256], counts[i], &ranges[seal.range_count++]);
        }
    }
    seal.to = w->lsn;
    seal.changes = (int64_t)w->count;
    assert_int_equal(ledger_seal(w->source.ledger, &seal), OK);
    assert_int_equal(trail_catch_up(w->source.trail, 20000), OK);
    w->count = 0;
    arena_fini(&arena);
    writer_fini(&key);
    free(records);
    return w->lsn - 10;
}

/* --- looking --- */

static void walk(struct world *w, const char *ref_text, uint64_t until,
                 err (*each)(void *self, const struct row_entry *entry), void *self,
                 struct row_life *life)
{
    struct arena arena = {0};
    struct ref ref;
    struct row_query query = {.trail = w->source.trail,
                              .ledger = w->source.ledger,
                              .ref = &ref,
                              .until = {.lsn = until, .at_ms = -1}};

    assert_int_equal(ref_parse(&arena, view_text(ref_text), &ref), OK);
    if (row_walk(&query, each, self, life)) {
        fail_msg("%s", fault_here.text);
    }
    arena_fini(&arena);
}

static void text_value(struct value value, struct writer *out)
{
    if (value.kind == VALUE_TEXT) {
        write_view(out, value.text);
    } else {
        write_view(out, value.kind == VALUE_NULL      ? VIEW("null")
                        : value.kind == VALUE_UNKNOWN ? VIEW("?")
                                                      : VIEW("-"));
    }
}

/* "1 created -/new;" for each entry: life, step, status old and new. */
static err tell(void *self, const struct row_entry *entry)
{
    struct writer *out = self;

    write_format(out, "%d %s", entry->life, row_step_name(entry->step));
    if (!view_is(entry->key, entry->key_before)) {
        write_format(out, " %.*s>%.*s", VIEW_ARG(entry->key_before), VIEW_ARG(entry->key));
    }
    if (entry->old) {
        write_u8(out, ' ');
        text_value(entry->old[STATUS], out);
        write_u8(out, '/');
        text_value(entry->new[STATUS], out);
    }
    write_view(out, VIEW("; "));
    return OK;
}

static void expect_story(struct world *w, const char *ref, const char *story)
{
    struct writer out = {0};
    struct row_life life;

    walk(w, ref, UINT64_MAX, tell, &out, &life);
    write_u8(&out, '\0');
    assert_string_equal((const char *)out.at, story);
    row_life_fini(&life);
    writer_fini(&out);
}

static void expect_last(struct world *w, const char *ref, uint64_t until, bool exists,
                        const char *values)
{
    struct writer out = {0};
    struct row_life life;

    walk(w, ref, until, NULL, NULL, &life);
    assert_int_equal(life.exists, exists);
    for (int i = 0; exists && i < COLUMNS; i++) {
        write_view(&out, i ? VIEW(" ") : VIEW(""));
        text_value(life.last.values[i], &out);
    }
    write_u8(&out, '\0');
    assert_string_equal((const char *)out.at, values);
    row_life_fini(&life);
    writer_fini(&out);
}

/* --- tests --- */

static void a_row_is_told_from_its_creation_to_its_end(void **state)
{
    struct world *w = *state;

    insert(w, "42", "new", "5", "long");
    uint64_t created = commit(w, NULL);
    update(w, "42", "42", "paid", "5", "?");
    insert(w, "43", "other", "1", NULL);
    uint64_t paid = commit(w, NULL);
    update(w, "42", "42", NULL, "5", "longer");
    uint64_t emptied = commit(w, NULL);
    delete (w, "42");
    commit(w, NULL);
    insert(w, "42", "again", "7", NULL);
    commit(w, NULL);
    expect_story(
        w, "row:shop.public.orders/42",
        "1 created -/new; 1 changed new/paid; 1 changed paid/null; 1 deleted null/null; "
        "2 created -/again; ");
    expect_last(w, "row:shop.public.orders/42", created - 1, false, "");
    expect_last(w, "row:shop.public.orders/42", created, true, "42 new 5 long");
    expect_last(w, "row:shop.public.orders/42", paid, true, "42 paid 5 long");
    expect_last(w, "row:shop.public.orders/42", emptied, true, "42 null 5 longer");
    expect_last(w, "row:shop.public.orders/42", UINT64_MAX, true, "42 again 7 null");
}

static void a_changed_key_is_followed_both_ways(void **state)
{
    struct world *w = *state;

    insert(w, "7", "new", "1", "text");
    commit(w, NULL);
    update(w, "7", "42", "moved", "1", "?");
    commit(w, NULL);
    update(w, "42", "42", "there", "1", "?");
    commit(w, NULL);
    update(w, "42", "50", "gone", "1", "?");
    commit(w, NULL);
    update(w, "50", "50", "on", "2", "?");
    commit(w, NULL);
    static const char *const story =
        "1 created -/new; 1 key changed 7>42 new/moved; 1 changed moved/there; "
        "1 key changed 42>50 there/gone; 1 changed gone/on; ";
    expect_story(w, "row:shop.public.orders/42", story);
    expect_story(w, "row:shop.public.orders/7", story);
    expect_story(w, "row:shop.public.orders/50", story);
    expect_last(w, "row:shop.public.orders/42", UINT64_MAX, true, "50 on 2 text");
    insert(w, "42", "second", "1", NULL);
    commit(w, NULL);
    expect_story(w, "row:shop.public.orders/42",
                 "1 created -/new; 1 key changed 7>42 new/moved; 1 changed moved/there; "
                 "1 key changed 42>50 there/gone; 2 created -/second; ");
}

static void a_truncate_ends_all_lives(void **state)
{
    struct world *w = *state;

    insert(w, "1", "a", "1", NULL);
    insert(w, "2", "b", "1", NULL);
    delete (w, "2");
    commit(w, NULL);
    add(w, CHANGE_TRUNCATE);
    commit(w, NULL);
    expect_story(w, "row:shop.public.orders/1", "1 created -/a; 1 truncated; ");
    expect_story(w, "row:shop.public.orders/2", "1 created -/b; 1 deleted b/b; ");
    insert(w, "1", "c", "1", NULL);
    commit(w, NULL);
    expect_story(w, "row:shop.public.orders/1", "1 created -/a; 1 truncated; 2 created -/c; ");
}

static void what_was_never_told_is_unknown(void **state)
{
    struct world *w = *state;

    update(w, "9", "9", "late", "5", "?");
    commit(w, NULL);
    expect_story(w, "row:shop.public.orders/9", "1 changed ?/late; ");
    expect_last(w, "row:shop.public.orders/9", UINT64_MAX, true, "9 late 5 ?");
}

/* --- against a model --- */

struct model_row {
    bool there;
    const char *values[COLUMNS];
};
struct model {
    struct model_row rows[KEYS];
    uint64_t lsn;
};

static const char *number(struct world *w, uint32_t n)
{
    return arena_format(&w->arena, "%u", n);
}

static void random_step(struct world *w, struct model *m)
{
    uint32_t at = chance(w, KEYS), to = chance(w, KEYS);
    struct model_row *row = &m->rows[at];
    bool large = chance(w, 3) == 0;

    if (!row->there) {
        *row = (struct model_row){
            true, {number(w, at), number(w, w->xid), "1", chance(w, 4) ? number(w, at) : NULL}};
        insert(w, row->values[ID], row->values[STATUS], row->values[TOTAL], row->values[NOTE]);
    } else if (chance(w, 5) == 0) {
        delete (w, row->values[ID]);
        row->there = false;
    } else if (chance(w, 4) == 0 && !m->rows[to].there) {
        m->rows[to] = *row;
        row->there = false;
        m->rows[to].values[ID] = number(w, to);
        update(w, row->values[ID], m->rows[to].values[ID], row->values[STATUS],
               row->values[TOTAL], row->values[NOTE] ? "?" : NULL);
    } else if (chance(w, 100) == 0) {
        add(w, CHANGE_TRUNCATE);
        memset(m->rows, 0, sizeof(m->rows));
    } else {
        row->values[STATUS] = chance(w, 5) ? number(w, w->xid) : NULL;
        row->values[NOTE] = large ? number(w, w->xid * 7) : row->values[NOTE];
        update(w, row->values[ID], row->values[ID], row->values[STATUS], row->values[TOTAL],
               large || !row->values[NOTE] ? row->values[NOTE] : "?");
    }
}

static bool value_is(struct value value, const char *text)
{
    return text ? value.kind == VALUE_TEXT && view_is_text(value.text, text)
                : value.kind == VALUE_NULL;
}

struct comparing {
    const struct model *model;
    uint32_t next;
    int64_t rows;
};

static err compare_row(void *self, view key, const struct value *values)
{
    struct comparing *c = self;

    (void)key;
    while (c->next < KEYS && !c->model->rows[c->next].there) {
        c->next++;
    }
    assert_in_range(c->next, 0, KEYS - 1);
    for (int i = 0; i < COLUMNS; i++) {
        assert_true(value_is(values[i], c->model->rows[c->next].values[i]));
    }
    c->next++;
    c->rows++;
    return OK;
}

static void compare_table(struct world *w, const struct model *m)
{
    struct ref table = {.schema = VIEW("public"), .table = VIEW("orders")};
    struct asof_query query = {.source = &w->source,
                               .table = &table,
                               .until = {.lsn = m->lsn, .at_ms = -1},
                               .path = ""};
    struct comparing c = {.model = m};
    struct asof_about about;
    struct asof *asof;

    if (asof_fold(&query, &asof)) {
        fail_msg("%s", fault_here.text);
    }
    assert_int_equal(asof_rows(asof, (view){0}, compare_row, &c), OK);
    while (c.next < KEYS) {
        assert_false(m->rows[c.next++].there);
    }
    asof_about(asof, &about);
    assert_int_equal(about.rows, c.rows);
    assert_int_equal(about.unknown, 0);
    asof_close(asof);
}

static void compare_one(struct world *w, const struct model *m, uint32_t key)
{
    struct row_life life;
    char ref[64];

    snprintf(ref, sizeof(ref), "row:shop.public.orders/%u", key);
    walk(w, ref, m->lsn, NULL, NULL, &life);
    view now = writer_view(&life.key);
    bool here = life.exists && view_is_text(now, number(w, key));
    assert_int_equal(here, m->rows[key].there);
    for (int i = 0; here && i < COLUMNS; i++) {
        assert_true(value_is(life.last.values[i], m->rows[key].values[i]));
    }
    row_life_fini(&life);
}

static void any_table_and_row_is_as_it_was_at_any_commit(void **state)
{
    struct world *w = *state;
    struct model *models = xcalloc(TRANSACTIONS, sizeof(*models));

    print_message("seed %d\n", SEED);
    for (int t = 0; t < TRANSACTIONS; t++) {
        models[t] = t ? models[t - 1] : models[t];
        for (uint32_t n = 1 + chance(w, 5); n; n--) {
            random_step(w, &models[t]);
        }
        models[t].lsn = commit(w, NULL);
    }
    for (int i = 0; i < 40; i++) {
        const struct model *m = &models[i ? chance(w, TRANSACTIONS) : TRANSACTIONS - 1];
        compare_table(w, m);
        compare_one(w, m, chance(w, KEYS));
    }
    free(models);
}

static void a_time_means_the_state_before_what_came_after(void **state)
{
    struct world *w = *state;
    struct moment moment;
    char text[POINT_TIME_BYTES];

    insert(w, "1", "a", "1", NULL);
    uint64_t first = commit(w, NULL);
    update(w, "1", "1", "b", "1", NULL);
    uint64_t second = commit(w, NULL);
    point_time_text((BEGIN_US + STEP_US) / 1000, text);
    assert_int_equal(moment_parse(w->source.trail, VIEW("shop"), view_text(text), 0, &moment),
                     OK);
    assert_int_equal(moment.lsn, second - 1);
    assert_int_equal(moment_parse(w->source.trail, VIEW("shop"), VIEW("earliest"), 0, &moment),
                     OK);
    assert_int_equal(moment.lsn, first);
    assert_int_equal(moment_parse(w->source.trail, VIEW("shop"), VIEW("now"),
                                  BEGIN_US / 1000 + 60000, &moment),
                     OK);
    assert_int_equal(moment.lsn, UINT64_MAX);
    assert_int_equal(moment_parse(w->source.trail, VIEW("shop"), VIEW("-1s"),
                                  BEGIN_US / 1000 + 60000, &moment),
                     OK);
    assert_int_equal(moment.lsn, w->lsn); /* all that is sealed, and nothing that comes */
    assert_int_equal(
        moment_parse(w->source.trail, VIEW("shop"), VIEW("lsn:other/0/1"), 0, &moment),
        ERR_INVALID);
    assert_int_equal(moment_parse(w->source.trail, VIEW("shop"), VIEW("offset:1"), 0, &moment),
                     ERR_INVALID);
}

static void a_table_before_its_history_is_out_of_range(void **state)
{
    struct world *w = *state;
    struct ref table = {.schema = VIEW("public"), .table = VIEW("orders")};
    struct asof_query query = {.source = &w->source, .table = &table, .path = ""};
    struct asof *asof;

    insert(w, "1", "a", "1", NULL);
    query.until.lsn = commit(w, NULL) - 1;
    assert_int_equal(asof_fold(&query, &asof), ERR_OUT_OF_RANGE);
    assert_non_null(strstr(fault_here.text, "begins at 2023-11-14"));
    table.table = VIEW("nothing");
    assert_int_equal(asof_fold(&query, &asof), ERR_NOT_FOUND);
}

static void a_trace_tells_who_with_what_and_what_came_after(void **state)
{
    struct world *w = *state;
    struct arena arena = {0};
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct json *answer;
    struct ref ref;
    struct lineage_query query = {
        .source = &w->source, .ref = &ref, .until = MOMENT_NOW, .arena = &arena};

    insert(w, "1", "a", "1", NULL);
    insert(w, "2", "a", "1", NULL);
    commit(w, "{\"user\":\"ann\",\"request_id\":\"r-1\",\"session\":\"s9\"}");
    update(w, "2", "2", "b", "1", NULL);
    commit(w, "{\"user\":\"bob\"}");
    assert_int_equal(ref_parse(&arena, VIEW("row:shop.public.orders/1"), &ref), OK);
    assert_int_equal(lineage_write(&query, &j), OK);
    assert_int_equal(json_parse(&arena, arena_copy(&arena, writer_view(&out)), &answer), OK);
    const struct json *tx = json_get(answer, "transaction");
    assert_true(view_is_text(json_get(tx, "tx")->text, "tx:shop/1"));
    assert_true(view_is_text(json_get(tx, "actor")->text, "ann"));
    assert_true(view_is_text(json_get(tx, "request")->text, "r-1"));
    assert_true(view_is_text(json_get(tx, "session")->text, "session:s9"));
    const struct json *others = json_get(answer, "changes");
    assert_non_null(others->inside->next);
    assert_null(others->inside->next->next);
    const struct json *later = json_get(answer, "later")->inside;
    assert_true(view_is_text(json_get(later, "row")->text, "row:shop.public.orders/2"));
    assert_true(view_is_text(json_get(later, "actor")->text, "bob"));
    writer_fini(&out);
    arena_fini(&arena);
}

static int64_t kept_ms(struct world *w)
{
    struct topic_settings settings;

    topic_settings_get(w->topic, &settings);
    return settings.retention_ms;
}

static void a_time_to_keep_holds_for_all_tables_but_those_named(void **state)
{
    struct world *w = *state;
    static const char *const rules = "public.logs = 30d, audit.*=-1,public.o*s=2h";

    assert_int_equal(retention_check(rules), OK);
    assert_int_equal(retention_check(NULL), OK);
    assert_int_equal(retention_check("orders=1d"), ERR_INVALID);
    assert_int_equal(retention_check("public.orders"), ERR_INVALID);
    assert_int_equal(retention_of(rules, 5, VIEW("public"), VIEW("logs")), 2592000000);
    assert_int_equal(retention_of(rules, 5, VIEW("audit"), VIEW("x")), -1);
    assert_int_equal(retention_of(rules, 5, VIEW("public"), VIEW("items")), 5);
    assert_int_equal(retention_apply(&w->source, NULL, 86400000), OK);
    assert_int_equal(kept_ms(w), 86400000);
    assert_int_equal(retention_apply(&w->source, rules, 86400000), OK);
    assert_int_equal(kept_ms(w), 7200000);
}

/* Rows of a table without a key are alike: each is there as often as it was put there. */
static void rows_without_a_key_are_counted(void **state)
{
    struct world *w = *state;
    struct ref table = {.schema = VIEW("public"), .table = VIEW("orders")};
    struct asof_query query = {.source = &w->source, .table = &table, .path = ""};
    struct relation keyless = *w->relation;
    struct column all[COLUMNS];
    struct asof_about about;
    struct asof *asof;

    memcpy(all, columns, sizeof(all));
    for (int i = 0; i < COLUMNS; i++) {
        all[i].key = true;
    }
    keyless.columns = all;
    keyless.identity = 'f';
    assert_int_equal(ledger_describe(w->source.ledger, &keyless, &w->relation), OK);
    insert(w, "1", "a", "1", NULL);
    insert(w, "1", "a", "1", NULL);
    insert(w, "1", "a", "1", "x");
    commit(w, NULL);
    add(w, CHANGE_DELETE)->before = image(w, (const char *const[]){"1", "a", "1", NULL});
    struct change *c = add(w, CHANGE_UPDATE);
    c->before = image(w, (const char *const[]){"1", "a", "1", "x"});
    c->after = image(w, (const char *const[]){"1", "a", "1", NULL});
    query.until.lsn = commit(w, NULL);
    assert_int_equal(asof_fold(&query, &asof), OK);
    asof_about(asof, &about);
    assert_int_equal(about.rows, 2);
    asof_close(asof);
}

static err note_status(void *self, view key, const struct value *values)
{
    struct writer *out = self;

    (void)key;
    text_value(values[ID], out);
    write_u8(out, ' ');
    text_value(values[STATUS], out);
    write_view(out, VIEW("; "));
    return OK;
}

static void a_table_that_got_a_key_on_its_way_stays_whole(void **state)
{
    struct world *w = *state;
    struct ref table = {.schema = VIEW("public"), .table = VIEW("orders")};
    struct asof_query query = {.source = &w->source, .table = &table, .path = ""};
    struct relation keyless = *w->relation, *keyed = w->relation;
    struct column all[COLUMNS];
    struct writer out = {0};
    struct asof *asof;

    memcpy(all, columns, sizeof(all));
    for (int i = 0; i < COLUMNS; i++) {
        all[i].key = true;
    }
    keyless.columns = all;
    keyless.identity = 'f';
    assert_int_equal(ledger_describe(w->source.ledger, &keyless, &w->relation), OK);
    insert(w, "10", "a", "1", NULL);
    insert(w, "9", "b", "1", "long");
    commit(w, NULL);
    w->relation = keyed;
    update(w, "9", "9", "c", "1", "?");
    delete (w, "10");
    insert(w, "11", "d", "1", NULL);
    query.until.lsn = commit(w, NULL);
    assert_int_equal(asof_fold(&query, &asof), OK);
    assert_int_equal(asof_rows(asof, (view){0}, note_status, &out), OK);
    write_u8(&out, '\0');
    assert_string_equal((const char *)out.at, "9 c; 11 d; ");
    asof_close(asof);
    writer_fini(&out);
}

/* A slot was lost; a snapshot made up for it, and row 2 was not there any more. */
static void what_vanished_in_a_gap_is_gone_behind_it(void **state)
{
    struct world *w = *state;
    struct ref table = {.schema = VIEW("public"), .table = VIEW("orders")};
    struct asof_query query = {.source = &w->source, .table = &table, .path = ""};
    struct asof_about about;
    struct asof *asof;

    insert(w, "1", "a", "1", NULL);
    insert(w, "2", "b", "1", NULL);
    uint64_t before = commit(w, NULL);
    assert_int_equal(ledger_gap(w->source.ledger, w->lsn, w->lsn + 5000, "slot lost"), OK);
    w->lsn += 5000;
    assert_int_equal(ledger_note(w->source.ledger, "snapshot",
                                 VIEW("{\"text\":\"{\\\"mode\\\":\\\"watermark\\\","
                                      "\\\"tables\\\":\\\"\\\"}\"}")),
                     OK);
    add(w, CHANGE_READ)->after = image(w, (const char *const[]){"1", "c", "1", NULL});
    query.until.lsn = commit(w, NULL);
    assert_int_equal(asof_fold(&query, &asof), OK);
    asof_about(asof, &about);
    assert_int_equal(about.rows, 2);
    assert_int_equal(about.gap_to, before + 10 + 5000);
    asof_close(asof);
    assert_int_equal(ledger_note(w->source.ledger, "snapshot done", VIEW("{}")), OK);
    query.until = MOMENT_NOW;
    assert_int_equal(asof_fold(&query, &asof), OK);
    asof_about(asof, &about);
    assert_int_equal(about.rows, 1);
    assert_int_equal(about.gap_to, 0);
    asof_close(asof);
    expect_last(w, "row:shop.public.orders/1", UINT64_MAX, true, "1 c 1 null");
    expect_last(w, "row:shop.public.orders/2", UINT64_MAX, false, "");
    expect_last(w, "row:shop.public.orders/2", before, true, "2 b 1 null");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_is_told_from_its_creation_to_its_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_changed_key_is_followed_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(a_truncate_ends_all_lives, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_never_told_is_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(any_table_and_row_is_as_it_was_at_any_commit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_time_means_the_state_before_what_came_after, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_table_before_its_history_is_out_of_range, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_trace_tells_who_with_what_and_what_came_after, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_time_to_keep_holds_for_all_tables_but_those_named,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_vanished_in_a_gap_is_gone_behind_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(rows_without_a_key_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_table_that_got_a_key_on_its_way_stays_whole, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
