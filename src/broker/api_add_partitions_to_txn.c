/* api_add_partitions_to_txn.c - AddPartitionsToTxn (24): a transaction will write there;
 * KIP-98. Versions from 4 on are for brokers among themselves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include "broker/asks.h"

#define PARTITION_WORK_BYTES 128 /* of one on its way into the transaction */
#define FENCED_FROM 2            /* first version whose clients know PRODUCER_FENCED */

struct topic_ask {
    view name;
    const struct coord_txn_partition *partitions; /* in add.partitions once gathered */
    int32_t *indexes;
    size_t count;
};

struct ask {
    struct coord_add_partitions add;
    struct topic_ask *topics;
    size_t topic_count;
};

void add_partitions_to_txn_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->add.txn_id = read_text(in, r->flexible);
    ask->add.producer_id = read_i64(in);
    ask->add.producer_epoch = read_i16(in);
    ask->topics =
        request_items(r, r->flexible ? 3 : 6, sizeof(*ask->topics), &ask->topic_count, NULL);
    for (size_t i = 0; i < ask->topic_count; i++) {
        ask->topics[i].name = read_text(in, r->flexible);
        ask->topics[i].indexes =
            read_i32_array(in, r->flexible, &r->arena, &ask->topics[i].count);
        request_charge(r, ask->topics[i].count * PARTITION_WORK_BYTES);
        read_tags(in, r->flexible);
    }
    read_tags(in, r->flexible);
}

static void answer(struct request *r)
{
    const struct ask *ask = r->ask;
    struct writer *w = &r->answer;
    bool knows_fenced = r->version >= FENCED_FROM;

    write_i32(w, r->throttle_ms);
    write_count(w, r->flexible, ask->topic_count);
    for (size_t i = 0; i < ask->topic_count; i++) {
        const struct topic_ask *topic = &ask->topics[i];
        write_text(w, r->flexible, topic->name);
        write_count(w, r->flexible, topic->count);
        for (size_t j = 0; j < topic->count; j++) {
            write_i32(w, topic->partitions[j].partition);
            write_i16(w, kafka_of_producer(topic->partitions[j].status, knows_fenced));
            write_no_tags(w, r->flexible);
        }
        write_no_tags(w, r->flexible);
    }
    write_no_tags(w, r->flexible);
    request_reply(r);
}

/* Clients' transactions stay out of internal topics: for them these do not exist. */
static bool is_internal(struct log *log, const struct coord_txn_partition *p)
{
    struct topic *topic = log_topic(log, p->topic);
    bool internal = topic ? topic->internal : topic_name_is_reserved(log, p->topic);

    topic_drop(topic);
    return internal;
}

static bool refuse_internal(struct log *log, struct coord_add_partitions *add)
{
    bool any = false;

    for (size_t i = 0; i < add->partition_count; i++) {
        any = any || is_internal(log, &add->partitions[i]);
    }
    for (size_t i = 0; any && i < add->partition_count; i++) {
        struct coord_txn_partition *p = &add->partitions[i];
        p->status = is_internal(log, p) ? COORD_UNKNOWN_TOPIC : COORD_NOT_ATTEMPTED;
    }
    return any;
}

static void gather(struct request *r, struct ask *ask)
{
    struct coord_add_partitions *add = &ask->add;
    size_t total = 0;

    for (size_t i = 0; i < ask->topic_count; i++) {
        total += ask->topics[i].count;
    }
    add->partitions = arena_take(&r->arena, total * sizeof(*add->partitions));
    for (size_t i = 0; i < ask->topic_count; i++) {
        struct topic_ask *topic = &ask->topics[i];
        topic->partitions = &add->partitions[add->partition_count];
        for (size_t j = 0; j < topic->count; j++) {
            add->partitions[add->partition_count++] = (struct coord_txn_partition){
                .topic = topic->name, .partition = topic->indexes[j]};
        }
    }
}

void add_partitions_to_txn_handle(struct request *r)
{
    struct ask *ask = r->ask;

    gather(r, ask);
    if (refuse_internal(r->broker->log, &ask->add)) {
        answer(r);
        return;
    }
    ask->add.how = COORD_TXN_ADD;
    request_asks(r, &ask->add.ask, answer);
    coord_add_partitions(r->broker->coord, &ask->add);
}
