/* cli.c - the table of commands, and from words to a command that has run.
 *
 * Invariant: a failure is said once, on standard error, and its kind is the exit code.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

const struct command *const commands[] = {
    &topic_create,
    &topic_ls,
    &topic_show,
    &topic_edit,
    &topic_rm,
    &topic_trim,
    &group_ls,
    &group_show,
    &group_edit,
    &group_rm,
    &change_ls,
    &change_show,
    &change_stats,
    &change_export,
    &row_show,
    &row_diff,
    &row_export,
    &trace,
    &undo,
    &cli_source_create,
    &cli_source_ls,
    &cli_source_show,
    &cli_source_edit,
    &cli_source_pause,
    &cli_source_resume,
    &cli_source_snapshot,
    &cli_source_rm,
    &source_check,
    &source_shell,
    &session_ls,
    &session_show,
    &session_review,
    &config_check,
    &config_show,
    &server,
    &produce,
    &consume,
    &doctor,
    &bench,
    &version,
    &help,
};
const size_t command_count = COUNT(commands);

static const struct option http_row = {
    CLI_OPTION(common, http, "http", TEXT, "127.0.0.1:8080",
               "HOST:PORT of the server's HTTP API; TIDEMARK_HTTP says it too")};
static const struct option kafka_row = {
    CLI_OPTION(common, kafka, "kafka", TEXT, "127.0.0.1:9092",
               "HOST:PORT of the server's Kafka protocol; TIDEMARK_KAFKA says it too")};
static const struct option json_row = {
    CLI_OPTION(common, json, "json", BOOL, "false", "print JSON, for scripts")};

size_t command_options(const struct command *command, struct option **out)
{
    const struct {
        unsigned flag;
        const struct option *row;
    } common[] = {
        {COMMAND_JSON, &json_row}, {COMMAND_HTTP, &http_row}, {COMMAND_KAFKA, &kafka_row}};
    struct option *rows = xcalloc(command->option_count + COUNT(common), sizeof(*rows));
    size_t count = command->option_count;

    if (count) {
        memcpy(rows, command->options, count * sizeof(*rows));
    }
    for (size_t i = 0; i < COUNT(common); i++) {
        if (command->flags & common[i].flag) {
            rows[count++] = *common[i].row;
        }
    }
    *out = rows;
    return count;
}

static err from_variable(const struct option *rows, size_t count, void *options,
                         const char *variable, const char *name)
{
    const char *value = getenv(variable);

    if (!value || !value[0] || !option_find(rows, count, view_text(name))) {
        return OK;
    }
    return option_set(rows, count, options, view_text(name), view_text(value), variable);
}

static err check_words(const struct command *c, int count, char *const *words)
{
    if (count < c->words_least) {
        return fault(ERR_INVALID, "it wants %s; --help says more", c->words);
    }
    if (count > c->words_most) {
        return fault(ERR_INVALID, "what is \"%s\"? --help says what it takes",
                     words[c->words_most]);
    }
    return OK;
}

static err parse(struct cli *cli, const struct option *rows, size_t count, int *argc,
                 char **argv)
{
    err e = options_preset(rows, count, cli->options);

    e = e ? e : from_variable(rows, count, cli->options, "TIDEMARK_HTTP", "http");
    e = e ? e : from_variable(rows, count, cli->options, "TIDEMARK_KAFKA", "kafka");
    e = e ? e : options_from_flags(rows, count, cli->options, argc, argv);
    return e ? e : check_words(cli->command, *argc, argv);
}

static int exit_code(const struct cli *cli, err e)
{
    if (cli->unreachable) {
        return CLI_UNREACHABLE;
    }
    if (cli->code) {
        return cli->code;
    }
    switch (e) {
    case OK:
        return CLI_DONE;
    case ERR_INVALID:
    case ERR_UNSUPPORTED:
        return CLI_USAGE;
    case ERR_NOT_FOUND:
        return CLI_NOT_FOUND;
    case ERR_DENIED:
        return CLI_DENIED;
    case ERR_EXISTS:
    case ERR_CONFLICT:
        return CLI_CONFLICT;
    default:
        return CLI_FAILED;
    }
}

static void say_failure(const struct cli *cli)
{
    const struct command *c = cli->command;

    fprintf(stderr, "tidemark %s%s%s: %s\n", c->noun, c->verb ? " " : "",
            c->verb ? c->verb : "", fault_here.text);
}

static int finish(struct cli *cli, err e)
{
    if (!e && (fflush(stdout) || ferror(stdout))) {
        e = fault(ERR_IO, "standard output cannot be written");
    }
    int code = exit_code(cli, e);
    if (e && !cli->code) {
        say_failure(cli);
    }
    return code;
}

static int run(const struct cli_program *program, const struct command *command, int argc,
               char **argv)
{
    struct cli cli = {.program = program, .command = command, .words = argv};
    struct option *rows = NULL;
    size_t count = command_options(command, &rows);
    err e = OK;

    if (command->self_bytes) {
        cli.options = xcalloc(1, command->self_bytes);
    }
    if (!(command->flags & COMMAND_RAW)) {
        e = parse(&cli, rows, count, &argc, argv);
    }
    cli.word_count = argc;
    e = e ? e : command->run(&cli);
    int code = finish(&cli, e);
    if (cli.options) {
        options_fini(rows, count, cli.options);
    }
    http_client_close(cli.client);
    arena_fini(&cli.arena);
    free(cli.options);
    free(rows);
    return code;
}

/* argv[0] is the noun. *used: the words that name the command. */
static const struct command *find(int argc, char **argv, int *used)
{
    for (size_t i = 0; i < COUNT(commands); i++) {
        const struct command *c = commands[i];
        bool named =
            !strcmp(c->noun, argv[0]) && (!c->verb || (argc > 1 && !strcmp(c->verb, argv[1])));
        if (named) {
            *used = c->verb ? 2 : 1;
            return c;
        }
    }
    return NULL;
}

