/* http_test.c - a real server on a free port, asked through raw sockets and through the client.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/served.h"

static bool is_ready;

static void echo(struct http_call *call)
{
    size_t limit;

    if (http_query_limit(call, &limit) != OK) {
        http_reply_fault(call);
        return;
    }
    struct json_writer j = json_to(&call->out);
    json_object(&j);
    json_name(&j, "name");
    json_view(&j, http_part(call, "name"));
    json_name(&j, "query");
    json_view(&j, http_query(call, "q"));
    json_name(&j, "limit");
    json_int(&j, (int64_t)limit);
    json_end_object(&j);
    http_reply_json(call, 200);
}

static void take(struct http_call *call)
{
    struct json *json;
    int64_t number;

    if (http_body_json(call, &json) != OK || json_get_int(json, "number", &number) != OK) {
        http_reply_fault(call);
        return;
    }
    http_answer_header(call, "X-Number", "%lld", (long long)number);
    write_view(&call->out, call->body);
    http_reply_json(call, 201);
}

static void measure(struct http_call *call)
{
    write_format(&call->out, "%zu", call->body.len);
    http_reply_text(call, 200, "text/plain");
}

static void refuse(struct http_call *call)
{
    (void)fault(ERR_EXISTS, "topic \"a\" is there already");
    http_fix(call, "name it \"b\"");
    http_reply_fault(call);
}

static err ready(void *self)
{
    (void)self;
    return is_ready ? OK : fault(ERR_CONFLICT, "the log is being recovered");
}

static void some_metrics(void *self, struct writer *out)
{
    struct http_label labels[] = {{"topic", VIEW("a\"b\\c\nd\xff")}, {"partition", VIEW("0")}};

    (void)self;
    http_metric(out, "test_bytes", "gauge", "Bytes\nkept");
    http_sample_int(out, "test_bytes", labels, 2, 17);
    http_sample(out, "test_share", NULL, 0, 0.5);
}

static const struct http_route rows[] = {
    {"GET", "/api/v1/things/{name}", echo, 0},
    {"POST", "/api/v1/things", take, 0},
    {"DELETE", "/api/v1/things/{name}", refuse, 0},
    {"POST", "/api/v1/measure", measure, HTTP_BLOCKS},
    {"GET", "/api/v1/secret", refuse, HTTP_NEEDS_TOKEN},
};
static const struct http_door served[] = {{rows, COUNT(rows), NULL, some_metrics}};

/* Sends text on its own connection and keeps all that comes back. */
static void raw(struct fixture *f, const char *text)
{
    int fd = connect_to(f);

    writer_reset(&f->answer);
    send_all(fd, view_text(text));
    while (receive(f, fd)) {
    }
    close(fd);
}

static void raw_gives(struct fixture *f, unsigned status, const char *text)
{
    raw(f, text);
    expect_status(f, status);
}

static void the_client_reads_and_writes(void **state)
{
    struct fixture *f = *state;

    ask(f, "GET", "/api/v1/things/a%2Fb%20c?q=x+%26y&limit=7", NULL);
    assert_int_equal(f->status, 200);
    assert_true(has(f, "{\"name\":\"a/b c\",\"query\":\"x &y\",\"limit\":7}"));
    ask(f, "POST", "/api/v1/things", "{\"number\": 12}");
    assert_int_equal(f->status, 201);
    assert_true(has(f, "{\"number\": 12}"));
}

static void a_fault_becomes_a_status_and_words(void **state)
{
    struct fixture *f = *state;

    ask(f, "DELETE", "/api/v1/things/a", NULL);
    assert_int_equal(f->status, 409);
    assert_true(has(f, "{\"code\":\"exists\",\"message\":\"topic \\\"a\\\" is there already\","
                       "\"where\":\"DELETE /api/v1/things/a\",\"fix\":\"name it \\\"b\\\"\"}"));
    assert_int_equal(http_answer_check(f->status, writer_view(&f->answer)), ERR_EXISTS);
    assert_string_equal(fault_here.text, "topic \"a\" is there already (name it \"b\")");
    ask(f, "GET", "/api/v1/things/a?limit=0", NULL);
    assert_int_equal(f->status, 400);
    assert_true(has(f, "limit must be a whole number from 1 to 1000"));
    ask(f, "POST", "/api/v1/things", "[1]");
    assert_int_equal(f->status, 400);
    ask(f, "POST", "/api/v1/things", "");
    assert_true(has(f, "the body is empty"));
}

