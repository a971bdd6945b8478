/* topic.c - `tidemark topic`. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

#define TOPICS "/api/v1/topics"

struct create_options {
    struct common common;
    int64_t partitions;
    bool replace;
};

struct ls_options {
    struct common common;
    bool all, names;
};

struct show_options {
    struct common common;
    bool all;
};

struct edit_options {
    struct common common;
    int64_t partitions;
};

struct rm_options {
    struct common common;
    bool yes;
};

struct trim_options {
    struct common common;
    char *to;
    int64_t partition;
    bool yes;
};

static char *topic_path(struct cli *cli, const char *name, const char *part)
{
    return cli_path(cli, TOPICS "/%s%s", cli_escaped(cli, name), part);
}

/* SETTING=VALUE words; without a value: back to the preset. */
static err settings_to_json(struct cli *cli, int from, struct json_writer *j)
{
    json_name(j, "settings");
    json_object(j);
    for (int i = from; i < cli->word_count; i++) {
        view name, value;
        if (!view_cut(view_text(cli->words[i]), '=', &name, &value) || !name.len) {
            return fault(ERR_INVALID, "\"%s\" is not SETTING=VALUE, such as retention.ms=7d",
                         cli->words[i]);
        }
        json_name_view(j, name);
        json_view(j, value.len ? value : (view){0});
    }
    json_end_object(j);
    return OK;
}

static void print_field(const char *name, view text)
{
    printf("%-12s%.*s\n", name, VIEW_ARG(text));
}

static void write_settings(const struct json *settings, const char *between, struct writer *out)
{
    for (const struct json *s = settings ? settings->inside : NULL; s; s = s->next) {
        write_format(out, "%.*s=%.*s%s", VIEW_ARG(s->name), VIEW_ARG(s->text),
                     s->next ? between : "");
    }
}

static void print_topic(const struct json *topic)
{
    struct writer settings = {0};
    char bytes[BYTES_TEXT];

    write_settings(json_get(topic, "settings"), " ", &settings);
    print_field("topic", json_word(topic, "name"));
    print_field("ref", json_word(topic, "ref"));
    print_field("id", json_word(topic, "id"));
    print_field("partitions", json_word(topic, "partitions"));
    print_field("offsets", json_word(topic, "offsets"));
    print_field("bytes", view_text(bytes_text(json_amount(topic, "bytes"), bytes)));
    print_field("settings", writer_view(&settings));
    writer_fini(&settings);
}

static void print_changed(struct cli *cli, const struct json *topic)
{
    const struct common *common = cli->options;

    if (common->json) {
        print_json(topic);
    } else {
        print_topic(topic);
    }
}

static err run_create(struct cli *cli)
{
    const struct create_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);
    struct json *topic = NULL;

    json_object(&j);
    json_name(&j, "name");
    json_text(&j, cli->words[0]);
    if (o->partitions) {
        json_name(&j, "partitions");
        json_int(&j, o->partitions);
    }
    json_name(&j, "replace");
    json_bool(&j, o->replace);
    err e = settings_to_json(cli, 1, &j);
    if (!e) {
        json_end_object(&j);
        e = cli_ask(cli, "POST", TOPICS, writer_view(&body), &topic);
    }
    if (!e) {
        print_changed(cli, topic);
    }
    writer_fini(&body);
    return e;
}

struct listing {         /* where the items of a list go */
    struct table *table; /* people */
    struct json_writer *json;
    bool names;
};

static err list_topic(void *self, const struct json *topic)
{
    struct listing *to = self;
    struct writer settings = {0};
    char bytes[BYTES_TEXT];

    if (to->json) {
        json_again(to->json, topic);
        return OK;
    }
    if (to->names) {
        printf("%.*s\n", VIEW_ARG(json_word(topic, "name")));
        return OK;
    }
    write_settings(json_get(topic, "settings"), " ", &settings);
    table_view(to->table, json_word(topic, "name"));
    table_view(to->table, json_word(topic, "partitions"));
    table_view(to->table, json_word(topic, "offsets"));
    table_cell(to->table, "%s", bytes_text(json_amount(topic, "bytes"), bytes));
    table_view(to->table, writer_view(&settings));
    writer_fini(&settings);
    return OK;
}

static err run_ls(struct cli *cli)
{
    static const char *const heads[] = {"TOPIC", ">PARTITIONS", ">OFFSETS", ">BYTES",
                                        "SETTINGS"};
    const struct ls_options *o = cli->options;
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct listing to = {.names = o->names, .json = o->common.json ? &j : NULL};

    to.table = table_new(heads, COUNT(heads));
    json_object(&j);
    json_name(&j, "topics");
    json_array(&j);
    err e = cli_each(cli, TOPICS, o->all ? "&internal=true" : "", "topics", list_topic, &to);
    json_end_array(&j);
    json_end_object(&j);
    if (!e && to.json) {
        printf("%.*s\n", VIEW_ARG(writer_view(&out)));
    }
    if (e || to.json || to.names) {
        table_free(to.table);
    } else {
        table_print(to.table);
    }
    writer_fini(&out);
    return e;
}

