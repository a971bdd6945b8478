/* offsets.h - how far each group has read; a part of coord.h.
 *
 * A commit is answered once it is durable in __consumer_offsets. Offsets belong to a topic by
 * its id: one that was deleted and made anew starts without. They are forgotten some time
 * (coord_config.offsets_retention_ms) after the group became empty. */
#ifndef TIDEMARK_COORD_OFFSETS_H
#define TIDEMARK_COORD_OFFSETS_H

#include "coord/ask.h"

struct coord_offset {
    view topic;
    int32_t partition;
    int64_t offset;       /* -1: none */
    int32_t leader_epoch; /* -1: not known */
    view metadata;        /* null view: none */
    enum coord_status status;
};

/* A member commits with its member id and generation; a client that assigns partitions to
 * itself with an empty member id and generation -1, which a group without members accepts. */
struct coord_commit {
    struct coord_ask ask;
    view group, member, instance;
    int32_t generation;
    struct coord_offset *offsets; /* their status is the answer */
    size_t offset_count;
};

struct coord_fetch_group {
    view group;
    bool all;                     /* every offset of the group: offsets is the answer, in the
                                     arena, by topic and partition */
    struct coord_offset *offsets; /* question: topic and partition; answer: the rest */
    size_t offset_count;
    enum coord_status status;
};

struct coord_fetch {
    struct coord_ask ask;
    struct coord_fetch_group *groups;
    size_t group_count;
    bool require_stable; /* UNSTABLE_OFFSETS instead of what a transaction may replace */
};

struct coord_delete_offsets {
    struct coord_ask ask;
    view group;
    struct coord_offset *offsets; /* topic and partition; their status is the answer */
    size_t offset_count;
};

void coord_commit(struct coord *coord, struct coord_commit *commit);
void coord_fetch(struct coord *coord, struct coord_fetch *fetch);
void coord_delete_offsets(struct coord *coord, struct coord_delete_offsets *offsets);

#endif
