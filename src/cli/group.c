/* group.c - `tidemark group`. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "cli/command.h"

#define GROUPS "/api/v1/groups"

struct ls_options {
    struct common common;
    bool names;
};

struct edit_options {
    struct common common;
    char *to, *topic;
    int64_t partition;
};

struct rm_options {
    struct common common;
    bool yes;
};

static char *group_path(struct cli *cli, const char *name)
{
    return cli_path(cli, GROUPS "/%s", cli_escaped(cli, name));
}

struct listing {
    struct table *table;
    struct json_writer *json;
    bool names;
};

static err list_group(void *self, const struct json *group)
{
    static const char *const columns[] = {"name", "state", "member_count", "offset_count",
                                          "lag"};
    struct listing *to = self;

    if (to->json) {
        json_again(to->json, group);
    } else if (to->names) {
        printf("%.*s\n", VIEW_ARG(json_word(group, "name")));
    }
    for (size_t i = 0; i < COUNT(columns); i++) {
        table_view(to->table, json_word(group, columns[i]));
    }
    return OK;
}

static err run_ls(struct cli *cli)
{
    static const char *const heads[] = {"GROUP", "STATE", ">MEMBERS", ">PARTITIONS", ">LAG"};
    const struct ls_options *o = cli->options;
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct listing to = {.names = o->names, .json = o->common.json ? &j : NULL};

    to.table = table_new(heads, COUNT(heads));
    json_object(&j);
    json_name(&j, "groups");
    json_array(&j);
    err e = cli_each(cli, GROUPS, "", "groups", list_group, &to);
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

/* orders/0,1 payments/2 */
static void write_assignment(const struct json *assignment, struct writer *out)
{
    for (const struct json *t = assignment ? assignment->inside : NULL; t; t = t->next) {
        write_format(out, "%.*s/", VIEW_ARG(t->name));
        for (const struct json *p = t->inside; p; p = p->next) {
            write_format(out, "%.*s%s", VIEW_ARG(p->text), p->next ? "," : "");
        }
        write_view(out, view_text(t->next ? " " : ""));
    }
}

static void print_members(const struct json *group)
{
    static const char *const heads[] = {"CLIENT", "HOST", "INSTANCE", "READS", "MEMBER"};
    const struct json *list = json_get(group, "members");
    struct table *t = table_new(heads, COUNT(heads));
    struct writer reads = {0};

    for (const struct json *m = list ? list->inside : NULL; m; m = m->next) {
        writer_reset(&reads);
        write_assignment(json_get(m, "assignment"), &reads);
        table_view(t, json_word(m, "client_id"));
        table_view(t, json_word(m, "host"));
        table_view(t, json_word(m, "instance"));
        table_view(t, writer_view(&reads));
        table_view(t, json_word(m, "id"));
    }
    if (table_rows(t)) {
        printf("\n");
        table_print(t);
    } else {
        table_free(t);
    }
    writer_fini(&reads);
}

static void print_offsets(const struct json *group)
{
    static const char *const heads[] = {"TOPIC", ">PARTITION", ">OFFSET", ">END", ">LAG"};
    static const char *const columns[] = {"topic", "partition", "offset", "end", "lag"};
    const struct json *list = json_get(group, "offsets");
    struct table *t = table_new(heads, COUNT(heads));

    for (const struct json *o = list ? list->inside : NULL; o; o = o->next) {
        for (size_t i = 0; i < COUNT(columns); i++) {
            table_view(t, json_word(o, columns[i]));
        }
    }
    if (table_rows(t)) {
        printf("\n");
        table_print(t);
    } else {
        table_free(t);
    }
}

static void print_group(struct cli *cli, const struct json *group)
{
    static const char *const fields[][2] = {{"group", "name"},
                                            {"ref", "ref"},
                                            {"state", "state"},
                                            {"protocol", "protocol"},
                                            {"generation", "generation"},
                                            {"lag", "lag"}};
    const struct common *common = cli->options;

    if (common->json) {
        print_json(group);
        return;
    }
    for (size_t i = 0; i < COUNT(fields); i++) {
        printf("%-12s%.*s\n", fields[i][0], VIEW_ARG(json_word(group, fields[i][1])));
    }
    print_members(group);
    print_offsets(group);
}

