/* batch.c - checking and patching record batches; layout in batch.h.
 *
 * batch_check is on the way of every produced byte: one pass for the CRC, one over the records'
 * heads, no allocation. Happy path: peek, length, CRC, counts, records. Each failure is a value
 * of enum batch_fault, never words. SPDX-License-Identifier: Apache-2.0 */
#include "log/batch.h"

#include "log/record.h"

enum place { /* of the head's fields */
             AT_BASE_OFFSET = 0,
             AT_LENGTH = BATCH_LENGTH_AT,
             AT_LEADER_EPOCH = 12,
             AT_MAGIC = 16,
             AT_CRC = 17,
             AT_ATTRIBUTES = 21,
             AT_LAST_OFFSET_DELTA = 23,
             AT_BASE_TIMESTAMP = 27,
             AT_MAX_TIMESTAMP = 35,
             AT_PRODUCER_ID = 43,
             AT_PRODUCER_EPOCH = 51,
             AT_BASE_SEQUENCE = 53,
             AT_RECORD_COUNT = 57,
};

#define LENGTH_FROM 12 /* the length field counts bytes from here */
#define MAGIC 2

static const char *const fault_texts[] = {
    [BATCH_FINE] = "fine",
    [BATCH_SHORT] = "the batch is cut short",
    [BATCH_BAD_LENGTH] = "the batch's length is wrong",
    [BATCH_BAD_MAGIC] = "the batch is not of format 2",
    [BATCH_BAD_CRC] = "the batch does not match its checksum",
    [BATCH_BAD_COUNT] = "record count and last offset delta disagree",
    [BATCH_BAD_RECORDS] = "a record does not parse or its offset is wrong",
    [BATCH_BAD_CODEC] = "the compression codec is unknown",
    [BATCH_BAD_ATTRIBUTES] = "attributes or producer fields that a producer may not send",
    [BATCH_NO_KEY] = "a record has no key, but the topic is compacted",
};

const char *batch_fault_text(enum batch_fault fault)
{
    assert((size_t)fault < COUNT(fault_texts));
    return fault_texts[fault];
}

enum batch_fault batch_peek(view v, struct batch_info *out)
{
    if (v.len <= AT_MAGIC) {
        return BATCH_SHORT;
    }
    if (v.at[AT_MAGIC] != MAGIC) { /* before the length, which older formats may have smaller */
        return BATCH_BAD_MAGIC;
    }
    uint32_t length = get_u32(v.at + AT_LENGTH);
    if (length < BATCH_HEAD_BYTES - LENGTH_FROM || length > BATCH_BYTES_MAX - LENGTH_FROM) {
        return BATCH_BAD_LENGTH;
    }
    if (v.len < BATCH_HEAD_BYTES) {
        return BATCH_SHORT;
    }
    *out = (struct batch_info){
        .bytes = length + LENGTH_FROM,
        .base_offset = (int64_t)get_u64(v.at + AT_BASE_OFFSET),
        .leader_epoch = (int32_t)get_u32(v.at + AT_LEADER_EPOCH),
        .crc = get_u32(v.at + AT_CRC),
        .attributes = get_u16(v.at + AT_ATTRIBUTES),
        .last_offset_delta = (int32_t)get_u32(v.at + AT_LAST_OFFSET_DELTA),
        .base_timestamp = (int64_t)get_u64(v.at + AT_BASE_TIMESTAMP),
        .max_timestamp = (int64_t)get_u64(v.at + AT_MAX_TIMESTAMP),
        .producer_id = (int64_t)get_u64(v.at + AT_PRODUCER_ID),
        .producer_epoch = (int16_t)get_u16(v.at + AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t)get_u32(v.at + AT_BASE_SEQUENCE),
        .record_count = (int32_t)get_u32(v.at + AT_RECORD_COUNT),
    };
    return BATCH_FINE;
}

static uint32_t crc_of(const uint8_t *batch, uint32_t bytes)
{
    return crc32c(0, (view){batch + AT_ATTRIBUTES, bytes - AT_ATTRIBUTES});
}

enum batch_fault batch_check_stored(view v, struct batch_info *out)
{
    enum batch_fault fault = batch_peek(v, out);

    if (fault) {
        return fault;
    }
    if (v.len < out->bytes) {
        return BATCH_SHORT;
    }
    if (crc_of(v.at, out->bytes) != out->crc) {
        return BATCH_BAD_CRC;
    }
    if ((out->attributes & BATCH_CODEC_MASK) >= CODEC_COUNT) {
        return BATCH_BAD_CODEC;
    }
    /* the sum must not pass the largest offset: all arithmetic above relies on it */
    if (out->last_offset_delta < 0 || out->record_count < 0 || out->base_offset < 0 ||
        out->base_offset > INT64_MAX - out->last_offset_delta - 1) {
        return BATCH_BAD_COUNT;
    }
    return BATCH_FINE;
}

static enum batch_fault check_records(view records, int32_t count, bool keyed)
{
    const uint8_t *at = records.at, *end = records.at + records.len;
    struct record_head head;

