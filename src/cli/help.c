/* help.c - what there is, from the rows. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

struct help_options {
    struct common common;
    char *completion;
    bool reference;
};

static void usage(const struct command *c, struct writer *out)
{
    write_format(out, "tidemark %s%s%s%s%s", c->noun, c->verb ? " " : "",
                 c->verb ? c->verb : "", c->words[0] ? " " : "", c->words);
}

static size_t usage_width(const struct command *c)
{
    struct writer text = {0};

    usage(c, &text);
    size_t width = text.len;
    writer_fini(&text);
    return width;
}

/* The commands of a noun, or with noun NULL all; lines of usage and help. */
static void list(const char *noun, FILE *out)
{
    struct writer text = {0};
    size_t widest = 0;

    for (size_t i = 0; i < command_count; i++) {
        if (!noun || !strcmp(noun, commands[i]->noun)) {
            widest = MAX(widest, usage_width(commands[i]));
        }
    }
    for (size_t i = 0; i < command_count; i++) {
        if (!noun || !strcmp(noun, commands[i]->noun)) {
            write_format(&text, "  ");
            usage(commands[i], &text);
            write_format(&text, "%*s%s\n", (int)(widest - usage_width(commands[i]) + 2), "",
                         commands[i]->help);
        }
    }
    print_text(&text, out);
    writer_fini(&text);
}

void help_all(FILE *out)
{
    fprintf(out,
            "Tidemark " TIDEMARK_VERSION ": a durable log that speaks the Kafka protocol.\n\n");
    list(NULL, out);
    fprintf(
        out,
        "\n`tidemark topic create --help` says more about one of them. POINT is " POINT_WORDS
        ".\n"
        "Exit codes: 0 done, 1 failed, 2 not understood, 3 not found, 4 no server, 5 "
        "not permitted,\n6 not in its present state.\n");
}

void help_noun(const char *noun, FILE *out)
{
    list(noun, out);
}

static void command_to(const struct command *c, struct writer *out)
{
    struct option *rows = NULL;
    size_t count = command_options(c, &rows);

    usage(c, out);
    write_format(out, "\n\n%s\n", c->help);
    if (c->more) {
        write_format(out, "\n%s\n", c->more);
    }
    if (count) {
        write_format(out, "\n");
        options_help(rows, count, out);
    }
    free(rows);
}

void help_command(const struct command *command, FILE *out)
{
    struct writer text = {0};

    command_to(command, &text);
    print_text(&text, out);
    writer_fini(&text);
}

void help_reference(struct writer *out)
{
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = commands[i];
        write_format(out, "### %s%s%s\n\n```text\n", c->noun, c->verb ? " " : "",
                     c->verb ? c->verb : "");
        command_to(c, out);
        write_format(out, "```\n\n");
    }
}

static err help_words(struct cli *cli)
{
    bool known = false;

    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = commands[i];
        bool same = !strcmp(c->noun, cli->words[0]);
        bool meant =
            same &&
            (cli->word_count == 1 ? !c->verb : c->verb && !strcmp(c->verb, cli->words[1]));
        known = known || same;
        if (meant) {
            help_command(c, stdout);
            return OK;
        }
    }
    if (!known) {
        return fault(ERR_INVALID, "there is no \"%s\"; `tidemark help` lists what there is",
                     cli->words[0]);
    }
    help_noun(cli->words[0], stdout);
    return OK;
}

static err run(struct cli *cli)
{
    const struct help_options *o = cli->options;
    struct writer out = {0};
    err e = OK;

    if (o->completion && strcmp(o->completion, "bash") != 0) {
        return fault(ERR_INVALID, "there is completion for bash only, not for \"%s\"",
                     o->completion);
    }
    if (o->completion) {
        completion_write(cli->program, &out);
    } else if (o->reference && cli->word_count) {
        cli->program->server_reference(&out);
    } else if (o->reference) {
        help_reference(&out);
    } else if (cli->word_count) {
        e = help_words(cli);
    } else {
        help_all(stdout);
    }
    print_text(&out, stdout);
    writer_fini(&out);
    return e;
}

static const struct option options[] = {
    {CLI_OPTION(help_options, completion, "completion", TEXT, "",
                "print the completion script for this shell: bash")},
    {CLI_OPTION(help_options, reference, "reference", BOOL, "false",
                "print the reference of the documentation: commands; with `config`, settings")},
};
const struct command help = {
    .noun = "help",
    .words = "[COMMAND]",
    .help = "what there is",
    .run = run,
    .options = options,
    .option_count = COUNT(options),
    .self_bytes = sizeof(struct help_options),
    .words_most = 2,
};
