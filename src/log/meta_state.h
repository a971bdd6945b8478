/* meta_state.h - what the meta worker keeps, for the meta_*.c files. */
#ifndef TIDEMARK_LOG_META_STATE_H
#define TIDEMARK_LOG_META_STATE_H

#include "log/inside.h"
#include "log/meta_records.h"

struct pin {
    char *owner;
    uuid id;
    int32_t partition;
    int64_t offset;
    const struct log_change *by; /* not durable yet: the change that sets it; else NULL */
    struct pin *next;
};

struct note {
    char *owner;
    struct writer value;
};

struct meta_state {
    struct log *log;
    struct log_change *queue, *queue_last; /* waiting */
    struct log_change *flying;             /* in the append under way */
    struct log_append append;
    struct buf *bytes;
    struct job durable, close;
    _Atomic bool closing; /* set by the worker's last turn */
    bool late;            /* the flying batch was flushed after that */
    pthread_mutex_t lock; /* pins, notes */
    struct pin *pins;
    struct map notes;
};

struct meta_building { /* the records of one batch of changes */
    struct arena *arena;
    struct record *records;
    size_t count, room;
    int64_t now_ms;
};

/* meta_pins.c. A pin holds from when its change was checked; by is that change, NULL in replay.
 * It takes the place of its owner's older one when it is durable, or goes when it cannot be. */
void meta_pin_add(struct meta_state *m, const struct log_change *by, view owner, uuid id,
                  int32_t partition, int64_t offset);
void meta_pin_settle(struct meta_state *m, const struct log_change *by, bool durable);
/* All of an owner that are durable, or with an id: only that partition's. */
void meta_pins_remove(struct meta_state *m, view owner, const uuid *id, int32_t partition);
void meta_note_set(struct meta_state *m, view owner, view value);
void meta_pins_free(struct meta_state *m);
/* meta_check.c: may c be done, after those before it in its batch? A pin holds from here on. */
MUST_CHECK err meta_check(struct meta_state *m, struct log_change *batch, struct log_change *c);
/* The last change of a kind to the same topic that comes before c in its batch, or NULL: it is
 * accepted, but not applied yet. */
const struct log_change *meta_earlier(struct log_change *batch, const struct log_change *c,
                                      enum log_change_kind kind);
/* meta_build.c */
void meta_build_change(struct meta_state *m, struct meta_building *b, struct log_change *batch,
                       struct log_change *c);

#endif
