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

static int need_server(void **state)
{
    (void)state;
    if (!url) {
        print_message("skipped: TIDEMARK_POSTGRES is not set\n");
        skip();
    }
    return 0;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(queries_take_parameters_and_tell_null, need_server),
        cmocka_unit_test_setup(server_errors_have_kind_code_and_words, need_server),
        cmocka_unit_test_setup(a_copy_that_is_given_up_leaves_the_connection_usable,
                               need_server),
        cmocka_unit_test_setup(copies_go_in, need_server),
        cmocka_unit_test_setup(tables_are_told_with_what_they_lack, need_server),
        cmocka_unit_test_setup(a_plan_run_twice_changes_nothing, need_server),
        cmocka_unit_test_setup(the_context_function_comes_and_goes, need_server),
        cmocka_unit_test_setup(an_exported_snapshot_gives_each_row_once, need_server),
        cmocka_unit_test_setup(finished_chunks_are_not_read_again, need_server),
    };

    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
