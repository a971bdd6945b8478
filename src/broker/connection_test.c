/* connection_test.c - sockets against a whole broker: order, pieces, lies, limits, ends.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/loop.h"
#include "broker/testing.h"

#include "base/base.h"

#define API_VERSIONS 18
#define METADATA 3

static int set_up(void **state)
{
    struct trial *t = xcalloc(1, sizeof(*t));

    trial_init(t);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    trial_close(*state);
    free(*state);
    return 0;
}

static void ask_versions(int fd, int32_t correlation)
{
    struct writer w = {0};

    trial_request(&w, API_VERSIONS, 0, correlation, false);
    trial_send_request(fd, &w);
    writer_fini(&w);
}

static void expect_versions(int fd, int32_t correlation)
{
    struct writer answer = {0};
    struct reader body;

    assert_int_equal(trial_receive(fd, &answer, &body), correlation);
    assert_int_equal(read_i16(&body), KAFKA_NONE);
    assert_int_equal(read_count(&body, false, 6), api_count);
    writer_fini(&answer);
}

static void expect_produced(int fd, int32_t correlation, int16_t error, int64_t offset)
{
    struct writer answer = {0};
    struct reader body;

    assert_int_equal(trial_receive(fd, &answer, &body), correlation);
    read_count(&body, false, 1);
    read_text(&body, false);
    read_count(&body, false, 1);
    read_i32(&body);
    assert_int_equal(read_i16(&body), error);
    assert_int_equal(read_i64(&body), offset);
    assert_false(body.bad);
    writer_fini(&answer);
}

static void answers_come_in_the_order_of_the_requests(void **state)
{
    struct trial *t = *state;
    struct writer w = {0}, all = {0};
    const int rounds = 50;

    trial_open(t);
    trial_topic(t, "t", 1);
    int fd = trial_connect(t);
    for (int i = 0; i < rounds; i++) { /* a slow one, then one that is answered at once */
        trial_produce(&w, 2 * i, "t", 0, -1, VIEW("x"));
        put_u32(w.at, (uint32_t)(w.len - 4));
        write_view(&all, writer_view(&w));
        trial_request(&w, API_VERSIONS, 0, 2 * i + 1, false);
        put_u32(w.at, (uint32_t)(w.len - 4));
        write_view(&all, writer_view(&w));
    }
    trial_send(fd, writer_view(&all));
    for (int i = 0; i < rounds; i++) {
        expect_produced(fd, 2 * i, KAFKA_NONE, i);
        expect_versions(fd, 2 * i + 1);
    }
    close(fd);
    writer_fini(&w);
    writer_fini(&all);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};

    trial_open(t);
    int fd = trial_connect(t);
    trial_request(&w, API_VERSIONS, 0, 7, false);
    put_u32(w.at, (uint32_t)(w.len - 4));
    for (size_t i = 0; i < w.len; i++) {
        trial_send(fd, (view){w.at + i, 1});
    }
    expect_versions(fd, 7);
    close(fd);
    writer_fini(&w);
}

static void a_large_frame_and_what_follows_it_arrive(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};
    size_t len = 700 << 10;
    uint8_t *value = xcalloc(1, len);

    trial_open(t);
    trial_topic(t, "t", 1);
    int fd = trial_connect(t);
    trial_produce(&w, 1, "t", 0, -1, (view){value, len});
    trial_send_request(fd, &w);
    ask_versions(fd, 2);
    expect_produced(fd, 1, KAFKA_NONE, 0);
    expect_versions(fd, 2);
    close(fd);
    free(value);
    writer_fini(&w);
}

static void expect_break(struct trial *t, view bytes)
{
    int fd = trial_connect(t), other;

    trial_send(fd, bytes);
    assert_true(trial_is_closed(fd));
    close(fd);
    other = trial_connect(t); /* the server lives on */
    ask_versions(other, 1);
    expect_versions(other, 1);
    close(other);
}

static void frames_that_lie_close_their_connection_only(void **state)
{
    struct trial *t = *state;

    trial_open(t);
    expect_break(t, VIEW("\x7f\xff\xff\xff"));                      /* two gigabytes */
    expect_break(t, VIEW("\xff\xff\xff\xff"));                      /* negative */
    expect_break(t, VIEW("\0\0\0\0"));                              /* empty */
    expect_break(t, VIEW("GET / HTTP/1.1\r\n\r\n"));                /* another protocol */
    expect_break(t, VIEW("\0\0\0\1x"));                             /* a header cut short */
    expect_break(t, VIEW("\0\0\0\12\x03\xe7\0\0\0\0\0\1\xff\xff")); /* no such API */
    expect_break(t, VIEW("\0\0\0\12\0\3\0\x63\0\0\0\1\xff\xff"));   /* no such version */
    expect_break(t, VIEW("\0\0\0\16\0\3\0\1\0\0\0\1\xff\xff\x7f\xff\xff\xff")); /* a count */
}

