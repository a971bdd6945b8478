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

view view_or_empty(view v)
{
    return v.at ? v : VIEW("");
}
