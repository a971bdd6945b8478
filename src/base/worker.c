/* worker.c - mailboxes and the turn of an actor.
 *
 * The mailbox is a stack that writers push onto and the reader takes whole, reversing it. A
 * writer that finds it non-empty need not wake anybody: whoever made it non-empty has done so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

static _Thread_local const struct worker *current;

bool mailbox_post(struct mailbox *box, struct job *job)
{
    struct job *newest = atomic_load_explicit(&box->newest, memory_order_relaxed);

    do {
        job->next = newest;
    } while (!atomic_compare_exchange_weak(&box->newest, &newest, job));
    return newest == NULL;
}

struct job *mailbox_drain(struct mailbox *box)
{
    struct job *newest = atomic_exchange(&box->newest, NULL), *oldest = NULL;

    while (newest) {
        struct job *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

bool mailbox_is_empty(const struct mailbox *box)
{
    return atomic_load(&((struct mailbox *)(uintptr_t)box)->newest) == NULL;
}

size_t mailbox_run(struct job *jobs)
{
    size_t count = 0;

    while (jobs) {
        struct job *next = jobs->next; /* work() may free or post the job again */
        jobs->work(jobs);
        jobs = next;
        count++;
    }
    return count;
}

err worker_start(struct worker *worker, struct os *os)
{
    assert(worker->name);
    worker->os = os;
    worker->due_ns = worker->turn ? 0 : WORKER_NEVER; /* the first turn comes without mail */
    atomic_store(&worker->ends, false);               /* it may have been stopped before */
    err e = os->worker_start(os, worker);
    if (e) {
        worker->os = NULL; /* worker_stop has nothing to join */
    }
    return e;
}

void worker_post(struct worker *worker, struct job *job)
{
    assert(worker->os);
    if (mailbox_post(&worker->box, job)) {
        worker->os->worker_wake(worker->os, worker);
    }
}

void worker_turn(struct worker *worker)
{
    const struct worker *outer = current;
    struct job *jobs = mailbox_drain(&worker->box);

    current = worker;
    if (worker->turn) {
        worker->due_ns = worker->turn(worker, jobs);
    } else {
        mailbox_run(jobs);
        worker->due_ns = WORKER_NEVER;
    }
    current = outer;
}

void worker_stop(struct worker *worker)
{
    if (!worker->os) {
        return; /* never started */
    }
    atomic_store(&worker->ends, true);
    worker->os->worker_wake(worker->os, worker);
    worker->os->worker_join(worker->os, worker);
    worker->os = NULL;
}

bool worker_is_current(const struct worker *worker)
{
    return current == worker;
}
