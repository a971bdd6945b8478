/* setup.c - plans of SQL, each statement with its reason, and their running.
 *
 * Invariant: a plan holds what is missing and nothing else.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/setup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/setup_inside.h"

#define OPTIONS_WHOLE                                                                          \
    "publish = 'insert, update, delete, truncate', publish_via_partition_root = true"
#define OPTIONS_INSERTS "publish = 'insert, truncate', publish_via_partition_root = true"

/* An ALTER TABLE that waits for its lock has everybody else wait behind it. */
#define LOCK_MS "2000"

struct planner {
    struct pg *pg;
    const struct setup_ask *ask;
    struct arena *arena;
    struct setup_plan *plan;
    size_t room;
    struct setup_table *tables;
    size_t table_count;
};

static void add_step(struct planner *p, const struct writer *sql, const char *why)
{
    struct setup_plan *plan = p->plan;

    if (plan->count == p->room) {
        size_t room = p->room ? p->room * 2 : 8;
        struct setup_step *more = arena_take(p->arena, room * sizeof(*more));
        if (plan->count) {
            memcpy(more, plan->steps, plan->count * sizeof(*more));
        }
        plan->steps = more;
        p->room = room;
    }
    plan->steps[plan->count++] =
        (struct setup_step){arena_text(p->arena, writer_view(sql)), why};
}

static void quote_table(struct writer *out, view schema, view name)
{
    pg_quote_name(out, schema);
    write_u8(out, '.');
    pg_quote_name(out, name);
}

/* Ends with a NUL. */
static void publication_name(struct writer *out, const char *publication, bool inserts)
{
    write_format(out, "%s%s", publication, inserts ? SETUP_INSERTS_SUFFIX : "");
    write_u8(out, 0);
}

void setup_quote_publications(const struct setup_ask *ask, struct writer *one,
                              struct writer *two)
{
    const char *base = ask->publication ? ask->publication : "";
    struct writer name = {0};

    publication_name(&name, base, true);
    pg_quote_text(one, view_text(base));
    write_u8(one, 0);
    pg_quote_text(two, view_text((const char *)name.at));
    write_u8(two, 0);
    writer_fini(&name);
}

/* Identity full on the table or, of a partitioned one, on each leaf too: an ALTER of the root
 * does not reach them. */
static err plan_identity(struct planner *p, const struct setup_table *table)
{
    struct pg_rows *rows = NULL;
    struct writer sql = {0};

    write_format(&sql,
                 "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN "
                 "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relreplident <> "
                 "'f' AND (c.oid = %u OR c.oid IN (SELECT relid FROM "
                 "pg_catalog.pg_partition_tree(%u))) ORDER BY c.oid",
                 table->oid, table->oid);
    write_u8(&sql, 0);
    err e = pg_query(p->pg, (const char *)sql.at, NULL, 0, &rows);
    for (size_t i = 0; !e && i < pg_row_count(rows); i++) {
        writer_reset(&sql);
        write_format(&sql, "ALTER TABLE ");
        quote_table(&sql, pg_value(rows, i, 0), pg_value(rows, i, 1));
        write_format(&sql, " REPLICA IDENTITY FULL");
        add_step(p, &sql,
                 "the table has no key: without an identity its updates would be refused once "
                 "they are published; with FULL the log carries the whole old row");
    }
    pg_rows_free(rows);
    writer_fini(&sql);
    return e;
}

static bool belongs(const struct setup_table *table, bool inserts)
{
    return !table->skipped && table->insert_only == inserts;
}

/* "a"."b", "c"."d": those that belong and are, or are not, in the list that is there. */
static size_t list_tables(struct planner *p, bool inserts, const struct pg_rows *there,
                          struct writer *out)
{
    size_t listed = 0;

    for (size_t i = 0; i < p->table_count; i++) {
        const struct setup_table *t = &p->tables[i];
        bool found = !belongs(t, inserts);
        for (size_t r = 0; there && !found && r < pg_row_count(there); r++) {
            found = view_is(pg_value(there, r, 0), t->schema) &&
                    view_is(pg_value(there, r, 1), t->name);
        }
        if (!found) {
            write_format(out, listed++ ? ", " : "");
            quote_table(out, t->schema, t->name);
        }
    }
    return listed;
}

static size_t list_surplus(struct planner *p, bool inserts, const struct pg_rows *there,
                           struct writer *out)
{
    size_t listed = 0;

    for (size_t r = 0; r < pg_row_count(there); r++) {
        view schema = pg_value(there, r, 0), name = pg_value(there, r, 1);
        bool wanted = false;
        for (size_t i = 0; i < p->table_count && !wanted; i++) {
            const struct setup_table *t = &p->tables[i];
            wanted =
                belongs(t, inserts) && view_is(schema, t->schema) && view_is(name, t->name);
        }
        if (!wanted) {
            write_format(out, listed++ ? ", " : "");
            quote_table(out, schema, name);
        }
    }
    return listed;
}

