/* source.c - `tidemark source`: create, ls, show, edit, pause, resume, rm.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"

#define SOURCES "/api/v1/sources"
#define LOOK_NS 100000000L /* between two looks at a source that is being made */

struct create_options {
    struct common common;
    char *tables, *without, *keyless;
    bool no_snapshot, dry_run, by_hand, no_wait, unchecked;
};

struct plain_options {
    struct common common;
};

struct edit_options {
    struct common common;
    bool install_context, remove_context;
};

struct resume_options {
    struct common common;
    bool accept_gap;
};

struct snapshot_options {
    struct common common;
    char *tables;
};

struct rm_options {
    struct common common;
    bool yes, keep_slot;
};

static char *source_path(struct cli *cli, const char *part)
{
    return cli_path(cli, SOURCES "/%s%s", cli_escaped(cli, cli->words[0]), part);
}

static void member(struct json_writer *j, const char *name, const char *text)
{
    if (text && text[0]) {
        json_name(j, name);
        json_text(j, text);
    }
}

/* OPTION=VALUE words as members. */
static err words_to_json(struct cli *cli, int from, struct json_writer *j)
{
    for (int i = from; i < cli->word_count; i++) {
        view name, value;
        if (!view_cut(view_text(cli->words[i]), '=', &name, &value) || !name.len) {
            return fault(ERR_INVALID, "\"%s\" is not OPTION=VALUE, such as heartbeat.ms=10s",
                         cli->words[i]);
        }
        json_name_view(j, name);
        json_view(j, value);
    }
    return OK;
}

static void print_field(const char *name, view text)
{
    if (text.len) {
        printf("%-13s%.*s\n", name, VIEW_ARG(text));
    }
}

static void print_snapshot(const struct json *source)
{
    const struct json *snapshot = json_get(source, "snapshot");

    if (snapshot && snapshot->kind == JSON_OBJECT) {
        printf("%-13s%lld of about %lld rows, now %.*s\n", "snapshot",
               (long long)json_amount(snapshot, "rows"),
               (long long)json_amount(snapshot, "rows_estimate"),
               VIEW_ARG(json_word(snapshot, "table")));
    }
}

static void print_source(const struct json *source)
{
    static const char *const fields[] = {
        "name",        "state",      "words",        "url",     "slot",        "system_id",
        "durable_lsn", "server_lsn", "committed_at", "changes", "transactions"};
    const struct json *options = json_get(source, "options"),
                      *trail = json_get(source, "trail");
    char bytes[BYTES_TEXT];

    for (size_t i = 0; i < COUNT(fields); i++) {
        print_field(fields[i], json_word(source, fields[i]));
    }
    print_field("lag", view_text(bytes_text(json_amount(source, "lag_bytes"), bytes)));
    if (json_amount(source, "slot_bytes") >= 0) {
        print_field("held back",
                    view_text(bytes_text(json_amount(source, "slot_bytes"), bytes)));
    }
    print_snapshot(source);
    if (trail && trail->kind == JSON_OBJECT) {
        print_field("trail", json_word(trail, "changes"));
    }
    const struct json *sink = json_get(source, "sink");
    if (sink && sink->kind == JSON_OBJECT) {
        print_field("sink rows", json_word(sink, "rows"));
        print_field("sink", json_word(sink, "words"));
    }
    for (const struct json *o = options ? options->inside : NULL; o; o = o->next) {
        bool shown = view_is_text(o->name, "url") || view_is_text(o->name, "slot");
        if (o->text.len && !shown) {
            printf("  %.*s=%.*s\n", VIEW_ARG(o->name), VIEW_ARG(o->text));
        }
    }
}

static void print_answer(const struct cli *cli, const struct json *source)
{
    const struct common *common = cli->options;

    if (common->json) {
        print_json(source);
    } else {
        print_source(source);
    }
}

static bool has_password(const char *url)
{
    const char *login = strstr(url, "://"), *at = strrchr(url, '@');
    const char *colon = login ? strchr(login + 3, ':') : NULL;

    return strstr(url, "password=") || (colon && at && colon < at);
}

