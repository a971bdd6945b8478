/* api_produce_test.c - what a producer is told of a batch, against a whole broker.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/testing.h"

#include "base/base.h"

#define PRODUCE 0
#define CREATE_TOPICS 19
#define VERSION 8 /* the first that names records */
#define ALL (-1)
#define RECORDS 5

static int set_up(void **state)
{
    struct trial *t = xcalloc(1, sizeof(*t));

    trial_init(t);
    trial_open(t);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    trial_close(*state);
    free(*state);
    return 0;
}

static void create_compacted(int fd, const char *topic)
{
    struct writer w = {0}, answer = {0};
    struct reader body;

    trial_request(&w, CREATE_TOPICS, 0, 1, false);
    write_count(&w, false, 1);
    write_chars(&w, false, topic);
    write_i32(&w, 1); /* partition, replica */
    write_i16(&w, 1);
    write_count(&w, false, 0);
    write_count(&w, false, 1);
    write_chars(&w, false, "cleanup.policy");
    write_chars(&w, false, "compact");
    write_i32(&w, 10000);
    trial_send_request(fd, &w);
    assert_int_equal(trial_receive(fd, &answer, &body), 1);
    assert_int_equal(read_count(&body, false, 1), 1);
    read_text(&body, false);
    assert_int_equal(read_i16(&body), KAFKA_NONE);
    writer_fini(&w);
    writer_fini(&answer);
}

/* Five records; those whose bit is set in keyless have no key. */
static void send_batch(int fd, const char *topic, unsigned keyless, enum codec codec)
{
    struct writer w = {0};
    struct record records[RECORDS];
    struct batch_build build = {
        .records = records, .count = RECORDS, .codec = codec, .producer_id = -1};
    view batch;

    for (unsigned i = 0; i < RECORDS; i++) {
        records[i] = (struct record){.key = keyless & 1u << i ? (view){0} : VIEW("k"),
                                     .value = VIEW("v"),
                                     .timestamp_ms = os_real()->now_ms(os_real())};
    }
    struct buf *bytes = batch_new(&build, &batch);
    trial_request(&w, PRODUCE, VERSION, 1, false);
    write_chars(&w, false, NULL);
    write_i16(&w, ALL);
    write_i32(&w, 1000);
    write_count(&w, false, 1);
    write_chars(&w, false, topic);
    write_count(&w, false, 1);
    write_i32(&w, 0);
    write_blob(&w, false, batch);
    trial_send_request(fd, &w);
    buf_drop(bytes);
    writer_fini(&w);
}

/* Gives back the records named as bits; the answer's error in *error. */
static unsigned receive_named(int fd, int16_t *error)
{
    struct writer answer = {0};
    struct reader body;
    unsigned named = 0;

    assert_int_equal(trial_receive(fd, &answer, &body), 1);
    assert_int_equal(read_count(&body, false, 1), 1);
    read_text(&body, false);
    assert_int_equal(read_count(&body, false, 1), 1);
    assert_int_equal(read_i32(&body), 0);
    *error = read_i16(&body);
    read_i64(&body); /* base offset, append time, start */
    read_i64(&body);
    read_i64(&body);
    for (size_t left = read_count(&body, false, 6); left; left--) {
        named |= 1u << read_i32(&body);
        read_text_or_null(&body, false);
    }
    read_text_or_null(&body, false);
    assert_int_equal(read_i32(&body), 0); /* throttled */
    assert_false(body.bad);
    assert_int_equal(body.rest.len, 0);
    writer_fini(&answer);
    return named;
}

static void records_without_a_key_are_named_on_a_compacted_topic(void **state)
{
    struct trial *t = *state;
    int16_t error;

    int fd = trial_connect(t);
    create_compacted(fd, "kept");
    send_batch(fd, "kept", 1u << 1 | 1u << 4, CODEC_NONE);
    assert_int_equal(receive_named(fd, &error), 1u << 1 | 1u << 4);
    assert_int_equal(error, KAFKA_INVALID_RECORD);
    send_batch(fd, "kept", 0, CODEC_NONE);
    assert_int_equal(receive_named(fd, &error), 0);
    assert_int_equal(error, KAFKA_NONE);
    close(fd);
}

static void a_compressed_batch_is_refused_without_naming_records(void **state)
{
    struct trial *t = *state;
    int16_t error;

    int fd = trial_connect(t);
    create_compacted(fd, "kept");
    send_batch(fd, "kept", 1u << 2, CODEC_ZSTD);
    assert_int_equal(receive_named(fd, &error), 0);
    assert_int_equal(error, KAFKA_INVALID_RECORD);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_without_a_key_are_named_on_a_compacted_topic,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_compressed_batch_is_refused_without_naming_records,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
