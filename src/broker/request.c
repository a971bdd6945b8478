/* request.c - the life of a request: header, dispatch, coming back, ending.
 *
 * working --> answered --> sent, freed      (silent: nothing is sent)
 * A request whose connection has closed is freed when its handler ends it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/request.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "broker/apis.h"
#include "broker/connection.h"
#include "broker/loop.h"
#include "broker/meter.h"

#define API_VERSIONS 18
#define ASK_BYTES_SMALL (64u << 10) /* whatever others hold */
#define RANGES_BYTES_MAX INT32_MAX  /* an answer's length is an i32 */

struct request_timer {
    struct loop_timer timer;
    struct request *request;
    void (*next)(struct request *r);
};

static bool header_read(struct request *r, int16_t *key)
{
    struct reader *in = &r->body;

    *key = read_i16(in);
    r->version = read_i16(in);
    r->correlation = read_i32(in);
    r->client_id = read_text_or_null(in, false); /* never compact, also in header version 2 */
    r->api = in->bad ? NULL : api_find(*key);
    r->flexible = r->api && r->version >= r->api->flexible_from;
    read_tags(in, r->flexible);
    return !in->bad;
}

void *request_items(struct request *r, size_t wire_bytes, size_t item_bytes, size_t *count,
                    bool *is_null)
{
    bool null;

    *count = read_count_or_null(&r->body, r->flexible, wire_bytes, is_null ? is_null : &null);
    if (!request_charge(r, *count * item_bytes)) {
        *count = 0;
    }
    return *count ? arena_take(&r->arena, *count * item_bytes) : NULL;
}

/* All frames are within the pool's limit; what is made of them may take as much again. */
bool request_charge(struct request *r, size_t bytes)
{
    struct pool *pool = &r->broker->frames;
    size_t total = r->charged + bytes;
    size_t room = pool->limit_bytes + MAX(pool->limit_bytes, ASK_BYTES_MAX);
    bool crowded = total > ASK_BYTES_SMALL && pool->used_bytes + bytes > room;

    if (total > ASK_BYTES_MAX || crowded) {
        r->greedy = r->body.bad = true;
        return false;
    }
    atomic_fetch_add(&pool->used_bytes, bytes);
    r->charged = total;
    return true;
}

void request_restart(struct request *r)
{
    for (size_t i = 0; i < r->range_count; i++) {
        log_range_drop(r->broker->log, &r->ranges[i].range);
    }
    r->range_count = 0;
    writer_reset(&r->answer);
    write_u32(&r->answer, 0); /* the length, patched by request_reply */
    write_i32(&r->answer, r->correlation);
    write_no_tags(&r->answer, r->flexible && r->api->key != API_VERSIONS);
}

static void dispatch(struct request *r)
{
    request_restart(r);
    if (r->api->key == API_VERSIONS && r->version > r->api->newest) {
        r->flexible = false; /* its body cannot be read; the handler answers in version 0 */
        request_restart(r);
        r->api->handle(r);
        return;
    }
    if (r->version < r->api->oldest || r->version > r->api->newest) {
        request_close(r, "%s version %d is not one of %d to %d", r->api->name, r->version,
                      r->api->oldest, r->api->newest);
        return;
    }
    r->api->read(r);
    if (r->body.bad) {
        request_close(r, "%s version %d %s", r->api->name, r->version,
                      r->greedy ? "asks for more than there is memory for"
                                : "cannot be decoded");
        return;
    }
    r->api->handle(r);
}

void request_begin(struct connection *c, struct buf *take_frame)
{
    struct request *r = xcalloc(1, sizeof(*r));
    int16_t key;

    r->broker = c->loop->broker;
    r->loop = c->loop;
    r->connection = c;
    r->frame = take_frame;
    r->body = (struct reader){.rest = {take_frame->bytes, take_frame->len}};
    r->came_ns = loop_now_ns(c->loop);
    *(c->newest ? &c->newest->next : &c->oldest) = r;
    c->newest = r;
    c->in_flight++;
    c->holders++;
    c->loop->requests++;
    c->loop->counts.requests++;
    if (!header_read(r, &key)) {
        request_close(r, "a request header of %u bytes cannot be decoded", take_frame->len);
    } else if (!r->api) {
        request_close(r, "request type %d is not known", key);
    } else {
        dispatch(r);
    }
}

