/* meta.c - topics and what else the log knows of itself: a fold over the topic __meta.
 *
 * Changes are taken in batches: all that wait are checked against what is (and what the batch
 * does before them), appended as one record batch, and applied when that is durable. One batch
 * is under way at a time, so that a check never sees a change half made. Pins are the
 * exception: they hold from the moment they are checked, so that no cleaning can slip in
 * between. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "log/meta_records.h"

#define META_FETCH_BYTES (4 << 20)
#define META_SEGMENT_BYTES "16777216"
#define NOTE_BYTES_MAX (64 << 10)
#define CLUSTER_NOTE "cluster.id"

struct pin {
    char *owner;
    uuid id;
    int32_t partition;
    int64_t offset;
    struct pin *next;
};

struct note {
    char *owner;
    struct writer value;
};

struct meta_state {
    struct log *log;
    struct log_change *queue, *queue_last; /* waiting */
    struct log_change *flying;             /* in the append under way */
    struct log_append append;
    struct buf *bytes;
    struct job durable;
    pthread_mutex_t lock; /* pins, notes */
    struct pin *pins;
    struct map notes;
};

/* ---- pins and notes ---- */

static void pins_refresh(struct meta_state *m, uuid id, int32_t partition)
{
    struct topic *topic = log_topic_by_id(m->log, id);
    struct partition *p = topic ? topic_partition(topic, partition) : NULL;
    int64_t least = INT64_MAX;

    for (struct pin *pin = m->pins; pin; pin = pin->next) {
        if (uuid_is(pin->id, id) && pin->partition == partition) {
            least = MIN(least, pin->offset);
        }
    }
    if (p) {
        pthread_mutex_lock(&p->lock);
        p->pin = least;
        pthread_mutex_unlock(&p->lock);
    }
    topic_drop(topic);
}

static void pin_add(struct meta_state *m, view owner, uuid id, int32_t partition,
                    int64_t offset)
{
    struct pin *pin = xmalloc(sizeof(*pin));

    *pin = (struct pin){text_of(owner), id, partition, offset, NULL};
    pthread_mutex_lock(&m->lock);
    pin->next = m->pins;
    m->pins = pin;
    pins_refresh(m, id, partition);
    pthread_mutex_unlock(&m->lock);
}

/* All of an owner, or with one: only that partition's. */
static void pins_remove(struct meta_state *m, view owner, const uuid *id, int32_t partition)
{
    pthread_mutex_lock(&m->lock);
    for (struct pin **at = &m->pins; *at;) {
        struct pin *pin = *at;
        if (!view_is_text(owner, pin->owner) ||
            (id && !(uuid_is(*id, pin->id) && partition == pin->partition))) {
            at = &pin->next;
            continue;
        }
        *at = pin->next;
        pins_refresh(m, pin->id, pin->partition);
        free(pin->owner);
        free(pin);
    }
    pthread_mutex_unlock(&m->lock);
}

static void note_set(struct meta_state *m, view owner, view value)
{
    pthread_mutex_lock(&m->lock);
    struct note *note = map_remove(&m->notes, owner);
    if (note) {
        free(note->owner);
        writer_fini(&note->value);
        free(note);
    }
    if (value.len) {
        note = xcalloc(1, sizeof(*note));
        note->owner = text_of(owner);
        write_view(&note->value, value);
        map_put(&m->notes, view_text(note->owner), note);
    }
    pthread_mutex_unlock(&m->lock);
}

bool log_note(struct log *log, view owner, struct writer *out)
{
    pthread_mutex_lock(&log->meta_state->lock);
    struct note *note = map_get(&log->meta_state->notes, owner);
    if (note) {
        write_view(out, writer_view(&note->value));
    }
    pthread_mutex_unlock(&log->meta_state->lock);
    return note != NULL;
}

/* ---- checking a change ---- */

static struct log_change *earlier(struct log_change *batch, const struct log_change *end,
                                  bool (*same)(const struct log_change *,
                                               const struct log_change *))
{
    struct log_change *found = NULL;

    for (struct log_change *c = batch; c != end; c = c->next) {
        if (!c->fault && !c->only_check && same(c, end)) {
            found = c;
        }
    }
    return found;
}

