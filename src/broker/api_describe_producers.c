/* api_describe_producers.c - DescribeProducers (61): who writes to a partition, and whose
 * transaction is open there; KIP-664. Each partition's shard is asked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include <stdlib.h>

struct part {
    struct job job; /* first */
    struct request *request;
    struct topic *topic; /* held while its shard works */
    struct partition *partition;
    int32_t index;
    int16_t error;
    struct producer_view *producers; /* heap */
    size_t producer_count;
};

struct topic_ask {
    view name;
    struct part *parts;
    size_t part_count;
};

struct ask {
    struct topic_ask *topics;
    size_t topic_count;
    struct map seen;     /* partitions: one that is named again is refused */
    _Atomic size_t left; /* of them under way */
};

void describe_producers_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->topics = request_items(r, 3, sizeof(*ask->topics), &ask->topic_count, NULL);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        topic->name = read_text(in, true);
        topic->parts =
            request_items(r, sizeof(int32_t), sizeof(*topic->parts), &topic->part_count, NULL);
        for (size_t j = 0; j < topic->part_count; j++) {
            topic->parts[j].index = read_i32(in);
        }
        read_tags(in, true);
    }
    read_tags(in, true);
}

static void write_producer(struct writer *w, const struct producer_view *producer)
{
    write_i64(w, producer->producer_id);
    write_i32(w, producer->epoch);
    write_i32(w, producer->last_sequence);
    write_i64(w, producer->last_timestamp);
    write_i32(w, producer->coordinator_epoch);
    write_i64(w, producer->txn_first_offset);
    write_no_tags(w, true);
}

static void write_part(struct writer *w, const struct part *part)
{
    write_i32(w, part->index);
    write_i16(w, part->error);
    write_chars(w, true, NULL);
    write_count(w, true, part->producer_count);
    for (size_t i = 0; i < part->producer_count; i++) {
        write_producer(w, &part->producers[i]);
    }
    write_no_tags(w, true);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    write_i32(w, r->throttle_ms);
    write_count(w, true, ask->topic_count);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        write_text(w, true, topic->name);
        write_count(w, true, topic->part_count);
        for (size_t j = 0; j < topic->part_count; j++) {
            struct part *part = &topic->parts[j];
            write_part(w, part);
            free(part->producers);
            topic_drop(part->topic);
        }
        write_no_tags(w, true);
    }
    write_no_tags(w, true);
    request_reply(r);
}

static void one_less(struct request *r)
{
    if (atomic_fetch_sub(&((struct ask *)r->ask)->left, 1) == 1) {
        request_post(r, answer);
    }
}

static void look(struct job *job) /* on the partition's shard */
{
    struct part *part = (struct part *)job;

    part->producer_count = partition_producers(part->partition, &part->producers);
    one_less(part->request);
}

static int16_t find(struct request *r, struct part *part, struct topic *topic)
{
    struct ask *ask = r->ask;
    struct partition *p = topic ? topic_partition(topic, part->index) : NULL;

    if (!p) {
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
    part->request = r;
    part->job.work = look;
    part->partition = p;
    if (map_get(&ask->seen, VIEW_OF(part->partition))) {
        part->partition = NULL;
        return KAFKA_INVALID_REQUEST;
    }
    map_put(&ask->seen, VIEW_OF(part->partition), part);
    part->topic = topic_hold(topic);
    ask->left++;
    return KAFKA_NONE;
}

static void find_all(struct request *r, struct topic_ask *asked)
{
    struct topic *topic = log_topic(r->broker->log, asked->name);

    for (size_t i = 0; i < asked->part_count; i++) {
        asked->parts[i].error = find(r, &asked->parts[i], topic);
    }
    topic_drop(topic);
}

void describe_producers_handle(struct request *r)
{
    struct ask *ask = r->ask;

    ask->left = 1; /* ours, until all are handed over */
    for (size_t i = 0; i < ask->topic_count; i++) {
        find_all(r, &ask->topics[i]);
    }
    map_fini(&ask->seen);
    for (size_t i = 0; i < ask->topic_count; i++) {
        for (size_t j = 0; j < ask->topics[i].part_count; j++) {
            struct part *part = &ask->topics[i].parts[j];
            if (part->partition) {
                log_run_on_shard(r->broker->log, part->partition, &part->job);
            }
        }
    }
    one_less(r);
}
