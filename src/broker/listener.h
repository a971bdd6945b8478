/* listener.h - the listening socket: addresses, accepting, dealing out; internal to the broker.
 *
 * Loop 0 accepts and hands connections to the loops in turn. Past the limit, which is kept
 * under the descriptor limit, connections are closed at once; when the kernel has no
 * descriptors at all, accepting pauses instead of spinning. */
#ifndef TIDEMARK_BROKER_LISTENER_H
#define TIDEMARK_BROKER_LISTENER_H

#include "base/base.h"
#include "broker/loop.h"

#define PEER_TEXT_BYTES 64

struct listener {
    struct broker *broker;
    int fd;
    uv_poll_t poll;
    struct loop_timer backoff; /* accepting again after the kernel ran out */
    struct job begin;
    unsigned dealt;       /* connections, modulo the loops */
    _Atomic int64_t open; /* connections */
    int64_t limit;
    char address[PEER_TEXT_BYTES]; /* with the real port */
    char host[PEER_TEXT_BYTES];
    int port;
};

/* Binds and listens; listener_begin starts accepting. */
MUST_CHECK err listener_open(struct listener *l, const char *address, bool insecure);
void listener_begin(struct listener *l); /* the loops run */
void listener_end(struct listener *l);   /* on loop 0 */
void listener_left(struct listener *l);  /* a connection is gone; any thread */

/* "host:port", "[v6]:port", "host"; port -1 when there is none. host: PEER_TEXT_BYTES. */
MUST_CHECK err address_split(view address, char *host, int *port);
void peer_text(int fd, char out[PEER_TEXT_BYTES]); /* "127.0.0.1:41327" */

#endif
