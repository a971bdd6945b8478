/* store_log.c - the coordinator's store over the log.
 *
 * The two topics are compacted, kept for ever, and made when something is first written to
 * them; what is appended meanwhile waits here. Producer ids: a note in __meta holds the first
 * id that no block has taken yet. A marker holds its topic until it is released or forgotten.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/store.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define IDS_NOTE "coord.next-producer-id"
#define IDS_BLOCK 1000
#define READ_BYTES (1 << 20)
/* A group's record holds all its members' subscriptions and assignments. */
#define BATCH_BYTES_TEXT "104857600"

struct internal_topic {
    struct topic *topic; /* held; NULL: not made yet */
    int32_t partitions;
    bool making;
    struct store_append *waiting, *waiting_last;
    struct log_change change;
    struct store_log *store;
};

struct store_log {
    struct coord_store calls; /* first */
    struct log *log;
    pthread_mutex_t lock; /* of topics: appends come from the worker, changes from the log */
    struct internal_topic topics[STORE_TOPICS];
    int64_t next_id; /* -1: not read yet */
};

static const struct setting topic_settings_of[] = {
    {(char *)"cleanup.policy", (char *)"compact"},
    {(char *)"segment.bytes", (char *)"104857600"},
    {(char *)"max.message.bytes", (char *)BATCH_BYTES_TEXT},
};

const char *store_topic_name(enum store_topic topic)
{
    static const char *const names[STORE_TOPICS] = {"__consumer_offsets",
                                                    "__transaction_state"};
    return names[topic];
}

static int32_t partitions_of(struct coord_store *s, enum store_topic topic)
{
    return ((struct store_log *)(void *)s)->topics[topic].partitions;
}

static void append_finish(struct log_append *append)
{
    struct store_append *a =
        (struct store_append *)(void *)((char *)append - offsetof(struct store_append, append));

    a->ok = append->status == LOG_APPEND_OK || append->status == LOG_APPEND_DUPLICATE;
    a->base_offset = append->base_offset;
    if (!a->ok) {
        trace_warn("coord", "%s/%d: %s", store_topic_name(a->topic), (int)a->partition,
                   log_append_status_text(append->status));
    }
    buf_drop(append->hold);
    a->done(a);
}

static void append_start(struct store_log *s, struct store_append *a, struct topic *topic)
{
    bool transactional = a->producer_id >= 0;
    struct batch_build build = {
        .records = a->records,
        .count = a->count,
        .codec = CODEC_NONE,
        .attributes = transactional ? BATCH_TRANSACTIONAL : 0,
        .producer_id = a->producer_id,
        .producer_epoch = a->producer_epoch,
        .base_sequence = -1,
    };

    a->append = (struct log_append){
        .partition = topic_partition(topic, a->partition),
        .acks = LOG_ACKS_DURABLE,
        .flags = LOG_APPEND_INTERNAL | (transactional ? LOG_APPEND_VERIFIED : 0),
        .done = append_finish,
    };
    a->append.hold = batch_new(&build, &a->append.batch);
    enum batch_fault fault = batch_peek(a->append.batch, &a->append.info);
    assert(fault == BATCH_FINE && a->append.partition);
    log_append(s->log, &a->append);
}

/* The topic is there, or cannot be made: what waited goes on. */
static void made(struct log_change *change)
{
    struct internal_topic *it =
        (struct internal_topic *)(void *)((char *)change -
                                          offsetof(struct internal_topic, change));
    struct store_log *s = it->store;
    enum store_topic which = (enum store_topic)(it - s->topics);
    struct topic *topic = change->fault ? log_topic(s->log, change->name) : change->topic;

    if (!topic) {
        trace_error("coord", "topic %s cannot be made: %s", store_topic_name(which),
                    change->fault->text);
    }
    free(change->fault);
    pthread_mutex_lock(&s->lock);
    struct store_append *waiting = it->waiting;
    it->waiting = it->waiting_last = NULL;
    it->making = false;
    it->topic = topic;
    for (struct store_append *a = waiting, *next; topic && a; a = next) {
        next = a->next;
        append_start(s, a, topic);
    }
    pthread_mutex_unlock(&s->lock);
    for (struct store_append *a = waiting, *next; !topic && a; a = next) {
        next = a->next;
        a->ok = false;
        a->done(a);
    }
}

static void make(struct store_log *s, enum store_topic which)
{
    struct internal_topic *it = &s->topics[which];

    it->making = true;
    it->change = (struct log_change){
        .kind = LOG_TOPIC_CREATE,
        .name = view_text(store_topic_name(which)),
        .partition_count = it->partitions,
        .settings = topic_settings_of,
        .setting_count = COUNT(topic_settings_of),
        .internal = true,
        .done = made,
    };
    log_change(s->log, &it->change);
}

