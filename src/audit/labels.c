/* labels.c - a labels file, read into a tree of names. SPDX-License-Identifier: Apache-2.0 */
#include "audit/labels.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#define DEPTH_MAX 6 /* file, table, columns, column, values, value */

struct node {
    view name, text; /* text: of a scalar; null view: a map */
    yaml_mark_t mark;
    struct node *inside, *last, *next;
};

struct labels {
    struct arena arena;
    struct node *tables;
};

struct loader {
    struct labels *labels;
    const char *path;
    struct node *open[DEPTH_MAX + 1]; /* maps around the place that is read */
    size_t depth;
    view name; /* of what comes next; null view: a name is next */
};

PRINTF_LIKE(3, 4)
static err wrong(const char *path, yaml_mark_t mark, const char *format, ...)
{
    char words[256];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof(words), format, args);
    va_end(args);
    return fault(ERR_INVALID, "%s:%zu:%zu: %s", path, mark.line + 1, mark.column + 1, words);
}

static struct node *add(struct loader *l, yaml_mark_t mark)
{
    struct node *n = arena_take(&l->labels->arena, sizeof(*n)), *in = l->open[l->depth];

    *n = (struct node){.name = l->name, .mark = mark};
    l->name = (view){0};
    if (in->last) {
        in->last->next = n;
    } else {
        in->inside = n;
    }
    in->last = n;
    return n;
}

static err take_scalar(struct loader *l, const yaml_event_t *event)
{
    view text = {event->data.scalar.value, event->data.scalar.length};

    if (l->depth == 0) {
        return text.len == 0
                   ? OK
                   : wrong(l->path, event->start_mark, "names of tables are expected");
    }
    text = arena_copy(&l->labels->arena, text);
    if (!l->name.at) {
        l->name = text;
    } else {
        add(l, event->start_mark)->text = text;
    }
    return OK;
}

static err open_map(struct loader *l, const yaml_event_t *event)
{
    if (l->depth == DEPTH_MAX) {
        return wrong(l->path, event->start_mark, "nested deeper than labels are");
    }
    if (l->depth > 0 && !l->name.at) {
        return wrong(l->path, event->start_mark, "a name must be a text");
    }
    if (l->depth == 0) {
        l->labels->tables = l->open[1] = arena_take(&l->labels->arena, sizeof(struct node));
    } else {
        l->open[l->depth + 1] = add(l, event->start_mark);
    }
    l->depth++;
    return OK;
}

static err take_event(struct loader *l, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return wrong(l->path, event->start_mark, "aliases are not possible here");
    case YAML_SEQUENCE_START_EVENT:
        return wrong(l->path, event->start_mark, "a list is not possible here");
    case YAML_SCALAR_EVENT:
        return take_scalar(l, event);
    case YAML_MAPPING_START_EVENT:
        return l->labels->tables && l->depth == 0
                   ? wrong(l->path, event->start_mark, "a second document begins")
                   : open_map(l, event);
    case YAML_MAPPING_END_EVENT:
        l->depth--;
        return OK;
    default:
        return OK;
    }
}

static struct node *child(const struct node *n, view name)
{
    for (struct node *in = n ? n->inside : NULL; in; in = in->next) {
        if (view_is(in->name, name)) {
            return in;
        }
    }
    return NULL;
}

/* Texts under texts names, maps under the others; nothing else. */
static err check_members(const char *path, const struct node *n, const char *text,
                         const char *map)
{
    if (n->text.at) {
        return wrong(path, n->mark, "%s and %s belong here", text, map);
    }
    for (const struct node *in = n->inside; in; in = in->next) {
        bool fits = in->text.at ? view_is_text(in->name, text) : view_is_text(in->name, map);
        if (!fits) {
            return wrong(path, in->mark,
                         "\"%.*s\": %s (a text) and %s (names with values) "
                         "belong here",
                         VIEW_ARG(view_upto(in->name, 60)), text, map);
        }
    }
    return OK;
}

static err check_column(const char *path, const struct node *column)
{
    const struct node *values = child(column, VIEW("values"));
    err e = column->text.at ? OK : check_members(path, column, "label", "values");

    for (const struct node *v = values ? values->inside : NULL; v && !e; v = v->next) {
        e = v->text.at ? OK : wrong(path, v->mark, "a value's words are a text");
    }
    return e;
}

