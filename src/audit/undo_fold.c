/* undo_fold.c - many changes of a row become one: how it was before, how it is after.
 *
 *   create k            -> (nothing, after)       delete k: gone again, the row vanishes
 *   update k, k -> k2   -> (before, after), known under k2 from there on
 *   delete k, create k  -> (before, after): one row to put back, not two
 *
 * Rows are known by their key as it is at that moment; those that are deleted apart from those
 * that live, as a key may be taken again by another row. Rows of a table without a key are
 * known by all they hold; equal ones stand in a chain, any of them is as good as the next.
 * What a change did not send is filled from its other image when the server said that it is
 * unchanged. SPDX-License-Identifier: Apache-2.0 */
#include "audit/undo_inside.h"

#include <stdlib.h>

struct match { /* a description of a table, laid over the table */
    const struct relation *relation;
    const struct catalog_table *table; /* NULL: gone */
    int *positions;
    view *names; /* by the table's columns */
};

struct fold {
    struct undo_plan *plan;
    struct map matches;    /* relation -> match */
    struct map live, dead; /* row text -> struct undo_row, chained */
    struct map told;       /* column -> itself: a warning about it was given */
    struct undo_row **rows;
    size_t count, room;
    int64_t at; /* of the change at hand */
};

bool value_is_known(const struct value *value)
{
    return value->kind == VALUE_TEXT || value->kind == VALUE_NULL;
}

bool value_is(const struct value *a, const struct value *b)
{
    return value_is_known(a) && a->kind == b->kind &&
           (a->kind == VALUE_NULL || view_is(a->text, b->text));
}

bool undo_values(const struct value *image, const int *columns, int count, struct writer *out)
{
    for (int i = 0; i < count; i++) {
        const struct value *value = &image[columns[i]];
        if (value->kind != VALUE_TEXT) {
            return false;
        }
        write_format(out, "%zu:", value->text.len);
        write_view(out, value->text);
    }
    return true;
}

enum undo_kind undo_row_kind(const struct undo_row *row)
{
    return !row->before ? UNDO_DELETE : row->after ? UNDO_UPDATE : UNDO_INSERT;
}

static void name_columns(struct fold *f, struct match *m)
{
    m->names = arena_take(&f->plan->arena, ((size_t)m->table->count + 1) * sizeof(view));
    for (int i = 0; i < m->table->count; i++) {
        m->names[i] = m->table->columns[i].name;
    }
    for (int i = 0; i < m->relation->count; i++) {
        if (m->positions[i] >= 0) {
            m->names[m->positions[i]] = m->relation->columns[i].name;
        }
    }
}

static struct match *match_of(struct fold *f, const struct relation *relation)
{
    struct arena *arena = &f->plan->arena;
    struct match *match = map_get(&f->matches, VIEW_OF(relation));

    if (match) {
        return match;
    }
    match = arena_take(arena, sizeof(*match));
    match->relation = relation;
    match->table = catalog_find(f->plan->catalog, relation);
    match->positions = arena_take(arena, ((size_t)relation->count + 1) * sizeof(int));
    map_put(&f->matches, VIEW_OF(match->relation), match);
    if (match->table) {
        catalog_match(match->table, relation, match->positions);
        name_columns(f, match);
        return match;
    }
    struct undo_note *note =
        undo_conflict(f->plan, UNDO_TABLE_MISSING, NULL, "the table %.*s.%.*s is gone",
                      VIEW_ARG(relation->schema), VIEW_ARG(relation->name));
    undo_note_table(note, relation->schema, relation->name);
    undo_note_fix(f->plan, note,
                  "make it again, then load it: tidemark row export SOURCE.%.*s.%.*s",
                  VIEW_ARG(relation->schema), VIEW_ARG(relation->name));
    return match;
}

/* By the table's columns. What the description has and the image has not is UNKNOWN; what came
 * to the table later stays ABSENT. */
static struct value *image_of(struct fold *f, const struct match *m, const struct value *values)
{
    struct value *image =
        arena_take(&f->plan->arena, ((size_t)m->table->count + 1) * sizeof(*image));

    for (int i = 0; i < m->relation->count; i++) {
        int at = m->positions[i];
        if (at < 0) {
            continue;
        }
        image[at] = values ? values[i] : (struct value){.kind = VALUE_UNKNOWN};
        if (!value_is_known(&image[at])) {
            image[at] = (struct value){.kind = VALUE_UNKNOWN};
        }
    }
    return image;
}

