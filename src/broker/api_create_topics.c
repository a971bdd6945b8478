/* api_create_topics.c - CreateTopics (19); KIP-4, KIP-464 (defaults by -1), KIP-525 (settings
 * in the answer). SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/broker.h"
#include "broker/changes.h"
#include "broker/configs.h"

#define BY_DEFAULT (-1)

struct assignment {
    int32_t partition;
    const int32_t *brokers;
    size_t broker_count;
};

struct wanted {
    view name;
    int32_t partitions;
    int16_t replicas;
    struct assignment *assignments;
    size_t assignment_count;
    struct config_ask *settings;
    size_t setting_count;
    int16_t error;
    const char *words;
};

struct ask {
    struct wanted *topics;
    size_t count;
    bool only_check;
    struct changes *changes;
};

static void read_topic(struct request *r, struct wanted *topic)
{
    struct reader *in = &r->body;
    bool flex = r->flexible;

    topic->name = read_text(in, flex);
    topic->partitions = read_i32(in);
    topic->replicas = read_i16(in);
    topic->assignments = request_items(r, flex ? 6 : 8, sizeof(*topic->assignments),
                                       &topic->assignment_count, NULL);
    for (size_t i = 0; i < topic->assignment_count; i++) {
        struct assignment *a = &topic->assignments[i];
        a->partition = read_i32(in);
        a->brokers = read_i32_array(in, flex, &r->arena, &a->broker_count);
        read_tags(in, flex);
    }
    topic->settings =
        request_items(r, flex ? 3 : 4, sizeof(*topic->settings), &topic->setting_count, NULL);
    for (size_t i = 0; i < topic->setting_count; i++) {
        topic->settings[i].name = read_text(in, flex);
        topic->settings[i].value = read_text_or_null(in, flex);
        read_tags(in, flex);
    }
    read_tags(in, flex);
}

void create_topics_read(struct request *r)
{
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->topics =
        request_items(r, r->flexible ? 10 : 16, sizeof(*ask->topics), &ask->count, NULL);
    request_charge(r, ask->count * sizeof(struct change_item));
    for (size_t i = 0; i < ask->count; i++) {
        read_topic(r, &ask->topics[i]);
    }
    read_i32(&r->body); /* timeout: creation does not wait for others */
    ask->only_check = r->version >= 1 && read_bool(&r->body);
    read_tags(&r->body, r->flexible);
}

static int16_t refuse(struct wanted *topic, int16_t error, const char *words)
{
    topic->words = words;
    return error;
}

/* Assignments must name partitions 0 to n-1 in any order, each on the one node there is. */
static int16_t check_assignments(struct arena *arena, struct wanted *topic)
{
    bool *seen = arena_take(arena, topic->assignment_count);

    if (topic->partitions != BY_DEFAULT || topic->replicas != BY_DEFAULT) {
        return refuse(topic, KAFKA_INVALID_REQUEST,
                      "with assignments, partitions and replicas must both be -1");
    }
    for (size_t i = 0; i < topic->assignment_count; i++) {
        const struct assignment *a = &topic->assignments[i];
        if (a->partition < 0 || (size_t)a->partition >= topic->assignment_count ||
            seen[a->partition] || a->broker_count != 1 || a->brokers[0] != NODE_ID) {
            return refuse(topic, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                          "assignments must name partitions from 0 on, once each, on node 1");
        }
        seen[a->partition] = true;
    }
    topic->partitions = (int32_t)topic->assignment_count;
    topic->replicas = REPLICATION_FACTOR;
    return KAFKA_NONE;
}

static int16_t check(struct request *r, struct wanted *topic)
{
    if (topic_name_check(topic->name)) {
        return refuse(topic, KAFKA_INVALID_TOPIC,
                      arena_format(&r->arena, "%s", fault_here.text));
    }
    if (topic->assignment_count) {
        return check_assignments(&r->arena, topic);
    }
    if (topic->replicas != BY_DEFAULT && topic->replicas != REPLICATION_FACTOR) {
        return refuse(topic, KAFKA_INVALID_REPLICATION_FACTOR,
                      "there is one node: the replication factor must be 1 or -1");
    }
    if (topic->partitions != BY_DEFAULT &&
        (topic->partitions < 1 || topic->partitions > PARTITIONS_MAX)) {
        return refuse(topic, KAFKA_INVALID_PARTITIONS,
                      "the number of partitions must be 1 to 100000, or -1 for the default");
    }
    topic->replicas = REPLICATION_FACTOR;
    if (topic->partitions == BY_DEFAULT) {
        topic->partitions = (int32_t)r->broker->config->num_partitions;
    }
    return KAFKA_NONE;
}

static void check_repeats(struct ask *ask)
{
    struct map seen = {0};

    for (size_t i = 0; i < ask->count; i++) {
        struct wanted *earlier = map_get(&seen, ask->topics[i].name);
        if (earlier) {
            earlier->error = ask->topics[i].error = KAFKA_INVALID_REQUEST;
            earlier->words = ask->topics[i].words = "the topic is named twice in the request";
        } else {
            map_put(&seen, ask->topics[i].name, &ask->topics[i]);
        }
    }
    map_fini(&seen);
}

static void write_topic(struct request *r, const struct wanted *topic,
                        const struct change_item *item)
{
    struct writer *w = &r->answer;
    bool flex = r->flexible;
    int16_t error = item->skip ? topic->error : kafka_of_change(item->change.fault);
    const char *words = item->skip ? topic->words : change_words(item);
    struct topic *made = item->change.topic;

    write_text(w, flex, topic->name);
    if (r->version >= 7) {
        write_uuid(w, made ? made->id : (uuid){{0}});
    }
    write_i16(w, error);
    if (r->version >= 1) {
        write_chars(w, flex, words);
    }
    if (r->version >= 5) {
        write_i32(w, error ? -1 : topic->partitions);
        write_i16(w, error ? (int16_t)-1 : topic->replicas);
        if (error) {
            write_count(w, flex, 0);
        } else {
            configs_write_created(r, made);
        }
    }
    write_no_tags(w, flex);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;

    if (r->version >= 2) {
        write_i32(&r->answer, r->throttle_ms);
    }
    write_count(&r->answer, r->flexible, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        write_topic(r, &ask->topics[i], &ask->changes->items[i]);
    }
    write_no_tags(&r->answer, r->flexible);
    changes_fini(ask->changes);
    request_reply(r);
}

void create_topics_handle(struct request *r)
{
    struct ask *ask = r->ask;

    ask->changes = changes_new(r, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        ask->topics[i].error = check(r, &ask->topics[i]);
    }
    check_repeats(ask);
    for (size_t i = 0; i < ask->count; i++) {
        struct wanted *topic = &ask->topics[i];
        struct log_change *change = &ask->changes->items[i].change;
        if (!topic->error) {
            topic->error = configs_read(r, topic->settings, topic->setting_count,
                                        &change->settings, &topic->words);
        }
        ask->changes->items[i].skip = topic->error != KAFKA_NONE;
        change->kind = LOG_TOPIC_CREATE;
        change->name = topic->name;
        change->partition_count = topic->partitions;
        change->setting_count = topic->setting_count;
        change->only_check = ask->only_check;
    }
    changes_run(ask->changes, answer);
}
