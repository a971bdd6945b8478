/* listener.c - the listening socket. SPDX-License-Identifier: Apache-2.0 */
#include "broker/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/connection.h"

#define ACCEPTS_MAX 64 /* in one turn of the loop */
#define BACKLOG 1024
#define BACKOFF_MS 100

err address_split(view address, char *host, int *port)
{
    view name = address, digits = {0};
    int64_t number = -1;

    if (view_starts(address, VIEW("["))) {
        if (!view_cut(view_from(address, 1), ']', &name, &digits) ||
            (digits.len && digits.at[0] != ':')) {
            return fault(ERR_INVALID, "%.*s is not [address]:port", VIEW_ARG(address));
        }
        digits = view_from(digits, 1);
    } else {
        view_cut(address, ':', &name, &digits);
    }
    bool named = digits.len || (address.len && address.at[address.len - 1] == ':');
    if (named && (view_to_int(digits, &number) || number < 0 || number > 65535)) {
        return fault(ERR_INVALID, "the port in %.*s is not 0 to 65535", VIEW_ARG(address));
    }
    if (!name.len || name.len >= PEER_TEXT_BYTES) {
        return fault(ERR_INVALID, "no host name in '%.*s'; use HOST:PORT", VIEW_ARG(address));
    }
    memcpy(host, name.at, name.len);
    host[name.len] = '\0';
    *port = (int)number;
    return OK;
}

static int address_format(const struct sockaddr_storage *at, char *host,
                          char out[PEER_TEXT_BYTES])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)at;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)at;
    char text[INET6_ADDRSTRLEN] = "?";
    bool is_v6 = at->ss_family == AF_INET6;
    int port = ntohs(is_v6 ? v6->sin6_port : v4->sin_port);

    inet_ntop(at->ss_family, is_v6 ? (const void *)&v6->sin6_addr : &v4->sin_addr, text,
              sizeof(text));
    if (host) {
        snprintf(host, PEER_TEXT_BYTES, "%s", text);
    }
    snprintf(out, PEER_TEXT_BYTES, is_v6 ? "[%s]:%d" : "%s:%d", text, port);
    return port;
}

void peer_text(int fd, char out[PEER_TEXT_BYTES])
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);

    if (getpeername(fd, (struct sockaddr *)&peer, &len) ||
        (peer.ss_family != AF_INET && peer.ss_family != AF_INET6)) {
        snprintf(out, PEER_TEXT_BYTES, "a client that has left");
        return;
    }
    address_format(&peer, NULL, out);
}

static bool is_loopback(const struct addrinfo *a)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)a->ai_addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a->ai_addr;

    return a->ai_family == AF_INET ? ntohl(v4->sin_addr.s_addr) >> 24 == 127
                                   : IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static err bind_to(struct listener *l, const struct addrinfo *a, const char *address)
{
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof(bound);
    int on = 1;

    l->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) {
        return fault_errno("cannot make a socket for %s", address);
    }
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(l->fd, a->ai_addr, a->ai_addrlen) || listen(l->fd, BACKLOG)) {
        err e = errno == EADDRINUSE ? fault(ERR_BUSY,
                                            "%s is in use by another program; stop it or give "
                                            "another --kafka HOST:PORT",
                                            address)
                                    : fault_errno("cannot listen on %s", address);
        close(l->fd);
        return e;
    }
    getsockname(l->fd, (struct sockaddr *)&bound, &len);
    l->port = address_format(&bound, l->host, l->address);
    return OK;
}

err listener_open(struct listener *l, const char *address, bool insecure)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[PEER_TEXT_BYTES], service[16];
    int port;
    err e = address_split(view_text(address), host, &port);

    if (e) {
        return e;
    }
    snprintf(service, sizeof(service), "%d", port < 0 ? 9092 : port);
    int failed = getaddrinfo(host, service, &hints, &found);
    if (failed) {
        return fault(ERR_INVALID, "cannot listen on %s: %s", address, gai_strerror(failed));
    }
    if (!insecure && !is_loopback(found)) {
        e = fault(ERR_DENIED,
                  "%s can be reached by other machines and there is no authentication yet; "
                  "listen on 127.0.0.1, or add --insecure-listen if the network is trusted",
                  address);
    } else {
        e = bind_to(l, found, address);
    }
    freeaddrinfo(found);
    return e;
}

struct adopt { /* a connection on its way to its loop */
    struct job job;
    struct loop *loop;
    int fd;
};

static void adopt(struct job *job)
{
    struct adopt *a = (struct adopt *)job;

    if (a->loop->drains) {
        listener_left(a->loop->broker->listener);
        close(a->fd);
    } else {
        connection_new(a->loop, a->fd);
    }
    free(a);
}

static void deal(struct listener *l, int fd)
{
    struct loop *loop = &l->broker->loops[l->dealt++ % (unsigned)l->broker->loop_count];
    struct adopt *a = xmalloc(sizeof(*a));

    *a = (struct adopt){.job.work = adopt, .loop = loop, .fd = fd};
    loop_post(loop, &a->job);
}

static void refuse(struct listener *l, int fd)
{
    struct loop *loop = &l->broker->loops[0];

    loop->counts.refused++;
    if (loop_may_complain(loop)) {
        char peer[PEER_TEXT_BYTES];
        peer_text(fd, peer);
        trace_warn("broker",
                   "refused a connection of %s: %lld are open, the limit "
                   "(connections.max, and the descriptor limit of the process)",
                   peer, (long long)l->limit);
    }
    close(fd);
}

static void acceptable(uv_poll_t *poll, int status, int events);

static void backoff_over(struct loop_timer *timer)
{
    struct listener *l =
        (struct listener *)((char *)timer - offsetof(struct listener, backoff));

    if (l->fd >= 0) {
        uv_poll_start(&l->poll, UV_READABLE, acceptable);
    }
}

static void backoff(struct listener *l)
{
    struct loop *loop = &l->broker->loops[0];

    if (loop_may_complain(loop)) {
        trace_warn("broker",
                   "cannot accept connections for now: %s; raise the limit of open "
                   "files (ulimit -n)",
                   strerror(errno));
    }
    uv_poll_stop(&l->poll);
    loop_timer_set(loop, &l->backoff, loop_now_ns(loop) + BACKOFF_MS * 1000000LL);
}

static void acceptable(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 &&
            (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            backoff(l);
            return;
        }
        if (fd < 0) {
            return; /* none left, or one that has gone already: we are called again */
        }
        if (l->open >= l->limit) {
            refuse(l, fd);
            continue;
        }
        l->open++;
        deal(l, fd);
    }
}

static void begin(struct job *job)
{
    struct listener *l = (struct listener *)((char *)job - offsetof(struct listener, begin));

    l->poll.data = l;
    l->backoff.ring = backoff_over;
    uv_poll_init(&l->broker->loops[0].uv, &l->poll, l->fd);
    uv_poll_start(&l->poll, UV_READABLE, acceptable);
}

void listener_begin(struct listener *l)
{
    l->begin.work = begin;
    loop_post(&l->broker->loops[0], &l->begin);
}

void listener_end(struct listener *l)
{
    loop_timer_cancel(&l->broker->loops[0], &l->backoff);
    uv_close((uv_handle_t *)&l->poll, NULL);
    close(l->fd);
    l->fd = -1;
}

void listener_left(struct listener *l)
{
    l->open--;
}
