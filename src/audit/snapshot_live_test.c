/* snapshot_live_test.c - against a real PostgreSQL: connections, plans, slots, snapshots.
 *
 * TIDEMARK_POSTGRES is the URL of an empty database that may be filled; without it all is
 * skipped. tests/test_audit_source_check.py starts one and runs this.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/pgoutput.h"
#include "audit/setup.h"
#include "audit/snapshot_inside.h"

static const char *url;
static struct pg *pg; /* an ordinary one, for all tests */

static void must(err e)
{
    if (e) {
        print_message("%s\n", fault_here.text);
    }
    assert_int_equal(e, OK);
}

static int64_t ask(const char *sql)
{
    struct pg_rows *rows = NULL;
    int64_t value = 0;

    must(pg_query(pg, sql, NULL, 0, &rows));
    must(view_to_int(pg_value(rows, 0, 0), &value));
    pg_rows_free(rows);
    return value;
}

static struct pg *replication(void)
{
    struct pg *made = NULL;

    must(pg_open(&(struct pg_target){.url = url, .replication = true}, &made));
    return made;
}

static int setup_group(void **state)
{
    (void)state;
    url = getenv("TIDEMARK_POSTGRES");
    if (url) {
        must(pg_open(&(struct pg_target){.url = url, .application = "live test"}, &pg));
    }
    return 0;
}

static int teardown_group(void **state)
{
    (void)state;
    pg_close(pg);
    return 0;
}

static void a_server_is_needed(void **state)
{
    (void)state;
    print_message("skipped: TIDEMARK_POSTGRES is not set\n");
    skip();
}

/* ---- connections ---- */

static void queries_take_parameters_and_tell_null(void **state)
{
    const view parameters[] = {VIEW("ann"), {0}};
    struct pg_rows *rows = NULL;

    (void)state;
    must(pg_query(pg, "SELECT $1::text || '!', $2::text, ''", parameters, 2, &rows));
    assert_int_equal(pg_row_count(rows), 1);
    assert_true(view_is_text(pg_value(rows, 0, 0), "ann!"));
    assert_null(pg_value(rows, 0, 1).at);
    assert_non_null(pg_value(rows, 0, 2).at);
    pg_rows_free(rows);
}

static void server_errors_have_kind_code_and_words(void **state)
{
    (void)state;
    assert_int_equal(pg_run(pg, "SELECT * FROM nowhere"), ERR_NOT_FOUND);
    assert_string_equal(pg_sqlstate(pg), "42P01");
    assert_non_null(strstr(fault_here.text, "nowhere"));
    must(pg_run(pg, "SELECT 1"));
    assert_string_equal(pg_sqlstate(pg), "");
}

static bool ends_at_once(void *self)
{
    return ++*(int *)self > 0;
}

static void a_watched_query_does_not_wait_for_ever(void **state)
{
    struct pg *waits = replication();
    struct setup_slot slot;
    int asked = 0;

    (void)state;
    must(pg_run(pg, "BEGIN; SELECT pg_current_xact_id()")); /* which a new slot waits for */
    pg_watch(waits, ends_at_once, &asked);
    assert_int_equal(setup_slot(waits, "live", &slot), ERR_CANCELLED);
    assert_true(asked > 0);
    must(pg_run(pg, "ROLLBACK"));
    asked = -1000000;
    must(setup_slot(waits, "live", &slot)); /* the connection is as good as before */
    pg_close(waits);
    must(setup_slot_drop(pg, "live"));
}

struct lines {
    int count, most;
    struct writer text;
};

static err take_line(void *self, view line)
{
    struct lines *l = self;

    write_view(&l->text, line);
    write_u8(&l->text, '|');
    return ++l->count == l->most ? fault(ERR_CANCELLED, "enough") : OK;
}

static void a_copy_that_is_given_up_leaves_the_connection_usable(void **state)
{
    struct lines l = {.most = 3};

    (void)state;
    assert_int_equal(
        pg_copy_out(pg, "COPY (SELECT generate_series(1, 1000000)) TO STDOUT", take_line, &l),
        ERR_CANCELLED);
    assert_string_equal(fault_here.text, "enough");
    assert_true(view_is_text(writer_view(&l.text), "1|2|3|"));
    assert_int_equal(ask("SELECT 7"), 7);
    writer_fini(&l.text);
}

