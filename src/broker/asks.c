/* asks.c - between requests and the coordinator. SPDX-License-Identifier: Apache-2.0 */
#include "broker/asks.h"

static void answered(struct coord_ask *ask)
{
    struct request *r = ask->owner;

    request_post(r, r->then);
}

void request_asks(struct request *r, struct coord_ask *ask, void (*next)(struct request *r))
{
    ask->arena = &r->arena;
    ask->owner = r;
    ask->done = answered;
    r->then = next;
}

static void give_up(struct request *r)
{
    const struct coord_ask *ask = r->work;

    coord_abandon(r->broker->coord, ask->id);
}

void request_waits(struct request *r, struct coord_ask *ask)
{
    r->work = ask;
    r->gone = give_up;
}

size_t drop_repeats(view *names, size_t count)
{
    struct map seen = {0};
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (!map_get(&seen, names[i])) {
            names[kept] = names[i];
            map_put(&seen, names[kept], &names[kept]);
            kept++;
        }
    }
    map_fini(&seen);
    return kept;
}

view view_or_empty(view v)
{
    return v.at ? v : VIEW("");
}
