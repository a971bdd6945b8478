/* api_produce.c - Produce (0): batches into the log; KIP-98, KIP-467, KIP-890, KIP-516.
 *
 *   read -> check each batch -----------------> one chain to the log -> (acks met) -> answer
 *                     \-> [transactional] coordinator -/
 *
 * All transactional batches go by way of the coordinator, which verifies or adds partitions in
 * the order in which requests came: if only the first of a transaction in its partition went
 * there, later ones could overtake it and break the producer's sequence.
 *
 * Nothing waits here: the next request of the connection is parsed while the log works, and
 * the connection keeps the order of answers. Versions 0 to 2, whose message formats are gone,
 * are advertised because librdkafka takes codecs from that range; they are answered with an
 * error. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/quota.h"
#include "coord/coord.h"

#define REAL_FROM 3
#define ZSTD_FROM 7
#define RECORD_ERRORS_MAX 1000 /* in the answer about one batch; its words say the rest */
#define TXN_V2_FROM 12         /* the batch itself adds its partition to the transaction */
#define ACKS_ALL (-1)

struct part {
    int32_t index;
    view records; /* null: not given */
    int16_t error;
    const char *words;
    struct log_append append;
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
    view txn_id; /* null: none */
    int16_t acks;
    struct topic_ask *topics;
    size_t topic_count;
    _Atomic size_t left; /* appends under way */
    struct coord_add_partitions add;
};

static void read_topic(struct request *r, struct topic_ask *topic)
{
    struct reader *in = &r->body;

    if (r->version >= 13) {
        topic->id = read_uuid(in);
    } else {
        topic->name = read_text(in, r->flexible);
    }
    topic->parts =
        request_items(r, r->flexible ? 6 : 8, sizeof(*topic->parts), &topic->part_count, NULL);
    for (size_t i = 0; i < topic->part_count; i++) {
        struct part *part = &topic->parts[i];
        part->index = read_i32(in);
        part->records = read_blob_or_null(in, r->flexible);
        part->request = r;
        read_tags(in, r->flexible);
    }
    read_tags(in, r->flexible);
}

void produce_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    if (r->version >= REAL_FROM) {
        ask->txn_id = read_text_or_null(in, r->flexible);
    }
    ask->acks = read_i16(in);
    read_i32(in); /* timeout of waiting for replicas: there are none */
    ask->topics =
        request_items(r, r->flexible ? 3 : 6, sizeof(*ask->topics), &ask->topic_count, NULL);
    for (size_t i = 0; i < ask->topic_count; i++) {
        read_topic(r, &ask->topics[i]);
    }
    read_tags(in, r->flexible);
}

static int16_t refuse(struct part *part, int16_t error, const char *words)
{
    part->words = words;
    part->error = error;
    return error;
}

/* Every part of every topic, in order. */
static struct part *next_part(const struct ask *ask, size_t *topic, size_t *index)
{
    while (*topic < ask->topic_count && *index >= ask->topics[*topic].part_count) {
        ++*topic;
        *index = 0;
    }
    return *topic < ask->topic_count ? &ask->topics[*topic].parts[(*index)++] : NULL;
}

static int16_t check_batch(struct request *r, struct part *part)
{
    struct log_append *append = &part->append;
    enum batch_fault fault = batch_check(part->records, &append->info);

    if (fault) {
        return refuse(part, kafka_of_batch(fault), batch_fault_text(fault));
    }
    if ((append->info.attributes & BATCH_CODEC_MASK) == CODEC_ZSTD && r->version < ZSTD_FROM) {
        return refuse(part, KAFKA_UNSUPPORTED_COMPRESSION_TYPE,
                      "zstd needs Produce version 7 or later");
    }
    if ((append->info.attributes & BATCH_TRANSACTIONAL) &&
        !((const struct ask *)r->ask)->txn_id.at) {
        return refuse(part, KAFKA_INVALID_RECORD,
                      "a transactional batch in a request without transactional id");
    }
    return KAFKA_NONE;
}

static void appended(struct log_append *append);

