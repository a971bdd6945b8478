/* lanes.c - batches on their way to topics.
 *
 *   lane_add ... lane_add -> flush: one batch a lane -> log_append -> stored() -> wake
 *                                   digest, sequence     counts by generation
 *
 * Invariants: a lane's digest is fed in the order in which its batches are handed to the log,
 * under the lane's lock; a batch handed over before a lane's cut has that cut's generation.
 * A producer id lives as long as these lanes, so its sequences begin at 0; until the first
 * batch of a lane is stored no second one is sent, because a log that does not know a producer
 * takes any sequence from it. SPDX-License-Identifier: Apache-2.0 */
#include "audit/lanes.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/envelope.h"
#include "audit/records.h"

#define FLUSH_BYTES (512 << 10) /* of records that wait in a writer */
#define COMPRESS_BYTES 2048     /* batches below it stay as they are */
#define RECORD_BYTES 24         /* a guess of what a record adds to its key and value */
#define FETCH_BYTES (1 << 20)
#define WARM_MS 3600000 /* the log forgets idle producers after a day at the earliest */
#define PRODUCER_BIT (INT64_C(1) << 62) /* ids that no coordinator gives away */

struct lane {
    struct lanes *lanes;
    char *key; /* topic, a NUL, the partition's four bytes */
    size_t key_len;
    struct topic *topic; /* held */
    struct partition *partition;
    bool sealed;
    struct change_place last; /* of the newest change that was added; its writer's */
    bool has_last;
    pthread_mutex_t lock; /* of what follows */
    int64_t from, next;   /* the next seal's start; the next batch's offset */
    struct seal_digest *digest;
    int32_t sequence;
    _Atomic int32_t under_way;
    _Atomic int64_t warm_ms; /* when a batch was stored last; 0: never */
};

struct lanes {
    struct lanes_config config;
    int64_t producer_id;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct map by_key;
    struct lane **all;
    size_t count, room;
    size_t in_flight_bytes, in_flight[2]; /* batches by generation, odd and even */
    uint64_t generation;
    uint64_t tail_commit; /* the newest found behind a last seal */
    bool failed;
    struct fault fault;
};

struct open_batch { /* what a writer has for a lane */
    struct lane *lane;
    struct record *records;
    size_t count, room, bytes;
};

struct lane_writer {
    struct lanes *lanes;
    bool in_order;
    err (*wait)(void *self);
    void *self;
    struct arena arena;
    struct open_batch *open;
    size_t count, room, bytes;
};

struct sent {
    struct log_append append; /* first */
    struct lane *lane;
    int64_t expected;
    uint64_t generation;
};

struct lanes *lanes_new(const struct lanes_config *config)
{
    struct lanes *all = xcalloc(1, sizeof(*all));

    all->config = *config;
    config->os->random(config->os, &all->producer_id, sizeof(all->producer_id));
    all->producer_id = (all->producer_id & (PRODUCER_BIT - 1)) | PRODUCER_BIT;
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->changed, NULL);
    return all;
}

static void lane_free(struct lane *lane)
{
    seal_digest_free(lane->digest);
    topic_drop(lane->topic);
    pthread_mutex_destroy(&lane->lock);
    free(lane->key);
    free(lane);
}

void lanes_free(struct lanes *all)
{
    if (!all) {
        return;
    }
    pthread_mutex_lock(&all->lock);
    while (all->in_flight[0] || all->in_flight[1]) {
        pthread_cond_wait(&all->changed, &all->lock);
    }
    pthread_mutex_unlock(&all->lock);
    for (size_t i = 0; i < all->count; i++) {
        lane_free(all->all[i]);
    }
    map_fini(&all->by_key);
    pthread_mutex_destroy(&all->lock);
    pthread_cond_destroy(&all->changed);
    free(all->all);
    free(all);
}

static struct relation *find_relation(void *self, uint32_t version)
{
    return ledger_relation(self, version);
}

/* Places of the records of one batch. */
static err note_places(struct lane *lane, view batch)
{
    struct relation_finder finder = {find_relation, lane->lanes->config.ledger};
    struct batch_walk walk;
    struct arena arena = {0};
    struct record record;
    bool more = true;
    err e = OK;

    batch_walk_init(&walk, batch);
    while (!e && !(e = batch_walk_next(&walk, &record, &more)) && more) {
        struct change change = {0};
        bool is_change = false;
        if (envelope_read(&arena, &record, &finder, &change, &is_change)) {
            continue; /* somebody else's record: it is sealed, and no change of ours */
        }
        if (change.place.seq >= 0 && !(is_change && change.kind == CHANGE_READ) &&
            !lane_has(lane, &change.place)) {
            lane->last = change.place;
            lane->has_last = true;
        }
        arena_reset(&arena);
    }
    batch_walk_fini(&walk);
    arena_fini(&arena);
    return e;
}

