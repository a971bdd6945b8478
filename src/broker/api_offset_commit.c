/* api_offset_commit.c - OffsetCommit (8): how far a group has read; KIP-211, KIP-320, KIP-345,
 * KIP-848 (topic ids). Answered when durable. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"
#include "broker/offset_topics.h"

struct ask {
    struct coord_commit commit;
    struct offset_topics topics;
};

static void read_offset(struct request *r, struct coord_offset *offset)
{
    struct reader *in = &r->body;

    offset->offset = read_i64(in);
    offset->leader_epoch = r->version >= 6 ? read_i32(in) : -1;
    if (r->version == 1) {
        read_i64(in); /* the client's time: retention counts from when the group is empty */
    }
    offset->metadata = read_text_or_null(in, r->flexible);
    read_tags(in, r->flexible);
}

void offset_commit_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->commit.group = read_text(in, r->flexible);
    ask->commit.generation = r->version >= 1 ? read_i32(in) : -1;
    ask->commit.member = r->version >= 1 ? read_text(in, r->flexible) : VIEW("");
    if (r->version >= 7) {
        ask->commit.instance = read_text_or_null(in, r->flexible);
    }
    if (r->version >= 2 && r->version <= 4) {
        read_i64(in); /* retention time of its own: gone since KIP-211 */
    }
    offset_topics_read(r, &ask->topics, r->version >= 10, r->flexible ? 18 : 14, read_offset);
    read_tags(in, r->flexible);
}

static int16_t error_of(const struct request *r, enum coord_status status)
{
    (void)r;
    return kafka_of_coord(status);
}

static void answer(struct request *r)
{
    const struct ask *ask = r->ask;

    if (r->version >= 3) {
        write_i32(&r->answer, r->throttle_ms);
    }
    offset_topics_write(r, &ask->topics, error_of);
    write_no_tags(&r->answer, r->flexible);
    request_reply(r);
}

void offset_commit_handle(struct request *r)
{
    struct ask *ask = r->ask;
    struct coord_commit *commit = &ask->commit;

    commit->offsets = offset_topics_gather(r, &ask->topics, &commit->offset_count);
    request_asks(r, &commit->ask, answer);
    coord_commit(r->broker->coord, commit);
}
