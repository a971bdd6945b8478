/* served.h - for tests: a real server in a temporary folder, asked by client and raw sockets.
 *
 * The test file defines served[0], the door; each test gets its own server. */
#ifndef TIDEMARK_HTTP_SERVED_H
#define TIDEMARK_HTTP_SERVED_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "http/http.h"

#define PATIENCE_MS 20000 /* for what must happen; a test never waits for what must not */

#define GET(path, headers) "GET " path " HTTP/1.1\r\n" headers "Connection: close\r\n\r\n"
#define LOCAL "Host: localhost\r\n"
#define SERVED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

struct fixture {
    char folder[64];
    struct http *http;
    struct http_client *client;
    struct writer answer; /* of the last ask() or raw() */
    unsigned status;      /* of the last ask() */
};
static const struct http_door served[1];

static void open_server(struct fixture *f, struct http_config config)
{
    static const char *const hosts[] = {"tidemark.example"};

    config.listen = "127.0.0.1:0";
    config.hosts = hosts;
    config.host_count = 1;
    config.data_folder = f->folder;
    config.doors = served;
    config.door_count = 1;
    config.drain_ms = config.drain_ms ? config.drain_ms : PATIENCE_MS;
    assert_int_equal(http_open(os_real(), &config, &f->http), OK);
    assert_int_equal(http_client_open(http_address(f->http), NULL, &f->client), OK);
}

static void close_server(struct fixture *f)
{
    http_client_close(f->client);
    f->client = NULL;
    http_close(f->http);
    f->http = NULL;
}

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    snprintf(f->folder, sizeof(f->folder), "/tmp/http-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_int_equal(setenv("XDG_RUNTIME_DIR", f->folder, 1), 0);
    assert_int_equal(unsetenv("TIDEMARK_TOKEN"), 0);
    open_server(f, (struct http_config){0});
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    close_server(f);
    assert_int_equal(os_remove_tree(os_real(), f->folder), OK);
    writer_fini(&f->answer);
    free(f);
    return 0;
}

static struct sockaddr_in address_of(struct fixture *f)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)http_port(f->http)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int connect_to(struct fixture *f)
{
    struct sockaddr_in to = address_of(f);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void send_all(int fd, view text)
{
    while (text.len > 0) {
        ssize_t sent = send(fd, text.at, text.len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the other end has said what it had to say */
        }
        text = view_from(text, (size_t)sent);
    }
}

/* More bytes into f->answer; false at the end of the connection. */
static bool receive(struct fixture *f, int fd)
{
    char piece[4096];
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
    ssize_t got = recv(fd, piece, sizeof(piece), 0);
    if (got > 0) {
        write_bytes(&f->answer, piece, (size_t)got);
    }
    return got > 0;
}

static bool has(struct fixture *f, const char *text)
{
    return f->answer.len > 0 && memmem(f->answer.at, f->answer.len, text, strlen(text));
}

static void expect_status(struct fixture *f, unsigned status)
{
    char line[32];

    snprintf(line, sizeof(line), "HTTP/1.1 %u ", status);
    if (f->answer.len < strlen(line) || memcmp(f->answer.at, line, strlen(line)) != 0) {
        fail_msg("expected %s, got: %.*s", line, VIEW_ARG(writer_view(&f->answer)));
    }
}

static void ask(struct fixture *f, const char *method, const char *path, const char *body)
{
    assert_int_equal(http_ask(f->client, method, path, view_text(body), &f->status, &f->answer),
                     OK);
}

#endif
