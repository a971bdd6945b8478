/* check_inside.h - what the parts of a check share; internal to check*.c. */
#ifndef TIDEMARK_AUDIT_CHECK_INSIDE_H
#define TIDEMARK_AUDIT_CHECK_INSIDE_H

#include "audit/check.h"

enum check_host {
    HOST_OWN, /* nothing special shows */
    HOST_RDS,
    HOST_CLOUD_SQL,
    HOST_AZURE,
    HOST_SUPABASE,
    HOST_NEON,
};

struct checking {
    struct check *check;
    const struct check_ask *ask;
    struct arena *arena;
    struct pg *pg;
    enum check_host host;
    const char *role; /* we are, quoted */
    const char *role_name, *database;
    const char *address; /* ours, as the server sees it; NULL: a Unix socket */
    bool is_super, is_standby;
};

/* why may be NULL. The finding's fix is set by the caller, when there is one. */
PRINTF_LIKE(5, 6)
struct finding *check_add(struct checking *c, enum finding_severity severity, const char *what,
                          const char *why, const char *now, ...);
/* One row's values as texts with NUL (NULL: null, or no row). */
MUST_CHECK err check_ask_row(struct checking *c, const char *sql, const char **values,
                             int count);
MUST_CHECK err check_ask_number(struct checking *c, const char *sql, int64_t *out);
/* A setting's value in the unit the server keeps it; "" when there is none of that name. */
MUST_CHECK err check_setting(struct checking *c, const char *name, const char **out);

MUST_CHECK err check_server(struct checking *c);      /* check_server.c */
MUST_CHECK err check_tables(struct checking *c);      /* check_tables.c */
MUST_CHECK err check_replication(struct checking *c); /* check_replication.c */

#endif
