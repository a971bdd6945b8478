/* broker.c - opening and closing the Kafka door. SPDX-License-Identifier: Apache-2.0 */
#include "broker/broker.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/connection.h"
#include "broker/listener.h"
#include "broker/loop.h"
#include "broker/meter.h"
#include "broker/quota.h"
#include "broker/request.h"

#define TRIM_MS 3000
#define TRIM_AFTER_BYTES (8 << 20) /* received since the last time */
#define TRIM_QUIET_BYTES (1 << 20) /* of requests under way */
#define DESCRIPTORS_KEPT 256 /* for everything that is neither a connection nor a segment */

void broker_config_preset(struct broker_config *config)
{
    *config = (struct broker_config){
        .listen = "127.0.0.1:9092",
        .net_threads = 1,
        .connections_max = 10000,
        .idle_ms_max = 600000,
        .request_bytes_max = 100 << 20,
        .queued_bytes_max = 48 << 20,
        .in_flight_max = 256,
        .drain_ms = 5000,
        .auto_create_topics = true,
        .num_partitions = 1,
        .fetch_bytes_max = 55 << 20,
    };
}

/* Connections leave room for segments, which take up to a quarter of what may be open. */
static int64_t connections_limit(int64_t wanted)
{
    struct rlimit files = {0};

    getrlimit(RLIMIT_NOFILE, &files);
    int64_t room = MAX((int64_t)MIN(files.rlim_cur, INT32_MAX) - DESCRIPTORS_KEPT, 16);
    return MIN(wanted, room - room / 4);
}

static err advertise(struct broker *b)
{
    int port = -1;
    char host[PEER_TEXT_BYTES];

    snprintf(host, sizeof(host), "%s", b->listener->host);
    if (b->config->advertised) {
        err e = address_split(view_text(b->config->advertised), host, &port);
        if (e) {
            return fault_prefix("the advertised address: ");
        }
    } else if (!strcmp(host, "0.0.0.0") || !strcmp(host, "::")) {
        trace_warn("broker",
                   "clients are told to connect to %s, which only works on this "
                   "machine; set kafka.advertised to what they can reach",
                   host);
    }
    b->host = xstrdup(host);
    b->port = port < 0 ? b->listener->port : port;
    return OK;
}

/* Something that a loop does while broker_close waits for it. */
struct order {
    struct job job;
    struct loop *loop;
    void (*what)(struct loop *loop);
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void order_run(struct job *job)
{
    struct order *order = (struct order *)job;

    order->what(order->loop);
    pthread_mutex_lock(&order->lock);
    order->is_done = true;
    pthread_cond_signal(&order->done);
    pthread_mutex_unlock(&order->lock);
}

static void order_loop(struct loop *loop, void (*what)(struct loop *loop))
{
    struct order order = {.job.work = order_run, .loop = loop, .what = what};

    pthread_mutex_init(&order.lock, NULL);
    pthread_cond_init(&order.done, NULL);
    loop_post(loop, &order.job);
    pthread_mutex_lock(&order.lock);
    while (!order.is_done) {
        pthread_cond_wait(&order.done, &order.lock);
    }
    pthread_mutex_unlock(&order.lock);
    pthread_cond_destroy(&order.done);
    pthread_mutex_destroy(&order.lock);
}

static void trim(struct job *job)
{
    malloc_trim(0);
    free(job);
}

/* What a burst of requests took goes back to the system once it is over: the allocator alone
 * would keep it. On a reader thread, because it takes milliseconds. */
static void trim_when_quiet(struct loop_timer *timer)
{
    struct loop *loop = (struct loop *)((char *)timer - offsetof(struct loop, trim));
    struct broker *b = loop->broker;
    int64_t in = 0;

    for (int i = 0; i < b->loop_count; i++) {
        in += b->loops[i].counts.bytes_in;
    }
    if (in - loop->trimmed_at > TRIM_AFTER_BYTES && b->frames.used_bytes < TRIM_QUIET_BYTES) {
        struct job *job = xcalloc(1, sizeof(*job));
        job->work = trim;
        log_run_blocking(b->log, job);
        loop->trimmed_at = in;
    }
    loop_timer_set(loop, timer, loop_now_ns(loop) + TRIM_MS * 1000000LL);
}

static void begin_trimming(struct loop *loop)
{
    loop->trim.ring = trim_when_quiet;
    loop_timer_set(loop, &loop->trim, loop_now_ns(loop) + TRIM_MS * 1000000LL);
}

err broker_open(struct os *os, const struct broker_config *config, struct log *log,
                struct coord *coord, struct broker **out)
{
    struct broker *b = xcalloc(1, sizeof(*b));
    struct broker_config *own = xmalloc(sizeof(*own));
    err e = OK;

