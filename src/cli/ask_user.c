/* ask_user.c - before something is gone. SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/command.h"

bool user_agrees(const char *question, ...)
{
    char *line = NULL;
    size_t room = 0;
    va_list args;

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        return true;
    }
    va_start(args, question);
    vfprintf(stderr, question, args);
    va_end(args);
    fprintf(stderr, " [y/N] ");
    ssize_t len = getline(&line, &room, stdin);
    bool agrees = len > 0 && (line[0] == 'y' || line[0] == 'Y');
    free(line);
    return agrees;
}
