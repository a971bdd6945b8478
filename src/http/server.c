/* server.c - opening and closing the HTTP server, and the clockwork in between.
 *
 * Threads: the library's one (all sockets, handlers that do not block), HTTP_WORKERS for
 * handlers that do, and a ticker that looks after slow connections and silent streams.
 *
 * Closing, in this order, because the library cuts what is in flight when it is stopped and
 * aborts when a connection is still suspended then:
 *   1. no new connections; answers say "Connection: close"   3. calls still away get 503
 *   2. streams end; wait for calls in flight                 4. stop the library, then workers
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000
#define NS_PER_S 1000000000

struct http *http_hold(struct http *http)
{
    atomic_fetch_add(&http->holders, 1);
    return http;
}

void http_drop(struct http *http)
{
    if (!http || atomic_fetch_sub(&http->holders, 1) != 1) {
        return;
    }
    pthread_cond_destroy(&http->idle);
    pthread_mutex_destroy(&http->lock);
    free(http->address);
    free(http->bound_host);
    free(http->data_folder);
    free(http);
}

const char *http_address(const struct http *http)
{
    return http->address;
}

int http_port(const struct http *http)
{
    return http->port;
}

const char *http_token(const struct http *http)
{
    return http->token;
}

/* Shuts those whose request is not whole in time; the library then sees their end and closes
 * them. A descriptor in the list is open: it leaves the list before it is closed. */
