/* change_export.c - `tidemark change export`: changes as CSV, JSON lines or SQL.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/change.h"

struct export_options {
    struct common common;
    char *source, *from, *to, *out;
    int64_t format;
};

enum export_format { EXPORT_CSV, EXPORT_JSON, EXPORT_SQL };

static const char *const formats[] = {"csv", "json", "sql", NULL};

/* Members of a change, by their kind in SQL. */
static const struct {
    const char *name, *type;
} columns[] = {
    {"ref", "text"},          {"source", "text"},   {"schema", "text"},
    {"table", "text"},        {"key", "text"},      {"operation", "text"},
    {"actor", "text"},        {"tx", "bigint"},     {"committed_at", "timestamptz"},
    {"commit_lsn", "pg_lsn"}, {"lsn", "pg_lsn"},    {"position", "bigint"},
    {"changed", "jsonb"},     {"before", "jsonb"},  {"after", "jsonb"},
    {"context", "jsonb"},     {"unknown", "jsonb"},
};

struct exporting {
    FILE *file;
    enum export_format format;
    struct writer out;
};

static void quoted(struct writer *out, view text, char quote)
{
    write_u8(out, (uint8_t)quote);
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == (uint8_t)quote) {
            write_u8(out, (uint8_t)quote);
        }
        write_u8(out, text.at[i]);
    }
    write_u8(out, (uint8_t)quote);
}

/* Texts and numbers as they are, all else as JSON. False: there is nothing. */
static bool member_text(const struct json *change, const char *name, struct writer *text)
{
    const struct json *m = json_get(change, name);
    struct json_writer j = json_to(text);

    writer_reset(text);
    if (!m || m->kind == JSON_NULL) {
        return false;
    }
    if (m->kind == JSON_TEXT || m->kind == JSON_NUMBER) {
        write_view(text, m->text);
    } else {
        json_again(&j, m);
    }
    return true;
}

static void write_csv(struct writer *out, const struct json *change)
{
    struct writer text = {0};

    for (size_t i = 0; i < COUNT(columns); i++) {
        write_format(out, "%s", i ? "," : "");
        if (member_text(change, columns[i].name, &text)) {
            bool plain = text.len && !memchr(text.at, ',', text.len) &&
                         !memchr(text.at, '"', text.len) && !memchr(text.at, '\n', text.len) &&
                         !memchr(text.at, '\r', text.len);
            if (plain) {
                write_view(out, writer_view(&text));
            } else {
                quoted(out, writer_view(&text), '"');
            }
        }
    }
    write_u8(out, '\n');
    writer_fini(&text);
}

/* Under standard_conforming_strings, the preset for ten years, a backslash is a backslash. */
static void write_sql(struct writer *out, const struct json *change)
{
    struct writer text = {0};

    write_view(out, VIEW("INSERT INTO changes VALUES ("));
    for (size_t i = 0; i < COUNT(columns); i++) {
        write_format(out, "%s", i ? ", " : "");
        if (!member_text(change, columns[i].name, &text)) {
            write_view(out, VIEW("NULL"));
        } else if (!strcmp(columns[i].type, "bigint")) {
            write_view(out, writer_view(&text));
        } else {
            quoted(out, writer_view(&text), '\'');
        }
    }
    write_view(out, VIEW(");\n"));
    writer_fini(&text);
}

static void write_json(struct writer *out, const struct json *change)
{
    struct json_writer j = json_to(out);

    json_again(&j, change);
    write_u8(out, '\n');
}

static void write_head(struct exporting *x)
{
    bool sql = x->format == EXPORT_SQL;

    if (x->format == EXPORT_JSON) {
        return;
    }
    write_format(&x->out, "%s", sql ? "CREATE TABLE IF NOT EXISTS changes (" : "");
    for (size_t i = 0; i < COUNT(columns); i++) {
        if (sql) {
            write_format(&x->out, "%s\"%s\" %s", i ? ", " : "", columns[i].name,
                         columns[i].type);
        } else {
            write_format(&x->out, "%s%s", i ? "," : "", columns[i].name);
        }
    }
    write_format(&x->out, "%s\n", sql ? ");\nBEGIN;" : "");
}

