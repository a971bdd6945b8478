/* source_check.c - `tidemark source check`: before there is a source, and later.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

#define SOURCES "/api/v1/sources"

struct check_options {
    struct common common;
    char *tables, *without, *keyless, *slot, *publication;
    bool trail;
};

static bool is_url(const char *word)
{
    return strstr(word, "://") || strchr(word, '=');
}

static bool has_password(const char *url)
{
    const char *login = strstr(url, "://"), *at = strrchr(url, '@');
    const char *colon = login ? strchr(login + 3, ':') : NULL;

    return strstr(url, "password=") || (colon && at && colon < at);
}

static void member(struct json_writer *j, const char *name, const char *text)
{
    if (text && text[0]) {
        json_name(j, name);
        json_text(j, text);
    }
}

/* The server is another process: what this one's environment knows is handed over. */
static void write_question(struct cli *cli, struct writer *out)
{
    const struct check_options *o = cli->options;
    struct json_writer j = json_to(out);

    json_object(&j);
    member(&j, "url", cli->words[0]);
    member(&j, "password", has_password(cli->words[0]) ? NULL : getenv("PGPASSWORD"));
    member(&j, "tables", o->tables);
    member(&j, "without", o->without);
    member(&j, "keyless", o->keyless);
    member(&j, "slot", o->slot);
    member(&j, "publication", o->publication);
    json_end_object(&j);
}

static void print_finding(const struct json *finding)
{
    view severity = json_word(finding, "severity"), what = json_word(finding, "what");
    view now = json_word(finding, "now");

    printf("%-7.*s %.*s: %.*s\n", VIEW_ARG(severity), VIEW_ARG(what), VIEW_ARG(now));
    if (view_is_text(severity, "fine")) {
        return;
    }
    view why = json_word(finding, "why"), fix = json_word(finding, "fix");
    if (why.len) {
        printf("        why  %.*s\n", VIEW_ARG(why));
    }
    if (fix.len) {
        printf("        fix  %.*s\n", VIEW_ARG(fix));
    }
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_check(const struct json *answer)
{
    const struct json *findings = json_get(answer, "findings");
    view found = json_word(answer, "server");
    int64_t tables = json_amount(answer, "tables");

    printf("%.*s%s%.*s\n", VIEW_ARG(found), found.len ? " at " : "",
           VIEW_ARG(json_word(answer, "url")));
    for (const struct json *f = findings ? findings->inside : NULL; f; f = f->next) {
        print_finding(f);
    }
    int64_t blocks = json_amount(answer, "blocks"), warns = json_amount(answer, "warns");
    if (!blocks) {
        printf("It can be captured: %lld table%s, %lld warning%s.\n", (long long)tables,
               plural(tables), (long long)warns, plural(warns));
    } else {
        printf("It cannot be captured yet: %lld thing%s to mend first.\n", (long long)blocks,
               plural(blocks));
    }
}

static err check_database(struct cli *cli, struct json **answer)
{
    struct writer body = {0};

    if (!is_url(cli->words[0])) {
        char *path = cli_path(cli, SOURCES "/%s/check", cli_escaped(cli, cli->words[0]));
        return cli_ask(cli, "POST", path, VIEW("{}"), answer);
    }
    write_question(cli, &body);
    err e = cli_ask(cli, "POST", SOURCES "/check", writer_view(&body), answer);
    writer_fini(&body);
    return e;
}

static void print_proof(const struct json *answer)
{
    for (const struct json *m = answer->inside; m; m = m->next) {
        bool is_word = m->kind == JSON_TEXT || m->kind == JSON_NUMBER;
        if (is_word || m->kind == JSON_BOOL) {
            printf("%-20.*s %.*s\n", VIEW_ARG(m->name),
                   VIEW_ARG(is_word    ? m->text
                            : m->truth ? VIEW("yes")
                                       : VIEW("no")));
        }
    }
}

static err run_check(struct cli *cli)
{
    const struct check_options *o = cli->options;
    struct json *answer = NULL;
    err e = OK;

    if (o->trail && is_url(cli->words[0])) {
        return fault(ERR_INVALID, "--trail proves a source's trail: give its name");
    }
    if (o->trail) {
        e = cli_ask(cli, "GET",
                    cli_path(cli, SOURCES "/%s/trail", cli_escaped(cli, cli->words[0])),
                    (view){0}, &answer);
    } else {
        e = check_database(cli, &answer);
    }
    if (e) {
        return e;
    }
    if (o->common.json) {
        print_json(answer);
    } else if (o->trail) {
        print_proof(answer);
    } else {
        print_check(answer);
    }
    const struct json *ok = json_get(answer, o->trail ? "whole" : "ok");
    cli->code = ok && ok->kind == JSON_BOOL && !ok->truth ? CLI_FAILED : 0;
    return OK;
}

static const struct option check_options[] = {
    {CLI_OPTION(check_options, tables, "tables", TEXT, "",
                "patterns schema.table by commas, with * and ?; all when left out")},
    {CLI_OPTION(check_options, without, "without", TEXT, "", "patterns of tables left out")},
    {CLI_OPTION(check_options, keyless, "keyless", TEXT, "",
                "tables without key: skip, full or insert-only")},
    {CLI_OPTION(check_options, slot, "slot", TEXT, "", "the slot's name")},
    {CLI_OPTION(check_options, publication, "publication", TEXT, "", "the publication's name")},
    {CLI_OPTION(check_options, trail, "trail", BOOL, "false",
                "prove from the log alone that nothing was removed, altered or left out")},
};
const struct command source_check = {
    .noun = "source",
    .verb = "check",
    .words = "URL|NAME",
    .help = "can a database be captured, and what is missing?",
    .more = "Changes nothing. Each finding comes with the exact statement or line that mends\n"
            "it. Exit code 1: something is to be mended first.\n"
            "  tidemark source check postgres://localhost/shop\n"
            "  tidemark source check shop --trail",
    .run = run_check,
    .options = check_options,
    .option_count = COUNT(check_options),
    .self_bytes = sizeof(struct check_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};
