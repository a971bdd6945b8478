/* trail_previous.c - the change of a row before another one. SPDX-License-Identifier:
 * Apache-2.0
 */
#include <stdlib.h>

#include "audit/trail.h"

struct taking {
    struct arena *arena;
    struct change *taken;
};

static err take(void *self, const struct trail_hit *hit)
{
    struct taking *t = self;

    t->taken = change_copy(t->arena, hit->change);
    return OK;
}

err trail_previous(struct trail *trail, const struct change *change, int64_t number,
                   struct arena *arena, struct change **out)
{
    const struct relation *r = change->relation;
    struct filter filters[2] = {{.kind = FILTER_TABLE}, {.kind = FILTER_KEY}};
    struct trail_query query = {
        .filters = filters, .count = COUNT(filters), .cursor = number, .limit = 1};
    struct taking taking = {.arena = arena};
    struct trail_found found;
    struct writer key = {0};

    *out = NULL;
    if (!r || (!change->before && !change->after)) {
        return OK;
    }
    change_key_text(change, &key);
    filters[0].value =
        view_text(arena_format(arena, "%.*s.%.*s", VIEW_ARG(r->schema), VIEW_ARG(r->name)));
    filters[1].value = arena_copy(arena, writer_view(&key));
    writer_fini(&key);
    err e = trail_find(trail, &query, take, &taking, &found);
    *out = taking.taken;
    return e;
}