static err put(struct exporting *x)
{
    size_t wrote = x->out.len ? fwrite(x->out.at, 1, x->out.len, x->file) : 0;
    bool all = wrote == x->out.len;

    writer_reset(&x->out);
    return all ? OK : fault_errno("the export cannot be written");
}

static err export_one(void *self, const struct json *change)
{
    struct exporting *x = self;

    switch (x->format) {
    case EXPORT_CSV:
        write_csv(&x->out, change);
        break;
    case EXPORT_JSON:
        write_json(&x->out, change);
        break;
    case EXPORT_SQL:
        write_sql(&x->out, change);
        break;
    }
    return put(x);
}

/* Page by page, each in an arena of its own: there may be millions. */
static err export_pages(struct cli *cli, const char *query, struct exporting *x)
{
    struct cli page_cli = *cli;
    char cursor[32] = "";
    err e = OK;

    do {
        struct json *page = NULL;
        page_cli.arena = (struct arena){0};
        e = cli_ask(&page_cli, "GET",
                    cli_path(&page_cli,
                             "/api/v1/changes?limit=1000&order=oldest&recall=false%s%s%s",
                             query, cursor[0] ? "&cursor=" : "", cursor),
                    (view){0}, &page);
        const struct json *list = e ? NULL : json_get(page, "changes");
        for (const struct json *in = list ? list->inside : NULL; in && !e; in = in->next) {
            e = export_one(x, in);
        }
        snprintf(cursor, sizeof(cursor), "%.*s",
                 VIEW_ARG(e ? VIEW("") : json_word(page, "next")));
        arena_fini(&page_cli.arena);
    } while (!e && cursor[0]);
    cli->client = page_cli.client;
    cli->unreachable = page_cli.unreachable;
    return e;
}

static err run_export(struct cli *cli)
{
    const struct export_options *o = cli->options;
    char *filter = change_filter(cli, 0, o->from, o->to);
    char *query = cli_path(cli, "%s%s%s%s", o->source ? "&source=" : "",
                           o->source ? cli_escaped(cli, o->source) : "",
                           filter[0] ? "&filter=" : "", cli_escaped(cli, filter));
    struct exporting x = {.file = stdout, .format = (enum export_format)o->format};

    if (o->out) {
        x.file = fopen(o->out, "wx");
        if (!x.file) {
            return fault_errno("%s", o->out);
        }
    }
    write_head(&x);
    err e = put(&x);
    e = e ? e : export_pages(cli, query, &x);
    if (!e && x.format == EXPORT_SQL) {
        write_view(&x.out, VIEW("COMMIT;\n"));
        e = put(&x);
    }
    if (o->out && fclose(x.file) && !e) {
        e = fault_errno("%s", o->out);
    }
    writer_fini(&x.out);
    return e;
}

static const struct option export_options[] = {
    {CLI_OPTION(export_options, source, "source", TEXT, "",
                "whose changes; not needed where there is one source")},
    {CLI_OPTION(export_options, format, "format", CHOICE, "csv",
                "csv, json (a change a line) or sql (inserts into a table \"changes\")"),
     .choices = formats},
    {CLI_OPTION(export_options, from, "from", TEXT, "", "POINT: only later ones")},
    {CLI_OPTION(export_options, to, "to", TEXT, "", "POINT: only earlier ones")},
    {CLI_OPTION(export_options, out, "out", TEXT, "",
                "a new file; standard output if not given")},
};
const struct command change_export = {
    .noun = "change",
    .verb = "export",
    .words = "[WORDS]...",
    .help = "changes as CSV, JSON or SQL, the oldest first",
    .more = "Words as in `tidemark change ls`. It gives what the database said: old values\n"
            "that it did not send are null.\n"
            "  tidemark change export --source shop --format csv table orders --out orders.csv",
    .run = run_export,
    .options = export_options,
    .option_count = COUNT(export_options),
    .self_bytes = sizeof(struct export_options),
    .words_most = 64,
    .flags = COMMAND_HTTP,
};
