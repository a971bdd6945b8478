/* daemon.c - between libmicrohttpd and calls.
 *
 * The library calls on_request several times for one request: first with the headers, then for
 * each piece of the body, then with none left, and once more after a suspended connection was
 * resumed. Its own thread does all of it.
 *
 *   headers --refused--> answer kept, body read and dropped --> answer queued
 *      `--> body collected --> handler --> answer queued
 *                                `--> away (suspended) --> resumed --> answer queued
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000
#define LOG_LINE_BYTES 256

void daemon_resume(struct http *http, struct MHD_Connection *connection)
{
    pthread_mutex_lock(&http->lock);
    http->busy++; /* the daemon must not end before the call below is back */
    pthread_mutex_unlock(&http->lock);
    MHD_resume_connection(connection);
    pthread_mutex_lock(&http->lock);
    if (--http->busy == 0) {
        pthread_cond_broadcast(&http->idle);
    }
    pthread_mutex_unlock(&http->lock);
}

static struct connection *connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    assert(info);
    return info->socket_context;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *http = cls;
    struct connection *c = *context;

    pthread_mutex_lock(&http->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        c = xcalloc(1, sizeof(*c));
        c->fd =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        c->reading_since_ns = http->os->tick_ns(http->os);
        c->after = http->connections;
        if (c->after) {
            c->after->before = c;
        }
        http->connections = c;
        *context = c;
        atomic_fetch_add(&http->open_connections, 1);
    } else {
        *(c->before ? &c->before->after : &http->connections) = c->after;
        if (c->after) {
            c->after->before = c->before;
        }
        free(c);
        atomic_fetch_sub(&http->open_connections, 1);
    }
    pthread_mutex_unlock(&http->lock);
}

/* The request line is there: a call begins. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct http *http = cls;
    struct call *call = call_new(http, connection, view_text(uri));

    pthread_mutex_lock(&http->lock);
    http->busy++;
    call->after = http->calls;
    if (call->after) {
        call->after->before = call;
    }
    http->calls = call;
    pthread_mutex_unlock(&http->lock);
    return call;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct http *http = cls;
    struct call *call = *context;

    (void)code;
    if (!call) {
        return;
    }
    connection_of(connection)->reading_since_ns = http->os->tick_ns(http->os);
    pool_refund(&http->bodies, call->charged);
    pthread_mutex_lock(&http->lock);
    *(call->before ? &call->before->after : &http->calls) = call->after;
    if (call->after) {
        call->after->before = call->before;
    }
    if (--http->busy == 0) {
        pthread_cond_broadcast(&http->idle);
    }
    pthread_mutex_unlock(&http->lock);
    if (call->response) {
        MHD_destroy_response(call->response);
        call->response = NULL;
    }
    *context = NULL;
    call_drop(call);
}

static enum MHD_Result on_head(void *cls, enum MHD_ValueKind kind, const char *name,
                               size_t name_bytes, const char *value, size_t value_bytes)
{
    struct call *call = cls;
    struct arena *arena = &call->pub.arena;

    (void)kind;
    if (call->head_count == HTTP_HEADS_MAX) {
        return MHD_NO;
    }
    size_t at = call->head_count++;
    call->heads[at].name = arena_copy(arena, (view){(const uint8_t *)name, name_bytes});
    call->heads[at].value =
        arena_copy(arena, value ? (view){(const uint8_t *)value, value_bytes} : VIEW(""));
    return MHD_YES;
}

static bool is_closing(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    bool closing = http->closing;
    pthread_mutex_unlock(&http->lock);
    return closing;
}

static enum MHD_Result send_answer(struct call *call)
{
    struct http *http = call->http;

    assert(call->response);
    if (call->closes || is_closing(http)) {
        (void)MHD_add_response_header(call->response, "Connection", "close");
    }
    atomic_fetch_add(&http->answers[call->status / 100 % HTTP_STATUS_CLASSES], 1);
    return MHD_queue_response(call->connection, call->status, call->response);
}

/* The headers are there. */
static enum MHD_Result begin(struct call *call, const char *method)
{
    call->begun = true;
    call->pub.method = arena_copy(&call->pub.arena, view_text(method));
    int seen = MHD_get_connection_values_n(call->connection, MHD_HEADER_KIND, on_head, call);
    if (seen > (int)call->head_count) {
        call->closes = true;
        http_refuse(&call->pub, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large",
                    "more than %d headers", HTTP_HEADS_MAX);
    } else if (guard_passes(call)) {
        call->closes = false; /* whatever size_passes prepared for a refusal */
        return MHD_YES;
    }
    atomic_fetch_add(&call->http->guarded, 1);
    return call->closes ? send_answer(call) : MHD_YES;
}

