/* record.h - one record inside a batch, and the sealing of a batch; internal to log/.
 *
 * Record: varint length of what follows, i8 attributes (unused), varlong timestamp delta,
 * varint offset delta, varint key length (-1: null), key, varint value length (-1: null),
 * value, varint header count, then per header: varint key length, key, varint value length
 * (-1: null), value. All varints are zigzag. Pure functions, any thread. */
#ifndef TIDEMARK_LOG_RECORD_H
#define TIDEMARK_LOG_RECORD_H

#include "log/batch.h"

struct record_head { /* a record as stored; views borrow from the records */
    int64_t timestamp_delta;
    int32_t offset_delta;
    int32_t header_count;
    view key, value;
    view headers; /* encoded, checked */
};

/* Parses the record at at, headers included; the next record, or NULL when it is broken. */
const uint8_t *record_parse(const uint8_t *at, const uint8_t *end, struct record_head *out);
/* Encodes one; of record only key, value and headers are used. */
void record_write(struct writer *out, int64_t timestamp_delta, int32_t offset_delta,
                  const struct record *record);

/* Encodes one that was parsed, under another timestamp delta. */
void record_copy(struct writer *out, int64_t timestamp_delta, const struct record_head *record);

int64_t record_timestamp(const struct batch_info *info, int64_t timestamp_delta);

/* The batch's records without their codec: borrowed from batch, or inflated into scratch. */
MUST_CHECK err batch_records(view batch, const struct batch_info *info, struct writer *scratch,
                             view *records);
/* Appends a whole batch to out: head's fields but for bytes and crc, which are computed, and
 * the records, compressed already with the codec in head's attributes. */
void batch_seal(const struct batch_info *head, view packed, struct writer *out);

#endif
