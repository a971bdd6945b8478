/* api_epoch_ends.c - OffsetForLeaderEpoch (23): where the records of a leader epoch end; a
 * client that saw more than that has to cut back; KIP-101, KIP-279, KIP-320.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

struct part {
    int32_t index, leader_epoch; /* the client's view of the leader; -1: none */
    int32_t epoch;               /* asked for */
    int16_t error;
    int32_t found;
    int64_t end;
};

struct topic_ask {
    view name;
    struct part *parts;
    size_t part_count;
};

struct ask {
    struct topic_ask *topics;
    size_t topic_count;
};

void epoch_ends_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    if (r->version >= 3) {
        read_i32(in); /* replica id */
    }
    ask->topics =
        request_items(r, r->flexible ? 3 : 6, sizeof(*ask->topics), &ask->topic_count, NULL);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        topic->name = read_text(in, r->flexible);
        topic->parts = request_items(r, 8, sizeof(*topic->parts), &topic->part_count, NULL);
        for (size_t j = 0; j < topic->part_count; j++) {
            topic->parts[j].index = read_i32(in);
            topic->parts[j].leader_epoch = r->version >= 2 ? read_i32(in) : -1;
            topic->parts[j].epoch = read_i32(in);
            read_tags(in, r->flexible);
        }
        read_tags(in, r->flexible);
    }
    read_tags(in, r->flexible);
}

static int16_t find(struct partition *p, struct part *part)
{
    struct partition_ends ends;

    if (!p) {
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
    partition_ends(p, &ends);
    if (part->leader_epoch >= 0 && part->leader_epoch != ends.leader_epoch) {
        return part->leader_epoch < ends.leader_epoch ? KAFKA_FENCED_LEADER_EPOCH
                                                      : KAFKA_UNKNOWN_LEADER_EPOCH;
    }
    return partition_epoch_end(p, part->epoch, &part->found, &part->end)
               ? KAFKA_KAFKA_STORAGE_ERROR
               : KAFKA_NONE;
}

static void find_all(struct request *r) /* on a reader: epochs may have to be loaded */
{
    struct ask *ask = r->ask;

    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic *topic = log_topic(r->broker->log, ask->topics[i].name);
        for (size_t j = 0; j < ask->topics[i].part_count; j++) {
            struct part *part = &ask->topics[i].parts[j];
            part->found = -1;
            part->end = -1;
            part->error = find(topic ? topic_partition(topic, part->index) : NULL, part);
        }
        topic_drop(topic);
    }
}

static void write_part(struct request *r, const struct part *part)
{
    struct writer *w = &r->answer;

    write_i16(w, part->error);
    write_i32(w, part->index);
    if (r->version >= 1) {
        write_i32(w, part->error ? -1 : part->found);
    }
    write_i64(w, part->error ? -1 : part->end);
    write_no_tags(w, r->flexible);
}

static void answer(struct request *r)
{
    const struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    if (r->version >= 2) {
        write_i32(w, r->throttle_ms);
    }
    write_count(w, r->flexible, ask->topic_count);
    for (size_t i = 0; i < ask->topic_count; i++) {
        const struct topic_ask *topic = &ask->topics[i];
        write_text(w, r->flexible, topic->name);
        write_count(w, r->flexible, topic->part_count);
        for (size_t j = 0; j < topic->part_count; j++) {
            write_part(r, &topic->parts[j]);
        }
        write_no_tags(w, r->flexible);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

void epoch_ends_handle(struct request *r)
{
    request_block(r, find_all, answer);
}