static int16_t check_part(struct request *r, const struct topic_ask *topic, struct part *part)
{
    const struct ask *ask = r->ask;
    struct log_append *append = &part->append;

    if (r->version < REAL_FROM) {
        return refuse(part, KAFKA_UNSUPPORTED_VERSION,
                      "message formats before version 2 are not taken");
    }
    if (ask->acks < ACKS_ALL || ask->acks > 1) {
        return refuse(part, KAFKA_INVALID_REQUIRED_ACKS, "acks must be -1, 0 or 1");
    }
    append->partition = topic->topic ? topic_partition(topic->topic, part->index) : NULL;
    if (!append->partition) {
        bool by_id = r->version >= 13 && !topic->topic;
        return refuse(part, by_id ? KAFKA_UNKNOWN_TOPIC_ID : KAFKA_UNKNOWN_TOPIC_OR_PARTITION,
                      NULL);
    }
    if (topic->topic->internal) {
        return refuse(part, KAFKA_INVALID_TOPIC, "internal topics are closed to clients");
    }
    if (check_batch(r, part)) {
        return part->error;
    }
    append->hold = r->frame;
    append->batch = part->records;
    append->acks = ask->acks == ACKS_ALL ? LOG_ACKS_DURABLE : LOG_ACKS_WRITTEN;
    append->flags = r->version >= TXN_V2_FROM && ask->txn_id.at ? LOG_APPEND_TXN_V2 : 0;
    append->done = appended;
    append->base_offset = -1;
    return KAFKA_NONE;
}

/* KIP-467: which records of a batch for a compacted topic lack a key, so that a client can send
 * the others again. A compressed batch is refused as a whole: inflating it again would hold up
 * the loop. */
static size_t find_keyless(struct request *r, const struct part *part, int32_t **found)
{
    struct batch_walk walk;
    struct record record;
    size_t count = 0;
    bool more = true;

    if (part->append.status != LOG_APPEND_NO_KEY ||
        (part->append.info.attributes & BATCH_CODEC_MASK)) {
        return 0;
    }
    *found = arena_take(&r->arena, RECORD_ERRORS_MAX * sizeof(**found));
    batch_walk_init(&walk, part->records);
    for (int32_t i = 0; count < RECORD_ERRORS_MAX; i++) {
        if (batch_walk_next(&walk, &record, &more) != OK || !more) {
            break;
        }
        if (!record.key.at) {
            (*found)[count++] = i;
        }
    }
    batch_walk_fini(&walk);
    return count;
}

static void write_record_errors(struct request *r, const struct part *part)
{
    struct writer *w = &r->answer;
    int32_t *found = NULL;
    size_t count = find_keyless(r, part, &found);

    write_count(w, r->flexible, count);
    for (size_t i = 0; i < count; i++) {
        write_i32(w, found[i]);
        write_chars(w, r->flexible, NULL); /* the batch's words say it */
        write_no_tags(w, r->flexible);
    }
}

static void write_part(struct request *r, const struct part *part)
{
    struct writer *w = &r->answer;
    const struct log_append *append = &part->append;
    bool fine = part->error == KAFKA_NONE;

    write_i32(w, part->index);
    write_i16(w, part->error);
    write_i64(w, fine ? append->base_offset : -1);
    if (r->version >= 2) {
        write_i64(w, fine ? append->append_ms : -1);
    }
    if (r->version >= 5) {
        write_i64(w, fine ? append->start : -1);
    }
    if (r->version >= 8) {
        write_record_errors(r, part);
        write_chars(w, r->flexible, fine ? NULL : part->words);
    }
    write_no_tags(w, r->flexible);
}