static err create_to_json(struct cli *cli, struct writer *out)
{
    const struct create_options *o = cli->options;
    struct json_writer j = json_to(out);

    json_object(&j);
    member(&j, "name", cli->words[0]);
    member(&j, "url", cli->words[1]);
    member(&j, "password", has_password(cli->words[1]) ? NULL : getenv("PGPASSWORD"));
    json_name(&j, "dry_run");
    json_bool(&j, o->dry_run || o->by_hand);
    json_name(&j, "unchecked");
    json_bool(&j, o->unchecked);
    json_name(&j, "options");
    json_object(&j);
    member(&j, "tables", o->tables);
    member(&j, "without", o->without);
    member(&j, "keyless", o->keyless);
    if (o->no_snapshot) {
        member(&j, "snapshot", "false");
    }
    err e = words_to_json(cli, 2, &j);
    json_end_object(&j);
    json_end_object(&j);
    return e;
}

static void show_progress(const struct json *source, bool *shown)
{
    const struct json *snapshot = json_get(source, "snapshot");

    if (!isatty(STDERR_FILENO)) {
        return;
    }
    *shown = true;
    if (snapshot && snapshot->kind == JSON_OBJECT) {
        int64_t rows = json_amount(snapshot, "rows");
        int64_t all = MAX(json_amount(snapshot, "rows_estimate"), 1);
        fprintf(stderr, "\r\033[K%lld rows of about %lld (%lld%%), %.*s", (long long)rows,
                (long long)all, (long long)MIN(rows * 100 / all, 100),
                VIEW_ARG(json_word(snapshot, "table")));
    } else {
        fprintf(stderr, "\r\033[K%.*s", VIEW_ARG(json_word(source, "words")));
    }
}

/* Until it is no longer being made. */
static err follow(struct cli *cli, struct json **source)
{
    char *path = source_path(cli, "");
    const struct timespec moment = {.tv_nsec = LOOK_NS};
    bool shown = false;
    err e = OK;

    while (!e && view_is_text(json_word(*source, "state"), "creating")) {
        show_progress(*source, &shown);
        nanosleep(&moment, NULL);
        e = cli_ask(cli, "GET", path, (view){0}, source);
    }
    if (shown) {
        fprintf(stderr, "\r\033[K");
    }
    if (!e && view_is_text(json_word(*source, "state"), "failed")) {
        e = fault(ERR_CONFLICT, "%.*s", VIEW_ARG(json_word(*source, "words")));
    }
    return e;
}

static void print_plan(const struct cli *cli, const struct json *plan)
{
    const struct create_options *o = cli->options;
    view sql = json_word(plan, "sql");

    if (o->common.json) {
        print_json(plan);
        return;
    }
    printf("%.*s", VIEW_ARG(sql));
    if (o->by_hand) {
        printf("\n-- When this has run: tidemark source create %s %s\n", cli->words[0],
               has_password(cli->words[1]) ? "URL" : cli->words[1]);
    }
}

static err run_create(struct cli *cli)
{
    const struct create_options *o = cli->options;
    struct writer body = {0};
    struct json *answer = NULL;
    err e = create_to_json(cli, &body);

    e = e ? e : cli_ask(cli, "POST", SOURCES, writer_view(&body), &answer);
    writer_fini(&body);
    if (!e && (o->dry_run || o->by_hand)) {
        print_plan(cli, answer);
        return OK;
    }
    e = e || o->no_wait ? e : follow(cli, &answer);
    if (!e) {
        print_answer(cli, answer);
    }
    return e;
}

struct listing {
    struct table *table;
    struct json_writer *json;
};

static err list_source(void *self, const struct json *source)
{
    struct listing *to = self;
    char lag[BYTES_TEXT], held[BYTES_TEXT];

    if (to->json) {
        json_again(to->json, source);
        return OK;
    }
    table_view(to->table, json_word(source, "name"));
    table_view(to->table, json_word(source, "state"));
    table_view(to->table, json_word(source, "changes"));
    table_cell(to->table, "%s", bytes_text(json_amount(source, "lag_bytes"), lag));
    table_cell(to->table, "%s", bytes_text(MAX(json_amount(source, "slot_bytes"), 0), held));
    table_view(to->table, json_word(source, "committed_at"));
    table_view(to->table, json_word(source, "words"));
    return OK;
}

