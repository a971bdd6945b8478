/* check_tables.c - the tables: may they be read and published, what will their changes lack?
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/check_inside.h"

#define NAMES_SHOWN 10

static const char *quoted(struct checking *c, const struct setup_table *t)
{
    struct writer out = {0};

    pg_quote_name(&out, t->schema);
    write_u8(&out, '.');
    pg_quote_name(&out, t->name);
    const char *text = arena_text(c->arena, writer_view(&out));
    writer_fini(&out);
    return text;
}

static const char *titled(struct checking *c, const struct setup_table *t)
{
    return arena_format(c->arena, "table %.*s.%.*s", VIEW_ARG(t->schema), VIEW_ARG(t->name));
}

static void check_keyless(struct checking *c, const struct setup_table *t)
{
    bool nothing = t->identity == 'n' && t->has_primary;
    const char *fix =
        nothing
            ? arena_format(c->arena, "ALTER TABLE %s REPLICA IDENTITY DEFAULT;", quoted(c, t))
            : arena_format(c->arena,
                           "ALTER TABLE %s ADD PRIMARY KEY (COLUMNS); or --keyless full, or "
                           "--keyless insert-only",
                           quoted(c, t));
    const char *now = nothing ? "its replica identity is NOTHING" : "it has no key";
    struct finding *f = NULL;

    if (t->refused) {
        f = check_add(c, FINDING_BLOCKS, titled(c, t),
                      "the server refuses each UPDATE and DELETE of it, whoever sends it",
                      "%s, and a publication has its updates", now);
        f->fix = arena_format(c->arena,
                              "ALTER TABLE %s REPLICA IDENTITY %s; or take it out of the "
                              "publication",
                              quoted(c, t), nothing ? "DEFAULT" : "FULL");
        return;
    }
    if (t->makes_full) {
        f = check_add(c, FINDING_WARNS, titled(c, t),
                      "with REPLICA IDENTITY FULL each update and delete writes the whole old "
                      "row into the server's log; rows that are equal cannot be told apart",
                      "%s; it gets REPLICA IDENTITY FULL", now);
    } else if (t->insert_only) {
        f = check_add(c, FINDING_WARNS, titled(c, t),
                      "published updates of such a table would be refused by the server",
                      "%s; only its inserts and truncates are captured", now);
    } else {
        f = check_add(c, FINDING_WARNS, titled(c, t),
                      "published updates of such a table would be refused by the server",
                      "%s; it is not captured", now);
    }
    f->fix = fix;
}

static void check_table(struct checking *c, const struct setup_table *t)
{
    if (t->unlogged) {
        struct finding *f = check_add(c, FINDING_WARNS, titled(c, t),
                                      "what happens to it is not in the server's log",
                                      "it is unlogged; it is not captured");
        f->fix = arena_format(c->arena, "ALTER TABLE %s SET LOGGED;", quoted(c, t));
        return;
    }
    if (!t->has_key) {
        check_keyless(c, t);
    }
    if (t->row_security && !t->skipped) {
        struct finding *f = check_add(
            c, FINDING_BLOCKS, titled(c, t), "a snapshot of a part of the rows would be wrong",
            "row level security hides rows of it from %s", c->role_name);
        f->fix = arena_format(c->arena, "ALTER ROLE %s BYPASSRLS;", c->role);
    }
}

enum lack { LACK_SELECT, LACK_OWNER, LACK_OLD_VALUES };

static bool lacks(const struct setup_table *t, enum lack lack)
{
    switch (lack) {
    case LACK_SELECT:
        return !t->may_read;
    case LACK_OWNER:
        return !t->is_owned && !t->published;
    default:
        return t->has_large && t->has_key && t->identity != 'f';
    }
}

/* "a.b, c.d and 7 more" and, for statements, all of them with quotes. */
static size_t list_lacking(struct checking *c, const struct setup_table *tables, size_t count,
                           enum lack lack, const char **names, const char **all)
{
    struct writer shown = {0}, whole = {0};
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        const struct setup_table *t = &tables[i];
        if (t->skipped || !lacks(t, lack)) {
            continue;
        }
        write_format(&whole, "%s%s", found ? ", " : "", quoted(c, t));
        if (found++ < NAMES_SHOWN) {
            write_format(&shown, "%s%.*s.%.*s", found > 1 ? ", " : "", VIEW_ARG(t->schema),
                         VIEW_ARG(t->name));
        }
    }
    if (found > NAMES_SHOWN) {
        write_format(&shown, " and %zu more", found - NAMES_SHOWN);
    }
    *names = arena_text(c->arena, writer_view(&shown));
    *all = arena_text(c->arena, writer_view(&whole));
    writer_fini(&shown);
    writer_fini(&whole);
    return found;
}

