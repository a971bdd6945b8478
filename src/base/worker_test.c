/* worker_test.c - mailboxes and workers on real threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/base.h"

#define WRITERS 6
#define POSTS 20000

struct note {
    struct job job;
    struct ledger *ledger;
    int writer, number;
};

struct ledger {
    struct worker worker;
    int next[WRITERS]; /* only the worker touches it */
    _Atomic size_t seen;
    bool in_order;
};

struct writer_thread {
    pthread_t thread;
    struct ledger *ledger;
    int index;
    struct note *notes;
};

static void enter_note(struct job *job)
{
    struct note *note = (struct note *)job;
    struct ledger *l = note->ledger;

    l->in_order =
        l->in_order && l->next[note->writer] == note->number && worker_is_current(&l->worker);
    l->next[note->writer]++;
    atomic_fetch_add(&l->seen, 1);
}

static void *post_all(void *arg)
{
    struct writer_thread *w = arg;

    for (int i = 0; i < POSTS; i++) {
        w->notes[i] = (struct note){{.work = enter_note}, w->ledger, w->index, i};
        worker_post(&w->ledger->worker, &w->notes[i].job);
    }
    return NULL;
}

static void many_writers_lose_nothing_and_keep_their_order(void **state)
{
    struct ledger l = {.worker = {.name = "ledger"}, .in_order = true};
    struct writer_thread writers[WRITERS];

    (void)state;
    assert_int_equal(worker_start(&l.worker, os_real()), OK);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer_thread){.ledger = &l, .index = i};
        writers[i].notes = xcalloc(POSTS, sizeof(struct note));
        assert_int_equal(pthread_create(&writers[i].thread, NULL, post_all, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    }
    worker_stop(&l.worker); /* runs what still waits */
    assert_int_equal(atomic_load(&l.seen), WRITERS * POSTS);
    assert_true(l.in_order);
    assert_false(worker_is_current(&l.worker));
    for (int i = 0; i < WRITERS; i++) {
        free(writers[i].notes);
    }
}

struct player {
    struct worker worker;
    struct player *other;
    int left;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool ended;
};

struct ball {
    struct job job;
    struct player *at;
};

static void play(struct job *job)
{
    struct ball *ball = (struct ball *)job;
    struct player *here = ball->at;

    if (--here->left == 0) {
        pthread_mutex_lock(&here->lock);
        here->ended = true;
        pthread_cond_signal(&here->over);
        pthread_mutex_unlock(&here->lock);
        return;
    }
    ball->at = here->other;
    worker_post(&here->other->worker, job); /* most times the other sleeps: a wake-up each */
}

static void no_wake_up_is_lost_between_two_sleepers(void **state)
{
    struct player players[2] = {{.worker = {.name = "left"}, .left = 10001},
                                {.worker = {.name = "right"}, .left = 10000}};
    struct ball ball = {{.work = play}, &players[0]};

    (void)state;
    for (int i = 0; i < 2; i++) {
        players[i].other = &players[1 - i];
        pthread_mutex_init(&players[i].lock, NULL);
        pthread_cond_init(&players[i].over, NULL);
        assert_int_equal(worker_start(&players[i].worker, os_real()), OK);
    }
    worker_post(&players[0].worker, &ball.job);
    pthread_mutex_lock(&players[1].lock);
    while (!players[1].ended) { /* a lost wake-up hangs here */
        pthread_cond_wait(&players[1].over, &players[1].lock);
    }
    pthread_mutex_unlock(&players[1].lock);
    worker_stop(&players[0].worker);
    worker_stop(&players[1].worker);
    assert_int_equal(players[0].left, 1);
}

struct ticker {
    struct worker worker;
    _Atomic int ticks;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static int64_t tick(struct worker *worker, struct job *jobs)
{
    struct ticker *t = worker->self;

    mailbox_run(jobs);
    pthread_mutex_lock(&t->lock);
    t->ticks++;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return worker->os->tick_ns(worker->os) + 1000000;
}

static void nothing(struct job *job)
{
    (void)job;
}

static void a_due_worker_runs_without_mail_and_starts_again_after_a_stop(void **state)
{
    struct ticker t = {.worker = {.name = "ticker", .turn = tick, .self = &t}};
    struct job kick = {.work = nothing};

    (void)state;
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.changed, NULL);
    for (int run = 1; run <= 2; run++) {
        assert_int_equal(worker_start(&t.worker, os_real()), OK);
        int64_t start = os_real()->tick_ns(os_real());
        worker_post(&t.worker, &kick);
        pthread_mutex_lock(&t.lock);
        while (t.ticks < 10 * run) {
            pthread_cond_wait(&t.changed, &t.lock);
        }
        pthread_mutex_unlock(&t.lock);
        assert_true(os_real()->tick_ns(os_real()) - start >= 8000000);
        worker_stop(&t.worker);
        t.ticks = 10;
    }
}

static void a_worker_never_started_stops_in_peace(void **state)
{
    struct worker w = {.name = "idle"};

    (void)state;
    worker_stop(&w);
}

static void a_mailbox_gives_oldest_first(void **state)
{
    struct mailbox box = {0};
    struct job jobs[3] = {{.work = nothing}, {.work = nothing}, {.work = nothing}};

    (void)state;
    assert_true(mailbox_is_empty(&box));
    assert_true(mailbox_post(&box, &jobs[0]));
    assert_false(mailbox_post(&box, &jobs[1]));
    assert_false(mailbox_post(&box, &jobs[2]));
    struct job *got = mailbox_drain(&box);
    assert_ptr_equal(got, &jobs[0]);
    assert_ptr_equal(got->next, &jobs[1]);
    assert_null(got->next->next->next);
    assert_int_equal(mailbox_run(got), 3);
    assert_null(mailbox_drain(&box));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_writers_lose_nothing_and_keep_their_order),
        cmocka_unit_test(no_wake_up_is_lost_between_two_sleepers),
        cmocka_unit_test(a_due_worker_runs_without_mail_and_starts_again_after_a_stop),
        cmocka_unit_test(a_worker_never_started_stops_in_peace),
        cmocka_unit_test(a_mailbox_gives_oldest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
