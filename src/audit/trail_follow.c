/* trail_follow.c - telling followers what comes, on a thread that waits for it.
 *
 * A follower's cursor moves to the end of what was searched for it, found or not, so that each
 * turn looks at what is new alone. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "audit/trail_inside.h"

#define WAIT_MS 250 /* for news, before asking who is gone */

static void add(struct job *job)
{
    struct trail_follower *f =
        (struct trail_follower *)(void *)((char *)job - offsetof(struct trail_follower, job));
    struct trail *t = f->trail;

    f->next = t->followers;
    t->followers = f;
}

void trail_follow(struct trail *trail, struct trail_follower *follower)
{
    follower->trail = trail;
    follower->query.oldest_first = true;
    follower->query.limit = 0;
    follower->job.work = add;
    worker_post(&trail->teller, &follower->job);
}

/* False: it wants no more. What cannot be read now is tried again with the next turn. */
static bool tell(struct trail *t, struct trail_follower *f)
{
    struct trail_found found = {0};
    int64_t numbered = trail_index_changes(t->index);

    if (f->is_gone(f->self)) {
        return false;
    }
    if (numbered <= f->query.cursor) {
        return true;
    }
    err e = trail_find(t, &f->query, f->each, f->self, &found);
    if (!e && !found.cursor) {
        f->query.cursor = MAX(f->query.cursor, found.numbered);
    }
    /* A cursor means that each() has stopped it. */
    return e != ERR_CLOSED && !found.cursor;
}

static void tell_all(struct trail *t)
{
    for (struct trail_follower **at = &t->followers; *at;) {
        struct trail_follower *f = *at;
        if (tell(t, f)) {
            at = &f->next;
        } else {
            *at = f->next;
            f->done(f->self);
        }
    }
}

static int64_t least_cursor(const struct trail *t)
{
    int64_t least = INT64_MAX;

    for (const struct trail_follower *f = t->followers; f; f = f->next) {
        least = MIN(least, f->query.cursor);
    }
    return least;
}

int64_t trail_teller_turn(struct worker *worker, struct job *jobs)
{
    struct trail *t = worker->self;

    mailbox_run(jobs);
    if (!t->followers || atomic_load(&worker->ends)) {
        return WORKER_NEVER;
    }
    tell_all(t);
    if (t->followers) {
        (void)trail_wait(t, least_cursor(t), WAIT_MS);
    }
    return t->config.os->tick_ns(t->config.os);
}

void trail_teller_end(struct trail *trail)
{
    while (trail->followers) {
        struct trail_follower *f = trail->followers;
        trail->followers = f->next;
        f->done(f->self);
    }
}