static void append(struct coord_store *calls, struct store_append *a)
{
    struct store_log *s = (struct store_log *)(void *)calls;
    struct internal_topic *it = &s->topics[a->topic];

    a->next = NULL;
    pthread_mutex_lock(&s->lock);
    if (it->topic) {
        append_start(s, a, it->topic);
    } else {
        *(it->waiting ? &it->waiting_last->next : &it->waiting) = a;
        it->waiting_last = a;
        if (!it->making) {
            make(s, a->topic);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

static void mark_finish(struct log_append *append)
{
    struct store_mark *m =
        (struct store_mark *)(void *)((char *)append - offsetof(struct store_mark, append));

    switch (append->status) {
    case LOG_APPEND_OK:
    case LOG_APPEND_DUPLICATE:
    case LOG_APPEND_OLD_EPOCH: /* a later marker ended it */
    case LOG_APPEND_TXN_MARKER_OLD:
        m->result = STORE_MARK_DONE;
        break;
    case LOG_APPEND_GONE:
        m->result = STORE_MARK_GONE;
        break;
    default:
        m->result = STORE_MARK_FAILED;
        break;
    }
    buf_drop(append->hold);
    m->done(m);
}

static void mark(struct coord_store *calls, struct store_mark *m)
{
    struct store_log *s = (struct store_log *)(void *)calls;

    topic_drop(m->held); /* of a try before */
    m->held = log_topic(s->log, m->topic);
    struct partition *p = m->held ? topic_partition(m->held, m->partition) : NULL;
    if (!p) {
        m->result = STORE_MARK_GONE;
        m->done(m);
        return;
    }
    m->append = (struct log_append){
        .partition = p,
        .acks = LOG_ACKS_DURABLE,
        .flags = LOG_APPEND_INTERNAL | LOG_APPEND_HOLD | (m->v2 ? LOG_APPEND_TXN_V2 : 0),
        .done = mark_finish,
    };
    struct os *os = log_os(s->log);
    m->append.hold = batch_marker(m->commit, m->producer_id, m->producer_epoch, 0,
                                  os->now_ms(os), &m->append.batch);
    enum batch_fault fault = batch_peek(m->append.batch, &m->append.info);
    assert(fault == BATCH_FINE);
    log_append(s->log, &m->append);
}

static void forget(struct coord_store *calls, struct store_mark *m)
{
    (void)calls;
    topic_drop(m->held);
    m->held = NULL;
}

static void release(struct coord_store *calls, struct store_mark *const *marks, size_t count)
{
    struct store_log *s = (struct store_log *)(void *)calls;
    struct partition **partitions = xcalloc(count, sizeof(struct partition *));

    assert(count > 0);
    for (size_t i = 0; i < count; i++) {
        partitions[i] = marks[i]->append.partition;
    }
    log_release(s->log, partitions, count, marks[0]->producer_id);
    for (size_t i = 0; i < count; i++) {
        forget(calls, marks[i]);
    }
    free(partitions);
}

static int64_t read_next_id(struct store_log *s)
{
    struct writer text = {0};
    int64_t next = 0;

    if (log_note(s->log, VIEW(IDS_NOTE), &text) && view_to_int(writer_view(&text), &next)) {
        trace_warn("coord", "the note %s is no number: ids begin at 0", IDS_NOTE);
        next = 0;
    }
    writer_fini(&text);
    return next;
}

static void reserved(struct log_change *change)
{
    struct store_ids *ids =
        (struct store_ids *)(void *)((char *)change - offsetof(struct store_ids, change));

    ids->ok = change->fault == NULL;
    if (change->fault) {
        trace_warn("coord", "no producer ids: %s", change->fault->text);
    }
    free(change->fault);
    ids->done(ids);
}

static void reserve(struct coord_store *calls, struct store_ids *ids)
{
    struct store_log *s = (struct store_log *)(void *)calls;

    s->next_id = s->next_id < 0 ? read_next_id(s) : s->next_id;
    ids->first = s->next_id;
    ids->count = IDS_BLOCK;
    s->next_id += IDS_BLOCK; /* also when it fails: a gap does no harm */
    snprintf(ids->text, sizeof(ids->text), "%lld", (long long)s->next_id);
    ids->change = (struct log_change){.kind = LOG_NOTE,
                                      .owner = VIEW(IDS_NOTE),
                                      .value = view_text(ids->text),
                                      .internal = true,
                                      .done = reserved};
    log_change(s->log, &ids->change);
}

static bool find(struct coord_store *calls, view name, int32_t partition, uuid *id)
{
    struct store_log *s = (struct store_log *)(void *)calls;
    struct topic *topic = log_topic(s->log, name);
    bool there = topic && partition >= 0 && topic_partition(topic, partition);

    if (there) {
        *id = topic->id;
    }
    topic_drop(topic);
    return there;
}

struct reading {
    struct store_entry entry;
    void (*each)(void *self, const struct store_entry *);
    void *self;
    struct log *log;
    struct partition *partition;
    int64_t from, high;
};

static view topic_id_header(const struct record *r)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (view_is(r->headers[i].key, VIEW(STORE_ID_HEADER))) {
            return r->headers[i].value;
        }
    }
    return (view){0};
}

static bool entry_from(struct store_entry *e, const struct batch_info *info,
                       const struct record *r)
{
    bool control = info->attributes & BATCH_CONTROL;
    struct reader key = {.rest = r->key};

    e->offset = r->offset;
    e->producer_id = info->producer_id;
    e->producer_epoch = info->producer_epoch;
    e->transactional = info->attributes & BATCH_TRANSACTIONAL;
    e->key = control ? (view){0} : r->key;
    e->value = r->value;
    e->topic_id = control ? (view){0} : topic_id_header(r);
    read_u16(&key);
    uint16_t type = read_u16(&key);
    e->commit = control && type == 1;
    return control ? !key.bad && type <= 1 : r->key.at != NULL;
}

static err read_batches(struct reading *at, view batches)
{
    struct batch_walk walk;
    struct record record;
    bool more = true;
    err e = OK;

    batch_walk_init(&walk, batches);
    while (!e && more) {
        e = batch_walk_next(&walk, &record, &more);
        if (!e && more && record.offset >= at->from &&
            entry_from(&at->entry, &walk.info, &record)) {
            at->each(at->self, &at->entry);
        }
    }
    at->from = walk.info.base_offset + walk.info.last_offset_delta + 1;
    batch_walk_fini(&walk);
    return e;
}

static err read_partition(struct reading *at)
{
    struct partition_ends ends;
    err e = OK;

    partition_ends(at->partition, &ends);
    at->from = ends.start;
    while (!e && at->from < ends.high) {
        struct buf *bytes;
        e = log_fetch(at->log, at->partition, at->from, READ_BYTES, false, &bytes);
        if (e || !bytes) {
            break;
        }
        int64_t before = at->from;
        e = read_batches(at, (view){bytes->bytes, bytes->len});
        buf_drop(bytes);
        if (!e && at->from <= before) {
            e = fault(ERR_CORRUPT, "no progress at offset %lld", (long long)before);
        }
    }
    return e ? fault_prefix("%s/%d: ", store_topic_name(at->entry.topic),
                            (int)at->entry.partition)
             : OK;
}

static err read_topic(struct coord_store *calls, enum store_topic which,
                      void (*each)(void *, const struct store_entry *), void *self)
{
    struct store_log *s = (struct store_log *)(void *)calls;
    struct internal_topic *it = &s->topics[which];
    err e = OK;

    for (int32_t i = 0; !e && it->topic && i < it->partitions; i++) {
        struct reading at = {.entry = {.topic = which, .partition = i},
                             .each = each,
                             .self = self,
                             .log = s->log,
                             .partition = topic_partition(it->topic, i)};
        e = read_partition(&at);
    }
    return e;
}

static void store_close(struct coord_store *calls)
{
    struct store_log *s = (struct store_log *)(void *)calls;

    for (size_t i = 0; i < STORE_TOPICS; i++) {
        assert(!s->topics[i].making);
        topic_drop(s->topics[i].topic);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct coord_store *store_log_new(struct log *log, int32_t offsets_partitions,
                                  int32_t txn_partitions)
{
    struct store_log *s = xcalloc(1, sizeof(*s));

    s->calls = (struct coord_store){
        .partitions = partitions_of,
        .read = read_topic,
        .append = append,
        .mark = mark,
        .release = release,
        .forget = forget,
        .reserve = reserve,
        .find = find,
        .close = store_close,
    };
    s->log = log;
    s->next_id = -1;
    pthread_mutex_init(&s->lock, NULL);
    s->topics[STORE_OFFSETS].partitions = offsets_partitions;
    s->topics[STORE_TXNS].partitions = txn_partitions;
    for (size_t i = 0; i < STORE_TOPICS; i++) {
        struct internal_topic *it = &s->topics[i];
        it->store = s;
        it->topic = log_topic(log, view_text(store_topic_name((enum store_topic)i)));
        if (it->topic) {
            it->partitions = it->topic->partition_count;
        }
    }
    return &s->calls;
}