static void an_unknown_version_of_api_versions_is_answered_in_version_0(void **state)
{
    struct trial *t = *state;
    struct writer w = {0}, answer = {0};
    struct reader body;

    trial_open(t);
    int fd = trial_connect(t);
    trial_request(&w, API_VERSIONS, 99, 5, true);
    write_bytes(&w, "\xff\xff", 2); /* a body of the future */
    trial_send_request(fd, &w);
    assert_int_equal(trial_receive(fd, &answer, &body), 5);
    assert_int_equal(read_i16(&body), KAFKA_UNSUPPORTED_VERSION);
    assert_int_equal(read_count(&body, false, 6), 1);
    assert_int_equal(read_i16(&body), API_VERSIONS);
    assert_int_equal(read_i16(&body), 0);
    assert_true(read_i16(&body) >= 3);
    assert_int_equal(body.rest.len, 0);
    close(fd);
    writer_fini(&w);
    writer_fini(&answer);
}

static void produces_without_acks_are_not_answered_but_kept(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};

    trial_open(t);
    trial_topic(t, "t", 1);
    int fd = trial_connect(t);
    trial_produce(&w, 1, "t", 0, 0, VIEW("silent"));
    trial_send_request(fd, &w);
    trial_produce(&w, 2, "t", 0, -1, VIEW("loud"));
    trial_send_request(fd, &w);
    expect_produced(fd, 2, KAFKA_NONE, 1); /* the silent one has offset 0 */
    close(fd);
    writer_fini(&w);
}

static void a_failed_produce_without_acks_closes_the_connection(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};

    trial_open(t);
    int fd = trial_connect(t);
    trial_produce(&w, 1, "missing", 0, 0, VIEW("x"));
    trial_send_request(fd, &w);
    assert_true(trial_is_closed(fd));
    close(fd);
    writer_fini(&w);
}

static int64_t fetched_bytes(int fd, int32_t correlation)
{
    struct writer answer = {0};
    struct reader body;

    assert_int_equal(trial_receive(fd, &answer, &body), correlation);
    read_bytes(&body, 4 + 2 + 4 + 4); /* throttle, error, session, topics */
    read_text(&body, false);
    read_bytes(&body, 4 + 4); /* partitions, index */
    assert_int_equal(read_i16(&body), KAFKA_NONE);
    read_bytes(&body, 8 + 8 + 8 + 4 + 4);
    view records = read_blob(&body, false);
    assert_false(body.bad);
    writer_fini(&answer);
    return (int64_t)records.len;
}

static void many_requests_in_one_piece_are_begun_a_few_at_a_time(void **state)
{
    struct trial *t = *state;
    struct writer w = {0}, all = {0};
    const int fetches = 300;

    t->config.in_flight_max = 7;
    trial_open(t);
    trial_topic(t, "t", 1);
    int fd = trial_connect(t), other = trial_connect(t);
    for (int i = 0; i < fetches; i++) { /* each parks */
        trial_fetch(&w, i, "t", 0, 60000, 1);
        put_u32(w.at, (uint32_t)(w.len - 4));
        write_view(&all, writer_view(&w));
    }
    trial_send(fd, writer_view(&all));
    for (int i = 0; i < 100; i++) { /* the loop has turned often since */
        ask_versions(other, i);
        expect_versions(other, i);
    }
    int64_t begun = t->broker->loops[0].counts.requests - 100;
    assert_true(begun <= 7);
    trial_produce(&w, 1, "t", 0, -1, VIEW("news"));
    trial_send_request(other, &w);
    expect_produced(other, 1, KAFKA_NONE, 0);
    for (int i = 0; i < fetches; i++) {
        assert_true(fetched_bytes(fd, i) > 0);
    }
    close(fd);
    close(other);
    writer_fini(&w);
    writer_fini(&all);
}

static void a_parked_fetch_is_woken_by_a_produce(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};

    trial_open(t);
    trial_topic(t, "t", 1);
    int reader = trial_connect(t), writer = trial_connect(t);
    trial_fetch(&w, 1, "t", 0, 60000, 1);
    trial_send_request(reader, &w);
    trial_produce(&w, 2, "t", 0, -1, VIEW("news"));
    trial_send_request(writer, &w);
    expect_produced(writer, 2, KAFKA_NONE, 0);
    assert_true(fetched_bytes(reader, 1) > BATCH_HEAD_BYTES);
    close(reader);
    close(writer);
    writer_fini(&w);
}

