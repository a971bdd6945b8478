/* lineage.h - tracing: from a row, a record, a transaction or a session to who and why, to all
 * that was changed with it, and on to what changed it later; internal to audit/.
 *
 * (base/trace.h is the program's own log lines.) May block; any thread. */
#ifndef TIDEMARK_AUDIT_LINEAGE_H
#define TIDEMARK_AUDIT_LINEAGE_H

#include "audit/moment.h"
#include "audit/ref.h"
#include "audit/source.h"

#define LINEAGE_CHANGES_MAX 200 /* of the transaction that are listed */
#define LINEAGE_ROWS_MAX 20     /* of it whose later changes are looked for */
#define LINEAGE_EACH_MAX 5 /* later changes of one row; earlier ones of the row asked for */

struct lineage_query {
    struct source *source;
    const struct ref *ref;
    struct moment until; /* a row: its last change up to here */
    struct arena *arena; /* for as long as the answer takes */
};

/* One object: {ref, change, transaction, changes, more, earlier, later}; NOT_FOUND says what
 * was not. For a session: {ref, session, transactions, changes, more}. */
MUST_CHECK err lineage_write(const struct lineage_query *query, struct json_writer *j);

#endif