static err read_stretch(struct lane *lane, view batches)
{
    struct batch_info info;
    err e = OK;

    while (!e && batches.len) {
        if (batch_check_stored(batches, &info) != BATCH_FINE) {
            return fault(ERR_CORRUPT, "%s: a batch behind the last seal is damaged",
                         lane->topic->name);
        }
        view batch = view_upto(batches, info.bytes);
        int64_t end = info.base_offset + info.last_offset_delta + 1;
        if (end > lane->next) {
            seal_digest_add(lane->digest, batch);
            lane->next = end;
            e = note_places(lane, batch);
        }
        batches = view_from(batches, info.bytes);
    }
    return e;
}

/* What is behind the last seal: left by a crash, or by a connection that broke. */
static err read_tail(struct lane *lane)
{
    struct log *log = lane->lanes->config.log;
    struct partition_ends ends;
    err e = OK;

    partition_ends(lane->partition, &ends);
    if (ends.high < lane->from) {
        return fault(ERR_CONFLICT,
                     "topic %s ends at offset %lld, but it was sealed up to %lld: it was "
                     "deleted or cut back; remove the source and create it anew",
                     lane->topic->name, (long long)ends.high, (long long)lane->from);
    }
    lane->next = MAX(lane->from, ends.start);
    while (!e && lane->next < ends.high) {
        struct buf *bytes = NULL;
        e = log_fetch(log, lane->partition, lane->next, FETCH_BYTES, false, &bytes);
        if (!e && !bytes) {
            e = fault(ERR_IO, "%s: what is behind the last seal cannot be read",
                      lane->topic->name);
        }
        e = e ? e : read_stretch(lane, (view){bytes->bytes, bytes->len});
        buf_drop(bytes);
    }
    return e;
}

static err lane_make(struct lanes *all, view name, int32_t partition, int32_t partitions,
                     bool sealed, struct lane **out)
{
    char keep[24];
    const struct setting settings[] = {
        {(char *)"cleanup.policy", (char *)"delete"},
        {(char *)"retention.ms", keep},
        {(char *)"retention.bytes", (char *)"-1"},
        {(char *)"retention.protect", (char *)"true"},
        {(char *)"max.message.bytes", (char *)"104857600"},
    };
    struct lane *lane = xcalloc(1, sizeof(*lane));

    snprintf(keep, sizeof(keep), "%lld", (long long)all->config.keep_ms);
    lane->lanes = all;
    lane->sealed = sealed;
    lane->digest = seal_digest_new();
    pthread_mutex_init(&lane->lock, NULL);
    err e = records_topic(all->config.log, name, partitions, settings, COUNT(settings),
                          &lane->topic);
    if (!e) {
        lane->partition = topic_partition(lane->topic, partition);
    }
    if (!e && !lane->partition) {
        e = fault(ERR_CONFLICT, "topic %s has fewer than %d partitions", lane->topic->name,
                  (int)partition + 1);
    }
    if (!e && sealed) {
        lane->from = ledger_sealed(all->config.ledger, name, partition);
        e = read_tail(lane);
    } else if (!e) {
        struct partition_ends ends;
        partition_ends(lane->partition, &ends);
        lane->next = ends.end;
    }
    if (e) {
        lane_free(lane);
        return e;
    }
    *out = lane;
    return OK;
}

err lanes_open(struct lanes *all, view topic, int32_t partition, int32_t partitions,
               bool sealed, struct lane **out)
{
    struct writer key = {0};

    write_view(&key, topic);
    write_u8(&key, 0);
    write_i32(&key, partition);
    pthread_mutex_lock(&all->lock);
    *out = map_get(&all->by_key, writer_view(&key));
    pthread_mutex_unlock(&all->lock);
    err e = *out ? OK : lane_make(all, topic, partition, partitions, sealed, out);
    if (e || (*out)->key) {
        writer_fini(&key);
        return e;
    }
    (*out)->key = (char *)key.at;
    (*out)->key_len = key.len;
    pthread_mutex_lock(&all->lock);
    map_put(&all->by_key, writer_view(&key), *out);
    all->all = array_room(all->all, all->count, &all->room, sizeof(struct lane *));
    all->all[all->count++] = *out;
    if ((*out)->has_last) {
        all->tail_commit = MAX(all->tail_commit, (*out)->last.commit_lsn);
    }
    pthread_mutex_unlock(&all->lock);
    return OK;
}