static err next_piece(void *self, view *piece)
{
    int *left = self;

    *piece = (*left)-- ? VIEW("1\tann\n2\tbob\n") : (view){0};
    return OK;
}

static void copies_go_in(void **state)
{
    int pieces = 3;

    (void)state;
    must(pg_run(pg, "CREATE TEMPORARY TABLE taken (id int, name text)"));
    must(pg_copy_in(pg, "COPY taken FROM STDIN", next_piece, &pieces));
    assert_int_equal(ask("SELECT count(*) FROM taken"), 6);
    must(pg_run(pg, "DROP TABLE taken"));
}

/* ---- plans ---- */

static const struct setup_ask shop_ask = {
    .tables = "live.*", .slot = "live", .publication = "live"};

static void make_shop(void)
{
    must(pg_run(
        pg, "DROP SCHEMA IF EXISTS live CASCADE; CREATE SCHEMA live; "
            "CREATE TABLE live.items (id int PRIMARY KEY, name text); "
            "CREATE TABLE live.loose (id int, note text); "
            "INSERT INTO live.loose VALUES (1, 'x'); "
            "CREATE TABLE live.wide (id int PRIMARY KEY, fill text, extra int); "
            "CREATE TABLE live.parts (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); "
            "CREATE TABLE live.parts_1 PARTITION OF live.parts FOR VALUES FROM (0) TO (50); "
            "CREATE TABLE live.parts_2 PARTITION OF live.parts DEFAULT"));
}

static void plan_is_empty(const struct setup_ask *asked, bool slot_is_missing)
{
    struct arena arena = {0};
    struct setup_plan plan;

    must(setup_plan(pg, asked, &arena, &plan));
    assert_int_equal(plan.count, slot_is_missing);
    arena_fini(&arena);
}

static void a_plan_run_twice_changes_nothing(void **state)
{
    struct arena arena = {0};
    struct setup_plan plan;
    struct setup_ask asked = shop_ask;
    struct writer names = {0};

    (void)state;
    make_shop();
    asked.keyless = SETUP_INSERT_ONLY;
    must(setup_plan(pg, &asked, &arena, &plan));
    assert_true(plan.makes_slot);
    must(setup_run(pg, &plan));
    plan_is_empty(&asked, true);
    must(setup_publications(pg, "live", &names));
    assert_true(view_is_text(writer_view(&names), "'\"live\",\"live_new\"'"));
    must(pg_run(pg, "UPDATE live.loose SET note = 'y'")); /* not refused */
    must(pg_run(pg,
                "ALTER PUBLICATION live SET (publish = 'insert', publish_via_partition_root = "
                "false)"));
    must(setup_plan(pg, &asked, &arena, &plan));
    assert_int_equal(plan.count, 2); /* that, and the slot */
    must(setup_run(pg, &plan));
    plan_is_empty(&asked, true);
    asked.without = "live.items";
    asked.keyless = SETUP_FULL;
    must(setup_plan(pg, &asked, &arena, &plan));
    must(setup_run(pg, &plan));
    plan_is_empty(&asked, true);
    assert_int_equal(ask("SELECT count(*) FROM pg_publication_tables WHERE pubname = 'live' "
                         "AND tablename = 'items'"),
                     0);
    must(setup_drop_plan(pg, &asked, &arena, &plan));
    assert_int_equal(plan.count, 2);
    must(setup_run(pg, &plan));
    assert_int_equal(ask("SELECT count(*) FROM pg_publication WHERE pubname LIKE 'live%'"), 0);
    writer_fini(&names);
    arena_fini(&arena);
}

static void tables_are_told_with_what_they_lack(void **state)
{
    struct arena arena = {0};
    struct setup_table *tables = NULL;
    size_t count = 0;

    (void)state;
    make_shop();
    must(setup_tables(pg, &shop_ask, &arena, &tables, &count));
    assert_int_equal(count, 4);
    assert_true(view_is_text(tables[0].name, "items"));
    assert_true(tables[0].has_key);
    assert_true(view_is_text(tables[1].name, "loose"));
    assert_false(tables[1].has_key);
    assert_true(tables[1].skipped);
    assert_true(view_is_text(tables[2].name, "parts"));
    assert_true(tables[2].partitioned);
    assert_true(tables[2].has_key);
    assert_true(view_is_text(tables[3].name, "wide"));
    arena_fini(&arena);
}

