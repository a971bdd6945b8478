/* coord.c - opening, closing, and the way of every ask through the one worker.
 *
 *   coord_join() ... -> ask_post -> [worker] -> kind->run -> ask_done | ask_park | journal
 *
 * Asks over the limit, or after coord_close began, are refused on the worker's thread, so that
 * done() always comes from there. Closing answers what is parked, then waits until the store
 * owes nothing. SPDX-License-Identifier: Apache-2.0 */
#include "coord/coord.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "coord/offsets_state.h"
#include "coord/replay.h"
#include "coord/txns.h"

const char *coord_status_text(enum coord_status status)
{
    static const char *const texts[] = {
#define X(name, text) text,
        COORD_STATUS(X)
#undef X
    };
    assert(status < COORD_STATUS_COUNT);
    return texts[status];
}

void coord_config_preset(struct coord_config *config)
{
    *config = (struct coord_config){
        .initial_rebalance_ms = 500,
        .session_ms_min = 6000,
        .session_ms_max = 1800000,
        .members_max = 10000,
        .groups_max = 100000,
        .member_bytes_max = 256 << 20,
        .offsets_max = 2000000,
        .metadata_bytes_max = 4096,
        .offsets_retention_ms = INT64_C(7) * 24 * 3600 * 1000,
        .expiry_check_ms = 600000,
        .txn_timeout_ms_max = 900000,
        .txn_id_expiry_ms = INT64_C(7) * 24 * 3600 * 1000,
        .txn_ids_max = 1000000,
        .asks_max = 100000,
        .offsets_partitions = 50,
        .txn_partitions = 50,
    };
}

void **values_of(const struct map *m)
{
    void **values = xcalloc(m->count + 1, sizeof(void *)), *value;
    size_t count = 0;

    for (size_t at = 0; (value = map_next(m, &at));) {
        values[count++] = value;
    }
    return values;
}

int64_t coord_due(struct coord *c, int64_t wait_ms)
{
    const int64_t year_ms = INT64_C(366) * 24 * 3600 * 1000; /* as good as never */

    return c->os->tick_ns(c->os) + MIN(MAX(wait_ms, 0), year_ms) * 1000000;
}

int64_t coord_now_ms(struct coord *c)
{
    return c->os->now_ms(c->os);
}

static void ask_run(struct job *job)
{
    struct coord_ask *ask = (struct coord_ask *)(void *)job;
    struct coord *c = ask->coord;

    if (c->closing) {
        ask_refuse(ask, COORD_NOT_COORDINATOR);
    } else if (c->asks > c->config.asks_max) {
        ask_refuse(ask, COORD_LOADING);
    } else {
        ask->kind->run(c, ask);
    }
}

void ask_post(struct coord *c, struct coord_ask *ask, const struct ask_kind *kind)
{
    assert(ask->arena);
    assert(ask->done);
    ask->coord = c;
    ask->kind = kind;
    ask->status = COORD_OK;
    ask->parked_in = NULL;
    ask->id = atomic_fetch_add(&c->last_ask_id, 1) + 1;
    ask->job.work = ask_run;
    c->asks++;
    worker_post(&c->worker, &ask->job);
}

void ask_done(struct coord_ask *ask, enum coord_status status)
{
    struct coord *c = ask->coord;

    assert(worker_is_current(&c->worker));
    if (ask->parked_in) {
        map_remove(&c->parked, VIEW_OF(ask->id));
        ask->parked_in = NULL;
    }
    ask->status = status;
    c->asks--;
    ask->done(ask);
}

void ask_refuse(struct coord_ask *ask, enum coord_status status)
{
    if (ask->kind->refuse) {
        ask->kind->refuse(ask, status);
    }
    ask_done(ask, status);
}

void ask_park(struct coord_ask *ask, void *member)
{
    assert(member && !ask->parked_in);
    ask->parked_in = member;
    map_put(&ask->coord->parked, VIEW_OF(ask->id), ask);
}

static void give_up(struct coord_ask *ask, enum coord_status status)
{
    struct member *m = ask->parked_in;

    if ((struct coord_ask *)(void *)m->join == ask) {
        member_answer_join(m, status);
    } else {
        assert((struct coord_ask *)(void *)m->sync == ask);
        member_answer_sync(m, status);
    }
}

struct abandon {
    struct job job; /* first */
    struct coord *coord;
    uint64_t ask_id;
};

static void abandon_run(struct job *job)
{
    struct abandon *a = (struct abandon *)(void *)job;
    struct coord_ask *ask = map_get(&a->coord->parked, VIEW_OF(a->ask_id));

    if (ask) {
        give_up(ask, COORD_CANCELLED);
    }
    free(a);
}

void coord_abandon(struct coord *c, uint64_t ask_id)
{
    struct abandon *a = xcalloc(1, sizeof(*a));

    a->job.work = abandon_run;
    a->coord = c;
    a->ask_id = ask_id;
    worker_post(&c->worker, &a->job);
}

