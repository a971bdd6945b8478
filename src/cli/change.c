/* change.c - `tidemark change`: what was changed, by whom, and why.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/change.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANGES "/api/v1/changes"
#define PAGE_CHANGES 1000
#define POINTS POINT_WORDS " or lsn:SOURCE/0/16B3"
#define FINDING                                                                                \
    "Words say what to find; all of them must hold:\n"                                         \
    "  table orders   row orders/42   by ann   tx 7812   created   updated   deleted\n"        \
    "  status changed to shipped   status was new   total is 5   status=shipped\n"             \
    "  context.request_id is r-17   context contains '{\"job\":\"night\"}'   not by ann\n"

struct ls_options {
    struct common common;
    char *source, *from, *to, *cursor;
    int64_t limit;
    bool follow, oldest, full;
};

struct show_options {
    struct common common;
    bool full;
};

struct stats_options {
    struct common common;
    char *source;
};

static bool wants_quotes(const char *word)
{
    bool document =
        word[0] == '{' || word[0] == '[' || strstr(word, "={") || strstr(word, "=[");

    return !document && (!word[0] || strpbrk(word, " \t\n\r\"'\\"));
}

static void write_word(struct writer *out, const char *word)
{
    bool quoted = wants_quotes(word);

    write_format(out, "%s%s", out->len ? " " : "", quoted ? "\"" : "");
    for (const char *at = word; *at; at++) {
        if (quoted && (*at == '"' || *at == '\\')) {
            write_u8(out, '\\');
        }
        write_u8(out, (uint8_t)*at);
    }
    write_format(out, "%s", quoted ? "\"" : "");
}

char *change_filter(struct cli *cli, int first, const char *from, const char *to)
{
    struct writer out = {0};

    for (int i = first; i < cli->word_count; i++) {
        write_word(&out, cli->words[i]);
    }
    if (from) {
        write_word(&out, "since");
        write_word(&out, from);
    }
    if (to) {
        write_word(&out, "until");
        write_word(&out, to);
    }
    char *text = arena_text(&cli->arena, writer_view(&out));
    writer_fini(&out);
    return text;
}

char *change_query(struct cli *cli, const char *source, const char *filter)
{
    const struct common *common = cli->options;

    return cli_path(cli, "?labels=%s%s%s%s%s", common->json ? "false" : "true",
                    source ? "&source=" : "", source ? cli_escaped(cli, source) : "",
                    filter[0] ? "&filter=" : "", filter[0] ? cli_escaped(cli, filter) : "");
}

struct printing {
    struct cli *cli;     /* its arena lasts as long as one change */
    struct story *story; /* NULL: JSON */
};

static void print_change(const struct printing *p, const struct json *change)
{
    if (p->story) {
        change_line(p->story, p->cli, change);
        story_print(p->story);
    } else {
        print_json(change);
    }
}

static err follow_one(void *self, view event, view data)
{
    const struct printing *p = self;
    struct json *change = NULL;

    (void)event;
    arena_reset(&p->cli->arena);
    err e = json_parse(&p->cli->arena, data, &change);
    if (e) {
        return fault_prefix("that is no Tidemark at --http: ");
    }
    print_change(p, change);
    return fflush(stdout) ? fault(ERR_IO, "standard output cannot be written") : OK;
}

static err follow(struct cli *cli, const char *query, view cursor, struct story *story)
{
    struct cli scratch = *cli; /* an arena for each change: this may go on for days */
    struct printing p = {.cli = &scratch, .story = story};
    char *path = cli_path(cli, CHANGES "/follow%s&cursor=%.*s", query, VIEW_ARG(cursor));

    scratch.arena = (struct arena){0};
    fflush(stdout);
    err e = http_follow(cli->client, path, follow_one, &p);
    arena_fini(&scratch.arena);
    return e ? e : fault(ERR_CLOSED, "the server has ended this");
}

static void print_page(const struct printing *p, const struct json *page, bool reversed)
{
    const struct json *list = json_get(page, "changes"), *in = list ? list->inside : NULL;
    const struct json **all;
    size_t count = 0;

    for (const struct json *one = in; one; one = one->next) {
        count++;
    }
    all = arena_take(&p->cli->arena, (count + 1) * sizeof(*all));
    for (size_t i = 0; in; in = in->next, i++) {
        all[reversed ? count - 1 - i : i] = in;
    }
    for (size_t i = 0; i < count; i++) {
        print_change(p, all[i]);
    }
}

