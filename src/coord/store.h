/* store.h - what the coordinator asks of the log, as a table of calls.
 *
 * store_log.c fills it with the log's; tests with one in memory that can fail, delay and stop.
 * Every structure is the caller's memory until done(), which may come on any thread and may
 * only post. */
#ifndef TIDEMARK_COORD_STORE_H
#define TIDEMARK_COORD_STORE_H

#include "base/base.h"
#include "log/log.h"

enum store_topic { STORE_OFFSETS, STORE_TXNS, STORE_TOPICS };

struct store_append { /* one durable batch on one partition of an internal topic */
    struct job job;   /* the caller's, for its done */
    enum store_topic topic;
    int32_t partition;
    const struct record *records;
    size_t count;
    int64_t producer_id; /* -1: not transactional */
    int16_t producer_epoch;
    void (*done)(struct store_append *);
    bool ok; /* results */
    int64_t base_offset;
    struct log_append append; /* the store's from here on */
    struct store_append *next;
};

enum store_mark_result { STORE_MARK_DONE, STORE_MARK_GONE, STORE_MARK_FAILED };

struct store_mark { /* one end marker on one partition, held back until store.release */
    struct job job; /* the caller's, for its done */
    view topic;
    int32_t partition;
    bool commit, v2;
    int64_t producer_id;
    int16_t producer_epoch;
    void (*done)(struct store_mark *);
    enum store_mark_result result;
    struct topic *held; /* the store's */
    struct log_append append;
};

struct store_ids { /* a block of producer ids that nobody else gets */
    struct job job;
    void (*done)(struct store_ids *);
    bool ok;
    int64_t first, count;
    struct log_change change; /* the store's */
    char text[24];
};

struct store_entry { /* one record or end marker read back */
    enum store_topic topic;
    int32_t partition;
    int64_t offset;
    view key, value; /* key null: a marker */
    view topic_id;   /* header of offset commits: 16 bytes, or null */
    int64_t producer_id;
    int16_t producer_epoch;
    bool transactional;
    bool commit; /* of a marker */
};

struct coord_store {
    int32_t (*partitions)(struct coord_store *, enum store_topic);
    /* Every record of a topic in offset order per partition; may block. */
    err (*read)(struct coord_store *, enum store_topic,
                void (*each)(void *self, const struct store_entry *), void *self);
    void (*append)(struct coord_store *, struct store_append *);
    void (*mark)(struct coord_store *, struct store_mark *);
    /* Shows in one step what the done markers of one producer ended. */
    void (*release)(struct coord_store *, struct store_mark *const *marks, size_t count);
    /* Gives up a mark that was not released; fine when nothing is held. */
    void (*forget)(struct coord_store *, struct store_mark *);
    void (*reserve)(struct coord_store *, struct store_ids *);
    /* The id of a topic that has this partition; false: there is none. */
    bool (*find)(struct coord_store *, view topic, int32_t partition, uuid *id);
    void (*close)(struct coord_store *);
};

#define STORE_ID_HEADER "topic.id" /* of an offset's record; Kafka's readers pass over it */

struct coord_store *store_log_new(struct log *log, int32_t offsets_partitions,
                                  int32_t txn_partitions);
const char *store_topic_name(enum store_topic topic);

#endif
