/* routes_topics.c - /api/v1/topics: list, create, show, edit, delete, partitions, trim.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/routes.h"

#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/configs.h"
#include "broker/request.h"

static void settings_to_json(struct topic *topic, struct json_writer *j)
{
    struct setting *overrides = NULL;
    size_t count = topic_overrides(topic, &overrides);

    json_name(j, "settings");
    json_object(j);
    for (size_t i = 0; i < count; i++) {
        json_name(j, overrides[i].name);
        json_text(j, overrides[i].value);
    }
    json_end_object(j);
    settings_free(overrides, count);
}

static void effective_to_json(struct http_call *call, struct topic *topic,
                              struct json_writer *j)
{
    size_t count = 0;
    struct config_view *views = configs_of_topic(topic, &call->arena, &count);

    json_name(j, "effective");
    json_object(j);
    for (size_t i = 0; i < count; i++) {
        json_name(j, views[i].name);
        json_text(j, views[i].value);
    }
    json_end_object(j);
}

/* Left open: the caller may add members. */
static void topic_to_json(struct topic *topic, struct json_writer *j)
{
    int32_t partitions = atomic_load(&topic->partition_count);
    int64_t bytes = 0, offsets = 0;
    char id[UUID_TEXT_BYTES];

    for (int32_t i = 0; i < partitions; i++) {
        struct partition_ends ends;
        partition_ends(topic_partition(topic, i), &ends);
        bytes += ends.bytes;
        offsets += ends.high - ends.start;
    }
    uuid_text(topic->id, id);
    json_object(j);
    json_name(j, "name");
    json_text(j, topic->name);
    json_name(j, "ref");
    json_textf(j, "topic:%s", topic->name);
    json_name(j, "id");
    json_text(j, id);
    json_name(j, "internal");
    json_bool(j, topic_is_hidden(topic));
    json_name(j, "partitions");
    json_int(j, partitions);
    json_name(j, "offsets");
    json_int(j, offsets);
    json_name(j, "bytes");
    json_int(j, bytes);
    settings_to_json(topic, j);
}

static void reply_topic(struct http_call *call, unsigned status, struct topic *topic)
{
    struct json_writer j = json_to(&call->out);

    topic_to_json(topic, &j);
    effective_to_json(call, topic, &j);
    json_end_object(&j);
    http_reply_json(call, status);
}

void topics_list(struct http_call *call)
{
    struct broker *b = call->self;
    struct json_writer j = json_to(&call->out);
    struct topic **topics = NULL;
    view cursor = http_query(call, "cursor");
    bool internal = view_is_text(http_query(call, "internal"), "true");
    const char *last = NULL;
    size_t limit = 0, listed = 0;
    bool more = false;

    if (http_query_limit(call, &limit)) {
        http_reply_fault(call);
        return;
    }
    size_t count = log_topics(b->log, &topics);
    json_object(&j);
    json_name(&j, "topics");
    json_array(&j);
    for (size_t i = 0; i < count && !more; i++) {
        struct topic *topic = topics[i];
        bool skip = cursor.at && view_order(view_text(topic->name), cursor) <= 0;
        if (skip || (topic_is_hidden(topic) && !internal)) {
            continue;
        }
        more = listed == limit;
        if (!more) {
            topic_to_json(topic, &j);
            json_end_object(&j);
            last = topic->name;
            listed++;
        }
    }
    json_end_array(&j);
    json_name(&j, "next");
    json_text(&j, more ? last : NULL);
    json_end_object(&j);
    topics_drop(topics, count);
    http_reply_json(call, 200);
}

/* The settings a body gives; a null, which takes an override away, counts where edits do. */
static err settings_read(struct http_call *call, const struct json *body, bool edits,
                         const struct setting **out, size_t *count)
{
    const struct json *asked = json_get(body, "settings");
    size_t named = 0;

    *count = 0;
    if (asked && asked->kind != JSON_OBJECT) {
        return fault(ERR_INVALID, "settings must be an object of names and values");
    }
    for (const struct json *s = asked ? asked->inside : NULL; s; s = s->next) {
        named++;
    }
    struct setting *all = arena_take(&call->arena, (named + 1) * sizeof(*all));
    *out = all;
    for (const struct json *s = asked ? asked->inside : NULL; s; s = s->next) {
        char *name = arena_text(&call->arena, s->name), *value = NULL;
        if (s->kind == JSON_TEXT || s->kind == JSON_NUMBER) {
            value = arena_text(&call->arena, s->text);
        } else if (s->kind == JSON_BOOL) {
            value = arena_text(&call->arena, s->truth ? VIEW("true") : VIEW("false"));
        } else if (s->kind != JSON_NULL) {
            return fault(ERR_INVALID, "the setting %s must be a text, a number or null", name);
        }
        if (value || edits) {
            all[(*count)++] = (struct setting){name, value};
        }
    }
    return OK;
}

