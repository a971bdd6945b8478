/* router.c - from method and path to a row, and the rows every server has.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <stdlib.h>
#include <string.h>

#define ROW_COUNT 4  /* the server's own */
#define ROWS_MAX 256 /* compared when looking for the nearest path */

static const struct http_route rows[ROW_COUNT]; /* at the end; paths() lists them too */

static void health(struct http_call *call)
{
    write_format(&call->out, "ok\n");
    http_reply_text(call, MHD_HTTP_OK, "text/plain");
}

static void readiness(struct http_call *call)
{
    const struct http *http = call->self;

    if (http->config.ready && http->config.ready(http->config.ready_self) != OK) {
        if (fault_here.code != ERR_BUSY && fault_here.code != ERR_CLOSED) {
            fault_here.code = ERR_BUSY; /* not ready is 503, whatever the reason */
        }
        http_reply_fault(call);
        return;
    }
    write_format(&call->out, "ready\n");
    http_reply_text(call, MHD_HTTP_OK, "text/plain");
}

static void own_metrics(struct http *http, struct writer *out)
{
    static const char *const classes[HTTP_STATUS_CLASSES] = {NULL,  "1xx", "2xx",
                                                             "3xx", "4xx", "5xx"};

    http_metric(out, "tidemark_http_answers_total", "counter", "Answers by class of status");
    for (size_t i = 1; i < HTTP_STATUS_CLASSES; i++) {
        struct http_label label = {"class", view_text(classes[i])};
        http_sample_int(out, "tidemark_http_answers_total", &label, 1,
                        (int64_t)atomic_load(&http->answers[i]));
    }
    http_metric(out, "tidemark_http_refused_total", "counter",
                "Requests refused before a handler saw them");
    http_sample_int(out, "tidemark_http_refused_total", NULL, 0,
                    (int64_t)atomic_load(&http->guarded));
    http_metric(out, "tidemark_http_connections", "gauge", "Open connections");
    http_sample_int(out, "tidemark_http_connections", NULL, 0,
                    atomic_load(&http->open_connections));
    pthread_mutex_lock(&http->lock);
    int64_t busy = (int64_t)http->busy, streams = (int64_t)http->stream_count;
    pthread_mutex_unlock(&http->lock);
    http_metric(out, "tidemark_http_body_bytes", "gauge", "Request bodies held");
    http_sample_int(out, "tidemark_http_body_bytes", NULL, 0,
                    (int64_t)atomic_load(&http->bodies.used_bytes));
    http_metric(out, "tidemark_http_calls_in_flight", "gauge", "Requests being answered");
    http_sample_int(out, "tidemark_http_calls_in_flight", NULL, 0, busy);
    http_metric(out, "tidemark_http_streams", "gauge", "Readers of server-sent events");
    http_sample_int(out, "tidemark_http_streams", NULL, 0, streams);
}

static void metrics(struct http_call *call)
{
    struct http *http = call->self;

    own_metrics(http, &call->out);
    for (size_t i = 0; i < http->config.door_count; i++) {
        const struct http_door *door = &http->config.doors[i];
        if (door->metrics) {
            door->metrics(door->self, &call->out);
        }
    }
    http_reply_text(call, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8");
}

/* Door number at; the server's own rows come after all doors. False past the end. */
static bool door_at(struct http *http, size_t at, struct http_door *out)
{
    if (at < http->config.door_count) {
        *out = http->config.doors[at];
        return true;
    }
    *out = (struct http_door){.routes = rows, .route_count = ROW_COUNT, .self = http};
    return at == http->config.door_count;
}

static void paths(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct http_door door;

    json_object(&j);
    json_name(&j, "version");
    json_text(&j, TIDEMARK_VERSION);
    json_name(&j, "paths");
    json_array(&j);
    for (size_t d = 0; door_at(call->self, d, &door); d++) {
        for (size_t i = 0; i < door.route_count; i++) {
            json_object(&j);
            json_name(&j, "method");
            json_text(&j, door.routes[i].method);
            json_name(&j, "path");
            json_text(&j, door.routes[i].path);
            json_end_object(&j);
        }
    }
    json_end_array(&j);
    json_end_object(&j);
    http_reply_json(call, MHD_HTTP_OK);
}

static const char *nearest_path(struct call *call)
{
    const char *candidates[ROWS_MAX], *patterns[ROWS_MAX];
    size_t count = 0;
    struct http_door door;

    for (size_t d = 0; door_at(call->http, d, &door); d++) {
        for (size_t i = 0; i < door.route_count && count < ROWS_MAX; i++) {
            patterns[count] = door.routes[i].path;
            candidates[count] =
                target_under(&call->pub.arena, &call->target, door.routes[i].path);
            count += candidates[count] != NULL;
        }
    }
    const char *best = nearest_name(call->pub.path, candidates, count);
    for (size_t i = 0; best && i < count; i++) {
        if (candidates[i] == best) {
            return patterns[i];
        }
    }
    return NULL;
}

static void refuse_path(struct call *call)
{
    const char *near = nearest_path(call);

    if (near) {
        http_fix(&call->pub, "did you mean %s", near);
    } else {
        http_fix(&call->pub, "GET /api/v1 lists all paths");
    }
    http_refuse(&call->pub, MHD_HTTP_NOT_FOUND, "not_found", "nothing is at %.*s",
                VIEW_ARG(view_upto(call->pub.path, 200)));
}

const struct http_route *router_find(struct call *call)
{
    bool head = view_is_text(call->pub.method, "HEAD");
    view wanted = head ? VIEW("GET") : call->pub.method;
    struct writer allow = {0};
    const struct http_route *found = NULL;
    struct http_door door;

    for (size_t d = 0; !found && door_at(call->http, d, &door); d++) {
        for (size_t i = 0; !found && i < door.route_count; i++) {
            const struct http_route *row = &door.routes[i];
            if (!target_matches(&call->target, row->path)) {
                continue;
            }
            if (view_is_text(wanted, row->method)) {
                found = row;
                call->pub.self = door.self;
            }
            write_format(&allow, "%s%s%s", allow.len ? ", " : "", row->method,
                         strcmp(row->method, "GET") == 0 ? ", HEAD" : "");
        }
    }
    if (!found && allow.len == 0) {
        refuse_path(call);
    } else if (!found) {
        http_answer_header(&call->pub, "Allow", "%.*s", VIEW_ARG(writer_view(&allow)));
        http_fix(&call->pub, "use %.*s", VIEW_ARG(writer_view(&allow)));
        http_refuse(&call->pub, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed",
                    "%.*s is not possible here", VIEW_ARG(call->pub.method));
    }
    writer_fini(&allow);
    return found;
}

static const struct http_route rows[ROW_COUNT] = {
    {"GET", "/healthz", health, 0},
    {"GET", "/readyz", readiness, 0},
    {"GET", "/metrics", metrics, HTTP_BLOCKS},
    {"GET", "/api/v1", paths, 0},
};
