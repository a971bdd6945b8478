/* api_fetch.c - Fetch (1): stored batches to readers, with long polls; KIP-74, KIP-98, KIP-227,
 * KIP-320, KIP-516.
 *
 *   read -> collect -> enough, an error, or no time left? -> answer
 *             ^  \-> something is not in memory -> a reader collects -^
 *             '---- woken <- wait on every partition <-'
 *
 * Batches go out as they are stored: the answer is made of the log's ranges. Sessions are
 * declined by session id 0, which KIP-227 permits. A wake-up is never lost: waiting is entered
 * with the offset that was seen, and refused when the log has moved past it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include <stdlib.h>

#include "broker/broker.h"
#include "broker/quota.h"

#define BY_ID_FROM 13
#define TAG_DIVERGING 0

struct part {
    int32_t index, leader_epoch, last_epoch; /* epochs: -1 not given */
    int64_t offset;
    int32_t bytes_max;
    int16_t error;
    struct partition *partition;
    struct log_read read; /* ranges and aborts are ours between collect and answer */
    bool diverges;
    int32_t end_epoch; /* where the histories part */
    int64_t end_offset;
    struct log_wait wait;
    struct request *request;
};

struct topic_ask {
    view name;
    uuid id;
    struct topic *topic; /* held */
    struct part *parts;
    size_t part_count;
};

struct ask {
    int32_t wait_ms, bytes_min, bytes_max, session;
    bool committed;
    struct topic_ask *topics;
    size_t topic_count;
    int64_t bytes;      /* collected */
    bool urgent;        /* an error, or nothing can be waited for: answer now */
    bool cold;          /* a read needs a reader */
    bool blocks;        /* this round runs on a reader */
    bool over;          /* the time is up, or the client has left */
    bool waits;         /* parked: the waits are with the log */
    _Atomic bool woken; /* a wake-up is on its way to the loop */
};

static void read_topic(struct request *r, struct topic_ask *topic)
{
    struct reader *in = &r->body;

    if (r->version >= BY_ID_FROM) {
        topic->id = read_uuid(in);
    } else {
        topic->name = read_text(in, r->flexible);
    }
    topic->parts = request_items(r, 16, sizeof(*topic->parts), &topic->part_count, NULL);
    for (size_t i = 0; i < topic->part_count; i++) {
        struct part *part = &topic->parts[i];
        part->index = read_i32(in);
        part->leader_epoch = r->version >= 9 ? read_i32(in) : -1;
        part->offset = read_i64(in);
        part->last_epoch = r->version >= 12 ? read_i32(in) : -1;
        if (r->version >= 5) {
            read_i64(in); /* a follower's log start */
        }
        part->bytes_max = read_i32(in);
        part->request = r;
        read_tags(in, r->flexible); /* a follower's folder and high watermark */
    }
    read_tags(in, r->flexible);
}

/* In an incremental request: what to leave out from now on. Nothing, without sessions. */
static void read_forgotten(struct request *r)
{
    struct reader *in = &r->body;
    size_t count = read_count(in, r->flexible, r->flexible ? 3 : 6), parts;

    for (size_t i = 0; i < count && !in->bad; i++) {
        if (r->version >= BY_ID_FROM) {
            read_uuid(in);
        } else {
            read_text(in, r->flexible);
        }
        parts = read_count(in, r->flexible, 4);
        read_bytes(in, parts * 4);
        read_tags(in, r->flexible);
    }
}

void fetch_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    if (r->version <= 14) {
        read_i32(in); /* replica id */
    }
    ask->wait_ms = read_i32(in);
    ask->bytes_min = read_i32(in);
    ask->bytes_max = read_i32(in);
    ask->committed = read_u8(in) == 1;
    if (r->version >= 7) {
        ask->session = read_i32(in);
        read_i32(in); /* session epoch: 0 and -1 both mean all of it */
    }
    ask->topics =
        request_items(r, r->flexible ? 3 : 6, sizeof(*ask->topics), &ask->topic_count, NULL);
    for (size_t i = 0; i < ask->topic_count; i++) {
        read_topic(r, &ask->topics[i]);
    }
    if (r->version >= 7) {
        read_forgotten(r);
    }
    if (r->version >= 11) {
        read_text(in, r->flexible); /* rack */
    }
    read_tags(in, r->flexible);
}

/* Every part of every topic, in the order of the request. */
static struct part *next_part(const struct ask *ask, size_t *topic, size_t *index)
{
    while (*topic < ask->topic_count && *index >= ask->topics[*topic].part_count) {
        ++*topic;
        *index = 0;
    }
    return *topic < ask->topic_count ? &ask->topics[*topic].parts[(*index)++] : NULL;
}

