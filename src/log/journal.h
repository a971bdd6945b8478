/* journal.h - the shared write-ahead ring that makes a round of appends durable with one flush.
 *
 * JOURNAL_FILES files, preallocated and written before, used in turn. A round is one block: a
 * head {magic, version, round number, bytes, entries, crc} and the batches with where they
 * belong, padded to 4096 bytes, written by O_DIRECT and one fdatasync. A file is reused once
 * the checkpoint covers its last round; the ring starts small and grows when the flusher had to
 * wait. The round number under the CRC tells old blocks from new in a recycled file.
 * docs/formats.md has the bytes. */
#ifndef TIDEMARK_LOG_JOURNAL_H
#define TIDEMARK_LOG_JOURNAL_H

#include "log/log.h"

#define JOURNAL_FILES 4
#define JOURNAL_FILE_BYTES_MIN (1 << 20) /* written before the first start is ready */
#define JOURNAL_ALIGN 4096
#define JOURNAL_HEAD_BYTES 40
#define JOURNAL_ENTRY_BYTES 56

struct journal;

struct journal_entry {
    uuid topic_id;
    int32_t partition, epoch;
    int64_t base_offset, segment, position;
    int64_t end; /* one past the batch's last offset */
    view batch;
};

/* May block. Opens or makes the files; first_round: the number of the next block. */
MUST_CHECK err journal_open(struct os *os, const char *folder, int64_t bytes_max,
                            uint64_t first_round, struct journal **out);
void journal_close(struct journal *j);

/* The flusher: begin, add while it says yes, commit. */
void journal_begin(struct journal *j);
void journal_add(struct journal *j, const struct journal_entry *entry);
size_t journal_round_bytes(const struct journal *j);
bool journal_has_room(const struct journal *j); /* false: commit before adding more */
bool journal_is_full(struct journal *j);        /* the next file still waits for a checkpoint */
/* Writes and syncs the round. Waits (blocked, up to free() by the syncer) when the ring is
 * full: then *full is true, nothing was written, ask for a checkpoint and try again. */
MUST_CHECK err journal_commit(struct journal *j, uint64_t *round, bool *full);
/* True when a file was finished since asked last: time for a checkpoint. */
bool journal_wants_checkpoint(struct journal *j);
/* The syncer: rounds up to round need no journal any more. turns_fast: the ring should grow. */
MUST_CHECK err journal_release(struct journal *j, uint64_t round, bool turns_fast);

/* Recovery: all blocks in round order, from the first after `after` until CRC or numbering
 * breaks. *last: the last good round (or after). */
MUST_CHECK err journal_replay(struct os *os, const char *folder, uint64_t after,
                              err (*each)(void *self, const struct journal_entry *entry),
                              void *self, uint64_t *last, int64_t *bytes_read);

/* A block's own parts, for replay: false where it is none. */
bool journal_head_read(view head, uint64_t *round, uint32_t *bytes);
bool journal_block_good(view block);

#endif