static bool creates_same(const struct log_change *a, const struct log_change *b)
{
    return a->kind == LOG_TOPIC_CREATE && view_is(a->name, b->name);
}

static bool deletes_same(const struct log_change *a, const struct log_change *b)
{
    return a->kind == LOG_TOPIC_DELETE && a->topic == b->topic;
}

static bool grows_same(const struct log_change *a, const struct log_change *b)
{
    return a->kind == LOG_TOPIC_GROW && a->topic == b->topic;
}

static err check_settings(struct log *log, const struct log_change *c)
{
    struct topic_settings settings;

    settings_copy(&settings, &log->config.defaults);
    err e = settings_apply(&settings, c->settings, c->setting_count);
    settings_fini(&settings);
    return e;
}

static err check_create(struct log *log, struct log_change *batch, struct log_change *c)
{
    err e = topic_name_check(c->name);

    if (e) {
        return e;
    }
    if (!c->internal && view_starts(c->name, VIEW("__"))) {
        return fault(ERR_DENIED, "names that begin with \"__\" are kept for internal topics");
    }
    if (c->partition_count < 1 || c->partition_count > PARTITIONS_MAX) {
        return fault(ERR_INVALID, "a topic has 1 to %d partitions, not %d", PARTITIONS_MAX,
                     c->partition_count);
    }
    struct topic *there = log_topic(log, c->name);
    topic_drop(there);
    if (there || earlier(batch, c, creates_same)) {
        return fault(ERR_EXISTS, "topic '%.*s' already exists", VIEW_ARG(c->name));
    }
    return check_settings(log, c);
}

static err check_grow(struct log_change *batch, struct log_change *c)
{
    struct log_change *before = earlier(batch, c, grows_same);
    int32_t now = before ? before->partition_count : atomic_load(&c->topic->partition_count);

    if (c->partition_count <= now || c->partition_count > PARTITIONS_MAX) {
        return fault(ERR_INVALID,
                     "topic '%s' has %d partitions; their number can only grow, up to %d",
                     c->topic->name, now, PARTITIONS_MAX);
    }
    return OK;
}

/* TRIM and PIN: an offset inside of the partition. */
static err check_offset(struct log_change *c)
{
    struct partition *p = topic_partition(c->topic, c->partition);
    struct partition_ends ends;

    if (!p) {
        return fault(ERR_NOT_FOUND, "topic '%s' has no partition %d", c->topic->name,
                     c->partition);
    }
    partition_ends(p, &ends);
    if (c->kind == LOG_TRIM && c->offset == -1) {
        c->offset = ends.high;
    }
    int64_t least = c->kind == LOG_PIN ? ends.start : 0;
    if (c->offset < least || c->offset > ends.high) {
        return fault(ERR_OUT_OF_RANGE,
                     "offset %" PRId64 " is outside of %" PRId64 " to %" PRId64, c->offset,
                     ends.start, ends.high);
    }
    if (c->kind == LOG_TRIM) {
        if (c->offset > p->pin) {
            return fault(ERR_CONFLICT, "%s-%d is pinned at offset %" PRId64, c->topic->name,
                         c->partition, p->pin);
        }
        c->offset = MAX(c->offset, ends.start);
    }
    return OK;
}

static err check_topic(struct log_change *batch, const struct log_change *c)
{
    if (atomic_load(&c->topic->deleted) ||
        earlier(batch, (struct log_change *)(uintptr_t)c, deletes_same)) {
        return fault(ERR_NOT_FOUND, "topic '%s' was deleted", c->topic->name);
    }
    if (c->topic->internal && !c->internal) {
        return fault(ERR_DENIED, "topic '%s' is internal", c->topic->name);
    }
    return OK;
}