/* What a request needs while it works; its answer and ranges stay for the sender. */
static void drop_work(struct request *r)
{
    request_after_cancel(r);
    arena_fini(&r->arena);
    if (r->charged) {
        pool_refund(&r->broker->frames, r->charged);
    }
    r->charged = 0;
    buf_drop(r->frame);
    if (r->frame && r->loop->starved) {
        loop_timer_set(r->loop, &r->loop->feed, 0); /* there is room now, mostly */
    }
    r->frame = NULL;
    r->timer = NULL;
}

void request_free(struct request *r)
{
    struct connection *c = r->connection;

    for (size_t i = 0; i < r->range_count; i++) {
        log_range_drop(r->broker->log, &r->ranges[i].range);
    }
    drop_work(r);
    writer_fini(&r->answer);
    free(r->ranges);
    r->loop->requests--;
    loop_settle(r->loop);
    free(r);
    connection_drop(c);
}

static void end(struct request *r, enum request_state state)
{
    struct connection *c = r->connection;

    assert(r->state == REQUEST_WORKING);
    assert(state != REQUEST_WORKING);
    if (c->closed) {
        request_free(r);
        return;
    }
    drop_work(r);
    r->gone = NULL;
    r->state = state;
    if (state == REQUEST_ANSWERED) {
        c->queued_bytes += r->answer.len;
    }
    if (c->oldest == r) {
        connection_dirty(c);
    }
}

void request_reply(struct request *r)
{
    uint64_t bytes = r->answer.len - 4;

    for (size_t i = 0; i < r->range_count; i++) {
        bytes += r->ranges[i].range.bytes;
    }
    assert(bytes <= RANGES_BYTES_MAX);
    put_u32(r->answer.at, (uint32_t)bytes);
    meter_ended(r);
    end(r, REQUEST_ANSWERED);
}

void request_silent(struct request *r)
{
    meter_ended(r);
    end(r, REQUEST_SILENT);
}

void request_close(struct request *r, const char *format, ...)
{
    struct connection *c = r->connection;
    char text[FAULT_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    c->holders++; /* outlives the requests that go with the socket */
    if (!c->closed) {
        connection_break(c, "%s", text);
    }
    end(r, REQUEST_SILENT);
    connection_drop(c);
}

static void resume(struct job *job)
{
    struct request *r = (struct request *)((char *)job - offsetof(struct request, job));

    r->then(r);
}

void request_post(struct request *r, void (*next)(struct request *r))
{
    r->then = next;
    r->job.work = resume;
    loop_post(r->loop, &r->job);
}

static void block(struct job *job)
{
    struct request *r = (struct request *)((char *)job - offsetof(struct request, job));

    r->blocking(r);
    request_post(r, r->then);
}

void request_block(struct request *r, void (*blocking)(struct request *r),
                   void (*next)(struct request *r))
{
    r->blocking = blocking;
    r->then = next;
    r->job.work = block;
    log_run_blocking(r->broker->log, &r->job);
}

static void timer_rings(struct loop_timer *timer)
{
    struct request_timer *t = (struct request_timer *)timer;

    t->next(t->request);
}

void request_after(struct request *r, int64_t ms, void (*next)(struct request *r))
{
    assert(r->state == REQUEST_WORKING);
    if (!r->timer) {
        r->timer = arena_take(&r->arena, sizeof(*r->timer));
        r->timer->timer.ring = timer_rings;
        r->timer->request = r;
    }
    r->timer->next = next;
    loop_timer_set(r->loop, &r->timer->timer, loop_now_ns(r->loop) + ms * 1000000);
}

void request_after_cancel(struct request *r)
{
    if (r->timer) {
        loop_timer_cancel(r->loop, &r->timer->timer);
    }
}

bool request_is_gone(const struct request *r)
{
    return r->connection->closed;
}

void request_add_range(struct request *r, struct log_range take_range)
{
    if (!take_range.bytes) {
        log_range_drop(r->broker->log, &take_range);
        return;
    }
    r->ranges = array_room(r->ranges, r->range_count, &r->range_room, sizeof(*r->ranges));
    r->ranges[r->range_count++] = (struct answer_range){r->answer.len, take_range};
}

view request_host(struct request *r)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);
    char text[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&peer;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&peer;

    if (r->connection->closed ||
        getpeername(r->connection->fd, (struct sockaddr *)&peer, &len)) {
        return VIEW("/");
    }
    if (peer.ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
    } else if (peer.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
    }
    return view_text(arena_format(&r->arena, "/%s", text));
}

int64_t request_now_ms(const struct request *r)
{
    return r->broker->os->now_ms(r->broker->os);
}
