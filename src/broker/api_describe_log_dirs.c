/* api_describe_log_dirs.c - DescribeLogDirs (35): bytes of partitions, and of the one folder
 * they are in; KIP-113, KIP-827 (space). SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include <stdlib.h>

#include "broker/broker.h"

struct topic_ask {
    view name;
    int32_t *partitions;
    size_t partition_count;
    bool all; /* partitions */
};

struct ask {
    bool all;
    struct topic_ask *topics;
    size_t topic_count;
    struct os_space space;
    bool has_space;
};

void describe_log_dirs_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->topics = request_items(r, r->flexible ? 3 : 6, sizeof(*ask->topics), &ask->topic_count,
                                &ask->all);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        topic->name = read_text(in, r->flexible);
        topic->partitions = read_i32_array(in, r->flexible, &r->arena, &topic->partition_count);
        read_tags(in, r->flexible);
    }
    read_tags(in, r->flexible);
}

static void write_partition(struct request *r, struct partition *p)
{
    struct writer *w = &r->answer;
    struct partition_ends ends;

    partition_ends(p, &ends);
    write_i32(w, partition_index(p));
    write_i64(w, ends.bytes);
    write_i64(w, 0);      /* lag: this replica leads */
    write_bool(w, false); /* is to replace the present one */
    write_no_tags(w, r->flexible);
}

static void write_topic(struct request *r, const struct topic_ask *asked, struct topic *topic)
{
    struct writer *w = &r->answer;
    size_t count = 0, all = topic ? (size_t)topic->partition_count : 0;

    write_text(w, r->flexible, asked->name);
    if (asked->all) {
        write_count(w, r->flexible, all);
        for (size_t i = 0; i < all; i++) {
            write_partition(r, topic_partition(topic, (int32_t)i));
        }
    } else {
        for (size_t i = 0; topic && i < asked->partition_count; i++) {
            count += topic_partition(topic, asked->partitions[i]) ? 1 : 0;
        }
        write_count(w, r->flexible, count);
        for (size_t i = 0; count && i < asked->partition_count; i++) {
            struct partition *p = topic_partition(topic, asked->partitions[i]);
            if (p) {
                write_partition(r, p);
            }
        }
    }
    write_no_tags(w, r->flexible);
}

static void take_all(struct request *r, struct ask *ask)
{
    struct topic **topics = NULL;

    ask->topic_count = log_topics(r->broker->log, &topics);
    ask->topics = arena_take(&r->arena, ask->topic_count * sizeof(*ask->topics));
    for (size_t i = 0; i < ask->topic_count; i++) {
        ask->topics[i].name = arena_copy(&r->arena, view_text(topics[i]->name));
        ask->topics[i].all = true;
    }
    topics_drop(topics, ask->topic_count);
}

static void write_folder(struct request *r)
{
    const struct ask *ask = r->ask;
    const char *folder = r->broker->config->folder;
    struct writer *w = &r->answer;

    write_i16(w, KAFKA_NONE);
    write_text(w, r->flexible, view_text(folder ? folder : "log"));
    write_count(w, r->flexible, ask->topic_count);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic *topic = log_topic(r->broker->log, ask->topics[i].name);
        write_topic(r, &ask->topics[i], topic);
        topic_drop(topic);
    }
    if (r->version >= 4) {
        write_i64(w, ask->has_space ? ask->space.total_bytes : -1);
        write_i64(w, ask->has_space ? ask->space.free_bytes : -1);
    }
    if (r->version >= 5) {
        write_bool(w, false); /* cordoned */
    }
    write_no_tags(w, r->flexible);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    if (ask->all) {
        take_all(r, ask);
    }
    write_i32(w, r->throttle_ms);
    if (r->version >= 3) {
        write_i16(w, KAFKA_NONE);
    }
    write_count(w, r->flexible, 1);
    write_folder(r);
    write_no_tags(w, r->flexible);
    request_reply(r);
}

static void measure(struct request *r)
{
    struct ask *ask = r->ask;
    const char *folder = r->broker->config->folder;

    ask->has_space = folder && r->broker->os->space(r->broker->os, folder, &ask->space) == OK;
}

void describe_log_dirs_handle(struct request *r)
{
    request_block(r, measure, answer);
}
