/* producer.h - transactions for doors in process, as straight-line code; a part of coord.h.
 *
 *   coord_producer_open -> (coord_begin -> coord_send, coord_send_offsets... -> coord_end)...
 *                       -> coord_producer_close
 *
 * The same transactions as those over the wire, of version 2: what was sent to any partitions,
 * and the offsets of what it was made from, become visible together or not at all. One thread
 * at a time; every call may block, so it is not for loop threads, nor under a simulator (there
 * the asks of txn.h do). After an error of send the transaction can only be aborted; after
 * ERR_CONFLICT another producer has taken the transactional id over, and this one is done. */
#ifndef TIDEMARK_COORD_PRODUCER_H
#define TIDEMARK_COORD_PRODUCER_H

#include "coord/offsets.h"

struct log;
struct partition;
struct record;
struct coord_producer;

/* Takes the transactional id over: what its last holder left open is aborted. */
MUST_CHECK err coord_producer_open(struct coord *coord, struct log *log, view txn_id,
                                   int32_t timeout_ms, struct coord_producer **out);
MUST_CHECK err coord_begin(struct coord_producer *producer);
/* One batch; returns when it is on its way. The caller holds the topic until coord_end. */
MUST_CHECK err coord_send(struct coord_producer *producer, struct partition *partition,
                          const struct record *records, size_t count);
/* The group's offsets move with the commit; the group needs no members. */
MUST_CHECK err coord_send_offsets(struct coord_producer *producer, view group,
                                  struct coord_offset *offsets, size_t count);
/* Waits for all that was sent. When that failed a commit becomes an abort and an error. */
MUST_CHECK err coord_end(struct coord_producer *producer, bool commit);
void coord_producer_close(struct coord_producer *producer); /* aborts; accepts NULL */

#endif