static err run_ls(struct cli *cli)
{
    static const char *const heads[] = {"SOURCE",     "STATE",       ">CHANGES", ">LAG",
                                        ">HELD BACK", "LAST COMMIT", ""};
    const struct plain_options *o = cli->options;
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct listing to = {.json = o->common.json ? &j : NULL};

    to.table = table_new(heads, COUNT(heads));
    json_object(&j);
    json_name(&j, "sources");
    json_array(&j);
    err e = cli_each(cli, SOURCES, "", "sources", list_source, &to);
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

static err ask_and_print(struct cli *cli, const char *method, const char *part, view body)
{
    struct json *source = NULL;
    err e = cli_ask(cli, method, source_path(cli, part), body, &source);

    if (!e) {
        print_answer(cli, source);
    }
    return e;
}

static err run_show(struct cli *cli)
{
    return ask_and_print(cli, "GET", "", (view){0});
}

static err run_edit(struct cli *cli)
{
    const struct edit_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);

    if (cli->word_count == 1 && !o->install_context && !o->remove_context) {
        return fault(ERR_INVALID, "what is to change? OPTION=VALUE, or --install-context");
    }
    json_object(&j);
    if (o->install_context || o->remove_context) {
        member(&j, "context", o->install_context ? "install" : "remove");
    }
    json_name(&j, "options");
    json_object(&j);
    err e = words_to_json(cli, 1, &j);
    json_end_object(&j);
    json_end_object(&j);
    e = e ? e : ask_and_print(cli, "PATCH", "", writer_view(&body));
    writer_fini(&body);
    return e;
}

static err run_pause(struct cli *cli)
{
    return ask_and_print(cli, "POST", "/pause", VIEW("{}"));
}

static err run_resume(struct cli *cli)
{
    const struct resume_options *o = cli->options;

    return ask_and_print(cli, "POST", "/resume",
                         o->accept_gap ? VIEW("{\"accept_gap\":true}") : VIEW("{}"));
}

static err run_snapshot(struct cli *cli)
{
    const struct snapshot_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);

    json_object(&j);
    member(&j, "tables", o->tables);
    json_end_object(&j);
    err e = ask_and_print(cli, "POST", "/snapshot", writer_view(&body));
    writer_fini(&body);
    return e;
}

static err run_rm(struct cli *cli)
{
    const struct rm_options *o = cli->options;
    struct json *source = NULL;
    char *path = source_path(cli, "");
    err e = cli_ask(cli, "GET", path, (view){0}, &source);

    if (e) {
        return e;
    }
    if (!o->yes &&
        !user_agrees("Stop capturing %s%s? Its trail stays on its topics.", cli->words[0],
                     o->keep_slot ? "" : " and drop its slot and publication")) {
        return fault(ERR_CANCELLED, "%s stays", cli->words[0]);
    }
    path = source_path(cli, o->keep_slot ? "?keep_slot=true" : "");
    return cli_ask(cli, "DELETE", path, (view){0}, &source);
}

