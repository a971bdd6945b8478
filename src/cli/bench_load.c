/* bench_load.c - epoll, pipelining, schedule, counting; see bench_load.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BYTES (256 << 10) /* room kept free for one recv */
#define EVENTS_MAX 64
#define NAP_NS_MAX 20000000 /* longest wait, so that the end is seen */
#define ANSWER_BYTES_MAX (1 << 30)

static int64_t now_ns(void)
{
    struct os *os = os_real();

    return os->tick_ns(os);
}

void bench_count_error(struct bench_conn *conn, int16_t code)
{
    struct bench_counts *counts = &conn->thread->counts;

    counts->first_error = counts->errors++ ? counts->first_error : code;
}

static void conn_done(struct bench_conn *conn)
{
    conn->thread->conns_done += !conn->done;
    conn->done = true;
}

static struct bench_slot *slot_of(struct bench_conn *conn, int64_t number)
{
    return &conn->slots[number % bench_plan_of(conn)->depth];
}

static err conn_watch(struct bench_conn *conn, bool wants_write)
{
    struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0u),
                                .data.ptr = conn};

    if (wants_write == conn->wants_write) {
        return OK;
    }
    conn->wants_write = wants_write;
    return epoll_ctl(conn->thread->epoll, EPOLL_CTL_MOD, conn->fd, &event)
               ? fault_errno("epoll_ctl")
               : OK;
}

/* Takes sent bytes off the slot; true when nothing is left of it. */
static bool slot_advance(struct bench_slot *slot, size_t sent)
{
    while (slot->part_next < slot->part_count && sent >= slot->parts[slot->part_next].iov_len) {
        sent -= slot->parts[slot->part_next++].iov_len;
    }
    if (slot->part_next == slot->part_count) {
        return true;
    }
    struct iovec *part = &slot->parts[slot->part_next];
    part->iov_base = (uint8_t *)part->iov_base + sent;
    part->iov_len -= sent;
    return false;
}

static err conn_send(struct bench_conn *conn)
{
    while (conn->sent < conn->filled) {
        struct bench_slot *slot = slot_of(conn, conn->sent);
        struct msghdr message = {.msg_iov = slot->parts + slot->part_next,
                                 .msg_iovlen = (size_t)(slot->part_count - slot->part_next)};
        ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && errno != EAGAIN) {
            return fault_errno("connection %d: send", conn->index);
        }
        if (sent < 0 || !slot_advance(slot, (size_t)sent)) {
            return conn_watch(conn, true);
        }
        conn->sent++;
    }
    return conn_watch(conn, false);
}

/* The time request number `filled` should be sent, or now in a closed loop. */
static int64_t conn_schedule(struct bench_conn *conn, int64_t now)
{
    const struct bench_plan *plan = bench_plan_of(conn);
    int64_t due = conn->due_ns;

    if (plan->rate) {
        conn->due_ns += plan->connections * 1000000000 / plan->rate;
        return due;
    }
    return now;
}

static err conn_fill(struct bench_conn *conn, int64_t now)
{
    struct bench_run *run = conn->thread->run;

    while (!conn->done && conn->filled - conn->closed < run->plan->depth && now < run->end_ns) {
        struct bench_slot *slot = slot_of(conn, conn->filled);
        if (conn->due_ns > now) { /* open loop, or a pause */
            break;
        }
        slot->part_count = slot->part_next = 0;
        slot->records = slot->bytes = 0;
        slot->correlation = (int32_t)(conn->filled & INT32_MAX);
        writer_reset(&slot->head);
        enum bench_fill filled = run->load->fill(conn, slot);
        if (filled == BENCH_FILL_NEVER) {
            conn_done(conn);
        }
        if (filled != BENCH_FILLED) {
            break;
        }
        assert(slot->part_count > 0 && slot->part_count <= BENCH_PARTS_MAX);
        slot->intended_ns = conn_schedule(conn, now);
        conn->filled++;
    }
    return conn_send(conn);
}

static void conn_count(struct bench_conn *conn, const struct bench_slot *slot, int64_t now)
{
    const struct bench_run *run = conn->thread->run;
    struct bench_counts *counts = &conn->thread->counts;

    counts->all_records += slot->records;
    counts->all_bytes += slot->bytes;
    if (!slot->records || now < run->measure_ns || now >= run->end_ns) {
        return;
    }
    counts->first_ns = counts->requests ? counts->first_ns : now;
    counts->last_ns = now;
    counts->requests++;
    counts->records += slot->records;
    counts->bytes += slot->bytes;
    bench_histogram_add(&counts->latency, now - slot->intended_ns);
}

