/* records.h - the records of __consumer_offsets and __transaction_state, in Kafka's schemas
 * (modules group-coordinator and transaction-coordinator), so that monitors read them.
 *
 * Every key and value begins with its version as an i16. Keys: 0 and 1 offset commit {group,
 * topic, partition i32}; 2 group {group}; of transactions 0 {transactional id}. Text is an i16
 * length and bytes. Values are written as offset commit 3, group 3, transaction 1 (the only
 * flexible one: compact text and arrays, tags), and read in all versions. The topic's id rides
 * in a record header. */
#ifndef TIDEMARK_COORD_RECORDS_H
#define TIDEMARK_COORD_RECORDS_H

#include "coord/coord.h"

enum record_kind { RECORD_OTHER, RECORD_OFFSET, RECORD_GROUP };

struct offset_key {
    enum record_kind kind; /* OTHER: of another protocol or damaged; pass over it */
    view group, topic;     /* topic of OFFSET only */
    int32_t partition;
};

struct offset_value {
    int64_t offset;
    int32_t leader_epoch;
    view metadata;
    int64_t commit_ms;
    uuid topic_id; /* of version 4's tag; zero: not there */
};

struct coord_member_value {
    view member, instance, client_id, client_host, subscription, assignment;
    int32_t rebalance_ms, session_ms;
};

struct group_value {
    view protocol_type, protocol, leader; /* protocol, leader: may be null */
    int32_t generation;
    int64_t state_ms;
    struct coord_member_value *members;
    size_t member_count;
};

struct txn_value {
    int64_t producer_id, previous_id, next_id; /* -1: none */
    int16_t producer_epoch, version;           /* version: the client's, 2 is KIP-890 part 2 */
    int32_t timeout_ms;
    int8_t state;
    struct coord_txn_partition *partitions; /* by topic */
    size_t partition_count;
    int64_t update_ms, start_ms;
};

struct offset_key offset_key_read(view key);
bool offset_value_read(view value, struct offset_value *out); /* false: damaged or too new */
bool group_value_read(view value, struct arena *arena, struct group_value *out);
view offset_key_write(struct arena *arena, struct writer *scratch, view group, view topic,
                      int32_t partition);
view offset_value_write(struct arena *arena, struct writer *scratch,
                        const struct offset_value *value);
view group_key_write(struct arena *arena, struct writer *scratch, view group);
view group_value_write(struct arena *arena, struct writer *scratch,
                       const struct group_value *value);

bool txn_key_read(view key, view *txn_id);
bool txn_value_read(view value, struct arena *arena, struct txn_value *out);
view txn_key_write(struct arena *arena, struct writer *scratch, view txn_id);
view txn_value_write(struct arena *arena, struct writer *scratch,
                     const struct txn_value *value);

/* The topics a member of a "consumer" group subscribes to (ConsumerProtocolSubscription): true
 * when topic is one of them, or when the metadata does not say. */
bool subscription_has(view metadata, view topic);

#endif