static bool said_before(const struct setup_table *tables, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (!tables[i].skipped && lacks(&tables[i], LACK_OWNER) &&
            view_is(tables[i].owner, tables[at].owner)) {
            return true;
        }
    }
    return false;
}

/* A member of the owning role counts as owner: less than to change the owner. */
static const char *owner_fix(struct checking *c, const struct setup_table *tables, size_t count)
{
    struct writer out = {0};

    for (size_t i = 0; i < count; i++) {
        if (!tables[i].skipped && lacks(&tables[i], LACK_OWNER) && tables[i].owner.len &&
            !said_before(tables, i)) {
            write_format(&out, "%sGRANT ", out.len ? " " : "");
            pg_quote_name(&out, tables[i].owner);
            write_format(&out, " TO %s;", c->role);
        }
    }
    write_format(&out, "%slet the owner run what --by-hand prints", out.len ? " or " : "");
    const char *text = arena_text(c->arena, writer_view(&out));
    writer_fini(&out);
    return text;
}

static const char *schema_grants(struct checking *c, const struct setup_table *tables,
                                 size_t count, const char *all)
{
    struct writer out = {0};

    for (size_t i = 0; i < count; i++) {
        bool is_new = !tables[i].skipped && !tables[i].may_read;
        for (size_t before = 0; before < i && is_new; before++) {
            is_new = tables[before].may_read || tables[before].skipped ||
                     !view_is(tables[before].schema, tables[i].schema);
        }
        if (is_new) {
            write_format(&out, "GRANT USAGE ON SCHEMA ");
            pg_quote_name(&out, tables[i].schema);
            write_format(&out, " TO %s; ", c->role);
        }
    }
    write_format(&out, "GRANT SELECT ON %s TO %s;", all, c->role);
    const char *text = arena_text(c->arena, writer_view(&out));
    writer_fini(&out);
    return text;
}

static const char *full_fix(struct checking *c, const struct setup_table *tables, size_t count)
{
    struct writer out = {0};

    for (size_t i = 0; i < count; i++) {
        if (!tables[i].skipped && lacks(&tables[i], LACK_OLD_VALUES)) {
            write_format(&out, "%sALTER TABLE %s REPLICA IDENTITY FULL;", out.len ? " " : "",
                         quoted(c, &tables[i]));
        }
    }
    const char *text = arena_text(c->arena, writer_view(&out));
    writer_fini(&out);
    return text;
}

static void check_rights(struct checking *c, const struct setup_table *tables, size_t count)
{
    const char *names, *all;

    if (list_lacking(c, tables, count, LACK_SELECT, &names, &all)) {
        struct finding *f =
            check_add(c, FINDING_BLOCKS, "privilege to read",
                      "the rows that are there already are read at the start; with "
                      "snapshot=false they are not",
                      "%s may not read %s", c->role_name, names);
        f->fix = schema_grants(c, tables, count, all);
    }
    if (!c->is_super && list_lacking(c, tables, count, LACK_OWNER, &names, &all)) {
        struct finding *f =
            check_add(c, FINDING_BLOCKS, "ownership", "only its owner may publish a table",
                      "%s does not own %s", c->role_name, names);
        f->fix = owner_fix(c, tables, count);
    }
}

