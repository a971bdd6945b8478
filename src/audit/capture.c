/* capture.c - a source's thread: sessions one after another, and the loop over the stream.
 *
 * A session is one replication connection with what hangs on it: stitch, lanes, writers. It
 * begins by looking at what is on the topics behind the last seal, so that nothing is known
 * from before a crash that is not on disk. SPDX-License-Identifier: Apache-2.0 */
#include "audit/capture.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "audit/capture_inside.h"
#include "audit/secrets.h"

#define RETRY_MS_LEAST 200
#define RETRY_MS_MOST 10000
#define MESSAGES_BETWEEN_STEPS 512
#define GATHER_MS 2 /* the longest that a dry socket is left alone */
#define HEALTHY_NS                                                                             \
    INT64_C(30000000000) /* a session this long is not part of a failure's row                 \
                          */

bool capture_is_ending(const struct capture *c)
{
    return atomic_load(&c->stopping);
}

void capture_wake(void *self)
{
    struct capture *c = self;
    uint64_t one = 1;
    ssize_t ignored = write(c->wake_fd, &one, sizeof(one)); /* full: it is awake anyway */

    (void)ignored;
}

void capture_sleep(struct capture *c, int64_t wait_ms, bool socket)
{
    struct pollfd fds[2] = {{.fd = c->wake_fd, .events = POLLIN}};
    uint64_t times = 0;
    nfds_t count = 1;

    if (socket && c->stream) {
        fds[count++] = (struct pollfd){.fd = pg_socket(c->stream), .events = POLLIN};
    }
    if (poll(fds, count, (int)MIN(MAX(wait_ms, 0), 60000)) > 0 && (fds[0].revents & POLLIN)) {
        ssize_t ignored = read(c->wake_fd, &times, sizeof(times));
        (void)ignored;
    }
}

err capture_wait(void *self)
{
    struct capture *c = self;

    if (capture_is_ending(c)) {
        return fault(ERR_CANCELLED, "it is being stopped");
    }
    capture_sleep(c, CAPTURE_WAIT_MS, false);
    return capture_step(c);
}

void capture_say(struct capture *c, const char *words)
{
    source_status_words(c->source, words);
}

static void envelope_options_fill(struct capture *c)
{
    const struct source_options *o = &c->source->options;

    c->envelope = (struct envelope_options){
        .source = view_text(c->source->name),
        .database = view_text(c->database),
        .schemas = o->schemas,
        .tombstones = o->tombstones,
        .decimals = (enum decimal_mode)o->decimals,
        .binaries = (enum binary_mode)o->binaries,
        .intervals = (enum interval_mode)o->intervals,
        .hstores = (enum hstore_mode)o->hstores,
        .times = (enum time_mode)o->times,
        .types = {.find = capture_type, .self = c},
    };
}

err capture_writers_open(struct capture *c)
{
    const struct source_options *o = &c->source->options;
    struct lanes_config lanes = {.os = c->os,
                                 .log = c->log,
                                 .ledger = c->ledger,
                                 .keep_ms = o->keep_ms,
                                 .wake = capture_wake,
                                 .self = c};
    uint8_t key[RULES_KEY_BYTES];
    struct ledger_end end;

    ledger_end(c->ledger, &end);
    c->sealed_from = c->flushed_lsn = end.to;
    c->open = (struct round){.to = end.to};
    c->cut = CUT_NONE;
    c->in_transaction = false;
    c->keepalive_lsn = c->received_lsn = c->asked_lsn = 0;
    c->cut_ns = 0;
    err e = secrets_mask_key(c->audit, c->source->name, key);
    e = e ? e : rules_new(o->ignore, o->mask, key, &c->rules);
    explicit_bzero(key, sizeof(key));
    if (e) {
        return e;
    }
    envelope_options_fill(c);
    c->lanes = lanes_new(&lanes);
    c->writer = lane_writer_new(c->lanes, true, capture_wait, c);
    return OK;
}

void capture_writers_close(struct capture *c)
{
    capture_seal_end(c);
    capture_snapshot_end(c, false);
    capture_tables_clear(c);
    lane_writer_free(c->writer);
    lanes_free(c->lanes);
    rules_free(c->rules);
    envelope_out_fini(&c->out);
    c->out = (struct envelope_out){0};
    c->writer = NULL;
    c->lanes = NULL;
    c->rules = NULL;
    c->messages = c->transactions = c->heartbeats = NULL;
}