static enum MHD_Result take_body(struct call *call, view piece)
{
    struct pool *bodies = &call->http->bodies;

    call->body_bytes += piece.len;
    if (call->body_bytes > HTTP_DRAIN_BYTES_MAX) {
        return MHD_NO; /* cuts the connection: no answer is worth more reading */
    }
    if (atomic_load(&call->state) == CALL_ANSWERED) {
        return MHD_YES;
    }
    if (call->body_bytes > HTTP_BODY_BYTES_MAX) {
        http_refuse(&call->pub, MHD_HTTP_CONTENT_TOO_LARGE, "too_large",
                    "the body has more than %u bytes", HTTP_BODY_BYTES_MAX);
        return MHD_YES;
    }
    if (!pool_charge(bodies, piece.len)) {
        (void)fault(ERR_BUSY, "request bodies hold %zu bytes already", bodies->limit_bytes);
        http_reply_fault(&call->pub);
        return MHD_YES;
    }
    call->charged += piece.len;
    write_view(&call->body, piece);
    return MHD_YES;
}

static void work(struct job *job)
{
    struct call *call = (struct call *)((char *)job - offsetof(struct call, job));
    struct lane *lane = call->lane;

    call->pub.route->handle(&call->pub);
    assert(call->later || atomic_load(&call->state) != CALL_AWAY); /* no reply was given */
    atomic_fetch_sub(&lane->waiting, 1);
    call_drop(call);
}

/* To the worker with the least to do. */
static void post(struct call *call)
{
    struct http *http = call->http;
    struct lane *best = &http->lanes[0];

    for (size_t i = 1; i < HTTP_WORKERS; i++) {
        if (atomic_load(&http->lanes[i].waiting) < atomic_load(&best->waiting)) {
            best = &http->lanes[i];
        }
    }
    atomic_fetch_add(&best->waiting, 1);
    call->lane = best;
    call->job.work = work;
    atomic_fetch_add(&call->holders, 1); /* for work(), which looks at it after the reply */
    worker_post(&best->worker, &call->job);
}

static void run(struct call *call)
{
    connection_of(call->connection)->reading_since_ns = 0;
    call->pub.body = call->body.len ? writer_view(&call->body) : VIEW("");
    atomic_store(&call->state, CALL_RUNNING);
    if (is_closing(call->http)) { /* so that none goes away once http_close counts them */
        (void)fault(ERR_CLOSED, "the server is stopping");
        http_reply_fault(&call->pub);
        return;
    }
    if (call->pub.route->flags & HTTP_BLOCKS) {
        http_later(&call->pub);
        call->later = false; /* the handler decides that anew */
        post(call);
        return;
    }
    call->pub.route->handle(&call->pub);
    assert(call->suspended || atomic_load(&call->state) == CALL_ANSWERED);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *piece,
                                  size_t *piece_bytes, void **context)
{
    struct call *call = *context;

    (void)cls, (void)connection, (void)url, (void)version;
    assert(call);
    if (!call->begun) {
        return begin(call, method);
    }
    if (*piece_bytes > 0) {
        view taken = {(const uint8_t *)piece, *piece_bytes};
        *piece_bytes = 0;
        return take_body(call, taken);
    }
    if (call->suspended) {
        call->suspended = false; /* resumed: the answer is there */
        return send_answer(call);
    }
    if (atomic_load(&call->state) == CALL_READING) {
        run(call);
    }
    return call->suspended ? MHD_YES : send_answer(call);
}

/* Paths and queries stay as they were sent; target.c decodes them. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls, (void)connection;
    return strlen(text);
}

__attribute__((format(printf, 2, 0))) static void on_log(void *cls, const char *format,
                                                         va_list args)
{
    char line[LOG_LINE_BYTES];
    int len = vsnprintf(line, sizeof(line), format, args);

    (void)cls;
    trace_debug("http", "%.*s", (int)MIN(strcspn(line, "\r\n"), (size_t)MAX(len, 0)), line);
}

struct MHD_Daemon *daemon_start(struct http *http)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
        NULL, on_request, http,                                            /* */
        MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,                          /* */
        MHD_OPTION_LISTEN_SOCKET, http->listen_fd,                         /* */
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,       /* */
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES, /* */
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_S,              /* */
        MHD_OPTION_STRICT_FOR_CLIENT, 1,                                   /* */
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,                  /* */
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, http,                         /* */
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,                 /* */
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_END);
}