static void check_images(struct checking *c, const struct setup_table *tables, size_t count)
{
    const char *names, *all;
    size_t full = 0, others = 0;

    if (list_lacking(c, tables, count, LACK_OLD_VALUES, &names, &all)) {
        struct finding *f = check_add(
            c, FINDING_WARNS, "replica identity",
            "large values that an update leaves alone are not sent: they are filled in from "
            "earlier changes of the row or, when there are none, marked unknown. FULL sends "
            "them, for about a fifth more log per updated row, and more for large values",
            "large values in %s", names);
        f->fix = full_fix(c, tables, count);
    }
    for (size_t i = 0; i < count; i++) {
        bool is_full = tables[i].identity == 'f' || tables[i].makes_full;
        full += !tables[i].skipped && is_full;
        others += !tables[i].skipped && !is_full;
    }
    (void)check_add(c, FINDING_FINE, "old values",
                    "without FULL the server sends an update's new row and a delete's key; the "
                    "old row then comes from the trail, which has it since the snapshot",
                    "%zu by key, %zu with REPLICA IDENTITY FULL", others, full);
}

static err check_publication(struct checking *c)
{
    struct setup_plan plan;
    struct setup_ask ask = c->ask->setup;
    struct writer sql = {0};

    if (!ask.publication) {
        return OK;
    }
    ask.slot = NULL; /* is a finding of its own */
    err e = setup_plan(c->pg, &ask, c->arena, &plan);
    if (e) {
        return e;
    }
    for (size_t i = 0; i < plan.count; i++) {
        write_format(&sql, "%s%s;", i ? " " : "", plan.steps[i].sql);
    }
    if (plan.count && c->ask->exists) {
        struct finding *f = check_add(c, FINDING_WARNS, "publication",
                                      "it is not what the source's tables ask for",
                                      "%s is not as it should be", ask.publication);
        f->fix = arena_text(c->arena, writer_view(&sql));
    } else {
        (void)check_add(c, FINDING_FINE, "publication", NULL, "%s%s",
                        plan.count ? "`source create` makes it" : ask.publication,
                        plan.count ? "" : " is there");
    }
    writer_fini(&sql);
    return OK;
}

static err check_context(struct checking *c)
{
    const char *v[2];
    err e = check_ask_row(c,
                          "SELECT pg_catalog.to_regnamespace('tidemark') IS NOT NULL, EXISTS "
                          "(SELECT FROM pg_catalog.pg_proc WHERE proname = "
                          "'_bemi_row_trigger_func')",
                          v, 2);

    if (!e) {
        bool own = v[0] && v[0][0] == 't', package = v[1] && v[1][0] == 't';
        struct finding *f = check_add(
            c, FINDING_FINE, "context",
            "who and why comes with what the application says in its transaction", "%s",
            package ? "a package's triggers send it"
            : own   ? "select tidemark.context('{..}') sends it"
                    : "nothing in the database sends it yet");
        f->fix = own || package
                     ? NULL
                     : "`tidemark source edit SOURCE --install-context`, or a package "
                       "for the application's language";
    }
    return e;
}

err check_tables(struct checking *c)
{
    struct setup_table *tables = NULL;
    size_t count = 0;
    err e = setup_tables(c->pg, &c->ask->setup, c->arena, &tables, &count);

    if (e) {
        return e;
    }
    for (size_t i = 0; i < count; i++) {
        check_table(c, &tables[i]);
        c->check->tables += !tables[i].skipped;
    }
    if (!c->check->tables) {
        struct finding *f = check_add(c, FINDING_WARNS, "tables", NULL,
                                      "none of %zu tables is captured", count);
        f->fix = c->ask->setup.tables ? "tables=PATTERN,... chooses them: schema.table with * "
                                        "and ?"
                                      : NULL;
    } else {
        (void)check_add(c, FINDING_FINE, "tables", NULL, "%zu of %zu are captured",
                        c->check->tables, count);
    }
    check_rights(c, tables, count);
    if (c->check->tables) {
        check_images(c, tables, count);
    }
    e = check_publication(c);
    return e ? e : check_context(c);
}
