/* meta.c - topics and what else the log knows of itself: a fold over the topic __meta.
 *
 * Changes are taken in batches: all that wait are checked against what is (and what the batch
 * does before them), appended as one record batch, and applied when that is durable. One batch
 * is under way at a time, so that a check never sees a change half made. Pins are the
 * exception: they hold from the moment they are checked, so that no cleaning can slip in
 * between. SPDX-License-Identifier: Apache-2.0 */
#include "log/meta_state.h"

#include <stddef.h>
#include <stdlib.h>

#define META_FETCH_BYTES (4 << 20)
#define META_SEGMENT_BYTES "16777216"
#define CLUSTER_NOTE "cluster.id"
#define BATCH_CHANGES_MAX 1000

static void take_settings(struct log *log, struct topic *topic, const struct setting *settings,
                          size_t count)
{
    struct topic_settings effective;
    struct setting *copy = settings_dup(settings, count), *before;

    settings_copy(&effective, &log->config.defaults);
    if (settings_apply(&effective, settings, count)) {
        trace_warn("log", "topic %s: %s", topic->name, fault_here.text);
    }
    pthread_rwlock_wrlock(&log->topics_lock);
    struct topic_settings old = topic->settings;
    size_t old_count = topic->override_count;
    before = topic->overrides;
    topic->settings = effective;
    topic->overrides = copy;
    topic->override_count = count;
    pthread_rwlock_unlock(&log->topics_lock);
    settings_fini(&old);
    settings_free(before, old_count);
}

struct destroying {
    struct job job;
    struct partition *partition;
};

static void destroy_work(struct job *job)
{
    struct destroying *d = (struct destroying *)job;
    struct topic *topic = d->partition->topic;

    partition_destroy(d->partition);
    topic_drop(topic);
    free(d);
}

static void destroy_topic(struct log *log, struct topic *topic)
{
    bool stopped = !log->shards[0].worker.os; /* at close, when what flew late is done */

    topics_remove(log, topic);
    for (int32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
        if (stopped) {
            partition_destroy(topic_partition(topic, i));
            continue;
        }
        struct destroying *d = xmalloc(sizeof(*d));
        *d = (struct destroying){{.work = destroy_work}, topic_partition(topic, i)};
        topic_hold(topic);
        log_run_on_shard(log, d->partition, &d->job);
    }
    topic_drop(topic); /* the maps' */
}

static void trim(struct partition *p, int64_t offset)
{
    p->trimmed = true;
    partition_trim(p, offset);
}

static void apply(struct meta_state *m, struct log_change *c)
{
    struct log *log = m->log;

    switch (c->kind) {
    case LOG_TOPIC_CREATE:
        c->topic = topic_new(log, c->name, c->id, c->partition_count, c->internal);
        take_settings(log, c->topic, c->settings, c->setting_count);
        topic_hold(c->topic); /* the caller's */
        topics_add(log, c->topic);
        break;
    case LOG_TOPIC_DELETE:
        destroy_topic(log, c->topic);
        break;
    case LOG_TOPIC_GROW:
        topic_grow(c->topic, c->partition_count);
        break;
    case LOG_TOPIC_SETTINGS:
        take_settings(log, c->topic, c->merged, c->merged_count);
        log_ask_clean(log);
        break;
    case LOG_TRIM:
        trim(topic_partition(c->topic, c->partition), c->offset);
        break;
    case LOG_PIN:
        meta_pin_settle(m, c, true);
        break;
    case LOG_UNPIN:
        meta_pins_remove(m, c->owner, NULL, 0);
        break;
    case LOG_NOTE:
        meta_note_set(m, c->owner, c->value);
        break;
    }
}

static void finish(struct meta_state *m, struct log_change *c, const char *failure)
{
    for (struct log_change *next; c; c = next) {
        next = c->queued;
        if (failure && !c->fault && !c->only_check) {
            if (c->kind == LOG_PIN) {
                meta_pin_settle(m, c, false);
            }
            (void)fault(ERR_IO, "the change could not be stored: %s", failure);
            c->fault = fault_take();
        } else if (!c->fault && !c->only_check) {
            apply(m, c);
        }
        settings_free(c->merged, c->merged_count);
        c->merged = NULL;
        c->done(c);
    }
}

static void append_done(struct log_append *a)
{
    struct meta_state *m =
        (struct meta_state *)((char *)a - offsetof(struct meta_state, append));

    pthread_mutex_lock(
        &m->lock); /* a post comes before the worker's last turn, or not at all */
    m->late = atomic_load(&m->closing);
    if (!m->late) {
        worker_post(&m->log->meta, &m->durable);
    }
    pthread_mutex_unlock(&m->lock);
}

static void pump(struct meta_state *m);

