/* watch.c - one thread over all slots, and the tables that come.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/watch.h"

#include <stdlib.h>

#include "audit/pg.h"
#include "audit/retention.h"
#include "audit/setup.h"
#include "audit/source_inside.h"

#define WATCH_NS INT64_C(10000000000)
#define WARN_AGAIN_MS 600000

struct watch {
    struct audit *audit;
    struct worker worker;
    struct job first;
    _Atomic bool ends;
    int64_t warned_ms, tables_warned_ms;
};

static void warn(struct watch *w, const struct source *source, int64_t bytes)
{
    int64_t now = w->audit->os->now_ms(w->audit->os);

    if (now - w->warned_ms > WARN_AGAIN_MS) {
        w->warned_ms = now;
        trace_warn("audit", "source %s: its slot holds back %lld MiB of WAL on the server",
                   source->name, (long long)(bytes >> 20));
    }
}

/* The database comes first: the gap is smaller than a full disk is bad. */
static err protect(struct source *source, struct pg *pg, int64_t bytes)
{
    err e = setup_slot_drop(pg, source->options.slot);

    if (!e) {
        trace_error("audit",
                    "source %s: slot %s held back %lld MiB, more than slot.max.bytes: it is "
                    "dropped to protect the database",
                    source->name, source->options.slot, (long long)(bytes >> 20));
    }
    return e;
}

static void look_for_tables(struct watch *w, struct source *source, struct pg *pg)
{
    int64_t now = w->audit->os->now_ms(w->audit->os);

    if (source_take_tables(source, pg) && now - w->tables_warned_ms > WARN_AGAIN_MS) {
        w->tables_warned_ms = now;
        trace_warn("audit", "source %s: %s", source->name, fault_here.text);
    }
}

static err look(struct watch *w, struct source *source, bool running)
{
    struct setup_slot_state state;
    struct pg *pg = NULL;
    err e = source_connect(source, "tidemark watch", &pg);

    e = e ? e : setup_slot_state(pg, source->options.slot, &state);
    if (!e) {
        pthread_mutex_lock(&source->lock);
        source->status.slot_bytes = state.held_bytes;
        pthread_mutex_unlock(&source->lock);
        if (state.held_bytes > source->options.slot_warn_bytes) {
            warn(w, source, state.held_bytes);
        }
        if (state.held_bytes > source->options.slot_max_bytes &&
            source->options.slot_guard == SLOT_PROTECT_DATABASE) {
            e = protect(source, pg, state.held_bytes);
        }
    }
    if (!e && running) {
        look_for_tables(w, source, pg);
    }
    pg_close(pg);
    return e;
}

static int64_t turn(struct worker *worker, struct job *jobs)
{
    struct watch *w = worker->self;
    struct source **all = NULL;
    size_t count = sources_list(w->audit, &all);

    (void)jobs;
    for (size_t i = 0; i < count; i++) {
        struct source_status status;
        source_status_get(all[i], &status);
        /* an edit changes options while the thread is stopped: not while we read them */
        if (!atomic_load(&w->ends) && pthread_mutex_trylock(&all[i]->life) == 0) {
            const struct source_options *o = &all[i]->options;
            if (retention_apply(all[i], o->keep, o->keep_ms)) {
                trace_warn("audit", "source %s: %s", all[i]->name, fault_here.text);
            }
            bool begun = status.durable_lsn || status.state != SOURCE_CREATING;
            bool running = status.state == SOURCE_RUNNING;
            if (begun && look(w, all[i], running)) {
                trace_debug("audit", "source %s: %s", all[i]->name, fault_here.text);
            }
            pthread_mutex_unlock(&all[i]->life);
        }
        source_drop(all[i]);
    }
    free(all);
    return w->audit->os->tick_ns(w->audit->os) + WATCH_NS;
}

static void nothing(struct job *job)
{
    (void)job;
}

err watch_start(struct audit *audit, struct watch **out)
{
    struct watch *w = xcalloc(1, sizeof(*w));

    w->audit = audit;
    w->worker = (struct worker){.name = "audit-watch", .turn = turn, .self = w};
    w->first.work = nothing;
    err e = worker_start(&w->worker, audit->os);
    if (e) {
        free(w);
        return e;
    }
    worker_post(&w->worker, &w->first);
    *out = w;
    return OK;
}

void watch_stop(struct watch *w)
{
    if (w) {
        atomic_store(&w->ends, true);
        worker_stop(&w->worker);
        free(w);
    }
}
