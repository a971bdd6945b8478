/* settings.h - the server's settings, as commands that start no server see them; internal. */
#ifndef TIDEMARK_CLI_SETTINGS_H
#define TIDEMARK_CLI_SETTINGS_H

#include "cli/command.h"

/* From the words of a COMMAND_RAW command; takes --json out. settings_drop in any case. */
MUST_CHECK err settings_read(struct cli *cli, struct cli_settings *out, bool *json);
void settings_drop(struct cli_settings *settings);

#endif