static void cut_slow(struct http *http, int64_t now_ns)
{
    pthread_mutex_lock(&http->lock);
    for (struct connection *c = http->connections; c; c = c->after) {
        int64_t since_ns = atomic_load(&c->reading_since_ns);
        if (since_ns != 0 && now_ns - since_ns > http->request_ms * NS_PER_MS) {
            (void)shutdown(c->fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&http->lock);
}

static int64_t tick(struct worker *worker, struct job *jobs)
{
    struct http *http = worker->self;
    int64_t now_ns = http->os->tick_ns(http->os);
    int64_t every_ms = MIN((int64_t)HTTP_TICK_MS, http->request_ms / 4 + 1);

    mailbox_run(jobs);
    cut_slow(http, now_ns);
    streams_heartbeat(http, now_ns);
    return now_ns + every_ms * NS_PER_MS;
}

static void nothing(struct job *job)
{
    (void)job;
}

static struct http *make(struct os *os, const struct http_config *config)
{
    struct http *http = xcalloc(1, sizeof(*http));
    pthread_condattr_t clock;

    http->os = os;
    atomic_store(&http->holders, 1);
    http->config = *config;
    http->data_folder = xstrdup(config->data_folder);
    http->listen_fd = -1;
    http->request_ms = config->request_ms ? config->request_ms : HTTP_REQUEST_MS;
    http->bodies = (struct pool){.name = "http bodies", .limit_bytes = HTTP_BODIES_BYTES_MAX};
    pthread_mutex_init(&http->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&http->idle, &clock);
    pthread_condattr_destroy(&clock);
    token_make(os, http->token);
    return http;
}

static err start_workers(struct http *http)
{
    err e = OK;

    for (size_t i = 0; !e && i < HTTP_WORKERS; i++) {
        struct lane *lane = &http->lanes[i];
        snprintf(lane->name, sizeof(lane->name), "http-%zu", i);
        lane->worker = (struct worker){.name = lane->name, .self = lane};
        e = worker_start(&lane->worker, http->os);
    }
    if (!e) {
        http->ticker = (struct worker){.name = "http-tick", .turn = tick, .self = http};
        e = worker_start(&http->ticker, http->os);
    }
    if (!e) {
        http->first_tick.work = nothing; /* a worker has its first turn with its first mail */
        worker_post(&http->ticker, &http->first_tick);
    }
    return e;
}

static void stop_workers(struct http *http)
{
    for (size_t i = 0; i < HTTP_WORKERS; i++) {
        worker_stop(&http->lanes[i].worker);
    }
}

err http_open(struct os *os, const struct http_config *config, struct http **out)
{
    assert(config->listen && config->data_folder);
    struct http *http = make(os, config);
    err e = listen_open(http, config->listen, config->insecure_listen);

    if (!e) {
        e = start_workers(http);
    }
    if (!e) {
        e = token_keep(os, config->data_folder, http->port, http->token);
    }
    if (!e) {
        http->daemon = daemon_start(http);
        e = http->daemon ? OK : fault_errno("start the HTTP server");
    }
    if (e) {
        struct fault why = fault_here; /* closing may fail in its own ways */
        http_close(http);
        fault_here = why;
        return e;
    }
    *out = http;
    return OK;
}

/* Until nothing is in flight, or for so long. */
static bool wait_idle(struct http *http, int64_t wait_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + wait_ms % 1000 * NS_PER_MS;
    until.tv_sec += wait_ms / 1000 + ns / NS_PER_S;
    until.tv_nsec = ns % NS_PER_S;
    pthread_mutex_lock(&http->lock);
    int status = 0;
    while (http->busy > 0 && status != ETIMEDOUT) {
        status = pthread_cond_timedwait(&http->idle, &http->lock, &until);
    }
    bool idle = http->busy == 0;
    pthread_mutex_unlock(&http->lock);
    return idle;
}

static struct MHD_Response *stopping_response(void)
{
    struct writer text = {0};
    struct json_writer j = json_to(&text);

    json_object(&j);
    json_name(&j, "code");
    json_text(&j, "closed");
    json_name(&j, "message");
    json_text(&j, "the server stopped before this was done");
    json_name(&j, "fix");
    json_text(&j, "look whether it took effect, then try again");
    json_end_object(&j);
    struct MHD_Response *response = response_of(&text);
    response_header(response, "Content-Type", "application/json");
    return response;
}

/* Answers for those whose owners did not. The winners' connections are resumed outside of the
 * lock; while they are suspended nothing else can end them. */
static void give_up_calls(struct http *http)
{
    struct MHD_Connection **resumed = xcalloc(HTTP_CONNECTIONS_MAX, sizeof(*resumed));
    size_t count = 0;

    pthread_mutex_lock(&http->lock);
    for (struct call *c = http->calls; c && count < HTTP_CONNECTIONS_MAX; c = c->after) {
        int away = CALL_AWAY;
        if (atomic_compare_exchange_strong(&c->state, &away, CALL_GIVEN_UP)) {
            c->status = MHD_HTTP_SERVICE_UNAVAILABLE;
            c->response = stopping_response();
            resumed[count++] = c->connection;
        }
    }
    pthread_mutex_unlock(&http->lock);
    for (size_t i = 0; i < count; i++) {
        daemon_resume(http, resumed[i]);
    }
    if (count > 0) {
        trace_warn("http", "%zu requests were not answered within %lld ms and got 503", count,
                   (long long)http->config.drain_ms);
    }
    free(resumed);
}

static void drain(struct http *http)
{
    int fd = MHD_quiesce_daemon(http->daemon);

    assert(fd == http->listen_fd);
    (void)shutdown(fd, SHUT_RDWR); /* who connects now is refused, not left waiting */
    pthread_mutex_lock(&http->lock);
    http->closing = true;
    pthread_mutex_unlock(&http->lock);
    streams_end(http);
    if (!wait_idle(http, http->config.drain_ms)) {
        give_up_calls(http);
        (void)wait_idle(http, HTTP_CUT_MS);
    }
}

void http_close(struct http *http)
{
    if (!http) {
        return;
    }
    if (http->daemon) {
        drain(http);
    }
    worker_stop(&http->ticker);
    if (http->daemon) {
        MHD_stop_daemon(http->daemon);
        http->daemon = NULL;
    }
    if (http->listen_fd >= 0) {
        close(http->listen_fd);
        token_forget(http->os, http->data_folder, http->port, http->token);
    }
    stop_workers(http);
    http_drop(http);
}
