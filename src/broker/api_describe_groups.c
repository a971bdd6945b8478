/* api_describe_groups.c - DescribeGroups (15): state and members of groups; KIP-345, KIP-430,
 * KIP-1043 (an unknown group is an error from version 6 on).
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define NOT_FOUND_FROM 6

struct ask {
    struct coord_describe_groups describe;
    view *groups;
    bool operations;
};

void describe_groups_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->groups = request_items(r, r->flexible ? 1 : 2, sizeof(*ask->groups),
                                &ask->describe.group_count, NULL);
    for (size_t i = 0; i < ask->describe.group_count; i++) {
        ask->groups[i] = read_text(in, r->flexible);
    }
    ask->operations = r->version >= 3 && read_bool(in);
    read_tags(in, r->flexible);
}

static void write_member(struct request *r, const struct coord_member *member)
{
    struct writer *w = &r->answer;

    write_text(w, r->flexible, member->member);
    if (r->version >= 4) {
        write_text_or_null(w, r->flexible, member->instance);
    }
    write_text(w, r->flexible, member->client_id);
    write_text(w, r->flexible, member->client_host);
    write_blob(w, r->flexible, member->metadata);
    write_blob(w, r->flexible, member->assignment);
    write_no_tags(w, r->flexible);
}

static void write_group(struct request *r, const struct coord_group *group)
{
    const struct ask *ask = r->ask;
    struct writer *w = &r->answer;
    bool fine = group->status == COORD_OK;

    write_i16(w, kafka_of_coord(group->status));
    if (r->version >= NOT_FOUND_FROM) {
        write_chars(w, r->flexible, fine ? NULL : coord_status_text(group->status));
    }
    write_text(w, r->flexible, group->group);
    write_text(w, r->flexible, view_text(group->state));
    write_text(w, r->flexible, group->protocol_type);
    write_text(w, r->flexible, group->protocol_name);
    write_count(w, r->flexible, group->member_count);
    for (size_t i = 0; i < group->member_count; i++) {
        write_member(r, &group->members[i]);
    }
    if (r->version >= 3) {
        write_i32(w, ask->operations && fine ? OPERATIONS_GROUP : OPERATIONS_NOT_ASKED);
    }
    write_no_tags(w, r->flexible);
}

static void answer(struct request *r)
{
    const struct coord_describe_groups *describe = &((const struct ask *)r->ask)->describe;
    struct writer *w = &r->answer;

    if (r->version >= 1) {
        write_i32(w, r->throttle_ms);
    }
    write_count(w, r->flexible, describe->group_count);
    for (size_t i = 0; i < describe->group_count; i++) {
        write_group(r, &describe->found[i]);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

void describe_groups_handle(struct request *r)
{
    struct ask *ask = r->ask;
    struct coord_describe_groups *describe = &ask->describe;

    describe->group_count = drop_repeats(ask->groups, describe->group_count);
    describe->groups = ask->groups;
    describe->not_found = r->version >= NOT_FOUND_FROM;
    request_asks(r, &describe->ask, answer);
    coord_describe_groups(r->broker->coord, describe);
}
