/* bench_consume.c - the load that reads. SPDX-License-Identifier: Apache-2.0
 *
 * Each connection fetches its partitions from their start to the end they had when it began, as
 * one consumer of a group would, or round and round (repeat), or from the end on (latest),
 * where it parks as long polls do. Batches are walked by their heads; their checksums and the
 * sequence of offsets are looked at only when asked (check), to cost the client little. */
#include "cli/bench_load.h"

#include <stdlib.h>
#include <string.h>

struct reading {
    int32_t *partitions;
    int64_t count;
    int64_t *start, *next, *end; /* offsets, by place in partitions */
    int64_t first;               /* place that the next request begins with */
};

static err reading_offsets(struct bench_conn *conn, struct reading *own)
{
    const struct bench_plan *plan = bench_plan_of(conn);
    int64_t *at = xcalloc((size_t)plan->partitions * 2, sizeof(*at));
    int64_t *ends = at + plan->partitions;
    err e = bench_list_offsets(conn->fd, plan->topic, plan->partitions, -1, ends);

    if (!e) {
        e = bench_list_offsets(conn->fd, plan->topic, plan->partitions, -2, at);
    }
    for (int64_t i = 0; i < own->count && !e; i++) {
        int32_t p = own->partitions[i];
        own->start[i] = own->next[i] = plan->latest ? ends[p] : at[p];
        own->end[i] = plan->latest ? INT64_MAX : ends[p];
    }
    free(at);
    return e;
}

static err consume_open(struct bench_conn *conn)
{
    struct reading *own = xcalloc(1, sizeof(*own));

    conn->own = own;
    own->partitions = bench_partitions(bench_plan_of(conn), conn->index, &own->count);
    own->start = xcalloc((size_t)own->count * 3, sizeof(*own->start));
    own->next = own->start + own->count;
    own->end = own->next + own->count;
    return reading_offsets(conn, own);
}

static int64_t reading_left(const struct reading *own)
{
    int64_t left = 0;

    for (int64_t i = 0; i < own->count; i++) {
        left += own->next[i] < own->end[i];
    }
    return left;
}

static void write_wanted(struct writer *w, const struct bench_plan *plan, struct reading *own,
                         int64_t left)
{
    write_i32(w, (int32_t)left);
    for (int64_t i = 0; i < own->count; i++) {
        int64_t at = (own->first + i) % own->count;
        if (own->next[at] < own->end[at]) {
            write_i32(w, own->partitions[at]);
            write_i32(w, -1); /* no leader epoch */
            write_i64(w, own->next[at]);
            write_i64(w, -1); /* no log start: not a replica */
            write_i32(w, (int32_t)plan->fetch_bytes);
        }
    }
    own->first++; /* a partition at the front is served first: let that go round */
}

static enum bench_fill consume_fill(struct bench_conn *conn, struct bench_slot *slot)
{
    const struct bench_plan *plan = bench_plan_of(conn);
    struct reading *own = conn->own;
    struct writer *w = &slot->head;
    int64_t left = reading_left(own);

    if (!left && plan->repeat) {
        memcpy(own->next, own->start, (size_t)own->count * sizeof(*own->next));
        left = reading_left(own);
    }
    if (!left) {
        return BENCH_FILL_NEVER;
    }
    bench_head(w, BENCH_FETCH, slot->correlation);
    write_i32(w, -1); /* not a replica */
    write_i32(w, (int32_t)plan->wait_ms);
    write_i32(w, (int32_t)plan->least_bytes);
    write_i32(w, (int32_t)plan->answer_bytes);
    write_i8(w, 0); /* read uncommitted */
    write_i32(w, 0);
    write_i32(w, -1); /* no session */
    write_i32(w, 1);
    bench_text(w, view_text(plan->topic));
    write_wanted(w, plan, own, left);
    write_i32(w, 0); /* nothing to forget */
    bench_text(w, VIEW(""));
    bench_seal(w, 0, 0);
    slot->parts[0] = (struct iovec){w->at, w->len};
    slot->part_count = 1;
    return BENCH_FILLED;
}

