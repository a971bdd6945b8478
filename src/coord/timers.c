/* timers.c - a binary heap that knows where each timer sits, so that any can be moved or taken
 * out.
 *
 * Invariants: heap[i]->place == i + 1; no timer is due before its parent. A group of thousands
 * beats every few seconds, and each beat moves one timer: O(log n) without allocation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/timers.h"

#include <stdlib.h>

static void put(struct timers *t, size_t at, struct timer *timer)
{
    t->heap[at] = timer;
    timer->place = at + 1;
}

static void sift_up(struct timers *t, size_t at)
{
    struct timer *timer = t->heap[at];

    for (; at > 0 && t->heap[(at - 1) / 2]->due_ns > timer->due_ns; at = (at - 1) / 2) {
        put(t, at, t->heap[(at - 1) / 2]);
    }
    put(t, at, timer);
}

static void sift_down(struct timers *t, size_t at)
{
    struct timer *timer = t->heap[at];

    for (size_t child; (child = 2 * at + 1) < t->count; at = child) {
        if (child + 1 < t->count && t->heap[child + 1]->due_ns < t->heap[child]->due_ns) {
            child++;
        }
        if (t->heap[child]->due_ns >= timer->due_ns) {
            break;
        }
        put(t, at, t->heap[child]);
    }
    put(t, at, timer);
}

bool timer_is_set(const struct timer *timer)
{
    return timer->place > 0;
}

void timer_clear(struct timers *t, struct timer *timer)
{
    if (!timer->place) {
        return;
    }
    size_t at = timer->place - 1;
    assert(at < t->count && t->heap[at] == timer);
    struct timer *last = t->heap[--t->count];

    timer->place = 0;
    if (last != timer) {
        put(t, at, last);
        sift_up(t, at);
        sift_down(t, last->place - 1);
    }
}

void timer_set(struct timers *t, struct timer *timer, int64_t due_ns,
               void (*fire)(struct timer *))
{
    timer_clear(t, timer);
    timer->due_ns = due_ns;
    timer->fire = fire;
    t->heap = array_room(t->heap, t->count, &t->room, sizeof(struct timer *));
    put(t, t->count++, timer);
    sift_up(t, t->count - 1);
}

int64_t timers_run(struct timers *t, int64_t now_ns)
{
    while (t->count && t->heap[0]->due_ns <= now_ns) {
        struct timer *timer = t->heap[0];
        timer_clear(t, timer);
        timer->fire(timer); /* may set and clear any, itself too */
    }
    return t->count ? t->heap[0]->due_ns : WORKER_NEVER;
}

void timers_fini(struct timers *t)
{
    free(t->heap);
    *t = (struct timers){0};
}