static void durable_work(struct job *job)
{
    struct meta_state *m =
        (struct meta_state *)((char *)job - offsetof(struct meta_state, durable));
    struct log_change *done = m->flying;
    bool failed = m->append.status != LOG_APPEND_OK;

    m->flying = NULL;
    buf_drop(m->bytes);
    finish(m, done, failed ? log_append_status_text(m->append.status) : NULL);
    pump(m);
}

static void submit(struct meta_state *m, struct meta_building *b)
{
    struct batch_build build = {.records = b->records, .count = b->count, .producer_id = -1};

    m->append = (struct log_append){
        .partition = topic_partition(m->log->meta_topic, 0),
        .acks = LOG_ACKS_DURABLE,
        .flags = LOG_APPEND_INTERNAL,
        .done = append_done,
    };
    m->bytes = m->append.hold = batch_new(&build, &m->append.batch);
    enum batch_fault fault_of = batch_peek(m->append.batch, &m->append.info);
    assert(fault_of == BATCH_FINE);
    m->durable.work = durable_work;
    log_append(m->log, &m->append);
}

/* The next changes that go together. Each is compared with those before it, so there is an end
 * to how many they are; a large question must not hold up all others. */
static struct log_change *take_batch(struct meta_state *m)
{
    struct log_change *batch = m->queue, *last = batch;

    for (int i = 1; i < BATCH_CHANGES_MAX && last->queued; i++) {
        last = last->queued;
    }
    m->queue = last->queued;
    m->queue_last = m->queue ? m->queue_last : NULL;
    last->queued = NULL;
    return batch;
}

static void pump(struct meta_state *m)
{
    struct arena arena = {0};

    if (m->queue && atomic_load(&m->closing)) {
        struct log_change *late = m->queue;
        m->queue = m->queue_last = NULL;
        finish(m, late, "the log is closing");
    }
    while (m->queue && !m->flying) {
        struct meta_building b = {.arena = &arena, .now_ms = m->log->os->now_ms(m->log->os)};
        struct log_change *batch = take_batch(m);
        for (struct log_change *c = batch; c; c = c->queued) {
            if (meta_check(m, batch, c)) {
                c->fault = fault_take();
            } else if (!c->only_check) {
                meta_build_change(m, &b, batch, c);
            }
        }
        if (b.count) {
            m->flying = batch;
            submit(m, &b);
        } else {
            finish(m, batch, NULL);
        }
        free(b.records);
        arena_reset(&arena);
    }
    arena_fini(&arena);
}

static void change_work(struct job *job)
{
    struct log_change *c =
        (struct log_change *)((char *)job - offsetof(struct log_change, job));
    struct meta_state *m = c->log->meta_state;

    *(m->queue ? &m->queue_last->queued : &m->queue) = c;
    for (m->queue_last = c; m->queue_last->queued;) {
        m->queue_last = m->queue_last->queued;
    }
}

void log_change(struct log *log, struct log_change *chain)
{
    assert(chain && chain->done);
    for (struct log_change *c = chain; c; c = c->next) {
        c->queued = c->next; /* chains are joined and cut; the caller's stays as it is */
        c->fault = NULL;
        c->log = log;
        c->merged = NULL;
        c->merged_count = 0;
    }
    chain->job.work = change_work;
    worker_post(&log->meta, &chain->job);
}

int64_t meta_turn(struct worker *worker, struct job *jobs)
{
    struct log *log = worker->self;

    mailbox_run(jobs);
    pump(log->meta_state);
    return WORKER_NEVER;
}

static void replay_topic(struct meta_state *m, const struct meta_record *r)
{
    struct log *log = m->log;
    struct topic *topic = log_topic_by_id(log, r->id);

    if (r->gone && topic) {
        topics_remove(log, topic);
        topic_drop(topic); /* the maps' */
    } else if (!r->gone && topic) {
        if (r->partitions > atomic_load(&topic->partition_count)) {
            topic_grow(topic, r->partitions);
        }
        take_settings(log, topic, r->settings, r->setting_count);
    } else if (!r->gone) {
        struct topic *fresh = topic_new(log, r->name, r->id, r->partitions, r->internal);
        take_settings(log, fresh, r->settings, r->setting_count);
        topics_add(log, fresh);
    }
    topic_drop(topic);
}

static void replay(struct meta_state *m, const struct meta_record *r)
{
    struct topic *topic;
    struct partition *p;

    switch (r->kind) {
    case META_TOPIC:
        replay_topic(m, r);
        break;
    case META_TRIM:
        topic = log_topic_by_id(m->log, r->id);
        p = topic ? topic_partition(topic, r->partition) : NULL;
        if (p && !r->gone) {
            p->trimmed = true;
            p->start = MAX(p->start, r->offset); /* partitions get their ends after this */
        }
        topic_drop(topic);
        break;
    case META_PIN:
        meta_pins_remove(m, r->owner, &r->id, r->partition);
        if (!r->gone) {
            meta_pin_add(m, NULL, r->owner, r->id, r->partition, r->offset);
        }
        break;
    case META_NOTE:
        meta_note_set(m, r->owner, r->gone ? (view){0} : r->value);
        break;
    }
}

