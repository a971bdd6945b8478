/* trail_index.h - blocks of numbered changes, found by terms; internal to the trail.
 *
 * Changes are numbered from 1. The newest block is in memory; a full one is written to SQLite
 * in one transaction and never changes again, until it turns cold and keeps only its bounds.
 * Per block: 1024 buckets of (hash, positions) and chunks of 256 places, each blob with its
 * CRC-32C. One writer thread adds and writes; searches come from any thread. */
#ifndef TIDEMARK_AUDIT_TRAIL_INDEX_H
#define TIDEMARK_AUDIT_TRAIL_INDEX_H

#include "base/base.h"

#define TRAIL_VERSION 1          /* of the file's form; another one is built anew */
#define TRAIL_BLOCK_MAX 65536    /* changes of a block: positions have 16 bits */
#define TRAIL_BITS (65536 / 64)  /* words of a set of positions */
#define TRAIL_TERMS_LEAST 262144 /* what a block may always hold */

struct trail_place { /* of a change */
    int64_t offset, seq, committed_us;
    uint64_t lsn, commit_lsn;
    uint32_t xid, table; /* table: in the index's own list */
    int32_t partition;
    uint8_t kind;
};

struct trail_position { /* in the ledger: behind `skip` changes of the seal at this offset */
    int64_t ledger, skip;
};

struct trail_block { /* bounds, a copy */
    int64_t id, first;
    uint32_t count;
    int64_t from_us, until_us; /* committed, both inclusive */
    struct trail_position begin, end;
    bool cold;
};

struct trail_table { /* texts live as long as the index */
    view topic, schema, name;
    int64_t counts[6]; /* by enum change_kind */
    int64_t first_us, last_us;
};

struct trail_index;
/* identity: of what is indexed; a file of another one, or a damaged one, is built anew.
 * block_changes: when a block is full at the latest; 0: at TRAIL_BLOCK_MAX. */
MUST_CHECK err trail_index_open(struct os *os, const char *path, view identity,
                                size_t memory_bytes, uint32_t block_changes,
                                struct trail_index **out);
void trail_index_close(struct trail_index *index); /* accepts NULL */
/* Writer: behind the last change added, or the last one that the file has. */
struct trail_position trail_index_end(struct trail_index *index);
int64_t trail_index_changes(struct trail_index *index); /* how many have a number */
uint32_t trail_index_table(struct trail_index *index, view topic, view schema, view name);
/* at: behind this change. True: the block is full and wants trail_index_write. */
bool trail_index_add(struct trail_index *index, const struct trail_place *place,
                     const uint32_t *terms, size_t count, struct trail_position at);
bool trail_index_is_full(struct trail_index *index);
MUST_CHECK err trail_index_write(struct trail_index *index);
/* Blocks whose newest change is older than this turn cold. */
MUST_CHECK err trail_index_cool(struct trail_index *index, int64_t before_us);
MUST_CHECK err trail_index_rebuild(struct trail_index *index); /* from nothing */
bool trail_index_is_damaged(struct trail_index *index);        /* a search found it so */

/* Searches. */
size_t trail_index_blocks(struct trail_index *index, struct trail_block **out); /* heap */
struct trail_need { /* one of these terms */
    uint32_t terms[3];
    size_t count;
};
/* The changes of a block that may be meant. NOT_FOUND: it turned cold meanwhile. */
MUST_CHECK err trail_index_candidates(struct trail_index *index,
                                      const struct trail_block *block,
                                      const struct trail_need *needs, size_t count,
                                      uint64_t bits[TRAIL_BITS]);
/* The places at rising or falling positions. NOT_FOUND as above. */
MUST_CHECK err trail_index_places(struct trail_index *index, const struct trail_block *block,
                                  const uint16_t *positions, size_t count,
                                  struct trail_place *out);
void trail_index_table_get(struct trail_index *index, uint32_t table, struct trail_table *out);
size_t trail_index_tables(struct trail_index *index);
int64_t trail_index_bytes(struct trail_index *index); /* of the file */

#endif
