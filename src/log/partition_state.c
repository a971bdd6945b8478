/* partition_state.c - the state file of a partition.
 *
 * state-0 and state-1 in the partition's folder, written in turn, big endian: {"TMST", version
 * u16, 0 u16, crc u32 of the content, content bytes u32}, then {offset i64, start i64,
 * compacted up to i64, tombstones due ms i64 (0: none); epochs: count u32, {epoch i32, first
 * offset i64}; segments: count u32, {base, next, bytes, max timestamp, its offset, first append
 * ms: i64 each}; producers: bytes u32, snapshot as of offset (producers.h)}. The checkpoint's
 * recovery point says which of the two holds; it is on disk before the checkpoint is. What
 * follows the content is of an earlier, longer one. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#define STATE_MAGIC 0x544d5354u /* "TMST" */
#define STATE_VERSION 1
#define STATE_HEAD_BYTES 16

void partition_state_write(const struct partition *p, struct writer *out)
{
    struct writer producers = {0};

    write_u32(out, STATE_MAGIC);
    write_u16(out, STATE_VERSION);
    write_u16(out, 0);
    write_u64(out, 0); /* checksum and bytes, below */
    write_i64(out, p->end);
    write_i64(out, p->start);
    write_i64(out, p->compacted);
    write_i64(out, p->compact_due_ms);
    write_u32(out, (uint32_t)p->epoch_count);
    for (size_t i = 0; i < p->epoch_count; i++) {
        write_i32(out, p->epochs[i].epoch);
        write_i64(out, p->epochs[i].offset);
    }
    write_u32(out, (uint32_t)p->segment_count);
    for (size_t i = 0; i < p->segment_count; i++) {
        const struct segment *s = p->segments[i];
        write_i64(out, s->base);
        write_i64(out, s->next);
        write_i64(out, s->bytes);
        write_i64(out, s->max_timestamp);
        write_i64(out, s->max_timestamp_offset);
        write_i64(out, s->first_ms);
    }
    if (p->producers) {
        producers_save(p->producers, p->end, &producers);
    }
    write_u32(out, (uint32_t)producers.len);
    write_view(out, writer_view(&producers));
    writer_fini(&producers);
    view content = view_from(writer_view(out), STATE_HEAD_BYTES);
    put_u32(out->at + 8, crc32c(0, content));
    put_u32(out->at + 12, (uint32_t)content.len);
}

void partition_add_segment(struct partition *p, struct segment *s)
{
    if (p->segment_count) {
        p->segments[p->segment_count - 1]->sealed = true;
    }
    p->segments =
        array_room(p->segments, p->segment_count, &p->segment_room, sizeof(*p->segments));
    p->segments[p->segment_count++] = s;
    p->bytes += s->bytes;
}

void partition_forget(struct partition *p)
{
    for (size_t i = 0; i < p->segment_count; i++) {
        segment_drop(p->segments[i]);
    }
    p->segment_count = p->epoch_count = 0;
    p->bytes = 0;
    p->compacted = p->compact_due_ms = 0;
    producers_free(p->producers);
    p->producers = NULL;
}

static void read_segments(struct partition *p, struct reader *r)
{
    uint32_t count = read_u32(r);

    for (uint32_t i = 0; i < count && !r->bad; i++) {
        int64_t base = read_i64(r);
        struct segment *s = segment_new(p, MAX(base, 0));
        s->next = read_i64(r);
        s->bytes = read_i64(r);
        s->max_timestamp = read_i64(r);
        s->max_timestamp_offset = read_i64(r);
        s->first_ms = read_i64(r);
        s->index_loaded = false;
        r->bad |= s->next < s->base || s->bytes < 0 || s->bytes > SEGMENT_BYTES_MAX ||
                  (p->segment_count && s->base < p->segments[p->segment_count - 1]->next);
        if (r->bad) {
            segment_drop(s);
        } else {
            partition_add_segment(p, s);
        }
    }
}

err partition_state_read(struct partition *p, view bytes)
{
    const struct log_config *config = &p->topic->log->config;
    struct reader r = {.rest = bytes};
    uint32_t magic = read_u32(&r);
    uint16_t version = read_u16(&r);
    (void)read_u16(&r);
    uint32_t crc = read_u32(&r);
    r.rest = read_bytes(&r, read_u32(&r));

    if (r.bad || magic != STATE_MAGIC || version != STATE_VERSION || crc != crc32c(0, r.rest)) {
        return fault(ERR_CORRUPT, "state file of %s-%d is damaged", p->topic->name, p->index);
    }
    int64_t offset = read_i64(&r);
    (void)read_i64(&r); /* the start: the checkpoint's is newer */
    p->compacted = read_i64(&r);
    p->compact_due_ms = read_i64(&r);
    uint32_t epochs = read_u32(&r);
    for (uint32_t i = 0; i < epochs && !r.bad; i++) {
        int32_t epoch = read_i32(&r);
        partition_note_epoch(p, epoch, read_i64(&r));
    }
    read_segments(p, &r);
    view producers = read_bytes(&r, read_u32(&r));
    err e = OK;
    if (!r.bad && producers.len) {
        p->producers = producers_new(config->producers_max, config->producer_expiry_ms);
        e = producers_load(p->producers, producers, &offset);
    }
    if (!e && (r.bad || r.rest.len || offset != p->recovery.offset)) {
        e = fault(ERR_CORRUPT, "state file of %s-%d does not parse", p->topic->name, p->index);
    }
    if (e) {
        partition_forget(p);
    }
    return e;
}