static void say_covered(const struct json *page, bool more)
{
    const struct json *covered = json_get(page, "covered");
    const struct json *behind = json_get(covered, "behind"), *cold = json_get(covered, "cold");
    view from = json_word(covered, "from"), next = json_word(page, "next");

    if (more) {
        fprintf(stderr, "there is more: --cursor %.*s goes on, --limit takes more at once\n",
                VIEW_ARG(next));
    } else if (from.len) {
        fprintf(stderr, "searched from %.*s on%s\n", VIEW_ARG(from),
                cold && cold->truth ? ", the older part without an index" : "");
    }
    if (behind && behind->truth) {
        fprintf(stderr, "the newest changes are not in the trail yet\n");
    }
}

/* Pages until the limit, each printed as it comes. *page: the last one. */
static err list_pages(struct cli *cli, const char *query, const struct printing *p,
                      struct json **page)
{
    const struct ls_options *o = cli->options;
    char *cursor = o->cursor ? o->cursor : "";
    int64_t left = o->limit;
    err e = OK;

    do {
        int64_t limit = MIN(left, (int64_t)PAGE_CHANGES), got = 0;
        e = cli_ask(cli, "GET",
                    cli_path(cli, CHANGES "%s&limit=%lld&order=%s%s%s", query, (long long)limit,
                             o->oldest ? "oldest" : "newest", cursor[0] ? "&cursor=" : "",
                             cli_escaped(cli, cursor)),
                    (view){0}, page);
        if (e) {
            return e;
        }
        print_page(p, *page, o->follow && !o->oldest);
        const struct json *list = json_get(*page, "changes");
        for (const struct json *in = list ? list->inside : NULL; in; in = in->next) {
            got++;
        }
        left -= got;
        cursor = arena_text(&cli->arena, json_word(*page, "next"));
    } while (cursor[0] && left > 0);
    return OK;
}

static err run_ls(struct cli *cli)
{
    const struct ls_options *o = cli->options;
    char *query = change_query(cli, o->source, change_filter(cli, 0, o->from, o->to));
    struct story story = story_begin(o->full);
    struct printing p = {.cli = cli, .story = o->common.json ? NULL : &story};
    struct json *page = NULL;

    if (!terminal_width(stdout)) {
        story.full = true; /* a pipe has no width to keep to */
    }
    if (o->follow && o->limit > PAGE_CHANGES) {
        return fault(ERR_INVALID, "--follow begins with at most %d changes", PAGE_CHANGES);
    }
    if (p.story) {
        change_head(&story);
    }
    err e = list_pages(cli, query, &p, &page);
    if (!e && o->follow) {
        view numbered = json_word(page, "numbered");
        e = follow(cli, query,
                   o->oldest && json_word(page, "next").len ? json_word(page, "next")
                                                            : numbered,
                   p.story);
    } else if (!e && p.story && isatty(STDERR_FILENO)) {
        say_covered(page, json_word(page, "next").len > 0);
    }
    story_end(&story);
    return e;
}

static err run_show(struct cli *cli)
{
    const struct show_options *o = cli->options;
    struct story story = story_begin(o->full);
    struct json *answer = NULL;
    err e = cli_ask(
        cli, "GET",
        cli_path(cli, CHANGES "/%s?labels=true&order=oldest", cli_escaped(cli, cli->words[0])),
        (view){0}, &answer);

    if (e) {
        story_end(&story);
        return e;
    }
    const struct json *list = json_get(answer, "changes");
    struct printing p = {.cli = cli, .story = o->common.json ? NULL : &story};
    if (list) {
        if (p.story) {
            change_head(&story);
        }
        print_page(&p, answer, false);
    } else if (o->common.json) {
        print_json(answer);
    } else {
        change_tell(&story, cli, answer);
    }
    story_end(&story);
    if (list && !list->inside) {
        return fault(ERR_NOT_FOUND, "no change of %s is known", cli->words[0]);
    }
    return OK;
}