/* The topic that is there makes way, but only for one that can be made; both in one flush, so
 * that a crash leaves the old one or the new one. */
static err replace(struct broker *b, struct awaited *create)
{
    struct topic *old = log_topic(b->log, create->change.name);

    if (!old) {
        return route_change(b, create);
    }
    struct awaited check = {.change = {.kind = LOG_TOPIC_SETTINGS,
                                       .topic = old,
                                       .settings = create->change.settings,
                                       .setting_count = create->change.setting_count,
                                       .only_check = true}};
    struct awaited remove = {
        .change = {.kind = LOG_TOPIC_DELETE, .topic = old, .next = &create->change}};
    err e = route_change(b, &check);
    e = e ? e : route_change(b, &remove);
    topic_drop(old);
    return e;
}

void topics_create(struct http_call *call)
{
    static const char *const members[] = {"name", "partitions", "settings", "replace"};
    struct broker *b = call->self;
    struct awaited item = {.change = {.kind = LOG_TOPIC_CREATE}};
    struct log_change *create = &item.change;
    struct json *body = NULL;
    int64_t partitions = 0;
    bool replaces = false;
    err e = route_body(call, members, COUNT(members), &body);

    if (!e && json_get_text(body, "name", &create->name)) {
        e = fault(ERR_INVALID, "the body lacks \"name\", a text");
    }
    e = e ? e : topic_name_check(create->name);
    e = e ? e
          : route_count(body, "partitions", b->config->num_partitions, 1, PARTITIONS_MAX,
                        &partitions);
    e = e ? e : settings_read(call, body, false, &create->settings, &create->setting_count);
    if (!e && json_get(body, "replace")) {
        e = json_get_bool(body, "replace", &replaces);
    }
    create->partition_count = (int32_t)partitions;
    if (!e) {
        e = replaces ? replace(b, &item) : route_change(b, &item);
    }
    if (e) {
        if (e == ERR_EXISTS) {
            http_fix(call, "use another name, edit the one that is there, or say replace to "
                           "delete it and its records first");
        }
        http_reply_fault(call);
        return;
    }
    reply_topic(call, 201, create->topic);
    topic_drop(create->topic);
}

void topics_show(struct http_call *call)
{
    struct topic *topic = NULL;

    if (route_topic(call->self, http_part(call, "name"), &topic)) {
        http_reply_fault(call);
        return;
    }
    reply_topic(call, 200, topic);
    topic_drop(topic);
}

/* Checks both before it does either, so that a request is done whole or not at all. */
static err edit(struct http_call *call, struct topic *topic, const struct json *body)
{
    struct broker *b = call->self;
    int32_t before = atomic_load(&topic->partition_count);
    int64_t partitions = 0;
    struct awaited grow_item = {.change = {.kind = LOG_TOPIC_GROW, .topic = topic}};
    struct awaited set_item = {
        .change = {.kind = LOG_TOPIC_SETTINGS, .topic = topic, .merge = true}};
    struct log_change *grow = &grow_item.change, *set = &set_item.change;
    err e = route_count(body, "partitions", before, 1, PARTITIONS_MAX, &partitions);

    e = e ? e : settings_read(call, body, true, &set->settings, &set->setting_count);
    if (e) {
        return e;
    }
    grow->partition_count = (int32_t)partitions;
    grow->next = json_get(body, "settings") ? set : NULL;
    struct awaited *chain = partitions != before ? &grow_item : grow->next ? &set_item : NULL;
    grow->only_check = set->only_check = true;
    e = chain ? route_change(b, chain) : OK;
    grow->only_check = set->only_check = false;
    return e || !chain ? e : route_change(b, chain);
}

void topics_edit(struct http_call *call)
{
    static const char *const members[] = {"partitions", "settings"};
    struct topic *topic = NULL;
    struct json *body = NULL;
    err e = route_body(call, members, COUNT(members), &body);

    e = e ? e : route_topic(call->self, http_part(call, "name"), &topic);
    e = e ? e : edit(call, topic, body);
    if (e) {
        http_reply_fault(call);
    } else {
        reply_topic(call, 200, topic);
    }
    topic_drop(topic);
}

