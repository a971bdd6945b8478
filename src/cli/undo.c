/* undo.c - `tidemark undo`: the plan that takes changes back, its conflicts, and --apply.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/story.h"

#define UNDO "/api/v1/undo"
#define ROWS_SHOWN 20
#define NOTES_SHOWN 20
#define SQL_SHOWN 20
#define INDENT 2

struct undo_options {
    struct common common;
    char *to, *reason, *source, *url;
    bool apply, yes, sql, full, without_triggers, rehearse;
};

static bool truth(const struct json *object, const char *name)
{
    const struct json *member = json_get(object, name);

    return member && member->kind == JSON_BOOL && member->truth;
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

/* Who runs this, as the machine knows them: the context of what undo writes. */
static const char *user_name(void)
{
    const struct passwd *user = getpwuid(geteuid());

    return user ? user->pw_name : "";
}

static err ask(struct cli *cli, bool apply, struct json **plan)
{
    const struct undo_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);
    const struct {
        const char *name, *value;
    } texts[] = {{"ref", cli->words[0]}, {"to", o->to},
                 {"reason", o->reason},  {"source", o->source},
                 {"url", o->url},        {"password", o->url ? getenv("PGPASSWORD") : NULL},
                 {"actor", user_name()}};

    json_object(&j);
    for (size_t i = 0; i < COUNT(texts); i++) {
        if (texts[i].value && texts[i].value[0]) {
            json_name(&j, texts[i].name);
            json_text(&j, texts[i].value);
        }
    }
    json_name(&j, "apply");
    json_bool(&j, apply);
    json_name(&j, "rehearse");
    json_bool(&j, o->rehearse);
    json_name(&j, "without_triggers");
    json_bool(&j, o->without_triggers);
    json_end_object(&j);
    err e = cli_ask(cli, "POST", UNDO, writer_view(&body), plan);
    writer_fini(&body);
    return e;
}

/* Words at blanks, over as many lines as it takes. */
static void tell_wrapped(struct story *story, enum story_look look, size_t indent, view text)
{
    size_t room = story->width > indent + 10 ? story->width - indent : 10;

    while (text.len) {
        size_t end = 0, columns = 0, blank = 0;
        for (; end < text.len && columns < room; end++) {
            columns += (text.at[end] & 0xc0) != 0x80;
            blank = text.at[end] == ' ' ? end : blank;
        }
        if (end < text.len && text.at[end] == ' ') {
            blank = end;
        }
        end = end < text.len && blank && !story->full ? blank : end;
        end = story->full ? text.len : end;
        story_blank(story, indent);
        story_text(story, look, view_upto(text, end), 0);
        write_u8(&story->out, '\n');
        text = view_trim(view_from(text, end));
    }
}

static view format_view(struct cli *cli, const char *format, view a, view b, view c)
{
    return view_text(arena_format(&cli->arena, format, VIEW_ARG(a), VIEW_ARG(b), VIEW_ARG(c)));
}

static void tell_head(struct story *story, struct cli *cli, const struct json *plan)
{
    const struct json *undoes = json_get(plan, "undoes");
    const struct json *context = json_get(undoes, "context");
    view reason = context ? json_word(context, "reason") : VIEW("");
    int64_t changes = json_amount(plan, "changes"), rows = json_amount(plan, "rows");

    story_text(story, STORY_BOLD, json_word(plan, "ref"), 0);
    write_u8(&story->out, '\n');
    story_line(story, STORY_PLAIN, "%lld change%s by %.*s, %.*s", (long long)changes,
               plural(changes), VIEW_ARG(story_actor(cli, undoes)),
               VIEW_ARG(story_time(cli, undoes, "committed_at")));
    if (reason.len) {
        story_line(story, STORY_PLAIN, "because: %.*s", VIEW_ARG(reason));
    }
    story_line(story, STORY_PLAIN, "%lld row%s to put back", (long long)rows, plural(rows));
    if (truth(plan, "behind")) {
        story_line(story, STORY_BOLD, "the newest changes are not in the trail yet");
    }
}

static void tell_step(struct story *story, struct cli *cli, const struct json *step)
{
    view operation = json_word(step, "operation");
    view part = json_word(step, "part");

    write_u8(&story->out, '\n');
    story_text(story, STORY_BOLD, operation, 0);
    story_blank(story, 1);
    story_text(story, STORY_PLAIN,
               format_view(cli, "%.*s.%.*s %.*s", json_word(step, "schema"),
                           json_word(step, "table"), json_word(step, "row")),
               story->width - 8);
    write_u8(&story->out, '\n');
    if (view_is_text(part, "make_room")) {
        story_line(story, STORY_DIM, "  only for a while, to make room for another row");
    } else if (view_is_text(part, "complete")) {
        story_line(story, STORY_DIM, "  its references, now that all rows are there");
    } else if (view_is_text(operation, "update")) {
        story_fields(story, cli, json_get(step, "fields"), INDENT);
    } else if (view_is_text(operation, "insert")) {
        story_row(story, cli, json_get(step, "then"), NULL, INDENT);
    } else {
        story_row(story, cli, json_get(step, "now"), NULL, INDENT);
    }
}