static void print_stats(const struct json *answer)
{
    static const char *const heads[] = {"TABLE",      ">CREATES",  ">UPDATES", ">DELETES",
                                        ">TRUNCATES", ">SNAPSHOT", "FIRST",    "LAST"};
    static const char *const numbers[] = {"creates", "updates", "deletes", "truncates",
                                          "reads"};
    struct table *t = table_new(heads, COUNT(heads));
    const struct json *list = json_get(answer, "tables");
    char bytes[BYTES_TEXT];

    for (const struct json *in = list ? list->inside : NULL; in; in = in->next) {
        view label = json_word(in, "label");
        table_cell(t, "%.*s.%.*s%s%.*s%s", VIEW_ARG(json_word(in, "schema")),
                   VIEW_ARG(json_word(in, "table")), label.len ? " (" : "", VIEW_ARG(label),
                   label.len ? ")" : "");
        for (size_t i = 0; i < COUNT(numbers); i++) {
            table_view(t, json_word(in, numbers[i]));
        }
        table_view(t, json_word(in, "first"));
        table_view(t, json_word(in, "last"));
    }
    table_print(t);
    printf("\n%.*s changes up to %.*s, index %s", VIEW_ARG(json_word(answer, "changes")),
           VIEW_ARG(json_word(answer, "lsn")), bytes_text(json_amount(answer, "bytes"), bytes));
    view words = json_word(answer, "words");
    printf("%s%.*s\n", words.len ? "; it waits: " : "", VIEW_ARG(words));
}

static err run_stats(struct cli *cli)
{
    const struct stats_options *o = cli->options;
    struct json *answer = NULL;
    err e =
        cli_ask(cli, "GET", cli_path(cli, CHANGES "/stats%s", change_query(cli, o->source, "")),
                (view){0}, &answer);

    if (!e && o->common.json) {
        print_json(answer);
    } else if (!e) {
        print_stats(answer);
    }
    return e;
}

static const struct option ls_options[] = {
    {CLI_OPTION(ls_options, source, "source", TEXT, "",
                "whose changes; not needed where there is one source")},
    {CLI_OPTION(ls_options, follow, "follow", BOOL, "false", "go on with what comes"),
     .flag = "f"},
    {CLI_OPTION(ls_options, limit, "limit", COUNT, "50", "how many at most"), .least = 1,
     .most = INT32_MAX},
    {CLI_OPTION(ls_options, from, "from", TEXT, "", "POINT: only later ones; " POINTS)},
    {CLI_OPTION(ls_options, to, "to", TEXT, "", "POINT: only earlier ones")},
    {CLI_OPTION(ls_options, oldest, "oldest", BOOL, "false", "the oldest first")},
    {CLI_OPTION(ls_options, cursor, "cursor", TEXT, "", "go on where another listing ended")},
    {CLI_OPTION(ls_options, full, "full", BOOL, "false", "values whole, with the context")},
};
const struct command change_ls = {
    .noun = "change",
    .verb = "ls",
    .words = "[WORDS]...",
    .help = "find changes: who changed what, when and why",
    .more = FINDING "  tidemark change ls --source shop table orders by ann --from -1h\n"
                    "  tidemark change ls --source shop -f",
    .run = run_ls,
    .options = ls_options,
    .option_count = COUNT(ls_options),
    .self_bytes = sizeof(struct ls_options),
    .words_most = 64,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option show_options[] = {
    {CLI_OPTION(show_options, full, "full", BOOL, "false", "long values whole")},
};
const struct command change_show = {
    .noun = "change",
    .verb = "show",
    .words = "REF",
    .help = "one change, or those of a row or transaction",
    .more = "  tidemark change show topic:shop.public.orders/0@17\n"
            "  tidemark change show tx:shop/7812",
    .run = run_show,
    .options = show_options,
    .option_count = COUNT(show_options),
    .self_bytes = sizeof(struct show_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option stats_options[] = {
    {CLI_OPTION(stats_options, source, "source", TEXT, "",
                "whose changes; not needed where there is one source")},
};
const struct command change_stats = {
    .noun = "change",
    .verb = "stats",
    .words = "",
    .help = "how many changes there are, by table",
    .run = run_stats,
    .options = stats_options,
    .option_count = COUNT(stats_options),
    .self_bytes = sizeof(struct stats_options),
    .flags = COMMAND_HTTP | COMMAND_JSON,
};
