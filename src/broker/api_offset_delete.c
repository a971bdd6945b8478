/* api_offset_delete.c - OffsetDelete (47): committed offsets of topics a group no longer reads;
 * KIP-496. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"
#include "broker/offset_topics.h"

struct ask {
    struct coord_delete_offsets delete;
    struct offset_topics topics;
};

static void read_nothing(struct request *r, struct coord_offset *offset)
{
    (void)r;
    (void)offset;
}

void offset_delete_read(struct request *r)
{
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->delete.group = read_text(&r->body, r->flexible);
    offset_topics_read(r, &ask->topics, false, sizeof(int32_t), read_nothing);
}

static int16_t error_of(const struct request *r, enum coord_status status)
{
    (void)r;
    return kafka_of_coord(status);
}

static bool concerns_all(enum coord_status status)
{
    return status != COORD_OK && status != COORD_STORAGE;
}

static void answer(struct request *r)
{
    const struct ask *ask = r->ask;
    enum coord_status status = ask->delete.ask.status;

    write_i16(&r->answer, concerns_all(status) ? kafka_of_coord(status) : KAFKA_NONE);
    write_i32(&r->answer, r->throttle_ms);
    if (concerns_all(status)) {
        write_count(&r->answer, r->flexible, 0);
    } else {
        offset_topics_write(r, &ask->topics, error_of);
    }
    request_reply(r);
}

void offset_delete_handle(struct request *r)
{
    struct ask *ask = r->ask;
    struct coord_delete_offsets *delete = &ask->delete;

    delete->offsets = offset_topics_gather(r, &ask->topics, &delete->offset_count);
    request_asks(r, &delete->ask, answer);
    coord_delete_offsets(r->broker->coord, delete);
}
