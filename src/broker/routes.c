/* routes.c - rows of the HTTP API, and what their handlers share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/routes.h"

#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"

#define NAMES_COMPARED 1000 /* "did you mean" looks no further */

void latch_init(struct latch *latch)
{
    pthread_mutex_init(&latch->lock, NULL);
    pthread_cond_init(&latch->opened, NULL);
    latch->open = false;
}

void latch_open(struct latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    latch->open = true;
    pthread_cond_signal(&latch->opened);
    pthread_mutex_unlock(&latch->lock);
}

void latch_wait(struct latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    while (!latch->open) {
        pthread_cond_wait(&latch->opened, &latch->lock);
    }
    pthread_mutex_unlock(&latch->lock);
    pthread_cond_destroy(&latch->opened);
    pthread_mutex_destroy(&latch->lock);
}

struct awaiting { /* a chain under way */
    _Atomic size_t left;
    struct latch latch;
};

static void changed(struct log_change *change)
{
    struct awaiting *all = ((struct awaited *)change)->all;

    if (atomic_fetch_sub(&all->left, 1) == 1) {
        latch_open(&all->latch);
    }
}

static struct awaited *after(struct awaited *item)
{
    return (struct awaited *)item->change.next;
}

err route_change(struct broker *b, struct awaited *chain)
{
    struct awaiting all = {0};
    struct fault *first = NULL;

    latch_init(&all.latch);
    for (struct awaited *item = chain; item; item = after(item)) {
        item->all = &all;
        item->change.done = changed;
        all.left++;
    }
    log_change(b->log, &chain->change);
    latch_wait(&all.latch);
    for (struct awaited *item = chain; item; item = after(item)) {
        if (item->change.fault && !first) {
            first = item->change.fault;
        } else {
            free(item->change.fault);
        }
        item->change.fault = NULL;
    }
    err e = first ? fault(first->code, "%s", first->text) : OK;
    free(first);
    return e;
}

static void asked(struct coord_ask *ask)
{
    latch_open(ask->owner);
}

void route_ask(struct http_call *call, struct coord_ask *ask, struct latch *latch)
{
    latch_init(latch);
    ask->arena = &call->arena;
    ask->owner = latch;
    ask->done = asked;
}

void route_asked(struct latch *latch)
{
    latch_wait(latch);
}

err route_status(enum coord_status status, const char *what)
{
    err kind = ERR_CONFLICT;

    switch (status) {
    case COORD_OK:
        return OK;
    case COORD_GROUP_NOT_FOUND:
    case COORD_UNKNOWN_TOPIC:
        kind = ERR_NOT_FOUND;
        break;
    case COORD_INVALID_GROUP:
    case COORD_INVALID_REQUEST:
    case COORD_OFFSET_METADATA_TOO_LARGE:
        kind = ERR_INVALID;
        break;
    case COORD_LOADING:
    case COORD_TOO_MANY:
        kind = ERR_BUSY;
        break;
    case COORD_NOT_COORDINATOR:
        kind = ERR_CLOSED;
        break;
    case COORD_STORAGE:
        kind = ERR_IO;
        break;
    default:
        break;
    }
    return fault(kind, "%s: %s", what, coord_status_text(status));
}

err route_body(struct http_call *call, const char *const *names, size_t count,
               struct json **out)
{
    err e = http_body_json(call, out);

    for (const struct json *member = e ? NULL : (*out)->inside; member; member = member->next) {
        bool known = false;
        for (size_t i = 0; i < count; i++) {
            known = known || view_is_text(member->name, names[i]);
        }
        if (!known) {
            const char *near = nearest_name(member->name, names, count);
            return fault(ERR_INVALID, "the body has no member \"%.*s\"%s%s%s",
                         VIEW_ARG(view_upto(member->name, 80)), near ? "; did you mean \"" : "",
                         near ? near : "", near ? "\"?" : "");
        }
    }
    return e;
}

