/* shell_link.c - buffered ends of connections. SPDX-License-Identifier: Apache-2.0 */
#include "cli/shell.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define READ_BYTES (64u << 10)

enum pgwire_found link_take(struct link *link, bool first, struct pgwire_frame *out)
{
    view rest = view_from(writer_view(&link->in), link->taken);
    enum pgwire_found found = pgwire_frame(rest, first, out);

    if (found == PGWIRE_WHOLE) {
        link->taken += out->all.len;
    } else if (found == PGWIRE_BAD) {
        link->ended = true;
    }
    return found;
}

/* Frames taken before are gone after this. */
static void make_room(struct link *link)
{
    if (link->taken == link->in.len) {
        writer_reset(&link->in);
        link->taken = 0;
    } else if (link->taken > link->in.len / 2) {
        memmove(link->in.at, link->in.at + link->taken, link->in.len - link->taken);
        link->in.len -= link->taken;
        link->taken = 0;
    }
}

void link_fill(struct link *link)
{
    ssize_t got = 0;

    make_room(link);
    do {
        uint8_t *at = write_space(&link->in, READ_BYTES);
        got = link->tls ? pq_tls_read(link->pq, link->tls, at, READ_BYTES)
                        : recv(link->fd, at, READ_BYTES, MSG_DONTWAIT);
        int why = errno;
        link->in.len -= READ_BYTES - (size_t)MAX(got, 0);
        if (got == 0 || (got < 0 && why != EAGAIN && why != EINTR)) {
            link->ended = true;
        }
    } while (got > 0 && (link->tls || got == READ_BYTES));
}

/* A peer that waits for us to read, before it reads, is read from meanwhile. */
static void wait_to_write(struct link *link)
{
    struct pollfd poll_for = {.fd = link->fd, .events = POLLOUT | POLLIN};

    if (poll(&poll_for, 1, -1) < 0 && errno != EINTR) {
        link->ended = true;
    }
    if (poll_for.revents & POLLIN) {
        link_fill(link);
    } else if (poll_for.revents & (POLLERR | POLLHUP)) {
        link->ended = true;
    }
}

void link_flush(struct link *link)
{
    size_t sent = 0;

    while (sent < link->out.len && !link->ended) {
        const uint8_t *at = link->out.at + sent;
        size_t len = link->out.len - sent;
        ssize_t some = link->tls ? pq_tls_write(link->pq, link->tls, at, len)
                                 : send(link->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (some > 0) {
            sent += (size_t)some;
        } else if (some < 0 && errno == EAGAIN) {
            wait_to_write(link);
        } else if (some == 0 || errno != EINTR) {
            link->ended = true;
        }
    }
    writer_reset(&link->out);
}

void link_fini(struct link *link)
{
    writer_fini(&link->in);
    writer_fini(&link->out);
}
