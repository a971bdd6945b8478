/* story.c - telling people what happened to rows. SPDX-License-Identifier: Apache-2.0 */
#include "cli/story.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH_PRESET 80
#define WIDTH_LEAST 40
#define WIDTH_MOST 160
#define NAME_COLUMNS_MAX 24
#define CONTEXT_DEPTH 8
#define CONTEXT_LINES 5
#define ARROW " → "
#define ARROW_COLUMNS 3
#define CUT_MARK "…"
#define UNKNOWN "(unknown)"

struct story story_begin(bool full)
{
    size_t width = terminal_width(stdout);
    const char *no_colour = getenv("NO_COLOR");
    struct story story = {.full = full, .colour = width && !(no_colour && no_colour[0])};

    story.width = width ? MIN(MAX(width, WIDTH_LEAST), WIDTH_MOST) : WIDTH_PRESET;
    return story;
}

void story_print(struct story *story)
{
    print_text(&story->out, stdout);
    writer_reset(&story->out);
}

void story_end(struct story *story)
{
    story_print(story);
    writer_fini(&story->out);
}

static bool begins_point(uint8_t c)
{
    return (c & 0xc0) != 0x80;
}

size_t text_columns(view text)
{
    size_t columns = 0;

    for (size_t i = 0; i < text.len; i++) {
        columns += begins_point(text.at[i]);
    }
    return columns;
}

/* At most `columns` code points; control characters become a sign that shows. */
static void write_clean(struct writer *out, view text, size_t columns)
{
    size_t seen = 0;

    for (size_t i = 0; i < text.len; i++) {
        seen += begins_point(text.at[i]);
        if (seen > columns) {
            return;
        }
        bool control = text.at[i] < ' ' || text.at[i] == 0x7f;
        if (text.at[i] == '\n') {
            write_view(out, VIEW("⏎"));
        } else {
            write_u8(out, control ? '?' : text.at[i]);
        }
    }
}

size_t story_text(struct story *story, enum story_look look, view text, size_t columns)
{
    static const char *const looks[] = {"", "\033[1m", "\033[2m"};
    size_t wide = text_columns(text);
    bool cut = columns && wide > columns;

    write_format(&story->out, "%s", story->colour ? looks[look] : "");
    write_clean(&story->out, text, cut ? columns - 1 : wide);
    write_format(&story->out, "%s", cut ? CUT_MARK : "");
    write_format(&story->out, "%s", story->colour && look ? "\033[0m" : "");
    return cut ? columns : wide;
}

void story_line(struct story *story, enum story_look look, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    assert(len >= 0);
    story_text(story, look, view_text(text), 0);
    write_u8(&story->out, '\n');
    free(text);
}

void story_blank(struct story *story, size_t columns)
{
    write_format(&story->out, "%*s", (int)columns, "");
}

view story_time(struct cli *cli, const struct json *object, const char *name)
{
    view text = json_word(object, name);
    const size_t date = 10, millis = 23; /* "2026-11-20", "2026-11-20T14:02:11.123" */

    if (text.len <= millis || text.at[date] != 'T') {
        return text;
    }
    return view_text(arena_format(&cli->arena, "%.*s %.*sZ", (int)date, (const char *)text.at,
                                  (int)(millis - date - 1), (const char *)text.at + date + 1));
}

view story_value(struct cli *cli, const struct json *value)
{
    struct writer out = {0};

    if (!value) {
        return VIEW("");
    }
    switch (value->kind) {
    case JSON_NULL:
        return VIEW("null");
    case JSON_BOOL:
        return value->truth ? VIEW("true") : VIEW("false");
    case JSON_NUMBER:
        return value->text;
    case JSON_TEXT:
        return value->text.len ? value->text : VIEW("\"\"");
    default:
        break;
    }
    struct json_writer j = json_to(&out);
    json_again(&j, value);
    view text = arena_copy(&cli->arena, writer_view(&out));
    writer_fini(&out);
    return text;
}

view story_actor(struct cli *cli, const struct json *change)
{
    view actor = json_word(change, "actor");

    (void)cli;
    return actor.len ? actor : VIEW("(nobody named)");
}

/* A field's name, or what the business calls it. */
static view field_name(const struct json *field)
{
    view label = json_word(field, "label");

    return label.len ? label : json_word(field, "name");
}

