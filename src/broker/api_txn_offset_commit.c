/* api_txn_offset_commit.c - TxnOffsetCommit (28): offsets that count once their transaction
 * commits; KIP-98, KIP-447, KIP-890. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"
#include "broker/offset_topics.h"

#define TXN_V2_FROM 5
#define BY_ID_FROM 6

struct ask {
    struct coord_txn_commit commit;
    struct offset_topics topics;
};

static void read_offset(struct request *r, struct coord_offset *offset)
{
    offset->offset = read_i64(&r->body);
    offset->leader_epoch = r->version >= 2 ? read_i32(&r->body) : -1;
    offset->metadata = read_text_or_null(&r->body, r->flexible);
    read_tags(&r->body, r->flexible);
}

void txn_offset_commit_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));
    struct coord_txn_commit *commit = &ask->commit;

    commit->txn_id = read_text(in, r->flexible);
    commit->group = read_text(in, r->flexible);
    commit->producer_id = read_i64(in);
    commit->producer_epoch = read_i16(in);
    commit->generation = -1;
    commit->member = VIEW("");
    if (r->version >= 3) {
        commit->generation = read_i32(in);
        commit->member = read_text(in, r->flexible);
        commit->instance = read_text_or_null(in, r->flexible);
    }
    offset_topics_read(r, &ask->topics, r->version >= BY_ID_FROM, 14, read_offset);
    read_tags(in, r->flexible);
}

/* As the append to the offsets topic would be refused, and in numbers that clients of every
 * version take for "later" where it is. */
static int16_t error_of(const struct request *r, enum coord_status status)
{
    (void)r;
    switch (status) {
    case COORD_PRODUCER_FENCED:
        return KAFKA_INVALID_PRODUCER_EPOCH;
    case COORD_CONCURRENT_TRANSACTIONS:
        return KAFKA_COORDINATOR_LOAD_IN_PROGRESS;
    default:
        return kafka_of_coord(status);
    }
}

static void answer(struct request *r)
{
    const struct ask *ask = r->ask;

    write_i32(&r->answer, r->throttle_ms);
    offset_topics_write(r, &ask->topics, error_of);
    write_no_tags(&r->answer, r->flexible);
    request_reply(r);
}

void txn_offset_commit_handle(struct request *r)
{
    struct ask *ask = r->ask;
    struct coord_txn_commit *commit = &ask->commit;

    commit->v2 = r->version >= TXN_V2_FROM;
    commit->offsets = offset_topics_gather(r, &ask->topics, &commit->offset_count);
    request_asks(r, &commit->ask, answer);
    coord_txn_commit(r->broker->coord, commit);
}
