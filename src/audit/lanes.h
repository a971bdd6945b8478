/* lanes.h - writing a source's records to its topics: batched, in order, exactly once;
 * internal.
 *
 * A lane is one partition. Writers (one a thread) collect records, a flush sends one batch to
 * each lane they are for; many may be under way. Each lane's batches carry a producer's
 * sequence, so that after one that failed none that follows is taken: what is on a topic is
 * always a beginning of what was sent. Opening a lane reads what is behind its last seal, so a
 * capture that starts anew knows what is there already (lane_has) and seals it with the rest.
 * A cut is where a seal ends: ranges and digests of all lanes, and a generation to wait for.
 * After a failure the lanes are freed and made anew. Writers have a thread each; the rest is
 * for any. */
#ifndef TIDEMARK_AUDIT_LANES_H
#define TIDEMARK_AUDIT_LANES_H

#include "audit/ledger.h"
#include "log/log.h"

#define LANES_IN_FLIGHT_MAX (24 << 20) /* bytes of batches under way, of all writers */

struct lanes;
struct lane;
struct lane_writer;

struct lanes_config {
    struct os *os;
    struct log *log;
    struct ledger *ledger;
    int64_t keep_ms;          /* retention.ms of topics that are made; -1: for ever */
    void (*wake)(void *self); /* something was stored, or failed; any thread, may only post */
    void *self;
};

struct lanes *lanes_new(const struct lanes_config *config);
void lanes_free(struct lanes *lanes); /* waits for what is under way; accepts NULL */

/* The lane of a partition, made with its topic when missing; borrowed. sealed: part of seals.
 * May block. CONFLICT: the topic ends before its last seal. */
MUST_CHECK err lanes_open(struct lanes *lanes, view topic, int32_t partition,
                          int32_t partitions, bool sealed, struct lane **out);
/* Is the change of this place, or one after it, there already? */
bool lane_has(const struct lane *lane, const struct change_place *place);
int64_t lane_end(const struct lane *lane); /* the offset that its next record gets */

/* wait is called while a flush finds too much under way: it returns after a moment, or an error
 * that ends the flush. in_order: its batches carry sequences; one such writer at a time. */
struct lane_writer *lane_writer_new(struct lanes *lanes, bool in_order, err (*wait)(void *self),
                                    void *self);
void lane_writer_free(struct lane_writer *writer);           /* what is not flushed is gone */
struct arena *lane_writer_arena(struct lane_writer *writer); /* for records, until the flush */
/* place NULL: of no transaction, such as a snapshot's row. Flushes when enough is there. */
MUST_CHECK err lane_add(struct lane_writer *writer, struct lane *lane,
                        const struct record *records, size_t count,
                        const struct change_place *place);
MUST_CHECK err lane_flush(struct lane_writer *writer);
bool lane_writer_is_empty(const struct lane_writer *writer);

/* Between two cuts all batches of the former one must have been stored. */
size_t lanes_cut(struct lanes *lanes, struct arena *arena, struct seal_range **ranges,
                 uint64_t *generation);
bool lanes_are_busy(struct lanes *lanes); /* something is under way */
bool lanes_are_stored(struct lanes *lanes, uint64_t generation);
/* The newest commit found on a lane when it was opened: until it has come again no cut may be
 * made, which would seal records of transactions that the seal does not reach. */
uint64_t lanes_tail(struct lanes *lanes);
bool lanes_have_more(struct lanes *lanes);       /* than the last cut */
MUST_CHECK err lanes_check(struct lanes *lanes); /* why one failed */

#endif