bool lane_has(const struct lane *lane, const struct change_place *place)
{
    const struct change_place *last = &lane->last;

    return lane->has_last &&
           (place->commit_lsn < last->commit_lsn ||
            (place->commit_lsn == last->commit_lsn && place->seq <= last->seq));
}

int64_t lane_end(const struct lane *lane)
{
    return lane->next;
}

struct lane_writer *lane_writer_new(struct lanes *lanes, bool in_order, err (*wait)(void *self),
                                    void *self)
{
    struct lane_writer *w = xcalloc(1, sizeof(*w));

    *w = (struct lane_writer){.lanes = lanes, .in_order = in_order, .wait = wait, .self = self};
    return w;
}

void lane_writer_free(struct lane_writer *w)
{
    if (w) {
        for (size_t i = 0; i < w->room; i++) {
            free(w->open[i].records);
        }
        arena_fini(&w->arena);
        free(w->open);
        free(w);
    }
}

struct arena *lane_writer_arena(struct lane_writer *w)
{
    return &w->arena;
}

bool lane_writer_is_empty(const struct lane_writer *w)
{
    return w->bytes == 0;
}

/* On a thread of the log. */
static void stored(struct log_append *append)
{
    struct sent *s = (struct sent *)(void *)append;
    struct lane *lane = s->lane;
    struct lanes *all = lane->lanes;
    struct os *os = all->config.os;
    bool taken = append->status == LOG_APPEND_OK;

    if (taken) {
        atomic_store(&lane->warm_ms, os->now_ms(os));
    }
    buf_drop(append->hold);
    pthread_mutex_lock(&all->lock);
    if ((!taken || append->base_offset != s->expected) && !all->failed) {
        all->failed = true;
        err e =
            taken ? fault(ERR_BUSY, "topic %s: somebody else writes to it", lane->topic->name)
                  : fault(append->status == LOG_APPEND_FULL ? ERR_FULL : ERR_IO, "topic %s: %s",
                          lane->topic->name, log_append_status_text(append->status));
        all->fault = fault_here;
        (void)e;
    }
    atomic_fetch_sub(&lane->under_way, 1);
    all->in_flight_bytes -= append->batch.len;
    all->in_flight[s->generation & 1]--;
    all->config.wake(all->config.self);
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->lock);
    free(s);
}

err lanes_check(struct lanes *all)
{
    pthread_mutex_lock(&all->lock);
    err e = all->failed ? fault(all->fault.code, "%s", all->fault.text) : OK;
    pthread_mutex_unlock(&all->lock);
    return e;
}

static bool is_cold(const struct lane *lane)
{
    struct os *os = lane->lanes->config.os;

    return os->now_ms(os) - atomic_load(&lane->warm_ms) > WARM_MS;
}

/* Room for another batch on this lane. */
static err wait_for_room(struct lane_writer *w, struct lane *lane)
{
    struct lanes *all = w->lanes;

    for (;;) {
        pthread_mutex_lock(&all->lock);
        bool full = all->in_flight_bytes > LANES_IN_FLIGHT_MAX;
        pthread_mutex_unlock(&all->lock);
        err e = lanes_check(all);
        if (e || (!full && !(atomic_load(&lane->under_way) && is_cold(lane)))) {
            return e;
        }
        e = w->wait(w->self);
        if (e) {
            return e;
        }
    }
}

static void send(struct lane *lane, struct sent *s, size_t count)
{
    struct lanes *all = lane->lanes;

    pthread_mutex_lock(&lane->lock);
    s->expected = lane->next;
    lane->next += (int64_t)count;
    if (s->append.info.producer_id >= 0) {
        lane->sequence = (int32_t)(((uint32_t)lane->sequence + (uint32_t)count) & INT32_MAX);
    }
    atomic_fetch_add(&lane->under_way, 1);
    if (lane->sealed) {
        seal_digest_add(lane->digest, s->append.batch);
    }
    pthread_mutex_lock(&all->lock);
    s->generation = all->generation;
    all->in_flight[s->generation & 1]++;
    all->in_flight_bytes += s->append.batch.len;
    pthread_mutex_unlock(&all->lock);
    log_append(all->config.log, &s->append);
    pthread_mutex_unlock(&lane->lock);
}

