/* listen.c - the listening socket: ours, so that a port in use is named and port 0 works.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 128
#define PORT_TEXT_BYTES 8

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const void *)address;
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *six = (const void *)address;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static err bind_to(const struct addrinfo *info, const char *text, int *out)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;

    if (fd < 0) {
        return fault_errno("socket for %s", text);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        err e = errno == EADDRINUSE
                    ? fault(ERR_BUSY,
                            "%s is in use by another process; choose another port "
                            "with --http, or 0 for a free one",
                            text)
                    : fault_errno("listen on %s", text);
        close(fd);
        return e;
    }
    *out = fd;
    return OK;
}

/* What was bound, with the real port. */
static err name_of(struct http *http)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    char host[NI_MAXHOST], port[PORT_TEXT_BYTES];
    int64_t number;

    if (getsockname(http->listen_fd, (struct sockaddr *)&bound, &len) != 0 ||
        getnameinfo((struct sockaddr *)&bound, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return fault_errno("the address of the HTTP listener");
    }
    err e = view_to_int(view_text(port), &number);
    if (e) {
        return e;
    }
    http->port = (int)number;
    http->bound_host = xstrdup(host);
    http->address = bound.ss_family == AF_INET6 ? text_format("[%s]:%s", host, port)
                                                : text_format("%s:%s", host, port);
    return OK;
}

err listen_open(struct http *http, const char *listen_text, bool insecure)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char *host_text = NULL, port_text[PORT_TEXT_BYTES];
    view host;
    int port;
    err e = authority_parse(view_text(listen_text), &host, &port);

    if (e || port < 0) {
        return fault(ERR_INVALID, "\"%s\" is not HOST:PORT, such as 127.0.0.1:8080",
                     listen_text);
    }
    host_text = text_of(host);
    snprintf(port_text, sizeof(port_text), "%d", port);
    int status = getaddrinfo(host_text, port_text, &hints, &found);
    if (status != 0) {
        e = fault(ERR_INVALID, "%s: %s", listen_text, gai_strerror(status));
        goto done;
    }
    if (!insecure && !is_loopback(found->ai_addr)) {
        e = fault(ERR_DENIED,
                  "%s can be reached from other machines; use 127.0.0.1, or --insecure-listen "
                  "if the network keeps others out",
                  listen_text);
        goto done;
    }
    e = bind_to(found, listen_text, &http->listen_fd);
    if (!e) {
        e = name_of(http);
    }
done:
    if (found) {
        freeaddrinfo(found);
    }
    free(host_text);
    return e;
}
