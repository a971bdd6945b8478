/* undo_cases_test.c - undo against a live PostgreSQL: every case of a file of restore cases
 * must end in the state that was recorded.
 *
 *   TIDEMARK_POSTGRES  a URL of a database that may be emptied, wal_level logical
 *   TIDEMARK_RESTORE_CASES     the file
 *
 * Without them it is skipped. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "audit/pg.h"
#include "audit/stitch.h"
#include "audit/undo_inside.h"

#define SLOT "tidemark_undo_cases"

struct cases {
    struct os *os;
    struct pg *pg;
    char spool[64];
    struct arena arena; /* of one case */
    const struct change **changes;
    size_t count, room;
};

static err keep_change(void *self, const struct change *change)
{
    struct cases *c = self;
    struct change *copy = change_copy(&c->arena, change);

    if (copy->relation) {
        copy->relation = relation_hold(change->relation);
    }
    c->changes = array_room(c->changes, c->count, &c->room, sizeof(struct change *));
    c->changes[c->count++] = copy;
    return OK;
}

static err nothing(void *self, const struct stitch_transaction *transaction)
{
    (void)self;
    (void)transaction;
    return OK;
}

static view bytes_of(struct arena *arena, view hex)
{
    uint8_t *bytes = arena_take(arena, hex.len / 2 + 1);
    size_t len = 0;

    for (size_t i = 2; i + 1 < hex.len; i += 2) { /* behind \x */
        char two[3] = {(char)hex.at[i], (char)hex.at[i + 1], 0};
        bytes[len++] = (uint8_t)strtoul(two, NULL, 16);
    }
    return (view){bytes, len};
}

/* What the slot has to tell, as changes. */
static err capture(struct cases *c)
{
    struct stitch_target target = {
        .begin = nothing, .change = keep_change, .end = nothing, .self = c};
    struct stitch_config config = {
        .os = c->os, .spool_folder = c->spool, .memory_bytes = 1 << 24};
    struct stitch *stitch = NULL;
    struct pg_rows *rows = NULL;
    err e = stitch_new(&config, &target, &stitch);

    e = e ? e
          : pg_query(c->pg,
                     "SELECT lsn, data FROM pg_logical_slot_get_binary_changes('" SLOT
                     "', NULL, NULL, 'proto_version', '1', 'publication_names', '" SLOT
                     "', 'messages', 'true')",
                     NULL, 0, &rows);
    for (size_t i = 0; !e && i < pg_row_count(rows); i++) {
        uint64_t lsn = 0;
        e = lsn_parse(pg_value(rows, i, 0), &lsn);
        e = e ? e : stitch_feed(stitch, lsn, bytes_of(&c->arena, pg_value(rows, i, 1)));
    }
    pg_rows_free(rows);
    stitch_free(stitch);
    return e;
}

static err run_sql(struct cases *c, const struct json *sql)
{
    err e = OK;

    if (!sql || sql->kind == JSON_NULL) {
        return OK;
    }
    if (sql->kind == JSON_TEXT) {
        return pg_query(c->pg, arena_text(&c->arena, sql->text), NULL, 0, NULL);
    }
    for (const struct json *one = sql->inside; one && !e; one = one->next) {
        e = pg_query(c->pg, arena_text(&c->arena, one->text), NULL, 0, NULL);
    }
    return e;
}

static void json_again(struct json_writer *j, const struct json *json)
{
    const struct json *in = json->inside;

    switch (json->kind) {
    case JSON_NULL:
        json_null(j);
        break;
    case JSON_BOOL:
        json_bool(j, json->truth);
        break;
    case JSON_NUMBER:
        json_raw(j, json->text);
        break;
    case JSON_TEXT:
        json_view(j, json->text);
        break;
    case JSON_ARRAY:
        json_array(j);
        for (; in; in = in->next) {
            json_again(j, in);
        }
        json_end_array(j);
        break;
    case JSON_OBJECT:
        json_object(j);
        for (; in; in = in->next) {
            json_name_view(j, in->name);
            json_again(j, in);
        }
        json_end_object(j);
        break;
    }
}

