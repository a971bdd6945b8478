/* server.c - `tidemark server`: the only file that knows every module, and their order.
 *
 *   lock the folder -> log (recovers) -> coordinator (settles) -> Kafka -> audit -> HTTP ->
 * start lines SIGTERM: HTTP drains -> audit -> Kafka drains -> coordinator -> log flushes and
 * marks itself clean
 *
 * Invariant: who uses something is closed before it. SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "audit/audit.h"
#include "config.h"
#include "http/http.h"

#define STOP_SECONDS_MAX                                                                       \
    60 /* past it the process ends itself: recovery is safer than hanging */
#define EXIT_USAGE 2

struct server {
    struct config config;
    struct os *os;
    os_file lock;
    struct log *log;
    struct coord *coord;
    struct broker *broker;
    struct audit *audit;
    struct http *_Atomic http; /* its own handlers look at it while it opens */
    struct http_door doors[3]; /* what the HTTP API is made of */
    int64_t began_ns;
};

/* As many descriptors as the system lets us have; segments may keep a quarter of them open, so
 * that connections always find one. */
static void share_descriptors(struct config *config)
{
    struct rlimit files = {0};

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NOFILE, &files);
    int64_t quarter = (int64_t)MIN(files.rlim_cur / 4, INT32_MAX);
    config->log.files_max = MIN(config->log.files_max, MAX(quarter, 16));
}

static err lock_data(struct server *s)
{
    char *path = text_format("%s/tidemark.lock", s->config.data);
    err e = os_make_folder(s->os, s->config.data);

    e = e ? e : s->os->path_lock(s->os, path, &s->lock);
    if (e == ERR_BUSY) {
        e = fault(ERR_BUSY,
                  "the data folder %s is in use: another tidemark serves it; stop that one, or "
                  "give another --data",
                  s->config.data);
    }
    free(path);
    return e;
}

static err open_log(struct server *s)
{
    static const char *const reserved[] = {
        "__meta", "__consumer_offsets", "__transaction_state", "__sources", "__ledger.*", NULL};
    char *folder = text_format("%s/log", s->config.data);

    s->config.log.folder = folder;
    s->config.log.reserved = reserved;
    err e = log_open(s->os, &s->config.log, &s->log);
    s->config.log.folder = NULL;
    free(folder);
    return e;
}

static void server_metrics(void *self, struct writer *out)
{
    struct server *s = self;
    int64_t up_ns = s->os->tick_ns(s->os) - s->began_ns;
    const struct http_label version[] = {{"version", view_text(TIDEMARK_VERSION)}};

    http_metric(out, "tidemark_info", "gauge", "The program's version, as a label.");
    http_sample_int(out, "tidemark_info", version, COUNT(version), 1);
    http_metric(out, "tidemark_uptime_seconds", "gauge", "Time since the start.");
    http_sample(out, "tidemark_uptime_seconds", NULL, 0, (double)up_ns / 1e9);
    log_metrics(s->log, out);
    coord_metrics(s->coord, out);
    broker_metrics(s->broker, out);
}

static void start_to_json(const struct log_start *start, struct json_writer *j)
{
    json_name(j, "start");
    json_object(j);
    json_name(j, "clean");
    json_bool(j, start->clean);
    json_name(j, "recovered_bytes");
    json_int(j, start->recovered_bytes);
    json_name(j, "cut_bytes");
    json_int(j, start->cut_bytes);
    json_name(j, "took_ms");
    json_int(j, start->took_ms);
    json_end_object(j);
}

static void show_server(struct http_call *call)
{
    struct server *s = call->self;
    struct json_writer j = json_to(&call->out);
    struct http *http = s->http;
    char cluster[UUID_TEXT_BYTES];

    uuid_text(log_cluster_id(s->log), cluster);
    const char *const texts[][2] = {
        {"version", TIDEMARK_VERSION},
        {"kafka", broker_address(s->broker)},
        {"http", http ? http_address(http) : NULL},
        {"data", s->config.data},
        {"cluster", cluster},
    };
    json_object(&j);
    for (size_t i = 0; i < COUNT(texts); i++) {
        json_name(&j, texts[i][0]);
        json_text(&j, texts[i][1]);
    }
    json_name(&j, "uptime_ms");
    json_int(&j, (s->os->tick_ns(s->os) - s->began_ns) / 1000000);
    start_to_json(log_started(s->log), &j);
    json_name(&j, "config");
    config_to_json(&s->config, &j);
    json_end_object(&j);
    http_reply_json(call, 200);
}

