/* api_delete_topics.c - DeleteTopics (20): by name, from version 6 on also by id; KIP-4,
 * KIP-516. Internal topics are answered with INVALID_TOPIC, as Kafka does where it keeps
 * clients out of them: no client repeats the question. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/changes.h"

#define BY_ID_FROM 6

struct doomed {
    view name; /* null: by id */
    uuid id;
    int16_t error;
    const char *words;
};

struct ask {
    struct doomed *topics;
    size_t count;
    struct changes *changes;
};

void delete_topics_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));
    bool by_id = r->version >= BY_ID_FROM;

    ask->topics = request_items(r,
                                by_id         ? 18
                                : r->flexible ? 1
                                              : 2,
                                sizeof(*ask->topics), &ask->count, NULL);
    request_charge(r, ask->count * sizeof(struct change_item));
    for (size_t i = 0; i < ask->count; i++) {
        if (by_id) {
            ask->topics[i].name = read_text_or_null(in, true);
            ask->topics[i].id = read_uuid(in);
            read_tags(in, true);
        } else {
            ask->topics[i].name = read_text(in, r->flexible);
        }
    }
    read_i32(in); /* timeout: deletion does not wait for others */
    read_tags(in, r->flexible);
}

static int16_t refuse(struct doomed *topic, int16_t error, const char *words)
{
    topic->words = words;
    return error;
}

static int16_t find(struct request *r, struct doomed *doomed, struct topic **out)
{
    bool has_id = !uuid_is_zero(doomed->id);

    if (has_id == (doomed->name.at != NULL)) {
        return refuse(doomed, KAFKA_INVALID_REQUEST, "give either the name or the id");
    }
    *out = has_id ? log_topic_by_id(r->broker->log, doomed->id)
                  : log_topic(r->broker->log, doomed->name);
    if (!*out) {
        return has_id ? KAFKA_UNKNOWN_TOPIC_ID : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    }
    return KAFKA_NONE;
}

static void check_repeats(struct ask *ask)
{
    struct map seen = {0};

    for (size_t i = 0; i < ask->count; i++) {
        struct topic *topic = ask->changes->items[i].change.topic;
        struct doomed *earlier = topic ? map_get(&seen, VIEW_OF(topic->id)) : NULL;
        if (earlier) {
            earlier->error = ask->topics[i].error = KAFKA_INVALID_REQUEST;
            earlier->words = ask->topics[i].words = "the topic is named twice in the request";
        } else if (topic) {
            map_put(&seen, VIEW_OF(topic->id), &ask->topics[i]);
        }
    }
    map_fini(&seen);
}

static void write_topic(struct request *r, const struct doomed *doomed,
                        const struct change_item *item)
{
    struct writer *w = &r->answer;
    const struct topic *topic = item->change.topic;

    if (r->version >= BY_ID_FROM) {
        write_text_or_null(w, r->flexible, topic ? view_text(topic->name) : doomed->name);
        write_uuid(w, topic ? topic->id : doomed->id);
    } else {
        write_text(w, r->flexible, doomed->name);
    }
    write_i16(w, item->skip ? doomed->error : kafka_of_change(item->change.fault));
    if (r->version >= 5) {
        write_chars(w, r->flexible, item->skip ? doomed->words : change_words(item));
    }
    write_no_tags(w, r->flexible);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;

    if (r->version >= 1) {
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

void delete_topics_handle(struct request *r)
{
    struct ask *ask = r->ask;

    ask->changes = changes_new(r, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        struct log_change *change = &ask->changes->items[i].change;
        change->kind = LOG_TOPIC_DELETE;
        ask->topics[i].error = find(r, &ask->topics[i], &change->topic);
    }
    check_repeats(ask);
    for (size_t i = 0; i < ask->count; i++) {
        ask->changes->items[i].skip = ask->topics[i].error != KAFKA_NONE;
    }
    changes_run(ask->changes, answer);
}