static size_t name_columns(const struct json *fields)
{
    size_t widest = 0;

    for (const struct json *in = fields ? fields->inside : NULL; in; in = in->next) {
        widest = MAX(widest, text_columns(field_name(in)));
    }
    return MIN(widest, NAME_COLUMNS_MAX);
}

static void write_name(struct story *story, view name, size_t indent, size_t columns)
{
    story_blank(story, indent);
    size_t took = story_text(story, STORY_DIM, name, columns);
    story_blank(story, columns - took + 2);
}

static bool says(const struct json *list, const char *word)
{
    for (const struct json *in = list ? list->inside : NULL; in; in = in->next) {
        if (view_is_text(in->text, word)) {
            return true;
        }
    }
    return false;
}

/* Old and new on one line where they fit, else below each other. */
static void write_both(struct story *story, view old, view new, size_t left)
{
    size_t room = story->width > left ? story->width - left : 1;
    size_t both = text_columns(old) + ARROW_COLUMNS + text_columns(new);
    size_t each = story->full ? 0 : room - MIN(room - 1, (size_t)2);

    if (both <= room) {
        story_text(story, STORY_PLAIN, old, 0);
        write_view(&story->out, VIEW(ARROW));
        story_text(story, STORY_BOLD, new, 0);
    } else {
        story_text(story, STORY_PLAIN, old, each);
        write_u8(&story->out, '\n');
        story_blank(story, left);
        write_view(&story->out, VIEW("→ "));
        story_text(story, STORY_BOLD, new, each);
    }
    write_u8(&story->out, '\n');
}

static view field_value(struct cli *cli, const struct json *field, const struct json *value,
                        const char *label)
{
    view words = json_word(field, label);

    return words.len ? words : story_value(cli, value);
}

void story_fields(struct story *story, struct cli *cli, const struct json *fields,
                  size_t indent)
{
    size_t names = name_columns(fields), left = indent + names + 2;

    for (const struct json *f = fields ? fields->inside : NULL; f; f = f->next) {
        const struct json *old = json_get(f, "old"), *new = json_get(f, "new");
        const struct json *unknown = json_get(f, "unknown");
        bool old_unknown = says(unknown, "old"), new_unknown = says(unknown, "new");
        view old_text = old_unknown ? VIEW(UNKNOWN) : field_value(cli, f, old, "old_label");
        view new_text = new_unknown ? VIEW(UNKNOWN) : field_value(cli, f, new, "new_label");
        size_t room = story->width > left + 1 ? story->width - left : 1;
        write_name(story, field_name(f), indent, names);
        if ((old || old_unknown) && (new || new_unknown)) {
            write_both(story, old_text, new_text, left);
        } else {
            story_text(story, STORY_PLAIN, old || old_unknown ? old_text : new_text,
                       story->full ? 0 : room);
            write_u8(&story->out, '\n');
        }
    }
}

/* A column's name and value in the words of the business, where there are any. */
static view row_words(const struct json *labels, view column, const char *which, view preset)
{
    char *name = labels ? text_of(column) : NULL;
    const struct json *found = name ? json_get(labels, name) : NULL;
    view words = found ? json_word(found, which) : (view){0};

    free(name);
    return words.len ? words : preset;
}

static void tell_row(struct story *story, struct cli *cli, const struct json *row,
                     const struct json *unknown, const struct json *labels, size_t indent)
{
    size_t names = 0;

    for (const struct json *in = row ? row->inside : NULL; in; in = in->next) {
        names = MAX(names, text_columns(row_words(labels, in->name, "label", in->name)));
    }
    for (const struct json *in = unknown ? unknown->inside : NULL; in; in = in->next) {
        names = MAX(names, text_columns(in->text));
    }
    names = MIN(names, NAME_COLUMNS_MAX);
    size_t left = indent + names + 2, room = story->width > left + 1 ? story->width - left : 1;
    for (const struct json *in = row ? row->inside : NULL; in; in = in->next) {
        view value = row_words(labels, in->name, "value", story_value(cli, in));
        write_name(story, row_words(labels, in->name, "label", in->name), indent, names);
        story_text(story, STORY_PLAIN, value, story->full ? 0 : room);
        write_u8(&story->out, '\n');
    }
    for (const struct json *in = unknown ? unknown->inside : NULL; in; in = in->next) {
        write_name(story, in->text, indent, names);
        write_view(&story->out, VIEW(UNKNOWN "\n"));
    }
}

