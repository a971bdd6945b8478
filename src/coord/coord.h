/* coord.h - consumer groups, their offsets, and transactions over the log's partitions.
 *
 *   coord_open -> asks (ask.h, group.h, offsets.h, txn.h) from any thread -> coord_close
 *                 or, for doors, transactions as straight-line code (producer.h)
 *
 * One worker owns all state: no locks. Asks are posted to it and answered by done(). All of it
 * is a view: folded at coord_open from two compacted topics in Kafka's own record formats,
 * __consumer_offsets and __transaction_state, which are made when first needed. Knows nothing
 * of the wire: doors in process make the same calls as the Kafka door. */
#ifndef TIDEMARK_COORD_COORD_H
#define TIDEMARK_COORD_COORD_H

#include "coord/ask.h"
#include "coord/group.h"
#include "coord/offsets.h"
#include "coord/producer.h"
#include "coord/txn.h"

struct log;

struct coord_config {
    int64_t initial_rebalance_ms; /* a new group waits so long for more members: without it
                                     every start of n clients is n rebalances; Kafka's 3 s
                                     is felt by people */
    int64_t session_ms_min, session_ms_max;
    int64_t members_max; /* of one group */
    int64_t groups_max;
    int64_t member_bytes_max;     /* of what the members of all groups offer, together */
    int64_t offsets_max;          /* of all groups together */
    int64_t metadata_bytes_max;   /* of one offset */
    int64_t offsets_retention_ms; /* after the group became empty */
    int64_t expiry_check_ms;      /* beat of looking for what is to be forgotten */
    int64_t txn_timeout_ms_max;
    int64_t txn_id_expiry_ms; /* unused transactional ids */
    int64_t txn_ids_max;
    int64_t asks_max; /* parked or waiting for the disk: LOADING beyond it */
    int32_t offsets_partitions, txn_partitions; /* when the topics are made */
};

void coord_config_preset(struct coord_config *config);

/* May block: reads both topics back. Prepared transactions are finished from here on. */
MUST_CHECK err coord_open(struct log *log, const struct coord_config *config,
                          struct coord **out);
/* Before readers are let in: the transactions that a crash left half visible are whole. */
bool coord_is_settled(const struct coord *coord);
void coord_settle(struct coord *coord); /* blocks until then; not under a simulator */
/* What is parked is answered NOT_COORDINATOR; waits for appends under way. Accepts NULL. */
void coord_close(struct coord *coord);

/* Prometheus samples. */
void coord_metrics(struct coord *coord, struct writer *out);

#endif