static err conn_answer(struct bench_conn *conn, view frame)
{
    struct bench_slot *slot = slot_of(conn, conn->closed);

    if (conn->closed == conn->sent || (int32_t)get_u32(frame.at) != slot->correlation) {
        return fault(ERR_CORRUPT, "connection %d: an answer that nothing asked for",
                     conn->index);
    }
    err e = conn->thread->run->load->answer(conn, slot, view_from(frame, 4));
    conn_count(conn, slot, now_ns());
    conn->closed++;
    return e;
}

/* Takes all whole answers out of what came; what is left moves to the front. */
static err conn_take_apart(struct bench_conn *conn)
{
    struct writer *in = &conn->in;
    err e = OK;

    while (!e && in->len - conn->in_start >= 4) {
        size_t len = get_u32(in->at + conn->in_start);
        if (len < 4 || len > ANSWER_BYTES_MAX) {
            return fault(ERR_CORRUPT, "connection %d: an answer of %zu bytes", conn->index,
                         len);
        }
        if (in->len - conn->in_start - 4 < len) {
            break;
        }
        e = conn_answer(conn, (view){in->at + conn->in_start + 4, len});
        conn->in_start += 4 + len;
    }
    if (conn->in_start) {
        memmove(in->at, in->at + conn->in_start, in->len - conn->in_start);
        in->len -= conn->in_start;
        conn->in_start = 0;
    }
    return e;
}

/* How much is worth receiving at once: the rest of a large answer, or a buffer full. */
static size_t conn_wanted(const struct bench_conn *conn)
{
    size_t have = conn->in.len;
    size_t whole = have >= 4 ? get_u32(conn->in.at) + 4 : 0;

    return whole > have && whole <= ANSWER_BYTES_MAX ? MAX(whole - have, RECEIVE_BYTES)
                                                     : RECEIVE_BYTES;
}

static err conn_receive(struct bench_conn *conn)
{
    struct writer *in = &conn->in;
    size_t wanted = conn_wanted(conn);

    if (in->room - in->len < wanted) {
        in->room = in->len + wanted;
        in->at = xrealloc(in->at, in->room);
    }
    ssize_t got = recv(conn->fd, in->at + in->len, in->room - in->len, MSG_DONTWAIT);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR
                   ? OK
                   : fault_errno("connection %d: receive", conn->index);
    }
    if (got == 0) {
        return fault(ERR_CLOSED, "connection %d: the broker closed it", conn->index);
    }
    in->len += (size_t)got;
    return conn_take_apart(conn);
}

/* Sends what is due on connections with a schedule (at first: on all); gives the time of the
 * next thing to do. */
static err thread_fill(struct bench_thread *thread, bool first, int64_t now, int64_t *next)
{
    err e = OK;

    *next = now + NAP_NS_MAX;
    for (int64_t i = 0; i < thread->conn_count && !e; i++) {
        struct bench_conn *conn = &thread->conns[i];
        if ((first || conn->due_ns) && conn->due_ns <= now) {
            e = conn_fill(conn, now);
        }
        if (!conn->done && conn->due_ns > now) {
            *next = MIN(*next, conn->due_ns);
        }
    }
    return e;
}

static err thread_event(struct bench_conn *conn, uint32_t events)
{
    err e = events & ~(uint32_t)EPOLLOUT ? conn_receive(conn) : OK;

    return e ? e : conn_fill(conn, now_ns());
}

static bool thread_is_done(const struct bench_thread *thread, int64_t now)
{
    if (atomic_load(&thread->run->stop) || now >= thread->run->end_ns) {
        return true;
    }
    if (thread->conns_done < thread->conn_count) {
        return false;
    }
    for (int64_t i = 0; i < thread->conn_count; i++) {
        if (thread->conns[i].closed < thread->conns[i].filled) {
            return false;
        }
    }
    return true;
}

static err thread_turns(struct bench_thread *thread)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t now = now_ns(), next;
    err e = thread_fill(thread, true, now, &next);

    while (!e && !thread_is_done(thread, now)) {
        int64_t nap = MAX(next - now_ns(), 0);
        struct timespec limit = {.tv_nsec = nap};
        int count = epoll_pwait2(thread->epoll, events, EVENTS_MAX, &limit, NULL);
        for (int i = 0; i < count && !e; i++) {
            e = thread_event(events[i].data.ptr, events[i].events);
        }
        now = now_ns();
        if (!e) {
            e = thread_fill(thread, false, now, &next);
        }
    }
    return e;
}

static void *thread_main(void *self)
{
    struct bench_thread *thread = self;

    prctl(PR_SET_TIMERSLACK, 1); /* ns: the schedule is finer than the usual 50 us */
    if (thread_turns(thread)) {
        thread->fault = fault_take();
        atomic_store(&thread->run->stop, true);
    }
    return NULL;
}