static err list_partition(void *self, const struct json *p)
{
    static const char *const columns[] = {"partition", "start", "high", "stable",
                                          "leader_epoch"};
    struct listing *to = self;
    char bytes[BYTES_TEXT];
    const struct json *failed = json_get(p, "failed");

    if (to->json) {
        json_again(to->json, p);
        return OK;
    }
    for (size_t i = 0; i < COUNT(columns); i++) {
        table_view(to->table, json_word(p, columns[i]));
    }
    table_cell(to->table, "%s", bytes_text(json_amount(p, "bytes"), bytes));
    table_view(to->table, json_word(p, "newest"));
    table_cell(to->table, "%s", failed && failed->truth ? "FAILED" : "");
    return OK;
}

static void print_effective(const struct json *topic)
{
    struct writer settings = {0};

    write_settings(json_get(topic, "effective"), "\n", &settings);
    printf("\n%.*s\n", VIEW_ARG(writer_view(&settings)));
    writer_fini(&settings);
}

static err run_show(struct cli *cli)
{
    static const char *const heads[] = {">PARTITION", ">START", ">HIGH",  ">STABLE",
                                        ">EPOCH",     ">BYTES", "NEWEST", ""};
    const struct show_options *o = cli->options;
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct listing to = {.json = o->common.json ? &j : NULL};
    struct json *topic = NULL;
    err e = cli_ask(cli, "GET", topic_path(cli, cli->words[0], ""), (view){0}, &topic);

    if (e) {
        return e;
    }
    to.table = table_new(heads, COUNT(heads));
    json_object(&j);
    for (const struct json *member = topic->inside; member; member = member->next) {
        json_name_view(&j, member->name);
        json_again(&j, member);
    }
    json_name(&j, "partition_list");
    json_array(&j);
    e = cli_each(cli, topic_path(cli, cli->words[0], "/partitions"), "", "partitions",
                 list_partition, &to);
    json_end_array(&j);
    json_end_object(&j);
    if (e || to.json) {
        table_free(to.table);
        if (!e) {
            printf("%.*s\n", VIEW_ARG(writer_view(&out)));
        }
    } else {
        print_topic(topic);
        printf("\n");
        table_print(to.table);
        if (o->all) {
            print_effective(topic);
        }
    }
    writer_fini(&out);
    return e;
}

static err run_edit(struct cli *cli)
{
    const struct edit_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);
    struct json *topic = NULL;
    err e = OK;

    if (!o->partitions && cli->word_count == 1) {
        return fault(ERR_INVALID, "what is to change? --partitions N, or SETTING=VALUE");
    }
    json_object(&j);
    if (o->partitions) {
        json_name(&j, "partitions");
        json_int(&j, o->partitions);
    }
    e = settings_to_json(cli, 1, &j);
    if (!e) {
        json_end_object(&j);
        e = cli_ask(cli, "PATCH", topic_path(cli, cli->words[0], ""), writer_view(&body),
                    &topic);
    }
    if (!e) {
        print_changed(cli, topic);
    }
    writer_fini(&body);
    return e;
}

static err remove_one(struct cli *cli, const char *name)
{
    const struct rm_options *o = cli->options;
    struct json *topic = NULL;
    char bytes[BYTES_TEXT];
    char *path = topic_path(cli, name, "");
    err e = cli_ask(cli, "GET", path, (view){0}, &topic);

    if (!e && !o->yes &&
        !user_agrees("Delete topic %s with its %lld offsets and %s?", name,
                     (long long)json_amount(topic, "offsets"),
                     bytes_text(json_amount(topic, "bytes"), bytes))) {
        return fault(ERR_CANCELLED, "%s stays", name);
    }
    return e ? e : cli_ask(cli, "DELETE", path, (view){0}, &topic);
}

static err run_rm(struct cli *cli)
{
    err e = OK;

    for (int i = 0; i < cli->word_count && !e; i++) {
        e = remove_one(cli, cli->words[i]);
    }
    return e;
}

static void print_trimmed(const struct json *answer)
{
    static const char *const heads[] = {">PARTITION", ">START"};
    struct table *t = table_new(heads, COUNT(heads));
    const struct json *list = json_get(answer, "partitions");

    for (const struct json *p = list ? list->inside : NULL; p; p = p->next) {
        table_view(t, json_word(p, "partition"));
        table_view(t, json_word(p, "start"));
    }
    table_print(t);
}

