/* loop.h - a net thread: libuv, a mailbox, timers; internal to the broker.
 *
 * Each loop owns its connections and their requests; nothing of it may be touched from another
 * thread but loop_post. Wake-ups are shared: posts into a mailbox that was not empty cost one
 * exchange. */
#ifndef TIDEMARK_BROKER_LOOP_H
#define TIDEMARK_BROKER_LOOP_H

#include <pthread.h>
#include <uv.h>

#include "base/base.h"

#define LOOP_SCRATCH_BYTES                                                                     \
    (128u << 10)                      /* one receive brings at most this many small frames     \
                                       */
#define LOOP_CHUNK_BYTES (256u << 10) /* of log ranges read for one send */

struct broker;
struct connection;

/* One-shot; the owner's memory, which may be freed once the timer is not queued. */
struct loop_timer {
    int64_t due_ns;
    size_t place; /* in the heap, counted from 1; 0: not queued */
    void (*ring)(struct loop_timer *timer);
};

struct loop_timers { /* binary heap by due_ns */
    struct loop_timer **heap;
    size_t count, room;
};

struct loop_counts { /* written by the loop, read by metrics */
    _Atomic int64_t requests, bytes_in, bytes_out;
    _Atomic int64_t opened, closed, refused, broken; /* connections; broken: closed by us */
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t clock; /* runs while timers wait */
    int64_t clock_ns; /* when it rings; INT64_MAX: not running */
    struct mailbox box;
    struct loop_timers timers;
    struct broker *broker;
    pthread_t thread;
    int index;
    uint8_t *scratch, *chunk;
    uv_check_t turned;                         /* after each turn: flush */
    struct connection *all;                    /* connections */
    struct connection *dirty;                  /* have something to send */
    struct connection *starved, *starved_last; /* waiting for frame memory, oldest first */
    struct loop_timer sweep, feed;             /* idle connections, starved ones */
    struct loop_timer limit;                   /* of draining */
    struct loop_timer trim;                    /* loop 0: gives memory back */
    int64_t trimmed_at;                        /* bytes received until then */
    size_t connections, requests;              /* alive */
    bool drains;                               /* no more requests are read */
    bool ends;
    int64_t complain_second; /* closed connections logged in this second ... */
    int complained;          /* ... so many times */
    struct loop_counts counts;
    struct meter *meters; /* by row of apis[] */
};

MUST_CHECK err loop_start(struct loop *loop, struct broker *broker, int index);
void loop_post(struct loop *loop, struct job *job); /* any thread */
/* On the loop, when a connection or request is gone: a draining loop ends with its last one. */
void loop_settle(struct loop *loop);
void loop_join(struct loop *loop); /* waits for that end */
int64_t loop_now_ns(const struct loop *loop);
void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t due_ns); /* moves it */
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);
/* May one more line about a bad client be logged? A hostile crowd must not fill the disk. */
bool loop_may_complain(struct loop *loop);

#endif
