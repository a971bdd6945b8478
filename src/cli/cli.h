/* cli.h - the command line: `tidemark NOUN VERB [NAME] [--json]`.
 *
 * One row per command (commands.c), one file per noun. Commands speak the HTTP API, and the
 * Kafka protocol where records go in and out; they know nothing of the server's insides. What
 * only the program as a whole knows is lent to them by main.c. docs/cli.md lists everything. */
#ifndef TIDEMARK_CLI_CLI_H
#define TIDEMARK_CLI_CLI_H

#include "base/base.h"

enum cli_exit { /* documented; scripts rely on them */
                CLI_DONE = 0,
                CLI_FAILED = 1,
                CLI_USAGE = 2,
                CLI_NOT_FOUND = 3,
                CLI_UNREACHABLE = 4,
                CLI_DENIED = 5,
                CLI_CONFLICT = 6,
};

struct cli_settings {          /* of a server, as files, variables and flags give them */
    char *data, *kafka, *http; /* heap */
    struct writer text, json;  /* all of them: as a file, as one object */
};

struct cli_program { /* what main lends */
    int (*server)(int argc, char **argv);
    /* What `tidemark server` with these words would run with; words[0] is skipped. */
    err (*settings)(int argc, char **words, struct cli_settings *out);
    void (*server_reference)(struct writer *out); /* Markdown */
    void (*server_flags)(struct writer *out);     /* "--data --kafka ..." */
};

int cli_main(const struct cli_program *program, int argc, char **argv);

#endif