void topics_delete(struct http_call *call)
{
    struct awaited remove = {.change = {.kind = LOG_TOPIC_DELETE}};
    err e = route_topic(call->self, http_part(call, "name"), &remove.change.topic);

    e = e ? e : route_change(call->self, &remove);
    if (e) {
        http_reply_fault(call);
    } else {
        http_reply_empty(call);
    }
    topic_drop(remove.change.topic);
}

static void partition_to_json(struct topic *topic, int32_t index, struct json_writer *j)
{
    struct partition *p = topic_partition(topic, index);
    struct partition_ends ends;
    char time[POINT_TIME_BYTES];

    partition_ends(p, &ends);
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"start", ends.start}, {"high", ends.high},   {"stable", ends.stable},
        {"end", ends.end},     {"bytes", ends.bytes}, {"leader_epoch", ends.leader_epoch},
    };
    json_object(j);
    json_name(j, "partition");
    json_int(j, index);
    json_name(j, "ref");
    json_textf(j, "topic:%s/%d", topic->name, index);
    for (size_t i = 0; i < COUNT(numbers); i++) {
        json_name(j, numbers[i].name);
        json_int(j, numbers[i].value);
    }
    json_name(j, "newest");
    if (ends.max_timestamp >= 0) {
        point_time_text(ends.max_timestamp, time);
    }
    json_text(j, ends.max_timestamp < 0 ? NULL : time);
    json_name(j, "failed");
    json_bool(j, partition_failed(p));
    json_end_object(j);
}

void topics_partitions(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct topic *topic = NULL;
    int64_t from = 0;
    size_t limit = 0;
    err e = http_query_limit(call, &limit);

    e = e ? e : http_query_int(call, "cursor", -1, -1, PARTITIONS_MAX, &from);
    e = e ? e : route_topic(call->self, http_part(call, "name"), &topic);
    if (e) {
        http_reply_fault(call);
        return;
    }
    int64_t count = atomic_load(&topic->partition_count);
    from++; /* the cursor is the last one seen */
    int64_t end = MIN(count, from + (int64_t)limit);
    json_object(&j);
    json_name(&j, "partitions");
    json_array(&j);
    for (int64_t i = from; i < end; i++) {
        partition_to_json(topic, (int32_t)i, &j);
    }
    json_end_array(&j);
    json_name(&j, "next");
    if (end < count) {
        json_textf(&j, "%lld", (long long)end - 1);
    } else {
        json_null(&j);
    }
    json_end_object(&j);
    topic_drop(topic);
    http_reply_json(call, 200);
}

struct trim { /* what a trim is about */
    struct topic *topic;
    struct point point;
    int64_t first, count; /* partitions */
    struct awaited *items;
};

static err trim_read(struct http_call *call, struct trim *trim)
{
    static const char *const members[] = {"to", "partition"};
    struct json *body = NULL;
    err e = route_body(call, members, COUNT(members), &body);

    e = e ? e : route_topic(call->self, http_part(call, "name"), &trim->topic);
    e = e ? e : route_point(call->self, body, &trim->point);
    if (e) {
        return e;
    }
    int64_t all = atomic_load(&trim->topic->partition_count);
    bool one = json_get(body, "partition") != NULL;
    e = route_count(body, "partition", 0, 0, all - 1, &trim->first);
    trim->count = one ? 1 : all;
    return e;
}

static err trim_run(struct http_call *call, struct trim *trim)
{
    err e = OK;

    trim->items = arena_take(&call->arena, (size_t)trim->count * sizeof(*trim->items));
    for (int64_t i = 0; i < trim->count && !e; i++) {
        struct log_change *c = &trim->items[i].change;
        c->kind = LOG_TRIM;
        c->topic = trim->topic;
        c->partition = (int32_t)(trim->first + i);
        c->next = i + 1 < trim->count ? &trim->items[i + 1].change : NULL;
        e = route_offset(topic_partition(trim->topic, c->partition), trim->point, &c->offset);
    }
    return e ? e : route_change(call->self, trim->items);
}

void topics_trim(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct trim trim = {0};
    err e = trim_read(call, &trim);

    e = e ? e : trim_run(call, &trim);
    if (e) {
        http_reply_fault(call);
        topic_drop(trim.topic);
        return;
    }
    json_object(&j);
    json_name(&j, "partitions");
    json_array(&j);
    for (int64_t i = 0; i < trim.count; i++) {
        json_object(&j);
        json_name(&j, "partition");
        json_int(&j, trim.items[i].change.partition);
        json_name(&j, "start");
        json_int(&j, trim.items[i].change.offset);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_end_object(&j);
    topic_drop(trim.topic);
    http_reply_json(call, 200);
}
