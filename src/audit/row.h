/* row.h - the life of one row: every change of it, oldest first, each field old and new; and
 * the row as it was at a moment; internal to audit/.
 *
 * A row is an address: a table and a key. What lived there may have come from another key and
 * may have gone on under another one; both are joined on. A life ends with a deletion, a
 * TRUNCATE of the table or the key's change, and another one may begin at the same address.
 * Found through the trail, so all calls may block; any thread. */
#ifndef TIDEMARK_AUDIT_ROW_H
#define TIDEMARK_AUDIT_ROW_H

#include "audit/moment.h"
#include "audit/ref.h"
#include "audit/row_image.h"

#define ROW_JOINS_MAX 32       /* changes of the key that are followed */
#define ROW_TRUNCATES_MAX 4096 /* of the table that are looked at, the newest */

enum row_step {
    ROW_CREATED,
    ROW_CHANGED,
    ROW_CAME, /* an update gave it this key; the entries before are of the old key */
    ROW_LEFT, /* an update gave it another key */
    ROW_DELETED,
    ROW_TRUNCATED,
    ROW_SEEN, /* in a snapshot */
};
const char *row_step_name(enum row_step step);

struct row_entry {
    enum row_step step;
    int life;       /* from 1, at this address */
    int64_t number; /* in the trail */
    const struct change *change;
    const struct change_origin *origin;
    view key, key_before; /* before and after the change; the same but for CAME, LEFT */
    const struct value *old, *new; /* by the change's relation; NULL for a TRUNCATE */
    bool first;                    /* nothing is known from before: old says UNKNOWN */
};

struct row_query {
    struct trail *trail;
    struct ledger *ledger; /* tells of gaps; NULL: they are not asked for */
    const struct ref *ref; /* a REF_ROW */
    struct moment until;
};

struct row_life {          /* what the walk came to */
    bool found;            /* there was such a row at some time */
    bool exists;           /* at the end, under whatever key */
    struct row_image last; /* as it is, or was when it was deleted; row_life_fini */
    enum row_step begins;  /* what the first entry is */
    int64_t begins_us;
    uint64_t begins_lsn, last_lsn; /* commits of the first and the last entry */
    int64_t last_us;
    int64_t entries;
    int lives;
    struct trail_found covered;
    bool vanished; /* a snapshot after a gap did not see it: deleted, nobody knows by whom */
    struct ledger_gap_span gap; /* the last one behind its first entry; to 0: none */
    struct writer key;          /* the key it has at the end */
};

/* each may be NULL; it gives an error to stop early, which is passed on. Entries and what they
 * point to are valid during the call. */
MUST_CHECK err row_walk(const struct row_query *query,
                        err (*each)(void *self, const struct row_entry *entry), void *self,
                        struct row_life *out);
void row_life_fini(struct row_life *life);

#endif