/* What names the row among those at hand; false: its key is not known. */
static bool name_of(const struct catalog_table *table, const struct value *image,
                    struct writer *out)
{
    write_format(out, "%u ", table->oid);
    if (table->key) {
        return undo_values(image, table->key->columns, table->key->count, out);
    }
    for (int i = 0; i < table->count; i++) {
        write_format(out, "%d:%zu:", (int)image[i].kind, image[i].text.len);
        write_view(out, image[i].text);
    }
    return true;
}

static void put(struct fold *f, struct map *map, struct undo_row *row, struct value *image)
{
    struct writer name = {0};

    row->name = (view){0};
    row->chain = NULL;
    if (name_of(row->table, image, &name)) {
        row->name = arena_copy(&f->plan->arena, writer_view(&name));
        row->chain = map_get(map, row->name);
        map_put(map, row->name, row);
    }
    writer_fini(&name);
}

static struct undo_row *take(struct map *map, const struct catalog_table *table,
                             const struct value *image)
{
    struct writer name = {0};
    struct undo_row *row = NULL;

    if (name_of(table, image, &name)) {
        row = map_get(map, writer_view(&name));
        if (row && row->chain) {
            map_put(map, row->chain->name, row->chain);
        } else if (row) {
            map_remove(map, writer_view(&name));
        }
    }
    writer_fini(&name);
    return row;
}

static struct undo_row *row_new(struct fold *f, const struct catalog_table *table,
                                struct value *before, struct value *after)
{
    struct undo_row *row = arena_take(&f->plan->arena, sizeof(*row));

    *row = (struct undo_row){.table = table, .before = before, .after = after};
    f->rows = array_room(f->rows, f->count, &f->room, sizeof(struct undo_row *));
    f->rows[f->count++] = row;
    return row;
}

/* The image behind comes to know what the one in front knew and the change left alone. */
static void carry(const struct catalog_table *table, const struct value *from, struct value *to)
{
    for (int i = 0; i < table->count; i++) {
        if (to[i].kind == VALUE_UNKNOWN && value_is_known(&from[i])) {
            to[i] = from[i];
        }
    }
}

/* A later change sent what an earlier one had not: it holds for all the time in between. */
static void learn(struct undo_row *row, const struct value *before)
{
    for (int i = 0; i < row->table->count; i++) {
        bool was_unchanged = row->after[i].kind == VALUE_UNKNOWN;
        if (was_unchanged && value_is_known(&before[i])) {
            row->after[i] = before[i];
            if (row->before && row->before[i].kind == VALUE_UNKNOWN) {
                row->before[i] = before[i];
            }
        }
    }
}

static void remember(struct fold *f, struct undo_row *row)
{
    struct value **list =
        arena_take(&f->plan->arena, (row->between_count + 1) * sizeof(struct value *));

    list[0] = row->after;
    for (size_t i = 0; i < row->between_count; i++) {
        list[i + 1] = row->between[i];
    }
    row->between = list;
    row->between_count = MIN(row->between_count + 1, (size_t)8); /* more are of no use */
}

static void take_create(struct fold *f, const struct match *m, const struct change *change)
{
    struct value *after = image_of(f, m, change->after);
    struct undo_row *row = m->table->key ? take(&f->dead, m->table, after) : NULL;

    if (row) {
        row->after = after;
    } else {
        row = row_new(f, m->table, NULL, after);
    }
    row->at = f->at;
    row->names = m->names;
    put(f, &f->live, row, after);
}

static void take_update(struct fold *f, const struct match *m, const struct change *change)
{
    struct value *after = image_of(f, m, change->after);
    struct value *before = image_of(f, m, change->before);

    carry(m->table, before, after); /* not sent, so unchanged */
    for (int i = 0; m->table->key && i < m->table->key->count; i++) {
        int c = m->table->key->columns[i]; /* an old key is sent when it changed */
        before[c] = before[c].kind == VALUE_UNKNOWN ? after[c] : before[c];
    }
    struct undo_row *row = take(&f->live, m->table, before);
    if (row) {
        learn(row, before);
        remember(f, row);
        carry(m->table, row->after, after);
        row->after = after;
    } else {
        row = row_new(f, m->table, before, after);
    }
    row->at = f->at;
    row->names = m->names;
    put(f, &f->live, row, after);
}

static void take_delete(struct fold *f, const struct match *m, const struct change *change)
{
    struct value *before = image_of(f, m, change->before);
    struct undo_row *row = take(&f->live, m->table, before);

    if (row) {
        learn(row, before);
        remember(f, row);
        row->after = NULL;
    } else {
        row = row_new(f, m->table, before, NULL);
    }
    row->at = f->at;
    row->names = m->names;
    if (row->before) {
        put(f, &f->dead, row, row->before);
    }
}