static err check(struct meta_state *m, struct log_change *batch, struct log_change *c)
{
    err e = OK;

    switch (c->kind) {
    case LOG_TOPIC_CREATE:
        return check_create(m->log, batch, c);
    case LOG_UNPIN:
        return OK;
    case LOG_NOTE:
        return c->owner.len && c->value.len <= NOTE_BYTES_MAX
                   ? OK
                   : fault(ERR_INVALID, "a note has a name and at most %d bytes",
                           NOTE_BYTES_MAX);
    case LOG_TOPIC_DELETE:
        return check_topic(batch, c);
    case LOG_TOPIC_GROW:
        e = check_topic(batch, c);
        return e ? e : check_grow(batch, c);
    case LOG_TOPIC_SETTINGS:
        e = check_topic(batch, c);
        return e ? e : check_settings(m->log, c);
    case LOG_TRIM:
    case LOG_PIN:
        e = check_topic(batch, c);
        e = e ? e : check_offset(c);
        if (!e && c->kind == LOG_PIN && !c->only_check) {
            pin_add(m, c->owner, c->topic->id, c->partition, c->offset);
        }
        return e;
    }
    return fault(ERR_INVALID, "unknown change");
}

/* ---- records ---- */

struct building {
    struct arena *arena;
    struct record *records;
    size_t count, room;
    int64_t now_ms;
};

static void add_record(struct building *b, const struct meta_record *r,
                       const struct setting *settings, size_t count)
{
    struct writer out = {0};
    struct record record = {.timestamp_ms = b->now_ms};

    meta_key_write(&out, r);
    record.key = arena_copy(b->arena, writer_view(&out));
    if (!r->gone) {
        writer_reset(&out);
        meta_value_write(&out, r, settings, count);
        record.value = arena_copy(b->arena, writer_view(&out));
    }
    writer_fini(&out);
    b->records = array_room(b->records, b->count, &b->room, sizeof(*b->records));
    b->records[b->count++] = record;
}

static void add_topic(struct building *b, uuid id, view name, int32_t partitions,
                      const struct setting *settings, size_t count)
{
    struct meta_record r = {
        .kind = META_TOPIC, .id = id, .name = name, .partitions = partitions};

    add_record(b, &r, settings, count);
}

static void add_unpins(struct meta_state *m, struct building *b, view owner)
{
    pthread_mutex_lock(&m->lock);
    for (struct pin *pin = m->pins; pin; pin = pin->next) {
        if (view_is_text(owner, pin->owner)) {
            struct meta_record r = {.kind = META_PIN,
                                    .gone = true,
                                    .owner = owner,
                                    .id = pin->id,
                                    .partition = pin->partition};
            add_record(b, &r, NULL, 0);
        }
    }
    pthread_mutex_unlock(&m->lock);
}

static void add_delete(struct building *b, const struct topic *topic)
{
    struct meta_record r = {.kind = META_TOPIC, .gone = true, .id = topic->id};

    add_record(b, &r, NULL, 0);
    r.kind = META_TRIM;
    for (r.partition = 0;
         r.partition < atomic_load(&((struct topic *)(uintptr_t)topic)->partition_count);
         r.partition++) {
        if (atomic_load(&((struct topic *)(uintptr_t)topic)->partitions)[r.partition]
                ->trimmed) {
            add_record(b, &r, NULL, 0);
        }
    }
}

static void add_change(struct meta_state *m, struct building *b, struct log_change *c)
{
    struct meta_record r = {
        .owner = c->owner, .value = c->value, .offset = c->offset, .partition = c->partition};
    struct setting *overrides = NULL;
    size_t count = 0;

    switch (c->kind) {
    case LOG_TOPIC_CREATE:
        c->id = uuid_is_zero(c->id) ? uuid_new(m->log->os) : c->id;
        add_topic(b, c->id, c->name, c->partition_count, c->settings, c->setting_count);
        break;
    case LOG_TOPIC_DELETE:
        add_delete(b, c->topic);
        break;
    case LOG_TOPIC_GROW:
        count = topic_overrides(c->topic, &overrides);
        add_topic(b, c->topic->id, view_text(c->topic->name), c->partition_count, overrides,
                  count);
        settings_free(overrides, count);
        break;
    case LOG_TOPIC_SETTINGS:
        add_topic(b, c->topic->id, view_text(c->topic->name),
                  atomic_load(&c->topic->partition_count), c->settings, c->setting_count);
        break;
    case LOG_UNPIN:
        add_unpins(m, b, c->owner);
        break;
    case LOG_TRIM:
    case LOG_PIN:
    case LOG_NOTE:
        r.kind = c->kind == LOG_TRIM ? META_TRIM : c->kind == LOG_PIN ? META_PIN : META_NOTE;
        r.gone = c->kind == LOG_NOTE && !c->value.len;
        r.id = c->topic ? c->topic->id : (uuid){{0}};
        add_record(b, &r, NULL, 0);
        break;
    }
}