    assert(config->net_threads > 0);
    *own = *config;
    own->listen = xstrdup(config->listen);
    own->advertised = config->advertised ? xstrdup(config->advertised) : NULL;
    b->config = own;
    b->os = os;
    b->log = log;
    b->coord = coord;
    b->quotas = quotas_new(os, config->produce_rate, config->fetch_rate);
    b->frames = (struct pool){.name = "request frames",
                              .limit_bytes = (size_t)config->queued_bytes_max};
    b->pieces = (struct pool){.name = "pieces of requests", .limit_bytes = SIZE_MAX};
    b->large_frames = (struct pool){.name = "large request frames",
                                    .limit_bytes = (size_t)config->request_bytes_max};
    uuid_text(log_cluster_id(log), b->cluster_id);
    b->listener = xcalloc(1, sizeof(*b->listener));
    b->listener->broker = b;
    b->listener->fd = -1;
    b->listener->limit = connections_limit(config->connections_max);
    b->loops = xcalloc((size_t)config->net_threads, sizeof(*b->loops));
    e = listener_open(b->listener, config->listen, config->insecure_listen);
    e = e ? e : advertise(b);
    while (!e && b->loop_count < config->net_threads) {
        e = loop_start(&b->loops[b->loop_count], b, b->loop_count);
        b->loop_count += e ? 0 : 1;
    }
    if (e) {
        broker_close(b);
        return e;
    }
    order_loop(&b->loops[0], begin_trimming);
    listener_begin(b->listener);
    *out = b;
    return OK;
}

const char *broker_address(const struct broker *broker)
{
    return broker->listener->address;
}

int broker_port(const struct broker *broker)
{
    return broker->listener->port;
}

static void stop_accepting(struct loop *loop)
{
    loop_timer_cancel(loop, &loop->trim);
    listener_end(loop->broker->listener);
}

static void drain(struct loop *loop)
{
    loop_timer_set(loop, &loop->limit,
                   loop_now_ns(loop) + loop->broker->config->drain_ms * 1000000);
    connections_drain(loop);
    loop_settle(loop);
}

void broker_close(struct broker *broker)
{
    if (!broker) {
        return;
    }
    if (broker->listener->begin.work) {
        order_loop(&broker->loops[0], stop_accepting);
    } else if (broker->listener->fd >= 0) {
        close(broker->listener->fd);
    }
    for (int i = 0; i < broker->loop_count; i++) {
        order_loop(&broker->loops[i], drain);
    }
    for (int i = 0; i < broker->loop_count; i++) {
        loop_join(&broker->loops[i]);
    }
    quotas_free(broker->quotas);
    free(broker->loops);
    free(broker->listener);
    free((char *)(uintptr_t)broker->host);
    free((char *)(uintptr_t)broker->config->listen);
    free((char *)(uintptr_t)broker->config->advertised);
    free((struct broker_config *)(uintptr_t)broker->config);
    free(broker);
}

static void metric(struct writer *out, const char *name, const char *type, const char *help,
                   int64_t value)
{
    write_format(out,
                 "# HELP tidemark_kafka_%s %s\n# TYPE tidemark_kafka_%s %s\n"
                 "tidemark_kafka_%s %lld\n",
                 name, help, name, type, name, (long long)value);
}

void broker_metrics(struct broker *broker, struct writer *out)
{
    int64_t requests = 0, in = 0, sent = 0, opened = 0, refused = 0, broken = 0;

    for (int i = 0; i < broker->loop_count; i++) {
        struct loop_counts *counts = &broker->loops[i].counts;
        requests += counts->requests;
        in += counts->bytes_in;
        sent += counts->bytes_out;
        opened += counts->opened;
        refused += counts->refused;
        broken += counts->broken;
    }
    metric(out, "connections", "gauge", "Open connections.", broker->listener->open);
    metric(out, "connections_limit", "gauge", "Connections beyond it are refused.",
           broker->listener->limit);
    metric(out, "connections_opened_total", "counter", "Connections accepted.", opened);
    metric(out, "connections_refused_total", "counter", "Connections over the limit.", refused);
    metric(out, "connections_broken_total", "counter", "Closed for what the client did.",
           broken);
    metric(out, "requests_total", "counter", "Requests received.", requests);
    metric(out, "received_bytes_total", "counter", "Bytes received.", in);
    metric(out, "sent_bytes_total", "counter", "Bytes sent.", sent);
    metric(out, "request_memory_bytes", "gauge", "Frames of requests in memory.",
           (int64_t)(broker->frames.used_bytes + broker->large_frames.used_bytes +
                     broker->pieces.used_bytes));
    meters_write(broker->loops, broker->loop_count, out);
}
