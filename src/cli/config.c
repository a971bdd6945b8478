/* config.c - `tidemark config`: what a server would run with, without running one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/settings.h"

void settings_drop(struct cli_settings *s)
{
    free(s->data);
    free(s->kafka);
    free(s->http);
    writer_fini(&s->text);
    writer_fini(&s->json);
}

/* The words as the server's: its name first, and a FILE that comes bare as --config FILE. */
err settings_read(struct cli *cli, struct cli_settings *out, bool *json)
{
    char **words = arena_take(&cli->arena, ((size_t)cli->word_count + 3) * sizeof(*words));
    int count = 1;

    *out = (struct cli_settings){0};
    *json = false;
    words[0] = arena_text(&cli->arena, VIEW("server"));
    for (int i = 0; i < cli->word_count; i++) {
        if (!strcmp(cli->words[i], "--json")) {
            *json = true;
            continue;
        }
        if (i == 0 && cli->words[i][0] != '-') {
            words[count++] = arena_text(&cli->arena, VIEW("--config"));
        }
        words[count++] = cli->words[i];
    }
    return cli->program->settings(count, words, out);
}

static err run_check(struct cli *cli)
{
    struct cli_settings settings;
    bool json;
    err e = settings_read(cli, &settings, &json);

    if (json) {
        struct writer out = {0};
        struct json_writer j = json_to(&out);
        json_object(&j);
        json_name(&j, "fine");
        json_bool(&j, !e);
        json_name(&j, "message");
        json_text(&j, e ? fault_here.text : NULL);
        json_end_object(&j);
        printf("%.*s\n", VIEW_ARG(writer_view(&out)));
        writer_fini(&out);
    } else if (e) {
        fprintf(stderr, "%s\n", fault_here.text);
    } else {
        printf("fine\n");
    }
    cli->code = e ? CLI_FAILED : CLI_DONE;
    settings_drop(&settings);
    return e;
}

static err run_show(struct cli *cli)
{
    struct cli_settings settings;
    bool json;
    err e = settings_read(cli, &settings, &json);

    if (!e) {
        struct writer *text = json ? &settings.json : &settings.text;
        printf("%.*s%s", VIEW_ARG(writer_view(text)), json ? "\n" : "");
    }
    settings_drop(&settings);
    return e;
}

const struct command config_check = {
    .noun = "config",
    .verb = "check",
    .words = "[FILE] [--OPTION VALUE]...",
    .help = "would a server start with this?",
    .more = "Takes the options of `tidemark server`, its variables and its --config FILE; a\n"
            "mistake is named with file, line, column and the nearest known name. --json.",
    .run = run_check,
    .flags = COMMAND_RAW | COMMAND_SERVER,
};
const struct command config_show = {
    .noun = "config",
    .verb = "show",
    .words = "[FILE] [--OPTION VALUE]...",
    .help = "every setting a server would run with",
    .more =
        "Takes the options of `tidemark server`, its variables and its --config FILE. What\n"
        "it prints is a config file. --json. A running server says its own settings at\n"
        "/api/v1/server.",
    .run = run_show,
    .flags = COMMAND_RAW | COMMAND_SERVER,
};
