/* asof_into.c - a table as it was, straight into a database.
 *
 * One transaction: the table is made when it is missing (columns, types and key; no defaults,
 * constraints or indexes besides, which no change record tells), must else be empty, and is
 * filled by COPY. The rows come from a thread of the caller's: COPY asks for pieces, so the
 * rows are walked in pages of their keys. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "audit/asof.h"
#include "audit/pg.h"

#define PIECE_BYTES (256u << 10)

struct copying {
    struct asof *asof;
    struct writer piece, key; /* key: of the last row in piece */
    bool started, ended;
};

static void copy_text(view text, struct writer *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        const char *escaped = c == '\\'   ? "\\\\"
                              : c == '\t' ? "\\t"
                              : c == '\n' ? "\\n"
                              : c == '\r' ? "\\r"
                                          : NULL;
        if (escaped) {
            write_bytes(out, escaped, 2);
        } else {
            write_u8(out, c);
        }
    }
}

static err copy_row(void *self, view key, const struct value *values)
{
    struct copying *c = self;
    const struct relation *relation = asof_relation(c->asof);

    for (int i = 0; i < relation->count; i++) {
        if (i) {
            write_u8(&c->piece, '\t');
        }
        if (values[i].kind == VALUE_TEXT) {
            copy_text(values[i].text, &c->piece);
        } else {
            write_view(&c->piece, VIEW("\\N"));
        }
    }
    write_u8(&c->piece, '\n');
    writer_reset(&c->key);
    write_view(&c->key, key);
    return c->piece.len < PIECE_BYTES ? OK : ERR_CANCELLED;
}

static err next_piece(void *self, view *piece)
{
    struct copying *c = self;
    err e = OK;

    writer_reset(&c->piece);
    if (!c->ended) {
        view behind = c->started ? writer_view(&c->key) : (view){0};
        struct writer copy = {0};
        write_view(&copy, behind); /* copy_row writes to c->key meanwhile */
        e = asof_rows(c->asof, writer_view(&copy), copy_row, c);
        c->started = true;
        c->ended = e == OK;
        e = e == ERR_CANCELLED ? OK : e;
        writer_fini(&copy);
    }
    *piece = writer_view(&c->piece);
    return e;
}

static void write_table(const struct relation *relation, struct writer *out)
{
    pg_quote_name(out, relation->schema);
    write_u8(out, '.');
    pg_quote_name(out, relation->name);
}

/* A type's own name, or what the target calls its number. */
static err write_type(struct pg *pg, const struct column *column, struct writer *out)
{
    struct pg_rows *rows = NULL;
    char oid[16], modifier[16];

    if (column->type_name.len) {
        write_view(out, column->type_name);
        return OK;
    }
    snprintf(oid, sizeof(oid), "%u", column->type);
    snprintf(modifier, sizeof(modifier), "%d", column->modifier);
    const view parameters[] = {view_text(oid), view_text(modifier)};
    err e =
        pg_query(pg, "SELECT pg_catalog.format_type($1::oid, $2::int4)", parameters, 2, &rows);
    if (!e) {
        write_view(out, pg_row_count(rows) ? pg_value(rows, 0, 0) : VIEW("text"));
    }
    pg_rows_free(rows);
    return e;
}

static void write_key(const struct relation *relation, struct writer *out)
{
    const char *between = ", PRIMARY KEY (";

    if (asof_is_keyless(relation) || relation->identity == 'i') {
        return;
    }
    for (int i = 0; i < relation->count; i++) {
        if (relation->columns[i].key) {
            write_format(out, "%s", between);
            pg_quote_name(out, relation->columns[i].name);
            between = ", ";
        }
    }
    write_u8(out, ')');
}

static err make_table(struct pg *pg, const struct relation *relation)
{
    struct writer sql = {0};
    err e = OK;

    write_view(&sql, VIEW("CREATE SCHEMA IF NOT EXISTS "));
    pg_quote_name(&sql, relation->schema);
    write_view(&sql, VIEW("; CREATE TABLE IF NOT EXISTS "));
    write_table(relation, &sql);
    write_view(&sql, VIEW(" ("));
    for (int i = 0; i < relation->count && !e; i++) {
        write_view(&sql, i ? VIEW(", ") : VIEW(""));
        pg_quote_name(&sql, relation->columns[i].name);
        write_u8(&sql, ' ');
        e = write_type(pg, &relation->columns[i], &sql);
    }
    write_key(relation, &sql);
    write_view(&sql, VIEW(")"));
    e = e ? e : pg_run(pg, "%.*s", VIEW_ARG(writer_view(&sql)));
    writer_fini(&sql);
    return e;
}

static err must_be_empty(struct pg *pg, const struct relation *relation)
{
    struct writer sql = {0};
    struct pg_rows *rows = NULL;

    write_view(&sql, VIEW("SELECT 1 FROM "));
    write_table(relation, &sql);
    write_view(&sql, VIEW(" LIMIT 1"));
    write_u8(&sql, '\0');
    err e = pg_query(pg, (const char *)sql.at, NULL, 0, &rows);
    if (!e && pg_row_count(rows)) {
        e = fault(ERR_CONFLICT,
                  "%.*s.%.*s of the target has rows: it must be empty, or not be there",
                  VIEW_ARG(relation->schema), VIEW_ARG(relation->name));
    }
    pg_rows_free(rows);
    writer_fini(&sql);
    return e;
}

static err copy_all(struct pg *pg, struct asof *asof)
{
    const struct relation *relation = asof_relation(asof);
    struct copying c = {.asof = asof};
    struct writer sql = {0};

    write_view(&sql, VIEW("COPY "));
    write_table(relation, &sql);
    for (int i = 0; i < relation->count; i++) {
        write_view(&sql, i ? VIEW(", ") : VIEW(" ("));
        pg_quote_name(&sql, relation->columns[i].name);
    }
    write_view(&sql, VIEW(") FROM STDIN"));
    write_u8(&sql, '\0');
    err e = pg_copy_in(pg, (const char *)sql.at, next_piece, &c);
    writer_fini(&sql);
    writer_fini(&c.piece);
    writer_fini(&c.key);
    return e;
}

err asof_into(struct asof *asof, const char *url, const char *password)
{
    const struct pg_target target = {
        .url = url, .password = password, .application = "tidemark export"};
    const struct relation *relation = asof_relation(asof);
    struct asof_about about;
    struct pg *pg = NULL;

    asof_about(asof, &about);
    if (about.unknown) {
        return fault(ERR_UNSUPPORTED,
                     "%lld values of the table are not known, and a database has no word for "
                     "that: export as json or sql, which leave them out",
                     (long long)about.unknown);
    }
    err e = pg_open(&target, &pg);
    e = e ? e : pg_run(pg, "BEGIN");
    e = e ? e : make_table(pg, relation);
    e = e ? e : must_be_empty(pg, relation);
    e = e ? e : copy_all(pg, asof);
    e = e ? e : pg_run(pg, "COMMIT");
    pg_close(pg); /* what did not commit is rolled back */
    return e;
}