static void tell_steps(struct story *story, struct cli *cli, const struct json *steps)
{
    int64_t told = 0, left = 0;

    for (const struct json *step = steps ? steps->inside : NULL; step; step = step->next) {
        if (story->full || told < ROWS_SHOWN) {
            tell_step(story, cli, step);
            told++;
        } else {
            left++;
        }
    }
    if (left) {
        story_line(story, STORY_DIM, "\n... and %lld more; --full shows all", (long long)left);
    }
}

static void tell_sql(struct story *story, const struct json *steps)
{
    int64_t told = 0, left = 0;

    if (!steps || !steps->inside) {
        return;
    }
    write_u8(&story->out, '\n');
    story_line(story, STORY_BOLD, "SQL");
    for (const struct json *step = steps->inside; step; step = step->next) {
        if (!story->full && told >= SQL_SHOWN) {
            left++;
            continue;
        }
        struct json sql = *json_get(step, "sql");
        tell_wrapped(story, STORY_PLAIN, INDENT, sql.text);
        told++;
    }
    if (left) {
        story_line(story, STORY_DIM, "  ... and %lld more; --sql prints all", (long long)left);
    }
}

static void tell_since(struct story *story, struct cli *cli, const struct json *note)
{
    const struct json *since = json_get(note, "since");

    if (since) {
        story_blank(story, INDENT);
        story_line(story, STORY_PLAIN, "%.*s by %.*s, %.*s, %.*s",
                   VIEW_ARG(json_word(since, "operation")), VIEW_ARG(story_actor(cli, since)),
                   VIEW_ARG(story_time(cli, since, "committed_at")),
                   VIEW_ARG(json_word(since, "tx")));
    }
}

static void tell_dependents(struct story *story, struct cli *cli, const struct json *note)
{
    const struct json *list = json_get(note, "dependents");

    for (const struct json *in = list ? list->inside : NULL; in; in = in->next) {
        const struct json *key = json_get(in, "key");
        struct writer text = {0};
        for (const struct json *part = key ? key->inside : NULL; part; part = part->next) {
            write_format(&text, "%s%.*s=%.*s", text.len ? " " : "", VIEW_ARG(part->name),
                         VIEW_ARG(story_value(cli, part)));
        }
        story_line(story, STORY_PLAIN, "    %.*s.%.*s %.*s", VIEW_ARG(json_word(in, "schema")),
                   VIEW_ARG(json_word(in, "table")), VIEW_ARG(writer_view(&text)));
        writer_fini(&text);
    }
}

static void tell_notes(struct story *story, struct cli *cli, const struct json *notes,
                       const char *head, int64_t count)
{
    int64_t told = 0;

    if (!count) {
        return;
    }
    write_u8(&story->out, '\n');
    story_line(story, STORY_BOLD, "%lld %s%s", (long long)count, head, plural(count));
    for (const struct json *note = notes->inside; note && (story->full || told < NOTES_SHOWN);
         note = note->next, told++) {
        view fix = json_word(note, "fix");
        story_blank(story, INDENT);
        story_text(story, STORY_BOLD, json_word(note, "type"), 0);
        write_u8(&story->out, '\n');
        tell_wrapped(story, STORY_PLAIN, INDENT * 2, json_word(note, "message"));
        story_blank(story, json_get(note, "since") ? INDENT : 0);
        tell_since(story, cli, note);
        tell_dependents(story, cli, note);
        if (fix.len) {
            tell_wrapped(story, STORY_DIM, INDENT * 2,
                         format_view(cli, "fix: %.*s%.*s%.*s", fix, VIEW(""), VIEW("")));
        }
    }
    if (told < count) {
        story_line(story, STORY_DIM, "  ... and %lld more", (long long)(count - told));
    }
}

static int64_t count_of(const struct json *list)
{
    int64_t count = 0;

    for (const struct json *in = list ? list->inside : NULL; in; in = in->next) {
        count++;
    }
    return count;
}

static void tell_plan(struct cli *cli, const struct json *plan)
{
    const struct undo_options *o = cli->options;
    const struct json *steps = json_get(plan, "steps");
    const struct json *warnings = json_get(plan, "warnings");
    struct story story = story_begin(o->full);

    tell_head(&story, cli, plan);
    tell_steps(&story, cli, steps);
    tell_sql(&story, steps);
    tell_notes(&story, cli, warnings, "warning", count_of(warnings));
    tell_notes(&story, cli, json_get(plan, "conflicts"), "conflict",
               json_amount(plan, "conflict_count"));
    write_u8(&story.out, '\n');
    story_end(&story);
}

