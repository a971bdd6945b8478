/* batch.h - record batches, Kafka's format v2 (magic 2): check, walk, build; a part of log.h.
 *
 * Layout, big endian: 0 base offset i64, 8 length i32 (bytes after it), 12 leader epoch i32,
 * 16 magic i8, 17 CRC-32C u32 (of all from 21 on), 21 attributes i16, 23 last offset delta i32,
 * 27 base timestamp i64, 35 max timestamp i64, 43 producer id i64, 51 producer epoch i16,
 * 53 base sequence i32, 57 record count i32, 61 records. Base offset and leader epoch are
 * outside of the CRC, so a leader patches them in place. Source: KIP-98, KIP-32, KIP-101. Pure
 * functions, any thread. */
#ifndef TIDEMARK_LOG_BATCH_H
#define TIDEMARK_LOG_BATCH_H

#include "base/base.h"

#define BATCH_HEAD_BYTES 61
#define BATCH_LENGTH_AT 8 /* the length field; a batch is its value + 12 bytes */
#define BATCH_BYTES_MAX (100 << 20)
#define BATCH_INFLATED_MAX (256 << 20) /* records of one batch, inflated: bombs stop here */

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };

enum batch_attributes {
    BATCH_CODEC_MASK = 0x07,
    BATCH_APPEND_TIME = 0x08,
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_DELETE_HORIZON = 0x40,
};

struct batch_info { /* the head, decoded */
    uint32_t bytes; /* whole batch with its head */
    int64_t base_offset;
    int32_t leader_epoch;
    uint32_t crc;
    uint16_t attributes; /* enum batch_attributes */
    int32_t last_offset_delta;
    int64_t base_timestamp, max_timestamp;
    int64_t producer_id; /* -1: none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};

enum batch_fault {
    BATCH_FINE,
    BATCH_SHORT, /* more bytes are needed than v has */
    BATCH_BAD_LENGTH,
    BATCH_BAD_MAGIC,
    BATCH_BAD_CRC,
    BATCH_BAD_COUNT,   /* last offset delta and record count disagree, or are negative */
    BATCH_BAD_RECORDS, /* a record does not parse or its offset delta is wrong */
    BATCH_BAD_CODEC,
    BATCH_BAD_ATTRIBUTES, /* of a control batch, or producer fields that do not fit */
    BATCH_NO_KEY,         /* a record without key, where keys are needed */
};

const char *batch_fault_text(enum batch_fault fault);

/* Head only: magic and length sane; nothing else is checked. v may be longer than the batch, or
 * hold no more than its head. */
enum batch_fault batch_peek(view v, struct batch_info *out);
/* A stored batch: head and CRC. Counts may disagree: compaction makes holes. */
enum batch_fault batch_check_stored(view v, struct batch_info *out);
/* What a producer sent: v is exactly one batch; CRC, counts, not a control batch, and the
 * records of an uncompressed one parse. */
enum batch_fault batch_check(view v, struct batch_info *out);
/* Every record parses, offset deltas run 0..n-1; with keyed also that each has a key.
 * Decompresses. */
enum batch_fault batch_check_records(view batch, bool keyed);

void batch_patch(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);
/* Log append time: sets attribute and max timestamp, renews the CRC. */
void batch_stamp(uint8_t *batch, int64_t append_ms);

struct header {
    view key, value; /* value null or bytes */
};

struct record {
    int64_t offset, timestamp_ms;
    view key, value;        /* null views where null; of a walk: valid until its next step */
    struct header *headers; /* in the walk's arena, valid until the next record */
    size_t header_count;
};

/* Walks records of a run of whole batches, decompressing as needed. */
struct batch_walk {
    view rest;              /* batches not entered yet */
    struct batch_info info; /* of the current batch */
    struct reader records;  /* of the current batch, inflated */
    struct writer inflated;
    struct arena arena;
    int32_t left;
    bool skip_control; /* set by the caller after init: markers are stepped over */
};

void batch_walk_init(struct batch_walk *walk, view batches);
/* OK with *more false at the end. ERR_CORRUPT: the offset of the bad batch is in the text. */
MUST_CHECK err batch_walk_next(struct batch_walk *walk, struct record *out, bool *more);
void batch_walk_fini(struct batch_walk *walk);

/* Builds one batch; records' offsets are ignored (0..n-1), timestamps kept. There is at least
 * one record, and the caller keeps the whole under BATCH_BYTES_MAX. */
struct batch_build {
    const struct record *records;
    size_t count;
    enum codec codec;
    uint16_t attributes; /* transactional, control, ... without the codec */
    int64_t producer_id; /* -1: none, then epoch and sequence are -1 too */
    int16_t producer_epoch;
    int32_t base_sequence;
};

struct buf *batch_new(const struct batch_build *build,
                      view *batch); /* *batch is all of the buf */

/* An end-of-transaction marker (KIP-98): one control record. */
struct buf *batch_marker(bool commit, int64_t producer_id, int16_t producer_epoch,
                         int32_t coordinator_epoch, int64_t now_ms, view *batch);
/* Reads a control batch's record: false when it is no end marker. */
bool batch_marker_read(view batch, bool *commit, int32_t *coordinator_epoch);

/* Whole-buffer codecs that append to out; ERR_CORRUPT, or ERR_TOO_LARGE when more than limit
 * bytes would be added. Snappy reads both framings and writes the xerial one that Java reads.
 */
MUST_CHECK err codec_inflate(enum codec codec, view in, size_t limit, struct writer *out);
MUST_CHECK err codec_deflate(enum codec codec, view in, struct writer *out);
const char *codec_name(enum codec codec);

#endif
