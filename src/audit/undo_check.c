/* undo_check.c - every row of a plan is locked and compared with what the changes left.
 *
 * Rows are locked in the order of table and key, so that two who undo at the same time wait
 * for each other rather than block each other. All conflicts are found, not the first alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/pg.h"
#include "audit/undo_inside.h"

#define VALUE_WORDS_MAX 60 /* bytes of a value in a sentence */

static view shown(const struct value *value)
{
    return value->kind == VALUE_TEXT ? view_upto(value->text, VALUE_WORDS_MAX) : VIEW("null");
}

static const char *dots(const struct value *value)
{
    return value->kind == VALUE_TEXT && value->text.len > VALUE_WORDS_MAX ? "..." : "";
}

static void row_missing(struct undo_plan *plan, struct undo_row *row)
{
    struct undo_note *note = undo_conflict(plan, UNDO_ROW_MISSING, row, "%.*s is gone",
                                           VIEW_ARG(undo_row_words(plan, row)));

    undo_note_fix(plan, note, "undo what deleted it first, or go back further with --to");
    row->stopped = true;
}

static void changed_since(struct undo_plan *plan, struct undo_row *row, int column,
                          const struct value *now, struct undo_note **note)
{
    const struct catalog_column *c = &row->table->columns[column];
    bool is_undone = row->before && value_is(now, &row->before[column]);

    if (!*note) {
        *note = undo_conflict(
            plan, UNDO_CHANGED_SINCE, row, "%.*s: %.*s is %.*s%s now, the change left %.*s%s",
            VIEW_ARG(undo_row_words(plan, row)), VIEW_ARG(c->name), VIEW_ARG(shown(now)),
            dots(now), VIEW_ARG(shown(&row->after[column])), dots(&row->after[column]));
        (*note)->value = now->kind == VALUE_TEXT ? now->text : (view){0};
        undo_note_fix(plan, *note, "%s",
                      is_undone ? "it holds what it held before: was this undone already?"
                                : "undo the later change first, or go back further with --to");
    }
    undo_note_column(plan, *note, c->name);
    row->stopped = true;
}

static void not_fitting(struct undo_plan *plan, struct undo_row *row, int column)
{
    const struct catalog_column *c = &row->table->columns[column];
    struct undo_note *note = undo_conflict(
        plan, UNDO_COLUMN_RETYPED, row, "%.*s: %.*s is %.*s now and cannot be %.*s",
        VIEW_ARG(undo_row_words(plan, row)), VIEW_ARG(c->name), VIEW_ARG(c->type_name),
        VIEW_ARG(shown(&row->after[column])));

    undo_note_column(plan, note, c->name);
    undo_note_fix(plan, note, "put the value back by hand, in the new type's form");
    row->stopped = true;
}

/* Of an update what it changed, of a create all that it wrote. */
static err compare(struct undo_running *run, struct undo_row *row, const struct value *now)
{
    struct undo_note *note = NULL;
    err e = OK;

    for (int i = 0; !e && i < row->table->count; i++) {
        const struct catalog_column *column = &row->table->columns[i];
        bool counts = (!row->before || row->set[i]) && value_is_known(&row->after[i]) &&
                      !column->dropped && !column->generated && !column->masked;
        bool same = true, fits = true;
        if (counts) {
            e = undo_same(run, column, &row->after[i], &now[i], &same, &fits);
        }
        if (!e && !same && !fits) {
            not_fitting(run->plan, row, i);
        } else if (!e && !same) {
            changed_since(run->plan, row, i, &now[i], &note);
        }
    }
    return e;
}

/* The row that has the key now holds what would come back: it came back already. */
static bool is_back(const struct undo_row *row, const struct value *now)
{
    bool back = !row->after;

    for (int i = 0; back && i < row->table->count; i++) {
        back = !value_is_known(&row->before[i]) || row->table->columns[i].dropped ||
               value_is(&row->before[i], &now[i]);
    }
    return back;
}

static void key_exists(struct undo_plan *plan, struct undo_row *row, const struct value *now)
{
    const struct catalog_index *key = row->table->key;
    bool back = is_back(row, now);
    struct undo_row then = *row;

    then.after = NULL; /* the note is about the key that is to come back */
    struct undo_note *note = undo_conflict(
        plan, UNDO_KEY_EXISTS, &then, "%.*s was made anew since: the key is taken%s",
        VIEW_ARG(undo_row_words(plan, &then)), back ? ", by the same row" : "");
    for (int i = 0; i < key->count; i++) {
        undo_note_column(plan, note, row->table->columns[key->columns[i]].name);
    }
    undo_note_fix(plan, note, "%s",
                  back ? "it is as it was before: was this undone already?"
                       : "look at the row that has it now: tidemark row show");
    row->stopped = true;
}

