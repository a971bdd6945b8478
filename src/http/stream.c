/* stream.c - server-sent events.
 *
 *   producer --http_stream_event--> queue --reader (server thread)--> connection
 *
 * With nothing queued the reader suspends the connection; whoever then clears `suspended`
 * resumes it. A queue past its limit is a reader too slow: it is dropped and cut. A comment
 * every few silent seconds finds out readers that have left. No call into the library is made
 * under a stream's lock but the suspension, which must not be overtaken by its resume.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <stdlib.h>
#include <string.h>

#define READ_BYTES 8192 /* given to the connection at a time */
#define NS_PER_MS 1000000

struct http_stream {
    pthread_mutex_t lock; /* over all that follows but the list */
    struct http *http;
    struct MHD_Connection *connection;
    struct http_stream *before, *after; /* in http->streams, under http->lock */
    struct writer queue;                /* not taken by the connection yet, from sent on */
    size_t sent;
    bool suspended; /* whoever clears it must resume the connection */
    bool ended;     /* by its producer or by http_close: end once the queue is empty */
    bool cut;       /* too slow: end at once */
    bool over;      /* the connection has let go of it */
    unsigned holders;
    int64_t active_ns; /* last event or comment */
    void (*gone)(void *self);
    void *self;
};

static void unlink_stream(struct http *http, struct http_stream *stream)
{
    pthread_mutex_lock(&http->lock);
    *(stream->before ? &stream->before->after : &http->streams) = stream->after;
    if (stream->after) {
        stream->after->before = stream->before;
    }
    http->stream_count--;
    pthread_mutex_unlock(&http->lock);
}

static void drop(struct http_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    bool last = --stream->holders == 0;
    pthread_mutex_unlock(&stream->lock);
    if (last) {
        pthread_mutex_destroy(&stream->lock);
        writer_fini(&stream->queue);
        http_drop(stream->http);
        free(stream);
    }
}

static ssize_t reader(void *cls, uint64_t position, char *out, size_t room)
{
    struct http_stream *stream = cls;
    ssize_t given = 0;

    (void)position;
    pthread_mutex_lock(&stream->lock);
    size_t waiting = stream->queue.len - stream->sent;
    if (stream->cut) {
        given = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (waiting > 0) {
        size_t some = MIN(waiting, room);
        memcpy(out, stream->queue.at + stream->sent, some);
        stream->sent += some;
        given = (ssize_t)some;
        if (some == waiting) {
            writer_reset(&stream->queue);
            stream->sent = 0;
        }
    } else if (stream->ended) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
    }
    pthread_mutex_unlock(&stream->lock);
    return given;
}

/* The connection has let go of the answer: sent to its end, broken, or never begun. */
static void let_go(void *cls)
{
    struct http_stream *stream = cls;

    unlink_stream(stream->http, stream);
    pthread_mutex_lock(&stream->lock);
    stream->over = true;
    pthread_mutex_unlock(&stream->lock);
    stream->gone(stream->self);
    drop(stream);
}

static bool link_stream(struct http *http, struct http_stream *stream)
{
    pthread_mutex_lock(&http->lock);
    bool room = http->stream_count < HTTP_STREAMS_MAX;
    if (room) {
        stream->ended = http->closing;
        stream->after = http->streams;
        if (stream->after) {
            stream->after->before = stream;
        }
        http->streams = stream;
        http->stream_count++;
    }
    pthread_mutex_unlock(&http->lock);
    return room;
}

struct http_stream *http_stream_start(struct http_call *call, void (*gone)(void *self),
                                      void *self)
{
    struct call *in = (struct call *)call;
    struct http *http = http_hold(in->http);
    struct http_stream *stream = xcalloc(1, sizeof(*stream));

    assert(gone);
    *stream = (struct http_stream){.http = http, .connection = in->connection, .holders = 2};
    stream->gone = gone;
    stream->self = self;
    stream->active_ns = http->os->tick_ns(http->os);
    pthread_mutex_init(&stream->lock, NULL);
    if (!link_stream(http, stream)) {
        stream->holders = 1;
        drop(stream);
        (void)fault(ERR_BUSY, "%d readers of events are served already", HTTP_STREAMS_MAX);
        http_reply_fault(call);
        return NULL;
    }
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, READ_BYTES, reader, stream, let_go);
    assert(response);
    response_header(response, "Content-Type", "text/event-stream");
    call_answer(in, MHD_HTTP_OK, response);
    return stream;
}