static void answer(struct request *r)
{
    const struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    write_count(w, r->flexible, ask->topic_count);
    for (size_t i = 0; i < ask->topic_count; i++) {
        const struct topic_ask *topic = &ask->topics[i];
        if (r->version >= 13) {
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
    if (r->version >= 1) {
        write_i32(w, r->throttle_ms);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

static void finish(struct request *r)
{
    const struct ask *ask = r->ask;
    int16_t error = KAFKA_NONE;
    const struct part *part;

    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        error = part->error ? part->error : error;
    }
    for (size_t i = 0; i < ask->topic_count; i++) {
        topic_drop(ask->topics[i].topic);
    }
    if (ask->acks != 0) {
        answer(r);
    } else if (error) {
        request_close(r, "a produce with acks=0 failed: %s", kafka_error_name(error));
    } else {
        request_silent(r);
    }
}

/* All appends of the chain are done, on the loop again. */
static void all_appended(struct request *r)
{
    const struct ask *ask = r->ask;
    struct part *part;

    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        if (!part->error) {
            part->error = kafka_of_append(part->append.status);
            part->words = log_append_status_text(part->append.status);
        }
    }
    finish(r);
}

static void appended(struct log_append *append)
{
    struct part *part = (struct part *)((char *)append - offsetof(struct part, append));
    struct ask *ask = part->request->ask;

    if (atomic_fetch_sub(&ask->left, 1) == 1) {
        request_post(part->request, all_appended);
    }
}

/* Hands over the parts that are fine so far. */
static void append_parts(struct request *r)
{
    struct ask *ask = r->ask;
    struct log_append *first = NULL, **at = &first;
    struct part *part;
    size_t left = 0;

    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        if (!part->error) {
            *at = &part->append;
            at = &part->append.next;
            left++;
        }
    }
    *at = NULL;
    ask->left = left;
    if (first) {
        log_append(r->broker->log, first);
    } else {
        all_appended(r);
    }
}

static int16_t error_of_verify(enum coord_status status)
{
    switch (status) {
    case COORD_OK:
        return KAFKA_NONE;
    case COORD_INVALID_PRODUCER_MAPPING:
        return KAFKA_INVALID_PRODUCER_ID_MAPPING;
    case COORD_INVALID_PRODUCER_EPOCH:
    case COORD_PRODUCER_FENCED:
        return KAFKA_INVALID_PRODUCER_EPOCH;
    case COORD_CONCURRENT_TRANSACTIONS:
    case COORD_LOADING:
    case COORD_NOT_COORDINATOR:
        return KAFKA_NOT_ENOUGH_REPLICAS; /* old clients retry that one; KIP-890 */
    case COORD_TXN_ABORTABLE:
        return KAFKA_TRANSACTION_ABORTABLE;
    case COORD_UNKNOWN_TOPIC:
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    case COORD_STORAGE:
        return KAFKA_KAFKA_STORAGE_ERROR;
    default:
        return KAFKA_INVALID_TXN_STATE;
    }
}

static bool is_transactional(const struct part *part)
{
    return !part->error && (part->append.info.attributes & BATCH_TRANSACTIONAL);
}

static void verified_all(struct request *r)
{
    struct ask *ask = r->ask;
    struct part *part;
    size_t at = 0;

    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        if (is_transactional(part)) {
            enum coord_status status = ask->add.ask.status != COORD_OK
                                           ? ask->add.ask.status
                                           : ask->add.partitions[at].status;
            at++;
            part->append.flags |= LOG_APPEND_VERIFIED;
            refuse(part, error_of_verify(status), coord_status_text(status));
        }
    }
    append_parts(r);
}

static void verified(struct coord_ask *add)
{
    request_post(add->owner, verified_all);
}

/* One request has one producer: what the coordinator says of it holds for every batch. */
static bool is_of(const struct coord_add_partitions *add, const struct part *part)
{
    return add->producer_id == part->append.info.producer_id &&
           add->producer_epoch == part->append.info.producer_epoch;
}

/* Are the partitions in the transaction? From version 12 on: now they are. */
static void verify(struct request *r)
{
    struct ask *ask = r->ask;
    struct coord_add_partitions *add = &ask->add;
    struct part *part;
    size_t count = 0;

    for (size_t i = 0; i < ask->topic_count; i++) {
        count += ask->topics[i].part_count;
    }
    add->partitions = arena_take(&r->arena, count * sizeof(*add->partitions));
    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        if (!is_transactional(part)) {
            continue;
        }
        if (!add->partition_count) {
            add->producer_id = part->append.info.producer_id;
            add->producer_epoch = part->append.info.producer_epoch;
        } else if (!is_of(add, part)) {
            refuse(part, KAFKA_INVALID_PRODUCER_ID_MAPPING, "batches of several producers");
            continue;
        }
        add->partitions[add->partition_count++] = (struct coord_txn_partition){
            .topic = view_text(ask->topics[topic].topic->name), .partition = part->index};
    }
    add->how = r->version >= TXN_V2_FROM ? COORD_TXN_ADD_V2 : COORD_TXN_VERIFY;
    add->txn_id = ask->txn_id;
    add->ask.arena = &r->arena;
    add->ask.owner = r;
    add->ask.done = verified;
    coord_add_partitions(r->broker->coord, add);
}

static bool must_verify(const struct ask *ask)
{
    const struct part *part;

    for (size_t topic = 0, i = 0; (part = next_part(ask, &topic, &i));) {
        if (is_transactional(part)) {
            return true;
        }
    }
    return false;
}

void produce_handle(struct request *r)
{
    struct ask *ask = r->ask;

    r->throttle_ms = quota_use(r->broker->quotas, QUOTA_PRODUCE, r->client_id, r->frame->len);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        topic->topic = r->version >= 13 ? log_topic_by_id(r->broker->log, topic->id)
                                        : log_topic(r->broker->log, topic->name);
        for (size_t j = 0; j < topic->part_count; j++) {
            check_part(r, topic, &topic->parts[j]);
        }
    }
    if (must_verify(ask)) {
        verify(r);
    } else {
        append_parts(r);
    }
}
