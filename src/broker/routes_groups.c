/* routes_groups.c - /api/v1/groups: list, show, move offsets, delete.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/routes.h"

#include <stdlib.h>

#include "broker/broker.h"

#define NOBODYS_GENERATION (-1) /* commits for a group that has no members */

static void member_to_json(const struct coord_member *m, struct json_writer *j)
{
    json_object(j);
    json_name(j, "id");
    json_view(j, m->member);
    json_name(j, "instance");
    json_view(j, m->instance);
    json_name(j, "client_id");
    json_view(j, m->client_id);
    json_name(j, "host");
    json_view(j, m->client_host);
    json_name(j, "assignment");
    if (!assignment_to_json(m->assignment, j)) {
        json_null(j);
    }
    json_end_object(j);
}

/* The end of what can be read of an offset's partition; -1: it is no more. */
static int64_t end_of(struct broker *b, const struct coord_offset *o)
{
    struct topic *topic = log_topic(b->log, o->topic);
    struct partition *p = topic ? topic_partition(topic, o->partition) : NULL;
    struct partition_ends ends = {.high = -1};

    if (p) {
        partition_ends(p, &ends);
    }
    topic_drop(topic);
    return ends.high;
}

static void offset_to_json(struct broker *b, const struct coord_offset *o,
                           struct json_writer *j)
{
    int64_t end = end_of(b, o);

    json_object(j);
    json_name(j, "topic");
    json_view(j, o->topic);
    json_name(j, "partition");
    json_int(j, o->partition);
    json_name(j, "ref");
    json_textf(j, "topic:%.*s/%d@%lld", VIEW_ARG(o->topic), o->partition, (long long)o->offset);
    json_name(j, "offset");
    json_int(j, o->offset);
    json_name(j, "end");
    json_int(j, end);
    json_name(j, "lag");
    json_int(j, MAX(end - o->offset, 0));
    json_name(j, "metadata");
    json_view(j, o->metadata);
    json_end_object(j);
}

/* Left open: the caller may add members. */
static void group_to_json(struct broker *b, const struct coord_group *g,
                          const struct coord_fetch_group *offsets, struct json_writer *j)
{
    int64_t lag = 0;

    for (size_t i = 0; i < offsets->offset_count; i++) {
        lag += MAX(end_of(b, &offsets->offsets[i]) - offsets->offsets[i].offset, 0);
    }
    json_object(j);
    json_name(j, "name");
    json_view(j, g->group);
    json_name(j, "ref");
    json_textf(j, "group:%.*s", VIEW_ARG(g->group));
    json_name(j, "state");
    json_text(j, g->state);
    json_name(j, "protocol_type");
    json_view(j, g->protocol_type);
    json_name(j, "protocol");
    json_view(j, g->protocol_name);
    json_name(j, "generation");
    json_int(j, g->generation);
    json_name(j, "member_count");
    json_int(j, (int64_t)g->member_count);
    json_name(j, "offset_count");
    json_int(j, (int64_t)offsets->offset_count);
    json_name(j, "lag");
    json_int(j, lag);
}

/* Groups and their offsets by name; found and fetched are in order of the names. */
static err look(struct http_call *call, const view *names, size_t count,
                struct coord_describe_groups *describe, struct coord_fetch *fetch)
{
    struct broker *b = call->self;
    struct latch latch;

    *describe = (struct coord_describe_groups){
        .groups = names, .group_count = count, .not_found = true};
    route_ask(call, &describe->ask, &latch);
    coord_describe_groups(b->coord, describe);
    route_asked(&latch);
    *fetch = (struct coord_fetch){
        .groups = arena_take(&call->arena, (count + 1) * sizeof(*fetch->groups)),
        .group_count = count};
    for (size_t i = 0; i < count; i++) {
        fetch->groups[i].group = names[i];
        fetch->groups[i].all = true;
    }
    route_ask(call, &fetch->ask, &latch);
    coord_fetch(b->coord, fetch);
    route_asked(&latch);
    err e = route_status(describe->ask.status, "groups");
    return e ? e : route_status(fetch->ask.status, "offsets");
}

