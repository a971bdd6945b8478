/* api_list_transactions.c - ListTransactions (66): all transactional ids, filtered by state,
 * producer id and age; KIP-664, KIP-994. Version 2, which adds a pattern, would let clients
 * have regular expressions evaluated here: it is not advertised.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define STATES_MAX 100
#define PRODUCER_IDS_MAX 1000 /* each transactional id is compared with each */

void list_transactions_read(struct request *r)
{
    struct reader *in = &r->body;
    struct coord_list_txns *list = r->ask = arena_take(&r->arena, sizeof(*list));

    view *states = request_items(r, 1, sizeof(*states), &list->state_count, NULL);
    for (size_t i = 0; i < list->state_count; i++) {
        states[i] = read_text(in, true);
    }
    list->states = states;
    int64_t *ids = request_items(r, sizeof(*ids), sizeof(*ids), &list->producer_id_count, NULL);
    for (size_t i = 0; i < list->producer_id_count; i++) {
        ids[i] = read_i64(in);
    }
    list->producer_ids = ids;
    list->running_ms_min = r->version >= 1 ? read_i64(in) : -1;
    read_tags(in, true);
}

static void answer(struct request *r)
{
    const struct coord_list_txns *list = r->ask;
    struct writer *w = &r->answer;

    write_i32(w, r->throttle_ms);
    write_i16(w, kafka_of_coord(list->ask.status));
    write_count(w, true, list->unknown_state_count);
    for (size_t i = 0; i < list->unknown_state_count; i++) {
        write_text(w, true, list->unknown_states[i]);
    }
    write_count(w, true, list->found_count);
    for (size_t i = 0; i < list->found_count; i++) {
        write_text(w, true, list->found[i].txn_id);
        write_i64(w, list->found[i].producer_id);
        write_text(w, true, view_text(list->found[i].state));
        write_no_tags(w, true);
    }
    write_no_tags(w, true);
    request_reply(r);
}

void list_transactions_handle(struct request *r)
{
    struct coord_list_txns *list = r->ask;

    if (list->state_count > STATES_MAX || list->producer_id_count > PRODUCER_IDS_MAX) {
        list->ask.status = COORD_INVALID_REQUEST;
        answer(r);
        return;
    }
    request_asks(r, &list->ask, answer);
    coord_list_txns(r->broker->coord, list);
}
