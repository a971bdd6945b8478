/* stream_test.c - calls that take their time: blocking, answered later, streams, and closing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/served.h"

#include <pthread.h>
#include <semaphore.h>

#include "http/server.h"

/* What handlers share with the tests. */
static sem_t entered, go_on, stream_gone;
static struct http_call *kept_call;
static struct http_stream *kept_stream, *held[HTTP_STREAMS_MAX];
static size_t held_count;

struct events {
    struct writer text;
    int left; /* to be read before breaking off; 0: all */
};

static void *answer_later(void *arg)
{
    struct http_call *call = arg;

    write_format(&call->out, "late");
    http_reply_text(call, 200, "text/plain");
    return NULL;
}

static void later(struct http_call *call)
{
    pthread_t thread;

    http_later(call);
    assert_int_equal(pthread_create(&thread, NULL, answer_later, call), 0);
    pthread_detach(thread);
}

static void keep(struct http_call *call)
{
    http_later(call);
    kept_call = call;
    sem_post(&entered);
}

static void block(struct http_call *call)
{
    sem_post(&entered);
    sem_wait(&go_on);
    write_format(&call->out, "done");
    http_reply_text(call, 200, "text/plain");
}

static void on_gone(void *self)
{
    assert_ptr_equal(self, &stream_gone);
    sem_post(&stream_gone);
}

static void follow(struct http_call *call)
{
    kept_stream = http_stream_start(call, on_gone, &stream_gone);
    assert_non_null(kept_stream);
    sem_post(&entered);
}

static void ignore_gone(void *self)
{
    assert_null(self);
}

/* One too many is answered by http_stream_start itself. */
static void hold(struct http_call *call)
{
    struct http_stream *stream = http_stream_start(call, ignore_gone, NULL);

    if (stream) {
        held[held_count++] = stream;
    }
}

static const struct http_route rows[] = {
    {"GET", "/hold", hold, 0},
    {"GET", "/follow", follow, 0},
    {"GET", "/later", later, 0},
    {"GET", "/keep", keep, 0},
    {"GET", "/block", block, HTTP_BLOCKS},
    {"GET", "/either", later, HTTP_BLOCKS},
};
static const struct http_door served[] = {{rows, COUNT(rows), NULL, NULL}};

static void a_blocking_handler_holds_up_nobody(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f);

    send_all(fd, view_text(GET("/block", LOCAL)));
    sem_wait(&entered);
    ask(f, "GET", "/healthz", NULL); /* while it blocks */
    assert_int_equal(f->status, 200);
    ask(f, "GET", "/metrics", NULL); /* on another worker */
    assert_int_equal(f->status, 200);
    sem_post(&go_on);
    writer_reset(&f->answer);
    while (receive(f, fd)) {
    }
    expect_status(f, 200);
    assert_true(has(f, "done"));
    close(fd);
}

static void receive_until(struct fixture *f, int fd, const char *text)
{
    while (!has(f, text)) {
        assert_true(receive(f, fd));
    }
}

static bool accepts(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool done = connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0;

    close(fd);
    return done;
}

static void *close_in_thread(void *arg)
{
    close_server(arg);
    return NULL;
}

static void closing_waits_for_calls_in_flight(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f);
    int idle = connect_to(f);
    pthread_t thread;

    send_all(fd, VIEW("GET /block HTTP/1.1\r\n" LOCAL "\r\n"));
    sem_wait(&entered);
    send_all(idle, VIEW("GET /healthz HTTP/1.1\r\n" LOCAL "\r\n"));
    writer_reset(&f->answer);
    receive_until(f, idle, "ok\n");
    struct sockaddr_in to = address_of(f);
    assert_int_equal(pthread_create(&thread, NULL, close_in_thread, f), 0);
    while (accepts(&to)) {
    }
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&answer, 1, 50), 0); /* it closes, and nobody is cut */
    writer_reset(&f->answer);
    send_all(idle, VIEW("GET /later HTTP/1.1\r\n" LOCAL "\r\n"));
    while (receive(f, idle)) {
    }
    expect_status(f, 503); /* but nothing new begins */
    assert_true(has(f, "Connection: close\r\n"));
    close(idle);
    sem_post(&go_on);
    writer_reset(&f->answer);
    while (receive(f, fd)) {
    }
    pthread_join(thread, NULL);
    expect_status(f, 200);
    assert_true(has(f, "done"));
    close(fd);
    open_server(f, (struct http_config){0});
}

