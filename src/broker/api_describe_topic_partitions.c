/* api_describe_topic_partitions.c - DescribeTopicPartitions (75): partitions of topics in
 * pages; KIP-966. Topics come in the order of their names; where a page is full, a cursor says
 * where the next one begins. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include <stdlib.h>

#define PARTITIONS_OF_PAGE_MAX 2000

struct cursor {
    view topic; /* null: none */
    int32_t partition;
};

struct shown { /* a stretch of a topic's partitions on this page */
    view name;
    struct topic *topic; /* held; NULL: there is none */
    int32_t first, count;
};

struct ask {
    view *names;
    size_t count;
    int32_t limit;
    struct cursor from, next;
    struct shown *shown;
    size_t shown_count;
};

void describe_topic_partitions_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->names = request_items(r, 2, sizeof(*ask->names), &ask->count, NULL);
    for (size_t i = 0; i < ask->count; i++) {
        ask->names[i] = read_text(in, true);
        read_tags(in, true);
    }
    ask->limit = read_i32(in);
    if (read_i8(in) >= 0) { /* a struct that may be null: -1 */
        ask->from.topic = read_text(in, true);
        ask->from.partition = read_i32(in);
        read_tags(in, true);
    }
    read_tags(in, true);
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
    write_i32(w, ends.leader_epoch);
    write_i32_array(w, true, replicas, COUNT(replicas));
    write_i32_array(w, true, replicas, COUNT(replicas));
    write_count(w, true,
                0); /* eligible leaders: may be null, but Kafka's own tools fall over it */
    write_count(w, true, 0); /* last known ones */
    write_count(w, true, 0); /* offline */
    write_no_tags(w, true);
}

static int16_t error_of(const struct shown *shown)
{
    if (shown->topic) {
        return KAFKA_NONE;
    }
    return topic_name_check(shown->name) ? KAFKA_INVALID_TOPIC
                                         : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

static void write_topic(struct request *r, const struct shown *shown)
{
    struct writer *w = &r->answer;
    struct topic *topic = shown->topic;

    write_i16(w, error_of(shown));
    write_text_or_null(w, true, shown->name);
    write_uuid(w, topic ? topic->id : (uuid){{0}});
    write_bool(w, topic && topic_is_hidden(topic));
    write_count(w, true, (size_t)shown->count);
    for (int32_t i = 0; i < shown->count; i++) {
        write_partition(r, topic_partition(topic, shown->first + i));
    }
    write_i32(w, topic ? OPERATIONS_TOPIC : OPERATIONS_NOT_ASKED);
    write_no_tags(w, true);
}

static void write_cursor(struct request *r, const struct cursor *cursor)
{
    struct writer *w = &r->answer;

    write_i8(w, cursor->topic.at ? 1 : -1);
    if (cursor->topic.at) {
        write_text(w, true, cursor->topic);
        write_i32(w, cursor->partition);
        write_no_tags(w, true);
    }
}

static int by_name(const void *left, const void *right)
{
    return view_order(*(const view *)left, *(const view *)right);
}

static void take_all(struct request *r, struct ask *ask)
{
    struct topic **topics = NULL;

    ask->count = log_topics(r->broker->log, &topics);
    ask->names = arena_take(&r->arena, ask->count * sizeof(*ask->names));
    for (size_t i = 0; i < ask->count; i++) {
        ask->names[i] = arena_copy(&r->arena, view_text(topics[i]->name));
    }
    topics_drop(topics, ask->count);
}

/* Adds a topic from its partition first on; false: the page is full now. */
static bool show(struct request *r, view name, int32_t first, int32_t *room)
{
    struct ask *ask = r->ask;
    struct shown *shown = &ask->shown[ask->shown_count++];

    shown->name = name;
    shown->topic = log_topic(r->broker->log, name);
    int32_t all = shown->topic ? shown->topic->partition_count : 0;
    shown->first = MIN(MAX(first, 0), all);
    shown->count = MIN(all - shown->first, *room);
    *room -= shown->count;
    if (shown->first + shown->count < all) {
        ask->next = (struct cursor){name, shown->first + shown->count};
        return false;
    }
    return true;
}

/* What is on this page, and where the next one begins. */
static void turn_page(struct request *r, struct ask *ask)
{
    int32_t room =
        ask->limit > 0 ? MIN(ask->limit, PARTITIONS_OF_PAGE_MAX) : PARTITIONS_OF_PAGE_MAX;

    ask->shown = arena_take(&r->arena, ask->count * sizeof(*ask->shown));
    for (size_t i = 0; i < ask->count; i++) {
        view name = ask->names[i];
        int order = ask->from.topic.at ? view_order(name, ask->from.topic) : 1;
        if (order < 0 || (i > 0 && view_is(name, ask->names[i - 1]))) {
            continue;
        }
        if (room == 0) {
            ask->next = (struct cursor){name, 0};
            return;
        }
        if (!show(r, name, order == 0 ? ask->from.partition : 0, &room)) {
            return;
        }
    }
}

void describe_topic_partitions_handle(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    if (!ask->count) {
        take_all(r, ask);
    }
    if (ask->count) {
        qsort(ask->names, ask->count, sizeof(*ask->names), by_name);
    }
    turn_page(r, ask);
    write_i32(w, r->throttle_ms);
    write_count(w, true, ask->shown_count);
    for (size_t i = 0; i < ask->shown_count; i++) {
        write_topic(r, &ask->shown[i]);
        topic_drop(ask->shown[i].topic);
    }
    write_cursor(r, &ask->next);
    write_no_tags(w, true);
    request_reply(r);
}
