/* journal.h - durable writes to the coordinator's own topics, grouped.
 *
 * Each partition has one flush under way; what is submitted meanwhile goes into the next, as
 * one batch. Writes of one partition are made, and answered, in the order of their submission.
 */
#ifndef TIDEMARK_COORD_JOURNAL_H
#define TIDEMARK_COORD_JOURNAL_H

#include "coord/store.h"

struct coord;
struct journal;

struct journal_write { /* the caller's memory until done */
    const struct record *records;
    size_t count;
    int64_t producer_id; /* of a transaction's offsets, else -1 */
    int16_t producer_epoch;
    void (*done)(struct journal_write *); /* on the coordinator's thread */
    bool ok;                              /* results */
    int64_t base_offset;                  /* of the first of these records */
    struct journal_write *next;           /* the journal's */
};

void journal_submit(struct coord *coord, enum store_topic topic, view key,
                    struct journal_write *write); /* the key chooses the partition */
int32_t journal_partition(const struct coord *coord, enum store_topic topic, view key);
void journals_init(struct coord *coord);
void journals_fini(struct coord *coord);

/* |Java's String.hashCode| of UTF-8 text mod count: where Kafka's tools look for a key. */
int32_t java_partition(view text, int32_t count);

#endif