static view json_of(struct arena *arena, const struct json *json)
{
    struct writer text = {0};
    struct json_writer j = json_to(&text);

    json_again(&j, json);
    view kept = arena_copy(arena, writer_view(&text));
    writer_fini(&text);
    return kept;
}

static bool ask(struct cases *c, const char *sql, const view *parameters, size_t count)
{
    struct pg_rows *rows = NULL;
    bool yes = pg_query(c->pg, sql, parameters, count, &rows) == OK &&
               view_is(pg_value(rows, 0, 0), VIEW("t"));

    pg_rows_free(rows);
    return yes;
}

static bool state_is(struct cases *c, const struct json *state)
{
    bool same = true;

    for (const struct json *table = state->inside; table; table = table->next) {
        view parameter = json_of(&c->arena, table);
        char *sql = arena_format(
            &c->arena,
            "SELECT (SELECT coalesce(jsonb_agg(j ORDER BY j::text), '[]') FROM "
            "(SELECT to_jsonb(t) j FROM \"%.*s\" t) s) = (SELECT coalesce(jsonb_agg(x ORDER BY "
            "x::text), '[]') FROM jsonb_array_elements($1::jsonb) x)",
            VIEW_ARG(table->name));
        if (!ask(c, sql, &parameter, 1)) {
            print_message("  %.*s is not as it must be\n", VIEW_ARG(table->name));
            same = false;
        }
    }
    return same;
}

static err prepare(struct cases *c, const struct json *one)
{
    err e = pg_run(c->pg, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    e = e ? e : run_sql(c, json_get(one, "setup_sql"));
    e = e ? e
          : pg_run(c->pg, "SELECT pg_create_logical_replication_slot('" SLOT "', 'pgoutput')");
    e = e ? e : run_sql(c, json_get(one, "transaction_sql"));
    e = e ? e : capture(c);
    err dropped = pg_run(c->pg, "SELECT pg_drop_replication_slot('" SLOT "')");
    return e ? e : dropped ? dropped : run_sql(c, json_get(one, "later_sql"));
}

static bool has_conflict(struct cases *c, const struct undo_plan *plan,
                         const struct json *wanted)
{
    struct writer text = {0};
    struct json_writer j = json_to(&text);

    json_object(&j);
    undo_to_json(plan, &j);
    json_end_object(&j);
    view parameters[] = {writer_view(&text), json_of(&c->arena, wanted)};
    bool yes =
        ask(c, "SELECT $1::jsonb->'conflicts' @> jsonb_build_array($2::jsonb)", parameters, 2);
    writer_fini(&text);
    return yes;
}

static void show(const struct undo_plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        print_message("    %.*s\n", VIEW_ARG(plan->steps[i].sql));
    }
    for (size_t i = 0; i < plan->conflict_count; i++) {
        print_message("    conflict %s: %.*s\n", undo_note_name(plan->conflicts[i].kind),
                      VIEW_ARG(plan->conflicts[i].words));
    }
    for (size_t i = 0; i < plan->warning_count; i++) {
        print_message("    warning %s: %.*s\n", undo_note_name(plan->warnings[i].kind),
                      VIEW_ARG(plan->warnings[i].words));
    }
}

static bool judge(struct cases *c, const struct json *one, const struct undo_plan *plan,
                  const struct undo_outcome *outcome)
{
    view expect = {0};
    const struct json *conflict = json_get(one, "conflict");
    bool good = json_get_text(one, "expect", &expect) == OK;

    if (view_is_text(expect, "conflict") || view_is_text(expect, "not_undoable")) {
        good = good && plan->conflict_count && !outcome->committed &&
               (!conflict || conflict->kind != JSON_OBJECT || has_conflict(c, plan, conflict));
        good = state_is(c, json_get(one, "state_when_undo_starts")) && good;
    } else {
        good = good && !plan->conflict_count;
        good = good && (!view_is_text(expect, "restored_with_warning") || plan->warning_count);
        good = state_is(c, json_get(one, "state_end")) && good;
    }
    if (!good) {
        print_message("  expected %.*s, got:\n", VIEW_ARG(expect));
        show(plan);
    }
    return good;
}

