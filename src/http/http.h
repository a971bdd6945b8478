/* http.h - the HTTP API: server, router, guard, token, metrics, and the client of the command
 * line. Knows no door.
 *
 * Doors contribute rows (struct http_route) and optionally metrics; main puts them together in
 * a struct http_config. One thread serves all connections; a handler runs on it and must not
 * block, unless its row says HTTP_BLOCKS: then it runs on one of a few workers. Each call ends
 * with exactly one http_reply_*, http_refuse or http_stream_start, in the handler or, after
 * http_later(), from any thread. Until then the call and all views from it are valid.
 *
 * Refused before any handler runs: ambiguous framing (400), a Host that is not ours (421), a
 * foreign Origin (403), writes that are not application/json (415) or lack the token (401),
 * bodies past HTTP_BODY_BYTES_MAX (413). HEAD is served by GET rows. */
#ifndef TIDEMARK_HTTP_HTTP_H
#define TIDEMARK_HTTP_HTTP_H

#include "base/base.h"

#define HTTP_BODY_BYTES_MAX (4u << 20) /* of a request */
#define HTTP_STREAM_BYTES_MAX                                                                  \
    (256u << 10)             /* queued for one reader of events, then it is cut                \
                              */
#define HTTP_LIST_PRESET 100 /* what ?limit is when it is not given */
#define HTTP_LIST_MAX 1000   /* the most it can be */

struct http;
struct http_stream;
struct http_route;

struct http_call {
    void *self;                     /* of the door whose row matched */
    const struct http_route *route; /* that row */
    view method, path;              /* path as sent, without the query */
    view body;                      /* whole; empty when there was none */
    struct arena arena;             /* lives as long as the call */
    struct writer out;              /* the answer's body: json_to(&call->out) */
};

enum http_flags {
    HTTP_BLOCKS = 1u << 0,      /* runs on a worker thread and may block */
    HTTP_NEEDS_TOKEN = 1u << 1, /* wants the token though it is a GET: it runs code */
};

struct http_route {
    const char *method, *path; /* "GET", "/api/v1/topics/{name}/records" */
    void (*handle)(struct http_call *call);
    unsigned flags;
};

struct http_door {
    const struct http_route *routes;
    size_t route_count;
    void *self;
    void (*metrics)(void *self, struct writer *out); /* on a worker thread; may be NULL */
};

struct http_config {
    const char *listen;       /* "127.0.0.1:8080", "[::1]:0", "localhost:0" */
    bool insecure_listen;     /* permits an address that others can reach */
    const char *const *hosts; /* names besides the loopback ones that Host may say */
    size_t host_count;
    const char *data_folder;       /* http.token is kept there while the server runs */
    const struct http_door *doors; /* borrowed until http_close */
    size_t door_count;
    err (*ready)(void *self); /* /readyz asks; must not block; NULL: always ready */
    void *ready_self;
    int64_t drain_ms;   /* http_close waits so long for calls in flight */
    int64_t request_ms; /* a request must be whole after so long; 0: a minute */
};

/* Listens, makes the token, writes its files. SIGPIPE must be ignored by the process. */
MUST_CHECK err http_open(struct os *os, const struct http_config *config, struct http **out);
const char *http_address(const struct http *http); /* "127.0.0.1:41327", the real port */
int http_port(const struct http *http);
const char *http_token(const struct http *http);
/* Stops listening, ends streams, waits for calls in flight up to drain_ms, answers 503 for
 * those still without a reply (their owners may still reply: it goes nowhere). */
void http_close(struct http *http);

/* What the request says. A null view: not there. Views are decoded, valid as the call is. */
view http_part(const struct http_call *call, const char *name); /* {name} of the path */
view http_query(const struct http_call *call, const char *name);
view http_header(const struct http_call *call, const char *name);
/* An integer of the query; preset when absent; INVALID with name and bounds otherwise. */
MUST_CHECK err http_query_int(const struct http_call *call, const char *name, int64_t preset,
                              int64_t least, int64_t most, int64_t *out);
MUST_CHECK err http_query_limit(const struct http_call *call, size_t *out); /* ?limit */
MUST_CHECK err http_body_json(struct http_call *call, struct json **out);   /* an object */

/* Answers. Those that take a status send call->out. */
PRINTF_LIKE(3, 4)
void http_answer_header(struct http_call *call, const char *name, const char *format, ...);
void http_reply_json(struct http_call *call, unsigned status);
void http_reply_text(struct http_call *call, unsigned status, const char *content_type);
void http_reply_empty(struct http_call *call); /* 204 */
PRINTF_LIKE(2, 3) void http_fix(struct http_call *call, const char *format, ...);
void http_reply_fault(
    struct http_call *call); /* fault_here; http_fix before it gives the fix */
PRINTF_LIKE(4, 5)            /* code as in {code,message,where,fix} */
void http_refuse(struct http_call *call, unsigned status, const char *code, const char *format,
                 ...);
void http_later(struct http_call *call); /* before the call is handed to anybody else */

/* Server-sent events: the answer to a call, then events from any thread. gone(self) runs once,
 * when the reader has left, was cut, or the stream has ended; it must not block. The last of
 * gone and http_stream_end to happen is the last use of self and of the stream; both happen
 * exactly once. gone may run before http_stream_start returns. NULL: refused, call answered,
 * gone will not run. */
struct http_stream *http_stream_start(struct http_call *call, void (*gone)(void *self),
                                      void *self);
/* ERR_CLOSED: nobody reads any more, or too slowly; end it. event NULL: a plain message. */
MUST_CHECK err http_stream_event(struct http_stream *stream, const char *event, view data);
void http_stream_end(struct http_stream *stream); /* what is queued is still sent */

/* Prometheus text for metrics(): a head for each family, then its samples. */
struct http_label {
    const char *name;
    view value; /* any bytes; escaped */
};
void http_metric(struct writer *out, const char *name, const char *type, const char *help);
void http_sample(struct writer *out, const char *name, const struct http_label *labels,
                 size_t count, double value);
void http_sample_int(struct writer *out, const char *name, const struct http_label *labels,
                     size_t count, int64_t value);

/* The client. One thread at a time; libcurl is loaded when the first one is opened. token NULL:
 * TIDEMARK_TOKEN, or for a loopback address what the running server left for this user. */
struct http_client;
#define HTTP_TOKEN_BYTES 65 /* 32 random bytes in hex, with the NUL */
MUST_CHECK err http_token_find(int port, char out[HTTP_TOKEN_BYTES]);
MUST_CHECK err http_client_open(const char *address, const char *token,
                                struct http_client **out);
void http_client_close(struct http_client *client);
/* How long a whole answer may take, from now on; two minutes if nothing is said. */
void http_client_patience(struct http_client *client, int64_t ms);
/* OK: an answer came, whatever its status. body null: none. answer is emptied first. */
MUST_CHECK err http_ask(struct http_client *client, const char *method, const char *path,
                        view body, unsigned *status, struct writer *answer);
/* Turns an error answer into its err with code, words and fix in fault_here; OK below 400. */
MUST_CHECK err http_answer_check(unsigned status, view answer);
/* Events until the server ends the stream (OK) or each() returns an error, which is passed on
 * (ERR_CANCELLED is the customary way to stop). An error status comes back as its err. */
MUST_CHECK err http_follow(struct http_client *client, const char *path,
                           err (*each)(void *self, view event, view data), void *self);
void http_escape(struct writer *out, view text); /* %XX for a path part or a query value */

#endif
