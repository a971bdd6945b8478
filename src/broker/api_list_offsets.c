/* api_list_offsets.c - ListOffsets (2): ends of partitions and offsets by time; KIP-79,
 * KIP-320, KIP-734. Looking up a time may read the disk: then all of the request goes to a
 * reader. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

enum moment { /* timestamps with a meaning of their own */
              MOMENT_LATEST = -1,
              MOMENT_EARLIEST = -2,
              MOMENT_NEWEST_RECORD = -3,
              MOMENT_EARLIEST_LOCAL = -4,
              MOMENT_LATEST_TIERED = -5,
              MOMENT_EARLIEST_PENDING = -6,
};

struct part {
    int32_t index, leader_epoch; /* -1: not known to the client */
    int64_t timestamp;
    int16_t error;
    struct log_time_answer found;
};

struct topic_ask {
    view name;
    struct topic *topic; /* held */
    struct part *parts;
    size_t part_count;
};

struct ask {
    bool committed;
    struct topic_ask *topics;
    size_t topic_count;
};

void list_offsets_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    read_i32(in); /* replica id */
    ask->committed = r->version >= 2 && read_u8(in) == 1;
    ask->topics =
        request_items(r, r->flexible ? 3 : 6, sizeof(*ask->topics), &ask->topic_count, NULL);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        topic->name = read_text(in, r->flexible);
        topic->parts = request_items(r, 12, sizeof(*topic->parts), &topic->part_count, NULL);
        for (size_t j = 0; j < topic->part_count; j++) {
            topic->parts[j].index = read_i32(in);
            topic->parts[j].leader_epoch = r->version >= 4 ? read_i32(in) : -1;
            topic->parts[j].timestamp = read_i64(in);
            read_tags(in, r->flexible);
        }
        read_tags(in, r->flexible);
    }
    if (r->version >= 10) {
        read_i32(in); /* timeout of tiered storage */
    }
    read_tags(in, r->flexible);
}

/* May block only for times: every other moment is in memory. */
static int16_t find(struct partition *p, const struct ask *ask, struct part *part)
{
    struct partition_ends ends;
    err e = OK;

    partition_ends(p, &ends);
    part->found = (struct log_time_answer){-1, -1, -1};
    if (part->leader_epoch >= 0 && part->leader_epoch != ends.leader_epoch) {
        return part->leader_epoch < ends.leader_epoch ? KAFKA_FENCED_LEADER_EPOCH
                                                      : KAFKA_UNKNOWN_LEADER_EPOCH;
    }
    switch (part->timestamp) {
    case MOMENT_LATEST:
        part->found.offset = ask->committed ? ends.stable : ends.high;
        part->found.leader_epoch = ends.leader_epoch;
        break;
    case MOMENT_EARLIEST:
    case MOMENT_EARLIEST_LOCAL:
        part->found.offset = ends.start;
        part->found.leader_epoch = ends.leader_epoch;
        break;
    case MOMENT_LATEST_TIERED:
    case MOMENT_EARLIEST_PENDING:
        break; /* nothing is tiered */
    case MOMENT_NEWEST_RECORD:
        e = partition_find_max_time(p, &part->found);
        break;
    default:
        e = partition_find_time(p, part->timestamp, ask->committed, &part->found);
    }
    return e ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NONE;
}

static int64_t least_moment(int16_t version)
{
    return version >= 11  ? MOMENT_EARLIEST_PENDING
           : version >= 9 ? MOMENT_LATEST_TIERED
           : version >= 8 ? MOMENT_EARLIEST_LOCAL
           : version >= 7 ? MOMENT_NEWEST_RECORD
                          : MOMENT_EARLIEST;
}

static void find_all(struct request *r)
{
    struct ask *ask = r->ask;

    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        for (size_t j = 0; j < topic->part_count; j++) {
            struct part *part = &topic->parts[j];
            struct partition *p =
                topic->topic ? topic_partition(topic->topic, part->index) : NULL;
            part->found = (struct log_time_answer){-1, -1, -1};
            if (!p) {
                part->error = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
            } else if (part->timestamp < least_moment(r->version)) {
                part->error = KAFKA_UNSUPPORTED_VERSION;
            } else {
                part->error = find(p, ask, part);
            }
        }
    }
}

static void write_part(struct request *r, const struct part *part)
{
    struct writer *w = &r->answer;

    write_i32(w, part->index);
    write_i16(w, part->error);
    write_i64(w, part->error ? -1 : part->found.timestamp);
    write_i64(w, part->error ? -1 : part->found.offset);
    if (r->version >= 4) {
        write_i32(w, part->error ? -1 : part->found.leader_epoch);
    }
    write_no_tags(w, r->flexible);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    if (r->version >= 2) {
        write_i32(w, r->throttle_ms);
    }
    write_count(w, r->flexible, ask->topic_count);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        write_text(w, r->flexible, topic->name);
        write_count(w, r->flexible, topic->part_count);
        for (size_t j = 0; j < topic->part_count; j++) {
            write_part(r, &topic->parts[j]);
        }
        write_no_tags(w, r->flexible);
        topic_drop(topic->topic);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

void list_offsets_handle(struct request *r)
{
    struct ask *ask = r->ask;
    bool blocks = false;

    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        topic->topic = log_topic(r->broker->log, topic->name);
        for (size_t j = 0; j < topic->part_count; j++) {
            int64_t timestamp = topic->parts[j].timestamp;
            blocks = blocks || timestamp >= 0 || timestamp == MOMENT_NEWEST_RECORD;
        }
    }
    if (blocks) {
        request_block(r, find_all, answer);
        return;
    }
    find_all(r);
    answer(r);
}