static void a_call_past_the_drain_limit_gets_503(void **state)
{
    struct fixture *f = *state;

    close_server(f);
    open_server(f, (struct http_config){.drain_ms = 10});
    int fd = connect_to(f);
    send_all(fd, view_text(GET("/keep", LOCAL)));
    sem_wait(&entered);
    close_server(f);
    writer_reset(&f->answer);
    while (receive(f, fd)) {
    }
    expect_status(f, 503);
    assert_true(has(f, "the server stopped before this was done"));
    close(fd);
    /* Its owner comes late: all of the call is still there, the reply goes nowhere. */
    assert_true(view_is_text(http_header(kept_call, "host"), "localhost"));
    write_format(&kept_call->out, "too late");
    http_reply_text(kept_call, 200, "text/plain");
    open_server(f, (struct http_config){0});
}

static err on_event(void *self, view event, view data)
{
    struct events *e = self;

    write_format(&e->text, "[%.*s|%.*s]", VIEW_ARG(event), VIEW_ARG(data));
    return --e->left == 0 ? ERR_CANCELLED : OK;
}

static void *produce_three(void *arg)
{
    (void)arg;
    sem_wait(&entered);
    assert_int_equal(http_stream_event(kept_stream, "record", VIEW("one\ntwo\r\nthree")), OK);
    assert_int_equal(http_stream_event(kept_stream, NULL, VIEW("")), OK);
    assert_int_equal(http_stream_event(kept_stream, "end", VIEW("{}")), OK);
    http_stream_end(kept_stream);
    return NULL;
}

static void events_arrive_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    struct events events = {0};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, produce_three, NULL), 0);
    assert_int_equal(http_follow(f->client, "/follow", on_event, &events), OK);
    pthread_join(thread, NULL);
    sem_wait(&stream_gone);
    assert_true(view_is_text(writer_view(&events.text), "[record|one\ntwo\nthree][|][end|{}]"));
    writer_fini(&events.text);
    assert_int_equal(http_follow(f->client, "/nothing", on_event, &events), ERR_NOT_FOUND);
}

static void a_reader_that_leaves_is_noticed(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f);

    writer_reset(&f->answer);
    send_all(fd, view_text(GET("/follow", LOCAL)));
    sem_wait(&entered);
    assert_int_equal(http_stream_event(kept_stream, NULL, VIEW("hello")), OK);
    receive_until(f, fd, "data: hello\n\n");
    assert_true(has(f, "Content-Type: text/event-stream\r\n"));
    close(fd);
    /* The first event finds the peer gone at the latest when its answer to it is a reset. */
    while (http_stream_event(kept_stream, NULL, VIEW("anybody?")) == OK) {
        if (sem_trywait(&stream_gone) == 0) {
            sem_post(&stream_gone);
        }
    }
    sem_wait(&stream_gone);
    http_stream_end(kept_stream);
}

/* One heartbeat far in the future, then what comes of it within a moment. */
static void beat(struct fixture *f, int fd)
{
    static int64_t hours;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int64_t now_ns = os_real()->tick_ns(os_real());

    streams_heartbeat(f->http, now_ns + ++hours * 3600 * INT64_C(1000000000));
    if (poll(&wait, 1, 10) == 1) {
        assert_true(receive(f, fd));
    }
}

static void a_silent_stream_gets_comments_and_so_notices_who_left(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f);

    writer_reset(&f->answer);
    send_all(fd, view_text(GET("/follow", LOCAL)));
    sem_wait(&entered);
    while (!has(f, ":\n\n")) {
        beat(f, fd);
    }
    close(fd);
    while (sem_trywait(&stream_gone) != 0) {
        beat(f, -1);
    }
    assert_int_equal(http_stream_event(kept_stream, NULL, VIEW("more")), ERR_CLOSED);
    http_stream_end(kept_stream);
}

static void readers_of_events_have_a_limit(void **state)
{
    struct fixture *f = *state;
    int fds[HTTP_STREAMS_MAX];

    held_count = 0;
    for (size_t i = 0; i < HTTP_STREAMS_MAX; i++) {
        fds[i] = connect_to(f);
        writer_reset(&f->answer);
        send_all(fds[i], view_text(GET("/hold", LOCAL)));
        receive_until(f, fds[i], "\r\n\r\n");
        expect_status(f, 200);
    }
    ask(f, "GET", "/hold", NULL);
    assert_int_equal(f->status, 503);
    assert_true(has(f, "256 readers of events are served already"));
    for (size_t i = 0; i < HTTP_STREAMS_MAX; i++) {
        http_stream_end(held[i]);
        while (receive(f, fds[i])) {
        }
        close(fds[i]);
    }
    held_count = 0;
    int fd = connect_to(f); /* and there is room again */
    writer_reset(&f->answer);
    send_all(fd, view_text(GET("/hold", LOCAL)));
    receive_until(f, fd, "\r\n\r\n");
    expect_status(f, 200);
    http_stream_end(held[0]);
    close(fd);
}

