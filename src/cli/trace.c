/* trace.c - `tidemark trace`: who and why, what changed with it, what came after.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/command.h"
#include "cli/story.h"

#define LABEL_COLUMNS 13
#define LISTED 12 /* of the transaction's changes, unless --full */
#define FORK "├─ "
#define LAST "└─ "
#define PASS "│  "
#define FORK_COLUMNS 3

struct trace_options {
    struct common common;
    char *at;
    bool full;
};

struct tree {
    struct story story;
    struct cli *cli;
    bool full;
};

static void twig(struct tree *t, const char *lines, const char *label)
{
    size_t wide = text_columns(view_text(label));

    write_view(&t->story.out, view_text(lines));
    write_view(&t->story.out, view_text(label));
    story_blank(&t->story, wide < LABEL_COLUMNS ? LABEL_COLUMNS - wide : 1);
}

/* A branch with one text; nothing when there is none. */
static void branch(struct tree *t, const char *label, view text)
{
    size_t left = FORK_COLUMNS + LABEL_COLUMNS;

    if (text.len) {
        twig(t, FORK, label);
        story_text(&t->story, STORY_PLAIN, text, t->full ? 0 : t->story.width - left);
        write_u8(&t->story.out, '\n');
    }
}

/* Text that a helper wrote from `from` on gets the tree's lines in front. */
static void put_under(struct tree *t, size_t from, const char *lines)
{
    struct writer *out = &t->story.out;
    view rest = arena_copy(&t->cli->arena, view_from(writer_view(out), from)), line;

    out->len = from;
    while (view_cut(rest, '\n', &line, &rest)) {
        write_view(out, view_text(lines));
        write_view(out, line);
        write_u8(out, '\n');
    }
}

static void tell_cause(struct tree *t, const struct json *answer)
{
    const struct json *change = json_get(answer, "change");
    const struct json *tx = json_get(answer, "transaction");
    const struct json *snapshot = json_get(tx, "snapshot");
    view step = json_word(change, "step");
    size_t from;

    story_text(&t->story, STORY_BOLD, json_word(answer, "ref"), 0);
    write_u8(&t->story.out, '\n');
    write_view(&t->story.out, VIEW(FORK));
    story_text(&t->story, STORY_BOLD, story_time(t->cli, tx, "committed_at"), 0);
    write_view(&t->story.out, VIEW("  "));
    step = step.len ? step : json_word(change, "operation");
    if (snapshot && snapshot->truth) {
        write_view(&t->story.out, VIEW("seen in a snapshot; who wrote it is older\n"));
    } else {
        story_text(&t->story, STORY_BOLD, step.len ? step : VIEW("committed"), 0);
        write_view(&t->story.out, VIEW(" by "));
        story_text(&t->story, STORY_BOLD, story_actor(t->cli, tx), 0);
        write_u8(&t->story.out, '\n');
    }
    from = t->story.out.len;
    t->story.width -= FORK_COLUMNS;
    story_fields(&t->story, t->cli, json_get(change, "fields"), 2);
    t->story.width += FORK_COLUMNS;
    put_under(t, from, PASS);
}

static void tell_transaction(struct tree *t, const struct json *answer)
{
    const struct json *tx = json_get(answer, "transaction");
    const struct json *several = json_get(answer, "several_contexts");
    view lsn = json_word(tx, "commit_lsn"), ref = json_word(tx, "tx");
    size_t from;

    if (ref.len) {
        branch(t, "transaction",
               view_text(arena_format(&t->cli->arena, "%.*s  lsn %.*s", VIEW_ARG(ref),
                                      VIEW_ARG(lsn))));
    }
    branch(t, "person", json_word(tx, "actor"));
    branch(t, "request", json_word(tx, "request"));
    branch(t, "traceparent", json_word(tx, "traceparent"));
    branch(t, "session", json_word(tx, "session"));
    branch(t, "application", json_word(tx, "application"));
    from = t->story.out.len;
    t->story.width -= FORK_COLUMNS;
    story_context(&t->story, t->cli, tx, true, 2);
    t->story.width += FORK_COLUMNS;
    if (t->story.out.len > from) {
        put_under(t, from, PASS);
        struct writer said = {0};
        write_view(&said, view_from(writer_view(&t->story.out), from));
        t->story.out.len = from;
        write_view(&t->story.out, VIEW(FORK "context\n"));
        write_view(&t->story.out, writer_view(&said));
        writer_fini(&said);
    }
    if (several && several->truth) {
        branch(t, "note", VIEW("its statements carry several contexts: --json has each"));
    }
}

static void tell_row_of(struct tree *t, const struct json *change, const char *lines)
{
    const struct json *changed = json_get(change, "changed");
    view row = json_word(change, "row"), operation = json_word(change, "operation");
    size_t room = t->story.width;
    size_t column = 2 * FORK_COLUMNS;

    write_view(&t->story.out, view_text(lines));
    column += story_text(&t->story, STORY_PLAIN, operation, 0);
    story_blank(&t->story, column < 16 ? 16 - column : 1);
    column = MAX(column + 1, (size_t)16);
    column += story_text(&t->story, STORY_PLAIN, row.len ? row : json_word(change, "table"),
                         t->full || room < column + 8 ? 0 : room - column);
    const char *between = "  ";
    for (const struct json *in = changed ? changed->inside : NULL; in; in = in->next) {
        column += text_columns(in->text) + 2;
        if (column > room) {
            break;
        }
        write_view(&t->story.out, view_text(between));
        story_text(&t->story, STORY_DIM, in->text, 0);
        between = ", ";
    }
    write_u8(&t->story.out, '\n');
}

static size_t length(const struct json *list)
{
    size_t count = 0;

    for (const struct json *in = list ? list->inside : NULL; in; in = in->next) {
        count++;
    }
    return count;
}

