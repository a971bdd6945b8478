/* row.c - `tidemark row`: the life of a row, what differs between two moments, a table as it
 * was. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/story.h"

#define ROWS "/api/v1/rows"
#define ENTRIES_PAGE 500
#define INDENT 4
#define EXPORT_MS 7200000 /* a large table is folded before its first row comes */

struct show_options {
    struct common common;
    char *at;
    bool full;
};

struct diff_options {
    struct common common;
    char *from, *to;
    bool full;
};

struct export_options {
    struct common common;
    char *at, *format, *out, *into;
};

static bool json_truth(const struct json *object, const char *name)
{
    const struct json *found = json_get(object, name);

    return found && found->kind == JSON_BOOL && found->truth;
}

/* A reference may be given without its "row:". */
static char *row_ref(struct cli *cli, const char *word)
{
    bool bare =
        !strchr(word, ':') || (strchr(word, '/') && strchr(word, '/') < strchr(word, ':'));

    return bare ? cli_path(cli, "row:%s", word) : cli_path(cli, "%s", word);
}

/* --- show --- */

static const char *beginning(const struct json *row)
{
    view step = json_word(json_get(row, "begins"), "step");

    return view_is_text(step, "created")     ? "when it was created"
           : view_is_text(step, "seen")      ? "when the snapshot saw it"
           : view_is_text(step, "truncated") ? "when the table was truncated"
                                             : "what was before is not known";
}

/* at NULL: now. */
static void tell_head(struct story *story, struct cli *cli, const struct json *row,
                      const char *at)
{
    const struct json *begins = json_get(row, "begins"), *covered = json_get(row, "covered");
    const struct json *gap = json_get(row, "gap");
    int64_t entries = json_amount(row, "entries");
    view since = story_time(cli, begins, "at"), now = json_word(row, "ref_now");

    story_text(story, STORY_BOLD, json_word(row, "ref"), 0);
    write_u8(&story->out, '\n');
    story_line(story, STORY_PLAIN, "%s, %lld change%s since %.*s (%s)",
               json_truth(row, "exists") ? at ? "existed" : "exists"
               : at                      ? "did not exist"
                                         : "does not exist",
               (long long)entries, entries == 1 ? "" : "s", VIEW_ARG(since), beginning(row));
    if (!view_is(now, json_word(row, "ref"))) {
        story_line(story, STORY_PLAIN, "its key changed: it is %.*s", VIEW_ARG(now));
    }
    if (gap && gap->kind == JSON_OBJECT) {
        story_line(story, STORY_BOLD, "between lsn %.*s and %.*s nothing was captured%s",
                   VIEW_ARG(json_word(gap, "from")), VIEW_ARG(json_word(gap, "to")),
                   json_truth(row, "vanished") ? ": it was deleted then" : "");
    }
    if (json_truth(covered, "behind")) {
        story_line(story, STORY_BOLD, "the newest changes are not in the trail yet");
    }
}

static void tell_step(struct story *story, struct cli *cli, const struct json *entry)
{
    size_t left = 0;
    view step = json_word(entry, "step");

    story_text(story, STORY_BOLD, story_time(cli, entry, "committed_at"), 0);
    story_blank(story, 2);
    left = text_columns(story_time(cli, entry, "committed_at")) + 2;
    left += story_text(story, STORY_BOLD, step, 0) + 4;
    if (view_is_text(step, "seen")) {
        write_view(&story->out, VIEW(" in a snapshot\n"));
        return;
    }
    write_view(&story->out, VIEW(" by "));
    story_text(story, STORY_PLAIN, story_actor(cli, entry),
               story->width > left + 8 ? story->width - left : 8);
    write_u8(&story->out, '\n');
}

static void tell_why(struct story *story, struct cli *cli, const struct json *entry)
{
    view tx = json_word(entry, "tx");

    if (tx.len) {
        story_blank(story, INDENT);
        story_text(story, STORY_DIM, tx, 0);
        write_u8(&story->out, '\n');
    }
    story_context(story, cli, entry, false, INDENT);
}

