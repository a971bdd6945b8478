/* producers_inside.h - the state behind producers.h, for producers*.c alone. */
#ifndef TIDEMARK_LOG_PRODUCERS_INSIDE_H
#define TIDEMARK_LOG_PRODUCERS_INSIDE_H

#include "log/producers.h"

#define NO_TXN (-1)
#define NO_EPOCH (-1)

struct producer_batch {
    int32_t first_sequence, last_sequence;
    int64_t last_offset; /* base: minus the distance of the sequences */
};

struct producer {
    int64_t id;
    struct producer *prev, *next; /* in its list, longest idle first */
    int64_t seen_ms;              /* of the log's clock, when it last wrote */
    int64_t last_timestamp;       /* of its last batch */
    int64_t txn_first;            /* offset, NO_TXN: none open */
    int32_t coordinator_epoch;    /* of its last marker, -1: none */
    int16_t epoch;                /* NO_EPOCH: nothing known */
    uint8_t batch_count;          /* in batches, oldest first */
    struct producer_batch batches[PRODUCER_BATCHES_KEPT];
};

struct producer_list {
    struct producer *head, *tail; /* longest idle, latest */
};

struct open_txn {
    int64_t first_offset, producer_id;
    bool held; /* its marker is written, the stable offset waits for the release */
};

struct producers_abort { /* one aborted transaction */
    int64_t producer_id, first_offset;
    int64_t last_offset; /* its marker */
    int64_t stable; /* first open offset after it: later ones in the list begin at or above */
};

/* Invariants: by_id holds exactly the producers of both lists; one is in busy when txn_first is
 * set, and then open has an entry with its id and that offset; open ascends by first_offset,
 * aborts by last_offset. An entry of open may outlive its producer (evicted): never a hole in
 * the stable offset. */
struct producers {
    int64_t max, expiry_ms;
    struct map by_id;
    struct producer_list idle, busy;
    struct open_txn *open;
    size_t open_count, open_room, held_count;
    size_t orphan_count; /* entries of open, not held, whose producer was evicted */
    struct producers_abort *aborts;
    size_t abort_count, abort_room;
};

struct producer *producer_find(const struct producers *p, int64_t id); /* NULL: unknown */
/* A new one at the tail of its list; makes room first, by forgetting the longest idle. */
struct producer *producer_add(struct producers *p, int64_t id);
/* Moves it to the tail of the list its transaction says. */
void producer_touch(struct producers *p, struct producer *producer, int64_t txn_first);
void producers_open_txn(struct producers *p, int64_t first_offset, int64_t producer_id);
void producers_note_abort(struct producers *p, const struct producers_abort *abort);

#endif
