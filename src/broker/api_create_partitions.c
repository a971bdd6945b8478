/* api_create_partitions.c - CreatePartitions (37): more partitions for a topic; KIP-195.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/changes.h"

struct assignment {
    const int32_t *brokers;
    size_t broker_count;
};

struct grown {
    view name;
    int32_t count; /* the new total */
    bool assigned;
    struct assignment *assignments; /* of the new ones */
    size_t assignment_count;
    int16_t error;
    const char *words;
};

struct ask {
    struct grown *topics;
    size_t count;
    bool only_check;
    struct changes *changes;
};

void create_partitions_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));
    bool null;

    ask->topics =
        request_items(r, r->flexible ? 7 : 10, sizeof(*ask->topics), &ask->count, NULL);
    request_charge(r, ask->count * sizeof(struct change_item));
    for (size_t i = 0; i < ask->count; i++) {
        struct grown *topic = &ask->topics[i];
        topic->name = read_text(in, r->flexible);
        topic->count = read_i32(in);
        topic->assignments = request_items(r, r->flexible ? 2 : 4, sizeof(*topic->assignments),
                                           &topic->assignment_count, &null);
        topic->assigned = !null;
        for (size_t j = 0; j < topic->assignment_count; j++) {
            struct assignment *a = &topic->assignments[j];
            a->brokers = read_i32_array(in, r->flexible, &r->arena, &a->broker_count);
            read_tags(in, r->flexible);
        }
        read_tags(in, r->flexible);
    }
    read_i32(in); /* timeout: growth does not wait for others */
    ask->only_check = read_bool(in);
    read_tags(in, r->flexible);
}

static int16_t refuse(struct grown *topic, int16_t error, const char *words)
{
    topic->words = words;
    return error;
}

static int16_t check_assignments(struct grown *topic, int32_t present)
{
    if ((int64_t)topic->assignment_count != topic->count - present) {
        return refuse(topic, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                      "there must be one assignment for each new partition");
    }
    for (size_t i = 0; i < topic->assignment_count; i++) {
        const struct assignment *a = &topic->assignments[i];
        if (a->broker_count != REPLICATION_FACTOR || a->brokers[0] != NODE_ID) {
            return refuse(topic, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                          "there is one node: every new partition must be on node 1");
        }
    }
    return KAFKA_NONE;
}

static int16_t check(struct request *r, struct grown *topic, struct topic **out)
{
    *out = log_topic(r->broker->log, topic->name);
    if (!*out) {
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
    int32_t present = (*out)->partition_count;
    if (topic->count <= present) {
        return refuse(
            topic, KAFKA_INVALID_PARTITIONS,
            arena_format(&r->arena, "the topic has %d partitions already", (int)present));
    }
    if (topic->count > PARTITIONS_MAX) {
        return refuse(topic, KAFKA_INVALID_PARTITIONS,
                      "a topic may have 100000 partitions at most");
    }
    return topic->assigned ? check_assignments(topic, present) : KAFKA_NONE;
}

static void check_repeats(struct ask *ask)
{
    struct map seen = {0};

    for (size_t i = 0; i < ask->count; i++) {
        struct grown *earlier = map_get(&seen, ask->topics[i].name);
        if (earlier) {
            earlier->error = ask->topics[i].error = KAFKA_INVALID_REQUEST;
            earlier->words = ask->topics[i].words = "the topic is named twice in the request";
        } else {
            map_put(&seen, ask->topics[i].name, &ask->topics[i]);
        }
    }
    map_fini(&seen);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    write_i32(w, r->throttle_ms);
    write_count(w, r->flexible, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        const struct grown *topic = &ask->topics[i];
        const struct change_item *item = &ask->changes->items[i];
        write_text(w, r->flexible, topic->name);
        write_i16(w, item->skip ? topic->error : kafka_of_change(item->change.fault));
        write_chars(w, r->flexible, item->skip ? topic->words : change_words(item));
        write_no_tags(w, r->flexible);
    }
    write_no_tags(w, r->flexible);
    changes_fini(ask->changes);
    request_reply(r);
}

void create_partitions_handle(struct request *r)
{
    struct ask *ask = r->ask;

    ask->changes = changes_new(r, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        struct log_change *change = &ask->changes->items[i].change;
        ask->topics[i].error = check(r, &ask->topics[i], &change->topic);
        change->kind = LOG_TOPIC_GROW;
        change->partition_count = ask->topics[i].count;
        change->only_check = ask->only_check;
    }
    check_repeats(ask);
    for (size_t i = 0; i < ask->count; i++) {
        ask->changes->items[i].skip = ask->topics[i].error != KAFKA_NONE;
    }
    changes_run(ask->changes, answer);
}
