/* connection.c - sockets of clients: receiving frames, muting, closing.
 *
 * Memory: a receive happens only while the pool of frames is not full. What it brought is
 * charged whatever the pool says (at most LOOP_SCRATCH_BYTES more per loop); a frame that did
 * not come whole is charged by its length before the rest is received, and without room for it
 * its connection starves, unread, with the piece that it has.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/connection.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/listener.h"

#define RECEIVES_MAX 8 /* of one connection in one turn of the loop */
#define SWEEP_MS 2000
#define FEED_MS 5
#define SEND_STALL_MS 300000 /* a client that takes nothing so long is cut off */

static void link_in(struct connection *c)
{
    struct loop *loop = c->loop;

    c->after = loop->all;
    if (c->after) {
        c->after->before = c;
    }
    loop->all = c;
    if (loop->connections++ == 0) {
        loop_timer_set(loop, &loop->sweep, loop_now_ns(loop) + SWEEP_MS * 1000000LL);
    }
}

static void link_out(struct connection *c)
{
    *(c->before ? &c->before->after : &c->loop->all) = c->after;
    if (c->after) {
        c->after->before = c->before;
    }
    c->loop->connections--;
}

void connection_drop(struct connection *c)
{
    assert(c->holders > 0);
    if (--c->holders == 0) {
        assert(c->closed);
        assert(!c->cold);
        free(c);
    }
}

static void poll_gone(uv_handle_t *handle)
{
    struct connection *c = handle->data;

    connection_drop(c);
}

static void leave_starved(struct connection *c)
{
    struct connection **at = &c->loop->starved, *before = NULL;

    if (!(c->mute & MUTE_STARVED)) {
        return;
    }
    while (*at != c) {
        before = *at;
        at = &before->starved_next;
    }
    *at = c->starved_next;
    if (c->loop->starved_last == c) {
        c->loop->starved_last = before;
    }
}

void connection_close(struct connection *c)
{
    struct request *next;

    if (c->closed) {
        return;
    }
    c->closed = true;
    c->holders++;
    uv_close((uv_handle_t *)&c->poll, poll_gone);
    close(c->fd);
    link_out(c);
    listener_left(c->loop->broker->listener);
    leave_starved(c);
    loop_timer_cancel(c->loop, &c->throttle);
    c->loop->counts.closed++;
    buf_drop(c->frame);
    buf_drop(c->rest);
    c->frame = c->rest = NULL;
    sender_closed(c);
    next = c->oldest;
    c->oldest = c->newest = NULL;
    while (next) {
        struct request *r = next;
        next = r->next;
        if (r->state != REQUEST_WORKING) {
            request_free(r);
        } else if (r->gone) {
            r->gone(r);
        }
    }
    connection_drop(c);
    loop_settle(c->loop);
}