static err check_key(struct undo_running *run, struct undo_row *row)
{
    const struct catalog_index *key = row->table->key;
    struct value *found = NULL;

    if (!row->before || !undo_touches(row, key->columns, key->count)) {
        return OK;
    }
    const struct undo_row *holder = undo_planned(run, row->table, row->before);
    if (holder && undo_touches(holder, key->columns, key->count)) {
        return OK; /* the plan itself frees it */
    }
    err e = undo_look(run, row->table, row->before, true, &found);
    if (!e && found) {
        key_exists(run->plan, row, found);
    }
    return e;
}

static bool is_own(const struct undo_running *run, const struct undo_row *row,
                   const struct catalog_index *index, const struct value *holder)
{
    const struct undo_row *planned = undo_planned(run, row->table, holder);

    return planned && (planned == row || undo_touches(planned, index->columns, index->count));
}

static void unique_taken(struct undo_running *run, struct undo_row *row,
                         const struct catalog_index *index, const struct value *holder)
{
    struct undo_plan *plan = run->plan;
    struct undo_row other = {.table = row->table, .before = (struct value *)(uintptr_t)holder};
    const struct value *value = &row->before[index->columns[0]];
    struct undo_note *note = undo_conflict(
        plan, UNDO_UNIQUE_VIOLATION, row, "%.*s: %.*s%s is taken by %.*s since (%.*s)",
        VIEW_ARG(undo_row_words(plan, row)), VIEW_ARG(shown(value)), dots(value),
        VIEW_ARG(undo_row_words(plan, &other)), VIEW_ARG(index->name));

    for (int i = 0; i < index->count; i++) {
        undo_note_column(plan, note, row->table->columns[index->columns[i]].name);
    }
    note->value = value->text;
    undo_note_fix(plan, note, "give that row another value first");
    row->stopped = true;
}

static err check_unique(struct undo_running *run, struct undo_row *row,
                        const struct catalog_index *index)
{
    const struct catalog_table *table = row->table;
    struct catalog_table by_index = *table; /* the same rows, looked up by this index */
    struct value *holder = NULL;
    struct writer text = {0};
    bool is_whole = undo_values(row->before, index->columns, index->count, &text);

    writer_fini(&text);
    if (!is_whole || !undo_touches(row, index->columns, index->count)) {
        return OK;
    }
    by_index.key = index;
    err e = undo_look(run, &by_index, row->before, false, &holder);
    if (!e && holder && !is_own(run, row, index, holder)) {
        unique_taken(run, row, index, holder);
    }
    return e;
}

static err check_row(struct undo_running *run, struct undo_row *row)
{
    const struct catalog_table *table = row->table;
    struct value *now = NULL;
    err e = OK;

    if (row->after) {
        e = undo_look(run, table, row->after, true, &now);
        if (!e && !now) {
            row_missing(run->plan, row);
        } else if (!e) {
            e = compare(run, row, now);
        }
    }
    e = e ? e : check_key(run, row);
    for (size_t i = 0; !e && row->before && !row->stopped && i < table->index_count; i++) {
        if (&table->indexes[i] != table->key) {
            e = check_unique(run, row, &table->indexes[i]);
        }
    }
    return e;
}

static int by_key(const void *a, const void *b)
{
    const struct undo_row *x = *(struct undo_row *const *)a, *y = *(struct undo_row *const *)b;
    int order = (x->table->oid > y->table->oid) - (x->table->oid < y->table->oid);

    return order ? order : view_order(x->name, y->name);
}

static void name_rows(struct undo_running *run)
{
    for (size_t i = 0; i < run->plan->row_count; i++) {
        struct undo_row *row = run->plan->rows[i];
        struct writer name = {0};
        write_format(&name, "%u ", row->table->oid);
        if (row->table->key &&
            undo_values(row->after ? row->after : row->before, row->table->key->columns,
                        row->table->key->count, &name)) {
            row->name = arena_copy(&run->plan->arena, writer_view(&name));
            if (row->after) {
                map_put(&run->rows, row->name, row);
            }
        }
        writer_fini(&name);
    }
}

err undo_check(struct undo_running *run)
{
    struct undo_plan *plan = run->plan;
    struct undo_row **rows = xcalloc(plan->row_count + 1, sizeof(struct undo_row *));
    err e = OK;

    name_rows(run);
    memcpy(rows, plan->rows, plan->row_count * sizeof(struct undo_row *));
    qsort(rows, plan->row_count, sizeof(struct undo_row *), by_key);
    for (size_t i = 0; !e && i < plan->row_count; i++) {
        if (rows[i]->table->key && !rows[i]->stopped) {
            e = check_row(run, rows[i]);
        }
    }
    for (size_t i = 0; !e && i < plan->row_count; i++) {
        if (!rows[i]->stopped) {
            e = undo_check_parents(run, rows[i]);
            e = e ? e : undo_check_children(run, rows[i]);
        }
    }
    free(rows);
    return e;
}
