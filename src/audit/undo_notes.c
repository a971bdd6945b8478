/* undo_notes.c - conflicts and warnings of a plan, and the plan as JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/undo_inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_WORDS_MAX 120 /* bytes of a key in a sentence */

const char *undo_note_name(enum undo_note_kind kind)
{
    static const char *const names[] = {
#define X(name, text) text,
        UNDO_NOTES(X)
#undef X
    };
    return names[kind];
}

const char *undo_kind_name(enum undo_kind kind)
{
    static const char *const names[] = {"insert", "update", "delete"};
    return names[kind];
}

static bool has_value(const struct value *value)
{
    return value->kind == VALUE_TEXT || value->kind == VALUE_NULL;
}

/* The columns that name a row of the table: its key's, or all. */
static int key_column(const struct catalog_table *table, int at)
{
    if (table->key) {
        return at < table->key->count ? table->key->columns[at] : -1;
    }
    return at < table->count ? at : -1;
}

void undo_key_json(const struct catalog_table *table, const struct value *image,
                   struct json_writer *j)
{
    json_object(j);
    for (int i = 0, c; (c = key_column(table, i)) >= 0; i++) {
        if (has_value(&image[c]) && !table->columns[c].dropped) {
            json_name_view(j, table->columns[c].name);
            json_view(j, image[c].kind == VALUE_TEXT ? image[c].text : (view){0});
        }
    }
    json_end_object(j);
}

static void write_key(const struct catalog_table *table, const struct value *image,
                      struct writer *out)
{
    bool first = true;

    for (int i = 0, c; (c = key_column(table, i)) >= 0; i++) {
        view text = image[c].kind == VALUE_TEXT ? image[c].text : VIEW("");
        if (!has_value(&image[c]) || table->columns[c].dropped) {
            continue;
        }
        write_format(out, "%s", first ? "" : ",");
        first = false;
        for (size_t k = 0; k < text.len; k++) {
            if (text.at[k] == ',' || text.at[k] == '\\') {
                write_u8(out, '\\');
            }
            write_u8(out, text.at[k]);
        }
    }
}

static const struct value *image_of(const struct undo_row *row)
{
    return row->after ? row->after : row->before;
}

view undo_row_words(struct undo_plan *plan, const struct undo_row *row)
{
    struct writer key = {0};

    write_key(row->table, image_of(row), &key);
    view text = view_upto(writer_view(&key), KEY_WORDS_MAX);
    const char *words = arena_format(&plan->arena, "%.*s %.*s%s", VIEW_ARG(row->table->quoted),
                                     VIEW_ARG(text), text.len < key.len ? "..." : "");
    writer_fini(&key);
    return view_text(words);
}

static view format_in(struct undo_plan *plan, const char *format, va_list args)
{
    char *made = NULL;
    int len = vasprintf(&made, format, args);

    assert(len >= 0);
    view kept = arena_copy(&plan->arena, (view){(const uint8_t *)made, (size_t)len});
    free(made);
    return kept;
}

static void name_row(struct undo_plan *plan, struct undo_note *note, const struct undo_row *row)
{
    struct writer text = {0};
    struct json_writer j = json_to(&text);

    note->schema = row->table->schema;
    note->table = row->table->name;
    undo_key_json(row->table, image_of(row), &j);
    note->key = arena_copy(&plan->arena, writer_view(&text));
    writer_reset(&text);
    write_key(row->table, image_of(row), &text);
    note->key_text = arena_copy(&plan->arena, writer_view(&text));
    writer_fini(&text);
}

/* Past the limit notes are counted but not kept: the caller fills one that nobody sees. */
static struct undo_note *add(struct undo_plan *plan, struct undo_note **list, size_t *count)
{
    if (!*list) {
        *list = arena_take(&plan->arena, (UNDO_NOTES_MAX + 1) * sizeof(**list));
    }
    struct undo_note *note = &(*list)[MIN(*count, (size_t)UNDO_NOTES_MAX)];

    (*count)++;
    *note = (struct undo_note){0};
    return note;
}

static struct undo_note *fill(struct undo_plan *plan, struct undo_note *note,
                              enum undo_note_kind kind, const struct undo_row *row, view words)
{
    note->kind = kind;
    note->words = words;
    if (row) {
        name_row(plan, note, row);
    }
    return note;
}

struct undo_note *undo_conflict(struct undo_plan *plan, enum undo_note_kind kind,
                                const struct undo_row *row, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    view words = format_in(plan, format, args);
    va_end(args);
    return fill(plan, add(plan, &plan->conflicts, &plan->conflict_count), kind, row, words);
}

struct undo_note *undo_warning(struct undo_plan *plan, enum undo_note_kind kind,
                               const struct undo_row *row, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    view words = format_in(plan, format, args);
    va_end(args);
    return fill(plan, add(plan, &plan->warnings, &plan->warning_count), kind, row, words);
}

void undo_note_fix(struct undo_plan *plan, struct undo_note *note, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note->fix = format_in(plan, format, args);
    va_end(args);
}