static err list_names(struct http_call *call, view *names, size_t limit, size_t *count,
                      bool *more)
{
    struct broker *b = call->self;
    struct coord_list_groups list = {0};
    view cursor = http_query(call, "cursor");
    struct latch latch;

    route_ask(call, &list.ask, &latch);
    coord_list_groups(b->coord, &list);
    route_asked(&latch);
    err e = route_status(list.ask.status, "groups");
    for (size_t i = 0; i < list.found_count && !e && !*more; i++) {
        if (cursor.at && view_order(list.found[i].group, cursor) <= 0) {
            continue;
        }
        *more = *count == limit;
        if (!*more) {
            names[(*count)++] = list.found[i].group;
        }
    }
    return e;
}

void groups_list(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct coord_describe_groups describe;
    struct coord_fetch fetch;
    size_t limit = 0, count = 0;
    bool more = false;
    err e = http_query_limit(call, &limit);
    view *names = arena_take(&call->arena, (limit + 1) * sizeof(*names));

    e = e ? e : list_names(call, names, limit, &count, &more);
    e = e ? e : look(call, names, count, &describe, &fetch);
    if (e) {
        http_reply_fault(call);
        return;
    }
    json_object(&j);
    json_name(&j, "groups");
    json_array(&j);
    for (size_t i = 0; i < count; i++) {
        if (describe.found[i].status == COORD_OK) { /* else it went away just now */
            group_to_json(call->self, &describe.found[i], &fetch.groups[i], &j);
            json_end_object(&j);
        }
    }
    json_end_array(&j);
    json_name(&j, "next");
    json_view(&j, more ? names[count - 1] : (view){0});
    json_end_object(&j);
    http_reply_json(call, 200);
}

static void reply_group(struct http_call *call, const struct coord_group *g,
                        const struct coord_fetch_group *offsets)
{
    struct json_writer j = json_to(&call->out);

    group_to_json(call->self, g, offsets, &j);
    json_name(&j, "members");
    json_array(&j);
    for (size_t i = 0; i < g->member_count; i++) {
        member_to_json(&g->members[i], &j);
    }
    json_end_array(&j);
    json_name(&j, "offsets");
    json_array(&j);
    for (size_t i = 0; i < offsets->offset_count; i++) {
        offset_to_json(call->self, &offsets->offsets[i], &j);
    }
    json_end_array(&j);
    json_end_object(&j);
    http_reply_json(call, 200);
}

static err group_status(const struct coord_group *g)
{
    char *what = text_format("group \"%.*s\"", VIEW_ARG(view_upto(g->group, 200)));
    err e = route_status(g->status, what);

    free(what);
    return e;
}

void groups_show(struct http_call *call)
{
    struct coord_describe_groups describe;
    struct coord_fetch fetch;
    view name = http_part(call, "name");
    err e = look(call, &name, 1, &describe, &fetch);

    e = e ? e : group_status(&describe.found[0]);
    if (e) {
        http_reply_fault(call);
        return;
    }
    reply_group(call, &describe.found[0], &fetch.groups[0]);
}

struct move { /* offsets of a group on their way to a point */
    view group;
    struct point point;
    view topic;        /* null: all that the group has offsets of */
    int64_t partition; /* -1: all of the topic */
    struct coord_offset *offsets;
    size_t count;
};

static err move_read(struct http_call *call, struct move *move)
{
    static const char *const members[] = {"to", "topic", "partition"};
    struct json *body = NULL;
    err e = route_body(call, members, COUNT(members), &body);

    move->group = http_part(call, "name");
    e = e ? e : route_point(call->self, body, &move->point);
    e = e ? e : route_count(body, "partition", -1, 0, PARTITIONS_MAX, &move->partition);
    if (!e && json_get(body, "topic")) {
        e = json_get_text(body, "topic", &move->topic);
    }
    if (!e && move->partition >= 0 && !move->topic.at) {
        e = fault(ERR_INVALID, "a partition goes with its topic: the body lacks \"topic\"");
    }
    return e;
}

