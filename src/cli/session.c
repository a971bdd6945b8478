/* session.c - `tidemark session`: what people did on the databases.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"

#define SESSIONS "/api/v1/sessions"
#define TEXT_COLUMN 15 /* where statements begin on their lines */

struct ls_options {
    struct common common;
    char *source, *person, *state, *review;
};

struct show_options {
    struct common common;
};

struct review_options {
    struct common common;
    char *note, *reviewer;
};

/* A reference or an ID, or the beginning of one. */
static char *session_path(struct cli *cli, const char *word, const char *part)
{
    const char *prefix = "session:";
    bool is_ref = !strncmp(word, prefix, strlen(prefix));

    return cli_path(cli, SESSIONS "/%s%s",
                    cli_escaped(cli, is_ref ? word + strlen(prefix) : word), part);
}

/* "2026-01-31 12:00:00" of "2026-01-31T12:00:00.000Z". */
static void table_time(struct table *t, view text)
{
    view day = view_upto(text, 10), time = view_upto(view_from(text, 11), 8);

    if (text.len) {
        table_cell(t, "%.*s %.*s", VIEW_ARG(day), VIEW_ARG(time));
    } else {
        table_cell(t, "%s", "");
    }
}

static view member_word(const struct json *object, const char *outer, const char *inner)
{
    const struct json *found = json_get(object, outer);

    return found && found->kind == JSON_OBJECT ? json_word(found, inner) : VIEW("");
}

struct listing {
    struct table *table;
    struct json_writer *json;
};

static err list_session(void *self, const struct json *s)
{
    struct listing *to = self;

    if (to->json) {
        json_again(to->json, s);
        return OK;
    }
    table_cell(to->table, "%.*s", VIEW_ARG(view_upto(json_word(s, "id"), 10)));
    table_time(to->table, json_word(s, "opened_at"));
    table_view(to->table, json_word(s, "person"));
    table_view(to->table, json_word(s, "source"));
    table_view(to->table, json_word(s, "state"));
    table_view(to->table, json_word(s, "statements"));
    table_view(to->table, json_word(s, "writes"));
    table_view(to->table, member_word(s, "review", "verdict"));
    table_view(to->table, json_word(s, "reason"));
    return OK;
}

static void add_query(struct cli *cli, struct writer *query, const char *name,
                      const char *value)
{
    if (value) {
        write_format(query, "&%s=%s", name, cli_escaped(cli, value));
    }
}

static err run_ls(struct cli *cli)
{
    static const char *const heads[] = {"SESSION",     "OPENED",  "WHO",    "SOURCE", "STATE",
                                        ">STATEMENTS", ">WRITES", "REVIEW", "WHY"};
    const struct ls_options *o = cli->options;
    struct writer query = {0}, out = {0};
    struct json_writer j = json_to(&out);
    struct listing to = {.json = o->common.json ? &j : NULL};

    add_query(cli, &query, "source", o->source);
    add_query(cli, &query, "person", o->person);
    add_query(cli, &query, "state", o->state);
    add_query(cli, &query, "review", o->review);
    char *filters = arena_text(&cli->arena, writer_view(&query));
    writer_fini(&query);
    to.table = table_new(heads, COUNT(heads));
    json_object(&j);
    json_name(&j, "sessions");
    json_array(&j);
    err e = cli_each(cli, SESSIONS, filters, "sessions", list_session, &to);
    json_end_array(&j);
    json_end_object(&j);
    if (!e && to.json) {
        printf("%.*s\n", VIEW_ARG(writer_view(&out)));
    }
    if (e || to.json) {
        table_free(to.table);
    } else {
        table_print(to.table);
    }
    writer_fini(&out);
    return e;
}

static void field(const char *name, view text)
{
    if (text.len) {
        printf("%-10s%.*s\n", name, VIEW_ARG(text));
    }
}

static void print_head(const struct json *s)
{
    view host = json_word(s, "host"), tty = json_word(s, "tty");
    view person = json_word(s, "person"), login = json_word(s, "login");

    field("session", json_word(s, "ref"));
    printf("%-10s%.*s", "who", VIEW_ARG(person));
    if (!view_is(person, login)) {
        printf(" (login %.*s)", VIEW_ARG(login));
    }
    printf(" at %.*s%s%.*s\n", VIEW_ARG(host), tty.len ? ", " : "", VIEW_ARG(tty));
    field("on", json_word(s, "source"));
    field("why", json_word(s, "reason"));
    field("ticket", json_word(s, "ticket"));
    field("opened", json_word(s, "opened_at"));
    field("ended", json_word(s, "ended_at"));
    printf("%-10s%.*s", "state", VIEW_ARG(json_word(s, "state")));
    view how = json_word(s, "how");
    printf("%s%.*s%s\n", how.len ? " (" : "", VIEW_ARG(how), how.len ? ")" : "");
    printf("%-10s%.*s, %.*s failed, %.*s wrote\n", "ran", VIEW_ARG(json_word(s, "statements")),
           VIEW_ARG(json_word(s, "errors")), VIEW_ARG(json_word(s, "writes")));
    field("review", member_word(s, "review", "verdict"));
    field("", member_word(s, "review", "note"));
    field("by", member_word(s, "review", "reviewer"));
    printf("\n");
}

/* "12:00:00" of a record's time. */
static void print_time(const struct json *record)
{
    char text[POINT_TIME_BYTES];

    point_time_text(json_amount(record, "at_ms"), text);
    printf("%.*s ", VIEW_ARG(view_upto(view_from(view_text(text), 11), 8)));
}

