/* version.c - `tidemark version`, and the two words that the program takes over whole.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "cli/bench.h"
#include "cli/command.h"

static err run_version(struct cli *cli)
{
    const struct common *common = cli->options;

    printf(common->json ? "{\"version\":\"%s\"}\n" : "tidemark %s\n", TIDEMARK_VERSION);
    return OK;
}

const struct command version = {
    .noun = "version",
    .words = "",
    .help = "of this program",
    .run = run_version,
    .self_bytes = sizeof(struct common),
    .flags = COMMAND_JSON,
};

static err ended(struct cli *cli, int code)
{
    cli->code = code;
    return code ? fault(ERR_IO, "failed") : OK; /* it has said why */
}

/* Both get their own name as the first word. */
static err run_server(struct cli *cli)
{
    return ended(cli, cli->program->server(cli->word_count + 1, cli->words - 1));
}

static err run_bench(struct cli *cli)
{
    return ended(cli, cli_bench(cli->word_count, cli->words));
}

const struct command server = {
    .noun = "server",
    .words = "[--OPTION VALUE]...",
    .help = "serve: the Kafka protocol and the HTTP API over one data folder",
    .run = run_server,
    .flags = COMMAND_RAW | COMMAND_HELPS | COMMAND_SERVER,
};
const struct command bench = {
    .noun = "bench",
    .words = "VERB [--OPTION VALUE]...",
    .help = "load any Kafka broker and measure it",
    .run = run_bench,
    .flags = COMMAND_RAW | COMMAND_HELPS,
};
