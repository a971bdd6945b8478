/* api_metadata.c - Metadata (3): topics, their partitions, where to connect; makes topics that
 * are missing when asked and configured to. Sources: KIP-4, KIP-430, KIP-516.
 *
 *   read -> which topics -> create the missing ones -> (durable) -> answer
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include <stdlib.h>

#include "broker/broker.h"
#include "broker/changes.h"

#define BY_ID_FROM 12 /* 10 and 11 carry ids that must be ignored */

struct wanted {
    view name; /* null: by id */
    uuid id;
    struct topic *topic; /* held */
    int16_t error;
};

struct ask {
    struct wanted *topics;
    size_t count;
    bool all, create, cluster_operations, topic_operations;
    struct changes *changes;
};

void metadata_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));
    bool null;

    ask->topics =
        request_items(r, r->version >= 10 ? 17 : 1, sizeof(*ask->topics), &ask->count, &null);
    request_charge(r, ask->count * sizeof(struct change_item));
    ask->all = r->version == 0 ? ask->count == 0 : null;
    for (size_t i = 0; i < ask->count; i++) {
        struct wanted *topic = &ask->topics[i];
        if (r->version >= 10) {
            topic->id = read_uuid(in);
            topic->name = read_text_or_null(in, r->flexible);
        } else {
            topic->name = read_text(in, r->flexible);
        }
        read_tags(in, r->flexible);
    }
    ask->create = r->version >= 4 ? read_bool(in) : true;
    ask->cluster_operations = r->version >= 8 && r->version <= 10 && read_bool(in);
    ask->topic_operations = r->version >= 8 && read_bool(in);
    read_tags(in, r->flexible);
}

static void write_partition(struct request *r, struct partition *p)
{
    struct writer *w = &r->answer;
    struct partition_ends ends;
    const int32_t replicas[] = {NODE_ID};

    partition_ends(p, &ends);
    write_i16(w, partition_failed(p) ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NONE);
    write_i32(w, partition_index(p));
    write_i32(w, NODE_ID);
    if (r->version >= 7) {
        write_i32(w, ends.leader_epoch);
    }
    write_i32_array(w, r->flexible, replicas, COUNT(replicas));
    write_i32_array(w, r->flexible, replicas, COUNT(replicas));
    if (r->version >= 5) {
        write_count(w, r->flexible, 0);
    }
    write_no_tags(w, r->flexible);
}

static void write_topic(struct request *r, const struct wanted *wanted)
{
    const struct ask *ask = r->ask;
    struct writer *w = &r->answer;
    struct topic *topic = wanted->topic;
    view name = topic ? view_text(topic->name) : wanted->name;
    int32_t partitions = topic ? topic->partition_count : 0;

    write_i16(w, wanted->error);
    if (r->version >= 12) {
        write_text_or_null(w, r->flexible, name);
    } else {
        write_text(w, r->flexible, name);
    }
    if (r->version >= 10) {
        write_uuid(w, topic ? topic->id : wanted->name.at ? (uuid){{0}} : wanted->id);
    }
    if (r->version >= 1) {
        write_bool(w, topic && topic_is_hidden(topic));
    }
    write_count(w, r->flexible, (size_t)partitions);
    for (int32_t i = 0; i < partitions; i++) {
        write_partition(r, topic_partition(topic, i));
    }
    if (r->version >= 8) {
        write_i32(w, ask->topic_operations && topic ? OPERATIONS_TOPIC : OPERATIONS_NOT_ASKED);
    }
    write_no_tags(w, r->flexible);
}