static void an_unknown_path_names_the_nearest(void **state)
{
    struct fixture *f = *state;

    raw_gives(f, 404, GET("/api/v1/thing/abc", LOCAL));
    assert_true(has(f, "did you mean /api/v1/things/{name}"));
    raw_gives(f, 404, GET("/quite/another/thing/altogether", LOCAL));
    raw_gives(f, 404, GET("/api/v1/things/", LOCAL));
    raw_gives(f, 400, GET("/api/v1/things/%zz", LOCAL));
    raw_gives(f, 400, GET("/api/v1/things/a%00b", LOCAL));
    raw_gives(f, 200, GET("/api/v1", LOCAL));
    assert_true(has(f, "{\"method\":\"GET\",\"path\":\"/api/v1/things/{name}\"}"));
}

static void a_wrong_method_names_the_right_ones(void **state)
{
    struct fixture *f = *state;

    raw_gives(f, 405, "PATCH /api/v1/things/a HTTP/1.1\r\n" LOCAL "Connection: close\r\n\r\n");
    assert_true(has(f, "Allow: GET, HEAD, DELETE\r\n"));
    raw_gives(f, 405, "OPTIONS /api/v1/things HTTP/1.1\r\n" LOCAL "Connection: close\r\n\r\n");
    assert_true(has(f, "Allow: POST\r\n"));
    assert_false(has(f, "Access-Control"));
}

static void head_is_get_without_a_body(void **state)
{
    struct fixture *f = *state;

    raw_gives(f, 200, "HEAD /api/v1/things/a HTTP/1.1\r\n" LOCAL "Connection: close\r\n\r\n");
    assert_true(has(f, "Content-Length: "));
    assert_false(has(f, "name"));
    ask(f, "HEAD", "/healthz", NULL);
    assert_int_equal(f->status, 200);
}

static void only_our_own_hosts_are_served(void **state)
{
    struct fixture *f = *state;

    raw_gives(f, 200, GET("/healthz", "Host: localhost\r\n"));
    raw_gives(f, 200, GET("/healthz", "Host: LOCALHOST:99\r\n"));
    raw_gives(f, 200, GET("/healthz", "Host: 127.9.9.9:1\r\n"));
    raw_gives(f, 200, GET("/healthz", "Host: [::1]:8080\r\n"));
    raw_gives(f, 200, GET("/healthz", "Host: Tidemark.example:443\r\n"));
    raw_gives(f, 421, GET("/healthz", "Host: evil.example\r\n"));
    assert_true(has(f, "http.hosts"));
    raw_gives(f, 421, GET("/healthz", "Host: localhost.evil.example\r\n"));
    raw_gives(f, 421, GET("/healthz", "Host: 127.0.0.1.evil.example\r\n"));
    raw_gives(f, 421, GET("/healthz", "Host: 10.0.0.1\r\n"));
    raw_gives(f, 421, GET("/healthz", "Host: \r\n"));
    raw_gives(f, 421, GET("/healthz", "Host: [::1\r\n"));
    raw_gives(f, 400, GET("/healthz", "Host: localhost\r\nHost: localhost\r\n"));
    raw_gives(f, 400, GET("/healthz", ""));
    raw(f, "GET /healthz HTTP/1.0\r\n\r\n");
    assert_true(has(f, " 421 "));
}

static void a_foreign_origin_is_refused(void **state)
{
    struct fixture *f = *state;

    raw_gives(f, 200, GET("/healthz", "Host: localhost:9\r\nOrigin: http://localhost:9\r\n"));
    raw_gives(f, 200,
              GET("/healthz", "Host: tidemark.example\r\n"
                              "Origin: https://tidemark.example\r\n"));
    raw_gives(f, 403, GET("/healthz", "Host: localhost:9\r\nOrigin: http://localhost:8\r\n"));
    raw_gives(f, 403, GET("/healthz", LOCAL "Origin: http://evil.example\r\n"));
    raw_gives(f, 403, GET("/healthz", LOCAL "Origin: null\r\n"));
    raw_gives(f, 403, GET("/healthz", LOCAL "Origin: \r\n"));
    raw_gives(f, 403, GET("/healthz", LOCAL "Origin: http://\r\n"));
}