static err run_show(struct cli *cli)
{
    struct json *group = NULL;
    err e = cli_ask(cli, "GET", group_path(cli, cli->words[0]), (view){0}, &group);

    if (!e) {
        print_group(cli, group);
    }
    return e;
}

static err run_edit(struct cli *cli)
{
    const struct edit_options *o = cli->options;
    struct writer body = {0};
    struct json_writer j = json_to(&body);
    struct json *group = NULL;

    if (!o->to) {
        return fault(ERR_INVALID, "where to? --to POINT: " POINT_WORDS);
    }
    json_object(&j);
    json_name(&j, "to");
    json_text(&j, o->to);
    if (o->topic) {
        json_name(&j, "topic");
        json_text(&j, o->topic);
    }
    if (o->partition >= 0) {
        json_name(&j, "partition");
        json_int(&j, o->partition);
    }
    json_end_object(&j);
    err e = cli_ask(cli, "PATCH", group_path(cli, cli->words[0]), writer_view(&body), &group);
    if (!e) {
        print_group(cli, group);
    }
    writer_fini(&body);
    return e;
}

static err run_rm(struct cli *cli)
{
    const struct rm_options *o = cli->options;
    struct json *nothing = NULL;
    err e = OK;

    for (int i = 0; i < cli->word_count && !e; i++) {
        if (!o->yes && !user_agrees("Forget group %s and its offsets?", cli->words[i])) {
            return fault(ERR_CANCELLED, "%s stays", cli->words[i]);
        }
        e = cli_ask(cli, "DELETE", group_path(cli, cli->words[i]), (view){0}, &nothing);
    }
    return e;
}

static const struct option ls_options[] = {
    {CLI_OPTION(ls_options, names, "names", BOOL, "false", "names alone, one a line")},
};
const struct command group_ls = {
    .noun = "group",
    .verb = "ls",
    .words = "",
    .help = "list consumer groups",
    .run = run_ls,
    .options = ls_options,
    .option_count = COUNT(ls_options),
    .self_bytes = sizeof(struct ls_options),
    .flags = COMMAND_HTTP | COMMAND_JSON,
};
const struct command group_show = {
    .noun = "group",
    .verb = "show",
    .words = "NAME",
    .help = "a group, its members, how far they have read",
    .run = run_show,
    .self_bytes = sizeof(struct common),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON | COMMAND_GROUPS,
};

static const struct option edit_options[] = {
    {CLI_OPTION(edit_options, to, "to", TEXT, "", "POINT to go on from; " POINT_WORDS)},
    {CLI_OPTION(edit_options, topic, "topic", TEXT, "",
                "only this one, also when the group has not read it yet")},
    {CLI_OPTION(edit_options, partition, "partition", INT, "-1",
                "only this one of the topic; -1: all"),
     .least = -1, .most = INT32_MAX},
};
const struct command group_edit = {
    .noun = "group",
    .verb = "edit",
    .words = "NAME --to POINT",
    .help = "move a group's offsets",
    .more = "The group's consumers must be stopped: they would go on from where they are.\n"
            "  tidemark group edit billing --to -15m\n"
            "  tidemark group edit billing --topic orders --to earliest",
    .run = run_edit,
    .options = edit_options,
    .option_count = COUNT(edit_options),
    .self_bytes = sizeof(struct edit_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_HTTP | COMMAND_JSON | COMMAND_GROUPS,
};

static const struct option rm_options[] = {
    {CLI_OPTION(rm_options, yes, "yes", BOOL, "false", "do not ask")},
};
const struct command group_rm = {
    .noun = "group",
    .verb = "rm",
    .words = "NAME...",
    .help = "forget groups and their offsets",
    .more = "On a terminal it asks first.",
    .run = run_rm,
    .options = rm_options,
    .option_count = COUNT(rm_options),
    .self_bytes = sizeof(struct rm_options),
    .words_least = 1,
    .words_most = 1000,
    .flags = COMMAND_HTTP | COMMAND_GROUPS,
};