    for (int32_t i = 0; i < count; i++) {
        at = record_parse(at, end, &head);
        if (!at || head.offset_delta != i) {
            return BATCH_BAD_RECORDS;
        }
        if (keyed && !head.key.at) {
            return BATCH_NO_KEY;
        }
    }
    return at == end ? BATCH_FINE : BATCH_BAD_RECORDS;
}

static bool producer_fields_fit(const struct batch_info *info)
{
    if (info->producer_id < 0) {
        return !(info->attributes & BATCH_TRANSACTIONAL);
    }
    return info->producer_epoch >= 0 && info->base_sequence >= 0;
}

enum batch_fault batch_check(view v, struct batch_info *out)
{
    enum batch_fault fault = batch_peek(v, out);

    if (fault) {
        return fault;
    }
    if (v.len != out->bytes) {
        return v.len < out->bytes ? BATCH_SHORT : BATCH_BAD_LENGTH;
    }
    if (crc_of(v.at, out->bytes) != out->crc) {
        return BATCH_BAD_CRC;
    }
    if ((out->attributes & BATCH_CODEC_MASK) >= CODEC_COUNT) {
        return BATCH_BAD_CODEC;
    }
    if (out->record_count < 1 || out->last_offset_delta != out->record_count - 1) {
        return BATCH_BAD_COUNT;
    }
    if (out->attributes & (BATCH_CONTROL | BATCH_DELETE_HORIZON) || !producer_fields_fit(out)) {
        return BATCH_BAD_ATTRIBUTES;
    }
    if (out->attributes & BATCH_CODEC_MASK) {
        return BATCH_FINE;
    }
    return check_records(view_from(v, BATCH_HEAD_BYTES), out->record_count, false);
}

err batch_records(view batch, const struct batch_info *info, struct writer *scratch,
                  view *records)
{
    enum codec codec = (enum codec)(info->attributes & BATCH_CODEC_MASK);
    view packed = view_from(view_upto(batch, info->bytes), BATCH_HEAD_BYTES);
    err e = OK;

    assert(batch.len >= info->bytes);
    if (codec == CODEC_NONE || packed.len == 0) {
        *records = packed;
        return OK;
    }
    writer_reset(scratch);
    e = codec_inflate(codec, packed, BATCH_INFLATED_MAX, scratch);
    *records = scratch->len ? writer_view(scratch) : view_from(packed, packed.len);
    return e;
}

enum batch_fault batch_check_records(view batch, bool keyed)
{
    struct batch_info info;
    struct writer scratch = {0};
    view records;
    enum batch_fault fault = batch_peek(batch, &info);

    if (fault) {
        return fault;
    }
    if (batch.len < info.bytes) {
        return BATCH_SHORT;
    }
    if ((info.attributes & BATCH_CODEC_MASK) >= CODEC_COUNT) {
        return BATCH_BAD_CODEC;
    }
    if (batch_records(batch, &info, &scratch, &records) == OK && info.record_count >= 0) {
        fault = check_records(records, info.record_count, keyed);
    } else {
        fault = BATCH_BAD_RECORDS;
    }
    writer_fini(&scratch);
    return fault;
}

void batch_patch(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    assert(batch[AT_MAGIC] == MAGIC);
    put_u64(batch + AT_BASE_OFFSET, (uint64_t)base_offset);
    put_u32(batch + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void batch_stamp(uint8_t *batch, int64_t append_ms)
{
    uint16_t attributes = get_u16(batch + AT_ATTRIBUTES);

    assert(batch[AT_MAGIC] == MAGIC);
    put_u16(batch + AT_ATTRIBUTES, attributes | BATCH_APPEND_TIME);
    put_u64(batch + AT_MAX_TIMESTAMP, (uint64_t)append_ms);
    put_u32(batch + AT_CRC, crc_of(batch, get_u32(batch + AT_LENGTH) + LENGTH_FROM));
}

void batch_seal(const struct batch_info *head, view packed, struct writer *out)
{
    size_t start = out->len;

    write_space(out, BATCH_HEAD_BYTES);
    write_view(out, packed);
    size_t bytes = out->len - start;
    assert(bytes <= BATCH_BYTES_MAX);
    uint8_t *at = out->at + start;
    put_u64(at + AT_BASE_OFFSET, (uint64_t)head->base_offset);
    put_u32(at + AT_LENGTH, (uint32_t)bytes - LENGTH_FROM);
    put_u32(at + AT_LEADER_EPOCH, (uint32_t)head->leader_epoch);
    at[AT_MAGIC] = MAGIC;
    put_u16(at + AT_ATTRIBUTES, head->attributes);
    put_u32(at + AT_LAST_OFFSET_DELTA, (uint32_t)head->last_offset_delta);
    put_u64(at + AT_BASE_TIMESTAMP, (uint64_t)head->base_timestamp);
    put_u64(at + AT_MAX_TIMESTAMP, (uint64_t)head->max_timestamp);
    put_u64(at + AT_PRODUCER_ID, (uint64_t)head->producer_id);
    put_u16(at + AT_PRODUCER_EPOCH, (uint16_t)head->producer_epoch);
    put_u32(at + AT_BASE_SEQUENCE, (uint32_t)head->base_sequence);
    put_u32(at + AT_RECORD_COUNT, (uint32_t)head->record_count);
    put_u32(at + AT_CRC, crc_of(at, (uint32_t)bytes));
}
