/* undo_sql.c - rows in order become statements, each of which must affect one row.
 *
 *   first   UPDATE ... park             values that must be out of the way for a while
 *   then    INSERT, UPDATE, DELETE      in the order found
 *   last    UPDATE ... post             references that were null until all was there
 *
 * A statement says itself what it expects to find: key and what the changes left behind. So
 * what is printed does by hand what it does here. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "audit/pg.h"
#include "audit/undo_inside.h"

#define OID_NUMERIC 1700

/* Digits and a point: no NaN, no exponent. */
static bool is_plain(view text)
{
    bool plain = text.len > 0;

    for (size_t i = 0; plain && i < text.len; i++) {
        uint8_t c = text.at[i];
        plain = (c >= '0' && c <= '9') || c == '.' || (c == '-' && i == 0);
    }
    return plain;
}

void undo_sql_value(const struct catalog_column *column, const struct value *value,
                    struct writer *out)
{
    if (value->kind != VALUE_TEXT) {
        write_format(out, "NULL");
    } else if (column->number || (column->base == OID_NUMERIC && is_plain(value->text))) {
        write_view(out, value->text);
    } else if (column->base == 16) { /* boolean */
        write_format(out, "%s", view_is(value->text, VIEW("t")) ? "true" : "false");
    } else {
        pg_quote_text(out, value->text);
    }
}

static void write_and(struct writer *out, bool *first)
{
    write_format(out, "%s", *first ? "" : " AND ");
    *first = false;
}

static void write_equal(const struct catalog_column *column, const struct value *value,
                        struct writer *out)
{
    bool as_text = column->compare == COMPARE_TEXT && value->kind == VALUE_TEXT;

    write_view(out, column->quoted);
    if (value->kind == VALUE_NULL) {
        write_format(out, " IS NULL");
        return;
    }
    write_format(out, "%s = ", as_text ? "::text" : "");
    if (as_text) {
        pg_quote_text(out, value->text);
    } else {
        undo_sql_value(column, value, out);
    }
}

void undo_sql_where(const struct catalog_table *table, const int *columns, int count,
                    const struct value *image, struct writer *out)
{
    bool first = true;

    for (int i = 0; i < count;
         i++) { /* by =, whatever the type: that is what its index knows */
        const struct catalog_column *column = &table->columns[columns[i]];
        write_and(out, &first);
        write_view(out, column->quoted);
        write_format(out, " = ");
        undo_sql_value(column, &image[columns[i]], out);
    }
}

static bool can_guard(const struct catalog_column *column, const struct value *value)
{
    return value_is_known(value) && !column->dropped && !column->generated && !column->masked &&
           (column->compare != COMPARE_NOT || value->kind == VALUE_NULL);
}

static bool in_key(const struct catalog_table *table, int column)
{
    for (int i = 0; table->key && i < table->key->count; i++) {
        if (table->key->columns[i] == column) {
            return true;
        }
    }
    return false;
}

/* The row as image has it, by key and by the guarded columns; without a key one of those that
 * are the same in all. guard NULL: every column. */
static void write_where(const struct undo_row *row, const struct value *image,
                        const bool *guard, struct writer *out)
{
    const struct catalog_table *table = row->table;
    bool first = !table->key;

    write_format(out, " WHERE ");
    if (table->key) {
        undo_sql_where(table, table->key->columns, table->key->count, image, out);
    } else {
        const char *place = table->partitioned ? "(tableoid, ctid)" : "ctid";
        write_format(out, "%s = (SELECT %s FROM %.*s WHERE ", place,
                     table->partitioned ? "tableoid, ctid" : place, VIEW_ARG(table->quoted));
    }
    for (int i = 0; i < table->count; i++) {
        bool is_guarded = !table->key || !guard || guard[i];
        bool is_moved = row->cascaded && row->cascaded[i];
        if (is_guarded && !is_moved && !in_key(table, i) &&
            can_guard(&table->columns[i], &image[i])) {
            write_and(out, &first);
            write_equal(&table->columns[i], &image[i], out);
        }
    }
    if (!table->key) {
        write_format(out, "%s LIMIT 1)", first ? "true" : "");
    }
}

/* How the row is once it is parked: what the statement that follows finds. */
static struct value *parked(struct undo_plan *plan, const struct undo_row *row)
{
    int count = row->table->count;
    struct value *image = arena_take(&plan->arena, ((size_t)count + 1) * sizeof(*image));

    for (int i = 0; i < count; i++) {
        bool is_parked = row->park && row->park[i].kind != VALUE_ABSENT;
        image[i] = is_parked ? row->park[i] : row->after[i];
    }
    return image;
}

static bool is_set(const struct undo_row *row, int i)
{
    return row->set[i] && !row->table->columns[i].dropped &&
           !(row->cascaded && row->cascaded[i]);
}

static void write_set(const struct catalog_column *column, const struct value *value,
                      bool *first, struct writer *out)
{
    write_format(out, "%s%.*s = ", *first ? "" : ", ", VIEW_ARG(column->quoted));
    undo_sql_value(column, value, out);
    *first = false;
}

static void write_park(struct undo_row *row, struct writer *out)
{
    const struct catalog_table *table = row->table;
    bool first = true;
    bool *guard = xcalloc((size_t)table->count + 1, 1);

    write_format(out, "UPDATE %.*s SET ", VIEW_ARG(table->quoted));
    for (int i = 0; i < table->count; i++) {
        guard[i] = row->park[i].kind != VALUE_ABSENT;
        if (guard[i]) {
            write_set(&table->columns[i], &row->park[i], &first, out);
        }
    }
    write_where(row, row->after, guard, out);
    free(guard);
}

