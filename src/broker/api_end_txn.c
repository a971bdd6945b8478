/* api_end_txn.c - EndTxn (26): commit or abort; KIP-98, KIP-890 (from version 5 on every end
 * gives the producer its next epoch). SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define FENCED_FROM 2 /* first version whose clients know PRODUCER_FENCED */
#define TXN_V2_FROM 5

void end_txn_read(struct request *r)
{
    struct reader *in = &r->body;
    struct coord_end_txn *end = r->ask = arena_take(&r->arena, sizeof(*end));

    end->txn_id = read_text(in, r->flexible);
    end->producer_id = read_i64(in);
    end->producer_epoch = read_i16(in);
    end->commit = read_bool(in);
    read_tags(in, r->flexible);
}

static void answer(struct request *r)
{
    const struct coord_end_txn *end = r->ask;
    struct writer *w = &r->answer;
    int16_t error = kafka_of_producer(end->ask.status, r->version >= FENCED_FROM);

    write_i32(w, r->throttle_ms);
    write_i16(w, error);
    if (r->version >= TXN_V2_FROM) {
        write_i64(w, error ? -1 : end->next_id);
        write_i16(w, error ? (int16_t)-1 : end->next_epoch);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

void end_txn_handle(struct request *r)
{
    struct coord_end_txn *end = r->ask;

    end->v2 = r->version >= TXN_V2_FROM;
    request_asks(r, &end->ask, answer);
    coord_end_txn(r->broker->coord, end);
}