/* Of a topic, whether the group has read from it or not: so that a group can be prepared. */
static err move_topic(struct http_call *call, struct move *move)
{
    struct topic *topic = NULL;
    err e = route_topic(call->self, move->topic, &topic);

    if (e) {
        return e;
    }
    int64_t all = atomic_load(&topic->partition_count);
    move->count = move->partition < 0 ? (size_t)all : 1;
    move->offsets = arena_take(&call->arena, move->count * sizeof(*move->offsets));
    for (size_t i = 0; i < move->count; i++) {
        move->offsets[i].topic = move->topic;
        move->offsets[i].partition = (int32_t)MAX(move->partition, 0) + (int32_t)i;
    }
    if (move->partition >= all) {
        e = fault(ERR_NOT_FOUND, "%s has the partitions 0 to %lld", topic->name,
                  (long long)all - 1);
    }
    topic_drop(topic);
    return e;
}

static err move_known(struct http_call *call, struct move *move)
{
    struct coord_describe_groups describe;
    struct coord_fetch fetch;
    err e = look(call, &move->group, 1, &describe, &fetch);

    e = e ? e : group_status(&describe.found[0]);
    if (!e && !fetch.groups[0].offset_count) {
        e = fault(ERR_CONFLICT, "the group has no offsets yet: name the topic");
    }
    move->offsets = fetch.groups[0].offsets;
    move->count = fetch.groups[0].offset_count;
    return e;
}

static err move_resolve(struct broker *b, struct move *move)
{
    err e = OK;

    for (size_t i = 0; i < move->count && !e; i++) {
        struct coord_offset *o = &move->offsets[i];
        struct topic *topic = log_topic(b->log, o->topic);
        struct partition *p = topic ? topic_partition(topic, o->partition) : NULL;
        e = p ? route_offset(p, move->point, &o->offset)
              : fault(ERR_NOT_FOUND, "%.*s/%d is gone", VIEW_ARG(o->topic), o->partition);
        o->leader_epoch = -1;
        o->metadata = (view){0};
        topic_drop(topic);
    }
    return e;
}

static err move_commit(struct http_call *call, struct move *move)
{
    struct broker *b = call->self;
    struct latch latch;
    struct coord_commit commit = {.group = move->group,
                                  .member = VIEW(""),
                                  .generation = NOBODYS_GENERATION,
                                  .offsets = move->offsets,
                                  .offset_count = move->count};

    route_ask(call, &commit.ask, &latch);
    coord_commit(b->coord, &commit);
    route_asked(&latch);
    if (commit.ask.status == COORD_UNKNOWN_MEMBER) {
        http_fix(call, "stop the group's consumers first");
        return fault(ERR_CONFLICT,
                     "the group has members, which would go on from where they are");
    }
    err e = route_status(commit.ask.status, "moving the offsets");
    for (size_t i = 0; i < move->count && !e; i++) {
        e = route_status(move->offsets[i].status, "moving the offsets");
    }
    return e;
}

void groups_edit(struct http_call *call)
{
    struct move move = {0};
    err e = move_read(call, &move);

    e = e ? e : move.topic.at ? move_topic(call, &move) : move_known(call, &move);
    e = e ? e : move_resolve(call->self, &move);
    e = e ? e : move_commit(call, &move);
    if (e) {
        http_reply_fault(call);
        return;
    }
    groups_show(call);
}

void groups_delete(struct http_call *call)
{
    struct broker *b = call->self;
    struct coord_delete_group group = {.group = http_part(call, "name")};
    struct coord_delete_groups delete = {.groups = &group, .group_count = 1};
    struct latch latch;

    route_ask(call, &delete.ask, &latch);
    coord_delete_groups(b->coord, &delete);
    route_asked(&latch);
    char *what = text_format("group \"%.*s\"", VIEW_ARG(view_upto(group.group, 200)));
    if (route_status(group.status, what)) {
        if (group.status == COORD_NON_EMPTY_GROUP) {
            http_fix(call, "stop the group's consumers first");
        }
        http_reply_fault(call);
    } else {
        http_reply_empty(call);
    }
    free(what);
}