static void a_fetch_of_nothing_new_is_answered_when_its_time_is_up(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};

    trial_open(t);
    trial_topic(t, "t", 1);
    int fd = trial_connect(t);
    trial_fetch(&w, 1, "t", 0, 30, 1);
    trial_send_request(fd, &w);
    assert_int_equal(fetched_bytes(fd, 1), 0);
    close(fd);
    writer_fini(&w);
}

static int16_t fetch_error(int fd, int32_t correlation)
{
    struct writer answer = {0};
    struct reader body;

    assert_int_equal(trial_receive(fd, &answer, &body), correlation);
    read_bytes(&body, 4 + 2 + 4 + 4);
    read_text(&body, false);
    read_bytes(&body, 4 + 4);
    int16_t error = read_i16(&body);
    assert_false(body.bad);
    writer_fini(&answer);
    return error;
}

static void a_parked_fetch_of_a_topic_that_goes_is_answered(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};

    trial_open(t);
    trial_topic(t, "t", 1);
    int fd = trial_connect(t);
    trial_fetch(&w, 1, "t", 0, 60000, 1);
    trial_send_request(fd, &w);
    trial_delete(t, "t");
    assert_int_equal(fetch_error(fd, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    close(fd);
    writer_fini(&w);
}

static void clients_that_leave_while_parked_leave_nothing_behind(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};

    trial_open(t);
    trial_topic(t, "t", 1);
    for (int i = 0; i < 20; i++) {
        int fd = trial_connect(t);
        trial_fetch(&w, 1, "t", 0, 60000, 1);
        trial_send_request(fd, &w);
        ask_versions(fd, 2);
        shutdown(fd, SHUT_WR);
        assert_true(trial_is_closed(fd)); /* no answer: the fetch before it is not over */
        close(fd);
    }
    writer_fini(&w); /* the sanitizer and the loop's own assertions look at the rest */
}

static void a_slow_reader_gets_every_byte(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};
    const int records = 24;
    size_t len = 900 << 10;
    uint8_t *value = xcalloc(1, len);
    int small = 256 << 10;

    trial_open(t);
    trial_topic(t, "t", 1);
    int writer = trial_connect(t), reader = trial_connect(t);
    setsockopt(reader, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    for (int i = 0; i < records; i++) {
        trial_produce(&w, i, "t", 0, -1, (view){value, len});
        trial_send_request(writer, &w);
        expect_produced(writer, i, KAFKA_NONE, i);
    }
    for (int i = 0; i < 3; i++) { /* several answers wait behind one another */
        trial_fetch(&w, i, "t", 0, 0, 1);
        trial_send_request(reader, &w);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(fetched_bytes(reader, i) > records * (int64_t)len);
    }
    close(reader);
    close(writer);
    free(value);
    writer_fini(&w);
}

static void idle_connections_are_closed(void **state)
{
    struct trial *t = *state;

    t->config.idle_ms_max = 100;
    trial_open(t);
    int fd = trial_connect(t);
    ask_versions(fd, 1);
    expect_versions(fd, 1);
    assert_true(trial_is_closed(fd));
    close(fd);
}

static void connections_over_the_limit_are_refused_until_one_leaves(void **state)
{
    struct trial *t = *state;

    t->config.connections_max = 2;
    trial_open(t);
    int first = trial_connect(t), second = trial_connect(t);
    ask_versions(first, 1);
    ask_versions(second, 1);
    expect_versions(first, 1);
    expect_versions(second, 1);
    int third = trial_connect(t);
    assert_true(trial_is_closed(third));
    close(first);
    for (int tries = 0;; tries++) { /* until the server has noticed */
        close(third);
        third = trial_connect(t);
        struct writer w = {0};
        uint8_t byte;
        trial_request(&w, API_VERSIONS, 0, 1, false);
        put_u32(w.at, (uint32_t)(w.len - 4));
        (void)!send(third, w.at, w.len, MSG_NOSIGNAL);
        writer_fini(&w);
        if (recv(third, &byte, 1, MSG_PEEK) == 1) {
            break;
        }
        assert_true(tries < 10000);
    }
    expect_versions(third, 1);
    close(second);
    close(third);
}

