/* trail_match.h - filters made ready: what the index is asked, and what decides; internal.
 *
 * A plan gives for each filter the terms that a change must have (needs), what its place alone
 * decides (time, transaction, table, operation), and the whole decision on the change itself.
 * One thread. */
#ifndef TIDEMARK_AUDIT_TRAIL_MATCH_H
#define TIDEMARK_AUDIT_TRAIL_MATCH_H

#include "audit/trail.h"
#include "audit/trail_index.h"

struct plan {
    const struct filter *filters;
    const struct json **wanted; /* by filter: the parsed document of a CONTAINS */
    size_t count;
    struct trail_need *needs;
    size_t need_count, need_room;
    bool compares;             /* needs old values, the server's or recalled ones */
    int64_t from_us, until_us; /* what the filters leave of time, both inclusive */
    struct arena arena;
};

/* ERR_INVALID: a document of a CONTAINS does not parse. */
MUST_CHECK err plan_init(struct plan *plan, const struct filter *filters, size_t count);
void plan_fini(struct plan *plan);
/* False: the change at this place is not meant. True: it has to be read. */
bool plan_place(const struct plan *plan, const struct trail_place *place,
                const struct trail_table *table);
/* As plan_match, but for what takes old values: false means no without looking for them. */
bool plan_may_match(const struct plan *plan, struct arena *arena, const struct change *change);
bool plan_match(const struct plan *plan, struct arena *arena, const struct change *change);
/* Does a hold b, as PostgreSQL's jsonb @> has it? */
bool json_contains(const struct json *a, const struct json *b);

#endif
