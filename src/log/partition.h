/* partition.h - one partition inside the log: its ends, segments, producers and waiters.
 *
 *   start ... stable ... high ... end      start <= stable <= high <= end
 *                                 `---- written; flushed up to high
 *
 * One shard writes; `lock` guards what readers see and is held for memory work only, never for
 * file I/O of loop threads. Lazy: until `opened` only the ends of the last checkpoint are
 * known, and until the first append there is no folder. */
#ifndef TIDEMARK_LOG_PARTITION_H
#define TIDEMARK_LOG_PARTITION_H

#include <pthread.h>

#include "log/log.h"
#include "log/producers.h"
#include "log/segment.h"

struct epoch_start { /* KIP-101: the first offset written under an epoch */
    int32_t epoch;
    int64_t offset;
};

struct recovery_point { /* what the checkpoint says of a partition */
    int64_t start;
    int64_t stable;   /* open transactions begin here; offset when none */
    int64_t offset;   /* all before it is on disk */
    uint8_t slot;     /* which of the two state files holds */
    int64_t segment;  /* base of the segment that holds offset; -1: none yet */
    int64_t position; /* bytes of that segment before offset */
    int32_t epoch;
    int64_t bytes;     /* of all segments */
    int64_t oldest_ms; /* time stamp that its first segment is kept by; -1: no data */
};

struct checkpoint_partition {
    uuid topic_id;
    int32_t partition;
    struct recovery_point point;
};

struct checkpoint {
    uint64_t round; /* all journal rounds up to it are in the segments, synced */
    int32_t epoch;  /* of the log */
    struct checkpoint_partition *partitions; /* heap */
    size_t count, room;
};

struct partition {
    struct topic *topic;
    int32_t index;
    struct shard *shard;
    pthread_mutex_t lock;
    /* Before lock. The shard's from placing batches until they are written or taken back, and
     * whoever makes counts durable: they never speak of bytes that no file has. */
    pthread_mutex_t writing;
    _Atomic bool opened;              /* segments, epochs and producers are in memory */
    _Atomic bool failed;              /* storage failed: reads up to high only, no appends */
    bool gone;                        /* L deleted or truncated for good */
    int64_t start, end, high, stable; /* L */
    int32_t epoch;                    /* L leader epoch of the next append */
    int64_t bytes;                    /* L */
    struct segment **segments;        /* L ascending; the last one is active */
    size_t segment_count, segment_room;
    struct segment **doomed; /* L trimmed: their files go after the next checkpoint */
    size_t doomed_count, doomed_room;
    struct epoch_start *epochs; /* L ascending */
    size_t epoch_count, epoch_room;
    struct producers *producers;             /* L NULL: none seen */
    struct log_wait *waiters;                /* L */
    int64_t high_position;                   /* L where high is in the segment high_segment */
    int64_t high_segment;                    /* L base; -1: not known */
    int64_t pin;                             /* L the least pinned offset, INT64_MAX: none */
    struct log_append *staged, *staged_last; /* shard: of this turn, linked by next */
    struct partition *staged_next;           /* shard: partitions touched in this turn */
    _Atomic bool dirty;                      /* on the log's list for the next checkpoint */
    struct partition *dirty_next;            /* log->dirty_lock */
    struct recovery_point recovery;          /* L of the last checkpoint */
    bool unsynced;                           /* shard: flush.policy=os wrote to it */
    bool trimmed;                            /* meta: its start has a record of its own */
    bool folder_made;                        /* shard, syncer under L */
    int64_t sync_started;                    /* shard: early writeback reached this position */
    int64_t compacted;                       /* cleaner writes, L: all before it is clean */
    int64_t compact_due_ms;                  /* same: then tombstones may go; 0: none known */
    bool swap_unsettled; /* cleaner, opening: a swap was found that no checkpoint names */
};

#define PARTITION_SWAPPING "swapping" /* file: base of a segment being replaced, decimal */

struct partition *partition_new(struct topic *topic, int32_t index, struct shard *shard);
void partition_free(struct partition *p);
void partition_folder(const struct partition *p, char *out, size_t room);

/* May block; idempotent; any thread. */
MUST_CHECK err partition_open(struct partition *p);
/* Before serving, after an unclean stop: opens, then takes in what was written after the
 * recovery point. Everything before journaled_end must be there. Adds to the log's start
 * figures. */
MUST_CHECK err partition_recover(struct partition *p, int64_t journaled_end);
/* Producer state anew from the state file and the batches after it (a write failed). */
MUST_CHECK err partition_reload_producers(struct partition *p);

/* The segments from the recovery point on, each held, in a heap array: how many. */
size_t partition_hold_tail(struct partition *p, struct recovery_point *point,
                           struct segment ***out);

/* With the partition locked. */
struct segment *partition_segment_at(const struct partition *p, int64_t offset); /* or NULL */
/* Taken off the list already: its files go when a checkpoint does without them. */
void partition_doom(struct partition *p, struct segment *take_segment);
size_t partition_cut_front(struct partition *p); /* segments before start; how many went */
void partition_wake(struct partition *p);        /* waiters whose offset was passed */
void partition_set_high(struct partition *p, int64_t high); /* moves stable too, wakes */
void partition_note_epoch(struct partition *p, int32_t epoch, int64_t offset);
void partition_apply(struct partition *p, const struct batch_info *info, view batch,
                     int64_t base_offset, bool hold, int64_t now_ms); /* producers */

/* On the shard. Appends all that is staged. */
void partition_append_staged(struct partition *p);
MUST_CHECK err partition_roll(struct partition *p); /* a new active segment at end */
MUST_CHECK err partition_truncate(struct partition *p, int64_t offset, bool reset);

/* Moves the start (retention, DeleteRecords), but not past a pin; drops whole segments before
 * it. Any thread. */
void partition_trim(struct partition *p, int64_t start);
/* Deletes folder and files; waiters are woken. May block. */
void partition_destroy(struct partition *p);
int64_t segment_age_stamp(const struct segment *s, int64_t now_ms); /* retention.c */
void partition_fail(struct partition *p, const char *what); /* storage error: words are here */

/* State file (docs/formats.md): segments, epochs, producers as of an offset. Locked. */
void partition_state_write(const struct partition *p, struct writer *out);
MUST_CHECK err partition_state_read(struct partition *p, view bytes);
void partition_add_segment(struct partition *p,
                           struct segment *take_segment); /* seals the last */
void partition_forget(struct partition *p); /* segments, epochs, producers out of memory */

#endif
