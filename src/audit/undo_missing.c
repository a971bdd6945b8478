/* undo_missing.c - what is known of rows against what their tables demand now.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/undo_inside.h"

static const char history_fix[] =
    "what the database sends of old rows is its table's replica identity: "
    "ALTER TABLE %.*s REPLICA IDENTITY FULL, for changes from then on";

/* One conflict of a row, whose columns come in one by one. */
static void add_column(struct undo_plan *plan, struct undo_note **note,
                       enum undo_note_kind kind, const struct undo_row *row, int column,
                       const char *words)
{
    if (!*note) {
        view name = undo_row_words(plan, row);
        *note = undo_conflict(plan, kind, row, "%.*s: %s", VIEW_ARG(name), words);
    }
    bool is_dropped = row->table->columns[column].dropped;
    undo_note_column(plan, *note,
                     is_dropped ? row->names[column] : row->table->columns[column].name);
}

struct findings {
    struct undo_note *missing, *null, *added, *dropped, *masked;
};

static void examine_insert(struct undo_plan *plan, const struct undo_row *row, int i,
                           struct findings *f)
{
    const struct catalog_column *column = &row->table->columns[i];
    const struct value *value = &row->before[i];

    if (column->dropped || column->generated) {
        return;
    }
    if (column->masked) {
        add_column(plan, &f->masked, UNDO_BEFORE_IMAGE_MISSING, row, i,
                   "the source's rules do not store what it held");
    } else if (value->kind == VALUE_UNKNOWN) {
        add_column(plan, &f->missing, UNDO_BEFORE_IMAGE_MISSING, row, i,
                   "the database did not send what it held");
    } else if (value->kind == VALUE_ABSENT && column->not_null && !column->filled) {
        add_column(plan, &f->added, UNDO_NOT_NULL_ADDED, row, i,
                   "a column added since must not be null, and has no default");
    } else if (value->kind == VALUE_NULL && column->not_null) {
        add_column(plan, &f->null, UNDO_NOT_NULL_ADDED, row, i,
                   "it held a null where none is permitted any more");
    }
}

static void examine_update(struct undo_plan *plan, const struct undo_row *row, int i,
                           struct findings *f)
{
    const struct catalog_column *column = &row->table->columns[i];
    const struct value *value = &row->before[i];

    if (!row->set[i]) {
        return;
    }
    if (column->dropped) {
        add_column(plan, &f->dropped, UNDO_COLUMN_DROPPED, row, i,
                   "a column that was changed is gone");
    } else if (column->masked) {
        add_column(plan, &f->masked, UNDO_BEFORE_IMAGE_MISSING, row, i,
                   "the source's rules do not store what it held before");
    } else if (!value_is_known(value)) {
        add_column(plan, &f->missing, UNDO_BEFORE_IMAGE_MISSING, row, i,
                   "the database did not send what it held before");
    } else if (value->kind == VALUE_NULL && column->not_null) {
        add_column(plan, &f->null, UNDO_NOT_NULL_ADDED, row, i,
                   "it held a null where none is permitted any more");
    }
}

static void examine_key(struct undo_plan *plan, struct undo_row *row)
{
    const struct catalog_index *key = row->table->key;
    struct writer text = {0};
    struct undo_note *note = NULL;

    bool is_masked = false;

    for (int i = 0; key && i < key->count; i++) {
        is_masked = is_masked || row->table->columns[key->columns[i]].masked;
    }
    if (key && row->after &&
        (is_masked || !undo_values(row->after, key->columns, key->count, &text))) {
        for (int i = 0; i < key->count; i++) {
            bool is_known = row->after[key->columns[i]].kind == VALUE_TEXT;
            if (!is_known || row->table->columns[key->columns[i]].masked) {
                add_column(plan, &note, UNDO_BEFORE_IMAGE_MISSING, row, key->columns[i],
                           "its key is not known");
            }
        }
        row->stopped = true;
    }
    writer_fini(&text);
}

static void examine_row(struct undo_plan *plan, struct undo_row *row)
{
    struct findings f = {0};
    enum undo_kind kind = undo_row_kind(row);

    examine_key(plan, row);
    for (int i = 0; i < row->table->count; i++) {
        if (kind == UNDO_INSERT) {
            examine_insert(plan, row, i, &f);
        } else if (kind == UNDO_UPDATE) {
            examine_update(plan, row, i, &f);
        }
    }
    view table = row->table->quoted;
    if (f.missing) {
        undo_note_fix(plan, f.missing, history_fix, VIEW_ARG(table));
    }
    if (f.masked) {
        undo_note_fix(plan, f.masked,
                      "put it back by hand; `tidemark source show` has the mask");
    }
    if (f.added) {
        undo_note_fix(plan, f.added, "give the column a default, or the row by hand");
    }
    if (f.null) {
        undo_note_fix(plan, f.null, "permit null for a while, or put the row back by hand");
    }
    if (f.dropped) {
        undo_note_fix(plan, f.dropped, "what it held is in `tidemark row show`");
    }
    row->stopped = row->stopped || f.missing || f.masked || f.added || f.null || f.dropped;
}

/* Rows come back without the columns that are gone: said once a table. */
static void tell_dropped(struct undo_plan *plan, const struct catalog_table *table, int column)
{
    const struct undo_row *row = NULL;

    for (size_t k = 0; k < plan->row_count && !row; k++) {
        const struct undo_row *one = plan->rows[k];
        bool is_lost = one->table == table && undo_row_kind(one) == UNDO_INSERT &&
                       one->before[column].kind == VALUE_TEXT;
        row = is_lost ? one : NULL;
    }
    if (row) {
        struct undo_note *note =
            undo_warning(plan, UNDO_COLUMN_DROPPED, NULL,
                         "rows of %.*s come back without %.*s: the column is gone",
                         VIEW_ARG(table->quoted), VIEW_ARG(row->names[column]));
        undo_note_table(note, table->schema, table->name);
        undo_note_column(plan, note, row->names[column]);
    }
}

void undo_examine(struct undo_plan *plan)
{
    for (size_t i = 0; i < plan->row_count; i++) {
        examine_row(plan, plan->rows[i]);
    }
    for (size_t i = 0; i < plan->catalog->table_count; i++) {
        const struct catalog_table *table = &plan->catalog->tables[i];
        for (int c = 0; table->named && c < table->count; c++) {
            if (table->columns[c].dropped) {
                tell_dropped(plan, table, c);
            }
        }
    }
}