static void a_plan_does_not_wait_for_a_lock_for_long(void **state)
{
    struct arena arena = {0};
    struct setup_plan plan;
    struct setup_ask asked = shop_ask;
    struct pg *other = NULL;

    (void)state;
    make_shop();
    asked.keyless = SETUP_FULL;
    must(setup_plan(pg, &asked, &arena, &plan));
    must(pg_open(&(struct pg_target){.url = url}, &other));
    must(pg_run(other, "BEGIN; LOCK TABLE live.loose IN ROW EXCLUSIVE MODE"));
    assert_int_equal(setup_run(pg, &plan), ERR_BUSY);
    assert_non_null(strstr(fault_here.text, "loose"));
    pg_close(other);
    must(setup_run(pg, &plan));
    must(setup_drop_plan(pg, &asked, &arena, &plan));
    must(setup_run(pg, &plan));
    arena_fini(&arena);
}

static void the_context_function_comes_and_goes(void **state)
{
    struct arena arena = {0};
    struct setup_plan plan;

    (void)state;
    must(setup_context_plan(pg, false, &arena, &plan));
    must(setup_run(pg, &plan));
    must(setup_run(pg, &plan));
    must(pg_run(pg, "SELECT tidemark.context('{\"user\": \"ann\"}')"));
    assert_int_equal(pg_run(pg, "SELECT tidemark.context('[1]')"), ERR_INVALID);
    must(pg_run(pg, "CREATE TABLE tidemark.kept (id int)"));
    must(setup_context_plan(pg, true, &arena, &plan));
    assert_int_equal(plan.count, 1); /* the schema is not empty: it stays */
    must(pg_run(pg, "DROP TABLE tidemark.kept"));
    must(setup_context_plan(pg, true, &arena, &plan));
    assert_int_equal(plan.count, 2);
    must(setup_run(pg, &plan));
    assert_int_equal(ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'tidemark'"), 0);
    arena_fini(&arena);
}

/* ---- the stream and snapshots ---- */

struct collected {
    pthread_mutex_t lock;
    int64_t rows, sum, chunks, fail_at;
    struct writer notes; /* each with a line break */
    struct map keys;     /* id -> times seen */
    struct arena arena;
};

static err collect_row(void *self, int worker, const struct change *change)
{
    struct collected *c = self;
    int64_t id = 0;

    (void)worker;
    assert_int_equal(change->kind, CHANGE_READ);
    if (view_to_int(change->after[0].text, &id)) {
        return fault_here.code;
    }
    pthread_mutex_lock(&c->lock);
    c->rows++;
    c->sum += id;
    bool fails = c->fail_at && c->rows == c->fail_at;
    pthread_mutex_unlock(&c->lock);
    return fails ? fault(ERR_FULL, "as asked") : OK;
}

static err collect_chunk(void *self, int worker, view note)
{
    struct collected *c = self;

    (void)worker;
    pthread_mutex_lock(&c->lock);
    c->chunks++;
    write_view(&c->notes, note);
    write_u8(&c->notes, '\n');
    pthread_mutex_unlock(&c->lock);
    return OK;
}

static void collected_init(struct collected *c)
{
    *c = (struct collected){0};
    pthread_mutex_init(&c->lock, NULL);
}

static void collected_fini(struct collected *c)
{
    pthread_mutex_destroy(&c->lock);
    writer_fini(&c->notes);
    arena_fini(&c->arena);
}

static struct snapshot_table table_named(const char *name)
{
    struct snapshot_table table = {0};
    char sql[128];

    snprintf(sql, sizeof(sql), "SELECT 'live.%s'::regclass::oid", name);
    table.oid = (uint32_t)ask(sql);
    must(setup_describe(pg, table.oid, &table.relation));
    return table;
}

static err run_snapshot(struct snapshot_config *config, struct collected *into)
{
    const struct snapshot_target target = {collect_row, collect_chunk, into};
    struct snapshot *snapshot = NULL;
    bool done = false;
    err e = snapshot_start(config, &target, &snapshot);

    while (!e && !done) {
        e = snapshot_wait(snapshot, 1000, &done);
    }
    snapshot_stop(snapshot);
    return e;
}

static void an_exported_snapshot_gives_each_row_once(void **state)
{
    struct pg *exporter = replication();
    struct setup_slot slot;
    struct collected c;
    struct snapshot_table tables[2];

    (void)state;
    make_shop();
    must(pg_run(pg, "INSERT INTO live.wide SELECT i, repeat('x', 300), NULL "
                    "FROM generate_series(1, 30000) i; ANALYZE live.wide; "
                    "INSERT INTO live.parts SELECT i, i FROM generate_series(1, 100) i"));
    must(setup_slot(exporter, "live", &slot));
    must(pg_run(pg, "UPDATE live.wide SET id = -id; DELETE FROM live.parts"));
    collected_init(&c);
    tables[0] = table_named("wide");
    tables[1] = table_named("parts");
    struct snapshot_config config = {.os = os_real(),
                                     .database = {.url = url},
                                     .exported = slot.snapshot,
                                     .lsn = slot.consistent_lsn,
                                     .workers = 3,
                                     .chunk_rows = 1000,
                                     .tables = tables,
                                     .table_count = 2};
    must(run_snapshot(&config, &c));
    assert_int_equal(c.rows, 30100);
    assert_int_equal(c.sum, INT64_C(30000) * 30001 / 2 + 5050);
    assert_true(c.chunks > 20);
    pg_close(exporter);
    must(setup_slot_drop(pg, "live"));
    must(setup_slot_drop(pg, "live"));
    relation_drop(tables[0].relation);
    relation_drop(tables[1].relation);
    collected_fini(&c);
}

static size_t split_notes(struct collected *c, view *out, size_t most)
{
    view rest = writer_view(&c->notes), note;
    size_t count = 0;

    while (rest.len && count < most) {
        view_cut(rest, '\n', &note, &rest);
        out[count++] = note;
    }
    return count;
}

static void finished_chunks_are_not_read_again(void **state)
{
    struct pg *exporter = replication();
    struct setup_slot slot;
    struct collected first, second;
    struct snapshot_table table;
    view notes[100];

    (void)state;
    make_shop();
    must(pg_run(pg, "INSERT INTO live.wide SELECT i, repeat('x', 300), NULL "
                    "FROM generate_series(1, 30000) i; ANALYZE live.wide"));
    must(setup_slot(exporter, "live", &slot));
    collected_init(&first);
    collected_init(&second);
    table = table_named("wide");
    struct snapshot_config config = {.os = os_real(),
                                     .database = {.url = url},
                                     .exported = slot.snapshot,
                                     .workers = 1,
                                     .chunk_rows = 1000,
                                     .tables = &table,
                                     .table_count = 1};
    first.fail_at = 15500;
    assert_int_equal(run_snapshot(&config, &first), ERR_FULL);
    assert_non_null(strstr(fault_here.text, "as asked"));
    config.done = notes;
    config.done_count = split_notes(&first, notes, COUNT(notes));
    assert_true(config.done_count > 10);
    must(run_snapshot(&config, &second));
    assert_true(second.chunks + first.chunks > 25);
    assert_true(second.rows < 17000);
    assert_true(second.rows + first.rows >= 30000);
    pg_close(exporter);
    must(setup_slot_drop(pg, "live"));
    relation_drop(table.relation);
    collected_fini(&first);
    collected_fini(&second);
}

/* A stream of plain transactions, as far as these tests need it: relations by the catalog, keys
 * and inserts as the messages have them. */
struct follower {
    struct pg *stream;
    struct snapshot *snapshot;
    struct collected *c;
    struct snapshot_table *table;
    uint32_t xid;
    uint64_t end_lsn;
    struct map live; /* id -> newest n, by what came: reads and changes in their order */
    struct arena arena;
};

static void put_row(struct follower *f, const struct value *values)
{
    view key = arena_copy(&f->arena, values[0].text);

    (void)map_put(&f->live, key, arena_text(&f->arena, values[2].text));
}

static err follow_row(void *self, int worker, const struct change *change)
{
    struct follower *f = self;

    (void)worker;
    assert_true(change->place.commit_lsn > 0);
    f->c->rows++;
    put_row(f, change->after);
    return OK;
}

static err follow_chunk(void *self, int worker, view note)
{
    struct follower *f = self;

    return collect_chunk(f->c, worker, note);
}

static struct change change_of(struct follower *f, const struct pgoutput_message *m)
{
    struct change change = {.relation = f->table->relation,
                            .before = m->old.values,
                            .after = m->new.values,
                            .place = {.xid = f->xid, .commit_lsn = 1}};

    change.kind = m->kind == PGOUTPUT_INSERT   ? CHANGE_CREATE
                  : m->kind == PGOUTPUT_UPDATE ? CHANGE_UPDATE
                  : m->kind == PGOUTPUT_DELETE ? CHANGE_DELETE
                                               : CHANGE_MESSAGE;
    change.prefix = m->prefix;
    change.content = m->content;
    return change;
}

static void follow_message(struct follower *f, view payload)
{
    struct arena arena = {0};
    struct pgoutput_message m;

    must(pgoutput_decode(&arena, payload, false, &m));
    if (m.kind == PGOUTPUT_BEGIN) {
        f->xid = m.xid;
    } else if (m.kind == PGOUTPUT_COMMIT) {
        f->end_lsn = m.end_lsn;
    } else if (m.kind != PGOUTPUT_RELATION && m.kind != PGOUTPUT_TYPE) {
        struct change change = change_of(f, &m);
        must(snapshot_follow(f->snapshot, &change));
        if (change.before) { /* gone, or under another key */
            (void)map_remove(&f->live, change.before[0].text);
        }
        if (change.after) {
            put_row(f, change.after);
        }
    }
    arena_fini(&arena);
}

static void follow_until_done(struct follower *f)
{
    struct pg_stream_item item;
    bool done = false;

    while (!done) {
        err e = pg_stream_next(f->stream, 100, &item);
        if (e != ERR_TIMEOUT) {
            must(e);
            if (item.is_data) {
                follow_message(f, item.payload);
            }
            must(pg_stream_status(f->stream, item.wal_end, f->end_lsn, false));
        }
        must(snapshot_wait(f->snapshot, 0, &done));
    }
}

static void *write_all_the_time(void *self)
{
    _Atomic bool *ends = self;
    struct pg *writer = NULL;

    must(pg_open(&(struct pg_target){.url = url}, &writer));
    for (int i = 0; !atomic_load(ends); i++) {
        must(pg_run(writer,
                    "UPDATE live.wide SET extra = extra + 1 WHERE id %% 97 = %d; "
                    "INSERT INTO live.wide VALUES (%d, 'new', 1); "
                    "DELETE FROM live.wide WHERE id = %d; "
                    "UPDATE live.wide SET id = id + 1000000 WHERE id = %d",
                    i % 97, 100000 + i, 11 + 7 * i, 13 + 7 * i));
    }
    pg_close(writer);
    return NULL;
}

/* What came, reads and changes in their order, makes the table as it is in the end. */
static void check_live(struct follower *f)
{
    struct pg_rows *rows = NULL;

    must(pg_query(pg, "SELECT id::text, extra::text FROM live.wide", NULL, 0, &rows));
    assert_int_equal(f->live.count, pg_row_count(rows));
    for (size_t i = 0; i < pg_row_count(rows); i++) {
        const char *n = map_get(&f->live, pg_value(rows, i, 0));
        assert_non_null(n);
        assert_true(view_is_text(pg_value(rows, i, 1), n));
    }
    pg_rows_free(rows);
}

static void follow_to_the_end(struct follower *f)
{
    struct pg_rows *rows = NULL;
    uint64_t now = 0;
    struct pg_stream_item item;

    must(pg_query(pg, "SELECT pg_current_wal_insert_lsn()", NULL, 0, &rows));
    must(lsn_parse(pg_value(rows, 0, 0), &now));
    pg_rows_free(rows);
    must(pg_run(pg, "SELECT pg_logical_emit_message(true, 'end', 'end')"));
    while (f->end_lsn <= now) {
        err e = pg_stream_next(f->stream, 1000, &item);
        if (e != ERR_TIMEOUT) {
            must(e);
            if (item.is_data) {
                follow_message(f, item.payload);
            }
        }
    }
}

static void watermarks_and_the_stream_make_the_table_as_it_is(void **state)
{
    struct follower f = {.stream = replication()};
    struct snapshot_table table;
    struct setup_slot slot;
    struct collected c;
    pthread_t writer;
    _Atomic bool ends = false;

    (void)state;
    make_shop();
    must(pg_run(pg,
                "DROP PUBLICATION IF EXISTS live; CREATE PUBLICATION live FOR TABLE live.wide; "
                "INSERT INTO live.wide SELECT i, repeat('x', 300), 0 "
                "FROM generate_series(1, 30000) i; ANALYZE live.wide"));
    must(setup_slot(f.stream, "live", &slot));
    must(pg_stream_start(f.stream, "live", 0,
                         "proto_version '1', publication_names '\"live\"', messages 'true'"));
    collected_init(&c);
    table = table_named("wide");
    f.c = &c;
    f.table = &table;
    const struct snapshot_target target = {follow_row, follow_chunk, &f};
    const struct snapshot_config config = {.os = os_real(),
                                           .database = {.url = url},
                                           .id = 77,
                                           .workers = 2,
                                           .chunk_rows = 1000,
                                           .tables = &table,
                                           .table_count = 1};
    assert_int_equal(pthread_create(&writer, NULL, write_all_the_time, &ends), 0);
    must(snapshot_start(&config, &target, &f.snapshot));
    follow_until_done(&f);
    atomic_store(&ends, true);
    pthread_join(writer, NULL);
    follow_to_the_end(&f);
    check_live(&f);
    assert_true(c.rows < 30000 + 1000);
    assert_true(c.rows > 20000);
    snapshot_stop(f.snapshot);
    pg_close(f.stream);
    must(setup_slot_drop(pg, "live"));
    must(pg_run(pg, "DROP PUBLICATION live"));
    relation_drop(table.relation);
    map_fini(&f.live);
    arena_fini(&f.arena);
    collected_fini(&c);
}

static void a_stopped_snapshot_lets_go_at_once(void **state)
{
    struct snapshot_table table;
    struct snapshot *snapshot = NULL;
    struct collected c;
    bool done = false;

    (void)state;
    make_shop();
    must(pg_run(pg, "INSERT INTO live.wide SELECT i, repeat('x', 300), 0 "
                    "FROM generate_series(1, 3000) i"));
    collected_init(&c);
    table = table_named("wide");
    const struct snapshot_target target = {collect_row, collect_chunk, &c};
    struct snapshot_config config = {.os = os_real(),
                                     .database = {.url = url},
                                     .workers = 2,
                                     .tables = &table,
                                     .table_count = 1};
    must(snapshot_start(&config, &target, &snapshot)); /* nobody follows: it waits for ever */
    must(snapshot_wait(snapshot, 50, &done));
    assert_false(done);
    snapshot_stop(snapshot);
    assert_int_equal(c.rows, 0);
    relation_drop(table.relation);
    collected_fini(&c);
}

int main(void)
{
    const struct CMUnitTest without[] = {cmocka_unit_test(a_server_is_needed)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_take_parameters_and_tell_null),
        cmocka_unit_test(server_errors_have_kind_code_and_words),
        cmocka_unit_test(a_copy_that_is_given_up_leaves_the_connection_usable),
        cmocka_unit_test(copies_go_in),
        cmocka_unit_test(a_watched_query_does_not_wait_for_ever),
        cmocka_unit_test(tables_are_told_with_what_they_lack),
        cmocka_unit_test(a_plan_run_twice_changes_nothing),
        cmocka_unit_test(a_plan_does_not_wait_for_a_lock_for_long),
        cmocka_unit_test(the_context_function_comes_and_goes),
        cmocka_unit_test(an_exported_snapshot_gives_each_row_once),
        cmocka_unit_test(finished_chunks_are_not_read_again),
        cmocka_unit_test(watermarks_and_the_stream_make_the_table_as_it_is),
        cmocka_unit_test(a_stopped_snapshot_lets_go_at_once),
    };

    if (!getenv("TIDEMARK_POSTGRES")) {
        return cmocka_run_group_tests(without, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