static void release(struct request *r)
{
    struct ask *ask = r->ask;
    struct part *part;

    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        log_range_drop(r->broker->log, &part->read.range);
        free(part->read.aborted);
        part->read = (struct log_read){0};
    }
    ask->bytes = 0;
}

/* A follower's or careful client's history against ours (KIP-320). True: they part. */
static bool diverges(struct part *part)
{
    if (part->last_epoch < 0) {
        return false;
    }
    if (partition_epoch_end(part->partition, part->last_epoch, &part->end_epoch,
                            &part->end_offset)) {
        part->error = KAFKA_KAFKA_STORAGE_ERROR;
        return false;
    }
    return part->end_epoch != part->last_epoch || part->end_offset < part->offset;
}

static int16_t check_part(const struct request *r, const struct part *part)
{
    struct partition_ends ends;

    if (partition_topic(part->partition)->deleted) { /* perhaps while we waited */
        return r->version >= BY_ID_FROM ? KAFKA_UNKNOWN_TOPIC_ID
                                        : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (part->leader_epoch < 0) {
        return KAFKA_NONE;
    }
    partition_ends(part->partition, &ends);
    return part->leader_epoch < ends.leader_epoch   ? KAFKA_FENCED_LEADER_EPOCH
           : part->leader_epoch > ends.leader_epoch ? KAFKA_UNKNOWN_LEADER_EPOCH
                                                    : KAFKA_NONE;
}

static void read_part(struct request *r, struct part *part, int64_t room)
{
    struct ask *ask = r->ask;

    part->read = (struct log_read){
        .partition = part->partition,
        .offset = part->offset,
        .bytes_max = (uint32_t)MAX(0, MIN(room, part->bytes_max)),
        .whole_first = ask->bytes == 0,
        .committed = ask->committed,
        .may_block = ask->blocks,
    };
    log_read(r->broker->log, &part->read);
    switch (part->read.status) {
    case LOG_READ_OK:
        ask->bytes += part->read.range.bytes;
        break;
    case LOG_READ_COLD:
        ask->cold = true;
        break;
    case LOG_READ_OUT_OF_RANGE:
        part->error = KAFKA_OFFSET_OUT_OF_RANGE;
        break;
    case LOG_READ_FAILED:
        part->error = KAFKA_KAFKA_STORAGE_ERROR;
        break;
    }
}

/* One round over all partitions; on the loop, or on a reader when it blocks. */
static void collect(struct request *r)
{
    struct ask *ask = r->ask;
    int64_t limit = MIN(ask->bytes_max, r->broker->config->fetch_bytes_max);
    struct part *part;

    release(r);
    ask->cold = ask->urgent = false;
    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        if (part->partition) {
            part->error = check_part(r, part);
        }
        if (!part->error && part->last_epoch >= 0 && !ask->blocks) {
            ask->cold = true;
        } else if (!part->error && !(part->diverges = diverges(part)) && !part->error) {
            read_part(r, part, limit - ask->bytes);
        }
        ask->urgent = ask->urgent || part->error || part->diverges;
    }
}

static void write_part_end(struct request *r, struct part *part)
{
    struct writer *w = &r->answer;

    write_blob(w, r->flexible, (view){NULL, 0});
    if (part->read.range.bytes) { /* the length of an empty blob gives way to the real one */
        w->len -= r->flexible ? 1 : 4;
        write_count(w, r->flexible, part->read.range.bytes);
        request_add_range(r, part->read.range);
        part->read.range = (struct log_range){0};
    }
    if (!part->diverges) {
        write_no_tags(w, r->flexible);
        return;
    }
    struct writer field = {0};
    write_i32(&field, part->end_epoch);
    write_i64(&field, part->end_offset);
    write_no_tags(&field, true);
    write_uvarint(w, 1);
    write_tag(w, TAG_DIVERGING, writer_view(&field));
    writer_fini(&field);
}

static void write_part(struct request *r, struct part *part)
{
    const struct ask *ask = r->ask;
    const struct log_read *read = &part->read;
    struct writer *w = &r->answer;
    bool known = read->partition != NULL && !part->error;

    write_i32(w, part->index);
    write_i16(w, part->error);
    write_i64(w, known ? read->high : -1);
    write_i64(w, known ? read->stable : -1);
    if (r->version >= 5) {
        write_i64(w, known ? read->start : -1);
    }
    if (ask->committed && !part->error) {
        write_count(w, r->flexible, read->aborted_count);
        for (size_t i = 0; i < read->aborted_count; i++) {
            write_i64(w, read->aborted[i].producer_id);
            write_i64(w, read->aborted[i].first_offset);
            write_no_tags(w, r->flexible);
        }
    } else {
        write_null_count(w, r->flexible);
    }
    if (r->version >= 11) {
        write_i32(w, -1); /* preferred read replica */
    }
    write_part_end(r, part);
}

