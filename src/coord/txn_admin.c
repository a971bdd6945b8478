/* txn_admin.c - looking at transactions: describe and list. SPDX-License-Identifier: Apache-2.0
 */
#include "coord/txns.h"

#include <stdlib.h>

static struct coord_txn_view view_of(const struct txn *t, struct arena *arena)
{
    return (struct coord_txn_view){
        .txn_id = arena_copy(arena, blob_view(t->id)),
        .state = txn_state_name(t->facts.state),
        .timeout_ms = t->facts.timeout_ms,
        .start_ms = t->facts.start_ms,
        .producer_id = t->facts.producer_id,
        .producer_epoch = t->facts.epoch,
    };
}

static int by_topic(const void *left, const void *right)
{
    const struct coord_txn_partition *a = left, *b = right;
    int order = view_order(a->topic, b->topic);

    return order ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static void list_parts(const struct txn *t, struct arena *arena, struct coord_txn_view *out)
{
    const struct txn_part *part;

    out->partitions = arena_take(arena, t->parts.count * sizeof(*out->partitions));
    for (size_t at = 0; (part = map_next(&t->parts, &at));) {
        out->partitions[out->partition_count].topic = arena_copy(arena, part_topic(part));
        out->partitions[out->partition_count++].partition = part->partition;
    }
    if (out->partition_count) {
        qsort(out->partitions, out->partition_count, sizeof(*out->partitions), by_topic);
    }
}

static void run_describe(struct coord *c, struct coord_ask *ask)
{
    struct coord_describe_txns *d = (struct coord_describe_txns *)(void *)ask;

    for (size_t i = 0; i < d->txn_id_count; i++) {
        const struct txn *t = txn_find(c, d->txn_ids[i]);
        if (!t) {
            d->found[i].status =
                d->txn_ids[i].len ? COORD_TXN_ID_NOT_FOUND : COORD_INVALID_REQUEST;
            continue;
        }
        d->found[i] = view_of(t, ask->arena);
        list_parts(t, ask->arena, &d->found[i]);
    }
    ask_done(ask, COORD_OK);
}

static void refuse_describe(struct coord_ask *ask, enum coord_status status)
{
    struct coord_describe_txns *d = (struct coord_describe_txns *)(void *)ask;

    for (size_t i = 0; i < d->txn_id_count; i++) {
        d->found[i].status = status;
    }
}

static bool is_state(view name)
{
    for (int state = 0; state < TXN_STATES; state++) {
        if (view_is_text(name, txn_state_name((enum txn_state)state))) {
            return true;
        }
    }
    return false;
}

static bool is_wanted(const struct txn *t, const struct coord_list_txns *list, int64_t now_ms)
{
    bool state = list->state_count == 0, id = list->producer_id_count == 0;

    for (size_t i = 0; i < list->state_count; i++) {
        state = state || view_is_text(list->states[i], txn_state_name(t->facts.state));
    }
    for (size_t i = 0; i < list->producer_id_count; i++) {
        id = id || list->producer_ids[i] == t->facts.producer_id;
    }
    bool old = list->running_ms_min < 0 ||
               (t->facts.start_ms >= 0 && now_ms - t->facts.start_ms > list->running_ms_min);
    return state && id && old;
}

static int by_id(const void *left, const void *right)
{
    const struct coord_txn_view *a = left, *b = right;

    return view_order(a->txn_id, b->txn_id);
}

static void run_list(struct coord *c, struct coord_ask *ask)
{
    struct coord_list_txns *list = (struct coord_list_txns *)(void *)ask;
    const struct txn *t;
    int64_t now_ms = coord_now_ms(c);

    list->found = arena_take(ask->arena, c->txns.count * sizeof(*list->found));
    list->unknown_states =
        arena_take(ask->arena, list->state_count * sizeof(*list->unknown_states));
    for (size_t i = 0; i < list->state_count; i++) {
        if (!is_state(list->states[i])) {
            list->unknown_states[list->unknown_state_count++] = list->states[i];
        }
    }
    for (size_t at = 0; (t = map_next(&c->txns, &at));) {
        if (is_wanted(t, list, now_ms)) {
            list->found[list->found_count++] = view_of(t, ask->arena);
        }
    }
    if (list->found_count) {
        qsort(list->found, list->found_count, sizeof(*list->found), by_id);
    }
    ask_done(ask, COORD_OK);
}

static const struct ask_kind describe_kind = {.run = run_describe, .refuse = refuse_describe};
static const struct ask_kind list_kind = {.run = run_list};

void coord_describe_txns(struct coord *c, struct coord_describe_txns *describe)
{
    describe->found =
        arena_take(describe->ask.arena, describe->txn_id_count * sizeof(*describe->found));
    for (size_t i = 0; i < describe->txn_id_count; i++) {
        describe->found[i] = (struct coord_txn_view){.txn_id = describe->txn_ids[i],
                                                     .state = "",
                                                     .start_ms = -1,
                                                     .producer_id = -1,
                                                     .producer_epoch = -1};
    }
    ask_post(c, &describe->ask, &describe_kind);
}

void coord_list_txns(struct coord *c, struct coord_list_txns *list)
{
    list->found = NULL;
    list->found_count = list->unknown_state_count = 0;
    ask_post(c, &list->ask, &list_kind);
}