static void plan_creation(struct planner *p, view publication, bool inserts)
{
    struct writer sql = {0}, tables = {0};
    size_t count = list_tables(p, inserts, NULL, &tables);

    if (count || !inserts) {
        write_format(&sql, "CREATE PUBLICATION ");
        pg_quote_name(&sql, publication);
        write_format(&sql, "%s%.*s WITH (%s)", count ? " FOR TABLE " : "",
                     VIEW_ARG(writer_view(&tables)), inserts ? OPTIONS_INSERTS : OPTIONS_WHOLE);
        add_step(p, &sql,
                 inserts ? "tables without key: only their inserts are published, since "
                           "published updates of them would be refused"
                         : "what is streamed: exactly these tables, by name, so that a new "
                           "table without key does not lose its updates");
    }
    writer_fini(&sql);
    writer_fini(&tables);
}

static void plan_difference(struct planner *p, view publication, bool inserts,
                            const struct pg_rows *there)
{
    struct writer sql = {0}, tables = {0};

    if (list_tables(p, inserts, there, &tables)) {
        write_format(&sql, "ALTER PUBLICATION ");
        pg_quote_name(&sql, publication);
        write_format(&sql, " ADD TABLE %.*s", VIEW_ARG(writer_view(&tables)));
        add_step(p, &sql, "these are to be captured and are not published yet");
    }
    writer_reset(&sql);
    writer_reset(&tables);
    if (list_surplus(p, inserts, there, &tables)) {
        write_format(&sql, "ALTER PUBLICATION ");
        pg_quote_name(&sql, publication);
        write_format(&sql, " DROP TABLE %.*s", VIEW_ARG(writer_view(&tables)));
        add_step(p, &sql, "these are published and are not to be captured");
    }
    writer_fini(&sql);
    writer_fini(&tables);
}

struct publication {
    bool found, whole; /* whole: FOR ALL TABLES, so nothing is to be added */
    bool differs;      /* in what it publishes */
};

/* A partitioned table is published as itself, and nothing that happens to rows is left out. */
static err look_up_publication(struct pg *pg, view name, bool inserts, struct publication *out)
{
    struct writer sql = {0};
    struct pg_rows *rows = NULL;

    write_format(&sql,
                 "SELECT puballtables, NOT (pubinsert AND pubtruncate AND pubviaroot AND "
                 "pubupdate = %s AND pubdelete = %s) FROM pg_catalog.pg_publication WHERE "
                 "pubname = ",
                 inserts ? "false" : "true", inserts ? "false" : "true");
    pg_quote_text(&sql, name);
    write_u8(&sql, 0);
    err e = pg_query(pg, (const char *)sql.at, NULL, 0, &rows);
    writer_fini(&sql);
    *out = (struct publication){0};
    if (!e && pg_row_count(rows)) {
        out->found = true;
        out->whole = view_is_text(pg_value(rows, 0, 0), "t");
        out->differs = view_is_text(pg_value(rows, 0, 1), "t");
    }
    pg_rows_free(rows);
    return e;
}

static void plan_options(struct planner *p, view publication, bool inserts)
{
    struct writer sql = {0};

    write_format(&sql, "ALTER PUBLICATION ");
    pg_quote_name(&sql, publication);
    write_format(&sql, " SET (%s)", inserts ? OPTIONS_INSERTS : OPTIONS_WHOLE);
    add_step(p, &sql,
             "it leaves out a kind of change, or tells partitions instead of their table");
    writer_fini(&sql);
}

static err plan_publication(struct planner *p, bool inserts)
{
    struct writer name = {0}, sql = {0};
    struct pg_rows *there = NULL;
    struct publication state;

    publication_name(&name, p->ask->publication, inserts);
    view publication = view_text((const char *)name.at);
    err e = look_up_publication(p->pg, publication, inserts, &state);
    if (!e && state.differs) {
        plan_options(p, publication, inserts);
    }
    if (!e && !state.found) {
        plan_creation(p, publication, inserts);
    } else if (!e && !state.whole) {
        write_format(
            &sql, "SELECT n.nspname, c.relname FROM pg_catalog.pg_publication p JOIN "
                  "pg_catalog.pg_publication_rel r ON r.prpubid = p.oid JOIN "
                  "pg_catalog.pg_class c ON c.oid = r.prrelid JOIN pg_catalog.pg_namespace n "
                  "ON n.oid = c.relnamespace WHERE p.pubname = ");
        pg_quote_text(&sql, publication);
        write_u8(&sql, 0);
        e = pg_query(p->pg, (const char *)sql.at, NULL, 0, &there);
        if (!e) {
            plan_difference(p, publication, inserts, there);
        }
    }
    pg_rows_free(there);
    writer_fini(&name);
    writer_fini(&sql);
    return e;
}

