/* loop.c - net threads: mailbox, timers, life. SPDX-License-Identifier: Apache-2.0 */
#include "broker/loop.h"

#include <signal.h>
#include <stdlib.h>

#include "broker/connection.h"
#include "broker/meter.h"

#define COMPLAINTS_PER_SECOND 10

static void heap_put(struct loop_timers *t, size_t place, struct loop_timer *timer)
{
    t->heap[place - 1] = timer;
    timer->place = place;
}

static void heap_up(struct loop_timers *t, struct loop_timer *timer)
{
    size_t place = timer->place;

    while (place > 1 && t->heap[place / 2 - 1]->due_ns > timer->due_ns) {
        heap_put(t, place, t->heap[place / 2 - 1]);
        place /= 2;
    }
    heap_put(t, place, timer);
}

static void heap_down(struct loop_timers *t, struct loop_timer *timer)
{
    size_t place = timer->place;

    for (;;) {
        size_t child = place * 2;
        if (child < t->count && t->heap[child]->due_ns < t->heap[child - 1]->due_ns) {
            child++;
        }
        if (child > t->count || t->heap[child - 1]->due_ns >= timer->due_ns) {
            break;
        }
        heap_put(t, place, t->heap[child - 1]);
        place = child;
    }
    heap_put(t, place, timer);
}

static void heap_remove(struct loop_timers *t, struct loop_timer *timer)
{
    size_t place = timer->place;
    struct loop_timer *last = t->heap[--t->count];

    timer->place = 0;
    if (last != timer) {
        heap_put(t, place, last);
        heap_up(t, last);
        heap_down(t, last);
    }
}

int64_t loop_now_ns(const struct loop *loop)
{
    return loop->broker->os->tick_ns(loop->broker->os);
}

static void clock_rings(uv_timer_t *clock);

/* The clock runs for the earliest timer; one set too early only wakes us once for nothing. */
static void clock_set(struct loop *loop)
{
    int64_t due = loop->timers.count ? loop->timers.heap[0]->due_ns : INT64_MAX;

    if (due >= loop->clock_ns) {
        return;
    }
    int64_t wait_ms = (due - loop_now_ns(loop) + 999999) / 1000000;
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->clock, clock_rings, (uint64_t)MAX(wait_ms, 0), 0);
    loop->clock_ns = due;
}

static void clock_rings(uv_timer_t *clock)
{
    struct loop *loop = clock->data;
    int64_t now = loop_now_ns(loop);

    loop->clock_ns = INT64_MAX;
    while (loop->timers.count && loop->timers.heap[0]->due_ns <= now) {
        struct loop_timer *timer = loop->timers.heap[0];
        heap_remove(&loop->timers, timer);
        timer->ring(timer);
    }
    connections_flush(loop);
    clock_set(loop);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t due_ns)
{
    struct loop_timers *t = &loop->timers;

    assert(timer->ring);
    loop_timer_cancel(loop, timer);
    t->heap = array_room(t->heap, t->count, &t->room, sizeof(struct loop_timer *));
    timer->due_ns = due_ns;
    timer->place = ++t->count;
    heap_up(t, timer);
    clock_set(loop);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    if (timer->place) {
        heap_remove(&loop->timers, timer);
    }
}

bool loop_may_complain(struct loop *loop)
{
    int64_t second = loop_now_ns(loop) / 1000000000;

    if (second != loop->complain_second) {
        loop->complain_second = second;
        loop->complained = 0;
    }
    return loop->complained++ < COMPLAINTS_PER_SECOND;
}

static void woken(uv_async_t *wake)
{
    struct loop *loop = wake->data;

    mailbox_run(mailbox_drain(&loop->box));
}

static void turned(uv_check_t *check)
{
    connections_flush(check->data);
}

static void drained_too_long(struct loop_timer *timer)
{
    connections_close((struct loop *)((char *)timer - offsetof(struct loop, limit)));
}

void loop_post(struct loop *loop, struct job *job)
{
    if (mailbox_post(&loop->box, job)) {
        uv_async_send(&loop->wake);
    }
}

void loop_settle(struct loop *loop)
{
    if (loop->drains && !loop->connections && !loop->requests) {
        loop->ends = true;
        uv_stop(&loop->uv);
    }
}

static void *loop_run(void *self)
{
    struct loop *loop = self;

    while (!loop->ends) {
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    }
    assert(loop->requests == 0);
    assert(loop->connections == 0);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->clock, NULL);
    uv_close((uv_handle_t *)&loop->turned, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT); /* lets the close callbacks run */
    return NULL;
}

err loop_start(struct loop *loop, struct broker *broker, int index)
{
    sigset_t all, before;

    loop->broker = broker;
    loop->index = index;
    loop->clock_ns = INT64_MAX;
    loop->scratch = xmalloc(LOOP_SCRATCH_BYTES);
    loop->chunk = xmalloc(LOOP_CHUNK_BYTES);
    loop->meters = meters_new();
    if (uv_loop_init(&loop->uv) || uv_async_init(&loop->uv, &loop->wake, woken)) {
        return fault(ERR_IO, "cannot make an event loop: out of descriptors?");
    }
    uv_timer_init(&loop->uv, &loop->clock);
    uv_check_init(&loop->uv, &loop->turned);
    uv_check_start(&loop->turned, turned);
    loop->sweep.ring = connections_sweep;
    loop->feed.ring = connections_feed;
    loop->limit.ring = drained_too_long;
    loop->turned.data = loop;
    loop->wake.data = loop;
    loop->clock.data = loop;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&loop->thread, NULL, loop_run, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        return fault(ERR_IO, "cannot start a net thread");
    }
    pthread_setname_np(loop->thread, "net");
    return OK;
}

void loop_join(struct loop *loop)
{
    pthread_join(loop->thread, NULL);
    mailbox_run(mailbox_drain(&loop->box));
    int left = uv_loop_close(&loop->uv);
    assert(left == 0);
    free(loop->timers.heap);
    free(loop->scratch);
    free(loop->chunk);
    free(loop->meters);
}
