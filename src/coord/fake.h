/* fake.h - for tests: a store in memory with its own clock, that answers when told, and fails
 * when told. Nothing of it is in the program. */
#ifndef TIDEMARK_COORD_FAKE_H
#define TIDEMARK_COORD_FAKE_H

#include "coord/state.h"

struct fake_topic {
    const char *name;
    int32_t partitions;
    uuid id;
};

struct fake_record { /* as it would be in the log */
    enum store_topic topic;
    int32_t partition;
    int64_t offset;
    view key, value, topic_id; /* in the fake's arena */
    int64_t producer_id;
    int16_t producer_epoch;
    bool marker, commit;
};

struct fake_mark { /* a marker that reached a partition */
    char *topic;
    int32_t partition;
    bool commit, released;
    int64_t producer_id;
    int16_t epoch;
};

struct fake {
    struct coord_store store; /* first */
    struct os os;
    int64_t tick_ns, epoch_ms; /* the clock */
    uint64_t seed;
    struct coord *coord;
    struct fake_topic topics[8];
    size_t topic_count;
    struct fake_record *records; /* all that is durable, oldest first */
    size_t record_count, record_room;
    struct fake_mark *marks;
    size_t mark_count, mark_room;
    int64_t ends[STORE_TOPICS][64];
    int64_t next_id;
    struct arena arena;
    int fail_appends, fail_marks; /* how many of the next ones fail */
    bool hold_back;               /* appends wait for fake_let_go */
    struct store_append *waiting[256];
    size_t waiting_count;
    size_t appends; /* batches so far */
};

struct fake *fake_new(void); /* topics "in" and "out" of 4 partitions */
void fake_free(struct fake *f);
void fake_open(struct fake *f, const struct coord_config *config);
void fake_crash(struct fake *f);            /* the coordinator is gone; its memory leaks not */
void fake_run(struct fake *f);              /* turns until there is no mail */
void fake_pass(struct fake *f, int64_t ms); /* time goes on in steps, timers fire */
void fake_let_go(struct fake *f);           /* what was held back becomes durable */

#endif
