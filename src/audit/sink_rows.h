/* sink_rows.h - a change as a row of the `changes` table; internal. Pure functions. */
#ifndef TIDEMARK_AUDIT_SINK_ROWS_H
#define TIDEMARK_AUDIT_SINK_ROWS_H

#include "audit/change.h"

/* Takes one JSON array of rows as $1. */
extern const char sink_insert_sql[];
/* Run one by one; a failure of an optional one does not matter. */
struct sink_statement {
    const char *sql;
    bool optional;
};
extern const struct sink_statement sink_setup[];
extern const size_t sink_setup_count;

struct sink_names {
    const char *system_id, *source, *database;
};
/* Does the table keep such a change? Not its own rows, nor the position beside it. */
bool sink_takes(const struct change *change);
/* One object. plain: the context as a text, for what jsonb does not take. */
void sink_row(const struct sink_names *names, const struct change *change, int64_t queued_us,
              bool plain, struct writer *out);

#endif
