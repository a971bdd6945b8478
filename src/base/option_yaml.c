/* option_yaml.c - option values from a YAML file.
 *
 * libyaml's events only: maps nest names, scalars are values; nothing else of YAML is wanted.
 * Aliases are refused, so a small file cannot grow; depth and length of names are limited.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define YAML_DEPTH_MAX 16

struct walk {
    const struct option *rows;
    size_t count;
    void *self;
    const char *path;
    size_t *seen_line;           /* per row: the line that set it, 0 none */
    size_t base[YAML_DEPTH_MAX]; /* length of the name outside of this level */
    size_t depth, documents;
    char name[OPTION_NAME_BYTES]; /* down to the key last read, joined by dots */
    size_t name_len;
    yaml_mark_t name_mark;
    bool after_key; /* its value comes next */
};

PRINTF_LIKE(3, 4)
static err wrong(const struct walk *w, yaml_mark_t mark, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    err e = fault(ERR_INVALID, "%s:%zu:%zu: %s", w->path, mark.line + 1, mark.column + 1,
                  len < 0 ? "" : text);
    if (len >= 0) {
        free(text);
    }
    return e;
}

static view name_of(const struct walk *w)
{
    return (view){(const uint8_t *)w->name, w->name_len};
}

static err take_key(struct walk *w, const yaml_event_t *event)
{
    size_t base = w->base[w->depth - 1], len = event->data.scalar.length;

    if (base + 1 + len >= sizeof(w->name)) {
        return wrong(w, event->start_mark, "a name longer than %zu bytes", sizeof(w->name));
    }
    w->name_len = base;
    if (base) {
        w->name[w->name_len++] = '.';
    }
    memcpy(w->name + w->name_len, event->data.scalar.value, len);
    w->name_len += len;
    w->name_mark = event->start_mark;
    w->after_key = true;
    return OK;
}

/* The row's name up to as many dots as the group's has: "log.segment" of log.segment.bytes. */
static view group_of(const struct option *row, size_t dots)
{
    view name = view_text(row->name);

    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] == '.' && dots-- == 0) {
            return view_upto(name, i);
        }
    }
    return (view){0};
}

static size_t dots_in(view name)
{
    size_t dots = 0;

    for (size_t i = 0; i < name.len; i++) {
        dots += name.at[i] == '.' ? 1 : 0;
    }
    return dots;
}

static bool is_group(const struct walk *w)
{
    size_t dots = dots_in(name_of(w));

    for (size_t i = 0; i < w->count; i++) {
        if (view_is(group_of(&w->rows[i], dots), name_of(w))) {
            return true;
        }
    }
    return false;
}

static err unknown_group(const struct walk *w)
{
    char **names = xcalloc(w->count, sizeof(*names));
    size_t dots = dots_in(name_of(w));

    for (size_t i = 0; i < w->count; i++) {
        names[i] = text_of(group_of(&w->rows[i], dots));
    }
    const char *near = nearest_name(name_of(w), (const char *const *)names, w->count);
    err e = wrong(w, w->name_mark, "no options under \"%.*s\"%s%s%s", VIEW_ARG(name_of(w)),
                  near && near[0] ? "; did you mean \"" : "", near ? near : "",
                  near && near[0] ? "\"?" : "");
    for (size_t i = 0; i < w->count; i++) {
        free(names[i]);
    }
    free(names);
    return e;
}

static bool is_null(const yaml_event_t *event)
{
    view text = {event->data.scalar.value, event->data.scalar.length};

    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text.len == 0 || view_is_text(text, "~") || view_is_text(text, "null"));
}

static err take_value(struct walk *w, const yaml_event_t *event)
{
    view value = {event->data.scalar.value, event->data.scalar.length};
    const struct option *row = option_find(w->rows, w->count, name_of(w));
    char where[600];

    w->after_key = false;
    if (!row && is_null(event) && is_group(w)) {
        return OK; /* a group whose options are all commented out */
    }
    if (row && is_null(event)) {
        return wrong(w, w->name_mark, "%s has no value", row->name);
    }
    if (row && w->seen_line[row - w->rows]) {
        return wrong(w, w->name_mark, "%s is given already in line %zu", row->name,
                     w->seen_line[row - w->rows]);
    }
    if (row) {
        w->seen_line[row - w->rows] = w->name_mark.line + 1;
    }
    yaml_mark_t mark = row ? event->start_mark : w->name_mark;
    snprintf(where, sizeof(where), "%.400s:%zu:%zu", w->path, mark.line + 1, mark.column + 1);
    return option_set(w->rows, w->count, w->self, name_of(w), value, where);
}

static err take_scalar(struct walk *w, const yaml_event_t *event)
{
    if (w->depth == 0) {
        return is_null(event) ? OK
                              : wrong(w, event->start_mark, "names with values are expected");
    }
    return w->after_key ? take_value(w, event) : take_key(w, event);
}

static err open_map(struct walk *w, const yaml_event_t *event)
{
    if (w->depth > 0 && !w->after_key) {
        return wrong(w, event->start_mark, "a name must be a text");
    }
    if (w->depth == YAML_DEPTH_MAX) {
        return wrong(w, event->start_mark, "nested deeper than %d levels", YAML_DEPTH_MAX);
    }
    if (w->depth > 0 && !is_group(w)) {
        return unknown_group(w);
    }
    w->base[w->depth] = w->depth ? w->name_len : 0;
    w->depth++;
    w->after_key = false;
    return OK;
}

static err take_event(struct walk *w, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return w->documents++ == 0 ? OK
                                   : wrong(w, event->start_mark, "a second document begins");
    case YAML_ALIAS_EVENT:
        return wrong(w, event->start_mark, "aliases are not possible here");
    case YAML_SEQUENCE_START_EVENT:
        return wrong(w, event->start_mark, "a list is not possible here");
    case YAML_SCALAR_EVENT:
        return take_scalar(w, event);
    case YAML_MAPPING_START_EVENT:
        return open_map(w, event);
    case YAML_MAPPING_END_EVENT:
        assert(w->depth > 0);
        w->depth--;
        return OK;
    default:
        return OK;
    }
}

err options_from_yaml(const struct option *rows, size_t count, void *self, const char *path,
                      view text)
{
    struct walk w = {.rows = rows, .count = count, .self = self, .path = path};
    yaml_parser_t parser;
    bool ended = false;
    err e = OK;

    if (!yaml_parser_initialize(&parser)) {
        return fault(ERR_BUSY, "%s: no memory for the YAML reader", path);
    }
    w.seen_line = xcalloc(count, sizeof(*w.seen_line));
    yaml_parser_set_input_string(&parser, text.at ? text.at : (const uint8_t *)"", text.len);
    while (!e && !ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            e = wrong(&w, parser.problem_mark, "%s",
                      parser.problem ? parser.problem : "not YAML");
            break;
        }
        ended = event.type == YAML_STREAM_END_EVENT;
        e = take_event(&w, &event);
        yaml_event_delete(&event);
    }
    free(w.seen_line);
    yaml_parser_delete(&parser);
    return e;
}
