/* connection.h - one client's socket: frames in, answers out in request order; internal.
 *
 * in:  4 bytes of length, then a frame. Small frames come through the loop's scratch buffer,
 *      many to a receive; a frame that did not come whole gets a buffer of its length, charged
 *      to the pool first, and is received straight into it. An idle connection has no buffer.
 * out: requests form a queue, oldest first. Answers leave from its head only; what is behind a
 *      working request waits. Ranges of log files are read in chunks as the socket takes them
 *      (sender.c), so a slow client costs one chunk and no more.
 *
 * Reading stops (mute) while too many requests or answer bytes wait, while there is no memory
 * for the next frame, for a quota's throttle time, and while the server drains. */
#ifndef TIDEMARK_BROKER_CONNECTION_H
#define TIDEMARK_BROKER_CONNECTION_H

#include <uv.h>

#include "base/base.h"
#include "broker/loop.h"
#include "broker/request.h"

#define ANSWER_BYTES_QUEUED_MAX (1 << 20)    /* of one connection, then it is muted */
#define REQUESTS_BEHIND_PARKED_MAX 4         /* read while the oldest waits for an event */
#define FRAME_WAIT_MS 30000                  /* for the rest of a frame, plus ... */
#define FRAME_BYTES_PER_SECOND_MIN (1 << 16) /* ... its length at this rate */

enum mute { /* why a connection is not read, bits */
            MUTE_BUSY = 1u << 0,
            MUTE_STARVED = 1u << 1,
            MUTE_THROTTLED = 1u << 2,
            MUTE_DRAINS = 1u << 3,
};

struct cold_read; /* sender.c */

struct connection {
    uv_poll_t poll;
    struct loop *loop;
    int fd;
    int events;           /* what poll waits for, enum uv_poll_event */
    unsigned mute;        /* enum mute */
    bool closed;          /* the socket is gone; requests may still be under way */
    bool poll_gone;       /* libuv has let go of it */
    bool hung_up;         /* the peer sends no more */
    bool wants_room;      /* the socket took less than it was given */
    bool dirty;           /* in the loop's list of those with something to send */
    uint8_t head[4];      /* length of the next frame, as far as it came */
    uint8_t head_len;     /* 4: frame is being received */
    struct buf *frame;    /* len bytes of frame_bytes are there; room may be less: starved */
    uint32_t frame_bytes; /* as the head says */
    struct buf *rest;     /* received already, to be cut into frames once it may be read */
    int64_t frame_due_ns; /* a frame that has begun must be whole by then */
    struct request *oldest, *newest;
    uint32_t in_flight;     /* requests in the queue */
    size_t queued_bytes;    /* of answers in the queue, without ranges */
    size_t sent;            /* of the oldest one's answer and ranges */
    struct cold_read *cold; /* under way or holding bytes for the oldest one's next range */
    size_t holders;         /* requests, cold reads and calls that point here */
    struct connection *before, *after; /* all of the loop */
    struct connection *dirty_next, *starved_next;
    int64_t active_ns; /* last byte in or out */
    struct loop_timer throttle;
};

void connection_new(struct loop *loop, int take_fd);
/* Closes the socket; parked requests are told, and the memory goes with the last of them. */
void connection_close(struct connection *c);
/* The same with a log line. */
PRINTF_LIKE(2, 3) void connection_break(struct connection *c, const char *format, ...);
void connection_update(struct connection *c); /* poll for what is needed now */
void connection_drop(struct connection *c);   /* one holder less */
void connection_dirty(struct connection *c);  /* flush it when this turn of the loop ends */
void connection_throttle(struct connection *c, int32_t ms); /* not read for so long */
void connections_flush(struct loop *loop);                  /* all dirty ones */
void connections_sweep(struct loop_timer *timer);           /* idle, stuck, slow ones */
void connections_feed(struct loop_timer *timer);            /* starved ones */
/* No more requests are read; closes each connection to which nothing is owed. */
void connections_drain(struct loop *loop);
void connections_close(struct loop *loop);

/* sender.c: sends what the socket takes. */
void sender_flush(struct connection *c);
void sender_closed(struct connection *c); /* gives up what was being sent */

/* request.c: a whole frame begins its life; takes the frame. */
void request_begin(struct connection *c, struct buf *take_frame);
void request_free(struct request *r); /* out of the queue already */

#endif
