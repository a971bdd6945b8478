/* api_add_offsets_to_txn.c - AddOffsetsToTxn (25): a transaction will commit offsets of a
 * group; KIP-98. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define FENCED_FROM 2 /* first version whose clients know PRODUCER_FENCED */

void add_offsets_to_txn_read(struct request *r)
{
    struct reader *in = &r->body;
    struct coord_add_offsets *add = r->ask = arena_take(&r->arena, sizeof(*add));

    add->txn_id = read_text(in, r->flexible);
    add->producer_id = read_i64(in);
    add->producer_epoch = read_i16(in);
    add->group = read_text(in, r->flexible);
    read_tags(in, r->flexible);
}

static void answer(struct request *r)
{
    const struct coord_add_offsets *add = r->ask;

    write_i32(&r->answer, r->throttle_ms);
    write_i16(&r->answer, kafka_of_producer(add->ask.status, r->version >= FENCED_FROM));
    write_no_tags(&r->answer, r->flexible);
    request_reply(r);
}

void add_offsets_to_txn_handle(struct request *r)
{
    struct coord_add_offsets *add = r->ask;

    request_asks(r, &add->ask, answer);
    coord_add_offsets(r->broker->coord, add);
}