static err run_trim(struct cli *cli)
{
    const struct trim_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);
    struct json *answer = NULL;

    if (!o->to) {
        return fault(ERR_INVALID, "up to where? --to POINT: " POINT_WORDS);
    }
    if (!o->yes && !user_agrees("Delete the records of %s before %s?", cli->words[0], o->to)) {
        return fault(ERR_CANCELLED, "%s stays as it is", cli->words[0]);
    }
    json_object(&j);
    json_name(&j, "to");
    json_text(&j, o->to);
    if (o->partition >= 0) {
        json_name(&j, "partition");
        json_int(&j, o->partition);
    }
    json_end_object(&j);
    err e = cli_ask(cli, "POST", topic_path(cli, cli->words[0], "/trim"), writer_view(&body),
                    &answer);
    if (!e && o->common.json) {
        print_json(answer);
    } else if (!e) {
        print_trimmed(answer);
    }
    writer_fini(&body);
    return e;
}

static const struct option create_options[] = {
    {CLI_OPTION(create_options, partitions, "partitions", COUNT, "0",
                "how many; 0: what the server gives (num.partitions)")},
    {CLI_OPTION(create_options, replace, "replace", BOOL, "false",
                "delete the topic of that name, with its records, first")},
};
const struct command topic_create = {
    .noun = "topic",
    .verb = "create",
    .words = "NAME [SETTING=VALUE]...",
    .help = "make a topic",
    .more =
        "Settings have Kafka's names, and flush.policy, retention.disk.percent and\n"
        "retention.protect besides; values take units: retention.ms=7d segment.bytes=64MiB.\n"
        "  tidemark topic create orders --partitions 6 retention.ms=30d",
    .run = run_create,
    .options = create_options,
    .option_count = COUNT(create_options),
    .self_bytes = sizeof(struct create_options),
    .words_least = 1,
    .words_most = 64,
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option ls_options[] = {
    {CLI_OPTION(ls_options, all, "all", BOOL, "false", "the program's own topics too")},
    {CLI_OPTION(ls_options, names, "names", BOOL, "false", "names alone, one a line")},
};
const struct command topic_ls = {
    .noun = "topic",
    .verb = "ls",
    .words = "",
    .help = "list topics",
    .run = run_ls,
    .options = ls_options,
    .option_count = COUNT(ls_options),
    .self_bytes = sizeof(struct ls_options),
    .flags = COMMAND_HTTP | COMMAND_JSON,
};

static const struct option show_options[] = {
    {CLI_OPTION(show_options, all, "all", BOOL, "false",
                "every setting with the value that holds")},
};
const struct command topic_show = {
    .noun = "topic",
    .verb = "show",
    .words = "NAME",
    .help = "a topic, its partitions and settings",
    .run = run_show,
    .options = show_options,
    .option_count = COUNT(show_options),
    .self_bytes = sizeof(struct show_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON | COMMAND_TOPICS,
};

static const struct option edit_options[] = {
    {CLI_OPTION(edit_options, partitions, "partitions", COUNT, "0",
                "how many there are to be; never fewer than now")},
};
const struct command topic_edit = {
    .noun = "topic",
    .verb = "edit",
    .words = "NAME [SETTING=VALUE]...",
    .help = "change settings, add partitions",
    .more = "SETTING= without a value takes the setting away, so that its preset holds.\n"
            "  tidemark topic edit orders retention.ms=1d cleanup.policy=",
    .run = run_edit,
    .options = edit_options,
    .option_count = COUNT(edit_options),
    .self_bytes = sizeof(struct edit_options),
    .words_least = 1,
    .words_most = 64,
    .flags = COMMAND_HTTP | COMMAND_JSON | COMMAND_TOPICS,
};

static const struct option rm_options[] = {
    {CLI_OPTION(rm_options, yes, "yes", BOOL, "false", "do not ask")},
};
const struct command topic_rm = {
    .noun = "topic",
    .verb = "rm",
    .words = "NAME...",
    .help = "delete topics with their records",
    .more = "On a terminal it asks first.",
    .run = run_rm,
    .options = rm_options,
    .option_count = COUNT(rm_options),
    .self_bytes = sizeof(struct rm_options),
    .words_least = 1,
    .words_most = 1000,
    .flags = COMMAND_HTTP | COMMAND_TOPICS,
};

static const struct option trim_options[] = {
    {CLI_OPTION(trim_options, to, "to", TEXT, "", "POINT: what is older goes; " POINT_WORDS)},
    {CLI_OPTION(trim_options, partition, "partition", INT, "-1", "only this one; -1: all"),
     .least = -1, .most = INT32_MAX},
    {CLI_OPTION(trim_options, yes, "yes", BOOL, "false", "do not ask")},
};
const struct command topic_trim = {
    .noun = "topic",
    .verb = "trim",
    .words = "NAME --to POINT",
    .help = "delete a topic's records before a point",
    .more = "On a terminal it asks first.\n  tidemark topic trim orders --to -7d",
    .run = run_trim,
    .options = trim_options,
    .option_count = COUNT(trim_options),
    .self_bytes = sizeof(struct trim_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON | COMMAND_TOPICS,
};