static void tell_entry(struct story *story, struct cli *cli, const struct json *entry)
{
    const struct json *fields = json_get(entry, "fields");
    view step = json_word(entry, "step");

    write_u8(&story->out, '\n');
    tell_step(story, cli, entry);
    tell_why(story, cli, entry);
    if (json_truth(entry, "first") && !view_is_text(step, "seen")) {
        story_line(story, STORY_DIM,
                   "    the first change there is of it; older values are "
                   "not known");
    }
    story_fields(story, cli, fields, INDENT);
    if (!fields || !fields->inside) {
        story_line(story, STORY_DIM,
                   view_is_text(step, "seen")        ? "    as it was known"
                   : view_is_text(step, "truncated") ? "    the whole table was emptied"
                                                     : "    no value changed");
    }
}

struct life { /* told page by page */
    struct cli *cli;
    struct story story;
    struct json_writer *j; /* --json */
    int64_t number;        /* of the life told last */
};

static void tell_page(struct life *life, const struct json *page)
{
    const struct json *list = json_get(page, "changes");

    for (const struct json *entry = list ? list->inside : NULL; entry; entry = entry->next) {
        int64_t number = json_amount(entry, "life");
        if (life->j) {
            json_again(life->j, entry);
            continue;
        }
        if (life->number && number != life->number) {
            write_u8(&life->story.out, '\n');
            story_line(&life->story, STORY_DIM, "── another life ──");
        }
        life->number = number;
        tell_entry(&life->story, life->cli, entry);
    }
    story_print(&life->story);
}

/* All members but the list and the cursor, which are of all pages. */
static void json_members(struct json_writer *j, const struct json *page)
{
    for (const struct json *in = page->inside; in; in = in->next) {
        if (!view_is_text(in->name, "changes") && !view_is_text(in->name, "next")) {
            json_name_view(j, in->name);
            json_again(j, in);
        }
    }
}

static void tell_at(struct story *story, struct cli *cli, const struct json *row,
                    const char *at)
{
    tell_head(story, cli, row, at);
    write_u8(&story->out, '\n');
    if (json_truth(row, "exists")) {
        story_line(story, STORY_BOLD, "as it was at %s", at);
        story_answer(story, cli, row, INDENT);
    } else {
        story_line(story, STORY_BOLD, "it did not exist at %s", at);
    }
}

static err run_show(struct cli *cli)
{
    const struct show_options *o = cli->options;
    struct life life = {.cli = cli, .story = story_begin(o->full)};
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    char *path = cli_path(cli, ROWS "/%s", cli_escaped(cli, row_ref(cli, cli->words[0])));
    char *at = o->at ? cli_path(cli, "&at=%s", cli_escaped(cli, o->at)) : "";
    const char *cursor = "";
    struct json *page = NULL;
    err e = OK;

    do {
        e = cli_ask(cli, "GET",
                    cli_path(cli, "%s?limit=%d%s%s%s", path, ENTRIES_PAGE, at,
                             cursor[0] ? "&cursor=" : "", cursor),
                    (view){0}, &page);
        if (!e && !cursor[0] && o->common.json) {
            life.j = &j;
            json_object(&j);
            json_members(&j, page);
            json_name(&j, "changes");
            json_array(&j);
        } else if (!e && !cursor[0] && o->at) {
            tell_at(&life.story, cli, page, o->at);
        } else if (!e && !cursor[0]) {
            tell_head(&life.story, cli, page, NULL);
        }
        if (!e) {
            tell_page(&life, page);
            cursor = arena_text(&cli->arena, json_word(page, "next"));
        }
    } while (!e && cursor[0]);
    if (!e && o->common.json) {
        json_end_array(&j);
        json_end_object(&j);
        printf("%.*s\n", VIEW_ARG(writer_view(&out)));
    }
    story_end(&life.story);
    writer_fini(&out);
    return e;
}

/* --- diff --- */

static void tell_side(struct story *story, struct cli *cli, const struct json *answer,
                      const char *name)
{
    const struct json *of = json_get(answer, name), *at = json_get(of, "at");
    view lsn = json_word(at, "lsn"), last = story_time(cli, of, "last_change");

    story_line(story, STORY_PLAIN, "%-5s %.*s%s%.*s%s: %s%s%.*s", name,
               VIEW_ARG(json_word(at, "point")), lsn.len ? " (lsn " : "", VIEW_ARG(lsn),
               lsn.len ? ")" : "",
               json_truth(of, "exists")  ? "exists"
               : json_truth(of, "known") ? "does not exist"
                                         : "nothing known of it",
               last.len ? ", last changed " : "", VIEW_ARG(last));
}