static err on_item(struct capture *c, const struct pg_stream_item *item)
{
    c->received_lsn = MAX(c->received_lsn, item->wal_end);
    if (item->is_data) {
        err e = stitch_feed(c->stitch, item->wal_start, item->payload);
        c->fatal = c->fatal || e == ERR_CORRUPT;
        return e;
    }
    c->keepalive_lsn = item->wal_end;
    c->asked_lsn = item->reply_requested ? item->wal_end : c->asked_lsn;
    return item->reply_requested ? capture_report(c, true) : OK;
}

static void publish(struct capture *c)
{
    struct source_status *status = &c->source->status;

    c->publish_due_ns = c->os->tick_ns(c->os) + INT64_C(200000000);
    pthread_mutex_lock(&c->source->lock);
    status->server_lsn = MAX(status->server_lsn, c->received_lsn);
    status->malformed_contexts = stitch_malformed(c->stitch);
    status->spooled_bytes = stitch_spooled(c->stitch);
    pthread_mutex_unlock(&c->source->lock);
}

/* What is due by the clock or was asked for by others. */
static err turn(struct capture *c)
{
    int64_t now = c->os->tick_ns(c->os);
    int64_t every_ms = c->source->options.heartbeat_ms;
    err e = capture_step(c);

    e = e ? e : capture_snapshot_step(c);
    if (!e && every_ms && now >= c->heartbeat_due_ns) {
        c->heartbeat_due_ns = now + every_ms * 1000000;
        e = capture_heartbeat(c);
    }
    e = e ? e : capture_cut(c, false);
    if (now >= c->publish_due_ns) {
        publish(c);
    }
    return e;
}

static int64_t wait_ms(const struct capture *c)
{
    int64_t due = capture_due_ns(c);
    int64_t now = c->os->tick_ns(c->os);

    if (c->snapshot) {
        due = MIN(due, now + 100 * INT64_C(1000000));
    }
    if (c->source->options.heartbeat_ms) {
        due = MIN(due, c->heartbeat_due_ns);
    }
    /* what is due and was not possible just now waits for an event, or a little */
    return due <= now ? 20 : MIN((due - now) / 1000000 + 1, 1000);
}

/* Nothing came: what there is goes out at once. While a flush is under way the next one gathers
 * until it is done, which is no later for anybody and saves a batch for every commit. */
static err socket_is_dry(struct capture *c)
{
    if (lanes_are_busy(c->lanes)) {
        err e = capture_step(c);
        capture_sleep(c, GATHER_MS, false);
        return e;
    }
    err e = lane_flush(c->writer);
    e = e ? e : turn(c);
    if (!e && !lanes_are_busy(c->lanes)) {
        capture_sleep(c, wait_ms(c), true);
        e = capture_step(c);
    }
    return e;
}

static err read_stream(struct capture *c)
{
    struct pg_stream_item item;
    int messages = 0;
    err e = OK;

    while (!e && !capture_is_ending(c)) {
        e = pg_stream_next(c->stream, 0, &item);
        if (!e) {
            e = on_item(c, &item);
            if (!e && ++messages % MESSAGES_BETWEEN_STEPS == 0) {
                e = turn(c);
            }
        } else if (e == ERR_TIMEOUT) {
            e = socket_is_dry(c);
        }
    }
    return e;
}

/* Of streams some servers fail to decode what was rolled back: an aborted TRUNCATE is "could
 * not map filenode to relation OID", again at every try. Whole transactions leave that out. */
static bool wants_plain(const struct capture *c, err e)
{
    bool internal = e && c->stream && strncmp(pg_sqlstate(c->stream), "XX", 2) == 0;

    return stitch_wants_plain(c->stitch) || (internal && !c->plain);
}

static err session(struct capture *c)
{
    err e = capture_connect(c);

    e = e ? e : capture_snapshot_resume(c);
    if (!e) {
        enum source_state state = c->snapshot ? SOURCE_CREATING : SOURCE_RUNNING;
        e = source_move(c->source, state, "");
    }
    e = e ? e : read_stream(c);
    if (e == ERR_CANCELLED && capture_is_ending(c)) {
        e = OK;
    }
    struct fault why = fault_here; /* closing may overwrite it */
    c->plain = c->stitch ? wants_plain(c, e) : c->plain;
    c->streams = c->streams && !e;
    if (!e && c->lanes && !c->in_transaction) {
        e = lane_flush(c->writer); /* an orderly end: what is whole is sealed in time */
    }
    capture_writers_close(c);
    stitch_free(c->stitch);
    c->stitch = NULL;
    capture_disconnect(c);
    fault_here = why;
    return e;
}

