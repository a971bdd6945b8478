/* request.h - one request of a client, from its frame to its answer; what every api_*.c sees.
 *
 *   frame in -> read (decode) -> handle ... -> request_reply -> answer out, in request order
 *
 * read() turns r->body into a struct in r->arena, kept in r->ask, and does nothing else: it is
 * what the fuzzer drives. Where it sets r->body.bad the connection is closed and handle() does
 * not run. handle() runs on the loop thread that owns the connection and never blocks. It ends
 * the request at once or lets others work first; a request ends with exactly one of
 * request_reply, request_silent and request_close, always on its loop thread, and is gone then.
 * Until that moment it stays valid even when its client has left: the answer is dropped.
 *
 * To come back from another thread: request_post(r, next) there, once for every return (count
 * down first when several threads report). A frame's bytes live as long as the request; holding
 * r->frame keeps them longer (record batches on their way into the log). */
#ifndef TIDEMARK_BROKER_REQUEST_H
#define TIDEMARK_BROKER_REQUEST_H

#include "base/base.h"
#include "broker/errors.h"
#include "broker/wire.h"
#include "log/log.h"

struct broker_config;
struct connection;
struct coord;
struct loop;
struct quotas;
struct request;

#define NODE_ID 1 /* of the one node: broker and controller; replicas and leaders name it */
#define REPLICATION_FACTOR 1
#define ASK_BYTES_MAX (32u << 20) /* of arrays decoded from one request */

/* Bits of the *AuthorizedOperations fields while there is no authorization: all that apply. */
#define OPERATIONS_NOT_ASKED INT32_MIN
#define OPERATIONS_TOPIC 0xdf8
#define OPERATIONS_CLUSTER 0x1fa0
#define OPERATIONS_GROUP 0x148

/* One row per API. The row IS the advertised version range. */
struct api {
    int16_t key, oldest, newest;
    int16_t flexible_from; /* INT16_MAX: never */
    const char *name;
    void (*read)(struct request *r);
    void (*handle)(struct request *r);
};

extern const struct api apis[]; /* by rising key; apis.c */
extern const size_t api_count;
const struct api *api_find(int16_t key); /* NULL: not one of ours */

struct broker { /* what handlers work with; filled at broker_open, constant afterwards */
    struct os *os;
    struct log *log;
    struct coord *coord;
    struct quotas *quotas; /* bytes per second and client */
    const struct broker_config *config;
    const char *host; /* where clients are told to connect */
    int32_t port;
    char cluster_id[UUID_TEXT_BYTES];
    struct listener *listener;
    struct pool frames;       /* memory of frames being received or worked on */
    struct pool pieces;       /* of frames that wait for room */
    struct pool large_frames; /* of those past half of it, so that each can pass */
    struct loop *loops;
    int loop_count;
};

struct answer_range { /* bytes of a log that go out after the first at bytes of the answer */
    size_t at;
    struct log_range range;
};

enum request_state { REQUEST_WORKING, REQUEST_ANSWERED, REQUEST_SILENT };

struct request {
    struct broker *broker;
    struct connection *connection;
    struct request *next; /* younger one of the same connection */
    const struct api *api;
    int16_t version;
    bool flexible; /* this version has compact lengths and tags */
    int32_t correlation;
    view client_id; /* null: not given */
    struct buf *frame;
    size_t charged;       /* to the pool of frames, besides the frame */
    bool greedy;          /* it asked for more than there is for it */
    struct reader body;   /* what follows the request header */
    struct arena arena;   /* lives as long as the request */
    void *ask;            /* what read() made of the body, in the arena */
    void *work;           /* the handler's own, in the arena or elsewhere */
    struct writer answer; /* append the response's body: its header is in there already */
    int32_t throttle_ms;  /* the connection is muted so long after the answer (KIP-219) */
    void (*gone)(struct request *r); /* set by a handler that parks: the client has left, so end
                                        soon (not necessarily at once); loop thread */
    int64_t came_ns;                 /* tick when the frame was whole */
    struct answer_range *ranges;     /* from here on the connection's own */
    size_t range_count, range_room;
    struct loop *loop;
    struct job job;
    void (*then)(struct request *r);     /* what a post or block runs on the loop */
    void (*blocking)(struct request *r); /* what a block runs on a reader */
    struct request_timer *timer;         /* in the arena; NULL: never set */
    enum request_state state;
};

/* For read(): an array of the body. Reads the count (null is 0; *is_null may be NULL), refuses
 * what cannot fit into the bytes left at wire_bytes each, and gives room for so many items of
 * item_bytes each, zeroed, charged like the frame. Always this for arrays of structs: a small
 * frame must not claim much memory. */
void *request_items(struct request *r, size_t wire_bytes, size_t item_bytes, size_t *count,
                    bool *is_null);
/* For read(): counts what handling will take beyond that, so that many questions at a time stay
 * within bounds. False, and the body is bad, when it is too much. */
bool request_charge(struct request *r, size_t bytes);

void request_reply(struct request *r);  /* sends r->answer with its ranges */
void request_silent(struct request *r); /* no response: acks=0 */
/* No response can say it: closes the connection and writes one log line. */
PRINTF_LIKE(2, 3) void request_close(struct request *r, const char *format, ...);

/* Any thread: next(r) runs on the request's loop thread. One post at a time. */
void request_post(struct request *r, void (*next)(struct request *r));
/* Runs blocking(r) on a reader thread of the log, then next(r) on the loop thread. */
void request_block(struct request *r, void (*blocking)(struct request *r),
                   void (*next)(struct request *r));
/* next(r) on the loop thread after so long, unless cancelled or the request ends first. One
 * timer per request; a second call moves it. */
void request_after(struct request *r, int64_t ms, void (*next)(struct request *r));
void request_after_cancel(struct request *r);
bool request_is_gone(const struct request *r); /* the client has left */

/* The bytes of a range follow what is in r->answer now; taken over, dropped when sent. The
 * answer's length counts them, so nothing else must be done. */
void request_add_range(struct request *r, struct log_range take_range);
void request_restart(struct request *r); /* empties the answer but for its header */
/* What clients are told is internal; topics that only doors write are found by patterns. */
static inline bool topic_is_hidden(const struct topic *topic)
{
    return topic->internal && topic->name[0] == '_' && topic->name[1] == '_';
}
view request_host(struct request *r); /* "/127.0.0.1": the peer, as Kafka writes it */
int64_t request_now_ms(const struct request *r); /* wall clock */

#endif
