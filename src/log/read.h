/* read.h - reading, waiting for more, and cuts of all ends; a part of log.h.
 *
 * log_read finds whole batches and gives back a held stretch of a file; log_range_read fetches
 * its bytes in pieces of the caller's choice, so that a reply's size is known before its first
 * byte and its memory is bounded. Loop threads never wait: LOG_READ_COLD sends them to
 * log_run_blocking. */
#ifndef TIDEMARK_LOG_READ_H
#define TIDEMARK_LOG_READ_H

#include "base/base.h"
#include "log/topic.h"

struct log;
struct segment;

enum log_read_status { LOG_READ_OK, LOG_READ_OUT_OF_RANGE, LOG_READ_COLD, LOG_READ_FAILED };

struct log_aborted { /* an aborted transaction that overlaps what was read */
    int64_t producer_id, first_offset;
};

/* A stretch of whole batches in one segment, held until log_range_drop. */
struct log_range {
    struct segment *segment; /* NULL: empty */
    int64_t position;        /* first byte in its file */
    uint32_t bytes;
};

struct log_read {
    struct partition *partition; /* borrowed */
    int64_t offset;
    uint32_t bytes_max;
    bool whole_first; /* the first batch comes whole even over bytes_max */
    bool committed;   /* up to stable, with the aborted list */
    bool may_block;   /* else LOG_READ_COLD instead of any file I/O that could wait */
    enum log_read_status status; /* results from here on */
    int64_t start, high, stable; /* of the moment of reading */
    struct log_range range;      /* may begin before offset: readers skip */
    struct log_aborted *aborted; /* heap, the caller's */
    size_t aborted_count;
};

void log_read(struct log *log, struct log_read *read);
/* Bytes [from, from + len) of a range into at. */
enum os_read_status log_range_read(struct log *log, const struct log_range *range,
                                   uint32_t from, void *at, uint32_t len, bool may_block);
/* The same bytes straight to a socket that does not block: COLD when they are not in memory,
 * else as many as it takes now. */
enum os_read_status log_range_send(struct log *log, const struct log_range *range,
                                   uint32_t from, int socket, uint32_t len, size_t *sent);
void log_range_drop(struct log *log, struct log_range *range); /* accepts an empty one */

/* Runs job->work on a reader thread, which may block. */
void log_run_blocking(struct log *log, struct job *job);
/* Runs job->work on the partition's shard: for partition_producers and the like. */
void log_run_on_shard(struct log *log, struct partition *partition, struct job *job);

/* Convenience for doors and tests, may block: whole batches from offset on in a buf of their
 * own; *out NULL when there is nothing yet. */
MUST_CHECK err log_fetch(struct log *log, struct partition *partition, int64_t offset,
                         uint32_t bytes_max, bool committed, struct buf **out);

/* A waiter is woken once when the partition's high (committed: stable) passes offset, or when
 * the partition is deleted or fails. wake() runs with the partition locked: it may only post.
 */
struct log_wait {
    struct partition *partition; /* borrowed */
    int64_t offset;
    bool committed;
    void (*wake)(struct log_wait *);
    struct log_wait *prev, *next; /* the log's */
    bool queued;
};

bool log_wait_add(struct log_wait *wait);    /* false: already passed; it was not queued */
void log_wait_remove(struct log_wait *wait); /* after it, wake is not called any more */
struct log_cut_entry {
    uuid topic_id;
    int32_t partition;
    int64_t start, stable, high;
};

/* All partitions' ends at one instant: whatever a record in the cut was caused by through this
 * process is in it too. The array is heap, the caller's; ordered by topic id, partition. */
void log_cut(struct log *log, struct log_cut_entry **out, size_t *count);

#endif