static err check(const char *path, const struct node *tables)
{
    err e = OK;

    for (const struct node *t = tables ? tables->inside : NULL; t && !e; t = t->next) {
        const struct node *columns = child(t, VIEW("columns"));
        e = t->text.at ? OK : check_members(path, t, "label", "columns");
        for (const struct node *c = columns ? columns->inside : NULL; c && !e; c = c->next) {
            e = check_column(path, c);
        }
    }
    return e;
}

err labels_parse(const char *path, view text, struct labels **out)
{
    struct loader l = {.labels = xcalloc(1, sizeof(*l.labels)), .path = path};
    yaml_parser_t parser;
    bool ended = false;
    err e = OK;

    if (!yaml_parser_initialize(&parser)) {
        labels_free(l.labels);
        return fault(ERR_BUSY, "%s: no memory for the YAML reader", path);
    }
    yaml_parser_set_input_string(&parser, text.at ? text.at : (const uint8_t *)"", text.len);
    while (!e && !ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            e = wrong(path, parser.problem_mark, "%s",
                      parser.problem ? parser.problem : "not YAML");
            break;
        }
        ended = event.type == YAML_STREAM_END_EVENT;
        e = take_event(&l, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    e = e ? e : check(path, l.labels->tables);
    if (e) {
        labels_free(l.labels);
        return e;
    }
    *out = l.labels;
    return OK;
}

err labels_load(struct os *os, const char *path, struct labels **out)
{
    struct buf *text = NULL;

    *out = NULL;
    if (!path || !path[0]) {
        return OK;
    }
    err e = os_read_file(os, path, LABELS_BYTES_MAX, &text);
    e = e ? e : labels_parse(path, (view){text->bytes, text->len}, out);
    buf_drop(text);
    return e;
}

void labels_free(struct labels *labels)
{
    if (labels) {
        arena_fini(&labels->arena);
        free(labels);
    }
}

static bool is_qualified(view name, view schema, view table)
{
    return name.len == schema.len + 1 + table.len && view_starts(name, schema) &&
           name.at[schema.len] == '.' && view_is(view_from(name, schema.len + 1), table);
}

/* The one with the schema before the one without. */
static const struct node *table_of(const struct labels *labels, view schema, view table)
{
    const struct node *all = labels ? labels->tables : NULL;

    for (const struct node *t = all ? all->inside : NULL; t; t = t->next) {
        if (is_qualified(t->name, schema, table)) {
            return t;
        }
    }
    return child(all, table);
}

static view label_of(const struct node *n)
{
    const struct node *label = child(n, VIEW("label"));

    return !n ? (view){0} : n->text.at ? n->text : label ? label->text : (view){0};
}

view labels_table(const struct labels *labels, view schema, view table)
{
    return label_of(table_of(labels, schema, table));
}

static const struct node *column_of(const struct labels *labels, view schema, view table,
                                    view column)
{
    return child(child(table_of(labels, schema, table), VIEW("columns")), column);
}

view labels_column(const struct labels *labels, view schema, view table, view column)
{
    return label_of(column_of(labels, schema, table, column));
}

view labels_value(const struct labels *labels, view schema, view table, view column, view value)
{
    const struct node *c = column_of(labels, schema, table, column);
    const struct node *words = child(child(c, VIEW("values")), value);

    return words ? words->text : (view){0};
}

static void image_to_json(const struct labels *labels, const struct relation *r,
                          const struct value *image, struct json_writer *j)
{
    json_object(j);
    for (int i = 0; image && i < r->count; i++) {
        view words =
            image[i].kind == VALUE_TEXT
                ? labels_value(labels, r->schema, r->name, r->columns[i].name, image[i].text)
                : (view){0};
        if (words.at) {
            json_name_view(j, r->columns[i].name);
            json_view(j, words);
        }
    }
    json_end_object(j);
}

void labels_to_json(const struct labels *labels, const struct change *change,
                    struct json_writer *j)
{
    const struct relation *r = change->relation;

    json_object(j);
    if (r && table_of(labels, r->schema, r->name)) {
        json_name(j, "table");
        json_view(j, labels_table(labels, r->schema, r->name));
        json_name(j, "columns");
        json_object(j);
        for (int i = 0; i < r->count; i++) {
            view label = labels_column(labels, r->schema, r->name, r->columns[i].name);
            if (label.at) {
                json_name_view(j, r->columns[i].name);
                json_view(j, label);
            }
        }
        json_end_object(j);
        json_name(j, "before");
        image_to_json(labels, r, change->before, j);
        json_name(j, "after");
        image_to_json(labels, r, change->after, j);
    }
    json_end_object(j);
}