/* Takes over the duty to resume, if there is one; under the stream's lock. */
static bool wakes(struct http_stream *stream)
{
    bool was = stream->suspended;

    stream->suspended = false;
    return was;
}

/* Each line of data on its own "data:" line: that is how an event carries line breaks, and a
 * bare CR is one too. */
static void write_event(struct writer *out, const char *event, view data)
{
    if (event) {
        write_format(out, "event: %s\n", event);
    }
    write_bytes(out, "data: ", strlen("data: "));
    for (size_t i = 0; i < data.len; i++) {
        bool pair = data.at[i] == '\r' && i + 1 < data.len && data.at[i + 1] == '\n';
        if (pair) {
            continue;
        }
        if (data.at[i] == '\r' || data.at[i] == '\n') {
            write_bytes(out, "\ndata: ", strlen("\ndata: "));
        } else {
            write_u8(out, data.at[i]);
        }
    }
    write_bytes(out, "\n\n", 2);
}

err http_stream_event(struct http_stream *stream, const char *event, view data)
{
    struct http *http = stream->http;
    err e = OK;

    pthread_mutex_lock(&stream->lock);
    if (stream->over || stream->cut || stream->ended) {
        e = ERR_CLOSED;
    } else if (stream->queue.len - stream->sent + data.len > HTTP_STREAM_BYTES_MAX) {
        stream->cut = true;
        writer_fini(&stream->queue);
        stream->sent = 0;
        e = ERR_CLOSED;
    } else {
        write_event(&stream->queue, event, data);
        stream->active_ns = http->os->tick_ns(http->os);
    }
    bool wake = !stream->over && wakes(stream);
    pthread_mutex_unlock(&stream->lock);
    if (wake) {
        daemon_resume(http, stream->connection);
    }
    return e;
}

/* Under its lock: no more events are taken. */
static bool end(struct http_stream *stream)
{
    stream->ended = true;
    return !stream->over && wakes(stream);
}

void http_stream_end(struct http_stream *stream)
{
    if (!stream) {
        return;
    }
    pthread_mutex_lock(&stream->lock);
    bool wake = end(stream);
    pthread_mutex_unlock(&stream->lock);
    if (wake) {
        daemon_resume(stream->http, stream->connection);
    }
    drop(stream);
}

/* Walks the streams; those that each() wakes are resumed after the locks are given back: until
 * then nothing else can happen to their connections. */
static void walk(struct http *http, bool (*each)(struct http_stream *, int64_t), int64_t now_ns)
{
    struct MHD_Connection *woken[HTTP_STREAMS_MAX];
    size_t count = 0;

    pthread_mutex_lock(&http->lock);
    for (struct http_stream *s = http->streams; s; s = s->after) {
        pthread_mutex_lock(&s->lock);
        if (each(s, now_ns)) {
            woken[count++] = s->connection;
        }
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&http->lock);
    for (size_t i = 0; i < count; i++) {
        daemon_resume(http, woken[i]);
    }
}

static bool end_at_close(struct http_stream *stream, int64_t now_ns)
{
    (void)now_ns;
    return end(stream);
}

static bool comment_if_silent(struct http_stream *stream, int64_t now_ns)
{
    if (!stream->suspended ||
        now_ns - stream->active_ns < HTTP_HEARTBEAT_MS * (int64_t)NS_PER_MS) {
        return false;
    }
    stream->active_ns = now_ns;
    write_bytes(&stream->queue, ":\n\n", strlen(":\n\n"));
    return wakes(stream);
}

void streams_end(struct http *http)
{
    walk(http, end_at_close, 0);
}

void streams_heartbeat(struct http *http, int64_t now_ns)
{
    walk(http, comment_if_silent, now_ns);
}
