/* completion.c - the completion script for bash, from the same rows as everything else.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

static const char head[] =
    "# bash completion of tidemark; `tidemark help --completion bash` prints it.\n"
    "_tidemark()\n"
    "{\n"
    "    local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
    "    local verbs='' options='' names='' name='' server=''\n"
    "    COMPREPLY=()\n";
/* Names come from the server and may be anything: they are compared and quoted, never given to
 * compgen -W, which would expand them. */
static const char tail[] =
    "    case \"$before\" in\n"
    "        --config|--data) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n"
    "        --to|--from) options='now earliest latest -15m offset:' names='' ;;\n"
    "        --topic) names=topic ;;\n"
    "        --group) names=group ;;\n"
    "    esac\n"
    "    if [ -n \"$names\" ] && [[ \"$word\" != -* ]]; then\n"
    "        while IFS= read -r name; do\n"
    "            [[ \"$name\" == \"$word\"* ]] && COMPREPLY+=(\"$(printf %q \"$name\")\")\n"
    "        done < <(tidemark \"$names\" ls --names 2>/dev/null)\n"
    "        return\n"
    "    fi\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n"
    "}\n"
    "complete -o default -F _tidemark tidemark\n";

static bool is_first_of_noun(size_t at)
{
    return at == 0 || strcmp(commands[at]->noun, commands[at - 1]->noun) != 0;
}

static void write_nouns(struct writer *out)
{
    write_format(out, "    if [ \"$COMP_CWORD\" = 1 ]; then\n        verbs='");
    for (size_t i = 0; i < command_count; i++) {
        if (is_first_of_noun(i)) {
            write_format(out, "%s ", commands[i]->noun);
        }
    }
    write_format(out, "--help --version'\n    fi\n");
}

static void write_options(const struct command *c, struct writer *out)
{
    struct option *rows = NULL;
    size_t count = command_options(c, &rows);
    char flag[OPTION_NAME_BYTES];

    for (size_t i = 0; i < count; i++) {
        option_flag(&rows[i], flag);
        write_format(out, "--%s ", flag);
    }
    if (c->flags & COMMAND_SERVER) {
        write_format(out, "'\"$server\"' ");
    }
    write_format(out, "--help");
    free(rows);
}

static void write_command(const struct command *c, struct writer *out)
{
    write_format(out, "        %s%s%s) options='", c->noun, c->verb ? "\\ " : "\\ *",
                 c->verb ? c->verb : "");
    write_options(c, out);
    write_format(out, "'%s ;;\n",
                 c->flags & COMMAND_TOPICS   ? " names=topic"
                 : c->flags & COMMAND_GROUPS ? " names=group"
                                             : "");
}

static void write_verbs(struct writer *out)
{
    write_format(out, "    if [ \"$COMP_CWORD\" = 2 ]; then\n"
                      "        case \"${COMP_WORDS[1]}\" in\n");
    for (size_t i = 0; i < command_count; i++) {
        if (is_first_of_noun(i) && commands[i]->verb) {
            write_format(out, "            %s) verbs='", commands[i]->noun);
        }
        if (commands[i]->verb) {
            bool last = i + 1 == command_count || is_first_of_noun(i + 1);
            write_format(out, "%s%s", commands[i]->verb, last ? "' ;;\n" : " ");
        }
    }
    write_format(out, "        esac\n    fi\n"
                      "    if [ -n \"$verbs\" ]; then\n"
                      "        mapfile -t COMPREPLY < <(compgen -W \"$verbs\" -- \"$word\")\n"
                      "        return\n    fi\n");
}

void completion_write(const struct cli_program *program, struct writer *out)
{
    write_view(out, view_text(head));
    write_format(out, "    server='");
    program->server_flags(out);
    write_format(out, "'\n");
    write_nouns(out);
    write_verbs(out);
    write_format(out, "    case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n");
    for (size_t i = 0; i < command_count; i++) {
        write_command(commands[i], out);
    }
    write_format(out, "    esac\n");
    write_view(out, view_text(tail));
}
