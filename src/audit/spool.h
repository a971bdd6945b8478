/* spool.h - messages of transactions that wait: in memory, past a limit in files; internal.
 *
 * One struct spools a connection, one struct spool a transaction: records are added in order
 * and walked in that order, any number of times. When all that is in memory is more than the
 * limit, the spool that has most of it writes its part behind its file. One thread. */
#ifndef TIDEMARK_AUDIT_SPOOL_H
#define TIDEMARK_AUDIT_SPOOL_H

#include "base/base.h"

struct spools {
    struct os *os;
    char *folder;
    size_t memory_most, memory_bytes; /* of all spools */
    int64_t file_bytes;               /* of all spools */
    uint64_t files;                   /* ever made: the next one's name */
    struct spool *first;
};
/* Makes the folder, and empties it: what an earlier process left there is of no use. */
MUST_CHECK err spools_init(struct spools *spools, struct os *os, const char *folder,
                           size_t memory_most);
void spools_fini(struct spools *spools); /* all spools are closed already */

struct spool_record {
    uint32_t xid;
    uint64_t wal;
    view message;
};

struct spool {
    struct spools *owner;
    struct spool *next, *previous;
    struct spool_chunk *oldest, *newest; /* in memory, behind all that is in the file */
    size_t memory_bytes;
    os_file file;
    char *path; /* NULL: no file */
    int64_t file_bytes;
    int64_t records;
};
void spool_open(struct spools *spools, struct spool *spool);
void spool_reset(struct spool *spool); /* empty again, keeps a little memory */
void spool_close(struct spool *spool);
/* The record's message is copied. No walk of the same spool may be under way. */
MUST_CHECK err spool_add(struct spool *spool, const struct spool_record *record);

/* Zeroed but for the spool = at its start. What next gives is valid until the next call. */
struct spool_walk {
    struct spool *spool;
    struct writer window; /* of the file */
    size_t used;          /* of the window */
    int64_t position;     /* in the file, behind the window */
    struct spool_chunk *chunk;
    size_t chunk_used;
    bool in_memory;
};
MUST_CHECK err spool_next(struct spool_walk *walk, struct spool_record *out, bool *more);
void spool_walk_fini(struct spool_walk *walk);

#endif