/* A script for psql. */
static void print_sql(const struct json *plan)
{
    const struct json *steps = json_get(plan, "steps");

    printf("BEGIN;\nSET CONSTRAINTS ALL DEFERRED;\n");
    for (const struct json *step = steps ? steps->inside : NULL; step; step = step->next) {
        printf("%.*s;\n", VIEW_ARG(json_word(step, "sql")));
    }
    printf("COMMIT;\n");
}

static err refused(struct cli *cli, const struct json *plan)
{
    int64_t count = json_amount(plan, "conflict_count");

    cli->code = CLI_CONFLICT;
    return fault(ERR_CONFLICT, "%lld conflict%s", (long long)count, plural(count));
}

static err apply(struct cli *cli, const struct json *plan)
{
    const struct undo_options *o = cli->options;
    int64_t rows = json_amount(plan, "rows");
    struct json *done = NULL;

    if (!o->yes && !user_agrees("Put %lld row%s back in the database of %.*s?", (long long)rows,
                                plural(rows), VIEW_ARG(json_word(plan, "source")))) {
        return fault(ERR_CANCELLED, "nothing was changed");
    }
    err e = ask(cli, true, &done);
    if (!e) {
        view tx = json_word(done, "tx");
        printf("Undone by %.*s, which can be undone itself.\n", VIEW_ARG(tx));
    }
    return e;
}

static err run_undo(struct cli *cli)
{
    const struct undo_options *o = cli->options;
    struct json *plan = NULL;
    err e = ask(cli, o->apply && o->common.json, &plan);

    if (e) {
        return e;
    }
    bool is_refused = json_amount(plan, "conflict_count") > 0;
    if (o->common.json) {
        print_json(plan);
        return is_refused ? refused(cli, plan) : OK;
    }
    if (o->sql) {
        print_sql(plan);
    } else {
        tell_plan(cli, plan);
    }
    if (is_refused) {
        fprintf(stderr, "Nothing was changed: conflicts stand against it.\n");
        return refused(cli, plan);
    }
    if (view_is_text(json_word(plan, "state"), "nothing")) {
        printf("There is nothing to put back: the rows are as they were before.\n");
        return OK;
    }
    if (o->apply) {
        return apply(cli, plan);
    }
    if (!o->sql) {
        printf("Nothing was changed. --apply puts it back.\n");
    }
    return OK;
}

static const struct option undo_options[] = {
    {CLI_OPTION(undo_options, to, "to", TEXT, "",
                "POINT: of a row, all that came after it; " POINT_WORDS_DATABASE)},
    {CLI_OPTION(undo_options, apply, "apply", BOOL, "false",
                "put it back, in one transaction; on a terminal it asks first")},
    {CLI_OPTION(undo_options, yes, "yes", BOOL, "false", "do not ask")},
    {CLI_OPTION(undo_options, reason, "reason", TEXT, "",
                "why; it becomes part of the context of what is written")},
    {CLI_OPTION(undo_options, sql, "sql", BOOL, "false",
                "print the statements alone, for psql")},
    {CLI_OPTION(undo_options, full, "full", BOOL, "false", "long values and lists whole")},
    {CLI_OPTION(undo_options, rehearse, "rehearse", BOOL, "true",
                "try the plan in the database and roll it back")},
    {CLI_OPTION(undo_options, without_triggers, "without-triggers", BOOL, "false",
                "triggers do not fire (session_replication_role; needs the right to set it)")},
    {CLI_OPTION(
        undo_options, url, "url", TEXT, "",
        "postgres://USER@HOST/DATABASE: as a role that may write, when the source's may not; "
        "its password is taken from PGPASSWORD")},
    {CLI_OPTION(undo_options, source, "source", TEXT, "", "of a session: in which database")},
};
const struct command undo = {
    .noun = "undo",
    .words = "REF",
    .help = "take changes back: the plan, its SQL and conflicts; --apply runs it",
    .more =
        "REF is tx:SOURCE/XID, row:SOURCE.SCHEMA.TABLE/KEY (its last change, or with --to all\n"
        "after a point), topic:NAME/PARTITION@OFFSET or session:ID. All or nothing is put "
        "back;\n"
        "later changes of other columns stay. Conflicts end it with exit code 6.\n"
        "  tidemark undo tx:shop/7812\n"
        "  tidemark undo row:shop.public.orders/42 --to -1h --apply --reason \"wrong import\"",
    .run = run_undo,
    .options = undo_options,
    .option_count = COUNT(undo_options),
    .self_bytes = sizeof(struct undo_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};
