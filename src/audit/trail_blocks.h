/* trail_blocks.h - a block's blobs: buckets of terms and chunks of places; internal to the
 * trail.
 *
 * Bucket: by rising hash {low 22 bits as varint difference, count varint, positions}, where
 * positions are one u16, or {bytes varint, varint differences}, or from 4096 on a bitmap of
 * 8192 bytes. Chunk: up to 256 places, each field as the zigzag difference to the place
 * before. Both end in the CRC-32C of all before it. Pure functions. */
#ifndef TIDEMARK_AUDIT_TRAIL_BLOCKS_H
#define TIDEMARK_AUDIT_TRAIL_BLOCKS_H

#include "audit/trail_index.h"

#define BUCKET_BITS 10
#define BUCKETS (1 << BUCKET_BITS)
#define CHUNK_PLACES 256
#define CHUNKS (TRAIL_BLOCK_MAX / CHUNK_PLACES)

/* A posting is hash << 16 | position. */
#define POSTING(hash, position) ((uint64_t)(hash) << 16 | (position))

/* By hash, positions in the order they came in; spare holds as many. */
void postings_sort(uint64_t *postings, uint64_t *spare, size_t count);
/* All sorted postings of one bucket: gives how many of them were its. */
size_t bucket_write(const uint64_t *postings, size_t count, uint32_t bucket,
                    struct writer *out);
/* Sets the bits of a hash's positions. */
MUST_CHECK err bucket_find(view blob, uint32_t hash, uint64_t bits[TRAIL_BITS]);
void chunk_write(const struct trail_place *places, size_t count, struct writer *out);
MUST_CHECK err chunk_read(view blob, struct trail_place out[CHUNK_PLACES], size_t *count);

#endif