static void requests_wait_unread_while_their_memory_is_taken(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};
    enum { CLIENTS = 8 };
    int clients[CLIENTS];
    size_t len = 400 << 10;
    uint8_t *value = xcalloc(1, len);

    t->config.queued_bytes_max = 1 << 20;
    t->config.request_bytes_max = 4 << 20;
    trial_open(t);
    trial_topic(t, "t", 1);
    trial_produce(&w, 1, "t", 0, -1, (view){value, len});
    put_u32(w.at, (uint32_t)(w.len - 4));
    for (int i = 0; i < CLIENTS; i++) { /* half of a frame each: more than the limit */
        clients[i] = trial_connect(t);
        trial_send(clients[i], view_upto(writer_view(&w), w.len / 2));
    }
    for (int i = 0; i < CLIENTS; i++) {
        trial_send(clients[i], view_from(writer_view(&w), w.len / 2));
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct writer answer = {0};
        struct reader body;
        assert_int_equal(trial_receive(clients[i], &answer, &body), 1);
        writer_fini(&answer);
        close(clients[i]);
    }
    assert_int_equal(t->broker->frames.used_bytes, 0);
    free(value);
    writer_fini(&w);
}

static void a_quota_is_paid_back_by_waiting(void **state)
{
    struct trial *t = *state;
    struct writer w = {0}, answer = {0};
    struct reader body;
    size_t len = 150 << 10;
    uint8_t *value = xcalloc(1, len);

    t->config.produce_rate = 100 << 10;
    trial_open(t);
    trial_topic(t, "t", 1);
    int fd = trial_connect(t);
    trial_produce(&w, 1, "t", 0, -1, (view){value, len});
    trial_send_request(fd, &w);
    int64_t began = os_real()->tick_ns(os_real());
    trial_receive(fd, &answer, &body); /* at once */
    body.rest = view_from(body.rest, body.rest.len - 4);
    int32_t throttle_ms = read_i32(&body);
    assert_in_range(throttle_ms, 100, 600);
    ask_versions(fd, 2);
    expect_versions(fd, 2); /* not before the time is over */
    assert_true((os_real()->tick_ns(os_real()) - began) / 1000000 >= throttle_ms - 5);
    close(fd);
    free(value);
    writer_fini(&w);
    writer_fini(&answer);
}

static void closing_finishes_what_is_under_way(void **state)
{
    struct trial *t = *state;
    struct writer w = {0};

    trial_open(t);
    trial_topic(t, "t", 1);
    int parked = trial_connect(t), fd = trial_connect(t);
    trial_fetch(&w, 1, "t", 0, 60000, 1);
    trial_send_request(parked, &w);
    ask_versions(fd, 1);
    expect_versions(fd, 1);
    trial_produce(&w, 2, "t", 0, -1, VIEW("last"));
    trial_send_request(fd, &w);
    int64_t began = os_real()->tick_ns(os_real());
    expect_produced(fd, 2, KAFKA_NONE, 0);
    broker_close(t->broker);
    t->broker = NULL;
    assert_true(os_real()->tick_ns(os_real()) - began <
                900000000); /* idle ones hold nothing up */
    assert_true(trial_is_closed(fd));
    close(parked);
    close(fd);
    writer_fini(&w);
}

static void an_address_that_others_reach_is_refused(void **state)
{
    struct trial *t = *state;
    struct broker *broker = NULL;

    trial_open(t);
    t->config.listen = "0.0.0.0:0";
    assert_int_equal(broker_open(os_real(), &t->config, t->log, t->coord, &broker), ERR_DENIED);
    assert_non_null(strstr(fault_here.text, "--insecure-listen"));
    t->config.listen = broker_address(t->broker);
    assert_int_equal(broker_open(os_real(), &t->config, t->log, t->coord, &broker), ERR_BUSY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_come_in_the_order_of_the_requests),
        TEST(a_request_may_come_byte_by_byte),
        TEST(a_large_frame_and_what_follows_it_arrive),
        TEST(frames_that_lie_close_their_connection_only),
        TEST(an_unknown_version_of_api_versions_is_answered_in_version_0),
        TEST(produces_without_acks_are_not_answered_but_kept),
        TEST(a_failed_produce_without_acks_closes_the_connection),
        TEST(many_requests_in_one_piece_are_begun_a_few_at_a_time),
        TEST(a_parked_fetch_is_woken_by_a_produce),
        TEST(a_fetch_of_nothing_new_is_answered_when_its_time_is_up),
        TEST(a_parked_fetch_of_a_topic_that_goes_is_answered),
        TEST(clients_that_leave_while_parked_leave_nothing_behind),
        TEST(a_slow_reader_gets_every_byte),
        TEST(idle_connections_are_closed),
        TEST(connections_over_the_limit_are_refused_until_one_leaves),
        TEST(requests_wait_unread_while_their_memory_is_taken),
        TEST(a_quota_is_paid_back_by_waiting),
        TEST(closing_finishes_what_is_under_way),
        TEST(an_address_that_others_reach_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