static void tell_others(struct tree *t, const struct json *answer)
{
    const struct json *list = json_get(answer, "changes"), *more = json_get(answer, "more");
    size_t count = length(list), told = 0, most = t->full ? count : LISTED;
    bool is_more = (more && more->truth) || count > most;

    if (count == 0) {
        return;
    }
    story_line(&t->story, STORY_PLAIN, FORK "in the transaction: %zu%s change%s", count,
               more && more->truth ? " and more" : "", count == 1 ? "" : "s");
    for (const struct json *in = list->inside; in && told < most; in = in->next) {
        told++;
        tell_row_of(t, in,
                    told < most && in->next ? PASS FORK
                    : is_more               ? PASS FORK
                                            : PASS LAST);
    }
    if (is_more) {
        story_line(&t->story, STORY_DIM,
                   PASS LAST "… `tidemark change ls` with the tx shows all");
    }
}

static void tell_past(struct tree *t, const struct json *answer)
{
    const struct json *list = json_get(answer, "earlier");
    int64_t all = json_amount(answer, "earlier_count");

    if (all == 0) {
        return;
    }
    story_line(&t->story, STORY_PLAIN, FORK "before it: %lld change%s of the row",
               (long long)all, all == 1 ? "" : "s");
    for (const struct json *in = list->inside; in; in = in->next) {
        view at = story_time(t->cli, in, "committed_at"), tx = json_word(in, "tx");
        view who = story_actor(t->cli, in);
        story_line(&t->story, STORY_PLAIN, PASS "%s%.*s  %.*s by %.*s  %.*s",
                   in->next ? FORK : LAST, VIEW_ARG(at), VIEW_ARG(json_word(in, "step")),
                   VIEW_ARG(who), VIEW_ARG(tx));
    }
}

static void tell_later(struct tree *t, const struct json *answer)
{
    const struct json *list = json_get(answer, "later");
    size_t count = length(list);

    if (count == 0) {
        story_line(&t->story, STORY_PLAIN, LAST "later: nothing changed these rows since");
        return;
    }
    story_line(&t->story, STORY_PLAIN, LAST "later, to the same rows:");
    for (const struct json *in = list->inside; in; in = in->next) {
        view at = story_time(t->cli, in, "committed_at"), tx = json_word(in, "tx");
        view who = story_actor(t->cli, in), row = json_word(in, "row");
        story_line(&t->story, STORY_PLAIN, "   %s%.*s  %.*s by %.*s  %.*s",
                   in->next ? FORK : LAST, VIEW_ARG(at), VIEW_ARG(json_word(in, "operation")),
                   VIEW_ARG(who), VIEW_ARG(tx));
        story_line(&t->story, STORY_DIM, "   %s%.*s", in->next ? PASS : "   ", VIEW_ARG(row));
    }
}

/* A session: its transactions with their rows. */
static void tell_session(struct tree *t, const struct json *answer)
{
    const struct json *list = json_get(answer, "changes"), *more = json_get(answer, "more");
    view tx = VIEW("");

    story_text(&t->story, STORY_BOLD, json_word(answer, "ref"), 0);
    write_u8(&t->story.out, '\n');
    for (const struct json *in = list ? list->inside : NULL; in; in = in->next) {
        if (!view_is(tx, json_word(in, "tx"))) {
            view at = story_time(t->cli, in, "committed_at"), who = story_actor(t->cli, in);
            tx = json_word(in, "tx");
            story_line(&t->story, STORY_BOLD, FORK "%.*s  %.*s by %.*s", VIEW_ARG(at),
                       VIEW_ARG(tx), VIEW_ARG(who));
        }
        bool last = !in->next || !view_is(tx, json_word(in->next, "tx"));
        tell_row_of(t, in, last ? PASS LAST : PASS FORK);
    }
    story_line(&t->story, STORY_DIM, LAST "%s",
               more && more->truth ? "and more: `tidemark change ls` shows all"
                                   : "that is all");
}

static err run_trace(struct cli *cli)
{
    const struct trace_options *o = cli->options;
    struct json *answer = NULL;
    err e = cli_ask(cli, "GET",
                    cli_path(cli, "/api/v1/trace/%s?at=%s", cli_escaped(cli, cli->words[0]),
                             cli_escaped(cli, o->at ? o->at : "now")),
                    (view){0}, &answer);

    if (e || o->common.json) {
        if (!e) {
            print_json(answer);
        }
        return e;
    }
    struct tree t = {.story = story_begin(o->full), .cli = cli, .full = o->full};
    if (json_get(answer, "session")) {
        tell_session(&t, answer);
    } else {
        tell_cause(&t, answer);
        tell_transaction(&t, answer);
        tell_others(&t, answer);
        tell_past(&t, answer);
        tell_later(&t, answer);
    }
    story_end(&t.story);
    return OK;
}

static const struct option trace_options[] = {
    {CLI_OPTION(trace_options, at, "at", TEXT, "",
                "POINT: the row's last change up to then; " POINT_WORDS_DATABASE)},
    {CLI_OPTION(trace_options, full, "full", BOOL, "false", "long values and lists whole")},
};
const struct command trace = {
    .noun = "trace",
    .words = "REF",
    .help = "who and why: transaction, person, request, session, and what came after",
    .more =
        "REF is row:SOURCE.SCHEMA.TABLE/KEY, tx:SOURCE/XID, topic:NAME/PARTITION@OFFSET or\n"
        "session:ID, as every other command prints them.\n"
        "  tidemark trace row:shop.public.orders/42",
    .run = run_trace,
    .options = trace_options,
    .option_count = COUNT(trace_options),
    .self_bytes = sizeof(struct trace_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};
