/* timers.h - due times of the coordinator's worker: a binary heap of embedded timers. */
#ifndef TIDEMARK_COORD_TIMERS_H
#define TIDEMARK_COORD_TIMERS_H

#include "base/base.h"

struct timer {
    int64_t due_ns;
    size_t place; /* in the heap + 1; 0: not set */
    void (*fire)(struct timer *);
};

struct timers {
    struct timer **heap; /* earliest first */
    size_t count, room;
};

void timer_set(struct timers *timers, struct timer *timer, int64_t due_ns,
               void (*fire)(struct timer *));                 /* also moves one that is set */
void timer_clear(struct timers *timers, struct timer *timer); /* fine when not set */
bool timer_is_set(const struct timer *timer);
int64_t timers_run(struct timers *timers, int64_t now_ns); /* the next due time */
void timers_fini(struct timers *timers);

#endif