static const struct option create_options[] = {
    {CLI_OPTION(create_options, tables, "tables", TEXT, "",
                "patterns schema.table, by commas, with * and ?; preset: all with a key")},
    {CLI_OPTION(create_options, without, "without", TEXT, "", "patterns that are left out")},
    {CLI_OPTION(create_options, keyless, "keyless", TEXT, "",
                "tables without key: skip (preset), full, or insert-only")},
    {CLI_OPTION(create_options, no_snapshot, "no-snapshot", BOOL, "false",
                "leave out the rows there are")},
    {CLI_OPTION(create_options, dry_run, "dry-run", BOOL, "false",
                "print the SQL that it would run, and stop")},
    {CLI_OPTION(create_options, by_hand, "by-hand", BOOL, "false",
                "print the SQL for somebody who may run it")},
    {CLI_OPTION(create_options, no_wait, "no-wait", BOOL, "false",
                "do not wait for the snapshot")},
    {CLI_OPTION(create_options, unchecked, "unchecked", BOOL, "false",
                "leave out the check that comes first")},
};
const struct command cli_source_create = {
    .noun = "source",
    .verb = "create",
    .words = "NAME URL [OPTION=VALUE]...",
    .help = "capture a database: slot, publication, the rows there are",
    .more =
        "PGPASSWORD gives the password, so that it stands in no list of processes; the server\n"
        "keeps it in a file of its own. docs/audit.md lists the options.\n"
        "  tidemark source create shop postgres://localhost/shop --without 'public.log_*'",
    .run = run_create,
    .options = create_options,
    .option_count = COUNT(create_options),
    .self_bytes = sizeof(struct create_options),
    .words_least = 2,
    .words_most = 64,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

const struct command cli_source_ls = {
    .noun = "source",
    .verb = "ls",
    .words = "",
    .help = "list captured databases",
    .run = run_ls,
    .self_bytes = sizeof(struct plain_options),
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

const struct command cli_source_show = {
    .noun = "source",
    .verb = "show",
    .words = "NAME",
    .help = "a captured database, how it fares, its options",
    .run = run_show,
    .self_bytes = sizeof(struct plain_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option edit_options[] = {
    {CLI_OPTION(edit_options, install_context, "install-context", BOOL, "false",
                "put schema tidemark with context() into the database")},
    {CLI_OPTION(edit_options, remove_context, "remove-context", BOOL, "false",
                "take it out again")},
};
const struct command cli_source_edit = {
    .noun = "source",
    .verb = "edit",
    .words = "NAME [OPTION=VALUE]...",
    .help = "change options, install the context function",
    .more = "  tidemark source edit shop mask='*.password=drop, users.email=hash'\n"
            "  tidemark source edit shop --install-context",
    .run = run_edit,
    .options = edit_options,
    .option_count = COUNT(edit_options),
    .self_bytes = sizeof(struct edit_options),
    .words_least = 1,
    .words_most = 64,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

const struct command cli_source_pause = {
    .noun = "source",
    .verb = "pause",
    .words = "NAME",
    .help = "stop capturing for a while; the slot holds what comes meanwhile",
    .run = run_pause,
    .self_bytes = sizeof(struct plain_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option resume_options[] = {
    {CLI_OPTION(resume_options, accept_gap, "accept-gap", BOOL, "false",
                "a lost slot: make a new one, mark the gap, read the tables anew")},
};
const struct command cli_source_resume = {
    .noun = "source",
    .verb = "resume",
    .words = "NAME",
    .help = "go on, after a pause or a failure",
    .run = run_resume,
    .options = resume_options,
    .option_count = COUNT(resume_options),
    .self_bytes = sizeof(struct resume_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option snapshot_options[] = {
    {CLI_OPTION(snapshot_options, tables, "tables", TEXT, "",
                "patterns schema.table, by commas; preset: all")},
};
const struct command cli_source_snapshot = {
    .noun = "source",
    .verb = "snapshot",
    .words = "NAME",
    .help = "read tables anew while changes go on",
    .run = run_snapshot,
    .options = snapshot_options,
    .option_count = COUNT(snapshot_options),
    .self_bytes = sizeof(struct snapshot_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option rm_options[] = {
    {CLI_OPTION(rm_options, yes, "yes", BOOL, "false", "do not ask")},
    {CLI_OPTION(rm_options, keep_slot, "keep-slot", BOOL, "false",
                "leave slot and publication in the database")},
};
const struct command cli_source_rm = {
    .noun = "source",
    .verb = "rm",
    .words = "NAME",
    .help = "stop capturing; drops slot and publication, keeps the trail",
    .more = "On a terminal it asks first.",
    .run = run_rm,
    .options = rm_options,
    .option_count = COUNT(rm_options),
    .self_bytes = sizeof(struct rm_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP,
};