static err flush_one(struct lane_writer *w, struct open_batch *b)
{
    struct lane *lane = b->lane;
    err e = wait_for_room(w, lane);

    if (e) {
        return e;
    }
    struct batch_build build = {
        .records = b->records,
        .count = b->count,
        .codec = b->bytes < COMPRESS_BYTES ? CODEC_NONE : CODEC_LZ4,
        .producer_id = w->in_order ? w->lanes->producer_id : -1,
        .producer_epoch = w->in_order ? 0 : -1,
        .base_sequence = w->in_order ? lane->sequence : -1,
    };
    struct sent *s = xcalloc(1, sizeof(*s));
    s->lane = lane;
    s->append = (struct log_append){.partition = lane->partition,
                                    .acks = LOG_ACKS_DURABLE,
                                    .flags = LOG_APPEND_INTERNAL,
                                    .done = stored};
    s->append.hold = batch_new(&build, &s->append.batch);
    enum batch_fault bad = batch_peek(s->append.batch, &s->append.info);
    assert(bad == BATCH_FINE);
    send(lane, s, b->count);
    b->count = b->bytes = 0;
    return OK;
}

err lane_flush(struct lane_writer *w)
{
    for (size_t i = 0; i < w->count; i++) {
        err e = w->open[i].count ? flush_one(w, &w->open[i]) : OK;
        if (e) {
            return e;
        }
    }
    w->count = w->bytes = 0;
    arena_reset(&w->arena);
    return OK;
}

static struct open_batch *batch_for(struct lane_writer *w, struct lane *lane)
{
    for (size_t i = w->count; i-- > 0;) {
        if (w->open[i].lane == lane) {
            return &w->open[i];
        }
    }
    if (w->count == w->room) {
        size_t before = w->room;
        w->open = array_room(w->open, w->count, &w->room, sizeof(*w->open));
        memset(w->open + before, 0, (w->room - before) * sizeof(*w->open));
    }
    struct open_batch *b = &w->open[w->count++];
    b->lane = lane;
    b->count = b->bytes = 0;
    return b;
}

err lane_add(struct lane_writer *w, struct lane *lane, const struct record *records,
             size_t count, const struct change_place *place)
{
    struct open_batch *b = batch_for(w, lane);

    for (size_t i = 0; i < count; i++) {
        size_t bytes = records[i].key.len + records[i].value.len + RECORD_BYTES;
        b->records = array_room(b->records, b->count, &b->room, sizeof(*b->records));
        b->records[b->count++] = records[i];
        b->bytes += bytes;
        w->bytes += bytes;
    }
    if (place) {
        lane->last = *place;
        lane->has_last = true;
    }
    return w->bytes >= FLUSH_BYTES ? lane_flush(w) : OK;
}

size_t lanes_cut(struct lanes *all, struct arena *arena, struct seal_range **out,
                 uint64_t *generation)
{
    size_t count = 0;

    pthread_mutex_lock(&all->lock);
    size_t lanes = all->count;
    struct lane **list = all->all; /* grows by the one thread that cuts */
    assert(all->in_flight[(all->generation + 1) & 1] == 0);
    pthread_mutex_unlock(&all->lock);
    struct seal_range *ranges = arena_take(arena, (lanes + 1) * sizeof(*ranges));
    for (size_t i = 0; i < lanes; i++) {
        struct lane *lane = list[i];
        pthread_mutex_lock(&lane->lock);
        if (lane->sealed && lane->next > lane->from) {
            struct seal_range *r = &ranges[count++];
            *r = (struct seal_range){.topic = view_text(lane->topic->name),
                                     .partition = partition_index(lane->partition),
                                     .from = lane->from,
                                     .to = lane->next};
            seal_digest_end(lane->digest, r->hash);
            lane->from = lane->next;
        }
        pthread_mutex_unlock(&lane->lock);
    }
    pthread_mutex_lock(&all->lock);
    *generation = all->generation++;
    pthread_mutex_unlock(&all->lock);
    *out = ranges;
    return count;
}

bool lanes_are_busy(struct lanes *all)
{
    pthread_mutex_lock(&all->lock);
    bool busy = all->in_flight[0] + all->in_flight[1] > 0;
    pthread_mutex_unlock(&all->lock);
    return busy;
}

bool lanes_are_stored(struct lanes *all, uint64_t generation)
{
    pthread_mutex_lock(&all->lock);
    bool stored_all = all->in_flight[generation & 1] == 0;
    pthread_mutex_unlock(&all->lock);
    return stored_all;
}

uint64_t lanes_tail(struct lanes *all)
{
    pthread_mutex_lock(&all->lock);
    uint64_t commit = all->tail_commit;
    pthread_mutex_unlock(&all->lock);
    return commit;
}

bool lanes_have_more(struct lanes *all)
{
    bool more = false;

    for (size_t i = 0; i < all->count && !more; i++) {
        struct lane *lane = all->all[i];
        pthread_mutex_lock(&lane->lock);
        more = lane->sealed && lane->next > lane->from;
        pthread_mutex_unlock(&lane->lock);
    }
    return more;
}
