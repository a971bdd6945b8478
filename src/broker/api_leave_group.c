/* api_leave_group.c - LeaveGroup (13): members go, one by itself or several by an operator;
 * KIP-345 (batches, by instance id), KIP-800. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define MANY_FROM 3

static void read_member(struct request *r, struct coord_leaver *member)
{
    struct reader *in = &r->body;

    member->member = read_text(in, r->flexible);
    if (r->version >= MANY_FROM) {
        member->instance = read_text_or_null(in, r->flexible);
        if (r->version >= 5) {
            member->reason = read_text_or_null(in, r->flexible);
        }
        read_tags(in, r->flexible);
    }
}

void leave_group_read(struct request *r)
{
    struct coord_leave *leave = r->ask = arena_take(&r->arena, sizeof(*leave));

    leave->group = read_text(&r->body, r->flexible);
    if (r->version < MANY_FROM) {
        leave->member_count = 1;
        leave->members = arena_take(&r->arena, sizeof(*leave->members));
    } else {
        leave->members = request_items(r, r->flexible ? 3 : 4, sizeof(*leave->members),
                                       &leave->member_count, NULL);
    }
    for (size_t i = 0; i < leave->member_count; i++) {
        read_member(r, &leave->members[i]);
    }
    read_tags(&r->body, r->flexible);
}

static void answer(struct request *r)
{
    const struct coord_leave *leave = r->ask;
    struct writer *w = &r->answer;
    enum coord_status status = leave->ask.status;

    if (r->version >= 1) {
        write_i32(w, r->throttle_ms);
    }
    if (r->version < MANY_FROM) {
        status = status ? status : leave->members[0].status;
    }
    write_i16(w, kafka_of_coord(status));
    if (r->version >= MANY_FROM) {
        write_count(w, r->flexible, leave->member_count);
        for (size_t i = 0; i < leave->member_count; i++) {
            write_text(w, r->flexible, leave->members[i].member);
            write_text_or_null(w, r->flexible, leave->members[i].instance);
            write_i16(w, kafka_of_coord(leave->members[i].status));
            write_no_tags(w, r->flexible);
        }
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

void leave_group_handle(struct request *r)
{
    struct coord_leave *leave = r->ask;

    request_asks(r, &leave->ask, answer);
    coord_leave(r->broker->coord, leave);
}