static err replay_batches(struct meta_state *m, view batches)
{
    struct batch_walk walk;
    struct record record;
    bool more = true;
    err e = OK;

    batch_walk_init(&walk, batches);
    while (!e && more) {
        struct meta_record r;
        e = batch_walk_next(&walk, &record, &more);
        if (e || !more) {
            break;
        }
        e = meta_record_read(record.key, record.value, &r);
        if (!e) {
            replay(m, &r);
            settings_free(r.settings, r.setting_count);
        }
    }
    batch_walk_fini(&walk);
    return e;
}

err meta_open(struct log *log)
{
    struct meta_state *m = log->meta_state;
    struct partition *p = topic_partition(log->meta_topic, 0);
    struct partition_ends ends;
    char folder[PATH_BYTES];
    err e = OK;

    partition_ends(p, &ends);
    for (int64_t at = ends.start; !e && at < ends.high;) {
        struct buf *bytes = NULL;
        struct batch_info info = {0};
        e = log_fetch(log, p, at, META_FETCH_BYTES, false, &bytes);
        if (e || !bytes) {
            break;
        }
        view batches = {bytes->bytes, bytes->len};
        e = replay_batches(m, batches);
        while (batches.len && batch_peek(batches, &info) == BATCH_FINE) {
            at = info.base_offset + info.last_offset_delta + 1;
            batches = view_from(batches, info.bytes);
        }
        buf_drop(bytes);
    }
    if (e) {
        partition_folder(p, folder, sizeof(folder));
    }
    return e ? fault_prefix("%s: reading %s: ", folder, META_NAME) : OK;
}

void meta_new(struct log *log)
{
    static const struct setting settings[] = {
        {(char *)(uintptr_t) "cleanup.policy", (char *)(uintptr_t) "compact"},
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t)META_SEGMENT_BYTES},
        {(char *)(uintptr_t) "flush.policy", (char *)(uintptr_t) "sync"},
    };
    struct meta_state *m = xcalloc(1, sizeof(*m));
    uuid id = {{'t', 'i', 'd', 'e', 'm', 'a', 'r', 'k', '-', 'm', 'e', 't', 'a', 0, 0, 1}};

    m->log = log;
    pthread_mutex_init(&m->lock, NULL);
    log->meta_state = m;
    log->meta_topic = topic_new(log, VIEW(META_NAME), id, 1, true);
    take_settings(log, log->meta_topic, settings, COUNT(settings));
    topics_add(log, topic_hold(log->meta_topic));
}

struct cluster_note { /* lives until it is durable */
    struct log_change change;
    char text[UUID_TEXT_BYTES];
};

static void cluster_noted(struct log_change *change)
{
    if (change->fault) {
        trace_error("log", "cluster id: %s", change->fault->text);
        free(change->fault);
    }
    free(change);
}

/* Whatever is created later is behind this record in __meta, so there is no need to wait for
 * it. */
err meta_ensure_cluster(struct log *log)
{
    struct writer known = {0};
    err e = OK;

    if (log_note(log, VIEW(CLUSTER_NOTE), &known)) {
        e = uuid_parse(writer_view(&known), &log->cluster_id);
    } else {
        struct cluster_note *note = xcalloc(1, sizeof(*note));
        log->cluster_id = uuid_new(log->os);
        uuid_text(log->cluster_id, note->text);
        note->change = (struct log_change){.kind = LOG_NOTE,
                                           .owner = VIEW(CLUSTER_NOTE),
                                           .value = view_text(note->text),
                                           .internal = true,
                                           .done = cluster_noted};
        log_change(log, &note->change);
    }
    writer_fini(&known);
    return e;
}

static void close_work(struct job *job)
{
    struct meta_state *m =
        (struct meta_state *)((char *)job - offsetof(struct meta_state, close));

    pthread_mutex_lock(&m->lock);
    atomic_store(&m->closing, true);
    pthread_mutex_unlock(&m->lock);
}

void meta_close_begin(struct log *log)
{
    if (log->meta.os) {
        log->meta_state->close.work = close_work;
        worker_post(&log->meta, &log->meta_state->close);
        worker_stop(&log->meta);
    }
}

void meta_close_end(struct log *log)
{
    struct meta_state *m = log->meta_state;

    if (m && m->late) {
        durable_work(&m->durable);
    }
}

void meta_free(struct log *log)
{
    struct meta_state *m = log->meta_state;

    if (!m) {
        return;
    }
    meta_pins_free(m);
    pthread_mutex_destroy(&m->lock);
    topic_drop(log->meta_topic);
    free(m);
    log->meta_state = NULL;
}
