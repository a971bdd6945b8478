/* api_delete_records.c - DeleteRecords (21): partitions that begin later from now on; KIP-107.
 * Compacted topics keep theirs, as in Kafka: what their readers rebuild would be cut in the
 * middle. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/changes.h"

#define TO_HIGH (-1) /* as an offset: up to the high watermark */

struct part {
    int32_t index;
    int64_t offset;
    int16_t error;
};

struct topic_ask {
    view name;
    struct part *parts;
    size_t part_count;
};

struct ask {
    struct topic_ask *topics;
    size_t topic_count;
    struct changes *changes; /* one for each part, in order */
};

void delete_records_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->topics =
        request_items(r, r->flexible ? 3 : 6, sizeof(*ask->topics), &ask->topic_count, NULL);
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        topic->name = read_text(in, r->flexible);
        topic->parts = request_items(r, 12, sizeof(*topic->parts), &topic->part_count, NULL);
        request_charge(r, topic->part_count * sizeof(struct change_item));
        for (size_t j = 0; j < topic->part_count; j++) {
            topic->parts[j].index = read_i32(in);
            topic->parts[j].offset = read_i64(in);
            read_tags(in, r->flexible);
        }
        read_tags(in, r->flexible);
    }
    read_i32(in); /* timeout: trimming does not wait for others */
    read_tags(in, r->flexible);
}

static int16_t check(const struct part *part, struct topic *topic)
{
    struct topic_settings settings;

    if (!topic || !topic_partition(topic, part->index)) {
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
    topic_settings_get(topic, &settings);
    if (!(topic_cleanup(&settings) & TOPIC_CLEANUP_DELETE)) {
        return KAFKA_POLICY_VIOLATION;
    }
    return part->offset < TO_HIGH ? KAFKA_OFFSET_OUT_OF_RANGE : KAFKA_NONE;
}

static int16_t error_of(const struct part *part, const struct change_item *item)
{
    if (item->skip) {
        return part->error;
    }
    bool pinned = item->change.fault && item->change.fault->code == ERR_CONFLICT;
    return pinned ? KAFKA_POLICY_VIOLATION : kafka_of_change(item->change.fault);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;
    const struct change_item *item = ask->changes->items;

    write_i32(w, r->throttle_ms);
    write_count(w, r->flexible, ask->topic_count);
    for (size_t i = 0; i < ask->topic_count; i++) {
        const struct topic_ask *topic = &ask->topics[i];
        write_text(w, r->flexible, topic->name);
        write_count(w, r->flexible, topic->part_count);
        for (size_t j = 0; j < topic->part_count; j++, item++) {
            const struct part *part = &topic->parts[j];
            int16_t error = error_of(part, item);
            write_i32(w, part->index);
            write_i64(w, error ? -1 : item->change.offset);
            write_i16(w, error);
            write_no_tags(w, r->flexible);
        }
        write_no_tags(w, r->flexible);
    }
    write_no_tags(w, r->flexible);
    changes_fini(ask->changes);
    request_reply(r);
}

static void fill(struct request *r, struct topic_ask *asked, struct change_item *items)
{
    struct topic *topic = log_topic(r->broker->log, asked->name);

    for (size_t i = 0; i < asked->part_count; i++) {
        struct part *part = &asked->parts[i];
        part->error = check(part, topic);
        items[i].skip = part->error != KAFKA_NONE;
        items[i].change.kind = LOG_TRIM;
        items[i].change.topic = topic ? topic_hold(topic) : NULL;
        items[i].change.partition = part->index;
        items[i].change.offset = part->offset;
    }
    topic_drop(topic);
}

void delete_records_handle(struct request *r)
{
    struct ask *ask = r->ask;
    size_t total = 0;

    for (size_t i = 0; i < ask->topic_count; i++) {
        total += ask->topics[i].part_count;
    }
    ask->changes = changes_new(r, total);
    total = 0;
    for (size_t i = 0; i < ask->topic_count; i++) {
        fill(r, &ask->topics[i], &ask->changes->items[total]);
        total += ask->topics[i].part_count;
    }
    changes_run(ask->changes, answer);
}
