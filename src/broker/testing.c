/* testing.c - a broker and a hand-made client for tests. SPDX-License-Identifier: Apache-2.0 */
#include "broker/testing.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/base.h"

#define RECEIVE_SECONDS 10

void trial_init(struct trial *t)
{
    *t = (struct trial){.folder = "/tmp/broker-test-XXXXXX"};
    broker_config_preset(&t->config);
    t->config.listen = "127.0.0.1:0";
    t->config.drain_ms = 1000;
    char *made = mkdtemp(t->folder);
    assert(made);
}

void trial_open(struct trial *t)
{
    struct log_config log;
    struct coord_config coord;

    log_config_preset(&log);
    log.folder = t->folder;
    log.journal_bytes_max = 16 << 20;
    err e = log_open(os_real(), &log, &t->log);
    assert(e == OK);
    free(log.defaults.compression_type);
    coord_config_preset(&coord);
    e = coord_open(t->log, &coord, &t->coord);
    assert(e == OK);
    e = broker_open(os_real(), &t->config, t->log, t->coord, &t->broker);
    assert(e == OK);
}

void trial_close(struct trial *t)
{
    broker_close(t->broker);
    coord_close(t->coord);
    log_close(t->log);
    err e = os_remove_tree(os_real(), t->folder);
    assert(e == OK);
}

struct awaited {
    struct log_change change;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void change_done(struct log_change *change)
{
    struct awaited *c = (struct awaited *)change;

    pthread_mutex_lock(&c->lock);
    c->is_done = true;
    pthread_cond_signal(&c->done);
    pthread_mutex_unlock(&c->lock);
}

static void run_change(struct trial *t, struct awaited *c)
{
    c->change.done = change_done;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->done, NULL);
    log_change(t->log, &c->change);
    pthread_mutex_lock(&c->lock);
    while (!c->is_done) {
        pthread_cond_wait(&c->done, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    assert(!c->change.fault);
    topic_drop(c->change.topic);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->lock);
}

void trial_topic(struct trial *t, const char *name, int32_t partitions)
{
    struct awaited c = {.change = {.kind = LOG_TOPIC_CREATE,
                                   .name = view_text(name),
                                   .partition_count = partitions}};

    run_change(t, &c);
}

void trial_delete(struct trial *t, const char *name)
{
    struct awaited c = {
        .change = {.kind = LOG_TOPIC_DELETE, .topic = log_topic(t->log, view_text(name))}};

    run_change(t, &c);
}

int trial_connect(struct trial *t)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)broker_port(t->broker)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = RECEIVE_SECONDS};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert(fd >= 0);
    int failed = connect(fd, (struct sockaddr *)&at, sizeof(at));
    assert(!failed);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

void trial_send(int fd, view bytes)
{
    while (bytes.len) {
        ssize_t sent = send(fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        assert(sent > 0);
        bytes = view_from(bytes, (size_t)sent);
    }
}

void trial_request(struct writer *w, int16_t key, int16_t version, int32_t correlation,
                   bool flexible)
{
    writer_reset(w);
    write_i32(w, 0);
    write_i16(w, key);
    write_i16(w, version);
    write_i32(w, correlation);
    write_text(w, false, VIEW("test"));
    write_no_tags(w, flexible);
}

void trial_send_request(int fd, struct writer *w)
{
    put_u32(w->at, (uint32_t)(w->len - 4));
    trial_send(fd, writer_view(w));
    writer_reset(w);
}

static void receive_all(int fd, uint8_t *at, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t got = recv(fd, at + have, len - have, 0);
        assert(got > 0); /* else no answer came in time, or the connection was closed */
        have += (size_t)got;
    }
}

int32_t trial_receive(int fd, struct writer *answer, struct reader *body)
{
    uint8_t head[4];

    receive_all(fd, head, sizeof(head));
    writer_reset(answer);
    write_space(answer, get_u32(head));
    receive_all(fd, answer->at, answer->len);
    *body = (struct reader){.rest = writer_view(answer)};
    return read_i32(body);
}

bool trial_is_closed(int fd)
{
    uint8_t byte;

    return recv(fd, &byte, 1, 0) == 0 || errno == ECONNRESET;
}

void trial_produce(struct writer *w, int32_t correlation, const char *topic, int32_t partition,
                   int16_t acks, view value)
{
    struct record record = {.value = value, .timestamp_ms = os_real()->now_ms(os_real())};
    struct batch_build build = {.records = &record, .count = 1, .producer_id = -1};
    view batch;
    struct buf *bytes = batch_new(&build, &batch);

    trial_request(w, 0, 7, correlation, false);
    write_chars(w, false, NULL);
    write_i16(w, acks);
    write_i32(w, 1000);
    write_count(w, false, 1);
    write_chars(w, false, topic);
    write_count(w, false, 1);
    write_i32(w, partition);
    write_blob(w, false, batch);
    buf_drop(bytes);
}

void trial_fetch(struct writer *w, int32_t correlation, const char *topic, int64_t offset,
                 int32_t wait_ms, int32_t bytes_min)
{
    trial_request(w, 1, 11, correlation, false);
    write_i32(w, -1); /* replica */
    write_i32(w, wait_ms);
    write_i32(w, bytes_min);
    write_i32(w, 64 << 20);
    write_u8(w, 0);
    write_i32(w, 0); /* session */
    write_i32(w, -1);
    write_count(w, false, 1);
    write_chars(w, false, topic);
    write_count(w, false, 1);
    write_i32(w, 0);
    write_i32(w, -1);
    write_i64(w, offset);
    write_i64(w, -1);
    write_i32(w, 64 << 20);
    write_count(w, false, 0);
    write_chars(w, false, "");
}