static void write_head(struct request *r, int16_t error, size_t topics)
{
    write_i32(&r->answer, r->throttle_ms);
    if (r->version >= 7) {
        write_i16(&r->answer, error);
        write_i32(&r->answer, 0); /* no session */
    }
    write_count(&r->answer, r->flexible, topics);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    r->throttle_ms = quota_use(r->broker->quotas, QUOTA_FETCH, r->client_id, ask->bytes);
    write_head(r, KAFKA_NONE, ask->topic_count);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        if (r->version >= BY_ID_FROM) {
            write_uuid(w, topic->id);
        } else {
            write_text(w, r->flexible, topic->name);
        }
        write_count(w, r->flexible, topic->part_count);
        for (size_t j = 0; j < topic->part_count; j++) {
            write_part(r, &topic->parts[j]);
        }
        write_no_tags(w, r->flexible);
    }
    write_no_tags(w, r->flexible);
    release(r);
    for (size_t i = 0; i < ask->topic_count; i++) {
        topic_drop(ask->topics[i].topic);
    }
    request_reply(r);
}

static void round_over(struct request *r);

static void start_round(struct request *r)
{
    struct ask *ask = r->ask;

    ask->blocks = false;
    collect(r);
    if (ask->cold) {
        ask->blocks = true;
        request_block(r, collect, round_over);
    } else {
        round_over(r);
    }
}

static void unpark(struct ask *ask)
{
    struct part *part;

    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        if (part->wait.partition) {
            log_wait_remove(&part->wait);
            part->wait.partition = NULL;
        }
    }
    ask->waits = false;
}

static void woken(struct request *r)
{
    struct ask *ask = r->ask;

    unpark(ask);
    ask->woken = false; /* after unpark: nobody else can set it */
    start_round(r);
}

static void wake(struct log_wait *wait)
{
    struct part *part = (struct part *)((char *)wait - offsetof(struct part, wait));
    struct ask *ask = part->request->ask;

    if (!atomic_exchange(&ask->woken, true)) {
        request_post(part->request, woken);
    }
}

/* The time is up or the client has left. */
static void hurry(struct request *r)
{
    struct ask *ask = r->ask;

    ask->over = true;
    if (ask->waits) {
        unpark(ask);
        if (!ask->woken) { /* else woken() is on its way */
            start_round(r);
        }
    }
}

/* False: the log has moved meanwhile, or a wake-up is under way already. */
static bool park(struct request *r)
{
    struct ask *ask = r->ask;
    struct part *part;

    ask->waits = true;
    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        part->wait = (struct log_wait){
            .partition = part->partition,
            .offset = ask->committed ? part->read.stable : part->read.high,
            .committed = ask->committed,
            .wake = wake,
        };
        if (!log_wait_add(&part->wait)) {
            part->wait.partition = NULL;
            if (partition_failed(part->partition)) {
                continue; /* nothing new can come: the time alone ends it */
            }
            return false;
        }
    }
    return true;
}

static void round_over(struct request *r)
{
    struct ask *ask = r->ask;

    ask->blocks = false;
    if (ask->urgent || ask->over || ask->bytes >= ask->bytes_min || ask->wait_ms <= 0 ||
        ask->topic_count == 0) {
        answer(r);
        return;
    }
    r->gone = hurry;
    if (park(r)) {
        for (size_t i = 0; i < ask->topic_count; i++) { /* a parked request holds no segments */
            for (size_t j = 0; j < ask->topics[i].part_count; j++) {
                struct log_read *read = &ask->topics[i].parts[j].read;
                log_range_drop(r->broker->log, &read->range);
                read->range = (struct log_range){0};
            }
        }
        return;
    }
    unpark(ask);
    if (!atomic_exchange(&ask->woken, true)) { /* else woken() is on its way */
        request_post(r, woken);
    }
}

static void answer_error(struct request *r, int16_t error)
{
    write_head(r, error, 0);
    write_no_tags(&r->answer, r->flexible);
    request_reply(r);
}

void fetch_handle(struct request *r)
{
    struct ask *ask = r->ask;

    if (ask->session != 0) {
        answer_error(r, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
        return;
    }
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        bool by_id = r->version >= BY_ID_FROM;
        topic->topic = by_id ? log_topic_by_id(r->broker->log, topic->id)
                             : log_topic(r->broker->log, topic->name);
        for (size_t j = 0; j < topic->part_count; j++) {
            struct part *part = &topic->parts[j];
            part->partition = topic->topic ? topic_partition(topic->topic, part->index) : NULL;
            if (!part->partition) {
                part->error = by_id && !topic->topic ? KAFKA_UNKNOWN_TOPIC_ID
                                                     : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
            }
        }
    }
    if (ask->wait_ms > 0) {
        request_after(r, ask->wait_ms, hurry);
    }
    start_round(r);
}