static err run_diff(struct cli *cli)
{
    const struct diff_options *o = cli->options;
    struct json *answer = NULL;

    if (!o->from) {
        return fault(ERR_INVALID, "since when? --from POINT: " POINT_WORDS_DATABASE);
    }
    err e =
        cli_ask(cli, "GET",
                cli_path(cli, ROWS "/%s/diff?from=%s&to=%s",
                         cli_escaped(cli, row_ref(cli, cli->words[0])),
                         cli_escaped(cli, o->from), cli_escaped(cli, o->to ? o->to : "now")),
                (view){0}, &answer);
    if (e || o->common.json) {
        if (!e) {
            print_json(answer);
        }
        return e;
    }
    struct story story = story_begin(o->full);
    const struct json *fields = json_get(answer, "fields");
    story_text(&story, STORY_BOLD, json_word(answer, "ref"), 0);
    write_u8(&story.out, '\n');
    tell_side(&story, cli, answer, "from");
    tell_side(&story, cli, answer, "to");
    write_u8(&story.out, '\n');
    story_fields(&story, cli, fields, INDENT);
    if (!fields || !fields->inside) {
        story_line(&story, STORY_PLAIN, "    no difference");
    }
    int64_t changes = json_amount(answer, "changes");
    story_line(&story, STORY_DIM, "    %lld change%s between them", (long long)changes,
               changes == 1 ? "" : "s");
    story_end(&story);
    return OK;
}

/* --- export --- */

static void say_exported(struct cli *cli, const struct json *answer, FILE *out)
{
    int64_t rows = json_amount(answer, "rows"), unknown = json_amount(answer, "unknown");
    view last = story_time(cli, answer, "last_change");

    fprintf(out, "%lld row%s of %.*s as of lsn %.*s, last changed %.*s\n", (long long)rows,
            rows == 1 ? "" : "s", VIEW_ARG(json_word(answer, "table")),
            VIEW_ARG(json_word(answer, "lsn")), VIEW_ARG(last));
    if (unknown) {
        fprintf(out,
                "%lld value%s not known: the database did not send what is large and did "
                "not change\n",
                (long long)unknown, unknown == 1 ? " is" : "s are");
    }
    const struct json *gap = json_get(answer, "gap");
    if (gap && gap->kind == JSON_OBJECT) {
        fprintf(out,
                "what happened between lsn %.*s and %.*s is not known: there was a gap in "
                "the capture\n",
                VIEW_ARG(json_word(gap, "from")), VIEW_ARG(json_word(gap, "to")));
    }
    if (json_truth(answer, "trimmed")) {
        fprintf(out, "retention has taken the oldest records: rows that changed last before "
                     "then are missing\n");
    } else if (!json_truth(answer, "snapshot")) {
        fprintf(out, "there was no snapshot: rows that did not change since %.*s are missing\n",
                VIEW_ARG(story_time(cli, answer, "begins")));
    }
}

static char *table_path(struct cli *cli)
{
    const char *word = cli->words[0];
    const char *table = !strncmp(word, "table:", 6) ? word + 6 : word;

    return cli_path(cli, "/api/v1/tables/%s/export", cli_escaped(cli, table));
}

static err export_into(struct cli *cli, const struct export_options *o)
{
    const char *password = getenv("PGPASSWORD");
    struct writer body = {0};
    struct json_writer j = json_to(&body);
    struct json *answer = NULL;

    json_object(&j);
    json_name(&j, "into");
    json_text(&j, o->into);
    json_name(&j, "at");
    json_text(&j, o->at ? o->at : "now");
    if (password && password[0]) {
        json_name(&j, "password");
        json_text(&j, password);
    }
    json_end_object(&j);
    err e = cli_ask(cli, "POST", table_path(cli), writer_view(&body), &answer);
    if (!e && o->common.json) {
        print_json(answer);
    } else if (!e) {
        say_exported(cli, answer, stdout);
    }
    writer_fini(&body);
    return e;
}