static void write_cluster(struct request *r)
{
    struct writer *w = &r->answer;

    if (r->version >= 3) {
        write_i32(w, r->throttle_ms);
    }
    write_count(w, r->flexible, 1);
    write_i32(w, NODE_ID);
    write_text(w, r->flexible, view_text(r->broker->host));
    write_i32(w, r->broker->port);
    if (r->version >= 1) {
        write_chars(w, r->flexible, NULL); /* rack */
    }
    write_no_tags(w, r->flexible);
    if (r->version >= 2) {
        write_chars(w, r->flexible, r->broker->cluster_id);
    }
    if (r->version >= 1) {
        write_i32(w, NODE_ID); /* the controller */
    }
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    write_cluster(r);
    write_count(w, r->flexible, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        write_topic(r, &ask->topics[i]);
        topic_drop(ask->topics[i].topic);
    }
    if (r->version >= 8 && r->version <= 10) {
        write_i32(w, ask->cluster_operations ? OPERATIONS_CLUSTER : OPERATIONS_NOT_ASKED);
    }
    if (r->version >= 13) {
        write_i16(w, KAFKA_NONE);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

/* The created ones and those that somebody else created meanwhile are there now. */
static void created(struct request *r)
{
    struct ask *ask = r->ask;

    for (size_t i = 0; i < ask->changes->count; i++) {
        const struct change_item *item = &ask->changes->items[i];
        struct wanted *wanted = &ask->topics[i];
        if (item->skip) {
            continue;
        }
        wanted->topic = log_topic(r->broker->log, wanted->name);
        if (wanted->topic) {
            wanted->error = KAFKA_NONE;
        } else if (item->change.fault) {
            wanted->error = kafka_of_change(item->change.fault);
            trace_warn("broker", "cannot create topic %.*s: %s", VIEW_ARG(wanted->name),
                       change_words(item));
        }
    }
    changes_fini(ask->changes);
    answer(r);
}

static bool may_create(const struct request *r, const struct wanted *wanted)
{
    const struct ask *ask = r->ask;

    return ask->create && r->broker->config->auto_create_topics &&
           wanted->error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION && wanted->name.at &&
           !topic_name_is_reserved(r->broker->log, wanted->name);
}

static void create_missing(struct request *r, size_t missing)
{
    struct ask *ask = r->ask;

    if (!missing) {
        answer(r);
        return;
    }
    ask->changes = changes_new(r, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        struct change_item *item = &ask->changes->items[i];
        item->skip = !may_create(r, &ask->topics[i]);
        item->change.kind = LOG_TOPIC_CREATE;
        item->change.name = ask->topics[i].name;
        item->change.partition_count = (int32_t)r->broker->config->num_partitions;
    }
    changes_run(ask->changes, created);
}

static void look_up(struct request *r, struct wanted *wanted)
{
    bool by_id = r->version >= BY_ID_FROM && !wanted->name.at;

    if (by_id) {
        wanted->topic = log_topic_by_id(r->broker->log, wanted->id);
        wanted->error = wanted->topic ? KAFKA_NONE : KAFKA_UNKNOWN_TOPIC_ID;
    } else if (topic_name_check(wanted->name)) {
        wanted->error = KAFKA_INVALID_TOPIC;
    } else {
        wanted->topic = log_topic(r->broker->log, wanted->name);
        wanted->error = wanted->topic ? KAFKA_NONE : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
}

/* Each name once: repeats would make a small question a large answer. */
static void drop_repeats(struct ask *ask)
{
    struct map seen = {0};
    size_t kept = 0;

    for (size_t i = 0; i < ask->count; i++) {
        struct wanted *wanted = &ask->topics[i];
        view key = wanted->name.at ? wanted->name : VIEW_OF(wanted->id);
        if (!map_get(&seen, key)) {
            ask->topics[kept] = *wanted;
            wanted = &ask->topics[kept++];
            map_put(&seen, wanted->name.at ? wanted->name : VIEW_OF(wanted->id), wanted);
        }
    }
    ask->count = kept;
    map_fini(&seen);
}

static void take_all(struct request *r, struct ask *ask)
{
    struct topic **topics = NULL;

    ask->count = log_topics(r->broker->log, &topics);
    ask->topics = arena_take(&r->arena, ask->count * sizeof(*ask->topics));
    for (size_t i = 0; i < ask->count; i++) {
        ask->topics[i].topic = topics[i]; /* its hold goes over to us */
    }
    free(topics);
}

void metadata_handle(struct request *r)
{
    struct ask *ask = r->ask;
    size_t missing = 0;

    if (ask->all) {
        take_all(r, ask);
        answer(r);
        return;
    }
    if (r->version >= 10 && r->version < BY_ID_FROM) {
        for (size_t i = 0; i < ask->count; i++) {
            if (!ask->topics[i].name.at) {
                request_close(r, "Metadata version %d asks for a topic without a name",
                              r->version);
                return;
            }
        }
    }
    drop_repeats(ask);
    for (size_t i = 0; i < ask->count; i++) {
        look_up(r, &ask->topics[i]);
        missing += may_create(r, &ask->topics[i]) ? 1 : 0;
    }
    create_missing(r, missing);
}
