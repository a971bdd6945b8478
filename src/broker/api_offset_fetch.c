/* api_offset_fetch.c - OffsetFetch (9): committed offsets of a group, or of several; KIP-320,
 * KIP-447 (require_stable), KIP-709 (several groups), KIP-848 (topic ids).
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"
#include "broker/offset_topics.h"

#define GROUP_ERROR_FROM 2
#define MANY_FROM 8
#define BY_ID_FROM 10

struct topic_ask {
    view name;
    uuid id;
    bool unknown; /* no topic has the id */
    int32_t *partitions;
    size_t partition_count;
    const struct coord_offset *found; /* one for each */
};

struct group_ask {
    view group;
    bool all;
    struct topic_ask *topics;
    size_t topic_count;
};

struct ask {
    struct coord_fetch fetch;
    struct group_ask *groups;
    size_t group_count;
};

static void read_topics(struct request *r, struct group_ask *group)
{
    struct reader *in = &r->body;

    group->topics = request_items(r, r->flexible ? 3 : 6, sizeof(*group->topics),
                                  &group->topic_count, &group->all);
    for (size_t i = 0; i < group->topic_count; i++) {
        struct topic_ask *topic = &group->topics[i];
        if (r->version >= BY_ID_FROM) {
            topic->id = read_uuid(in);
        } else {
            topic->name = read_text(in, r->flexible);
        }
        topic->partitions = read_i32_array(in, r->flexible, &r->arena, &topic->partition_count);
        request_charge(r, topic->partition_count * sizeof(*topic->found));
        read_tags(in, r->flexible);
    }
}

static void read_groups(struct request *r, struct ask *ask)
{
    struct reader *in = &r->body;

    ask->groups = request_items(r, 3, sizeof(*ask->groups), &ask->group_count, NULL);
    for (size_t i = 0; i < ask->group_count; i++) {
        ask->groups[i].group = read_text(in, r->flexible);
        if (r->version >= 9) { /* of KIP-848's groups; classic members need not say */
            read_text_or_null(in, r->flexible);
            read_i32(in);
        }
        read_topics(r, &ask->groups[i]);
        read_tags(in, r->flexible);
    }
}

void offset_fetch_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    if (r->version >= MANY_FROM) {
        read_groups(r, ask);
    } else {
        ask->group_count = 1;
        ask->groups = arena_take(&r->arena, sizeof(*ask->groups));
        ask->groups[0].group = read_text(in, r->flexible);
        read_topics(r, &ask->groups[0]);
        ask->groups[0].all = ask->groups[0].all && r->version >= 2;
    }
    ask->fetch.require_stable = r->version >= 7 && read_bool(in);
    read_tags(in, r->flexible);
}

static void write_offset(struct request *r, const struct coord_offset *found, int16_t error)
{
    struct writer *w = &r->answer;

    write_i64(w, error ? -1 : found->offset);
    if (r->version >= 5) {
        write_i32(w, error ? -1 : found->leader_epoch);
    }
    write_text(w, r->flexible, error ? VIEW("") : found->metadata);
    write_i16(w, error);
    write_no_tags(w, r->flexible);
}

static void write_asked(struct request *r, const struct group_ask *group)
{
    struct writer *w = &r->answer;

    write_count(w, r->flexible, group->topic_count);
    for (size_t i = 0; i < group->topic_count; i++) {
        const struct topic_ask *topic = &group->topics[i];
        if (r->version >= BY_ID_FROM) {
            write_uuid(w, topic->id);
        } else {
            write_text(w, r->flexible, topic->name);
        }
        write_count(w, r->flexible, topic->partition_count);
        for (size_t j = 0; j < topic->partition_count; j++) {
            write_i32(w, topic->partitions[j]);
            if (topic->unknown) {
                write_offset(r, NULL, KAFKA_UNKNOWN_TOPIC_ID);
            } else {
                write_offset(r, &topic->found[j], kafka_of_coord(topic->found[j].status));
            }
        }
        write_no_tags(w, r->flexible);
    }
}

static size_t run_of_topic(const struct coord_fetch_group *found, size_t from)
{
    size_t to = from;

    while (to < found->offset_count &&
           view_is(found->offsets[to].topic, found->offsets[from].topic)) {
        to++;
    }
    return to;
}

