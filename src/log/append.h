/* append.h - writing batches, and cutting them off again; a part of log.h.
 *
 * log_append hands a chain of batches to the shards that own their partitions and returns at
 * once; each append's done() is called when its acks are met, in order within a partition. */
#ifndef TIDEMARK_LOG_APPEND_H
#define TIDEMARK_LOG_APPEND_H

#include "base/base.h"
#include "log/batch.h"
#include "log/topic.h"

struct log;

enum log_acks { LOG_ACKS_WRITTEN, LOG_ACKS_DURABLE };

enum log_append_flags {
    LOG_APPEND_INTERNAL = 1u << 0, /* by a coordinator or door: may write internal topics, may
                                      use the disk reserve, may hold control batches */
    LOG_APPEND_VERIFIED = 1u << 1, /* transactional: the coordinator has this partition in it */
    LOG_APPEND_HOLD = 1u << 2, /* control: stable waits for log_release (several partitions) */
    LOG_APPEND_FOLLOWER = 1u << 3, /* keeps the batch's offsets and epoch (replication) */
    LOG_APPEND_TXN_V2 = 1u << 4,   /* KIP-890 part 2: a marker's epoch must be above */
};

/* clang-format off */
#define LOG_APPEND_STATUS(X)                                                                   \
    X(OK) X(DUPLICATE) X(CORRUPT) X(TOO_LARGE) X(INVALID_RECORD) X(INVALID_TIMESTAMP)          \
    X(NO_KEY) X(OUT_OF_ORDER) X(OLD_EPOCH) X(UNKNOWN_PRODUCER) X(TXN_STATE) X(TXN_MARKER_OLD)  \
    X(STORAGE) X(FULL) X(GONE) X(DENIED) X(OFFSET_MISMATCH)
/* clang-format on */

enum log_append_status {
#define X(name) LOG_APPEND_##name,
    LOG_APPEND_STATUS(X)
#undef X
};

/* One batch for one partition; the caller's memory, untouched from log_append until done. */
struct log_append {
    struct log_append *next;     /* a chain is handed over in one call, kept in order */
    struct partition *partition; /* borrowed; its topic is held by the caller */
    struct buf *hold;            /* owns the batch bytes; log takes one hold of its own */
    view batch;             /* one whole batch in hold; offset and epoch are patched there */
    struct batch_info info; /* from batch_check on the caller's thread */
    enum log_acks acks;
    unsigned flags;                    /* enum log_append_flags */
    void (*done)(struct log_append *); /* once, any thread, may only post */
    enum log_append_status status;     /* results from here on; DUPLICATE is a success */
    int64_t base_offset;               /* -1 unless OK or DUPLICATE */
    int64_t last_offset;
    int64_t append_ms; /* log append time, -1 with create time */
    int64_t start;     /* log start offset at that moment */
    struct job job;    /* the log's */
};

void log_append(struct log *log, struct log_append *chain);
const char *log_append_status_text(enum log_append_status status);

/* Ends the hold of markers that were appended with LOG_APPEND_HOLD: all these partitions'
 * stable offsets move in one step of the gate. Call when every marker is durable. */
void log_release(struct log *log, struct partition *const *partitions, size_t count,
                 int64_t producer_id);

struct log_truncate { /* a job for the shard: drop all from offset on, or start anew */
    struct job job;
    struct partition *partition;
    int64_t offset;
    bool reset; /* empty log that begins at offset */
    err result;
    void (*done)(struct log_truncate *);
};

void log_truncate(struct log *log, struct log_truncate *truncate);

#endif
