/* worker.h - an actor: one mailbox, one thread that drains it whole.
 *
 * worker_post() may be called by any thread; it costs one exchange, and a wake-up only when the
 * worker sleeps. The worker's turn() gets all waiting jobs at once, oldest first, and returns
 * when it wants to be called again without mail (a tick_ns, WORKER_NEVER for only with mail).
 * Under os_sim a scheduler calls turn() in a seeded order and no thread exists.
 *
 * Life: fill name/turn/self, worker_start, worker_post..., worker_stop (drains, then joins). */
#ifndef TIDEMARK_BASE_WORKER_H
#define TIDEMARK_BASE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define WORKER_NEVER INT64_MAX

struct os;
struct worker;

struct job {
    struct job *next;           /* the mailbox's while posted */
    void (*work)(struct job *); /* run by mailbox_run on the receiver's thread */
};

/* Many writers, one reader; zeroed = empty. */
struct mailbox {
    struct job *_Atomic newest;
};

bool mailbox_post(struct mailbox *box, struct job *job); /* true: it was empty before */
struct job *mailbox_drain(struct mailbox *box);          /* oldest first, NULL when empty */
bool mailbox_is_empty(const struct mailbox *box);
size_t mailbox_run(struct job *jobs); /* calls work() of each, in order */

struct worker {
    const char *name;                                         /* thread name, 15 characters */
    int64_t (*turn)(struct worker *worker, struct job *jobs); /* NULL: mailbox_run, NEVER */
    void *self;                                               /* the owner's */
    int niceness; /* of its thread, for work that may lag: 0 to 19 */
    struct os *os;
    struct mailbox box;
    _Atomic uint32_t signal; /* futex word: bumped to wake */
    _Atomic bool sleeps, ends;
    int64_t due_ns; /* what turn() returned last */
    pthread_t thread;
    void *sim; /* the simulator's */
};

MUST_CHECK err worker_start(struct worker *worker, struct os *os);
void worker_post(struct worker *worker, struct job *job);
void worker_stop(struct worker *worker);             /* all posted before has been run */
bool worker_is_current(const struct worker *worker); /* for assertions */

/* One turn with what waits now; used by os_real's threads and by simulators. */
void worker_turn(struct worker *worker);

#endif