static uuid id_of(struct request *r, view name)
{
    struct topic *topic = log_topic(r->broker->log, name);
    uuid id = topic ? topic->id : (uuid){{0}};

    topic_drop(topic);
    return id;
}

/* Every offset of the group, by topic and partition. */
static void write_all(struct request *r, const struct coord_fetch_group *found)
{
    struct writer *w = &r->answer;
    size_t topics = 0;

    for (size_t from = 0; from < found->offset_count; from = run_of_topic(found, from)) {
        topics++;
    }
    write_count(w, r->flexible, topics);
    for (size_t from = 0, to; from < found->offset_count; from = to) {
        to = run_of_topic(found, from);
        if (r->version >= BY_ID_FROM) {
            write_uuid(w, id_of(r, found->offsets[from].topic));
        } else {
            write_text(w, r->flexible, found->offsets[from].topic);
        }
        write_count(w, r->flexible, to - from);
        for (size_t i = from; i < to; i++) {
            write_i32(w, found->offsets[i].partition);
            write_offset(r, &found->offsets[i], kafka_of_coord(found->offsets[i].status));
        }
        write_no_tags(w, r->flexible);
    }
}

static void write_topics(struct request *r, size_t i)
{
    const struct ask *ask = r->ask;

    if (ask->groups[i].all) {
        write_all(r, &ask->fetch.groups[i]);
    } else {
        write_asked(r, &ask->groups[i]);
    }
}

static void answer(struct request *r)
{
    const struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    if (r->version >= 3) {
        write_i32(w, r->throttle_ms);
    }
    if (r->version >= MANY_FROM) {
        write_count(w, r->flexible, ask->group_count);
        for (size_t i = 0; i < ask->group_count; i++) {
            write_text(w, r->flexible, ask->groups[i].group);
            write_topics(r, i);
            write_i16(w, kafka_of_coord(ask->fetch.groups[i].status));
            write_no_tags(w, r->flexible);
        }
    } else {
        write_topics(r, 0);
        if (r->version >= GROUP_ERROR_FROM) {
            write_i16(w, kafka_of_coord(ask->fetch.groups[0].status));
        }
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

/* One array of offsets for a group, and where in it each topic's are. */
static void gather(struct request *r, struct group_ask *group, struct coord_fetch_group *fetch)
{
    size_t total = 0, at = 0;

    for (size_t i = 0; i < group->topic_count; i++) {
        total += group->topics[i].partition_count;
    }
    fetch->group = group->group;
    fetch->all = group->all;
    fetch->offsets = arena_take(&r->arena, total * sizeof(*fetch->offsets));
    for (size_t i = 0; i < group->topic_count; i++) {
        struct topic_ask *topic = &group->topics[i];
        if (r->version >= BY_ID_FROM) {
            topic->name = topic_name_of(r, topic->id);
            topic->unknown = !topic->name.at;
        }
        if (topic->unknown) {
            continue;
        }
        topic->found = &fetch->offsets[at];
        for (size_t j = 0; j < topic->partition_count; j++) {
            fetch->offsets[at++] = (struct coord_offset){
                .topic = topic->name, .partition = topic->partitions[j], .offset = -1};
        }
    }
    fetch->offset_count = at;
}

/* Each group once: repeats of "all" would make a small question a large answer. */
static void drop_repeated_groups(struct ask *ask)
{
    struct map seen = {0};
    size_t kept = 0;

    for (size_t i = 0; i < ask->group_count; i++) {
        if (!map_get(&seen, ask->groups[i].group)) {
            ask->groups[kept] = ask->groups[i];
            map_put(&seen, ask->groups[kept].group, &ask->groups[kept]);
            kept++;
        }
    }
    ask->group_count = kept;
    map_fini(&seen);
}

void offset_fetch_handle(struct request *r)
{
    struct ask *ask = r->ask;
    struct coord_fetch *fetch = &ask->fetch;

    drop_repeated_groups(ask);
    fetch->group_count = ask->group_count;
    fetch->groups = arena_take(&r->arena, ask->group_count * sizeof(*fetch->groups));
    for (size_t i = 0; i < ask->group_count; i++) {
        gather(r, &ask->groups[i], &fetch->groups[i]);
    }
    request_asks(r, &fetch->ask, answer);
    coord_fetch(r->broker->coord, fetch);
}
