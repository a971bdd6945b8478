/* segment.h - one file of consecutive batches, with its sparse index.
 *
 * Files (docs/formats.md): <20-digit base>.log holds batches back to back; <base>.index holds
 * an entry for about every INDEX_STEP_BYTES: first offset, position and largest timestamp
 * before it. The index is a hint for finding: every look-up ends by reading batch heads.
 *
 * A segment is counted: the partition holds one, every range being sent another. Fields marked
 * L are guarded by the partition's lock; a sealed segment's do not change but by compaction,
 * which makes a new segment object. */
#ifndef TIDEMARK_LOG_SEGMENT_H
#define TIDEMARK_LOG_SEGMENT_H

#include "log/log.h"

#define INDEX_STEP_BYTES 4096
#define INDEX_ENTRY_BYTES 16
#define SEGMENT_BYTES_MAX (4LL << 30) /* positions are 32 bits wide */
#define INDEX_HEAD_BYTES 16           /* magic, version, log bytes it describes */
#define SEGMENT_OFFSETS_MAX INT32_MAX /* relative offsets of one segment */

struct files;

struct index_entry {
    uint32_t offset;       /* of the batch at position, relative to the base */
    uint32_t position;     /* bytes from the start of the .log file */
    int64_t max_timestamp; /* of all batches before position; -1: none */
};

struct segment {
    _Atomic uint32_t holders;
    struct partition *partition;  /* its topic is held while a range is out */
    int64_t base;                 /* first offset it may hold */
    int64_t next;                 /* L one past its last offset */
    int64_t bytes;                /* L of the .log file that count */
    int64_t max_timestamp;        /* L -1: empty */
    int64_t max_timestamp_offset; /* L last offset of the batch that has it */
    int64_t first_ms;             /* L when its first batch was appended; -1: empty */
    struct index_entry *index;    /* L */
    bool index_loaded;            /* L all entries there are; an active segment's always are */
    size_t index_count, index_room, index_saved; /* L saved: entries in the .index file */
    int64_t index_loaded_ms;                     /* L for the cache of sealed indexes */
    int64_t index_next; /* L position from which the next entry is due */
    bool sealed;        /* L no more appends */
    bool deleted;       /* L files are gone once nobody holds it */
    os_file file;       /* the descriptor cache's */
    bool file_touched;  /* the descriptor cache's: used since its last beat */
    int file_users;     /* the descriptor cache's: in use now, not to be closed */
    bool pinned;        /* the descriptor cache's: its name is another's, so never closed */
    struct segment *lru_prev, *lru_next;
};

struct segment *segment_new(struct partition *p, int64_t base);
struct segment *segment_hold(struct segment *s);
void segment_drop(
    struct segment *s); /* accepts NULL; the last one closes and, if deleted, removes */
void segment_path(const struct segment *s, const char *ending, char *out, size_t room);

/* Notes a batch just written at segment->bytes. With the partition locked. */
void segment_note(struct segment *s, const struct batch_info *info, int64_t base_offset,
                  int64_t now_ms);
/* The last entry at or before offset / position; NULL: before the first. Locked, index loaded.
 */
const struct index_entry *segment_floor(const struct segment *s, int64_t offset);
const struct index_entry *segment_floor_position(const struct segment *s, int64_t position);

/* May block: index from its file; a missing, stale or damaged one is rebuilt from the batches.
 */
MUST_CHECK err segment_load_index(struct segment *s);
bool segment_wants_index(const struct segment *s); /* locked: not loaded, and of use */
/* May block: writes entries not saved yet, and the head; sync is the caller's. */
MUST_CHECK err segment_save_index(struct segment *s);
void segment_forget_index(struct segment *s);

/* Reads through the descriptor cache. */
enum os_read_status segment_read(struct segment *s, void *at, size_t len, int64_t position,
                                 bool may_block, size_t *got);
enum os_read_status segment_send(struct segment *s, int socket, size_t len, int64_t position,
                                 size_t *sent); /* os.h: file_send */
MUST_CHECK err segment_write(struct segment *s, const struct iovec *parts, int count,
                             int64_t position);
MUST_CHECK err segment_sync(struct segment *s); /* .log and .index */
/* What a failed write left behind position goes, durably. */
MUST_CHECK err segment_cut(struct segment *s, int64_t position);
void segment_read_ahead(struct segment *s, int64_t position, int64_t len); /* may block */
void segment_sync_start(struct segment *s, int64_t position, int64_t len);

/* The first batch at or after position `from` whose last offset is >= offset: its place and
 * head. found false: none before `to`. */
enum os_read_status segment_locate(struct segment *s, int64_t offset, int64_t from, int64_t to,
                                   bool may_block, int64_t *position, struct batch_info *info,
                                   bool *found);

/* May block: walks batches from position on, CRC checked, offsets ascending; calls each() for
 * every good one; *end is where the first bad or incomplete one begins (or the file's end). */
struct segment_scan {
    struct segment *segment;
    int64_t position;   /* in: start; out: end of the good part */
    int64_t next;       /* in: least offset expected; out: one past the last */
    int32_t epoch;      /* in, out: epochs may not fall */
    int64_t file_bytes; /* out: size of the file */
    err (*each)(void *self, const struct batch_info *info, view batch, int64_t position);
    void *self;
    enum batch_fault fault; /* out: why it stopped before the end; BATCH_FINE: at the end */
};
MUST_CHECK err segment_scan(struct segment_scan *scan);

/* Descriptor cache: at most limit segments open, least recently used closed first. */
struct files *files_new(struct os *os, int64_t limit);
void files_free(struct files *files);
/* Opens when needed (may block); OS_FILE_NONE with !may_block when not open already. */
MUST_CHECK err files_use(struct files *files, struct segment *s, bool create, bool may_block,
                         os_file *out);
void files_done(struct files *files, struct segment *s);
void files_forget(struct files *files, struct segment *s); /* closes; nobody uses it */
/* While the file's name is not the segment's own, only its open descriptor leads to it: pin
 * opens it for that, adopt takes over one that is open already. */
MUST_CHECK err files_pin(struct files *files, struct segment *s);
void files_adopt(struct files *files, struct segment *s, os_file take_file);
void files_unpin(struct files *files, struct segment *s);
bool files_is_pinned(struct files *files, const struct segment *s);
int64_t files_open_count(struct files *files);
/* A beat: closes what was not used since the last one, but keeps so many. */
void files_shrink(struct files *files, int64_t keep);

#endif
