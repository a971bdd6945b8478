/* api_init_producer_id.c - InitProducerId (22): an identity for an idempotent producer, or the
 * next epoch of a transactional one; KIP-98, KIP-360, KIP-588.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define FENCED_FROM 4 /* first version whose clients know PRODUCER_FENCED */

void init_producer_id_read(struct request *r)
{
    struct reader *in = &r->body;
    struct coord_init_producer *init = r->ask = arena_take(&r->arena, sizeof(*init));

    init->txn_id = read_text_or_null(in, r->flexible);
    init->timeout_ms = read_i32(in);
    init->expect_id = r->version >= 3 ? read_i64(in) : -1;
    init->expect_epoch = r->version >= 3 ? read_i16(in) : -1;
    read_tags(in, r->flexible);
}

static void write_answer(struct request *r, int16_t error)
{
    const struct coord_init_producer *init = r->ask;
    struct writer *w = &r->answer;

    write_i32(w, r->throttle_ms);
    write_i16(w, error);
    write_i64(w, error ? -1 : init->producer_id);
    write_i16(w, error ? (int16_t)-1 : init->producer_epoch);
    write_no_tags(w, r->flexible);
    request_reply(r);
}

static void answer(struct request *r)
{
    const struct coord_init_producer *init = r->ask;

    write_answer(r, kafka_of_producer(init->ask.status, r->version >= FENCED_FROM));
}

void init_producer_id_handle(struct request *r)
{
    struct coord_init_producer *init = r->ask;

    if ((init->expect_id < 0) != (init->expect_epoch < 0)) { /* both or neither */
        write_answer(r, KAFKA_INVALID_REQUEST);
        return;
    }
    request_asks(r, &init->ask, answer);
    coord_init_producer(r->broker->coord, init);
}
