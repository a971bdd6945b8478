/* group_admin.c - looking at groups: describe and list. SPDX-License-Identifier: Apache-2.0 */
#include "coord/groups.h"

#include <stdlib.h>
#include <strings.h>

static view keep(struct arena *arena, view v)
{
    return v.at ? arena_copy(arena, v) : v;
}

static view or_empty(view v)
{
    return v.at ? v : VIEW("");
}

static void describe_members(const struct group *g, struct arena *arena,
                             struct coord_group *out)
{
    out->members = arena_take(arena, g->member_count * sizeof(*out->members));
    out->member_count = g->member_count;
    for (size_t i = 0; i < g->member_count; i++) {
        const struct member *m = g->members[i];
        bool settled = g->state == GROUP_STABLE;
        out->members[i] = (struct coord_member){
            .member = arena_copy(arena, blob_view(m->id)),
            .instance = keep(arena, blob_view(m->instance)),
            .client_id = arena_copy(arena, blob_view(m->client_id)),
            .client_host = arena_copy(arena, blob_view(m->client_host)),
            .metadata = settled ? arena_copy(arena, member_metadata(m, blob_view(g->protocol)))
                                : VIEW(""),
            .assignment = settled ? or_empty(keep(arena, blob_view(m->assignment))) : VIEW(""),
        };
    }
}

static void describe_one(struct coord *c, view id, bool not_found, struct arena *arena,
                         struct coord_group *out)
{
    const struct group *g = group_find(c, id);

    *out = (struct coord_group){.group = arena_copy(arena, id),
                                .state = group_state_name(GROUP_DEAD),
                                .protocol_type = VIEW(""),
                                .protocol_name = VIEW(""),
                                .generation = -1};
    if (!id.len) {
        out->status = COORD_INVALID_GROUP;
    } else if (!g || g->state == GROUP_DEAD) {
        out->status = not_found ? COORD_GROUP_NOT_FOUND : COORD_OK;
    } else {
        out->state = group_state_name(g->state);
        out->generation = g->generation;
        out->protocol_type = or_empty(keep(arena, blob_view(g->protocol_type)));
        if (g->state == GROUP_STABLE) {
            out->protocol_name = or_empty(keep(arena, blob_view(g->protocol)));
        }
        describe_members(g, arena, out);
    }
}

static void run_describe(struct coord *c, struct coord_ask *ask)
{
    struct coord_describe_groups *d = (struct coord_describe_groups *)(void *)ask;

    for (size_t i = 0; i < d->group_count; i++) {
        describe_one(c, d->groups[i], d->not_found, ask->arena, &d->found[i]);
    }
    ask_done(ask, COORD_OK);
}

static void refuse_describe(struct coord_ask *ask, enum coord_status status)
{
    struct coord_describe_groups *d = (struct coord_describe_groups *)(void *)ask;

    for (size_t i = 0; i < d->group_count; i++) {
        d->found[i] = (struct coord_group){.group = d->groups[i],
                                           .status = status,
                                           .state = "",
                                           .protocol_type = VIEW(""),
                                           .protocol_name = VIEW("")};
    }
}

static bool is_one_of(const char *name, const view *filters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        view f = filters[i];
        if (view_text(name).len == f.len && strncasecmp(name, (const char *)f.at, f.len) == 0) {
            return true;
        }
    }
    return count == 0;
}

static int by_name(const void *left, const void *right)
{
    const struct coord_group *a = left, *b = right;

    return view_order(a->group, b->group);
}

static void run_list(struct coord *c, struct coord_ask *ask)
{
    struct coord_list_groups *list = (struct coord_list_groups *)(void *)ask;
    struct arena *arena = ask->arena;
    const struct group *g;
    bool classic = is_one_of("classic", list->types, list->type_count);

    list->found = arena_take(arena, c->groups.count * sizeof(*list->found));
    for (size_t at = 0; classic && (g = map_next(&c->groups, &at));) {
        if (g->state == GROUP_DEAD ||
            !is_one_of(group_state_name(g->state), list->states, list->state_count)) {
            continue;
        }
        list->found[list->found_count++] = (struct coord_group){
            .group = arena_copy(arena, blob_view(g->id)),
            .state = group_state_name(g->state),
            .protocol_type = or_empty(keep(arena, blob_view(g->protocol_type))),
            .protocol_name = VIEW(""),
            .generation = g->generation,
        };
    }
    if (list->found_count) {
        qsort(list->found, list->found_count, sizeof(*list->found), by_name);
    }
    ask_done(ask, COORD_OK);
}

static const struct ask_kind describe_kind = {.run = run_describe, .refuse = refuse_describe};
static const struct ask_kind list_kind = {.run = run_list};

void coord_describe_groups(struct coord *c, struct coord_describe_groups *describe)
{
    describe->found =
        arena_take(describe->ask.arena, describe->group_count * sizeof(*describe->found));
    ask_post(c, &describe->ask, &describe_kind);
}

void coord_list_groups(struct coord *c, struct coord_list_groups *list)
{
    list->found = NULL;
    list->found_count = 0;
    ask_post(c, &list->ask, &list_kind);
}