static err plan_slot(struct planner *p)
{
    struct setup_slot_state state;
    struct writer sql = {0};
    err e = setup_slot_state(p->pg, p->ask->slot, &state);

    if (e != ERR_NOT_FOUND) {
        return e;
    }
    write_format(&sql, "SELECT pg_create_logical_replication_slot(");
    pg_quote_text(&sql, view_text(p->ask->slot));
    write_format(&sql, ", 'pgoutput')");
    add_step(p, &sql,
             "keeps the server's log until it is captured; last, for what is published later "
             "than a slot's place cannot be read from there; not inside a transaction");
    p->plan->makes_slot = true;
    writer_fini(&sql);
    return OK;
}

err setup_plan(struct pg *pg, const struct setup_ask *ask, struct arena *arena,
               struct setup_plan *out)
{
    struct planner p = {.pg = pg, .ask = ask, .arena = arena, .plan = out};

    assert(ask->publication);
    *out = (struct setup_plan){0};
    err e = setup_tables(pg, ask, arena, &p.tables, &p.table_count);
    for (size_t i = 0; !e && i < p.table_count; i++) {
        if (p.tables[i].makes_full) {
            e = plan_identity(&p, &p.tables[i]);
        }
    }
    e = e ? e : plan_publication(&p, false);
    e = e ? e : plan_publication(&p, true);
    return e || !ask->slot ? e : plan_slot(&p);
}

err setup_drop_plan(struct pg *pg, const struct setup_ask *ask, struct arena *arena,
                    struct setup_plan *out)
{
    struct planner p = {.pg = pg, .ask = ask, .arena = arena, .plan = out};
    struct writer sql = {0};
    struct setup_slot_state held;
    err e = OK;

    *out = (struct setup_plan){0};
    for (int inserts = 0; inserts < 2 && !e && ask->publication; inserts++) {
        struct writer name = {0};
        struct publication state;
        publication_name(&name, ask->publication, inserts);
        e = look_up_publication(pg, view_text((const char *)name.at), inserts, &state);
        if (!e && state.found) {
            writer_reset(&sql);
            write_format(&sql, "DROP PUBLICATION ");
            pg_quote_name(&sql, view_text((const char *)name.at));
            add_step(&p, &sql, "nothing is captured any more");
        }
        writer_fini(&name);
    }
    err slot = e || !ask->slot ? ERR_NOT_FOUND : setup_slot_state(pg, ask->slot, &held);
    if (!slot) {
        writer_reset(&sql);
        write_format(&sql, "SELECT pg_drop_replication_slot(");
        pg_quote_text(&sql, view_text(ask->slot));
        write_format(&sql, ")");
        add_step(&p, &sql, "it would keep the server's log for ever");
    }
    writer_fini(&sql);
    return e ? e : slot == ERR_NOT_FOUND ? OK : slot;
}

err setup_run(struct pg *pg, const struct setup_plan *plan)
{
    size_t count = plan->count - (plan->makes_slot ? 1 : 0);
    err e = count ? pg_run(pg, "BEGIN; SET LOCAL lock_timeout = " LOCK_MS) : OK;

    for (size_t i = 0; i < count && !e; i++) {
        e = pg_query(pg, plan->steps[i].sql, NULL, 0, NULL);
        if (e) {
            (void)fault_prefix("%.120s: ", plan->steps[i].sql);
        }
    }
    if (e) {
        struct fault kept = fault_here;
        err undone = pg_run(pg, "ROLLBACK");
        (void)undone; /* a broken connection rolls back by itself */
        fault_here = kept;
        return e;
    }
    return count ? pg_run(pg, "COMMIT") : OK;
}

void setup_to_json(const struct setup_plan *plan, struct json_writer *j)
{
    json_array(j);
    for (size_t i = 0; i < plan->count; i++) {
        json_object(j);
        json_name(j, "sql");
        json_text(j, plan->steps[i].sql);
        json_name(j, "why");
        json_text(j, plan->steps[i].why);
        json_end_object(j);
    }
    json_end_array(j);
}

void setup_to_sql(const struct setup_plan *plan, struct writer *out)
{
    for (size_t i = 0; i < plan->count; i++) {
        write_format(out, "%s-- %s\n%s;\n", i ? "\n" : "", plan->steps[i].why,
                     plan->steps[i].sql);
    }
}

err setup_publications(struct pg *pg, const char *publication, struct writer *out)
{
    struct writer both = {0}, list = {0};
    size_t count = 0;
    err e = OK;

    for (int inserts = 0; inserts < 2 && !e; inserts++) {
        struct publication state;
        writer_reset(&both);
        publication_name(&both, publication, inserts);
        e = look_up_publication(pg, view_text((const char *)both.at), inserts, &state);
        if (!e && state.found) {
            write_format(&list, count++ ? "," : "");
            pg_quote_name(&list, view_text((const char *)both.at));
        }
    }
    if (!e && !count) {
        e = fault(ERR_NOT_FOUND, "there is no publication %s", publication);
    }
    if (!e) {
        pg_quote_text(out, writer_view(&list));
    }
    writer_fini(&both);
    writer_fini(&list);
    return e;
}
