/* doctor.c - `tidemark doctor`: would a server be well here, and is the one that runs?
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include <stdarg.h>

static const char *const states[] = {"fine", "warn", "WRONG"};

void doctor_find(struct doctor_finding *f, enum doctor_state state, const char *words, ...)
{
    va_list args;

    f->state = state;
    va_start(args, words);
    vsnprintf(f->words, sizeof(f->words), words, args);
    va_end(args);
}

void doctor_fix(struct doctor_finding *f, const char *fix, ...)
{
    va_list args;

    va_start(args, fix);
    vsnprintf(f->fix, sizeof(f->fix), fix, args);
    va_end(args);
}

static void to_json(const char *name, const struct doctor_finding *f, struct json_writer *j)
{
    static const char *const words[] = {"fine", "warn", "wrong"};

    json_object(j);
    json_name(j, "check");
    json_text(j, name);
    json_name(j, "state");
    json_text(j, words[f->state]);
    json_name(j, "message");
    json_text(j, f->words);
    json_name(j, "fix");
    json_text(j, f->fix[0] ? f->fix : NULL);
    json_end_object(j);
}

static void to_text(const char *name, const struct doctor_finding *f)
{
    printf("%-6s %-12s %s\n", states[f->state], name, f->words);
    if (f->fix[0]) {
        printf("%-6s %-12s -> %s\n", "", "", f->fix);
    }
}

static size_t look_at_all(struct doctor *d, struct json_writer *j)
{
    size_t wrong = 0;

    for (size_t i = 0; i < doctor_check_count; i++) {
        struct doctor_finding f = {.state = DOCTOR_FINE};
        doctor_checks[i].look(d, &f);
        if (j) {
            to_json(doctor_checks[i].name, &f, j);
        } else {
            to_text(doctor_checks[i].name, &f);
        }
        wrong += f.state == DOCTOR_WRONG ? 1 : 0;
    }
    return wrong;
}

static err run(struct cli *cli)
{
    struct cli_settings settings;
    struct doctor d = {.settings = &settings};
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    size_t wrong = 0;
    bool json;
    err e = settings_read(cli, &settings, &json);

    if (!e) {
        json_object(&j);
        json_name(&j, "checks");
        json_array(&j);
        wrong = look_at_all(&d, json ? &j : NULL);
        json_end_array(&j);
        json_end_object(&j);
    }
    if (!e && json) {
        printf("%.*s\n", VIEW_ARG(writer_view(&out)));
    }
    writer_fini(&out);
    settings_drop(&settings);
    return wrong ? fault(ERR_IO, "%zu of %zu checks found something wrong", wrong,
                         doctor_check_count)
                 : e;
}

const struct command doctor = {
    .noun = "doctor",
    .words = "[--OPTION VALUE]...",
    .help = "what is wrong here for a server, and what to do about it",
    .more = "Takes the options of `tidemark server`, its variables and its --config FILE, and\n"
            "looks at what a server with them would meet: folder, disk, ports, limits, clock.\n"
            "It never changes anything. Exit code 1 when something is wrong. --json.",
    .run = run,
    .flags = COMMAND_RAW | COMMAND_SERVER,
};