static void write_insert(const struct undo_row *row, struct writer *out)
{
    const struct catalog_table *table = row->table;
    bool first = true, is_identity = false;
    struct writer values = {0};

    write_format(out, "INSERT INTO %.*s (", VIEW_ARG(table->quoted));
    for (int i = 0; i < table->count; i++) {
        const struct catalog_column *column = &table->columns[i];
        struct value value =
            row->post && row->post[i] ? (struct value){.kind = VALUE_NULL} : row->before[i];
        if (column->dropped || column->generated || !value_is_known(&value)) {
            continue;
        }
        write_format(out, "%s%.*s", first ? "" : ", ", VIEW_ARG(column->quoted));
        write_format(&values, "%s", first ? "" : ", ");
        undo_sql_value(column, &value, &values);
        is_identity = is_identity || column->identity;
        first = false;
    }
    write_format(out, ")%s VALUES (", is_identity ? " OVERRIDING SYSTEM VALUE" : "");
    write_view(out, writer_view(&values));
    write_format(out, ")");
    writer_fini(&values);
}

static void write_update(struct undo_plan *plan, const struct undo_row *row, struct writer *out)
{
    const struct catalog_table *table = row->table;
    const struct value *now = parked(plan, row);
    const struct value null = {.kind = VALUE_NULL};
    bool first = true;

    write_format(out, "UPDATE %.*s SET ", VIEW_ARG(table->quoted));
    for (int i = 0; i < table->count; i++) {
        if (is_set(row, i)) {
            bool is_later = row->post && row->post[i];
            write_set(&table->columns[i], is_later ? &null : &row->before[i], &first, out);
        }
    }
    write_where(row, now, row->set, out);
}

static void write_post(struct undo_row *row, struct writer *out)
{
    const struct catalog_table *table = row->table;
    bool first = true;

    write_format(out, "UPDATE %.*s SET ", VIEW_ARG(table->quoted));
    for (int i = 0; i < table->count; i++) {
        if (row->post[i]) {
            write_set(&table->columns[i], &row->before[i], &first, out);
        }
    }
    write_format(out, " WHERE ");
    if (table->key) {
        undo_sql_where(table, table->key->columns, table->key->count, row->before, out);
    }
    first = !table->key;
    for (int i = 0; i < table->count; i++) {
        if (row->post[i]) {
            write_and(out, &first);
            write_format(out, "%.*s IS NULL", VIEW_ARG(table->columns[i].quoted));
        }
    }
}

static void add_step(struct undo_plan *plan, struct undo_row *row, enum undo_part part)
{
    struct undo_step *step = &plan->steps[plan->step_count];
    struct writer sql = {0};

    *step = (struct undo_step){.kind = UNDO_UPDATE, .part = part, .row = row};
    if (part == UNDO_PARK) {
        write_park(row, &sql);
    } else if (part == UNDO_POST) {
        write_post(row, &sql);
    } else {
        step->kind = undo_row_kind(row);
        if (step->kind == UNDO_INSERT) {
            write_insert(row, &sql);
        } else if (step->kind == UNDO_UPDATE) {
            write_update(plan, row, &sql);
        } else {
            write_format(&sql, "DELETE FROM %.*s", VIEW_ARG(row->table->quoted));
            write_where(row, parked(plan, row), NULL, &sql);
        }
    }
    step->sql = arena_copy(&plan->arena, writer_view(&sql));
    plan->step_count++;
    writer_fini(&sql);
}

static bool has_statement(const struct undo_row *row)
{
    bool any = undo_row_kind(row) != UNDO_UPDATE;

    for (int i = 0; i < row->table->count && !any; i++) {
        any = is_set(row, i);
    }
    return any; /* else its foreign key's cascade does all of it */
}

void undo_sql(struct undo_plan *plan)
{
    plan->step_count = 0;
    plan->steps = arena_take(&plan->arena, (plan->row_count * 3 + 1) * sizeof(*plan->steps));
    for (size_t i = 0; i < plan->row_count; i++) {
        if (plan->rows[i]->park && !plan->rows[i]->stopped) {
            add_step(plan, plan->rows[i], UNDO_PARK);
        }
    }
    for (size_t i = 0; i < plan->row_count; i++) {
        if (has_statement(plan->rows[i]) && !plan->rows[i]->stopped) {
            add_step(plan, plan->rows[i], UNDO_WHOLE);
        }
    }
    for (size_t i = 0; i < plan->row_count; i++) {
        if (plan->rows[i]->post && !plan->rows[i]->stopped) {
            add_step(plan, plan->rows[i], UNDO_POST);
        }
    }
}

struct undo_plan *undo_plan_new(const struct change *const *changes, size_t count,
                                const struct catalog *catalog)
{
    struct undo_plan *plan = xcalloc(1, sizeof(*plan));

    assert(count <= UNDO_CHANGES_MAX);
    plan->catalog = catalog;
    undo_fold(plan, changes, count);
    undo_examine(plan);
    undo_order(plan);
    undo_sql(plan);
    return plan;
}

void undo_plan_free(struct undo_plan *plan)
{
    if (plan) {
        arena_fini(&plan->arena);
        free(plan);
    }
}
