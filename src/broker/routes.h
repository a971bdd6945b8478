/* routes.h - the broker's rows of the HTTP API: /api/v1/topics and /api/v1/groups; internal.
 *
 * All rows block (HTTP_BLOCKS): handlers are straight-line code that waits for the log and the
 * coordinator. Shapes: docs/http.md. */
#ifndef TIDEMARK_BROKER_ROUTES_H
#define TIDEMARK_BROKER_ROUTES_H

#include <pthread.h>

#include "broker/request.h"
#include "coord/coord.h"
#include "http/http.h"

/* Waiting for a callback that may only post. */
struct latch {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open;
};

void latch_init(struct latch *latch);
void latch_open(struct latch *latch); /* any thread */
void latch_wait(struct latch *latch); /* until opened; then it is fini already */

struct awaited {              /* a change that a handler waits for */
    struct log_change change; /* first: done() gets back from it; next points into another */
    struct awaiting *all;
};

/* Runs the chain and waits; the first failure of it, with its words. */
MUST_CHECK err route_change(struct broker *b, struct awaited *chain);
/* To be filled into an ask before it is handed to the coordinator, then route_asked(). */
void route_ask(struct http_call *call, struct coord_ask *ask, struct latch *latch);
void route_asked(struct latch *latch);
err route_status(enum coord_status status, const char *what); /* OK, or with words */

/* The body as an object that has only these members. */
MUST_CHECK err route_body(struct http_call *call, const char *const *names, size_t count,
                          struct json **out);
/* The member as text, whatever its kind; NULL view when it is not there. */
view route_text(const struct json *object, const char *name);
MUST_CHECK err route_count(const struct json *object, const char *name, int64_t preset,
                           int64_t least, int64_t most, int64_t *out);
MUST_CHECK err route_point(struct broker *b, const struct json *object, struct point *out);
/* The offset a point means in a partition; between its start and high. May block. */
MUST_CHECK err route_offset(struct partition *p, struct point point, int64_t *out);
/* Held; NOT_FOUND with the nearest name. */
MUST_CHECK err route_topic(struct broker *b, view name, struct topic **out);

void topics_list(struct http_call *call);
void topics_create(struct http_call *call);
void topics_show(struct http_call *call);
void topics_edit(struct http_call *call);
void topics_delete(struct http_call *call);
void topics_partitions(struct http_call *call);
void topics_trim(struct http_call *call);
void groups_list(struct http_call *call);
void groups_show(struct http_call *call);
void groups_edit(struct http_call *call);
void groups_delete(struct http_call *call);

/* What a consumer was given: {"orders": [0, 1], ...} from its assignment's bytes, which are the
 * clients' business; false, and nothing written, when they are no consumer assignment. */
bool assignment_to_json(view assignment, struct json_writer *j);

#endif
