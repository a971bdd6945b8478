/* api_describe_transactions.c - DescribeTransactions (65): what transactional ids are doing;
 * KIP-664. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

struct ask {
    struct coord_describe_txns describe;
    view *txn_ids;
};

void describe_transactions_read(struct request *r)
{
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->txn_ids =
        request_items(r, 1, sizeof(*ask->txn_ids), &ask->describe.txn_id_count, NULL);
    for (size_t i = 0; i < ask->describe.txn_id_count; i++) {
        ask->txn_ids[i] = read_text(&r->body, true);
    }
    read_tags(&r->body, true);
}

static size_t run_of_topic(const struct coord_txn_view *txn, size_t from)
{
    size_t to = from;

    while (to < txn->partition_count &&
           view_is(txn->partitions[to].topic, txn->partitions[from].topic)) {
        to++;
    }
    return to;
}

/* The partitions come by topic. */
static void write_topics(struct writer *w, const struct coord_txn_view *txn)
{
    size_t topics = 0;

    for (size_t from = 0; from < txn->partition_count; from = run_of_topic(txn, from)) {
        topics++;
    }
    write_count(w, true, topics);
    for (size_t from = 0, to; from < txn->partition_count; from = to) {
        to = run_of_topic(txn, from);
        write_text(w, true, txn->partitions[from].topic);
        write_count(w, true, to - from);
        for (size_t i = from; i < to; i++) {
            write_i32(w, txn->partitions[i].partition);
        }
        write_no_tags(w, true);
    }
}

static void answer(struct request *r)
{
    const struct coord_describe_txns *describe = &((const struct ask *)r->ask)->describe;
    struct writer *w = &r->answer;

    write_i32(w, r->throttle_ms);
    write_count(w, true, describe->txn_id_count);
    for (size_t i = 0; i < describe->txn_id_count; i++) {
        const struct coord_txn_view *txn = &describe->found[i];
        write_i16(w, kafka_of_coord(txn->status));
        write_text(w, true, txn->txn_id);
        write_text(w, true, view_text(txn->state));
        write_i32(w, txn->timeout_ms);
        write_i64(w, txn->start_ms);
        write_i64(w, txn->producer_id);
        write_i16(w, txn->producer_epoch);
        write_topics(w, txn);
        write_no_tags(w, true);
    }
    write_no_tags(w, true);
    request_reply(r);
}

void describe_transactions_handle(struct request *r)
{
    struct ask *ask = r->ask;

    ask->describe.txn_id_count = drop_repeats(ask->txn_ids, ask->describe.txn_id_count);
    ask->describe.txn_ids = ask->txn_ids;
    request_asks(r, &ask->describe.ask, answer);
    coord_describe_txns(r->broker->coord, &ask->describe);
}
