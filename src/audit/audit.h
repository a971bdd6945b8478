/* audit.h - the Audit door: row changes of databases, with who and why; find, prove, undo.
 *
 *   audit_open -> sources start where they stopped -> audit_close
 *
 * PostgreSQL is the first kind of source. Everything durable is on topics: __sources (what is
 * captured), <source>.<schema>.<table> (the changes, in Debezium's form), __ledger.<source>
 * (what is sealed), <source>.sessions (people on the database). Everything else is a view. */
#ifndef TIDEMARK_AUDIT_AUDIT_H
#define TIDEMARK_AUDIT_AUDIT_H

#include "base/base.h"
#include "http/http.h"

struct log;
struct audit;

struct audit_config {
    const char *data_folder;      /* views/audit, spool and secrets are below it */
    int64_t capture_memory_bytes; /* of one source's transactions under way */
    int64_t trail_memory_bytes;   /* of one source's view */
};
void audit_config_preset(struct audit_config *config);

/* May block. A source that cannot start is failed, which is no error of this call. */
MUST_CHECK err audit_open(struct os *os, const struct audit_config *config, struct log *log,
                          struct audit **out);
void audit_close(struct audit *audit); /* accepts NULL */
struct http_door audit_door(struct audit *audit);
void audit_metrics(struct audit *audit, struct writer *out);

#endif