view route_text(const struct json *object, const char *name)
{
    const struct json *member = json_get(object, name);

    if (!member || (member->kind != JSON_TEXT && member->kind != JSON_NUMBER)) {
        return (view){0};
    }
    return member->text;
}

err route_count(const struct json *object, const char *name, int64_t preset, int64_t least,
                int64_t most, int64_t *out)
{
    *out = preset;
    if (!json_get(object, name)) {
        return OK;
    }
    if (json_get_int(object, name, out) || *out < least || *out > most) {
        return fault(ERR_INVALID, "%s must be a whole number from %lld to %lld", name,
                     (long long)least, (long long)most);
    }
    return OK;
}

err route_point(struct broker *b, const struct json *object, struct point *out)
{
    view text;

    if (json_get_text(object, "to", &text)) {
        return fault(ERR_INVALID, "the body lacks \"to\", a point: %s", POINT_WORDS);
    }
    return point_parse(text, b->os->now_ms(b->os), out);
}

err route_offset(struct partition *p, struct point point, int64_t *out)
{
    struct partition_ends ends;
    struct log_time_answer found;
    err e = OK;

    partition_ends(p, &ends);
    switch (point.kind) {
    case POINT_EARLIEST:
        *out = ends.start;
        break;
    case POINT_LATEST:
        *out = ends.high;
        break;
    case POINT_TIME:
        e = partition_find_time(p, point.value, false, &found);
        if (!e) {
            *out = found.offset < 0 ? ends.high : found.offset;
        }
        break;
    case POINT_OFFSET:
        *out = point.value;
        if (point.value < ends.start || point.value > ends.high) {
            e = fault(ERR_OUT_OF_RANGE, "%s/%d has the offsets %lld to %lld, not %lld",
                      partition_topic(p)->name, partition_index(p), (long long)ends.start,
                      (long long)ends.high, (long long)point.value);
        }
        break;
    case POINT_LSN:
        e = fault(ERR_INVALID, "a database's position means nothing in a topic: use %s",
                  POINT_WORDS);
        break;
    }
    return e;
}

static err no_topic(struct broker *b, view name)
{
    struct topic **topics = NULL;
    size_t count = log_topics(b->log, &topics), compared = MIN(count, NAMES_COMPARED);
    const char **names = xcalloc(compared + 1, sizeof(*names));

    for (size_t i = 0; i < compared; i++) {
        names[i] = topics[i]->name;
    }
    const char *near = nearest_name(name, names, compared);
    err e =
        fault(ERR_NOT_FOUND, "there is no topic \"%.*s\"%s%s%s", VIEW_ARG(view_upto(name, 249)),
              near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    free(names);
    topics_drop(topics, count);
    return e;
}

err route_topic(struct broker *b, view name, struct topic **out)
{
    *out = log_topic(b->log, name);
    return *out ? OK : no_topic(b, name);
}

static const struct http_route rows[] = {
    {"GET", "/api/v1/topics", topics_list, HTTP_BLOCKS},
    {"POST", "/api/v1/topics", topics_create, HTTP_BLOCKS},
    {"GET", "/api/v1/topics/{name}", topics_show, HTTP_BLOCKS},
    {"PATCH", "/api/v1/topics/{name}", topics_edit, HTTP_BLOCKS},
    {"DELETE", "/api/v1/topics/{name}", topics_delete, HTTP_BLOCKS},
    {"GET", "/api/v1/topics/{name}/partitions", topics_partitions, HTTP_BLOCKS},
    {"POST", "/api/v1/topics/{name}/trim", topics_trim, HTTP_BLOCKS},
    {"GET", "/api/v1/groups", groups_list, HTTP_BLOCKS},
    {"GET", "/api/v1/groups/{name}", groups_show, HTTP_BLOCKS},
    {"PATCH", "/api/v1/groups/{name}", groups_edit, HTTP_BLOCKS},
    {"DELETE", "/api/v1/groups/{name}", groups_delete, HTTP_BLOCKS},
};

struct http_door broker_door(struct broker *broker)
{
    return (struct http_door){.routes = rows, .route_count = COUNT(rows), .self = broker};
}
