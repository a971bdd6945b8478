/* offsets_state.h - committed offsets, and those that wait for their transaction, as the
 * coordinator keeps them. */
#ifndef TIDEMARK_COORD_OFFSETS_STATE_H
#define TIDEMARK_COORD_OFFSETS_STATE_H

#include "coord/groups.h"
#include "coord/records.h"

struct offset { /* of one partition in one group */
    uuid topic_id;
    int64_t offset;    /* -1: only held ones yet */
    int64_t record_at; /* where its record is: the newer record wins over a held one */
    int64_t commit_ms;
    int32_t leader_epoch;
    int32_t partition;
    uint32_t holds; /* transactions under way over it */
    uint32_t topic_bytes;
    struct blob metadata;
    uint8_t key[]; /* topic, then the partition */
};

struct held { /* one offset of a transaction under way */
    struct group *group;
    struct offset *target;
    struct offset_value value;
    struct blob metadata;
    int64_t record_at;
};

struct hold { /* all of one producer's */
    int64_t producer_id;
    struct held *held;
    size_t count, room;
};

view offset_topic(const struct offset *o);
struct offset *offset_find(const struct group *g, view topic, int32_t partition);
struct offset *offset_make(struct group *g, view topic, int32_t partition);
void offset_set(struct offset *o, const struct offset_value *value, int64_t record_at);
void offset_forget(struct group *g, struct offset *o); /* asserts no holds */

void hold_add(struct coord *c, int64_t producer_id, struct group *g, struct offset *target,
              const struct offset_value *value, int64_t record_at);
/* A marker for one partition of the offsets topic: its held offsets count, or are forgotten. */
void hold_end(struct coord *c, int64_t producer_id, int32_t partition, bool commit);
void hold_free(struct hold *h); /* at close */

/* Asks that commit, inside and outside of transactions, once checked: makes them durable and
 * answers. producer_id -1: outside. before_answer runs on the coordinator's thread. */
void offsets_write(struct coord *c, struct coord_ask *ask, view group,
                   struct coord_offset *offsets, size_t count, int64_t producer_id,
                   int16_t producer_epoch, void (*before_answer)(struct coord_ask *));
enum coord_status offsets_check(struct coord *c, view group, view member, view instance,
                                int32_t generation, bool in_txn);
void offsets_refuse(struct coord_offset *offsets, size_t count, enum coord_status status);
void offsets_expire(
    struct coord *c); /* the beat: offsets and empty groups that had their time */

#endif
