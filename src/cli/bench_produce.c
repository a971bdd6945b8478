/* bench_produce.c - the load that writes. SPDX-License-Identifier: Apache-2.0
 *
 * A request is sent from two kinds of memory: its own head (frame, partition, batch head) and
 * the records, which all requests share. So a request costs the client no copy of its records,
 * and a checksum only where the head changes: each second, or with each batch of an idempotent
 * producer. */
#include "cli/bench_load.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_NS_MAX 1000000000 /* how old the time in a batch may get */

struct producing {
    int32_t *partitions;
    int64_t count;    /* of partitions */
    int64_t lanes;    /* pairs of partition and producer, visited in turn */
    int64_t batches;  /* sent so far */
    int64_t first_id; /* of its plan->producers producers */
    uint8_t head[BENCH_HEAD_BYTES];
    int64_t head_ns; /* when it was made; 0: never */
};

int32_t *bench_partitions(const struct bench_plan *plan, int64_t index, int64_t *count)
{
    int32_t *out = xcalloc((size_t)(plan->partitions / plan->connections + 1), sizeof(*out));

    *count = 0;
    for (int64_t p = index; p < plan->partitions; p += plan->connections) {
        out[(*count)++] = (int32_t)p;
    }
    if (!*count) { /* more connections than partitions */
        out[(*count)++] = (int32_t)(index % plan->partitions);
    }
    return out;
}

void bench_batch_init(struct bench_batch *batch, const struct bench_plan *plan)
{
    struct bench_records records = {1, plan->key_bytes, plan->record_bytes};
    struct os *os = os_real();

    *batch = (struct bench_batch){.count = 1};
    bench_batch(&batch->bytes, &records, os->now_ms(os));
    size_t one = batch->bytes.len - BENCH_HEAD_BYTES, room = (size_t)plan->batch_bytes;
    if (room > BENCH_HEAD_BYTES + one) {
        batch->count = records.count = (int32_t)((room - BENCH_HEAD_BYTES) / one);
        writer_reset(&batch->bytes);
        bench_batch(&batch->bytes, &records, os->now_ms(os));
    }
}

static view batch_records(const struct bench_batch *batch)
{
    return view_from(writer_view(&batch->bytes), BENCH_HEAD_BYTES);
}

void bench_batch_head(const struct bench_batch *batch, uint8_t head[BENCH_HEAD_BYTES],
                      const struct bench_producer *producer, int64_t now_ms)
{
    memcpy(head, batch->bytes.at, BENCH_HEAD_BYTES);
    put_u16(head + 21, producer->transactional ? 1u << 4 : 0);
    put_u64(head + 27, (uint64_t)now_ms);
    put_u64(head + 35, (uint64_t)now_ms);
    put_u64(head + 43, (uint64_t)producer->id);
    put_u16(head + 51, (uint16_t)producer->epoch);
    put_u32(head + 53, (uint32_t)producer->sequence);
    uint32_t crc =
        crc32c(0, (view){head + BENCH_CRC_START, BENCH_HEAD_BYTES - BENCH_CRC_START});
    put_u32(head + 17, crc32c(crc, batch_records(batch)));
}

void bench_slot_partition(struct bench_slot *slot, int32_t partition,
                          const struct bench_batch *batch, const uint8_t head[BENCH_HEAD_BYTES])
{
    write_i32(&slot->head, partition);
    write_i32(&slot->head, (int32_t)batch->bytes.len);
    write_bytes(&slot->head, head, BENCH_HEAD_BYTES);
    slot->parts[slot->part_count++].iov_len = slot->head.len; /* the end of this piece */
    slot->parts[slot->part_count++].iov_len = 0;
    slot->records += (uint64_t)batch->count;
    slot->bytes += batch->bytes.len;
}

/* The head does not move any more: pieces of it and the records become parts. */
void bench_slot_seal(struct bench_slot *slot, const struct bench_batch *batch)
{
    view records = batch_records(batch);
    size_t start = 0;

    assert(slot->part_count % 2 == 0);
    for (int i = 0; i < slot->part_count; i += 2) {
        size_t end = slot->parts[i].iov_len;
        slot->parts[i] = (struct iovec){slot->head.at + start, end - start};
        slot->parts[i + 1] = (struct iovec){(void *)(uintptr_t)records.at, records.len};
        start = end;
    }
    assert(start == slot->head.len);
    bench_seal(&slot->head, 0, (size_t)(slot->part_count / 2) * records.len);
}