static void take_truncate(struct fold *f, const struct match *m)
{
    struct undo_note *note =
        undo_conflict(f->plan, UNDO_TRUNCATE_HAS_NO_ROW_IMAGES, NULL,
                      "%.*s was truncated: the database did not tell which rows went",
                      VIEW_ARG(m->table->quoted));

    undo_note_table(note, m->table->schema, m->table->name);
    undo_note_fix(f->plan, note,
                  "the table as it was: tidemark row export SOURCE.%.*s.%.*s --at POINT",
                  VIEW_ARG(m->table->schema), VIEW_ARG(m->table->name));
}

static void take_change(struct fold *f, const struct change *change)
{
    bool is_row = change->kind == CHANGE_CREATE || change->kind == CHANGE_UPDATE ||
                  change->kind == CHANGE_DELETE;
    const struct match *m = NULL;

    if (is_row || change->kind == CHANGE_TRUNCATE) {
        m = match_of(f, change->relation);
    }
    if (!m || !m->table) {
        return;
    }
    if (change->kind == CHANGE_CREATE) {
        take_create(f, m, change);
    } else if (change->kind == CHANGE_UPDATE) {
        take_update(f, m, change);
    } else if (change->kind == CHANGE_DELETE) {
        take_delete(f, m, change);
    } else {
        take_truncate(f, m);
    }
}

/* Columns that changed; a row with none of them is as it was. */
static bool find_changed(struct undo_plan *plan, struct undo_row *row)
{
    bool any = false;

    row->set = arena_take(&plan->arena, (size_t)row->table->count + 1);
    for (int i = 0; i < row->table->count; i++) {
        const struct value *before = &row->before[i], *after = &row->after[i];
        row->set[i] = value_is_known(after) && before->kind != VALUE_ABSENT &&
                      !value_is(before, after) && !row->table->columns[i].generated;
        any = any || row->set[i];
    }
    return any;
}

static bool is_touched(const struct undo_plan *plan, const struct catalog_table *table, int at)
{
    for (size_t i = 0; i < plan->row_count; i++) {
        const struct undo_row *row = plan->rows[i];
        if (row->table == table && row->before && (!row->after || row->set[at])) {
            return true;
        }
    }
    return false;
}

/* What was captured under another name or as another type, and is put back. */
static void tell_column(struct fold *f, const struct match *m, int i)
{
    const struct column *was = &m->relation->columns[i];
    const struct catalog_column *is = &m->table->columns[m->positions[i]];
    bool is_renamed = !view_is(was->name, is->name);
    bool is_retyped = was->type != is->type && was->type != is->base;
    struct undo_note *note = NULL;

    if (is->dropped || (!is_renamed && !is_retyped) ||
        !is_touched(f->plan, m->table, m->positions[i]) ||
        map_put(&f->told, VIEW_OF(is->quoted.at), f)) {
        return;
    }
    if (is_renamed) {
        note =
            undo_warning(f->plan, UNDO_COLUMN_RENAMED, NULL, "%.*s.%.*s was called %.*s then",
                         VIEW_ARG(m->table->quoted), VIEW_ARG(is->quoted), VIEW_ARG(was->name));
    } else {
        note = undo_warning(f->plan, UNDO_COLUMN_RETYPED, NULL, "%.*s.%.*s is now %.*s",
                            VIEW_ARG(m->table->quoted), VIEW_ARG(is->quoted),
                            VIEW_ARG(is->type_name));
    }
    undo_note_table(note, m->table->schema, m->table->name);
    undo_note_column(f->plan, note, is->name);
}

static void tell_columns(struct fold *f)
{
    struct match *m;

    for (size_t at = 0; (m = map_next(&f->matches, &at));) {
        for (int i = 0; m->table && i < m->relation->count; i++) {
            if (m->positions[i] >= 0) {
                tell_column(f, m, i);
            }
        }
    }
}

void undo_fold(struct undo_plan *plan, const struct change *const *changes, size_t count)
{
    struct fold f = {.plan = plan};

    plan->change_count = count;
    for (size_t i = 0; i < count; i++) {
        f.at = (int64_t)i;
        take_change(&f, changes[i]);
    }
    plan->rows = arena_take(&plan->arena, (f.count + 1) * sizeof(struct undo_row *));
    for (size_t i = 0; i < f.count; i++) {
        struct undo_row *row = f.rows[i];
        bool is_something = row->before || row->after;
        if (is_something && (!row->before || !row->after || find_changed(plan, row))) {
            plan->rows[plan->row_count++] = row;
        }
    }
    tell_columns(&f);
    map_fini(&f.matches);
    map_fini(&f.live);
    map_fini(&f.dead);
    map_fini(&f.told);
    free(f.rows);
}
