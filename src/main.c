/* main.c - one program: the command line, and what only the whole of it knows, lent to that.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "cli/cli.h"
#include "config.h"
#include "server.h"

static char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

static err settings(int argc, char **words, struct cli_settings *out)
{
    struct config config;
    struct json_writer j = json_to(&out->json);
    bool help = false;
    err e = config_read(&config, argc, words, &help);

    if (!e) {
        out->data = copy(config.data);
        out->kafka = copy(config.broker.listen);
        out->http = copy(config.http_listen);
        config_print(&config, &out->text);
        config_to_json(&config, &j);
    }
    config_fini(&config);
    return e;
}

static const struct cli_program program = {
    .server = server_main,
    .settings = settings,
    .server_reference = config_reference,
    .server_flags = config_flags,
};

int main(int argc, char **argv)
{
    return cli_main(&program, argc, argv);
}
