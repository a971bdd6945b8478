/* command.h - what commands are made of; internal to cli/. */
#ifndef TIDEMARK_CLI_COMMAND_H
#define TIDEMARK_CLI_COMMAND_H

#include <stdio.h>

#include "cli/cli.h"
#include "http/http.h"

struct cli;

enum command_flags {
    COMMAND_HTTP = 1u << 0,   /* takes --http */
    COMMAND_KAFKA = 1u << 1,  /* takes --kafka */
    COMMAND_JSON = 1u << 2,   /* takes --json */
    COMMAND_RAW = 1u << 3,    /* parses its words itself */
    COMMAND_TOPICS = 1u << 4, /* its words are topics, for completion */
    COMMAND_GROUPS = 1u << 5, /* ... groups */
    COMMAND_SERVER = 1u << 6, /* takes the server's options */
    COMMAND_HELPS = 1u << 7,  /* has a --help of its own */
};

struct command {
    const char *noun, *verb; /* verb NULL: a top word */
    const char *words;       /* "NAME [SETTING=VALUE]...", "" */
    const char *help;        /* one line */
    const char *more;        /* what else is worth knowing, examples; or NULL */
    err (*run)(struct cli *cli);
    const struct option *options; /* over a struct that begins with struct common */
    size_t option_count, self_bytes;
    int words_least, words_most;
    unsigned flags; /* enum command_flags */
};

extern const struct command *const commands[]; /* by noun; cli.c */
extern const size_t command_count;

struct common { /* first member of every command's options */
    char *http, *kafka;
    bool json;
};

struct cli {
    const struct cli_program *program;
    const struct command *command;
    void *options; /* begins with struct common */
    char **words;  /* what is no option */
    int word_count;
    struct arena arena; /* until the command ends */
    struct http_client *client;
    int64_t patience_ms; /* for one answer; 0: as usual */
    bool unreachable;    /* why the command failed */
    int code;            /* of a failure that was said already; 0: by its kind */
};

#define CLI_OPTION(owner, field, spelled, kind_, preset_, help_)                               \
    .name = (spelled), .kind = OPTION_##kind_, .offset = offsetof(struct owner, field),        \
    .preset = (preset_), .help = (help_)

/* ask.c: the HTTP API. Answers live in cli->arena; *answer is NULL after a 204. */
MUST_CHECK err cli_ask(struct cli *cli, const char *method, const char *path, view body,
                       struct json **answer);
PRINTF_LIKE(2, 3) char *cli_path(struct cli *cli, const char *format, ...); /* in the arena */
char *cli_escaped(struct cli *cli, const char *name); /* one part of a path */
/* Every item of a list, page by page: path without a query, member of the answer. */
MUST_CHECK err cli_each(struct cli *cli, const char *path, const char *query,
                        const char *member, err (*each)(void *self, const struct json *item),
                        void *self);
void json_again(struct json_writer *j, const struct json *json);  /* a tree as text */
void print_json(const struct json *json);                         /* and a line break */
void print_text(const struct writer *text, FILE *out);            /* as it is */
view json_word(const struct json *object, const char *name);      /* text or number; or "" */
int64_t json_amount(const struct json *object, const char *name); /* or 0 */

/* table.c: for people. Heads that begin with '>' are aligned right. */
struct table;
struct table *table_new(const char *const *heads, size_t columns);
PRINTF_LIKE(2, 3) void table_cell(struct table *t, const char *format, ...);
void table_view(struct table *t, view text);
size_t table_rows(const struct table *t);
/* Cut to the width of a terminal; width 0: as wide as it is. */
void table_write(const struct table *t, size_t width, struct writer *out);
void table_print(struct table *take_t); /* to standard output, and free */
void table_free(struct table *t);
size_t terminal_width(FILE *file); /* 0: it is none */
#define BYTES_TEXT 24
const char *bytes_text(int64_t bytes, char out[BYTES_TEXT]); /* "1.5 MiB" */

/* ask_user.c: on a terminal; true where nobody can be asked. */
PRINTF_LIKE(1, 2) bool user_agrees(const char *question, ...);

/* help.c */
void help_all(FILE *out);
void help_noun(const char *noun, FILE *out);
void help_command(const struct command *command, FILE *out);
void help_reference(struct writer *out); /* docs/cli.md's list */
void completion_write(const struct cli_program *program, struct writer *out); /* for bash */

/* cli.c: the rows every command has by its flags, then its own; *out is heap. */
size_t command_options(const struct command *command, struct option **out);

extern const struct command topic_create, topic_ls, topic_show, topic_edit, topic_rm,
    topic_trim;
extern const struct command group_ls, group_show, group_edit, group_rm;
extern const struct command change_ls, change_show, change_stats, change_export;
extern const struct command row_show, row_diff, row_export, trace, undo;
extern const struct command produce, consume, config_check, config_show;
extern const struct command cli_source_create, cli_source_ls, cli_source_show, cli_source_edit,
    cli_source_pause;
extern const struct command cli_source_resume, cli_source_snapshot, cli_source_rm;
extern const struct command source_check;
extern const struct command source_shell, session_ls, session_show, session_review;
extern const struct command doctor, bench, server, version, help;

#endif
