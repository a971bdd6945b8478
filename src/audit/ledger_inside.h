/* ledger_inside.h - the ledger's struct, and its records as JSON; internal to ledger*.c.
 *
 * State is a fold over the topic: opening, following and writing all go through
 * ledger_apply(), so that a restart knows what the writer knew.
 * Locks: writer is held over one append and its fold; lock over the state alone, inside. */
#ifndef TIDEMARK_AUDIT_LEDGER_INSIDE_H
#define TIDEMARK_AUDIT_LEDGER_INSIDE_H

#include <pthread.h>

#include "audit/ledger.h"

#define LEDGER_TOPIC_PREFIX "__ledger."
#define SEAL_HEX_BYTES (2 * SEAL_HASH_BYTES + 1)

struct ledger_table_slot { /* the newest description of a table */
    char *name;            /* schema, a NUL, table: the map's key */
    size_t name_len;
    struct relation *relation; /* held by its version */
};

struct ledger_place { /* how far a partition is sealed */
    char *key;        /* topic, a NUL, the partition's four bytes */
    size_t key_len;
    int64_t offset;
};

struct ledger {
    struct log *log;
    char *source;
    struct topic *topic; /* held */
    struct partition *partition;
    pthread_mutex_t writer;
    struct seal_digest *between; /* of the records since the last seal; the writer's */
    pthread_mutex_t lock;
    struct relation **versions; /* [version - 1]; held */
    size_t version_count, version_room;
    struct map tables; /* struct ledger_table_slot */
    struct map places; /* struct ledger_place */
    struct ledger_end end;
    struct ledger_snapshot snapshot; /* texts in snapshot_arena */
    size_t snapshot_room;
    struct ledger_gap_span *gaps;
    size_t gap_count, gap_room;
    struct arena snapshot_arena;
};

/* An entry as it stands in a record. *table and the arrays are the arena's or, *table, new and
 * the caller's; NULL: it is none. */
MUST_CHECK err ledger_entry_read(struct arena *arena, const struct record *record,
                                 struct ledger_entry *out, struct relation **table);
/* A seal's record, its own hash computed from the rest; between: of the ledger's records. */
void ledger_seal_write(struct seal *seal, const uint8_t between[SEAL_HASH_BYTES],
                       struct writer *out);
/* What a seal's record says of the records between, and the hash that it comes to. */
MUST_CHECK err ledger_seal_check(view json, uint8_t between[SEAL_HASH_BYTES],
                                 uint8_t hash[SEAL_HASH_BYTES]);
/* A record of the ledger itself, whole, into the digest of what is between two seals. */
void ledger_between_add(struct seal_digest *digest, view record);
void seal_digest_peek(struct seal_digest *digest, uint8_t out[SEAL_HASH_BYTES]); /* goes on */
void hex_of(const uint8_t *bytes, size_t count, char *out); /* with its NUL */
void sha256_of(view bytes, uint8_t out[SEAL_HASH_BYTES]);

#endif
