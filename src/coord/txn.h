/* txn.h - producer ids and transactions; a part of coord.h.
 *
 * A producer with a transactional id has one transaction at a time over any partitions and
 * group offsets. The commit point is a durable PrepareCommit in __transaction_state; then every
 * partition gets its marker, then all become visible in one step, then coord_end_txn is
 * answered. A producer that knows version 2 (KIP-890) gets a new epoch from every end, so that
 * nothing late can slip into a later transaction. Sources: KIP-98, KIP-360, KIP-447, KIP-890.
 */
#ifndef TIDEMARK_COORD_TXN_H
#define TIDEMARK_COORD_TXN_H

#include "coord/offsets.h"

struct coord_init_producer {
    struct coord_ask ask;
    view txn_id; /* null view: idempotent only */
    int32_t timeout_ms;
    int64_t expect_id;    /* KIP-360: what the producer has; -1: nothing */
    int16_t expect_epoch; /* -1: nothing */
    int64_t producer_id;  /* answer; -1 on error */
    int16_t producer_epoch;
};

struct coord_txn_partition {
    view topic;
    int32_t partition;
    enum coord_status status;
};

/* ADD is the producer's AddPartitionsToTxn. VERIFY and ADD_V2 are the produce path's, for a
 * batch that log_append refused with LOG_APPEND_TXN_STATE for want of LOG_APPEND_VERIFIED:
 * Produce up to 11 verifies, 12 and later adds (KIP-890). All or none are added. */
enum coord_txn_add { COORD_TXN_ADD, COORD_TXN_VERIFY, COORD_TXN_ADD_V2 };

struct coord_add_partitions {
    struct coord_ask ask;
    enum coord_txn_add how;
    view txn_id;
    int64_t producer_id;
    int16_t producer_epoch;
    struct coord_txn_partition *partitions; /* their status is the answer */
    size_t partition_count;
};

struct coord_add_offsets {
    struct coord_ask ask;
    view txn_id, group;
    int64_t producer_id;
    int16_t producer_epoch;
};

struct coord_txn_commit { /* offsets that count from the commit on */
    struct coord_ask ask;
    view txn_id, group, member, instance; /* member, generation: KIP-447, "" and -1: none */
    int32_t generation;
    int64_t producer_id;
    int16_t producer_epoch;
    bool v2; /* TxnOffsetCommit 5+: no coord_add_offsets went before */
    struct coord_offset *offsets;
    size_t offset_count;
};

struct coord_end_txn {
    struct coord_ask ask;
    view txn_id;
    int64_t producer_id;
    int16_t producer_epoch;
    bool commit;
    bool v2;         /* EndTxn 5+ */
    int64_t next_id; /* answer under v2: to be used from now on */
    int16_t next_epoch;
};

struct coord_txn_view { /* one transactional id in an answer */
    view txn_id;
    enum coord_status status;
    const char *state; /* Kafka's words: Empty Ongoing PrepareCommit ... */
    int32_t timeout_ms;
    int64_t start_ms; /* -1: none open */
    int64_t producer_id;
    int16_t producer_epoch;
    struct coord_txn_partition *partitions; /* describe only */
    size_t partition_count;
};

struct coord_describe_txns {
    struct coord_ask ask;
    const view *txn_ids;
    size_t txn_id_count;
    struct coord_txn_view *found; /* answer: one for each, in order */
};

struct coord_list_txns {
    struct coord_ask ask;
    const view *states; /* filters; none: all */
    const int64_t *producer_ids;
    size_t state_count, producer_id_count;
    int64_t running_ms_min;       /* -1: any */
    struct coord_txn_view *found; /* answer, by name */
    size_t found_count;
    view *unknown_states; /* those of states that are none */
    size_t unknown_state_count;
};

void coord_init_producer(struct coord *coord, struct coord_init_producer *init);
void coord_add_partitions(struct coord *coord, struct coord_add_partitions *add);
void coord_add_offsets(struct coord *coord, struct coord_add_offsets *add);
void coord_txn_commit(struct coord *coord, struct coord_txn_commit *commit);
void coord_end_txn(struct coord *coord, struct coord_end_txn *end);
void coord_describe_txns(struct coord *coord, struct coord_describe_txns *describe);
void coord_list_txns(struct coord *coord, struct coord_list_txns *list);

#endif
