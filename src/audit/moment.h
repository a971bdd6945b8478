/* moment.h - a point of a source's past, as an exact place in the order of its commits;
 * internal.
 *
 * Whatever people write (a time, -15m, lsn:...) becomes one LSN, and means all transactions
 * whose commit is at or before it: never a sort by time stamps, which repeat and step back. A
 * time means the state before the first transaction that committed after it, over all tables of
 * the source, so that tables asked for with the same time fit together. A time takes in the
 * whole of its millisecond. */
#ifndef TIDEMARK_AUDIT_MOMENT_H
#define TIDEMARK_AUDIT_MOMENT_H

#include "audit/trail.h"

struct moment {
    uint64_t lsn;  /* of the last commit that counts; UINT64_MAX: all there are */
    int64_t at_ms; /* the time that was asked for; -1: none */
};
#define MOMENT_NOW ((struct moment){UINT64_MAX, -1})

/* A time is exact up to where the trail is: trail_catch_up() first. A null or empty text is
 * now. INVALID says which points there are. May block. */
MUST_CHECK err moment_parse(struct trail *trail, view source, view text, int64_t now_ms,
                            struct moment *out);

#endif