static err conn_open(struct bench_conn *conn, struct bench_thread *thread, int64_t index)
{
    const struct bench_plan *plan = thread->run->plan;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

    *conn = (struct bench_conn){.fd = -1, .index = (int)index, .thread = thread};
    err e = bench_connect(plan->kafka, &conn->fd);
    if (e) {
        return e;
    }
    conn->slots = xcalloc((size_t)plan->depth, sizeof(*conn->slots));
    if (epoll_ctl(thread->epoll, EPOLL_CTL_ADD, conn->fd, &event)) {
        return fault_errno("epoll_ctl");
    }
    return thread->run->load->open(conn);
}

static void conn_close(struct bench_conn *conn)
{
    const struct bench_plan *plan = bench_plan_of(conn);

    if (conn->fd >= 0) {
        close(conn->fd);
    }
    if (conn->own && conn->thread->run->load->close) {
        conn->thread->run->load->close(conn);
    }
    for (int64_t i = 0; conn->slots && i < plan->depth; i++) {
        writer_fini(&conn->slots[i].head);
    }
    free(conn->slots);
    writer_fini(&conn->in);
}

/* Connections are dealt round-robin, so that every thread has its share of each partition. */
static err thread_open(struct bench_thread *thread, struct bench_run *run, int64_t index)
{
    const struct bench_plan *plan = run->plan;
    err e = OK;

    thread->run = run;
    thread->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (thread->epoll < 0) {
        return fault_errno("epoll_create1");
    }
    thread->conns = xcalloc((size_t)plan->connections, sizeof(*thread->conns));
    for (int64_t c = index; c < plan->connections && !e; c += plan->threads) {
        e = conn_open(&thread->conns[thread->conn_count++], thread, c);
    }
    return e;
}

static void thread_close(struct bench_thread *thread)
{
    for (int64_t i = 0; i < thread->conn_count; i++) {
        conn_close(&thread->conns[i]);
    }
    if (thread->conns) {
        close(thread->epoll);
    }
    free(thread->conns);
    free(thread->fault);
}

static void run_schedule(struct bench_run *run, struct bench_thread *threads)
{
    const struct bench_plan *plan = run->plan;

    run->start_ns = now_ns();
    run->measure_ns = run->start_ns + plan->warmup_ms * 1000000;
    run->end_ns = plan->duration_ms ? run->measure_ns + plan->duration_ms * 1000000 : INT64_MAX;
    atomic_store(&run->records_left, plan->records ? plan->records : INT64_MAX);
    for (int64_t t = 0; t < plan->threads && plan->rate; t++) {
        for (int64_t i = 0; i < threads[t].conn_count; i++) {
            struct bench_conn *conn = &threads[t].conns[i];
            conn->due_ns = run->start_ns + (int64_t)conn->index * 1000000000 / plan->rate;
        }
    }
}

static double cpu_seconds(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void counts_merge(struct bench_counts *into, const struct bench_counts *from)
{
    if (from->requests) {
        into->first_ns = into->requests ? MIN(into->first_ns, from->first_ns) : from->first_ns;
        into->last_ns = MAX(into->last_ns, from->last_ns);
    }
    into->first_error = into->errors ? into->first_error : from->first_error;
    into->requests += from->requests;
    into->records += from->records;
    into->bytes += from->bytes;
    into->all_records += from->all_records;
    into->all_bytes += from->all_bytes;
    into->errors += from->errors;
    bench_histogram_merge(&into->latency, &from->latency);
}

static err run_threads(struct bench_run *run, struct bench_thread *threads,
                       struct bench_counts *out)
{
    int64_t count = run->plan->threads, started = 0;
    double cpu = cpu_seconds();
    err e = OK;

    run_schedule(run, threads);
    for (; started < count && !e; started += !e) {
        int failed =
            pthread_create(&threads[started].thread, NULL, thread_main, &threads[started]);
        e = failed ? fault(ERR_IO, "starting a thread: %s", strerror(failed)) : OK;
    }
    atomic_store(&run->stop, e != OK);
    for (int64_t t = 0; t < started; t++) {
        pthread_join(threads[t].thread, NULL);
        counts_merge(out, &threads[t].counts);
        if (threads[t].fault && !e) {
            e = fault(threads[t].fault->code, "%s", threads[t].fault->text);
        }
    }
    run->client_cpu_s = cpu_seconds() - cpu;
    run->seconds = (double)(MIN(now_ns(), run->end_ns) - run->measure_ns) / 1e9;
    return e;
}

err bench_load_run(struct bench_run *run, struct bench_counts *out)
{
    int64_t count = run->plan->threads;
    struct bench_thread *threads = xcalloc((size_t)count, sizeof(*threads));
    err e = OK;

    assert(count > 0 && run->plan->depth > 0);
    *out = (struct bench_counts){0};
    for (int64_t t = 0; t < count && !e; t++) {
        e = thread_open(&threads[t], run, t);
    }
    if (!e) {
        e = run_threads(run, threads, out);
    }
    for (int64_t t = 0; t < count; t++) {
        thread_close(&threads[t]);
    }
    free(threads);
    return e;
}