static void fail(struct capture *c)
{
    struct fault why = fault_here;

    trace_error("audit", "source %s has failed: %s", c->source->name, why.text);
    if (source_move(c->source, SOURCE_FAILED, why.text)) {
        trace_warn("audit", "that source %s has failed is not recorded: %s", c->source->name,
                   fault_here.text);
    }
}

static err begin(struct capture *c)
{
    err e = OK;

    if (c->accept_gap) {
        e = capture_accept_gap(c);
        c->accept_gap = e != OK;
    }
    if (!e && c->source->status.state == SOURCE_CREATING) {
        e = capture_prepare(c);
        struct fault why = fault_here;
        capture_writers_close(c);
        capture_disconnect(c);
        fault_here = why;
    }
    return e ? e : session(c);
}

static void run(struct job *job)
{
    struct capture *c = (struct capture *)(void *)((char *)job - offsetof(struct capture, run));
    int64_t retry_ms = RETRY_MS_LEAST;
    char words[FAULT_TEXT_MAX];

    while (!capture_is_ending(c)) {
        int64_t began = c->os->tick_ns(c->os);
        c->fatal = false;
        err e = begin(c);
        if (!e || capture_is_ending(c)) {
            continue;
        }
        if (c->fatal) {
            fail(c);
            return;
        }
        retry_ms = c->os->tick_ns(c->os) - began > HEALTHY_NS ? RETRY_MS_LEAST : retry_ms;
        snprintf(words, sizeof(words), "trying again: %.*s", FAULT_TEXT_MAX - 32,
                 fault_here.text);
        trace_warn("audit", "source %s: %s", c->source->name, words);
        capture_say(c, words);
        int64_t until = c->os->tick_ns(c->os) + retry_ms * 1000000;
        while (!capture_is_ending(c) && c->os->tick_ns(c->os) < until) {
            capture_sleep(c, retry_ms, false);
        }
        retry_ms = MIN(retry_ms * 2, RETRY_MS_MOST);
    }
}

err capture_start(struct source *source, bool accept_gap, struct capture **out)
{
    struct capture *c = xcalloc(1, sizeof(*c));
    struct audit *audit = source->audit;

    c->source = source;
    c->audit = audit;
    c->os = audit->os;
    c->log = audit->log;
    c->ledger = source->ledger;
    c->accept_gap = accept_gap;
    c->run.work = run;
    c->worker.name = "audit-capture";
    c->sealer.name = "audit-seal";
    pthread_mutex_init(&c->notes_lock, NULL);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err e = c->wake_fd < 0 ? fault_errno("eventfd") : worker_start(&c->sealer, c->os);
    e = e ? e : worker_start(&c->worker, c->os);
    if (e) {
        capture_stop(c);
        return e;
    }
    worker_post(&c->worker, &c->run);
    *out = c;
    return OK;
}

void capture_stop(struct capture *c)
{
    if (!c) {
        return;
    }
    atomic_store(&c->stopping, true);
    if (c->wake_fd >= 0) {
        capture_wake(c);
    }
    worker_stop(&c->worker);
    worker_stop(&c->sealer);
    pthread_mutex_destroy(&c->notes_lock);
    arena_fini(&c->sealing.arena);
    arena_fini(&c->scratch);
    if (c->wake_fd >= 0) {
        close(c->wake_fd);
    }
    free(c->ask_tables);
    free(c->database);
    free(c);
}

err capture_ask_snapshot(struct capture *c, const char *tables)
{
    err e = OK;

    pthread_mutex_lock(&c->source->lock);
    if (c->ask_tables || c->source->status.snapshot_rows_estimate) {
        e = fault(ERR_CONFLICT, "a snapshot of %s is under way", c->source->name);
    } else {
        c->ask_tables = xstrdup(tables ? tables : "");
        atomic_store(&c->snapshot_asked, true);
    }
    pthread_mutex_unlock(&c->source->lock);
    capture_wake(c);
    return e;
}
