/* producers.h - what one partition knows of its producers: sequences, open transactions,
 * aborts.
 *
 * Owned by the partition's shard. producers_check() decides on a batch before it is written and
 * changes nothing; producers_apply() notes it once its offset is known, and is also what
 * recovery and followers call (they never reject). Per producer id: epoch, the last five
 * batches (KIP-98: a repeat of any is a success with its old offset), first offset of the open
 * transaction, last marker's coordinator epoch. Bounded: beyond producers_max the one idle
 * longest goes, but never one with an open transaction unless all have one, and its transaction
 * still holds back the stable offset. Sequences wrap from 2^31-1 to 0. */
#ifndef TIDEMARK_LOG_PRODUCERS_H
#define TIDEMARK_LOG_PRODUCERS_H

#include "log/append.h"
#include "log/read.h"

#define PRODUCER_BATCHES_KEPT 5

struct producers; /* opaque; heap */

struct producers *producers_new(int64_t producers_max, int64_t expiry_ms);
void producers_free(struct producers *p);

/* OK: append it. DUPLICATE: *old_base, *old_last are of the first time. Others: refuse so.
 * flags are log_append_flags: without LOG_APPEND_VERIFIED a transactional batch that would open
 * a transaction is TXN_STATE. A client's non-transactional batch inside its open transaction is
 * TXN_STATE too; control batches check the marker's rules (facts: equal epoch without an open
 * transaction is a retried marker: accept under LOG_APPEND_TXN_V2). */
enum log_append_status producers_check(struct producers *p, const struct batch_info *info,
                                       view batch, unsigned flags, int64_t *old_base,
                                       int64_t *old_last);
/* base_offset is final. hold: a marker's transaction stays in the stable limit until released.
 */
void producers_apply(struct producers *p, const struct batch_info *info, view batch,
                     int64_t base_offset, bool hold, int64_t now_ms);
void producers_release(struct producers *p, int64_t producer_id);

/* First offset of the oldest transaction that is open or held; INT64_MAX when none. */
int64_t producers_first_open(const struct producers *p);
/* Aborted transactions that overlap [from, to): heap array of the caller. */
size_t producers_aborted(const struct producers *p, int64_t from, int64_t to,
                         struct log_aborted **out);
void producers_expire(struct producers *p, int64_t now_ms);
void producers_trim(struct producers *p, int64_t start); /* aborts before it are forgotten */
size_t producers_views(const struct producers *p, struct producer_view **out);
size_t producers_count(const struct producers *p);

struct producer_last { /* where a producer's newest sequence is, for compaction */
    int64_t producer_id;
    int64_t offset; /* last of its newest data batch, -1: none under its epoch */
    int16_t epoch;
};
size_t producers_lasts(const struct producers *p, struct producer_last **out); /* heap, by id */
/* The marker of an aborted transaction was compacted away, as its data had been before. */
void producers_forget_abort(struct producers *p, int64_t producer_id, int64_t first_offset);

/* Snapshot at an offset, versioned and with a CRC (docs/formats.md). */
void producers_save(const struct producers *p, int64_t offset, struct writer *out);
MUST_CHECK err producers_load(struct producers *p, view bytes, int64_t *offset);
void producers_clear(struct producers *p);

#endif