/* Lines of a statement stand below each other; what could steer a terminal does not. */
static void print_lines(view text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (c == '\n') {
            printf("\n%*s", TEXT_COLUMN, "");
        } else if (c == '\t') {
            printf("    ");
        } else if (c >= ' ' && c != 0x7f) {
            putchar(c);
        } else {
            printf("\\x%02x", c);
        }
    }
    printf("\n");
}

static void print_result(const struct json *record)
{
    view source = json_word(record, "source");
    const struct json *failed = json_get(record, "error");
    view rows = json_word(record, "rows"), xid = json_word(record, "xid");
    int64_t took_us = json_amount(record, "took_us");

    printf("%*s", TEXT_COLUMN, "");
    if (failed) {
        printf("-> ERROR %.*s: ", VIEW_ARG(json_word(failed, "code")));
        print_lines(json_word(failed, "message"));
        return;
    }
    printf("-> %.*s", VIEW_ARG(json_word(record, "tag")));
    if (!rows.len) {
        printf(" done");
    }
    printf(", %lld.%03lld ms", (long long)(took_us / 1000), (long long)(took_us % 1000));
    if (xid.len) {
        printf(", tx:%.*s/%.*s", VIEW_ARG(source), VIEW_ARG(xid));
    }
    const struct json *context = json_get(record, "context");
    if (xid.len && context && !context->truth) {
        printf(" (its rows do not carry who and why)");
    }
    printf("\n");
}

static err print_record(void *self, const struct json *record)
{
    const struct listing *to = self;
    view kind = json_word(record, "kind");

    if (to->json) {
        json_again(to->json, record);
    } else if (view_is_text(kind, "statement")) {
        print_time(record);
        printf("%4.*s  ", VIEW_ARG(json_word(record, "n")));
        print_lines(json_word(record, "text"));
    } else if (view_is_text(kind, "result")) {
        print_result(record);
    } else if (!view_is_text(kind, "open")) {
        print_time(record);
        view why = view_is_text(kind, "review") ? json_word(record, "verdict")
                   : view_is_text(kind, "end")  ? json_word(record, "how")
                                                : json_word(record, "reason");
        printf("      %.*s%s", VIEW_ARG(kind), why.len ? ": " : "");
        print_lines(why);
    }
    return OK;
}

static err run_show(struct cli *cli)
{
    const struct show_options *o = cli->options;
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct listing to = {.json = o->common.json ? &j : NULL};
    struct json *session = NULL;
    err e = cli_ask(cli, "GET", session_path(cli, cli->words[0], ""), (view){0}, &session);

    if (e) {
        return e;
    }
    json_object(&j);
    for (const struct json *m = session->inside; m; m = m->next) {
        json_name_view(&j, m->name);
        json_again(&j, m);
    }
    json_name(&j, "records");
    json_array(&j);
    if (!to.json) {
        print_head(session);
    }
    e = cli_each(cli, session_path(cli, cli->words[0], "/records"), "", "records", print_record,
                 &to);
    json_end_array(&j);
    json_end_object(&j);
    if (!e && to.json) {
        printf("%.*s\n", VIEW_ARG(writer_view(&out)));
    } else if (!e && json_amount(session, "writes")) {
        printf("\nrows it changed: tidemark change ls --source %.*s context.session=%.*s\n",
               VIEW_ARG(json_word(session, "source")), VIEW_ARG(json_word(session, "id")));
    }
    writer_fini(&out);
    return e;
}

static const char *login(void)
{
    const struct passwd *entry = getpwuid(getuid());

    return entry ? entry->pw_name : "unknown";
}

static err run_review(struct cli *cli)
{
    const struct review_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);
    struct json *session = NULL;

    json_object(&j);
    json_name(&j, "verdict");
    json_text(&j, cli->words[1]);
    json_name(&j, "reviewer");
    json_text(&j, o->reviewer ? o->reviewer : login());
    if (o->note) {
        json_name(&j, "note");
        json_text(&j, o->note);
    }
    json_end_object(&j);
    err e = cli_ask(cli, "POST", session_path(cli, cli->words[0], "/review"),
                    writer_view(&body), &session);
    writer_fini(&body);
    if (!e && o->common.json) {
        print_json(session);
    } else if (!e) {
        print_head(session);
    }
    return e;
}

static const struct option ls_options[] = {
    {CLI_OPTION(ls_options, source, "source", TEXT, "", "on this source alone")},
    {CLI_OPTION(ls_options, person, "person", TEXT, "", "of this person alone")},
    {CLI_OPTION(ls_options, state, "state", TEXT, "", "running, done or failed")},
    {CLI_OPTION(ls_options, review, "review", TEXT, "", "pending, approved or flagged")},
};
const struct command session_ls = {
    .noun = "session",
    .verb = "ls",
    .words = "",
    .help = "list the sessions of people on the databases, newest first",
    .run = run_ls,
    .options = ls_options,
    .option_count = COUNT(ls_options),
    .self_bytes = sizeof(struct ls_options),
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

const struct command session_show = {
    .noun = "session",
    .verb = "show",
    .words = "SESSION",
    .help = "replay a session: every statement and what became of it",
    .more = "SESSION is a reference or the beginning of an ID.",
    .run = run_show,
    .self_bytes = sizeof(struct show_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option review_options[] = {
    {CLI_OPTION(review_options, note, "note", TEXT, "", "what there is to say about it")},
    {CLI_OPTION(review_options, reviewer, "reviewer", TEXT, "", "who says so; else the login")},
};
const struct command session_review = {
    .noun = "session",
    .verb = "review",
    .words = "SESSION approved|flagged",
    .help = "record a reviewer's verdict",
    .more = "  tidemark session review 1f3a approved --note 'as agreed in OPS-12'",
    .run = run_review,
    .options = review_options,
    .option_count = COUNT(review_options),
    .self_bytes = sizeof(struct review_options),
    .words_least = 2,
    .words_most = 2,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};
