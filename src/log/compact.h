/* compact.h - compaction apart from files: which records stay, and what batches become.
 *
 * Pass 1 learns the newest offset of each key, pass 2 rewrites batches. Per key the newest
 * record stays; one without value (a tombstone) goes too, delete.retention.ms after its batch
 * was first rewritten: that moment, the delete horizon, is stamped into the batch (KIP-534).
 * Records of aborted transactions go; a marker goes by the same horizon once no data of its
 * transaction is left. Batches keep their first and last offset, and stay as empty ones where
 * they hold a producer's newest sequence (KIP-98). Offsets never change.
 *
 * One thread. Life: init, begin, learn..., begin, rewrite..., fini. */
#ifndef TIDEMARK_LOG_COMPACT_H
#define TIDEMARK_LOG_COMPACT_H

#include "log/producers.h"

/* Newest offset by key, in bounded memory: keys as 16 bytes of their SHA-256, so that nobody
 * can make two keys meet. */
struct offset_map {
    struct offset_slot *slots;
    size_t room, count, count_max;
    struct evp_md_st *kind;
    struct evp_md_ctx_st *context;
};

/* As large as records need, at most memory_bytes. */
void offset_map_init(struct offset_map *m, int64_t memory_bytes, int64_t records);
bool offset_map_put(struct offset_map *m, view key, int64_t offset); /* false: it is full */
int64_t offset_map_get(struct offset_map *m, view key);              /* -1: unknown */
void offset_map_fini(struct offset_map *m);

struct compact_rules {
    int64_t memory_bytes; /* of the offset map */
    int64_t records;      /* at most so many are learned */
    int64_t now_ms;
    int64_t delete_retention_ms;
    int64_t keep_offset; /* the batch that ends here stays, if need be empty; -1: none */
    const struct producer_last *producers; /* borrowed, by id */
    size_t producer_count;
};

struct compactor {
    struct compact_rules rules;
    struct offset_map newest;
    int64_t latest;             /* last offset learned; what follows stays */
    struct log_aborted *aborts; /* of this pass, by first offset */
    size_t abort_count, abort_next;
    struct map txns; /* by producer id: open at this point of the pass */
    struct writer inflated, records, packed;
    int64_t horizon_ms;        /* the earliest of what was written, INT64_MAX: none */
    bool changed;              /* something was written otherwise than it was read */
    struct log_aborted *ended; /* aborted transactions whose marker went */
    size_t ended_count, ended_room;
    int64_t records_in, records_out;
};

void compactor_init(struct compactor *c, const struct compact_rules *rules);
void compactor_fini(struct compactor *c);
/* A pass begins; aborts overlap what it reads. */
void compactor_begin(struct compactor *c, struct log_aborted *take_aborts, size_t count);
/* Stops with *full before the first key that has no room. */
MUST_CHECK err compactor_learn(struct compactor *c, const struct batch_info *info, view batch,
                               bool *full);
/* Appends what the batch becomes to out: itself, a smaller one, or nothing. */
MUST_CHECK err compactor_rewrite(struct compactor *c, const struct batch_info *info, view batch,
                                 struct writer *out);

#endif
