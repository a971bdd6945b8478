/* api_alter_configs.c - AlterConfigs (33) gives a topic all its settings anew;
 * IncrementalAlterConfigs (44) sets, removes and edits single ones; KIP-133, KIP-339. The
 * server's own settings come from its file and are not changed here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include <stdlib.h>
#include <string.h>

#include "broker/changes.h"
#include "broker/configs.h"

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };
#define NAME_SHOWN 80       /* characters of a client's text in words about it */
#define LIST_BYTES_MAX 4096 /* of an edited list; also keeps the editing short */

enum { OPERATION_SET, OPERATION_DELETE, OPERATION_APPEND, OPERATION_SUBTRACT };

struct edit {
    struct config_ask setting;
    int8_t operation;
};

struct resource {
    int8_t type;
    view name;
    struct edit *edits;
    size_t edit_count;
    int16_t error;
    const char *words;
};

struct ask {
    struct resource *resources;
    size_t count;
    bool single; /* edits of single settings, not the whole list */
    bool only_check;
    struct changes *changes;
};

static void read_all(struct request *r, bool single)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->single = single;
    ask->resources =
        request_items(r, r->flexible ? 4 : 7, sizeof(*ask->resources), &ask->count, NULL);
    request_charge(r, ask->count * sizeof(struct change_item));
    for (size_t i = 0; i < ask->count; i++) {
        struct resource *resource = &ask->resources[i];
        resource->type = read_i8(in);
        resource->name = read_text(in, r->flexible);
        resource->edits = request_items(r, r->flexible ? 3 : 4, sizeof(*resource->edits),
                                        &resource->edit_count, NULL);
        for (size_t j = 0; j < resource->edit_count; j++) {
            resource->edits[j].setting.name = read_text(in, r->flexible);
            resource->edits[j].operation = single ? read_i8(in) : OPERATION_SET;
            resource->edits[j].setting.value = read_text_or_null(in, r->flexible);
            read_tags(in, r->flexible);
        }
        read_tags(in, r->flexible);
    }
    ask->only_check = read_bool(in);
    read_tags(in, r->flexible);
}

void alter_configs_read(struct request *r)
{
    read_all(r, false);
}

void incremental_alter_configs_read(struct request *r)
{
    read_all(r, true);
}

static int16_t refuse(struct resource *resource, int16_t error, const char *words)
{
    resource->words = words;
    return error;
}

static int16_t check(struct request *r, struct resource *resource, struct topic **out)
{
    struct map seen = {0};
    bool twice = false;

    if (resource->type == RESOURCE_BROKER) {
        return refuse(resource, KAFKA_INVALID_REQUEST,
                      "the server's settings come from its configuration file at the start");
    }
    if (resource->type != RESOURCE_TOPIC) {
        return refuse(resource, KAFKA_INVALID_REQUEST,
                      "only topics have settings that can be changed");
    }
    for (size_t i = 0; i < resource->edit_count; i++) {
        twice = map_put(&seen, resource->edits[i].setting.name, &resource->edits[i]) || twice;
    }
    map_fini(&seen);
    if (twice) {
        return refuse(resource, KAFKA_INVALID_REQUEST, "a setting is named twice");
    }
    *out = log_topic(r->broker->log, resource->name);
    return *out ? KAFKA_NONE
                : refuse(resource, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "no such topic");
}

static void check_repeats(struct ask *ask)
{
    struct map seen = {0};

    for (size_t i = 0; i < ask->count; i++) {
        struct topic *topic = ask->changes->items[i].change.topic;
        struct resource *earlier = topic ? map_get(&seen, VIEW_OF(topic->id)) : NULL;
        if (earlier) {
            earlier->error = ask->resources[i].error = KAFKA_INVALID_REQUEST;
            earlier->words = ask->resources[i].words = "the topic is named twice";
        } else if (topic) {
            map_put(&seen, VIEW_OF(topic->id), &ask->resources[i]);
        }
    }
    map_fini(&seen);
}

static bool is_list(view name)
{
    return view_is_text(name, "cleanup.policy") ||
           view_is_text(name, "leader.replication.throttled.replicas") ||
           view_is_text(name, "follower.replication.throttled.replicas");
}

/* A list without the words of another, or with those of them that it lacks. */
static view list_edited(struct request *r, view list, view words, bool add)
{
    struct writer out = {0};
    view item, rest = list;

    for (bool more = list.len > 0; more;) {
        more = view_cut(rest, ',', &item, &rest);
        view other, others = words;
        bool named = false;
        for (bool go = true; go;) {
            go = view_cut(others, ',', &other, &others);
            named = named || view_is(view_trim(other), view_trim(item));
        }
        if (!named) {
            write_format(&out, "%s%.*s", out.len ? "," : "", VIEW_ARG(view_trim(item)));
        }
    }
    if (add) {
        write_format(&out, "%s%.*s", out.len ? "," : "", VIEW_ARG(words));
    }
    view copy = arena_copy(&r->arena, writer_view(&out));
    writer_fini(&out);
    return copy;
}