void connection_break(struct connection *c, const char *format, ...)
{
    char text[FAULT_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    c->loop->counts.broken++;
    if (loop_may_complain(c->loop)) {
        char peer[PEER_TEXT_BYTES];
        peer_text(c->fd, peer);
        trace_warn("broker", "closed the connection of %s: %s", peer, text);
    }
    connection_close(c);
}

static void pool_overcharge(struct pool *pool, size_t bytes)
{
    atomic_fetch_add(&pool->used_bytes, bytes);
}

/* Pieces count here, but not against whole frames: else nothing but pieces could be left, and
 * none of them would ever become whole. */
static bool is_full(const struct broker *b)
{
    return b->frames.used_bytes + b->pieces.used_bytes >= b->frames.limit_bytes;
}

static void starve(struct connection *c)
{
    struct loop *loop = c->loop;

    if (c->mute & MUTE_STARVED) {
        return;
    }
    c->mute |= MUTE_STARVED;
    c->starved_next = NULL;
    *(loop->starved ? &loop->starved_last->starved_next : &loop->starved) = c;
    loop->starved_last = c;
    if (!loop->feed.place) {
        loop_timer_set(loop, &loop->feed, loop_now_ns(loop) + FEED_MS * 1000000LL);
    }
}

static struct buf *frame_new(struct connection *c, uint32_t bytes)
{
    struct broker *b = c->loop->broker;
    bool large = bytes > b->frames.limit_bytes / 2;

    return buf_new_in(large ? &b->large_frames : &b->frames, bytes);
}

/* Bytes that are here already must be kept; they are charged even if the pool says no. */
static struct buf *frame_from(struct pool *pool, view have)
{
    struct buf *frame = buf_new((uint32_t)have.len);

    pool_overcharge(pool, have.len);
    frame->pool = pool;
    frame->len = (uint32_t)have.len;
    memcpy(frame->bytes, have.at, have.len);
    return frame;
}

/* The first bytes of a frame of c->frame_bytes; it starves when the rest has no room. */
static void frame_start(struct connection *c, view have)
{
    int64_t wait_ms =
        FRAME_WAIT_MS + (int64_t)c->frame_bytes * 1000 / FRAME_BYTES_PER_SECOND_MIN;

    c->frame_due_ns = loop_now_ns(c->loop) + wait_ms * 1000000;
    bool waits_its_turn = c->loop->starved && c->frame_bytes > LOOP_SCRATCH_BYTES;
    c->frame = waits_its_turn ? NULL : frame_new(c, c->frame_bytes);
    if (c->frame) {
        c->frame->len = (uint32_t)have.len;
        memcpy(c->frame->bytes, have.at, have.len);
        return;
    }
    c->frame = frame_from(&c->loop->broker->pieces, have);
    starve(c);
}

static void frame_done(struct connection *c)
{
    struct buf *frame = c->frame;

    assert(frame->len == c->frame_bytes);
    c->frame = NULL;
    c->head_len = 0;
    request_begin(c, frame);
}

/* The head is whole: false when the connection had to be closed. */
static bool frame_bytes_check(struct connection *c)
{
    c->frame_bytes = get_u32(c->head);
    if (c->frame_bytes == 0 ||
        c->frame_bytes > (uint64_t)c->loop->broker->config->request_bytes_max) {
        connection_break(c, "a request says it is %u bytes long, 1 to %lld are possible%s",
                         c->frame_bytes, (long long)c->loop->broker->config->request_bytes_max,
                         c->head[0] == 0x16 ? " (TLS to a plain text port?)" : "");
        return false;
    }
    return true;
}

/* Cuts received bytes into frames; what may not be read now is kept for later. */
static void frames_cut(struct connection *c, view v)
{
    while (v.len && !c->closed) {
        if (c->mute) {
            c->rest = frame_from(&c->loop->broker->pieces, v);
            return;
        }
        if (c->head_len < sizeof(c->head)) {
            size_t take = MIN(sizeof(c->head) - c->head_len, v.len);
            memcpy(c->head + c->head_len, v.at, take);
            c->head_len = (uint8_t)(c->head_len + take);
            v = view_from(v, take);
            if (c->head_len < sizeof(c->head)) {
                c->frame_due_ns = loop_now_ns(c->loop) + FRAME_WAIT_MS * 1000000LL;
                return;
            }
            if (!frame_bytes_check(c)) {
                return;
            }
        }
        if (v.len < c->frame_bytes) {
            frame_start(c, v.at ? v : VIEW(""));
            return;
        }
        c->frame = frame_from(&c->loop->broker->frames, view_upto(v, c->frame_bytes));
        v = view_from(v, c->frame_bytes);
        frame_done(c);
        connection_update(c);
    }
}

/* One receive; false when there is nothing more for now. */
static bool receive_once(struct connection *c)
{
    struct loop *loop = c->loop;
    struct buf *frame = c->frame;
    size_t rest = frame ? c->frame_bytes - frame->len : 0;
    struct iovec parts[2] = {{frame ? frame->bytes + frame->len : NULL, rest},
                             {loop->scratch, LOOP_SCRATCH_BYTES}};
    ssize_t got = readv(c->fd, frame ? parts : parts + 1, frame ? 2 : 1);

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (got <= 0) {
        connection_close(c);
        return false;
    }
    c->active_ns = loop_now_ns(loop);
    loop->counts.bytes_in += got;
    size_t into_frame = MIN((size_t)got, rest);
    if (frame) {
        frame->len += (uint32_t)into_frame;
        if (into_frame == rest) {
            frame_done(c);
        }
    }
    connection_update(c);
    frames_cut(c, (view){loop->scratch, (size_t)got - into_frame});
    return (size_t)got == rest + LOOP_SCRATCH_BYTES;
}

static void receive(struct connection *c)
{
    struct buf *rest = c->rest;

    c->holders++;
    if (rest) {
        c->rest = NULL;
        frames_cut(c, (view){rest->bytes, rest->len});
        buf_drop(rest);
    }
    for (int i = 0; i < RECEIVES_MAX && !c->closed && !c->mute; i++) {
        if (is_full(c->loop->broker) && !c->frame) {
            starve(c);
            break;
        }
        if (!receive_once(c)) {
            break;
        }
        connection_update(c);
    }
    connection_update(c);
    connection_drop(c);
}

static void polled(uv_poll_t *poll, int status, int events)
{
    struct connection *c = poll->data;

    c->holders++;
    if (status < 0) {
        connection_close(c);
    }
    if (!c->closed && (events & UV_WRITABLE)) {
        c->wants_room = false;
        connection_dirty(c);
    }
    if (!c->closed && (events & UV_DISCONNECT)) {
        c->hung_up = true;
        connection_update(c);
    }
    if (!c->closed && (events & (UV_READABLE | UV_DISCONNECT)) && !c->mute) {
        receive(c);
    }
    connection_drop(c);
}

void connection_update(struct connection *c)
{
    const struct broker_config *config = c->loop->broker->config;

    if (c->closed) {
        return;
    }
    c->mute &= ~(unsigned)MUTE_BUSY;
    bool parked = c->oldest && c->oldest->gone;
    if (c->in_flight >= config->in_flight_max || c->queued_bytes > ANSWER_BYTES_QUEUED_MAX ||
        (parked && c->in_flight > REQUESTS_BEHIND_PARKED_MAX)) {
        c->mute |= MUTE_BUSY;
    }
    if (c->rest && !c->mute) {
        connection_dirty(c); /* its bytes are here: no poll will tell */
    }
    int events = (c->mute ? 0 : UV_READABLE) | (c->wants_room ? UV_WRITABLE : 0) |
                 (c->hung_up ? 0 : UV_DISCONNECT);
    if (events == c->events) {
        return;
    }
    c->events = events;
    if (events) {
        uv_poll_start(&c->poll, events, polled);
    } else {
        uv_poll_stop(&c->poll);
    }
}

void connection_dirty(struct connection *c)
{
    if (!c->dirty && !c->closed) {
        c->dirty = true;
        c->holders++;
        c->dirty_next = c->loop->dirty;
        c->loop->dirty = c;
    }
}

/* Nothing is owed to it: no answer waits, and what works would wait for others anyway. */
static bool is_idle(const struct connection *c)
{
    for (const struct request *r = c->oldest; r; r = r->next) {
        if (r->state != REQUEST_WORKING || !r->gone) {
            return false;
        }
    }
    return true;
}

void connections_flush(struct loop *loop)
{
    while (loop->dirty) {
        struct connection *c = loop->dirty;
        loop->dirty = c->dirty_next;
        c->dirty = false;
        if (!c->closed) {
            sender_flush(c);
            connection_update(c);
        }
        if (!c->closed && c->rest && !c->mute) {
            receive(c);
        }
        if (!c->closed && loop->drains && is_idle(c)) {
            connection_close(c);
        }
        connection_drop(c);
    }
}

static void throttle_over(struct loop_timer *timer)
{
    struct connection *c =
        (struct connection *)((char *)timer - offsetof(struct connection, throttle));

    c->mute &= ~(unsigned)MUTE_THROTTLED;
    connection_update(c);
}

void connection_throttle(struct connection *c, int32_t ms)
{
    if (ms > 0 && !c->closed) {
        c->mute |= MUTE_THROTTLED;
        loop_timer_set(c->loop, &c->throttle, loop_now_ns(c->loop) + ms * 1000000LL);
    }
}

static void sweep_one(struct connection *c, int64_t now)
{
    int64_t idle_ms = (now - c->active_ns) / 1000000;

    if (c->wants_room && idle_ms > SEND_STALL_MS) {
        connection_break(c, "it took nothing of its answer for %d s", SEND_STALL_MS / 1000);
    } else if ((c->frame || c->head_len) && !c->mute && now > c->frame_due_ns) {
        connection_break(c, "a request did not arrive whole in time");
    } else if (!c->in_flight && idle_ms > c->loop->broker->config->idle_ms_max) {
        connection_close(c); /* clients expect that: no line about it */
    }
}

void connections_sweep(struct loop_timer *timer)
{
    struct loop *loop = (struct loop *)((char *)timer - offsetof(struct loop, sweep));
    int64_t now = loop_now_ns(loop), every_ms = loop->broker->config->idle_ms_max / 4;

    for (struct connection *c = loop->all, *next; c; c = next) {
        next = c->after;
        sweep_one(c, now);
    }
    if (loop->connections) {
        every_ms = MAX(1, MIN(every_ms, SWEEP_MS));
        loop_timer_set(loop, &loop->sweep, now + every_ms * 1000000);
    }
}

/* True: it may be read again. */
static bool feed_one(struct connection *c)
{
    struct buf *whole = NULL;

    if (!c->frame) {
        return !is_full(c->loop->broker);
    }
    whole = frame_new(c, c->frame_bytes);
    if (!whole) {
        return false;
    }
    whole->len = c->frame->len;
    memcpy(whole->bytes, c->frame->bytes, whole->len);
    buf_drop(c->frame);
    c->frame = whole;
    return true;
}

void connections_feed(struct loop_timer *timer)
{
    struct loop *loop = (struct loop *)((char *)timer - offsetof(struct loop, feed));
    struct connection *hungry = loop->starved;

    loop->starved = NULL; /* those who stay hungry keep their order */
    while (hungry) {
        struct connection *c = hungry;
        hungry = c->starved_next;
        c->mute &= ~(unsigned)MUTE_STARVED;
        if (!feed_one(c)) {
            starve(c);
        }
        connection_update(c);
    }
}

void connections_drain(struct loop *loop)
{
    loop->drains = true;
    for (struct connection *c = loop->all, *next; c; c = next) {
        next = c->after;
        c->mute |= MUTE_DRAINS;
        connection_update(c);
        if (is_idle(c)) {
            connection_close(c);
        }
    }
}

void connections_close(struct loop *loop)
{
    while (loop->all) {
        connection_close(loop->all);
    }
}

void connection_new(struct loop *loop, int take_fd)
{
    struct connection *c = xcalloc(1, sizeof(*c));
    int on = 1;

    socket_tune(take_fd);
    setsockopt(take_fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)); /* peers that vanished */
    c->loop = loop;
    c->fd = take_fd;
    c->holders = 1; /* libuv's, until poll_gone */
    c->active_ns = loop_now_ns(loop);
    c->throttle.ring = throttle_over;
    c->poll.data = c;
    uv_poll_init(&loop->uv, &c->poll, take_fd);
    link_in(c);
    loop->counts.opened++;
    connection_update(c);
}
