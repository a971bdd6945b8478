/* trail_previous.c - the change of a row before another one, and what it knew.
 * SPDX-License-Identifier: Apache-2.0 */
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

/* The column's value after a change that may have seen another description of the table. */
static struct value value_after(const struct change *change, view column)
{
    int at = relation_column(change->relation, column);

    return at < 0 ? (struct value){.kind = VALUE_UNKNOWN} : change->after[at];
}

err trail_recall(struct trail *trail, struct change *change, int64_t number,
                 struct arena *arena)
{
    const struct relation *r = change->relation;
    struct change *previous = NULL;

    if (!change_lacks_before(change)) {
        return OK;
    }
    err e = trail_previous(trail, change, number, arena, &previous);
    if (e || !previous || !previous->after) {
        return e;
    }
    struct value *before = arena_take(arena, (size_t)r->count * sizeof(*before));
    for (int i = 0; i < r->count; i++) {
        bool sent = change->before && change->before[i].kind != VALUE_ABSENT;
        before[i] = sent ? change->before[i] : value_after(previous, r->columns[i].name);
    }
    change->before = before;
    change->recalled = true;
    return OK;
}
