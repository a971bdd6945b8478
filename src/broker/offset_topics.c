/* offset_topics.c - topics and partitions of requests about offsets.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/offset_topics.h"

#include <string.h>

#define OFFSET_WORK_BYTES                                                                      \
    320 /* of one commit on its way: gathered, as a record, its copies                         \
         */

void offset_topics_read(struct request *r, struct offset_topics *topics, bool by_id,
                        size_t partition_bytes,
                        void (*each)(struct request *r, struct coord_offset *offset))
{
    struct reader *in = &r->body;

    topics->by_id = by_id;
    topics->topics =
        request_items(r, r->flexible ? 3 : 6, sizeof(*topics->topics), &topics->count, NULL);
    for (size_t i = 0; i < topics->count; i++) {
        struct offset_topic *topic = &topics->topics[i];
        if (by_id) {
            topic->id = read_uuid(in);
        } else {
            topic->name = read_text(in, r->flexible);
        }
        topic->offsets =
            request_items(r, partition_bytes, sizeof(*topic->offsets), &topic->count, NULL);
        request_charge(r, topic->count * OFFSET_WORK_BYTES);
        for (size_t j = 0; j < topic->count; j++) {
            topic->offsets[j].partition = read_i32(in);
            each(r, &topic->offsets[j]);
        }
        read_tags(in, r->flexible);
    }
}

view topic_name_of(struct request *r, uuid id)
{
    struct topic *topic = log_topic_by_id(r->broker->log, id);
    view name = topic ? arena_copy(&r->arena, view_text(topic->name)) : (view){0};

    topic_drop(topic);
    return name;
}

struct coord_offset *offset_topics_gather(struct request *r, struct offset_topics *topics,
                                          size_t *count)
{
    size_t total = 0;

    for (size_t i = 0; i < topics->count; i++) {
        total += topics->topics[i].count;
    }
    struct coord_offset *all = arena_take(&r->arena, total * sizeof(*all));
    *count = 0;
    for (size_t i = 0; i < topics->count; i++) {
        struct offset_topic *topic = &topics->topics[i];
        if (topics->by_id) {
            topic->name = topic_name_of(r, topic->id);
            topic->unknown = !topic->name.at;
        }
        if (topic->unknown || !topic->count) {
            continue;
        }
        for (size_t j = 0; j < topic->count; j++) {
            topic->offsets[j].topic = topic->name;
        }
        memcpy(&all[*count], topic->offsets, topic->count * sizeof(*all));
        topic->offsets = &all[*count];
        *count += topic->count;
    }
    return all;
}

void offset_topics_write(struct request *r, const struct offset_topics *topics,
                         int16_t (*error)(const struct request *r, enum coord_status status))
{
    struct writer *w = &r->answer;

    write_count(w, r->flexible, topics->count);
    for (size_t i = 0; i < topics->count; i++) {
        const struct offset_topic *topic = &topics->topics[i];
        if (topics->by_id) {
            write_uuid(w, topic->id);
        } else {
            write_text(w, r->flexible, topic->name);
        }
        write_count(w, r->flexible, topic->count);
        for (size_t j = 0; j < topic->count; j++) {
            write_i32(w, topic->offsets[j].partition);
            write_i16(w, topic->unknown ? KAFKA_UNKNOWN_TOPIC_ID
                                        : error(r, topic->offsets[j].status));
            write_no_tags(w, r->flexible);
        }
        write_no_tags(w, r->flexible);
    }
}