/* What holds for a list-like setting now. */
static view present_value(struct request *r, struct topic *topic, view name)
{
    size_t count = 0;
    const struct config_view *views = configs_of_topic(topic, &r->arena, &count);

    for (size_t i = 0; i < count; i++) {
        if (view_is_text(name, views[i].name)) {
            return view_text(views[i].value);
        }
    }
    return VIEW("");
}

/* The value that an edit comes to; NULL removes the setting. */
static int16_t edit_one(struct request *r, struct resource *resource, struct topic *topic,
                        const struct edit *edit, char **out)
{
    view name = edit->setting.name, value = edit->setting.value;
    bool adds = edit->operation == OPERATION_APPEND;

    if (edit->operation == OPERATION_DELETE) {
        return KAFKA_NONE;
    }
    if (!value.at) {
        return refuse(resource, KAFKA_INVALID_REQUEST,
                      arena_format(&r->arena, "%.*s has no value",
                                   VIEW_ARG(view_upto(name, NAME_SHOWN))));
    }
    if (edit->operation == OPERATION_SET) {
        *out = arena_text(&r->arena, value);
        return KAFKA_NONE;
    }
    if (!adds && edit->operation != OPERATION_SUBTRACT) {
        return refuse(resource, KAFKA_INVALID_REQUEST, "no such operation on a setting");
    }
    if (!is_list(name)) {
        return refuse(resource, KAFKA_INVALID_CONFIG,
                      arena_format(&r->arena, "%.*s is no list: it can be set or deleted",
                                   VIEW_ARG(view_upto(name, NAME_SHOWN))));
    }
    view present = present_value(r, topic, name);
    if (present.len + value.len > LIST_BYTES_MAX) {
        return refuse(resource, KAFKA_INVALID_CONFIG, "the list would be too long");
    }
    *out = arena_text(&r->arena, list_edited(r, present, value, adds));
    return KAFKA_NONE;
}

static int16_t edit_all(struct request *r, struct resource *resource, struct log_change *change)
{
    struct setting *edits = arena_take(&r->arena, resource->edit_count * sizeof(*edits));
    int16_t error = KAFKA_NONE;

    for (size_t i = 0; !error && i < resource->edit_count; i++) {
        edits[i].name = arena_text(&r->arena, resource->edits[i].setting.name);
        error = edit_one(r, resource, change->topic, &resource->edits[i], &edits[i].value);
    }
    change->settings = edits;
    change->setting_count = resource->edit_count;
    change->merge = true;
    return error;
}

static int16_t replace_all(struct request *r, struct resource *resource,
                           struct log_change *change)
{
    struct config_ask *asked = arena_take(&r->arena, resource->edit_count * sizeof(*asked));

    for (size_t i = 0; i < resource->edit_count; i++) {
        asked[i] = resource->edits[i].setting;
    }
    change->setting_count = resource->edit_count;
    return configs_read(r, asked, resource->edit_count, &change->settings, &resource->words);
}

static void answer(struct request *r)
{
    struct ask *ask = r->ask;
    struct writer *w = &r->answer;

    write_i32(w, r->throttle_ms);
    write_count(w, r->flexible, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        const struct resource *resource = &ask->resources[i];
        const struct change_item *item = &ask->changes->items[i];
        write_i16(w, item->skip ? resource->error : kafka_of_change(item->change.fault));
        write_chars(w, r->flexible, item->skip ? resource->words : change_words(item));
        write_i8(w, resource->type);
        write_text(w, r->flexible, resource->name);
        write_no_tags(w, r->flexible);
    }
    write_no_tags(w, r->flexible);
    changes_fini(ask->changes);
    request_reply(r);
}

static void handle(struct request *r)
{
    struct ask *ask = r->ask;

    ask->changes = changes_new(r, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        struct log_change *change = &ask->changes->items[i].change;
        change->kind = LOG_TOPIC_SETTINGS;
        change->only_check = ask->only_check;
        ask->resources[i].error = check(r, &ask->resources[i], &change->topic);
    }
    check_repeats(ask);
    for (size_t i = 0; i < ask->count; i++) {
        struct resource *resource = &ask->resources[i];
        struct change_item *item = &ask->changes->items[i];
        if (!resource->error) {
            resource->error = ask->single ? edit_all(r, resource, &item->change)
                                          : replace_all(r, resource, &item->change);
        }
        item->skip = resource->error != KAFKA_NONE;
    }
    changes_run(ask->changes, answer);
}

void alter_configs_handle(struct request *r)
{
    handle(r);
}

void incremental_alter_configs_handle(struct request *r)
{
    handle(r);
}
