/* undo_joined.c - foreign keys: what a row refers to must be there, and who refers to a row
 * that goes must not be carried along unseen. Rows of the plan itself are no surprise.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/pg.h"
#include "audit/undo_inside.h"

#define DEPENDENTS_SHOWN 20

/* Values of one end of a foreign key, laid over the columns of the other. */
static struct value *across(struct arena *arena, const struct catalog_table *to,
                            const struct value *image, const int *from_columns,
                            const int *to_columns, int count)
{
    struct value *other = arena_take(arena, ((size_t)to->count + 1) * sizeof(*other));

    for (int i = 0; i < count; i++) {
        other[to_columns[i]] = image[from_columns[i]];
    }
    return other;
}

static bool all_known(const struct value *image, const int *columns, int count)
{
    for (int i = 0; i < count; i++) {
        if (image[columns[i]].kind != VALUE_TEXT) {
            return false;
        }
    }
    return true;
}

/* What the plan itself brings back for a foreign key to refer to. */
static void find_provided(struct undo_running *run, const struct catalog_foreign *f,
                          struct map *out)
{
    struct writer text = {0};

    for (size_t i = 0; i < run->plan->row_count; i++) {
        struct undo_row *row = run->plan->rows[i];
        writer_reset(&text);
        if (row->table == f->to && row->before &&
            undo_values(row->before, f->to_columns, f->count, &text)) {
            map_put(out, arena_copy(&run->plan->arena, writer_view(&text)), row);
        }
    }
    writer_fini(&text);
}

static bool is_provided(struct undo_running *run, size_t foreign, const struct value *image)
{
    const struct catalog_foreign *f = &run->plan->catalog->foreigns[foreign];
    struct map *map = &run->provided[foreign];
    struct writer text = {0};

    if (!map->count) {
        find_provided(run, f, map);
    }
    bool found = undo_values(image, f->from_columns, f->count, &text) &&
                 map_get(map, writer_view(&text));
    writer_fini(&text);
    return found;
}

static void parent_missing(struct undo_running *run, const struct undo_row *row,
                           const struct catalog_foreign *f)
{
    struct undo_plan *plan = run->plan;
    view value = row->before[f->from_columns[0]].text;
    struct undo_note *note = undo_conflict(
        plan, UNDO_FOREIGN_KEY_MISSING, row, "%.*s refers to %.*s %.*s, which is gone (%.*s)",
        VIEW_ARG(undo_row_words(plan, row)), VIEW_ARG(f->to->quoted), VIEW_ARG(value),
        VIEW_ARG(f->name));

    for (int i = 0; i < f->count; i++) {
        undo_note_column(plan, note, f->from->columns[f->from_columns[i]].name);
    }
    note->value = value;
    undo_note_fix(plan, note, "put that row of %.*s back first", VIEW_ARG(f->to->quoted));
}

static err check_parent(struct undo_running *run, const struct undo_row *row, size_t foreign)
{
    const struct catalog_foreign *f = &run->plan->catalog->foreigns[foreign];
    struct writer sql = {0};
    struct pg_rows *rows = NULL;

    if (is_provided(run, foreign, row->before)) {
        return OK;
    }
    write_format(&sql, "SELECT 1 FROM %.*s WHERE ", VIEW_ARG(f->to->quoted));
    undo_sql_where(
        f->to, f->to_columns, f->count,
        across(&run->plan->arena, f->to, row->before, f->from_columns, f->to_columns, f->count),
        &sql);
    write_u8(&sql, 0);
    err e = pg_query(run->pg, (const char *)sql.at, NULL, 0, &rows);
    if (!e && !pg_row_count(rows)) {
        parent_missing(run, row, f);
    }
    pg_rows_free(rows);
    writer_fini(&sql);
    return e;
}

err undo_check_parents(struct undo_running *run, const struct undo_row *row)
{
    const struct catalog *c = run->plan->catalog;
    err e = OK;

    for (size_t i = 0; !e && row->before && i < c->foreign_count; i++) {
        const struct catalog_foreign *f = &c->foreigns[i];
        bool goes_along = row->cascaded && row->cascaded[f->from_columns[0]];
        if (f->from == row->table && !goes_along &&
            undo_touches(row, f->from_columns, f->count) &&
            all_known(row->before, f->from_columns, f->count)) {
            e = check_parent(run, row, i);
        }
    }
    return e;
}

/* SELECT of the columns that name rows of the table. */
static void write_names(const struct catalog_table *table, struct writer *out)
{
    bool first = true;

    for (int i = 0; i < table->count; i++) {
        bool is_named = !table->key;
        for (int k = 0; table->key && k < table->key->count; k++) {
            is_named = is_named || table->key->columns[k] == i;
        }
        if (is_named && !table->columns[i].dropped) {
            write_format(out, "%s%.*s", first ? "" : ", ", VIEW_ARG(table->columns[i].quoted));
            first = false;
        }
    }
}

