/* change_line.c - a change as people read it: when, who, what, from what to what, why.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/change.h"

#define TIME_COLUMNS 19
#define WHO_COLUMNS 12
#define OPERATION_COLUMNS 8
#define ROW_COLUMNS 20
#define TX_COLUMNS 10
#define WHY_COLUMNS 32
#define WHY_FROM 150 /* columns of a terminal: a narrower one has no room for it */
#define TX_FROM 110  /* ... nor for transactions and dates */
#define HOUR_AT 11   /* in a time */
#define CHANGES_LEAST 24
#define GAP 2
#define INDENT 4

static void cell(struct story *story, enum story_look look, view text, size_t columns)
{
    size_t took = story_text(story, look, text, story->full ? 0 : columns);

    story_blank(story, (took < columns ? columns - took : 0) + GAP);
}

static bool has_why(const struct story *story)
{
    return !story->full && story->width >= WHY_FROM;
}

static bool is_wide(const struct story *story)
{
    return story->full || story->width >= TX_FROM;
}

static size_t time_columns(const struct story *story)
{
    return is_wide(story) ? TIME_COLUMNS : TIME_COLUMNS - HOUR_AT;
}

static size_t changes_columns(const struct story *story)
{
    size_t others = time_columns(story) + WHO_COLUMNS + OPERATION_COLUMNS + ROW_COLUMNS +
                    4 * GAP + (is_wide(story) ? TX_COLUMNS + GAP : 0) +
                    (has_why(story) ? WHY_COLUMNS + GAP : 0);

    return story->width >= others + CHANGES_LEAST ? story->width - others : CHANGES_LEAST;
}

void change_head(struct story *story)
{
    cell(story, STORY_DIM, VIEW("TIME (Z)"), time_columns(story));
    cell(story, STORY_DIM, VIEW("WHO"), WHO_COLUMNS);
    cell(story, STORY_DIM, VIEW("WHAT"), OPERATION_COLUMNS);
    cell(story, STORY_DIM, VIEW("ROW"), ROW_COLUMNS);
    if (is_wide(story)) {
        cell(story, STORY_DIM, VIEW("TX"), TX_COLUMNS);
    }
    if (has_why(story)) {
        cell(story, STORY_DIM, VIEW("CHANGES"), changes_columns(story));
        story_text(story, STORY_DIM, VIEW("WHY"), 0);
    } else {
        story_text(story, STORY_DIM, VIEW("CHANGES"), 0);
    }
    write_u8(&story->out, '\n');
}

static const struct json *member(const struct json *object, view name)
{
    for (const struct json *in = object ? object->inside : NULL; in; in = in->next) {
        if (view_is(in->name, name)) {
            return in;
        }
    }
    return NULL;
}

/* The business's word for a value, else the value. side: before or after. */
static view value_words(struct cli *cli, const struct json *change, const char *side, view name)
{
    const struct json *words = member(json_get(json_get(change, "labels"), side), name);
    const struct json *value = member(json_get(change, side), name);

    return words ? words->text : value ? story_value(cli, value) : VIEW("(unknown)");
}

static view column_words(const struct json *change, view name)
{
    const struct json *label = member(json_get(json_get(change, "labels"), "columns"), name);

    return label ? label->text : name;
}

static view table_words(const struct json *change)
{
    view label = json_word(json_get(change, "labels"), "table");

    return label.len ? label : json_word(change, "table");
}

static view row_words(struct cli *cli, const struct json *change)
{
    view schema = json_word(change, "schema"), key = json_word(change, "key");
    view table = table_words(change);
    bool plain = view_is_text(schema, "public") || !view_is(table, json_word(change, "table"));

    return view_text(arena_format(&cli->arena, "%.*s%s%.*s%s%.*s", plain ? 0 : (int)schema.len,
                                  (const char *)schema.at, plain ? "" : ".", VIEW_ARG(table),
                                  key.len ? "/" : "", VIEW_ARG(key)));
}

/* "status new → shipped, total 5 → 7"; of what came or went "status=new, total=5". */
static view changes_words(struct cli *cli, const struct json *change)
{
    const struct json *changed = json_get(change, "changed");
    const struct json *after = json_get(change, "after"), *before = json_get(change, "before");
    const struct json *image = after && after->kind == JSON_OBJECT ? after : before;
    const char *side = image == after ? "after" : "before";
    struct writer out = {0};

    if (view_is_text(json_word(change, "operation"), "message")) {
        return json_word(change, "content");
    }
    bool both = changed && changed->kind == JSON_ARRAY;
    for (const struct json *in = both ? changed->inside : NULL; in; in = in->next) {
        view name = column_words(change, in->text);
        view old = value_words(cli, change, "before", in->text);
        view new = value_words(cli, change, "after", in->text);
        write_format(&out, "%s%.*s %.*s → %.*s", out.len ? ", " : "", VIEW_ARG(name),
                     VIEW_ARG(old), VIEW_ARG(new));
    }
    for (const struct json *in = !both && image ? image->inside : NULL; in; in = in->next) {
        view name = column_words(change, in->name);
        view value = value_words(cli, change, side, in->name);
        if (in->kind != JSON_NULL) {
            write_format(&out, "%s%.*s=%.*s", out.len ? ", " : "", VIEW_ARG(name),
                         VIEW_ARG(value));
        }
    }
    view text = arena_copy(&cli->arena, out.len ? writer_view(&out) : VIEW("no value changed"));
    writer_fini(&out);
    return text;
}

