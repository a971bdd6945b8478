/* check.h - `source check`: can this database be captured, and what exactly is missing?
 *
 * Opens an ordinary and a replication connection, looks, and changes nothing. Each thing looked
 * at is a finding: how it is now, whether that blocks, why it matters, and the exact statement
 * or line that mends it. Not being able to connect is a finding too, no error. May block, any
 * thread; results live in the caller's arena. No password is in any of it. */
#ifndef TIDEMARK_AUDIT_CHECK_H
#define TIDEMARK_AUDIT_CHECK_H

#include "audit/setup.h"

enum finding_severity { FINDING_FINE, FINDING_WARNS, FINDING_BLOCKS };
const char *finding_severity_name(enum finding_severity severity); /* fine, warns, blocks */

struct finding {
    const char *what; /* wal_level, slots, privileges, table public.orders ... */
    enum finding_severity severity;
    const char *now; /* how it is */
    const char *fix; /* SQL, a line of a file, or a click; NULL: nothing to do */
    const char *why; /* NULL: goes without saying */
};

struct check_ask {
    struct pg_target database; /* application and replication are ours to fill */
    struct setup_ask setup;    /* slot NULL: none exists yet */
    bool exists; /* of a source there is: its slot and publication must be there */
};

struct check {
    struct finding *findings;
    size_t count, room;
    int blocks, warns;  /* how many */
    const char *server; /* "PostgreSQL 15.18 (Amazon RDS)"; NULL: not reached */
    const char *url;    /* without password */
    const char *host;   /* whose service it is, when that shows: "Amazon RDS"; or NULL */
    size_t tables;      /* that would be captured */
    struct arena *arena;
};

MUST_CHECK err check_run(struct arena *arena, const struct check_ask *ask, struct check *out);
/* {"ok", "server", "url", "tables", "blocks", "warns", "findings":[{what, severity, now, fix,
 * why}]}, worst first. */
void check_to_json(const struct check *check, struct json_writer *j);

#endif
