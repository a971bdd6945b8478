/* timers_test.c - the heap of timers against a plain scan. SPDX-License-Identifier: Apache-2.0
 */
#include "coord/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"

#define TIMERS 60

static struct timer *fired[TIMERS * 4];
static size_t fired_count;

static void note(struct timer *timer)
{
    fired[fired_count++] = timer;
}

static void timers_fire_in_order_of_their_time(void **state)
{
    struct timers heap = {0};
    struct timer timers[TIMERS] = {0};
    bool set[TIMERS] = {false};
    uint32_t dice = 12345;
    int64_t now = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        dice = dice * 1664525 + 1013904223;
        size_t i = dice >> 8 & 0xffff;
        struct timer *t = &timers[i % TIMERS];
        if (dice >> 28 < 10) {
            timer_set(&heap, t, now + (dice >> 12) % 500, note);
            set[i % TIMERS] = true;
        } else if (dice >> 28 < 12) {
            timer_clear(&heap, t);
            set[i % TIMERS] = false;
        } else {
            now += 50;
            fired_count = 0;
            int64_t next = timers_run(&heap, now), want = WORKER_NEVER;
            for (size_t k = 0; k < fired_count; k++) {
                assert_true(set[fired[k] - timers]);
                assert_true(fired[k]->due_ns <= now);
                assert_true(k == 0 || fired[k - 1]->due_ns <= fired[k]->due_ns);
                set[fired[k] - timers] = false;
            }
            for (size_t k = 0; k < TIMERS; k++) {
                assert_true(!set[k] || timers[k].due_ns > now);
                want = set[k] ? MIN(want, timers[k].due_ns) : want;
                assert_true(set[k] == timer_is_set(&timers[k]));
            }
            assert_int_equal(next, want);
        }
    }
    timers_fini(&heap);
}

static struct timers again_heap;

static void again(struct timer *timer)
{
    if (fired_count++ < 3) {
        timer_set(&again_heap, timer, timer->due_ns, again);
    }
}

static void a_timer_may_set_itself_anew(void **state)
{
    struct timer timer = {0};

    (void)state;
    fired_count = 0;
    timer_set(&again_heap, &timer, 5, again);
    assert_int_equal(timers_run(&again_heap, 4), 5);
    assert_int_equal(timers_run(&again_heap, 5), WORKER_NEVER);
    assert_int_equal(fired_count, 4);
    timers_fini(&again_heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_of_their_time),
        cmocka_unit_test(a_timer_may_set_itself_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