static err batch_check(view batch, int64_t base, int64_t next, int32_t partition)
{
    if (base > next) {
        return fault(ERR_CORRUPT, "partition %d: offset %lld comes after %lld", partition,
                     (long long)base, (long long)next);
    }
    if (crc32c(0, view_from(batch, BENCH_CRC_START)) != get_u32(batch.at + 17)) {
        return fault(ERR_CORRUPT, "partition %d offset %lld: checksum is wrong", partition,
                     (long long)base);
    }
    return OK;
}

/* Walks whole batches; the last may be cut off. */
static err take_batches(struct bench_conn *conn, struct bench_slot *slot, int64_t at,
                        view records)
{
    struct reading *own = conn->own;
    bool check = bench_plan_of(conn)->check;

    while (records.len >= BENCH_HEAD_BYTES) {
        size_t len = (size_t)get_u32(records.at + 8) + 12;
        if (len > records.len || len < BENCH_HEAD_BYTES) {
            break;
        }
        int64_t base = (int64_t)get_u64(records.at);
        err e = check ? batch_check(view_upto(records, len), base, own->next[at],
                                    own->partitions[at])
                      : OK;
        if (e) {
            return e;
        }
        own->next[at] = base + (int32_t)get_u32(records.at + 23) + 1;
        slot->records += get_u32(records.at + 57);
        slot->bytes += len;
        records = view_from(records, len);
    }
    return OK;
}

/* Partitions are dealt out in steps of the connections, so the place is a division away. -1:
 * not one of ours. */
static int64_t place_of(const struct bench_conn *conn, int32_t partition)
{
    const struct reading *own = conn->own;
    int64_t at = own->count == 1 ? 0 : partition / bench_plan_of(conn)->connections;

    return at >= 0 && at < own->count && own->partitions[at] == partition ? at : -1;
}

static err take_partition(struct bench_conn *conn, struct bench_slot *slot, struct reader *r)
{
    int32_t partition = read_i32(r);
    int16_t code = read_i16(r);

    read_bytes(r, 24); /* high watermark, last stable offset, log start */
    int32_t aborted = read_i32(r);
    read_bytes(r, (size_t)MAX(aborted, 0) * 16);
    read_i32(r); /* preferred replica */
    int32_t len = read_i32(r);
    view records = read_bytes(r, (size_t)MAX(len, 0));
    int64_t at = place_of(conn, partition);
    if (r->bad || at < 0) {
        return fault(ERR_CORRUPT, "the answer to Fetch is cut short or not ours");
    }
    if (code) {
        bench_count_error(conn, code);
    }
    return take_batches(conn, slot, at, records);
}

static err consume_answer(struct bench_conn *conn, struct bench_slot *slot, view body)
{
    struct reader r = {.rest = body};
    struct os *os = os_real();
    err e = OK;

    read_i32(&r); /* throttle time */
    int16_t code = read_i16(&r);
    read_i32(&r); /* session */
    if (code) {
        bench_count_error(conn, code);
    }
    for (int32_t topics = read_i32(&r); topics > 0 && !r.bad && !e; topics--) {
        bench_read_text(&r);
        for (int32_t count = read_i32(&r); count > 0 && !r.bad && !e; count--) {
            e = take_partition(conn, slot, &r);
        }
    }
    if (bench_plan_of(conn)->pause_ms) {
        conn->due_ns = os->tick_ns(os) + bench_plan_of(conn)->pause_ms * 1000000;
    }
    return !e && r.bad ? fault(ERR_CORRUPT, "the answer to Fetch is cut short") : e;
}

static void consume_close(struct bench_conn *conn)
{
    struct reading *own = conn->own;

    free(own->partitions);
    free(own->start);
    free(own);
}

const struct bench_load bench_load_consume = {
    .open = consume_open,
    .fill = consume_fill,
    .answer = consume_answer,
    .close = consume_close,
};
