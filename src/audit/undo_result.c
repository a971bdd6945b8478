/* undo_result.c - after the steps and before the commit: did it come out as meant?
 *
 * Triggers may have written something else than was asked for; that is told, not hidden. Keys
 * that come back above their sequence will be met by it one day; a sequence is never set back
 * or forward here. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "audit/pg.h"
#include "audit/undo_inside.h"

static err check_row(struct undo_running *run, struct undo_row *row)
{
    struct undo_plan *plan = run->plan;
    struct value *now = NULL;
    struct undo_note *note = NULL;
    err e = undo_look(run, row->table, row->before, false, &now);

    if (!e && !now) {
        undo_warning(plan, UNDO_TRIGGER_ALTERED_RESULT, row, "%.*s is not there afterwards",
                     VIEW_ARG(undo_row_words(plan, row)));
        return OK;
    }
    for (int i = 0; !e && i < row->table->count; i++) {
        const struct catalog_column *column = &row->table->columns[i];
        bool same = true, fits = true;
        if ((!row->after || row->set[i]) && value_is_known(&row->before[i]) &&
            !column->dropped && !column->generated) {
            e = undo_same(run, column, &row->before[i], &now[i], &same, &fits);
        }
        if (!e && !same && !note) {
            note = undo_warning(plan, UNDO_TRIGGER_ALTERED_RESULT, row,
                                "%.*s comes out otherwise than it was (triggers: %.*s)",
                                VIEW_ARG(undo_row_words(plan, row)),
                                VIEW_ARG(row->table->triggers));
            undo_note_fix(plan, note,
                          "--without-triggers keeps triggers from it, where the "
                          "role may set session_replication_role");
            note->value = now[i].kind == VALUE_TEXT ? now[i].text : (view){0};
        }
        if (!e && !same) {
            undo_note_column(plan, note, column->name);
        }
    }
    return e;
}

/* The highest value that comes back in a column; 0: none does. */
static int64_t highest(const struct undo_plan *plan, const struct catalog_table *table,
                       int column, const struct undo_row **which)
{
    int64_t most = 0, value = 0;

    for (size_t i = 0; i < plan->row_count; i++) {
        const struct undo_row *row = plan->rows[i];
        if (row->table == table && row->before && undo_touches(row, &column, 1) &&
            row->before[column].kind == VALUE_TEXT &&
            view_to_int(row->before[column].text, &value) == OK && value > most) {
            most = value;
            *which = row;
        }
    }
    return most;
}

static err check_sequence(struct undo_running *run, const struct catalog_table *table, int i)
{
    const struct catalog_column *column = &table->columns[i];
    const struct undo_row *row = NULL;
    struct pg_rows *rows = NULL;
    int64_t last = 0, most = highest(run->plan, table, i, &row);

    if (!row) {
        return OK;
    }
    char *sql =
        text_format("SELECT last_value, is_called FROM %.*s", VIEW_ARG(column->sequence));
    err e = undo_try(run, sql, NULL, 0, &rows);
    free(sql);
    if (!e && rows && pg_row_count(rows) && view_to_int(pg_value(rows, 0, 0), &last) == OK) {
        bool is_called = view_is(pg_value(rows, 0, 1), VIEW("t"));
        if (most > last || (most == last && !is_called)) {
            struct undo_note *note = undo_warning(
                run->plan, UNDO_SEQUENCE_BEHIND, row,
                "%.*s comes back above its sequence %.*s, which will reach it one day",
                VIEW_ARG(undo_row_words(run->plan, row)), VIEW_ARG(column->sequence));
            undo_note_column(run->plan, note, column->name);
            undo_note_fix(run->plan, note, "SELECT setval('%.*s', %lld)",
                          VIEW_ARG(column->sequence), (long long)most);
        }
    }
    pg_rows_free(rows);
    return e;
}

err undo_check_result(struct undo_running *run)
{
    const struct undo_plan *plan = run->plan;
    err e = OK;

    for (size_t i = 0; !e && i < plan->row_count; i++) {
        if (plan->rows[i]->before && plan->rows[i]->table->key) {
            e = check_row(run, plan->rows[i]);
        }
    }
    for (size_t i = 0; !e && i < plan->catalog->table_count; i++) {
        const struct catalog_table *table = &plan->catalog->tables[i];
        for (int c = 0; !e && table->named && c < table->count; c++) {
            e = table->columns[c].sequence.at ? check_sequence(run, table, c) : OK;
        }
    }
    return e;
}