static bool is_noun(const char *word)
{
    for (size_t i = 0; i < COUNT(commands); i++) {
        if (!strcmp(commands[i]->noun, word)) {
            return true;
        }
    }
    return false;
}

/* noun NULL: among the nouns and top words, else among its verbs. */
static const char *nearest(const char *noun, const char *given)
{
    const char *names[COUNT(commands)];
    size_t count = 0;

    for (size_t i = 0; i < COUNT(commands); i++) {
        if (!noun || !strcmp(commands[i]->noun, noun)) {
            names[count++] = noun ? commands[i]->verb : commands[i]->noun;
        }
    }
    return nearest_name(view_text(given), names, count);
}

static int unknown(const char *noun, const char *given)
{
    const char *near = nearest(noun, given);

    fprintf(stderr, "tidemark: there is no \"%s%s%s\"", noun ? noun : "", noun ? " " : "",
            given);
    if (near) {
        fprintf(stderr, "; did you mean \"%s%s%s\"?\n", noun ? noun : "", noun ? " " : "",
                near);
    } else {
        fprintf(stderr, "\n");
    }
    if (noun) {
        help_noun(noun, stderr);
    } else {
        fprintf(stderr, "`tidemark help` lists what there is\n");
    }
    return CLI_USAGE;
}

static bool asks_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            return true;
        }
    }
    return false;
}

int cli_main(const struct cli_program *program, int argc, char **argv)
{
    int used = 0;

    argc--;
    argv++;
    if (argc < 1 || !strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")) {
        help_all(stdout);
        return CLI_DONE;
    }
    if (!strcmp(argv[0], "--version")) {
        return run(program, &version, argc - 1, argv + 1);
    }
    const struct command *command = find(argc, argv, &used);
    if (command && !(command->flags & COMMAND_HELPS) && asks_help(argc - used, argv + used)) {
        help_command(command, stdout);
        return CLI_DONE;
    }
    if (command) {
        return run(program, command, argc - used, argv + used);
    }
    if (!is_noun(argv[0])) {
        return unknown(NULL, argv[0]);
    }
    if (asks_help(argc, argv)) {
        help_noun(argv[0], stdout);
        return CLI_DONE;
    }
    if (argc > 1) {
        return unknown(argv[0], argv[1]);
    }
    fprintf(stderr, "tidemark %s what?\n", argv[0]);
    help_noun(argv[0], stderr);
    return CLI_USAGE;
}
