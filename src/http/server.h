/* server.h - what the files of this folder share: the server and a call in its inner form.
 *
 * A call's life:   reading --> running --> answered      (answered inside the handler)
 *                                  \          ^
 *                                   `-> away -'           (HTTP_BLOCKS, http_later)
 *                                          \
 *                                           `-> given up  (http_close)
 *
 * While a call is away its connection is suspended, and whoever moves it from away to answered
 * owns the right, and the duty, to resume it exactly once: the owner of the call or, past the
 * drain limit, http_close. The loser's answer goes nowhere. */
#ifndef TIDEMARK_HTTP_SERVER_H
#define TIDEMARK_HTTP_SERVER_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"
#include "http/http.h"
#include "http/target.h"

#define HTTP_WORKERS 4                    /* threads for rows that block */
#define HTTP_CONNECTIONS_MAX 1024         /* the kernel queues what comes beyond */
#define HTTP_STREAMS_MAX 256              /* readers of events at one time */
#define HTTP_CONNECTION_BYTES (32u << 10) /* request line and headers, and one chunk */
#define HTTP_BODIES_BYTES_MAX (64u << 20) /* of all request bodies held at one time */
#define HTTP_DRAIN_BYTES_MAX (16u << 20)  /* read and dropped for the sake of an answer */
#define HTTP_IDLE_S 60                    /* a silent connection is closed after */
#define HTTP_REQUEST_MS 60000             /* and one whose request is not whole after */
#define HTTP_TICK_MS 5000                 /* how often both and the streams are looked at */
#define HTTP_HEARTBEAT_MS 15000           /* silence of a stream before a comment is sent */
#define HTTP_CUT_MS 2000                  /* patience of http_close after the drain limit */
#define HTTP_HEADS_MAX 64                 /* headers of a request */
#define HTTP_ANSWER_HEADERS_MAX 8         /* set by a handler */
#define HTTP_STATUS_CLASSES 6             /* 1xx to 5xx by first digit; 0 is unused */

enum call_state { CALL_READING, CALL_RUNNING, CALL_AWAY, CALL_ANSWERED, CALL_GIVEN_UP };

struct call {
    struct http_call pub; /* first: doors hold a pointer to it */
    struct http *http;
    struct MHD_Connection *connection;
    struct call *before, *after; /* in http->calls */
    struct target target;
    _Atomic uint32_t holders; /* the connection; whoever the call is handed to */
    _Atomic int state;        /* enum call_state */
    bool begun;               /* headers are looked at */
    bool suspended;           /* server thread: the connection is */
    bool closes;              /* the connection ends with this answer */
    bool later;               /* the handler keeps the call past its return */
    struct fault *bad_target; /* the request line did not parse */
    struct {
        view name, value;
    } heads[HTTP_HEADS_MAX]; /* of the request, in the arena: outlive the connection */
    size_t head_count;
    char *fix; /* words for the next fault, in the arena */
    struct {
        const char *name, *value;
    } headers[HTTP_ANSWER_HEADERS_MAX];
    size_t header_count;
    unsigned status; /* of the answer */
    struct MHD_Response *response;
    struct writer body; /* what came so far */
    size_t body_bytes;  /* the same, with what was dropped */
    size_t charged;     /* bytes taken from http->bodies */
    struct job job;     /* on its way to a worker */
    struct lane *lane;  /* that worker's */
};

struct lane { /* one worker and how much waits for it */
    struct worker worker;
    _Atomic uint32_t waiting;
    char name[16];
};

struct connection {                    /* what is kept of each TCP connection */
    struct connection *before, *after; /* in http->connections */
    _Atomic int64_t reading_since_ns;  /* 0: a handler has its request */
    int fd;
};

struct http {
    struct os *os;
    _Atomic uint32_t holders; /* main; each call and stream, which may outlive http_close */
    struct http_config config;
    struct MHD_Daemon *daemon;
    char *address; /* HOST:PORT as bound */
    char *data_folder;
    char *bound_host; /* the host part of address */
    int port, listen_fd;
    char token[HTTP_TOKEN_BYTES];
    struct lane lanes[HTTP_WORKERS];
    struct worker ticker;
    struct job first_tick;
    struct pool bodies;
    pthread_mutex_t lock; /* over the lists, busy and closing */
    pthread_cond_t idle;  /* busy fell to 0 */
    struct call *calls;
    struct connection *connections;
    struct http_stream *streams;
    size_t stream_count;
    size_t busy; /* calls in flight and threads inside a resume */
    bool closing;
    int64_t request_ms;
    _Atomic uint64_t answers[HTTP_STATUS_CLASSES]; /* by first digit of the status */
    _Atomic uint64_t guarded;                      /* refused by the guard */
    _Atomic int64_t open_connections;
};

/* server.c */
struct http *http_hold(struct http *http); /* returns it */
void http_drop(struct http *http);

/* call.c */
struct call *call_new(struct http *http, struct MHD_Connection *connection, view uri);
void call_drop(struct call *call);
void call_answer(struct call *call, unsigned status, struct MHD_Response *take_response);
/* A response holding a copy-free buffer of what was written; the writer is empty after. */
struct MHD_Response *response_of(struct writer *take_text);
void response_header(struct MHD_Response *response, const char *name, const char *value);

/* Of the request, case ignored: how often it is there, and the first one's value. */
size_t call_heads(const struct call *call, const char *name, view *first);

/* guard.c: true when the request may go on; otherwise it is answered. */
bool guard_passes(struct call *call);

/* router.c: finds the row, or answers 404 or 405. */
const struct http_route *router_find(struct call *call);

/* daemon.c: what libmicrohttpd calls. */
struct MHD_Daemon *daemon_start(struct http *http);
void daemon_resume(struct http *http, struct MHD_Connection *connection);

/* stream.c */
void streams_end(struct http *http);                       /* all of them, at close */
void streams_heartbeat(struct http *http, int64_t now_ns); /* comments to the silent */

/* listen.c */
MUST_CHECK err listen_open(struct http *http, const char *listen_text, bool insecure);

/* token.c */
void token_make(struct os *os, char out[HTTP_TOKEN_BYTES]);
MUST_CHECK err token_keep(struct os *os, const char *data_folder, int port, const char *token);
void token_forget(struct os *os, const char *data_folder, int port, const char *token);
bool token_is(const char *token, view given); /* in constant time */

#endif
