/* bench_coord.c - loads on the coordinator: offset commits, transactions; and idle connections.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   transaction: add partitions --> produce --> end --> add partitions ...
 *                (one request at a time; a coordinator that is busy with the last one is asked
 *                again a little later) */
#include "cli/bench_load.h"

#include <stdlib.h>
#include <unistd.h>

#define ASK_AGAIN_NS 1000000
#define ASK_TIMES_MAX 10000 /* of a coordinator that still loads */

enum step { STEP_ADD, STEP_PRODUCE, STEP_END };

struct coordinating {
    char *name; /* of the group or of the transactional producer */
    int32_t *partitions;
    int64_t count;
    int64_t offset; /* committed next */
    struct bench_producer producer;
    enum step step;     /* what the next request is */
    int64_t started_ns; /* of the transaction under way */
    int32_t *sequences; /* next one, by place in partitions */
};

static struct coordinating *coordinating_new(struct bench_conn *conn)
{
    const struct bench_plan *plan = bench_plan_of(conn);
    struct coordinating *own = xcalloc(1, sizeof(*own));

    conn->own = own;
    own->name = text_format("%s-%d", plan->group, conn->index);
    own->partitions = bench_partitions(plan, conn->index, &own->count);
    own->count = MIN(own->count, plan->bundle);
    own->sequences = xcalloc((size_t)own->count, sizeof(*own->sequences));
    return own;
}

static void coordinating_close(struct bench_conn *conn)
{
    struct coordinating *own = conn->own;

    free(own->name);
    free(own->partitions);
    free(own->sequences);
    free(own);
}

static bool loads(int16_t code)
{
    return code == BENCH_CODE_LOADING || code == BENCH_CODE_NO_COORDINATOR ||
           code == BENCH_CODE_NOT_COORDINATOR || code == BENCH_CODE_CONCURRENT;
}

/* Sends the request again while the coordinator loads; *body follows the error number. */
static err call_until_loaded(int fd, const struct writer *request, struct writer *in,
                             struct reader *body)
{
    int16_t code = BENCH_CODE_LOADING;
    view answer;

    for (int i = 0; i < ASK_TIMES_MAX; i++) {
        err e = bench_call(fd, request, in, &answer);
        if (e) {
            return e;
        }
        *body = (struct reader){.rest = answer};
        read_i32(body); /* throttle time */
        code = read_i16(body);
        if (!loads(code)) {
            break;
        }
        usleep(ASK_AGAIN_NS / 1000);
    }
    return code ? fault(ERR_BUSY, "the coordinator answers with error %d", code) : OK;
}

static err find_coordinator(struct bench_conn *conn, const char *name, int8_t kind)
{
    struct writer out = {0}, in = {0};
    struct reader body;

    bench_head(&out, BENCH_FIND_COORDINATOR, 1);
    bench_text(&out, view_text(name));
    write_i8(&out, kind);
    bench_seal(&out, 0, 0);
    err e = call_until_loaded(conn->fd, &out, &in, &body);
    writer_fini(&out);
    writer_fini(&in);
    return e;
}

static void slot_whole(struct bench_slot *slot)
{
    bench_seal(&slot->head, 0, 0);
    slot->parts[0] = (struct iovec){slot->head.at, slot->head.len};
    slot->part_count = 1;
}

static void write_commit(struct bench_conn *conn, struct writer *w, int32_t correlation)
{
    struct coordinating *own = conn->own;

    bench_head(w, BENCH_OFFSET_COMMIT, correlation);
    bench_text(w, view_text(own->name));
    write_i32(w, -1); /* no generation: not a member */
    bench_text(w, VIEW(""));
    write_i32(w, 1);
    bench_text(w, view_text(bench_plan_of(conn)->topic));
    write_i32(w, (int32_t)own->count);
    for (int64_t i = 0; i < own->count; i++) {
        write_i32(w, own->partitions[i]);
        write_i64(w, own->offset++);
        write_i32(w, -1); /* leader epoch */
        bench_text(w, VIEW(""));
    }
}

static enum bench_fill commit_fill(struct bench_conn *conn, struct bench_slot *slot)
{
    write_commit(conn, &slot->head, slot->correlation);
    slot_whole(slot);
    slot->records = 1;
    return BENCH_FILLED;
}

