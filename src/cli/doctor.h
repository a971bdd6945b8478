/* doctor.h - one row per check; internal to cli/. A check looks and never changes anything. */
#ifndef TIDEMARK_CLI_DOCTOR_H
#define TIDEMARK_CLI_DOCTOR_H

#include "cli/settings.h"

enum doctor_state { DOCTOR_FINE, DOCTOR_WARN, DOCTOR_WRONG };

struct doctor_finding {
    enum doctor_state state;
    char words[256]; /* what was found */
    char fix[256];   /* what to do; empty when fine */
};

struct doctor { /* what checks know */
    const struct cli_settings *settings;
    int server_pid; /* who has the data folder; 0: nobody; -1: somebody */
};

PRINTF_LIKE(3, 4)
void doctor_find(struct doctor_finding *f, enum doctor_state state, const char *words, ...);
PRINTF_LIKE(2, 3) void doctor_fix(struct doctor_finding *f, const char *fix, ...);

struct doctor_check {
    const char *name;
    void (*look)(struct doctor *d, struct doctor_finding *f);
};

/* In an order: the folder before who has it, that before the ports. */
extern const struct doctor_check doctor_checks[];
extern const size_t doctor_check_count;

#endif
