/* sse.h - reading a stream of server-sent events, piece by piece as the network gives it. */
#ifndef TIDEMARK_HTTP_SSE_H
#define TIDEMARK_HTTP_SSE_H

#include "base/base.h"

#define SSE_EVENT_BYTES_MAX (4u << 20) /* of one event */

/* Fill each and self, zero the rest. */
struct sse_reader {
    err (*each)(void *self, view event, view data);
    void *self;
    struct writer line, event, data; /* what is not complete yet */
    bool has_data;                   /* a data line came: the next empty line ends an event */
    bool after_cr;                   /* the last byte was CR: an LF now belongs to it */
};

/* What each() returned when that was an error; TOO_LARGE. */
MUST_CHECK err sse_feed(struct sse_reader *reader, view piece);
void sse_fini(struct sse_reader *reader);

#endif