static void a_reader_too_slow_is_cut(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f);
    size_t taken = 0;
    uint8_t *block = xcalloc(1, 65536);

    memset(block, 'x', 65536);
    send_all(fd, view_text(GET("/follow", LOCAL)));
    sem_wait(&entered);
    while (http_stream_event(kept_stream, NULL, (view){block, 65536}) == OK) {
        taken += 65536;
        assert_true(taken < (1u << 30)); /* the kernel's buffers end somewhere */
    }
    assert_int_equal(http_stream_event(kept_stream, NULL, VIEW("small")), ERR_CLOSED);
    writer_reset(&f->answer);
    while (receive(f, fd)) {
    }
    assert_false(has(f, "\r\n0\r\n\r\n")); /* torn: what is missing must not look whole */
    close(fd);
    sem_wait(&stream_gone);
    http_stream_end(kept_stream);
    free(block);
}

static void closing_ends_streams(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(f);

    writer_reset(&f->answer);
    send_all(fd, view_text(GET("/follow", LOCAL)));
    sem_wait(&entered);
    assert_int_equal(http_stream_event(kept_stream, NULL, VIEW("last")), OK);
    close_server(f);
    while (receive(f, fd)) {
    }
    assert_true(has(f, "data: last\n\n"));
    assert_true(has(f, "\r\n0\r\n\r\n")); /* a proper end, not a torn connection */
    close(fd);
    assert_int_equal(http_stream_event(kept_stream, NULL, VIEW("more")), ERR_CLOSED);
    http_stream_end(kept_stream);
    sem_wait(&stream_gone);
    open_server(f, (struct http_config){0});
}

#define CLIENTS 6
#define ASKS_EACH 150

struct asker {
    struct http_client *client;
    pthread_t thread;
    size_t answered;
};

static void *ask_often(void *arg)
{
    static const char *const paths[] = {"/later", "/either", "/healthz", "/metrics"};
    struct asker *asker = arg;
    struct writer answer = {0};
    unsigned status;

    for (size_t i = 0; i < ASKS_EACH; i++) {
        err e = http_ask(asker->client, "GET", paths[i % COUNT(paths)], (view){0}, &status,
                         &answer);
        asker->answered += e == OK && status == 200;
    }
    writer_fini(&answer);
    return NULL;
}

static void many_at_once_all_get_their_answers(void **state)
{
    struct fixture *f = *state;
    struct asker askers[CLIENTS] = {0};

    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(http_client_open(http_address(f->http), NULL, &askers[i].client), OK);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_often, &askers[i]), 0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        pthread_join(askers[i].thread, NULL);
        http_client_close(askers[i].client);
        assert_int_equal(askers[i].answered, ASKS_EACH);
    }
}

static void closing_amid_traffic_is_clean(void **state)
{
    struct fixture *f = *state;
    struct asker askers[CLIENTS] = {0};

    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(http_client_open(http_address(f->http), NULL, &askers[i].client), OK);
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_often, &askers[i]), 0);
    }
    ask(f, "GET", "/later", NULL);
    assert_int_equal(f->status, 200);
    close_server(f); /* the rest of the asks fail, each in its own way */
    for (size_t i = 0; i < CLIENTS; i++) {
        pthread_join(askers[i].thread, NULL);
        http_client_close(askers[i].client);
    }
    open_server(f, (struct http_config){0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(a_blocking_handler_holds_up_nobody),
        SERVED(many_at_once_all_get_their_answers),
        SERVED(closing_waits_for_calls_in_flight),
        SERVED(closing_amid_traffic_is_clean),
        SERVED(a_call_past_the_drain_limit_gets_503),
        SERVED(events_arrive_whole_and_in_order),
        SERVED(a_reader_that_leaves_is_noticed),
        SERVED(a_silent_stream_gets_comments_and_so_notices_who_left),
        SERVED(readers_of_events_have_a_limit),
        SERVED(a_reader_too_slow_is_cut),
        SERVED(closing_ends_streams),
    };

    signal(SIGPIPE, SIG_IGN);
    sem_init(&entered, 0, 0);
    sem_init(&go_on, 0, 0);
    sem_init(&stream_gone, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
