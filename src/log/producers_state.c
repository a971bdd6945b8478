/* producers_state.c - the snapshot of one partition's producers.
 *
 * Big endian: {"TMPR", version u16, 0 u16, crc u32 of all that follows, offset i64;
 * producers: count u32, {id i64, seen ms i64, last timestamp i64, coordinator epoch i32,
 * epoch i16, batches u8, {first sequence i32, last sequence i32, last offset i64}...}, longest
 * idle first; open transactions: count u32, {first offset i64, producer id i64}, ascending;
 * aborted: count u32, {producer id, first offset, last offset, stable: i64 each}, by last
 * offset}. A held marker counts as released: after a restart the coordinator ends what it had
 * not finished before anyone reads. SPDX-License-Identifier: Apache-2.0 */
#include "log/producers_inside.h"

#include <stdlib.h>

#define SNAPSHOT_MAGIC 0x544d5052u /* "TMPR" */
#define SNAPSHOT_VERSION 1
#define SNAPSHOT_HEAD_BYTES 12

static void save_list(const struct producer_list *list, struct writer *out)
{
    for (const struct producer *producer = list->head; producer; producer = producer->next) {
        write_i64(out, producer->id);
        write_i64(out, producer->seen_ms);
        write_i64(out, producer->last_timestamp);
        write_i32(out, producer->coordinator_epoch);
        write_i16(out, producer->epoch);
        write_u8(out, producer->batch_count);
        for (size_t i = 0; i < producer->batch_count; i++) {
            write_i32(out, producer->batches[i].first_sequence);
            write_i32(out, producer->batches[i].last_sequence);
            write_i64(out, producer->batches[i].last_offset);
        }
    }
}

void producers_save(const struct producers *p, int64_t offset, struct writer *out)
{
    size_t start = out->len;

    write_u32(out, SNAPSHOT_MAGIC);
    write_u16(out, SNAPSHOT_VERSION);
    write_u16(out, 0);
    write_u32(out, 0); /* the checksum, below */
    write_i64(out, offset);
    write_u32(out, (uint32_t)p->by_id.count);
    save_list(&p->idle, out);
    save_list(&p->busy, out);
    write_u32(out, (uint32_t)(p->open_count - p->held_count));
    for (size_t i = 0; i < p->open_count; i++) {
        if (!p->open[i].held) {
            write_i64(out, p->open[i].first_offset);
            write_i64(out, p->open[i].producer_id);
        }
    }
    write_u32(out, (uint32_t)p->abort_count);
    for (size_t i = 0; i < p->abort_count; i++) {
        write_i64(out, p->aborts[i].producer_id);
        write_i64(out, p->aborts[i].first_offset);
        write_i64(out, p->aborts[i].last_offset);
        write_i64(out, p->aborts[i].stable);
    }
    view body = view_from(writer_view(out), start + SNAPSHOT_HEAD_BYTES);
    put_u32(out->at + start + 8, crc32c(0, body));
}

static bool load_producer(struct producers *p, struct reader *r)
{
    int64_t id = read_i64(r);

    if (r->bad || id < 0 || producer_find(p, id)) {
        return false;
    }
    struct producer *producer = producer_add(p, id);
    producer->seen_ms = read_i64(r);
    producer->last_timestamp = read_i64(r);
    producer->coordinator_epoch = read_i32(r);
    producer->epoch = read_i16(r);
    uint8_t batches = read_u8(r);
    if (batches > PRODUCER_BATCHES_KEPT) {
        return false;
    }
    for (producer->batch_count = 0; producer->batch_count < batches; producer->batch_count++) {
        struct producer_batch *batch = &producer->batches[producer->batch_count];
        batch->first_sequence = read_i32(r);
        batch->last_sequence = read_i32(r);
        batch->last_offset = read_i64(r);
    }
    return !r->bad;
}

static bool load_open(struct producers *p, struct reader *r)
{
    int64_t first = read_i64(r), id = read_i64(r);
    struct producer *producer = producer_find(p, id);

    if (r->bad || first < 0 || (producer && producer->txn_first != NO_TXN) ||
        (p->open_count && p->open[p->open_count - 1].first_offset >= first)) {
        return false;
    }
    producers_open_txn(p, first, id);
    if (producer) {
        producer_touch(p, producer, first);
    } else {
        p->orphan_count++;
    }
    return true;
}

static bool load_abort(struct producers *p, struct reader *r)
{
    struct producers_abort abort;

    abort.producer_id = read_i64(r);
    abort.first_offset = read_i64(r);
    abort.last_offset = read_i64(r);
    abort.stable = read_i64(r);
    if (r->bad || abort.first_offset > abort.last_offset ||
        (p->abort_count && p->aborts[p->abort_count - 1].last_offset >= abort.last_offset)) {
        return false;
    }
    producers_note_abort(p, &abort);
    return true;
}

static bool load_all(struct producers *p, struct reader *r,
                     bool (*one)(struct producers *p, struct reader *r))
{
    for (uint32_t left = read_u32(r); left > 0; left--) {
        if (!one(p, r)) {
            return false;
        }
    }
    return !r->bad;
}

err producers_load(struct producers *p, view bytes, int64_t *offset)
{
    struct reader r = {.rest = bytes};
    uint32_t magic = read_u32(&r), version = read_u16(&r);

    producers_clear(p);
    read_u16(&r);
    uint32_t crc = read_u32(&r);
    if (r.bad || magic != SNAPSHOT_MAGIC) {
        return fault(ERR_CORRUPT, "no snapshot of producers");
    }
    if (version != SNAPSHOT_VERSION) {
        return fault(ERR_UNSUPPORTED,
                     "snapshot of producers has version %u, this program reads %u", version,
                     SNAPSHOT_VERSION);
    }
    if (crc32c(0, r.rest) != crc) {
        return fault(ERR_CORRUPT, "snapshot of producers does not match its checksum");
    }
    *offset = read_i64(&r);
    if (!load_all(p, &r, load_producer) || !load_all(p, &r, load_open) ||
        !load_all(p, &r, load_abort) || r.rest.len > 0) {
        producers_clear(p);
        return fault(ERR_CORRUPT, "snapshot of producers does not parse");
    }
    return OK;
}
