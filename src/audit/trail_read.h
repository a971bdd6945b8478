/* trail_read.h - changes in the order of commits, from the ledger and the topics; internal.
 *
 * Seal by seal; the ranges of a seal are merged by (commit_lsn, seq). Records that are no
 * changes (tombstones, other people's) are passed over; what retention has taken is left out.
 * A reader is of one thread, may block, and is of no use after an error. */
#ifndef TIDEMARK_AUDIT_TRAIL_READ_H
#define TIDEMARK_AUDIT_TRAIL_READ_H

#include "audit/envelope.h"
#include "audit/ledger.h"
#include "audit/trail_index.h"

struct trail_reader;
struct trail_reader *trail_reader_new(struct log *log, struct ledger *ledger,
                                      struct trail_position from, size_t memory_bytes);
void trail_reader_free(struct trail_reader *reader); /* accepts NULL */

enum trail_read_kind {
    TRAIL_READ_NOTHING, /* no more yet: waited wait_ms for it */
    TRAIL_READ_CHANGE,
    TRAIL_READ_SEAL, /* a seal is through: number and to are set */
};
struct trail_read { /* valid until the next call */
    enum trail_read_kind kind;
    struct change change;
    view topic;
    int32_t partition;
    int64_t offset;
    struct trail_position at; /* behind it */
    int64_t seal;
    uint64_t to;
};
MUST_CHECK err trail_reader_next(struct trail_reader *reader, int64_t wait_ms,
                                 struct trail_read *out);

/* One record of a topic as a change; *found false: it is gone, or it is none. */
struct trail_fetch; /* keeps the bytes last read of each partition it was asked for */
struct trail_fetch *trail_fetch_new(struct log *log, struct ledger *ledger);
void trail_fetch_free(struct trail_fetch *fetch); /* accepts NULL */
MUST_CHECK err trail_fetch_one(struct trail_fetch *fetch, struct arena *arena, view topic,
                               int32_t partition, int64_t offset, struct change *out,
                               bool *found);

#endif
