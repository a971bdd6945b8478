/* offset_topics.h - the Topics field of requests about committed offsets, and of their answers,
 * which have one shape; internal to the broker.
 *
 * The coordinator wants one array of offsets by topic name; newer requests name topics by id.
 * Those of ids that nobody has stay out of the array. */
#ifndef TIDEMARK_BROKER_OFFSET_TOPICS_H
#define TIDEMARK_BROKER_OFFSET_TOPICS_H

#include "broker/request.h"
#include "coord/coord.h"

struct offset_topic {
    view name;
    uuid id;
    bool unknown;                 /* no topic has the id */
    struct coord_offset *offsets; /* as read; once gathered, part of the array */
    size_t count;
};

struct offset_topics {
    struct offset_topic *topics;
    size_t count;
    bool by_id;
};

/* Reads the array; each() reads what follows a partition's index, tags included. */
void offset_topics_read(struct request *r, struct offset_topics *topics, bool by_id,
                        size_t partition_bytes,
                        void (*each)(struct request *r, struct coord_offset *offset));
/* The one array, in the arena. */
struct coord_offset *offset_topics_gather(struct request *r, struct offset_topics *topics,
                                          size_t *count);
/* The Topics field of the answer: each partition with its error. */
void offset_topics_write(struct request *r, const struct offset_topics *topics,
                         int16_t (*error)(const struct request *r, enum coord_status status));
/* A topic's name by its id, in the arena; a null view when there is none. */
view topic_name_of(struct request *r, uuid id);

#endif
