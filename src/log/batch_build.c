/* batch_build.c - making batches: of records, and of end-of-transaction markers.
 *
 * Marker: one record in a control batch. Key: i16 version, i16 kind (0 abort, 1 commit).
 * Value: i16 version, i32 coordinator epoch. SPDX-License-Identifier: Apache-2.0 */
#include "log/batch.h"

#include <string.h>

#include "log/record.h"

#define MARKER_KEY_BYTES 4
#define MARKER_VALUE_BYTES 6

/* Moves what was written into a counted buffer. */
static struct buf *to_buf(struct writer *w, view *batch)
{
    struct buf *b = buf_new((uint32_t)w->len);

    memcpy(b->bytes, w->at, w->len);
    b->len = (uint32_t)w->len;
    *batch = (view){b->bytes, b->len};
    writer_fini(w);
    return b;
}

static int64_t timestamp_delta(int64_t timestamp, int64_t base)
{
    return (int64_t)((uint64_t)timestamp - (uint64_t)base);
}

struct buf *batch_new(const struct batch_build *build, view *batch)
{
    struct writer records = {0}, packed = {0}, out = {0};
    bool known = build->producer_id >= 0;

    assert(build->count > 0);
    assert(build->count <= INT32_MAX);
    assert(!(build->attributes & BATCH_CODEC_MASK));
    struct batch_info head = {
        .attributes = (uint16_t)(build->attributes | build->codec),
        .last_offset_delta = (int32_t)build->count - 1,
        .base_timestamp = build->records[0].timestamp_ms,
        .max_timestamp = build->records[0].timestamp_ms,
        .producer_id = known ? build->producer_id : -1,
        .producer_epoch = known ? build->producer_epoch : -1,
        .base_sequence = known ? build->base_sequence : -1,
        .record_count = (int32_t)build->count,
    };
    for (size_t i = 0; i < build->count; i++) {
        const struct record *record = &build->records[i];
        head.max_timestamp = MAX(head.max_timestamp, record->timestamp_ms);
        record_write(&records, timestamp_delta(record->timestamp_ms, head.base_timestamp),
                     (int32_t)i, record);
    }
    if (build->codec == CODEC_NONE) {
        batch_seal(&head, writer_view(&records), &out);
    } else {
        err e = codec_deflate(build->codec, writer_view(&records), &packed);
        assert(e == OK);
        batch_seal(&head, writer_view(&packed), &out);
    }
    writer_fini(&records);
    writer_fini(&packed);
    return to_buf(&out, batch);
}

struct buf *batch_marker(bool commit, int64_t producer_id, int16_t producer_epoch,
                         int32_t coordinator_epoch, int64_t now_ms, view *batch)
{
    uint8_t key[MARKER_KEY_BYTES] = {0, 0, 0, commit ? 1 : 0};
    uint8_t value[MARKER_VALUE_BYTES] = {0};
    struct record record = {
        .timestamp_ms = now_ms, .key = {key, sizeof(key)}, .value = {value, sizeof(value)}};

    assert(producer_id >= 0);
    put_u32(value + 2, (uint32_t)coordinator_epoch);
    return batch_new(&(struct batch_build){.records = &record,
                                           .count = 1,
                                           .attributes = BATCH_CONTROL | BATCH_TRANSACTIONAL,
                                           .producer_id = producer_id,
                                           .producer_epoch = producer_epoch,
                                           .base_sequence = -1},
                     batch);
}

bool batch_marker_read(view batch, bool *commit, int32_t *coordinator_epoch)
{
    struct batch_info info;
    struct record_head head;

    if (batch_peek(batch, &info) || batch.len < info.bytes || info.record_count != 1 ||
        !(info.attributes & BATCH_CONTROL) || info.attributes & BATCH_CODEC_MASK) {
        return false;
    }
    if (!record_parse(batch.at + BATCH_HEAD_BYTES, batch.at + info.bytes, &head) ||
        head.key.len < MARKER_KEY_BYTES || head.value.len < MARKER_VALUE_BYTES) {
        return false;
    }
    int16_t version = (int16_t)get_u16(head.key.at), kind = (int16_t)get_u16(head.key.at + 2);
    if (version < 0 || kind < 0 || kind > 1) {
        return false;
    }
    *commit = kind == 1;
    *coordinator_epoch = (int32_t)get_u32(head.value.at + 2);
    return true;
}