static bool run_case(struct cases *c, const struct json *one)
{
    struct undo_how rehearsal = {.context = VIEW("{\"undo_of\":\"case\"}")};
    struct undo_how how = {.commit = true, .context = rehearsal.context};
    struct undo_outcome outcome = {0};
    struct relation **relations = NULL;
    struct catalog *catalog = NULL;
    struct undo_plan *plan = NULL;
    bool good = false;
    err e = prepare(c, one);

    relations = xcalloc(c->count + 1, sizeof(struct relation *));
    size_t count = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->changes[i]->relation) {
            relations[count++] = c->changes[i]->relation;
        }
    }
    e = e ? e : catalog_read(c->pg, relations, count, &catalog);
    for (int commit = 0; !e && commit < 2;
         commit++) { /* first a rehearsal, which leaves no trace */
        undo_plan_free(plan);
        plan = undo_plan_new(c->changes, c->count, catalog);
        e = undo_run(c->pg, plan, commit ? &how : &rehearsal, &outcome);
        if (!e && !commit && !state_is(c, json_get(one, "state_when_undo_starts"))) {
            e = fault(ERR_CONFLICT, "the rehearsal left something behind");
        }
    }
    good = !e && judge(c, one, plan, &outcome);
    if (e) {
        print_message("  %s\n", fault_here.text);
    }
    undo_plan_free(plan);
    catalog_free(catalog);
    for (size_t i = 0; i < count; i++) {
        relation_drop(relations[i]);
    }
    free(relations);
    return good;
}

static void run_all(struct cases *c, const struct json *list)
{
    int passed = 0, failed = 0;

    for (const struct json *one = list->inside; one; one = one->next) {
        view name = VIEW("?");
        err e = json_get_text(one, "name", &name);
        bool good = !e && run_case(c, one);
        print_message("%s %.*s\n", good ? "ok  " : "FAIL", VIEW_ARG(name));
        passed += good;
        failed += !good;
        c->count = 0;
        arena_reset(&c->arena);
    }
    print_message("%d passed, %d failed\n", passed, failed);
    assert_int_equal(failed, 0);
    assert_true(passed > 0);
}

static void cases_end_in_the_recorded_states(void **state)
{
    const char *url = getenv("TIDEMARK_POSTGRES"), *path = getenv("TIDEMARK_RESTORE_CASES");
    struct cases c = {.os = os_real(), .spool = "/tmp/undo-cases-XXXXXX"};
    struct arena arena = {0};
    struct json *list = NULL;
    char *text = NULL;

    (void)state;
    if (!url || !path) {
        print_message("skipped: TIDEMARK_POSTGRES and TIDEMARK_RESTORE_CASES are not set\n");
        skip();
    }
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t room = 0;
    ssize_t len = getdelim(&text, &room, 0, file);
    fclose(file);
    assert_true(len > 0);
    assert_int_equal(json_parse(&arena, (view){(uint8_t *)text, (size_t)len}, &list), OK);
    assert_non_null(mkdtemp(c.spool));
    struct pg_target target = {.url = url, .application = "tidemark undo cases"};
    assert_int_equal(pg_open(&target, &c.pg), OK);
    assert_int_equal(pg_run(c.pg, "SET client_min_messages = warning; SET synchronous_commit = "
                                  "on; DROP PUBLICATION IF EXISTS " SLOT
                                  "; CREATE PUBLICATION " SLOT " FOR ALL TABLES"),
                     OK);
    run_all(&c, list);
    assert_int_equal(pg_run(c.pg, "DROP PUBLICATION " SLOT), OK);
    pg_close(c.pg);
    rmdir(c.spool);
    free(c.changes);
    free(text);
    arena_fini(&c.arena);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_end_in_the_recorded_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