static void smuggling_forms_are_refused_and_end_the_connection(void **state)
{
    static const char *const forms[] = {
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 40\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 4, 4\r\n",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(forms); i++) {
        /* The rest would be a second request if the first one's length were misread. */
        char *text = text_format("POST /api/v1/things HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
                                 "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                 forms[i]);
        raw_gives(f, 400, text);
        assert_false(has(f, "200 OK"));
        free(text);
    }
}

static void a_write_needs_json_and_the_token(void **state)
{
    struct fixture *f = *state;
    const char *token = http_token(f->http);
    char *with = text_format("POST /api/v1/things HTTP/1.1\r\n" LOCAL "Connection: close\r\n"
                             "Content-Type: application/json; charset=utf-8\r\n"
                             "Authorization: Bearer %s\r\nContent-Length: 12\r\n\r\n"
                             "{\"number\":1}",
                             token);
    char *wrong = xstrdup(with);

    raw_gives(f, 201, with);
    assert_true(has(f, "X-Number: 1\r\n"));
    char *at = strstr(wrong, token);
    at[63] = at[63] == '0' ? '1' : '0'; /* the last digit */
    raw_gives(f, 401, wrong);
    assert_true(has(f, "the token is not that of this server"));
    raw_gives(f, 401,
              "DELETE /api/v1/things/a HTTP/1.1\r\n" LOCAL "Connection: close\r\n"
              "Content-Type: application/json\r\n\r\n");
    assert_true(has(f, "WWW-Authenticate: Bearer"));
    assert_true(has(f, "/http.token"));
    raw_gives(f, 415,
              "POST /api/v1/things HTTP/1.1\r\n" LOCAL "Connection: close\r\n"
              "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
    raw_gives(f, 415, "POST /api/v1/things HTTP/1.1\r\n" LOCAL "Connection: close\r\n\r\n");
    raw_gives(f, 401, GET("/api/v1/secret", LOCAL));
    free(with);
    free(wrong);
}

static void bodies_have_a_limit_however_they_come(void **state)
{
    struct fixture *f = *state;
    char *large = xmalloc(HTTP_BODY_BYTES_MAX + 2);

    memset(large, ' ', HTTP_BODY_BYTES_MAX + 1);
    large[HTTP_BODY_BYTES_MAX] = '\0';
    ask(f, "POST", "/api/v1/measure", large);
    assert_int_equal(f->status, 200);
    assert_true(has(f, "4194304"));
    large[HTTP_BODY_BYTES_MAX] = ' ';
    large[HTTP_BODY_BYTES_MAX + 1] = '\0';
    ask(f, "POST", "/api/v1/measure", large);
    assert_int_equal(f->status, 413);
    assert_true(has(f, "the limit is 4194304"));
    free(large);
    /* Too much to be worth reading: an answer at once. */
    raw_gives(f, 413,
              "POST /api/v1/measure HTTP/1.1\r\n" LOCAL "Content-Length: 99999999999\r\n\r\n");
}

static void a_chunked_body_past_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    char piece[65536 + 16], head[512];
    int fd = connect_to(f);
    size_t head_len =
        (size_t)snprintf(head, sizeof(head),
                         "POST /api/v1/measure HTTP/1.1\r\n" LOCAL
                         "Content-Type: application/json\r\nConnection: close\r\n"
                         "Authorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n",
                         http_token(f->http));

    memcpy(piece, "10000\r\n", 7);
    memset(piece + 7, 'x', 65536);
    memcpy(piece + 7 + 65536, "\r\n", 2);
    writer_reset(&f->answer);
    send_all(fd, (view){(uint8_t *)head, head_len});
    for (size_t sent = 0; sent <= HTTP_BODY_BYTES_MAX; sent += 65536) {
        send_all(fd, (view){(uint8_t *)piece, 7 + 65536 + 2});
    }
    send_all(fd, VIEW("0\r\n\r\n"));
    while (receive(f, fd)) {
    }
    expect_status(f, 413);
    close(fd);
}

static int64_t metric(struct fixture *f, const char *name)
{
    const uint8_t *at = memmem(f->answer.at, f->answer.len, name, strlen(name));
    view line, rest;
    int64_t value = 0;

    assert_non_null(at);
    rest = view_from(writer_view(&f->answer), (size_t)(at - f->answer.at) + strlen(name));
    (void)view_cut(rest, '\n', &line, &rest);
    assert_int_equal(view_to_int(line, &value), OK);
    return value;
}

#define UPLOADS 17 /* one more than fit, at the limit of each */

static void bodies_have_a_limit_together(void **state)
{
    struct fixture *f = *state;
    uint8_t *body = xcalloc(1, HTTP_BODY_BYTES_MAX);
    char *head = text_format("POST /api/v1/measure HTTP/1.1\r\n" LOCAL "Connection: close\r\n"
                             "Content-Type: application/json\r\n"
                             "Authorization: Bearer %s\r\nContent-Length: %u\r\n\r\n",
                             http_token(f->http), HTTP_BODY_BYTES_MAX);
    int fds[UPLOADS];
    size_t taken = 0, refused = 0;

    for (size_t i = 0; i < UPLOADS; i++) { /* all but the last byte of each */
        fds[i] = connect_to(f);
        send_all(fds[i], view_text(head));
        send_all(fds[i], (view){body, HTTP_BODY_BYTES_MAX - 1});
    }
    do {
        ask(f, "GET", "/metrics", NULL);
    } while (metric(f, "\ntidemark_http_body_bytes ") < (64 << 20) - (64 << 10));
    for (size_t i = 0; i < UPLOADS; i++) {
        send_all(fds[i], (view){body, 1});
        writer_reset(&f->answer);
        while (receive(f, fds[i])) {
        }
        taken += has(f, "HTTP/1.1 200 ");
        refused += has(f, "HTTP/1.1 503 ") && has(f, "Retry-After: 1\r\n");
        close(fds[i]);
    }
    assert_int_equal(taken + refused, UPLOADS);
    assert_true(refused > 0);
    raw_gives(f, 415, "POST /api/v1/measure HTTP/1.1\r\n" LOCAL "Connection: close\r\n\r\n");
    ask(f, "POST", "/api/v1/measure", "{}"); /* all was given back */
    assert_int_equal(f->status, 200);
    free(body);
    free(head);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void garbled_requests_do_no_harm(void **state)
{
    static const char good[] = "POST /api/v1/things?limit=2&x=%41 HTTP/1.1\r\n" LOCAL
                               "Origin: http://localhost\r\nTransfer-Encoding: chunked\r\n"
                               "Content-Type: application/json\r\n\r\n"
                               "5\r\n{\"a\":\r\n3\r\n 1}\r\n0\r\n\r\n";
    struct fixture *f = *state;
    uint64_t seed = 0x7469646563;

    close_server(f);
    open_server(f, (struct http_config){.request_ms = 20}); /* most never become whole */
    for (int round = 0; round < 150; round++) {
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        for (uint64_t i = next_random(&seed) % 6; i > 0; i--) {
            text[next_random(&seed) % sizeof(good)] = (char)next_random(&seed);
        }
        int fd = connect_to(f);
        send_all(fd, (view){(uint8_t *)text, next_random(&seed) % sizeof(good)});
        (void)shutdown(fd, SHUT_WR);
        writer_reset(&f->answer);
        while (receive(f, fd)) {
        }
        close(fd);
        if (has(f, "HTTP/1.1 20")) {
            fail_msg("round %d was taken: %.*s", round, (int)sizeof(good), text);
        }
    }
    ask(f, "GET", "/healthz", NULL);
    assert_int_equal(f->status, 200);
}

static void two_requests_on_one_connection_get_two_answers(void **state)
{
    struct fixture *f = *state;

    raw(f, "GET /api/v1/things/one HTTP/1.1\r\n" LOCAL "\r\n" GET("/api/v1/things/two", LOCAL));
    assert_true(has(f, "{\"name\":\"one\""));
    assert_true(has(f, "{\"name\":\"two\""));
    /* A refused body is read to its end, so that the next request is found. */
    raw(f, "POST /api/v1/things HTTP/1.1\r\n" LOCAL
           "Content-Length: 5\r\n\r\n12345" GET("/api/v1/things/three", LOCAL));
    expect_status(f, 415);
    assert_true(has(f, "{\"name\":\"three\""));
}

static void headers_without_end_are_refused(void **state)
{
    struct fixture *f = *state;
    struct writer text = {0};

    write_format(&text, "GET /healthz HTTP/1.1\r\n" LOCAL "Connection: close\r\n");
    for (int i = 0; i < 100; i++) {
        write_format(&text, "X-%d: y\r\n", i);
    }
    write_format(&text, "\r\n%c", 0);
    raw_gives(f, 431, (const char *)text.at);
    writer_reset(&text);
    write_format(&text, "GET /healthz HTTP/1.1\r\n" LOCAL "X: ");
    memset(write_space(&text, 65536), 'y', 65536);
    write_u8(&text, 0);
    raw_gives(f, 431, (const char *)text.at);
    writer_fini(&text);
    raw(f, "complete nonsense\r\n\r\n");
    ask(f, "GET", "/healthz", NULL);
    assert_int_equal(f->status, 200);
}

static void a_request_that_never_ends_is_cut(void **state)
{
    struct fixture *f = *state;

    close_server(f);
    open_server(f, (struct http_config){.request_ms = 100});
    int fd = connect_to(f);
    writer_reset(&f->answer);
    send_all(fd, VIEW("GET /healthz HTTP/1.1\r\nHost: local"));
    while (receive(f, fd)) {
    }
    assert_false(has(f, "200 OK"));
    close(fd);
    fd = connect_to(f);
    send_all(fd, VIEW("POST /api/v1/measure HTTP/1.1\r\n" LOCAL "Content-Length: 9\r\n\r\nab"));
    while (receive(f, fd)) {
    }
    close(fd);
}

static void health_readiness_and_metrics_answer(void **state)
{
    struct fixture *f = *state;

    close_server(f);
    open_server(f, (struct http_config){.ready = ready});
    ask(f, "GET", "/healthz", NULL);
    assert_int_equal(f->status, 200);
    is_ready = true;
    ask(f, "GET", "/readyz", NULL);
    assert_int_equal(f->status, 200);
    is_ready = false;
    ask(f, "GET", "/readyz", NULL);
    assert_int_equal(f->status, 503);
    assert_true(has(f, "the log is being recovered"));
    ask(f, "GET", "/metrics", NULL);
    assert_int_equal(f->status, 200);
    assert_true(has(f, "# TYPE tidemark_http_answers_total counter\n"));
    assert_true(has(f, "tidemark_http_answers_total{class=\"2xx\"} 2\n"));
    assert_true(has(f, "# HELP test_bytes Bytes\\nkept\n# TYPE test_bytes gauge\n"));
    assert_true(has(f, "test_bytes{topic=\"a\\\"b\\\\c\\nd%FF\",partition=\"0\"} 17\n"));
    assert_true(has(f, "test_share 0.5\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(the_client_reads_and_writes),
        SERVED(a_fault_becomes_a_status_and_words),
        SERVED(an_unknown_path_names_the_nearest),
        SERVED(a_wrong_method_names_the_right_ones),
        SERVED(head_is_get_without_a_body),
        SERVED(only_our_own_hosts_are_served),
        SERVED(a_foreign_origin_is_refused),
        SERVED(smuggling_forms_are_refused_and_end_the_connection),
        SERVED(a_write_needs_json_and_the_token),
        SERVED(bodies_have_a_limit_however_they_come),
        SERVED(a_chunked_body_past_the_limit_is_refused),
        SERVED(bodies_have_a_limit_together),
        SERVED(garbled_requests_do_no_harm),
        SERVED(two_requests_on_one_connection_get_two_answers),
        SERVED(headers_without_end_are_refused),
        SERVED(a_request_that_never_ends_is_cut),
        SERVED(health_readiness_and_metrics_answer),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