static err produce_open(struct bench_conn *conn)
{
    const struct bench_plan *plan = bench_plan_of(conn);
    struct os *os = os_real();
    struct producing *own = xcalloc(1, sizeof(*own));

    own->partitions = bench_partitions(plan, conn->index, &own->count);
    own->lanes = MAX(own->count, plan->producers);
    /* Ids nobody else uses: the wall clock in front, then connection and producer. */
    own->first_id = (os->now_ms(os) << 22) + conn->index * plan->producers;
    conn->own = own;
    return OK;
}

static const uint8_t *next_head(struct bench_conn *conn, int64_t lane)
{
    const struct bench_plan *plan = bench_plan_of(conn);
    const struct bench_batch *batch = &conn->thread->run->batch;
    struct producing *own = conn->own;
    struct bench_producer producer = {.id = -1, .epoch = -1, .sequence = -1};
    struct os *os = os_real();
    int64_t now = os->tick_ns(os);

    if (plan->producers) {
        producer = (struct bench_producer){
            .id = own->first_id + lane % plan->producers,
            .sequence = (int32_t)((own->batches / own->lanes * batch->count) & INT32_MAX)};
    } else if (own->head_ns && now - own->head_ns < HEAD_NS_MAX) {
        return own->head;
    }
    own->head_ns = now;
    bench_batch_head(batch, own->head, &producer, os->now_ms(os));
    return own->head;
}

static enum bench_fill produce_fill(struct bench_conn *conn, struct bench_slot *slot)
{
    struct bench_run *run = conn->thread->run;
    const struct bench_plan *plan = run->plan;
    struct producing *own = conn->own;
    int64_t bundle = MIN(plan->bundle, own->count);
    int64_t records = bundle * run->batch.count;

    if (atomic_fetch_sub(&run->records_left, records) <= 0) {
        return BENCH_FILL_NEVER;
    }
    bench_head(&slot->head, BENCH_PRODUCE, slot->correlation);
    bench_text(&slot->head, (view){0});          /* no transaction */
    write_i16(&slot->head, plan->acks ? 1 : -1); /* choice 0 is all */
    write_i32(&slot->head, 30000);               /* ms the broker may take */
    write_i32(&slot->head, 1);
    bench_text(&slot->head, view_text(plan->topic));
    write_i32(&slot->head, (int32_t)bundle);
    for (int64_t i = 0; i < bundle; i++) {
        int64_t lane = own->batches % own->lanes;
        const uint8_t *head = next_head(conn, lane);
        bench_slot_partition(slot, own->partitions[lane % own->count], &run->batch, head);
        own->batches++;
    }
    bench_slot_seal(slot, &run->batch);
    return BENCH_FILLED;
}

err bench_produced(struct bench_conn *conn, struct bench_slot *slot, view body)
{
    const struct bench_batch *batch = &conn->thread->run->batch;
    struct reader r = {.rest = body};

    for (int32_t topics = read_i32(&r); topics > 0 && !r.bad; topics--) {
        bench_read_text(&r);
        for (int32_t count = read_i32(&r); count > 0 && !r.bad; count--) {
            read_i32(&r); /* partition */
            int16_t code = read_i16(&r);
            read_bytes(&r, 24); /* base offset, append time, log start */
            if (code) {
                bench_count_error(conn, code);
                slot->records -= MIN(slot->records, (uint64_t)batch->count);
                slot->bytes -= MIN(slot->bytes, batch->bytes.len);
            }
        }
    }
    return r.bad ? fault(ERR_CORRUPT, "the answer to Produce is cut short") : OK;
}

static void produce_close(struct bench_conn *conn)
{
    struct producing *own = conn->own;

    free(own->partitions);
    free(own);
}

const struct bench_load bench_load_produce = {
    .open = produce_open,
    .fill = produce_fill,
    .answer = bench_produced,
    .close = produce_close,
};