void story_row(struct story *story, struct cli *cli, const struct json *row,
               const struct json *unknown, size_t indent)
{
    tell_row(story, cli, row, unknown, NULL, indent);
}

void story_answer(struct story *story, struct cli *cli, const struct json *answer,
                  size_t indent)
{
    tell_row(story, cli, json_get(answer, "row"), json_get(answer, "unknown"),
             json_get(answer, "labels"), indent);
}

struct words { /* flowing text of name=value pairs */
    struct story *story;
    struct cli *cli;
    view said[5]; /* values that stand elsewhere already */
    size_t said_count;
    size_t indent, column, lines;
    bool cut;
};

static bool new_line(struct words *w)
{
    if (w->column) {
        write_u8(&w->story->out, '\n');
        w->column = 0;
        w->lines++;
    }
    w->cut = w->cut || (w->lines >= CONTEXT_LINES && !w->story->full);
    return !w->cut;
}

static view first_columns(view text, size_t columns)
{
    size_t at = 0;

    while (at < text.len && (columns || !begins_point(text.at[at]))) {
        columns -= begins_point(text.at[at]);
        at++;
    }
    return view_upto(text, at);
}

/* Up to a blank, when there is one in the line's second half. */
static view first_words(view text, size_t columns)
{
    view part = first_columns(text, columns);
    size_t at = part.len;

    while (part.len < text.len && at > part.len / 2 && part.at[at - 1] != ' ') {
        at--;
    }
    return part.len < text.len && at > part.len / 2 ? view_upto(part, at) : part;
}

/* A pair that is wider than a line goes on in the next ones. */
static void flow(struct words *w, view word)
{
    struct story *story = w->story;
    size_t room = story->width > w->indent + 1 ? story->width - w->indent : 1;

    if (w->column && w->column + 2 + text_columns(word) > story->width && !new_line(w)) {
        return;
    }
    while (word.len) {
        view part = first_words(word, room);
        size_t gap = w->column ? 2 : w->indent;
        word = view_from(word, part.len);
        story_blank(story, gap);
        w->column += gap + story_text(story, STORY_DIM, view_trim(part), 0);
        if (word.len && !new_line(w)) {
            return;
        }
    }
}

static bool was_said(const struct words *w, view value)
{
    for (size_t i = 0; i < w->said_count; i++) {
        if (w->said[i].len && view_is(value, w->said[i])) {
            return true;
        }
    }
    return false;
}

static void flow_pairs(struct words *w, const struct json *object, const char *path, int depth)
{
    for (const struct json *in = object->inside; in && !w->cut; in = in->next) {
        char *name = arena_format(&w->cli->arena, "%s%s%.*s", path, path[0] ? "." : "",
                                  VIEW_ARG(in->name));
        if (in->kind == JSON_OBJECT && in->inside && depth < CONTEXT_DEPTH) {
            flow_pairs(w, in, name, depth + 1);
            continue;
        }
        view value = story_value(w->cli, in);
        if (!was_said(w, value)) {
            flow(w, view_text(arena_format(&w->cli->arena, "%s=%.*s", name, VIEW_ARG(value))));
        }
    }
}

void story_context(struct story *story, struct cli *cli, const struct json *change, bool rest,
                   size_t indent)
{
    static const char *const said[] = {"actor", "request", "traceparent", "application",
                                       "session"};
    const struct json *context = json_get(change, "context");
    struct words w = {.story = story, .cli = cli, .indent = indent};

    for (size_t i = 0; i < (rest ? COUNT(said) : 1); i++) {
        view word = json_word(change, said[i]), kind, id;
        bool is_ref = !strcmp(said[i], "session") && view_cut(word, ':', &kind, &id);
        w.said[w.said_count++] = is_ref ? id : word;
    }
    if (context && context->kind == JSON_OBJECT) {
        flow_pairs(&w, context, "", 0);
    }
    if (w.cut) {
        story_blank(story, indent);
        story_text(story, STORY_DIM, VIEW("… (--full shows all of it)"), 0);
        w.column = 1;
    }
    if (w.column) {
        write_u8(&story->out, '\n');
    }
}