/* The first error of topics of partitions behind a throttle time: the answer to OffsetCommit
 * and to AddPartitionsToTxn. */
static err partition_codes(view body, int16_t *first)
{
    struct reader r = {.rest = body};

    *first = 0;
    read_i32(&r); /* throttle time */
    for (int32_t topics = read_i32(&r); topics > 0 && !r.bad; topics--) {
        bench_read_text(&r);
        for (int32_t count = read_i32(&r); count > 0 && !r.bad; count--) {
            read_i32(&r);
            int16_t code = read_i16(&r);
            *first = *first ? *first : code;
        }
    }
    return r.bad ? fault(ERR_CORRUPT, "an answer is cut short") : OK;
}

/* Finding a coordinator is no proof that it has loaded: one commit is. */
static err commit_open(struct bench_conn *conn)
{
    struct coordinating *own = coordinating_new(conn);
    struct writer out = {0}, in = {0};
    int16_t code = BENCH_CODE_LOADING;
    err e = find_coordinator(conn, own->name, 0);
    view body;

    for (int i = 0; i < ASK_TIMES_MAX && !e && loads(code); i++) {
        writer_reset(&out);
        write_commit(conn, &out, 1);
        bench_seal(&out, 0, 0);
        e = bench_call(conn->fd, &out, &in, &body);
        if (!e) {
            e = partition_codes(body, &code);
        }
        usleep(i ? ASK_AGAIN_NS / 1000 : 0);
    }
    writer_fini(&out);
    writer_fini(&in);
    return !e && code ? fault(ERR_BUSY, "OffsetCommit answers with error %d", code) : e;
}

static err commit_answer(struct bench_conn *conn, struct bench_slot *slot, view body)
{
    int16_t code;
    err e = partition_codes(body, &code);

    if (code) {
        bench_count_error(conn, code);
    }
    slot->records = !e && !code;
    return e;
}

static err transact_open(struct bench_conn *conn)
{
    struct coordinating *own = coordinating_new(conn);
    struct writer out = {0}, in = {0};
    struct reader body;
    err e = find_coordinator(conn, own->name, 1);

    if (e) {
        return e;
    }
    bench_head(&out, BENCH_INIT_PRODUCER_ID, 1);
    bench_text(&out, view_text(own->name));
    write_i32(&out, 60000); /* ms a transaction may take */
    bench_seal(&out, 0, 0);
    e = call_until_loaded(conn->fd, &out, &in, &body);
    if (!e) {
        own->producer.id = read_i64(&body);
        own->producer.epoch = read_i16(&body);
        own->producer.transactional = true;
        e = body.bad ? fault(ERR_CORRUPT, "the answer to InitProducerId is cut short") : OK;
    }
    writer_fini(&out);
    writer_fini(&in);
    return e;
}

static void fill_producer(struct writer *w, const struct coordinating *own)
{
    bench_text(w, view_text(own->name));
    write_i64(w, own->producer.id);
    write_i16(w, own->producer.epoch);
}

static void fill_add(struct bench_conn *conn, struct bench_slot *slot)
{
    struct coordinating *own = conn->own;
    struct writer *w = &slot->head;

    bench_head(w, BENCH_ADD_PARTITIONS, slot->correlation);
    fill_producer(w, own);
    write_i32(w, 1);
    bench_text(w, view_text(bench_plan_of(conn)->topic));
    write_i32(w, (int32_t)own->count);
    for (int64_t i = 0; i < own->count; i++) {
        write_i32(w, own->partitions[i]);
    }
    slot_whole(slot);
}

static void fill_batches(struct bench_conn *conn, struct bench_slot *slot)
{
    const struct bench_batch *batch = &conn->thread->run->batch;
    struct coordinating *own = conn->own;
    struct writer *w = &slot->head;
    struct os *os = os_real();
    uint8_t head[BENCH_HEAD_BYTES];

    bench_head(w, BENCH_PRODUCE, slot->correlation);
    bench_text(w, view_text(own->name));
    write_i16(w, -1);
    write_i32(w, 30000); /* ms the broker may take */
    write_i32(w, 1);
    bench_text(w, view_text(bench_plan_of(conn)->topic));
    write_i32(w, (int32_t)own->count);
    for (int64_t i = 0; i < own->count; i++) {
        own->producer.sequence = own->sequences[i];
        bench_batch_head(batch, head, &own->producer, os->now_ms(os));
        bench_slot_partition(slot, own->partitions[i], batch, head);
        own->sequences[i] = (int32_t)(((int64_t)own->sequences[i] + batch->count) & INT32_MAX);
    }
    bench_slot_seal(slot, batch);
}