static err export_pages(struct cli *cli, const struct export_options *o, FILE *out)
{
    const char *cursor = "";
    char *path = cli_path(cli, "%s?format=%s&at=%s", table_path(cli),
                          cli_escaped(cli, o->format), cli_escaped(cli, o->at ? o->at : "now"));
    struct arena kept = cli->arena;
    err e = OK;

    do { /* each page in an arena of its own: tables are larger than memory */
        struct json *page = NULL;
        cli->arena = (struct arena){0};
        e = cli_ask(cli, "GET",
                    cli_path(cli, "%s%s%s", path, cursor[0] ? "&cursor=" : "", cursor),
                    (view){0}, &page);
        if (!e) {
            view text = json_word(page, "text");
            fwrite(text.at, 1, text.len, out);
            cursor = arena_text(&kept, json_word(page, "next"));
            if (!cursor[0]) {
                say_exported(cli, page, stderr);
            }
        }
        if (!e && ferror(out)) {
            e = fault(ERR_IO, "the output cannot be written");
        }
        arena_fini(&cli->arena);
    } while (!e && cursor[0]);
    cli->arena = kept;
    return e;
}

static err run_export(struct cli *cli)
{
    const struct export_options *o = cli->options;
    FILE *out = stdout;

    cli->patience_ms = EXPORT_MS;
    if (o->into) {
        return export_into(cli, o);
    }
    if (o->out && !(out = fopen(o->out, "wex"))) {
        return fault_errno("%s", o->out);
    }
    err e = export_pages(cli, o, out);
    if (o->out && fclose(out) && !e) {
        e = fault_errno("%s", o->out);
    }
    return e;
}

static const struct option show_options[] = {
    {CLI_OPTION(show_options, at, "at", TEXT, "",
                "POINT: the row as it was then; " POINT_WORDS_DATABASE)},
    {CLI_OPTION(show_options, full, "full", BOOL, "false", "long values whole")},
};
const struct command row_show = {
    .noun = "row",
    .verb = "show",
    .words = "REF",
    .help = "the life of a row: each change, field old and new, who, why, when",
    .more =
        "REF is row:SOURCE.SCHEMA.TABLE/KEY; of a key of several columns the values stand in\n"
        "a row, with commas. A changed key is followed both ways.\n"
        "  tidemark row show row:shop.public.orders/42 --at -1h",
    .run = run_show,
    .options = show_options,
    .option_count = COUNT(show_options),
    .self_bytes = sizeof(struct show_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option diff_options[] = {
    {CLI_OPTION(diff_options, from, "from", TEXT, "", "POINT: " POINT_WORDS_DATABASE)},
    {CLI_OPTION(diff_options, to, "to", TEXT, "", "POINT, now if not given")},
    {CLI_OPTION(diff_options, full, "full", BOOL, "false", "long values whole")},
};
const struct command row_diff = {
    .noun = "row",
    .verb = "diff",
    .words = "REF --from POINT [--to POINT]",
    .help = "what differs in a row between two moments",
    .more = "  tidemark row diff row:shop.public.orders/42 --from -1d",
    .run = run_diff,
    .options = diff_options,
    .option_count = COUNT(diff_options),
    .self_bytes = sizeof(struct diff_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option export_options[] = {
    {CLI_OPTION(export_options, at, "at", TEXT, "",
                "POINT, now if not given; " POINT_WORDS_DATABASE)},
    {CLI_OPTION(export_options, format, "format", TEXT, "csv",
                "csv, json (a row a line) or sql")},
    {CLI_OPTION(export_options, out, "out", TEXT, "",
                "a new file; standard output if not given")},
    {CLI_OPTION(export_options, into, "into", TEXT, "",
                "postgres://HOST/DATABASE: straight into a database; its password is taken "
                "from PGPASSWORD")},
};
const struct command row_export = {
    .noun = "row",
    .verb = "export",
    .words = "SOURCE.SCHEMA.TABLE",
    .help = "a whole table as it was at a moment",
    .more =
        "A time is the state before the first transaction that committed after it, so that\n"
        "tables exported with the same time fit together. --into makes the table when it is\n"
        "not there, else it must be empty; all of it arrives, or nothing.\n"
        "  tidemark row export shop.public.orders --at 2026-01-31T12:00:00Z >orders.csv",
    .run = run_export,
    .options = export_options,
    .option_count = COUNT(export_options),
    .self_bytes = sizeof(struct export_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};
