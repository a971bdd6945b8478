/* records.h - topics of the door's own: made when missing, appended to, read through; internal.
 *
 * Straight-line calls over the log for threads that may block. */
#ifndef TIDEMARK_AUDIT_RECORDS_H
#define TIDEMARK_AUDIT_RECORDS_H

#include "log/log.h"

/* The topic, held; made with these settings when it is not there. */
MUST_CHECK err records_topic(struct log *log, view name, int32_t partitions,
                             const struct setting *settings, size_t count, struct topic **out);
/* One change of topics, waited for. */
MUST_CHECK err records_change(struct log *log, struct log_change *change);
/* One batch, durable when it returns; *offset of its first record, may be NULL. */
MUST_CHECK err records_append(struct log *log, struct partition *partition,
                              const struct record *records, size_t count, int64_t *offset);

/* Every record of [from, until) that is still there. Zeroed = not open. */
struct records_walk {
    struct log *log;
    struct partition *partition;
    int64_t next, until;
    struct buf *held; /* what walk goes over */
    struct batch_walk walk;
    bool open;
};
/* until -1: what is durable now. A start that is trimmed begins at the log's own. */
void records_walk_init(struct records_walk *walk, struct log *log, struct partition *partition,
                       int64_t from, int64_t until);
/* Views of *out are valid until the next call. */
MUST_CHECK err records_walk_next(struct records_walk *walk, struct record *out, bool *more);
void records_walk_fini(struct records_walk *walk);

#endif
