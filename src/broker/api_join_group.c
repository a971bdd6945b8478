/* api_join_group.c - JoinGroup (11): a member comes, or comes again; KIP-62, KIP-345, KIP-394,
 * KIP-559, KIP-800, KIP-814. Parked until the group's join phase ends.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define CLIENT_ID_MAX 255 /* characters that go into member ids */
#define INSTANCE_ID_MAX 249

void join_group_read(struct request *r)
{
    struct reader *in = &r->body;
    struct coord_join *join = r->ask = arena_take(&r->arena, sizeof(*join));

    join->group = read_text(in, r->flexible);
    join->session_ms = read_i32(in);
    join->rebalance_ms = r->version >= 1 ? read_i32(in) : -1;
    join->member = read_text(in, r->flexible);
    if (r->version >= 5) {
        join->instance = read_text_or_null(in, r->flexible);
    }
    join->protocol_type = read_text(in, r->flexible);
    struct coord_protocol *protocols =
        request_items(r, r->flexible ? 3 : 6, sizeof(*protocols), &join->protocol_count, NULL);
    for (size_t i = 0; i < join->protocol_count; i++) {
        protocols[i].name = read_text(in, r->flexible);
        protocols[i].metadata = read_blob(in, r->flexible);
        read_tags(in, r->flexible);
    }
    join->protocols = protocols;
    if (r->version >= 8) {
        join->reason = read_text_or_null(in, r->flexible);
    }
    read_tags(in, r->flexible);
}

static void write_member(struct request *r, const struct coord_member *member)
{
    struct writer *w = &r->answer;

    write_text(w, r->flexible, member->member);
    if (r->version >= 5) {
        write_text_or_null(w, r->flexible, member->instance);
    }
    write_blob(w, r->flexible, member->metadata);
    write_no_tags(w, r->flexible);
}

static void write_answer(struct request *r, int16_t error)
{
    const struct coord_join *join = r->ask;
    struct writer *w = &r->answer;

    if (r->version >= 2) {
        write_i32(w, r->throttle_ms);
    }
    write_i16(w, error);
    write_i32(w, error ? -1 : join->generation);
    if (r->version >= 7) {
        write_text_or_null(w, r->flexible, error ? (view){0} : join->protocol_type);
        write_text_or_null(w, r->flexible, error ? (view){0} : join->protocol_name);
    } else {
        write_text(w, r->flexible, error ? VIEW("") : join->protocol_name);
    }
    write_text(w, r->flexible, join->leader);
    if (r->version >= 9) {
        write_bool(w, join->skip_assignment);
    }
    write_text(w, r->flexible, join->own_member.at ? join->own_member : join->member);
    write_count(w, r->flexible, join->member_count);
    for (size_t i = 0; i < join->member_count; i++) {
        write_member(r, &join->members[i]);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

static void joined(struct request *r)
{
    const struct coord_join *join = r->ask;

    write_answer(r, kafka_of_coord(join->ask.status));
}

void join_group_handle(struct request *r)
{
    struct coord_join *join = r->ask;

    if (join->instance.len > INSTANCE_ID_MAX) { /* Kafka's rule; a member id holds it */
        join->generation = -1;
        write_answer(r, KAFKA_INVALID_REQUEST);
        return;
    }
    join->client_id = view_upto(view_or_empty(r->client_id), CLIENT_ID_MAX);
    join->client_host = request_host(r);
    join->knows_member_id_required = r->version >= 4;
    join->knows_skip_assignment = r->version >= 9;
    request_asks(r, &join->ask, joined);
    coord_join(r->broker->coord, join);
    request_waits(r, &join->ask);
}
