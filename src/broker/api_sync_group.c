/* api_sync_group.c - SyncGroup (14): the leader hands in who gets what, everyone fetches its
 * part; KIP-345, KIP-559. Parked until the leader's came. SPDX-License-Identifier: Apache-2.0
 */
#include "broker/apis.h"

#include "broker/asks.h"

void sync_group_read(struct request *r)
{
    struct reader *in = &r->body;
    struct coord_sync *sync = r->ask = arena_take(&r->arena, sizeof(*sync));

    sync->group = read_text(in, r->flexible);
    sync->generation = read_i32(in);
    sync->member = read_text(in, r->flexible);
    if (r->version >= 3) {
        sync->instance = read_text_or_null(in, r->flexible);
    }
    if (r->version >= 5) {
        sync->protocol_type = read_text_or_null(in, r->flexible);
        sync->protocol_name = read_text_or_null(in, r->flexible);
    }
    struct coord_assignment *assignments = request_items(
        r, r->flexible ? 3 : 6, sizeof(*assignments), &sync->assignment_count, NULL);
    for (size_t i = 0; i < sync->assignment_count; i++) {
        assignments[i].member = read_text(in, r->flexible);
        assignments[i].assignment = read_blob(in, r->flexible);
        read_tags(in, r->flexible);
    }
    sync->assignments = assignments;
    read_tags(in, r->flexible);
}

static void synced(struct request *r)
{
    const struct coord_sync *sync = r->ask;
    struct writer *w = &r->answer;

    if (r->version >= 1) {
        write_i32(w, r->throttle_ms);
    }
    write_i16(w, kafka_of_coord(sync->ask.status));
    if (r->version >= 5) {
        write_text_or_null(w, r->flexible, sync->own_protocol_type);
        write_text_or_null(w, r->flexible, sync->own_protocol_name);
    }
    write_blob(w, r->flexible, sync->ask.status ? VIEW("") : sync->assignment);
    write_no_tags(w, r->flexible);
    request_reply(r);
}

void sync_group_handle(struct request *r)
{
    struct coord_sync *sync = r->ask;

    request_asks(r, &sync->ask, synced);
    coord_sync(r->broker->coord, sync);
    request_waits(r, &sync->ask);
}