static view why_words(struct cli *cli, const struct json *change)
{
    const struct json *context = json_get(change, "context");
    struct writer out = {0};

    for (const struct json *in = context ? context->inside : NULL; in; in = in->next) {
        view value = story_value(cli, in);
        if (!view_is(value, json_word(change, "actor"))) {
            write_format(&out, "%s%.*s=%.*s", out.len ? "  " : "", VIEW_ARG(in->name),
                         VIEW_ARG(value));
        }
    }
    view text = arena_copy(&cli->arena, writer_view(&out));
    writer_fini(&out);
    return text;
}

static view short_time(const struct story *story, struct cli *cli, const struct json *change)
{
    view time = view_upto(story_time(cli, change, "committed_at"), TIME_COLUMNS);

    return is_wide(story) ? time : view_from(time, HOUR_AT);
}

static void write_who(struct story *story, const struct json *change, size_t columns)
{
    view actor = json_word(change, "actor");

    cell(story, actor.len ? STORY_BOLD : STORY_DIM, actor.len ? actor : VIEW("-"), columns);
}

void change_line(struct story *story, struct cli *cli, const struct json *change)
{
    view changes = changes_words(cli, change);

    cell(story, STORY_DIM, short_time(story, cli, change), time_columns(story));
    write_who(story, change, WHO_COLUMNS);
    cell(story, STORY_PLAIN, json_word(change, "operation"), OPERATION_COLUMNS);
    cell(story, STORY_BOLD, row_words(cli, change), ROW_COLUMNS);
    if (is_wide(story)) {
        cell(story, STORY_DIM, json_word(change, "tx"), TX_COLUMNS);
    }
    if (has_why(story)) {
        cell(story, STORY_PLAIN, changes, changes_columns(story));
        story_text(story, STORY_DIM, why_words(cli, change), WHY_COLUMNS);
    } else {
        story_text(story, STORY_PLAIN, changes, story->full ? 0 : changes_columns(story));
    }
    write_u8(&story->out, '\n');
    if (story->full) {
        story_context(story, cli, change, false, INDENT);
    }
}

static void tell_field(struct story *story, struct cli *cli, const struct json *change,
                       view name)
{
    const struct json *before = json_get(change, "before"), *after = json_get(change, "after");
    bool both = before && before->kind == JSON_OBJECT && after && after->kind == JSON_OBJECT;

    story_blank(story, INDENT);
    size_t took = story_text(story, STORY_DIM, column_words(change, name), 0);
    story_blank(story, took < ROW_COLUMNS ? ROW_COLUMNS - took : 1);
    if (both) {
        view old = value_words(cli, change, "before", name);
        view new = value_words(cli, change, "after", name);
        bool same = view_is(old, new);
        story_text(story, STORY_PLAIN, old, 0);
        if (!same) {
            write_view(&story->out, VIEW(" → "));
            story_text(story, STORY_BOLD, new, 0);
        }
    } else {
        bool has_after = after && after->kind == JSON_OBJECT;
        story_text(story, STORY_PLAIN,
                   value_words(cli, change, has_after ? "after" : "before", name), 0);
    }
    write_u8(&story->out, '\n');
}

void change_tell(struct story *story, struct cli *cli, const struct json *change)
{
    const struct json *after = json_get(change, "after"), *before = json_get(change, "before");
    const struct json *image = after && after->kind == JSON_OBJECT ? after : before;
    const struct json *unknown = json_get(change, "unknown");

    story_text(story, STORY_BOLD, json_word(change, "ref"), 0);
    story_line(story, STORY_PLAIN, "\n%.*s %.*s by %.*s, committed %.*s",
               VIEW_ARG(row_words(cli, change)), VIEW_ARG(json_word(change, "operation")),
               VIEW_ARG(story_actor(cli, change)),
               VIEW_ARG(story_time(cli, change, "committed_at")));
    story_line(story, STORY_DIM, "tx:%.*s/%.*s  lsn %.*s",
               VIEW_ARG(json_word(change, "source")), VIEW_ARG(json_word(change, "tx")),
               VIEW_ARG(json_word(change, "lsn")));
    story_context(story, cli, change, false, INDENT);
    for (const struct json *in = image ? image->inside : NULL; in; in = in->next) {
        tell_field(story, cli, change, in->name);
    }
    for (const struct json *in = unknown ? unknown->inside : NULL; in; in = in->next) {
        if (!member(image, in->text)) {
            tell_field(story, cli, change, in->text);
        }
    }
}