void undo_note_column(struct undo_plan *plan, struct undo_note *note, view column)
{
    view *columns = arena_take(&plan->arena, (note->column_count + 1) * sizeof(*columns));

    for (size_t i = 0; i < note->column_count; i++) {
        columns[i] = note->columns[i];
    }
    columns[note->column_count++] = column;
    note->columns = columns;
}

void undo_note_table(struct undo_note *note, view schema, view table)
{
    note->schema = schema;
    note->table = table;
}

static void note_to_json(const struct undo_note *note, struct json_writer *j)
{
    json_object(j);
    json_name(j, "type");
    json_text(j, undo_note_name(note->kind));
    json_name(j, "schema");
    json_view(j, note->schema);
    json_name(j, "table");
    json_view(j, note->table);
    if (note->key.at) {
        json_name(j, "key");
        json_raw(j, note->key);
        json_name(j, "row");
        json_view(j, note->key_text);
    }
    if (note->column_count == 1) {
        json_name(j, "column");
        json_view(j, note->columns[0]);
    }
    if (note->column_count) {
        json_name(j, "columns");
        json_array(j);
        for (size_t i = 0; i < note->column_count; i++) {
            json_view(j, note->columns[i]);
        }
        json_end_array(j);
    }
    if (note->value.at) {
        json_name(j, "value");
        json_view(j, note->value);
    }
    if (note->dependents.at) {
        json_name(j, "dependents");
        json_raw(j, note->dependents);
    }
    if (note->since.at) {
        json_name(j, "since");
        json_raw(j, note->since);
    }
    json_name(j, "message");
    json_view(j, note->words);
    json_name(j, "fix");
    json_view(j, note->fix);
    json_end_object(j);
}

static void notes_to_json(const char *name, const struct undo_note *notes, size_t count,
                          struct json_writer *j)
{
    json_name(j, name);
    json_array(j);
    for (size_t i = 0; i < MIN(count, (size_t)UNDO_NOTES_MAX); i++) {
        note_to_json(&notes[i], j);
    }
    json_end_array(j);
}

/* The columns a step touches: all there are, or those put back. */
static void image_to_json(const char *name, const struct undo_row *row,
                          const struct value *image, struct json_writer *j)
{
    json_name(j, name);
    if (!image) {
        json_null(j);
        return;
    }
    json_object(j);
    for (int i = 0; i < row->table->count; i++) {
        bool shown = undo_row_kind(row) != UNDO_UPDATE || row->set[i];
        if (shown && has_value(&image[i]) && !row->table->columns[i].dropped) {
            json_name_view(j, row->table->columns[i].name);
            json_view(j, image[i].kind == VALUE_TEXT ? image[i].text : (view){0});
        }
    }
    json_end_object(j);
}

/* What an update puts back, as old and new: what is there now, and what comes. */
static void fields_to_json(const struct undo_row *row, struct json_writer *j)
{
    json_name(j, "fields");
    json_array(j);
    for (int i = 0; undo_row_kind(row) == UNDO_UPDATE && i < row->table->count; i++) {
        if (row->set[i] && !row->table->columns[i].dropped) {
            json_object(j);
            json_name(j, "name");
            json_view(j, row->table->columns[i].name);
            json_name(j, "old");
            json_view(j, row->after[i].kind == VALUE_TEXT ? row->after[i].text : (view){0});
            json_name(j, "new");
            json_view(j, row->before[i].kind == VALUE_TEXT ? row->before[i].text : (view){0});
            json_end_object(j);
        }
    }
    json_end_array(j);
}

static void step_to_json(const struct undo_step *step, struct json_writer *j)
{
    static const char *const parts[] = {"whole", "make_room", "complete"};
    const struct undo_row *row = step->row;
    struct writer key = {0};

    write_key(row->table, image_of(row), &key);
    json_object(j);
    json_name(j, "operation");
    json_text(j, undo_kind_name(step->kind));
    json_name(j, "part");
    json_text(j, parts[step->part]);
    json_name(j, "schema");
    json_view(j, row->table->schema);
    json_name(j, "table");
    json_view(j, row->table->name);
    json_name(j, "key");
    undo_key_json(row->table, image_of(row), j);
    json_name(j, "row");
    json_view(j, writer_view(&key));
    image_to_json("now", row, row->after, j);
    image_to_json("then", row, row->before, j);
    fields_to_json(row, j);
    json_name(j, "sql");
    json_view(j, step->sql);
    json_end_object(j);
    writer_fini(&key);
}

void undo_to_json(const struct undo_plan *plan, struct json_writer *j)
{
    json_name(j, "changes");
    json_int(j, (int64_t)plan->change_count);
    json_name(j, "rows");
    json_int(j, (int64_t)plan->row_count);
    json_name(j, "steps");
    json_array(j);
    for (size_t i = 0; i < plan->step_count; i++) {
        step_to_json(&plan->steps[i], j);
    }
    json_end_array(j);
    json_name(j, "conflict_count");
    json_int(j, (int64_t)plan->conflict_count);
    notes_to_json("conflicts", plan->conflicts, plan->conflict_count, j);
    notes_to_json("warnings", plan->warnings, plan->warning_count, j);
}
