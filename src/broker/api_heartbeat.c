/* api_heartbeat.c - Heartbeat (12): a member is alive and learns whether to join again; KIP-62,
 * KIP-345. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

void heartbeat_read(struct request *r)
{
    struct reader *in = &r->body;
    struct coord_heartbeat *heartbeat = r->ask = arena_take(&r->arena, sizeof(*heartbeat));

    heartbeat->group = read_text(in, r->flexible);
    heartbeat->generation = read_i32(in);
    heartbeat->member = read_text(in, r->flexible);
    if (r->version >= 3) {
        heartbeat->instance = read_text_or_null(in, r->flexible);
    }
    read_tags(in, r->flexible);
}

static void answer(struct request *r)
{
    const struct coord_heartbeat *heartbeat = r->ask;

    if (r->version >= 1) {
        write_i32(&r->answer, r->throttle_ms);
    }
    write_i16(&r->answer, kafka_of_coord(heartbeat->ask.status));
    write_no_tags(&r->answer, r->flexible);
    request_reply(r);
}

void heartbeat_handle(struct request *r)
{
    struct coord_heartbeat *heartbeat = r->ask;

    request_asks(r, &heartbeat->ask, answer);
    coord_heartbeat(r->broker->coord, heartbeat);
}