static struct value *named(struct arena *arena, const struct catalog_table *table,
                           const struct pg_rows *rows, size_t row)
{
    struct value *image = arena_take(arena, ((size_t)table->count + 1) * sizeof(*image));

    for (int i = 0; i < pg_column_count(rows); i++) {
        view text = pg_value(rows, row, i);
        for (int k = 0; k < table->count; k++) {
            if (view_is_text(table->columns[k].name, pg_column_name(rows, i))) {
                image[k].kind = text.at ? VALUE_TEXT : VALUE_NULL;
                image[k].text = text.at ? arena_copy(arena, text) : text;
            }
        }
    }
    return image;
}

struct dependents {
    struct writer json;
    struct json_writer j;
    size_t count;
};

static void add_dependent(struct dependents *d, const struct catalog_table *table,
                          const struct value *image)
{
    if (!d->count) {
        d->j = json_to(&d->json);
        json_array(&d->j);
    }
    if (d->count++ < DEPENDENTS_SHOWN) {
        json_object(&d->j);
        json_name(&d->j, "schema");
        json_view(&d->j, table->schema);
        json_name(&d->j, "table");
        json_view(&d->j, table->name);
        json_name(&d->j, "key");
        undo_key_json(table, image, &d->j);
        json_end_object(&d->j);
    }
}

/* Rows that refer to this one and that the plan does not take away itself. */
static err find_children(struct undo_running *run, const struct undo_row *row,
                         const struct catalog_foreign *f, struct dependents *d)
{
    struct writer sql = {0};
    struct pg_rows *rows = NULL;
    struct arena arena = {0};
    struct value *image =
        across(&arena, f->from, row->after, f->to_columns, f->from_columns, f->count);

    write_format(&sql, "SELECT ");
    write_names(f->from, &sql);
    write_format(&sql, " FROM %.*s WHERE ", VIEW_ARG(f->from->quoted));
    undo_sql_where(f->from, f->from_columns, f->count, image, &sql);
    write_format(&sql, " LIMIT %zu", run->plan->row_count + DEPENDENTS_SHOWN + 1);
    write_u8(&sql, 0);
    err e = pg_query(run->pg, (const char *)sql.at, NULL, 0, &rows);
    for (size_t i = 0; !e && i < pg_row_count(rows); i++) {
        struct value *child = named(&arena, f->from, rows, i);
        const struct undo_row *planned = undo_planned(run, f->from, child);
        if (!planned || !undo_touches(planned, f->from_columns, f->count)) {
            add_dependent(d, f->from, child);
        }
    }
    pg_rows_free(rows);
    writer_fini(&sql);
    arena_fini(&arena);
    return e;
}

static void has_children(struct undo_running *run, const struct undo_row *row,
                         const struct catalog_foreign *f, struct dependents *d)
{
    struct undo_plan *plan = run->plan;
    char action = row->before ? f->on_update : f->on_delete;
    view name = undo_row_words(plan, row), from = f->from->quoted;
    struct undo_note *note = NULL;

    json_end_array(&d->j);
    if (row->before && action == 'c') {
        note = undo_warning(plan, UNDO_WOULD_CASCADE, row,
                            "%zu other row(s) of %.*s refer to %.*s and take its old key too",
                            d->count, VIEW_ARG(from), VIEW_ARG(name));
    } else if (action == 'a' || action == 'r') {
        note = undo_conflict(plan, UNDO_FOREIGN_KEY_MISSING, row,
                             "%zu row(s) of %.*s that came later refer to %.*s (%.*s)",
                             d->count, VIEW_ARG(from), VIEW_ARG(name), VIEW_ARG(f->name));
    } else {
        note = undo_conflict(plan, UNDO_WOULD_CASCADE, row,
                             "%zu row(s) of %.*s that came later would be %s with %.*s",
                             d->count, VIEW_ARG(from), action == 'c' ? "deleted" : "changed",
                             VIEW_ARG(name));
    }
    undo_note_fix(plan, note,
                  "look at those rows of %.*s first: delete them, or let them "
                  "refer to another row",
                  VIEW_ARG(from));
    note->dependents = arena_copy(&plan->arena, writer_view(&d->json));
}

err undo_check_children(struct undo_running *run, const struct undo_row *row)
{
    const struct catalog *c = run->plan->catalog;
    err e = OK;

    for (size_t i = 0; !e && row->after && i < c->foreign_count; i++) {
        const struct catalog_foreign *f = &c->foreigns[i];
        struct dependents d = {0};
        if (f->to == row->table && undo_touches(row, f->to_columns, f->count) &&
            all_known(row->after, f->to_columns, f->count)) {
            e = find_children(run, row, f, &d);
            if (!e && d.count) {
                has_children(run, row, f, &d);
            }
        }
        writer_fini(&d.json);
    }
    return e;
}
