/* trail_index_inside.h - the index's own struct, and its file; internal to trail_index.c and
 * trail_file.c. */
#ifndef TIDEMARK_AUDIT_TRAIL_INDEX_INSIDE_H
#define TIDEMARK_AUDIT_TRAIL_INDEX_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "audit/sqlite.h"
#include "audit/trail_index.h"

#define CHAIN_BITS 18
#define NEWEST_CHAINS ((size_t)1 << CHAIN_BITS)

struct newest { /* the block that is not in the file yet */
    struct trail_block is;
    struct trail_place *places;
    uint64_t *postings;
    uint32_t *links; /* of each posting: the one before in its chain, counted from 1 */
    uint32_t *heads; /* NEWEST_CHAINS of them, by the upper bits of the hash */
    size_t place_room, posting_count, posting_room, link_room;
};

struct trail_index {
    struct os *os;
    char *path, *identity;
    size_t memory_bytes, terms_max;
    uint32_t block_max;
    pthread_mutex_t lock; /* newest, blocks, tables */
    struct newest newest;
    struct trail_block *blocks;
    size_t block_count, block_room;
    struct trail_table **tables;
    size_t table_count, table_room;
    struct arena texts;
    struct sqlite *writer;
    pthread_mutex_t read_lock; /* reader and its statements */
    struct sqlite *reader;
    struct sqlite_statement *find_bucket, *find_chunk;
    _Atomic bool damaged;
};

/* Called by the writer. Opening loads blocks and tables; a file of another kind is CORRUPT. */
MUST_CHECK err trail_file_open(struct trail_index *index);
void trail_file_close(struct trail_index *index);
MUST_CHECK err trail_file_remove(struct trail_index *index);
MUST_CHECK err trail_file_write(struct trail_index *index); /* the newest block */
MUST_CHECK err trail_file_cool(struct trail_index *index, int64_t id);
/* A table more in the index's list. */
struct trail_table *trail_file_table(struct trail_index *index, view topic, view schema_name,
                                     view name);

#endif
