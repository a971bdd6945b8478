/* api_list_groups.c - ListGroups (16): all groups, filtered by state and type; KIP-518,
 * KIP-848. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define GROUP_TYPE VIEW("classic")
#define FILTERS_MAX 100 /* each group is compared with each */

static view *read_filters(struct request *r, size_t *count)
{
    view *filters = request_items(r, 1, sizeof(*filters), count, NULL);

    for (size_t i = 0; i < *count; i++) {
        filters[i] = read_text(&r->body, r->flexible);
    }
    return filters;
}

void list_groups_read(struct request *r)
{
    struct coord_list_groups *list = r->ask = arena_take(&r->arena, sizeof(*list));

    if (r->version >= 4) {
        list->states = read_filters(r, &list->state_count);
    }
    if (r->version >= 5) {
        list->types = read_filters(r, &list->type_count);
    }
    read_tags(&r->body, r->flexible);
}

static void answer(struct request *r)
{
    const struct coord_list_groups *list = r->ask;
    struct writer *w = &r->answer;

    if (r->version >= 1) {
        write_i32(w, r->throttle_ms);
    }
    write_i16(w, kafka_of_coord(list->ask.status));
    write_count(w, r->flexible, list->found_count);
    for (size_t i = 0; i < list->found_count; i++) {
        write_text(w, r->flexible, list->found[i].group);
        write_text(w, r->flexible, list->found[i].protocol_type);
        if (r->version >= 4) {
            write_text(w, r->flexible, view_text(list->found[i].state));
        }
        if (r->version >= 5) {
            write_text(w, r->flexible, GROUP_TYPE);
        }
        write_no_tags(w, r->flexible);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

void list_groups_handle(struct request *r)
{
    struct coord_list_groups *list = r->ask;

    if (list->state_count > FILTERS_MAX || list->type_count > FILTERS_MAX) {
        list->ask.status = COORD_INVALID_REQUEST;
        answer(r);
        return;
    }
    request_asks(r, &list->ask, answer);
    coord_list_groups(r->broker->coord, list);
}
