/* api_delete_groups.c - DeleteGroups (42): groups without members go, with their offsets;
 * KIP-229. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

void delete_groups_read(struct request *r)
{
    struct coord_delete_groups *delete = r->ask = arena_take(&r->arena, sizeof(*delete));

    delete->groups = request_items(r, r->flexible ? 1 : 2, sizeof(*delete->groups),
                                   &delete->group_count, NULL);
    for (size_t i = 0; i < delete->group_count; i++) {
        delete->groups[i].group = read_text(&r->body, r->flexible);
    }
    read_tags(&r->body, r->flexible);
}

static void answer(struct request *r)
{
    const struct coord_delete_groups *delete = r->ask;
    struct writer *w = &r->answer;

    write_i32(w, r->throttle_ms);
    write_count(w, r->flexible, delete->group_count);
    for (size_t i = 0; i < delete->group_count; i++) {
        enum coord_status status = delete->groups[i].status;
        write_text(w, r->flexible, delete->groups[i].group);
        write_i16(w, kafka_of_coord(status));
        if (r->version >= 3) {
            write_chars(w, r->flexible, status ? coord_status_text(status) : NULL);
        }
        write_no_tags(w, r->flexible);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

void delete_groups_handle(struct request *r)
{
    struct coord_delete_groups *delete = r->ask;

    request_asks(r, &delete->ask, answer);
    coord_delete_groups(r->broker->coord, delete);
}
