/* asks.h - a request's question to the coordinator; internal to the broker. */
#ifndef TIDEMARK_BROKER_ASKS_H
#define TIDEMARK_BROKER_ASKS_H

#include "broker/request.h"
#include "coord/coord.h"

/* Before the question is put: next(r) runs on the loop thread once it is answered; what the
 * answer holds is in the request's arena, which is the coordinator's until then. */
void request_asks(struct request *r, struct coord_ask *ask, void (*next)(struct request *r));
/* After it was put: the ask waits for others, so a client that leaves must take it along. */
void request_waits(struct request *r, struct coord_ask *ask);
/* Each name once, in their order; gives how many. A repeat would make a small question a large
 * answer. */
size_t drop_repeats(view *names, size_t count);
view view_or_empty(view v); /* "" for a null view */

#endif
