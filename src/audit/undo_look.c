/* undo_look.c - rows as they are now, and whether that is what was meant.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/pg.h"
#include "audit/undo_inside.h"

err undo_try(struct undo_running *run, const char *sql, const view *parameters, size_t count,
             struct pg_rows **rows)
{
    *rows = NULL;
    err e = pg_run(run->pg, "SAVEPOINT tidemark_look");
    if (e) {
        return e;
    }
    if (pg_query(run->pg, sql, parameters, count, rows)) {
        *rows = NULL;
        return pg_run(run->pg, "ROLLBACK TO SAVEPOINT tidemark_look");
    }
    e = pg_run(run->pg, "RELEASE SAVEPOINT tidemark_look");
    if (e) {
        pg_rows_free(*rows);
        *rows = NULL;
    }
    return e;
}

static void write_columns(const struct catalog_table *table, struct writer *out)
{
    bool first = true;

    for (int i = 0; i < table->count; i++) {
        if (!table->columns[i].dropped) {
            write_format(out, "%s%.*s", first ? "" : ", ", VIEW_ARG(table->columns[i].quoted));
            first = false;
        }
    }
}

static struct value *image_of(struct arena *arena, const struct catalog_table *table,
                              const struct pg_rows *rows)
{
    struct value *image = arena_take(arena, ((size_t)table->count + 1) * sizeof(*image));

    for (int i = 0, at = 0; i < table->count; i++) {
        if (table->columns[i].dropped) {
            continue;
        }
        view text = pg_value(rows, 0, at++);
        image[i].kind = text.at ? VALUE_TEXT : VALUE_NULL;
        image[i].text = text.at ? arena_copy(arena, text) : (view){0};
    }
    return image;
}

err undo_look(struct undo_running *run, const struct catalog_table *table,
              const struct value *image, bool lock, struct value **found)
{
    struct writer sql = {0};
    struct pg_rows *rows = NULL;

    assert(table->key);
    *found = NULL;
    write_format(&sql, "SELECT ");
    write_columns(table, &sql);
    write_format(&sql, " FROM %.*s WHERE ", VIEW_ARG(table->quoted));
    undo_sql_where(table, table->key->columns, table->key->count, image, &sql);
    write_format(&sql, "%s", lock ? " FOR UPDATE" : "");
    write_u8(&sql, 0);
    err e = pg_query(run->pg, (const char *)sql.at, NULL, 0, &rows);
    if (!e && pg_row_count(rows)) {
        *found = image_of(&run->plan->arena, table, rows);
    }
    pg_rows_free(rows);
    writer_fini(&sql);
    return e;
}

err undo_same(struct undo_running *run, const struct catalog_column *column,
              struct value *meant, const struct value *now, bool *same, bool *fits)
{
    struct pg_rows *rows = NULL;

    *fits = true;
    *same = value_is(meant, now);
    if (*same || meant->kind != VALUE_TEXT || now->kind != VALUE_TEXT) {
        return OK;
    }
    char *sql = text_format("SELECT CAST($1 AS %.*s)", VIEW_ARG(column->type_name));
    err e = undo_try(run, sql, &meant->text, 1, &rows);
    free(sql);
    *fits = rows != NULL;
    if (!e && rows) {
        view text = pg_value(rows, 0, 0);
        if (text.at && view_is(text, now->text)) {
            *same = true;
            meant->text = now->text;
            run->adjusted = true;
        }
    }
    pg_rows_free(rows);
    return e;
}

struct undo_row *undo_planned(const struct undo_running *run, const struct catalog_table *table,
                              const struct value *image)
{
    struct writer name = {0};
    struct undo_row *row = NULL;

    write_format(&name, "%u ", table->oid);
    if (table->key && undo_values(image, table->key->columns, table->key->count, &name)) {
        row = map_get(&run->rows, writer_view(&name));
    }
    writer_fini(&name);
    return row;
}