/* ---- applying ---- */

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
    topics_remove(log, topic);
    for (int32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
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
        c->topic = topic_new(log, c->name, c->id, c->partition_count);
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
        take_settings(log, c->topic, c->settings, c->setting_count);
        log_ask_clean(log);
        break;
    case LOG_TRIM:
        trim(topic_partition(c->topic, c->partition), c->offset);
        break;
    case LOG_PIN: /* since it was checked */
        break;
    case LOG_UNPIN:
        pins_remove(m, c->owner, NULL, 0);
        break;
    case LOG_NOTE:
        note_set(m, c->owner, c->value);
        break;
    }
}

/* ---- the worker ---- */

static void finish(struct meta_state *m, struct log_change *c, const char *failure)
{
    for (struct log_change *next; c; c = next) {
        next = c->next;
        if (failure && !c->fault && !c->only_check) {
            if (c->kind == LOG_PIN) {
                pins_remove(m, c->owner, &c->topic->id, c->partition);
            }
            (void)fault(ERR_IO, "the change could not be stored: %s", failure);
            c->fault = fault_take();
        } else if (!c->fault && !c->only_check) {
            apply(m, c);
        }
        c->done(c);
    }
}

static void append_done(struct log_append *a)
{
    struct meta_state *m =
        (struct meta_state *)((char *)a - offsetof(struct meta_state, append));

    worker_post(&m->log->meta, &m->durable);
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

static void submit(struct meta_state *m, struct building *b)
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

static void pump(struct meta_state *m)
{
    struct arena arena = {0};

    while (m->queue && !m->flying) {
        struct building b = {.arena = &arena, .now_ms = m->log->os->now_ms(m->log->os)};
        struct log_change *batch = m->queue;
        m->queue = m->queue_last = NULL;
        for (struct log_change *c = batch; c; c = c->next) {
            if (check(m, batch, c)) {
                c->fault = fault_take();
            } else if (!c->only_check) {
                add_change(m, &b, c);
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

    *(m->queue ? &m->queue_last->next : &m->queue) = c;
    for (m->queue_last = c; m->queue_last->next;) {
        m->queue_last = m->queue_last->next;
    }
}

void log_change(struct log *log, struct log_change *chain)
{
    assert(chain && chain->done);
    for (struct log_change *c = chain; c; c = c->next) {
        c->fault = NULL;
        c->log = log;
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

/* ---- opening ---- */

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
        struct topic *fresh = topic_new(log, r->name, r->id, r->partitions);
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
        pins_remove(m, r->owner, &r->id, r->partition);
        if (!r->gone) {
            pin_add(m, r->owner, r->id, r->partition, r->offset);
        }
        break;
    case META_NOTE:
        note_set(m, r->owner, r->gone ? (view){0} : r->value);
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
    return e ? fault_prefix("reading %s: ", META_NAME) : OK;
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
    log->meta_topic = topic_new(log, VIEW(META_NAME), id, 1);
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

void meta_free(struct log *log)
{
    struct meta_state *m = log->meta_state;
    struct note *note;
    size_t at = 0;

    if (!m) {
        return;
    }
    while (m->pins) {
        struct pin *pin = m->pins;
        m->pins = pin->next;
        free(pin->owner);
        free(pin);
    }
    while ((note = map_next(&m->notes, &at))) {
        free(note->owner);
        writer_fini(&note->value);
        free(note);
    }
    map_fini(&m->notes);
    pthread_mutex_destroy(&m->lock);
    topic_drop(log->meta_topic);
    free(m);
    log->meta_state = NULL;
}