static const struct http_route server_routes[] = {{"GET", "/api/v1/server", show_server, 0}};

static err open_http(struct server *s)
{
    s->doors[0] = (struct http_door){.routes = server_routes,
                                     .route_count = COUNT(server_routes),
                                     .self = s,
                                     .metrics = server_metrics};
    s->doors[1] = broker_door(s->broker);
    s->doors[2] = audit_door(s->audit);
    struct http_config config = {
        .listen = s->config.http_listen,
        .insecure_listen = s->config.insecure_listen,
        .data_folder = s->config.data,
        .doors = s->doors,
        .door_count = COUNT(s->doors),
        .drain_ms = s->config.broker.drain_ms,
    };
    struct http *http = NULL;

    err e = http_open(s->os, &config, &http);
    s->http = http;
    return e;
}

static err open_all(struct server *s)
{
    err e = lock_data(s);

    e = e ? e : open_log(s);
    e = e ? e : coord_open(s->log, &s->config.coord, &s->coord);
    if (!e) {
        coord_settle(s->coord);
        e = broker_open(s->os, &s->config.broker, s->log, s->coord, &s->broker);
    }
    s->config.audit.data_folder = s->config.data;
    e = e ? e : audit_open(s->os, &s->config.audit, s->log, &s->audit);
    return e ? e : open_http(s);
}

static void stop_took_too_long(int number)
{
    static const char words[] = "tidemark: the stop took too long; ending at once\n";

    (void)number;
    ssize_t ignored = write(STDERR_FILENO, words, sizeof(words) - 1);
    (void)ignored;
    _exit(1);
}

static void close_all(struct server *s)
{
    signal(SIGALRM, stop_took_too_long);
    alarm(STOP_SECONDS_MAX);
    http_close(s->http);
    audit_close(s->audit);
    broker_close(s->broker);
    coord_close(s->coord);
    log_close(s->log);
    if (s->lock != OS_FILE_NONE) {
        s->os->file_close(s->os, s->lock);
    }
    alarm(0);
}

static void say_ready(const struct server *s)
{
    const struct log_start *start = log_started(s->log);
    int64_t took_ms = (s->os->tick_ns(s->os) - s->began_ns) / 1000000;

    if (!start->clean && start->recovered_bytes) {
        trace_info(
            "server",
            "the last stop was not orderly: read %lld bytes back in %lld ms, dropped %lld "
            "bytes that nobody had been promised",
            (long long)start->recovered_bytes, (long long)start->took_ms,
            (long long)start->cut_bytes);
    }
    printf("kafka    %s\nhttp     %s\ndata     %s\nversion  %s\nready    in %lld ms\n",
           broker_address(s->broker), http_address(s->http), s->config.data, TIDEMARK_VERSION,
           (long long)took_ms);
    fflush(stdout);
}

static void wait_for_stop(const sigset_t *signals)
{
    int number = 0;

    while (sigwait(signals, &number)) {
    }
    trace_info("server", "stopping on %s", number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static int serve(struct server *s)
{
    sigset_t signals;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before threads start: they inherit it */
    share_descriptors(&s->config);
    err e = open_all(s);
    if (e) {
        fprintf(stderr, "tidemark: %s\n", fault_here.text);
    } else {
        say_ready(s);
        wait_for_stop(&signals);
    }
    close_all(s);
    return e ? EXIT_FAILURE : EXIT_SUCCESS;
}

int server_main(int argc, char **argv)
{
    struct server s = {.os = os_real(), .lock = OS_FILE_NONE};
    struct writer text = {0};
    bool help = false;
    int code = EXIT_USAGE;

    s.began_ns = s.os->tick_ns(s.os);
    err e = config_read(&s.config, argc, argv, &help);
    if (e) {
        fprintf(stderr, "tidemark: %s\n", fault_here.text);
    } else if (help) {
        config_help(&text);
        fwrite(text.at, 1, text.len, stdout);
        code = EXIT_SUCCESS;
    } else {
        trace_setup((enum trace_level)s.config.log_level, s.config.log_json);
        code = serve(&s);
    }
    writer_fini(&text);
    config_fini(&s.config);
    return code;
}
