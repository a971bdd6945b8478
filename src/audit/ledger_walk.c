/* ledger_walk.c - reading a ledger entry by entry, and waiting for more.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "audit/ledger_inside.h"
#include "audit/records.h"

#define NS_PER_S INT64_C(1000000000)

struct ledger_walk {
    struct ledger *ledger;
    struct records_walk records;
    struct arena arena;
    struct relation *table; /* of the last entry */
};

struct waiting {
    struct log_wait wait; /* first */
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool awake;
};

static void wake(struct log_wait *wait)
{
    struct waiting *w = (struct waiting *)(void *)wait;

    pthread_mutex_lock(&w->lock);
    w->awake = true;
    pthread_cond_signal(&w->woken);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for(struct ledger *l, int64_t offset, int64_t wait_ms)
{
    struct os *os = log_os(l->log);
    int64_t due = os->tick_ns(os) + wait_ms * 1000000;
    struct timespec until = {.tv_sec = due / NS_PER_S, .tv_nsec = due % NS_PER_S};
    struct waiting w = {.wait = {.partition = l->partition, .offset = offset, .wake = wake},
                        .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t attributes;
    int timeout = 0;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w.woken, &attributes);
    pthread_condattr_destroy(&attributes);
    if (log_wait_add(&w.wait)) {
        pthread_mutex_lock(&w.lock);
        while (!w.awake && !timeout) {
            timeout = pthread_cond_timedwait(&w.woken, &w.lock, &until);
        }
        pthread_mutex_unlock(&w.lock);
        log_wait_remove(&w.wait);
    }
    pthread_cond_destroy(&w.woken);
    pthread_mutex_destroy(&w.lock);
}

struct ledger_walk *ledger_walk_new(struct ledger *ledger, int64_t offset)
{
    struct ledger_walk *walk = xcalloc(1, sizeof(*walk));

    walk->ledger = ledger;
    records_walk_init(&walk->records, ledger->log, ledger->partition, offset, -1);
    return walk;
}

static err next(struct ledger_walk *walk, struct record *record, bool *more)
{
    struct partition_ends ends;

    partition_ends(walk->ledger->partition, &ends);
    walk->records.until = ends.high;
    return records_walk_next(&walk->records, record, more);
}

err ledger_walk_next(struct ledger_walk *walk, int64_t wait_ms, struct ledger_entry *out,
                     bool *more)
{
    struct record record;

    relation_drop(walk->table);
    walk->table = NULL;
    arena_reset(&walk->arena);
    err e = next(walk, &record, more);
    if (!e && !*more && wait_ms > 0) {
        wait_for(walk->ledger, walk->records.next, wait_ms);
        e = next(walk, &record, more);
    }
    return e || !*more ? e : ledger_entry_read(&walk->arena, &record, out, &walk->table);
}

void ledger_walk_free(struct ledger_walk *walk)
{
    if (walk) {
        relation_drop(walk->table);
        records_walk_fini(&walk->records);
        arena_fini(&walk->arena);
        free(walk);
    }
}