static void signal_change(struct coord *c, _Atomic bool *flag)
{
    pthread_mutex_lock(&c->lock);
    *flag = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void wait_for(struct coord *c, _Atomic bool *flag)
{
    pthread_mutex_lock(&c->lock);
    while (!*flag) {
        pthread_cond_wait(&c->changed, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

void coord_say_settled(struct coord *c)
{
    if (!c->unsettled && !c->settled) {
        signal_change(c, &c->settled);
    }
}

bool coord_is_settled(const struct coord *c)
{
    return c->settled;
}

void coord_settle(struct coord *c)
{
    wait_for(c, &c->settled);
}

static void beat(struct timer *timer)
{
    struct coord *c = (struct coord *)(void *)((char *)timer - offsetof(struct coord, expiry));

    offsets_expire(c);
    txns_expire(c);
    timer_set(&c->timers, timer, coord_due(c, c->config.expiry_check_ms), beat);
}

/* Answers whatever waits for something other than the store. */
static void answer_all(struct coord *c)
{
    size_t parked_count = c->parked.count;
    void **parked = values_of(&c->parked);
    struct coord_ask *ask;
    struct txn *t;

    for (size_t i = 0; i < parked_count; i++) {
        give_up(parked[i], COORD_NOT_COORDINATOR);
    }
    free(parked);
    for (size_t at = 0; (t = map_next(&c->txns, &at));) {
        for (size_t i = 0; i < t->deferred_count; i++) {
            ask_refuse(t->deferred[i], COORD_NOT_COORDINATOR);
        }
        t->deferred_count = 0;
        if (t->ending && !t->marks_under_way) { /* a restart goes on with its markers */
            ask = t->ending;
            t->ending = NULL;
            ask_done(ask, COORD_NOT_COORDINATOR);
        }
    }
}

static int64_t turn(struct worker *worker, struct job *jobs)
{
    struct coord *c = worker->self;

    mailbox_run(jobs);
    if (!c->closing) {
        return timers_run(&c->timers, c->os->tick_ns(c->os));
    }
    answer_all(c);
    if (!c->store_calls && !c->drained) {
        signal_change(c, &c->drained);
    }
    return WORKER_NEVER;
}

static void resume(struct job *job)
{
    struct coord *c = (struct coord *)(void *)((char *)job - offsetof(struct coord, open_job));

    timer_set(&c->timers, &c->expiry, coord_due(c, c->config.expiry_check_ms), beat);
    replay_resume(c);
}

static void begin_close(struct job *job)
{
    struct coord *c = (struct coord *)(void *)((char *)job - offsetof(struct coord, close_job));

    c->closing = true;
}

static void free_group(struct group *g)
{
    size_t count = g->offsets.count;
    void **offsets = values_of(&g->offsets);

    g->writes = 0;
    while (g->member_count) {
        member_remove(g->members[g->member_count - 1], COORD_NOT_COORDINATOR);
    }
    for (size_t i = 0; i < count; i++) {
        offset_forget(g, offsets[i]);
    }
    free(offsets);
    group_free(g);
}

static void free_all(struct coord *c)
{
    size_t group_count = c->groups.count, txn_count = c->txns.count;
    void **groups = values_of(&c->groups), **txns = values_of(&c->txns);
    struct hold *h;

    for (size_t at = 0; (h = map_next(&c->holds, &at));) {
        hold_free(h);
    }
    for (size_t i = 0; i < group_count; i++) {
        free_group(groups[i]);
    }
    for (size_t i = 0; i < txn_count; i++) {
        txn_free(txns[i]);
    }
    free(groups);
    free(txns);
    timers_fini(&c->timers);
    journals_fini(c);
    ids_fini(c);
    map_fini(&c->holds);
    map_fini(&c->groups);
    map_fini(&c->txns);
    map_fini(&c->parked);
    writer_fini(&c->scratch);
    c->store->close(c->store);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

err coord_open_on(struct os *os, struct coord_store *take_store,
                  const struct coord_config *config, struct coord **out)
{
    struct coord *c = xcalloc(1, sizeof(*c));

    c->os = os;
    c->store = take_store;
    c->config = *config;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    journals_init(c);
    err e = replay_offsets(c);
    if (!e) {
        e = replay_txns(c);
    }
    c->worker = (struct worker){.name = "coord", .turn = turn, .self = c};
    if (!e) {
        e = worker_start(&c->worker, os);
    }
    if (e) {
        free_all(c);
        return e;
    }
    c->open_job.work = resume;
    worker_post(&c->worker, &c->open_job);
    *out = c;
    return OK;
}

void coord_close(struct coord *c)
{
    if (!c) {
        return;
    }
    c->close_job.work = begin_close;
    worker_post(&c->worker, &c->close_job);
    if (c->os == os_real()) { /* a simulator has nobody else who could go on meanwhile */
        wait_for(c, &c->drained);
    }
    worker_stop(&c->worker);
    assert(c->drained);
    free_all(c);
}

err coord_open(struct log *log, const struct coord_config *config, struct coord **out)
{
    struct coord_store *store =
        store_log_new(log, config->offsets_partitions, config->txn_partitions);

    return coord_open_on(log_os(log), store, config, out);
}

void coord_metrics(struct coord *c, struct writer *out)
{
#define X(name, kind, help)                                                                    \
    write_format(out,                                                                          \
                 "# HELP tidemark_coord_" #name " " help "\n# TYPE tidemark_coord_" #name      \
                 " " #kind "\ntidemark_coord_" #name " %lld\n",                                \
                 (long long)c->counters.name);
    COORD_COUNTERS(X)
#undef X
}