static enum bench_fill transact_fill(struct bench_conn *conn, struct bench_slot *slot)
{
    struct coordinating *own = conn->own;
    struct os *os = os_real();

    if (conn->closed < conn->filled) {
        return BENCH_FILL_LATER;
    }
    switch (own->step) {
    case STEP_ADD:
        own->started_ns = own->started_ns ? own->started_ns : os->tick_ns(os);
        fill_add(conn, slot);
        break;
    case STEP_PRODUCE:
        fill_batches(conn, slot);
        break;
    case STEP_END:
        bench_head(&slot->head, BENCH_END_TXN, slot->correlation);
        fill_producer(&slot->head, own);
        write_bool(&slot->head, true);
        slot_whole(slot);
        break;
    }
    return BENCH_FILLED;
}

static err added(struct bench_conn *conn, view body)
{
    struct coordinating *own = conn->own;
    struct os *os = os_real();
    int16_t code;
    err e = partition_codes(body, &code);

    if (code == BENCH_CODE_CONCURRENT) {
        conn->due_ns = os->tick_ns(os) + ASK_AGAIN_NS;
    } else if (code) {
        return fault(ERR_CONFLICT, "AddPartitionsToTxn answers with error %d", code);
    } else {
        own->step = STEP_PRODUCE;
    }
    return e;
}

static err ended(struct bench_conn *conn, struct bench_slot *slot, view body)
{
    struct coordinating *own = conn->own;
    struct reader r = {.rest = body};
    struct os *os = os_real();

    read_i32(&r); /* throttle time */
    int16_t code = read_i16(&r);
    if (r.bad || (code && code != BENCH_CODE_CONCURRENT)) {
        return fault(ERR_CONFLICT, "EndTxn answers with error %d", code);
    }
    if (code) {
        conn->due_ns = os->tick_ns(os) + ASK_AGAIN_NS;
        return OK;
    }
    slot->records = 1; /* one transaction, from its first request on */
    slot->intended_ns = own->started_ns;
    own->started_ns = 0;
    own->step = STEP_ADD;
    return OK;
}

static err transact_answer(struct bench_conn *conn, struct bench_slot *slot, view body)
{
    struct coordinating *own = conn->own;
    err e = OK;

    switch (own->step) {
    case STEP_ADD:
        return added(conn, body);
    case STEP_PRODUCE:
        e = bench_produced(conn, slot, body);
        if (!e && !slot->records) {
            return fault(ERR_CONFLICT, "a produce of the transaction fails");
        }
        slot->records = slot->bytes = 0;
        own->step = STEP_END;
        return e;
    case STEP_END:
        return ended(conn, slot, body);
    }
    return e;
}

/* An idle connection has spoken once, as any client does, and is then silent. */
static err idle_open(struct bench_conn *conn)
{
    return bench_check_versions(conn->fd);
}

static enum bench_fill idle_fill(struct bench_conn *conn, struct bench_slot *slot)
{
    (void)conn;
    (void)slot;
    return BENCH_FILL_LATER;
}

static err idle_answer(struct bench_conn *conn, struct bench_slot *slot, view body)
{
    (void)slot;
    (void)body;
    return fault(ERR_CORRUPT, "connection %d: an answer that nothing asked for", conn->index);
}

const struct bench_load bench_load_commit = {
    .open = commit_open,
    .fill = commit_fill,
    .answer = commit_answer,
    .close = coordinating_close,
};

const struct bench_load bench_load_transact = {
    .open = transact_open,
    .fill = transact_fill,
    .answer = transact_answer,
    .close = coordinating_close,
};

const struct bench_load bench_load_idle = {
    .open = idle_open,
    .fill = idle_fill,
    .answer = idle_answer,
};
