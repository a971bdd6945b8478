/* ledger.h - a source's ledger: what was captured, from where to where, sealed in a chain.
 *
 * Internal topic __ledger.<source>, one partition, kept for ever; JSON values, by "kind":
 *   table  a relation's description under a version (envelopes name it)
 *   seal   transactions with from < commit's end <= to are whole in the topics: per partition
 *          the offsets [from, to) and the SHA-256 of those batches; the SHA-256 of the ledger's
 *          own records since the seal before; that seal's hash; and this seal's own over all
 *          of its record before it
 *   gap    from..to was not captured, and why (a lost slot, accepted by a person)
 *   note   begun, paused, resumed, snapshot begun and done: what a reader must know. "begin"
 *          says in "lsn" where the first seal starts, "system" which database this is
 * Seals are contiguous: each begins where the one before ended, in WAL and in every partition;
 * one with from = to holds rows of a snapshot, which are no part of the WAL.
 * Whoever reads changes in the order of commits reads seal by seal (trail.c does).
 * Any thread may call anything; seals come from one, the capture's. */
#ifndef TIDEMARK_AUDIT_LEDGER_H
#define TIDEMARK_AUDIT_LEDGER_H

#include "audit/change.h"
#include "log/log.h"

#define SEAL_HASH_BYTES 32

struct seal_range { /* of one partition of one topic */
    view topic;
    int32_t partition;
    int64_t from, to;              /* offsets */
    uint8_t hash[SEAL_HASH_BYTES]; /* of its batches: seal_digest */
};

struct seal {
    int64_t number; /* from 1 */
    uint64_t from, to;
    int64_t at_ms, changes, transactions;
    uint8_t previous[SEAL_HASH_BYTES], hash[SEAL_HASH_BYTES];
    const struct seal_range *ranges;
    size_t range_count;
};

struct ledger;
/* May block: makes the topic, or reads it back. */
MUST_CHECK err ledger_open(struct log *log, view source, struct ledger **out);
void ledger_close(struct ledger *ledger);

/* The relation of a version: borrowed, lives as long as the ledger; NULL: none such. */
struct relation *ledger_relation(struct ledger *ledger, uint32_t version);
/* The newest description of a table; held. NULL: never seen. */
struct relation *ledger_table(struct ledger *ledger, view schema, view name);
size_t ledger_tables(struct ledger *ledger, struct relation ***out); /* newest of each, held */

/* May block until durable. A seal that does not go on where the last one ended: INVALID. */
MUST_CHECK err ledger_describe(struct ledger *ledger, const struct relation *relation,
                               struct relation **recorded); /* borrowed, with its version */
MUST_CHECK err ledger_seal(struct ledger *ledger, struct seal *seal); /* fills number, hashes */
MUST_CHECK err ledger_gap(struct ledger *ledger, uint64_t from, uint64_t to, const char *why);
MUST_CHECK err ledger_note(struct ledger *ledger, const char *kind, view json);

/* What the writer goes on from. */
struct ledger_end {
    uint64_t to; /* last seal's, or gap's, or where the ledger begins; 0: nowhere yet */
    int64_t seals;
    uint8_t hash[SEAL_HASH_BYTES];
    char system_id[24]; /* of the note "system"; "": none yet */
    int32_t timeline;
};
void ledger_end(struct ledger *ledger, struct ledger_end *out);
/* A snapshot that was begun and is not done: notes "snapshot", "chunk"..., "snapshot done". */
struct ledger_snapshot {
    view about;   /* of the note "snapshot": JSON; null: none under way */
    view *chunks; /* of the notes "chunk" */
    size_t count;
};
void ledger_snapshot(struct ledger *ledger, struct arena *arena, struct ledger_snapshot *out);
/* What was not captured, oldest first; heap. */
struct ledger_gap_span {
    uint64_t from, to;
    uint64_t healed; /* from here on a snapshot of all tables made up for it; 0: not yet */
};
size_t ledger_gaps(struct ledger *ledger, struct ledger_gap_span **out);
/* Where a partition's next seal begins; 0 when it was never sealed. */
int64_t ledger_sealed(struct ledger *ledger, view topic, int32_t partition);

/* One entry after another from an offset of the ledger's own topic. Views live in the walk. */
enum ledger_kind { LEDGER_TABLE, LEDGER_SEAL, LEDGER_GAP, LEDGER_NOTE };
struct ledger_entry {
    enum ledger_kind kind;
    int64_t offset, at_ms;
    struct seal seal;  /* SEAL */
    uint64_t from, to; /* GAP */
    view words;        /* GAP: why; NOTE: its kind */
    view json;         /* the whole record */
};
struct ledger_walk;
struct ledger_walk *ledger_walk_new(struct ledger *ledger, int64_t offset);
/* *more false at the end of what is durable. wait_ms: how long to wait for one; 0: not. */
MUST_CHECK err ledger_walk_next(struct ledger_walk *walk, int64_t wait_ms,
                                struct ledger_entry *out, bool *more);
void ledger_walk_free(struct ledger_walk *walk);

/* The digest of a stretch of a partition, as seals have it: its batches in order as they are
 * stored, but for base offset and leader epoch, which are the log's to set. */
struct seal_digest;
struct seal_digest *seal_digest_new(void);
void seal_digest_add(struct seal_digest *digest, view batch);
void seal_digest_end(struct seal_digest *digest, uint8_t out[SEAL_HASH_BYTES]);
void seal_digest_free(struct seal_digest *digest); /* accepts NULL; end starts it anew */

/* Proves the trail from the log alone: chain, contiguity, every record of every range. The
 * first broken place is in the words of ERR_CORRUPT. progress may be NULL. May block. */
struct ledger_proof {
    int64_t seals, changes, records, gaps;
    uint64_t from, to;       /* WAL covered */
    int64_t trimmed_records; /* gone by retention: their seals stand, their bytes do not */
};
MUST_CHECK err ledger_prove(struct ledger *ledger,
                            void (*progress)(void *self, int64_t done, int64_t all), void *self,
                            struct ledger_proof *out);

#endif
