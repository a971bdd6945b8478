/* compact_pass.c - the two passes of a compaction over batches.
 *
 *   learn: batch --> newest offset per key (not of aborted transactions)
 *   rewrite: batch --> all records stay: as it is | some: built anew | none: empty or nothing
 *
 * Both follow transactions the same way: the list of aborts says where an aborted one of a
 * producer begins, its marker in the log ends it. SPDX-License-Identifier: Apache-2.0 */
#include "log/compact.h"

#include <stdlib.h>

#include "log/record.h"

struct txn {
    int64_t producer_id, first_offset; /* first: of an aborted one */
    bool aborted;
    bool seen; /* data of it is in what this pass read */
};

static void forget_txns(struct compactor *c)
{
    struct txn *txn;

    for (size_t at = 0; (txn = map_next(&c->txns, &at));) {
        free(txn);
    }
    map_fini(&c->txns);
    free(c->aborts);
    c->aborts = NULL;
    c->abort_count = c->abort_next = 0;
}

void compactor_init(struct compactor *c, const struct compact_rules *rules)
{
    *c = (struct compactor){.rules = *rules, .latest = -1, .horizon_ms = INT64_MAX};
    offset_map_init(&c->newest, rules->memory_bytes, rules->records);
}

void compactor_fini(struct compactor *c)
{
    forget_txns(c);
    offset_map_fini(&c->newest);
    writer_fini(&c->inflated);
    writer_fini(&c->records);
    writer_fini(&c->packed);
    free(c->ended);
}

static int by_first(const void *a, const void *b)
{
    const struct log_aborted *x = a, *y = b;

    return (x->first_offset > y->first_offset) - (x->first_offset < y->first_offset);
}

void compactor_begin(struct compactor *c, struct log_aborted *take_aborts, size_t count)
{
    forget_txns(c);
    c->aborts = take_aborts;
    c->abort_count = count;
    if (count) {
        qsort(c->aborts, count, sizeof(*c->aborts), by_first);
    }
}

static struct txn *txn_of(struct compactor *c, int64_t producer_id)
{
    struct txn *txn = map_get(&c->txns, VIEW_OF(producer_id));

    if (!txn) {
        txn = xcalloc(1, sizeof(*txn));
        txn->producer_id = producer_id;
        map_put(&c->txns, VIEW_OF(txn->producer_id), txn);
    }
    return txn;
}

/* Aborted transactions that begin at or before offset. */
static void begin_aborts(struct compactor *c, int64_t offset)
{
    for (; c->abort_next < c->abort_count; c->abort_next++) {
        const struct log_aborted *abort = &c->aborts[c->abort_next];
        if (abort->first_offset > offset) {
            return;
        }
        struct txn *txn = txn_of(c, abort->producer_id);
        *txn = (struct txn){.producer_id = abort->producer_id,
                            .first_offset = abort->first_offset,
                            .aborted = true};
    }
}

/* True: the batch's transaction was aborted. */
static bool follow_data(struct compactor *c, const struct batch_info *info)
{
    begin_aborts(c, info->base_offset + info->last_offset_delta);
    if (!(info->attributes & BATCH_TRANSACTIONAL)) {
        return false;
    }
    struct txn *txn = txn_of(c, info->producer_id);
    txn->seen = true;
    return txn->aborted;
}

/* Ends the transaction. True: no data of it is left; *first then is where an aborted one began,
 * else -1. */
static bool follow_marker(struct compactor *c, const struct batch_info *info, view batch,
                          int64_t *first)
{
    bool commit;
    int32_t epoch;

    *first = -1;
    begin_aborts(c, info->base_offset);
    if (info->record_count == 0) {
        return true; /* is an empty one already */
    }
    if (!batch_marker_read(batch, &commit, &epoch)) {
        return false;
    }
    struct txn *txn = map_remove(&c->txns, VIEW_OF(info->producer_id));
    bool seen = txn && txn->seen;
    if (txn && txn->aborted && !commit) {
        *first = txn->first_offset;
    }
    free(txn);
    return !seen;
}

err compactor_learn(struct compactor *c, const struct batch_info *info, view batch, bool *full)
{
    int64_t last = info->base_offset + info->last_offset_delta, first;
    struct record_head head;
    view records;

    *full = false;
    if (info->attributes & BATCH_CONTROL) {
        (void)follow_marker(c, info, batch, &first);
    } else if (!follow_data(c, info)) {
        err e = batch_records(batch, info, &c->inflated, &records);
        if (e) {
            return e;
        }
        const uint8_t *at = records.at, *end = records.at + records.len;
        for (int32_t i = 0; i < info->record_count; i++) {
            at = record_parse(at, end, &head);
            if (!at) {
                return fault(ERR_CORRUPT, "%s", batch_fault_text(BATCH_BAD_RECORDS));
            }
            int64_t offset = info->base_offset + head.offset_delta;
            if (head.key.at && !offset_map_put(&c->newest, head.key, offset)) {
                *full = true;
                return OK;
            }
            c->latest = offset;
        }
    }
    c->latest = last;
    return OK;
}

static bool newest_of_producer(const struct compactor *c, const struct batch_info *info)
{
    size_t low = 0, high = c->rules.producer_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct producer_last *last = &c->rules.producers[middle];
        if (last->producer_id == info->producer_id) {
            return last->offset >= 0
                       ? last->offset == info->base_offset + info->last_offset_delta
                       : (info->attributes & BATCH_CONTROL) &&
                             last->epoch == info->producer_epoch;
        }
        if (last->producer_id < info->producer_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

static bool must_stay(const struct compactor *c, const struct batch_info *info)
{
    return info->base_offset + info->last_offset_delta == c->rules.keep_offset ||
           (info->producer_id >= 0 && newest_of_producer(c, info));
}

/* The batch without its records, or nothing. */
static void write_empty(struct compactor *c, const struct batch_info *info, struct writer *out)
{
    struct batch_info head = *info;

    c->changed |= info->record_count > 0 || !must_stay(c, info);
    if (must_stay(c, info)) {
        head.attributes &= (uint16_t) ~(BATCH_CODEC_MASK | BATCH_DELETE_HORIZON);
        head.base_timestamp = -1;
        head.record_count = 0;
        batch_seal(&head, (view){0}, out);
    }
}

static bool stays(struct compactor *c, const struct batch_info *info,
                  const struct record_head *record)
{
    int64_t offset = info->base_offset + record->offset_delta;

    if (offset > c->latest) {
        return true;
    }
    if (!record->key.at || offset_map_get(&c->newest, record->key) > offset) {
        return false;
    }
    bool expired =
        info->attributes & BATCH_DELETE_HORIZON && info->base_timestamp <= c->rules.now_ms;
    return record->value.at || !expired;
}

struct survey { /* of one batch's records */
    int32_t kept;
    bool tombstones;                        /* among those kept */
    int64_t first_timestamp, max_timestamp; /* of those kept */
};

static int64_t raw_timestamp(const struct batch_info *info, int64_t delta)
{
    return (int64_t)((uint64_t)info->base_timestamp + (uint64_t)delta);
}

static err survey_records(struct compactor *c, const struct batch_info *info, view records,
                          struct survey *s)
{
    const uint8_t *at = records.at, *end = records.at + records.len;
    struct record_head head;

    *s = (struct survey){0};
    for (int32_t i = 0; i < info->record_count; i++) {
        at = record_parse(at, end, &head);
        if (!at) {
            return fault(ERR_CORRUPT, "%s", batch_fault_text(BATCH_BAD_RECORDS));
        }
        if (!(info->attributes & BATCH_CONTROL) && !stays(c, info, &head)) {
            continue;
        }
        int64_t timestamp = raw_timestamp(info, head.timestamp_delta);
        s->tombstones |= !head.value.at;
        s->max_timestamp = s->kept ? MAX(s->max_timestamp, timestamp) : timestamp;
        s->first_timestamp = s->kept ? s->first_timestamp : timestamp;
        s->kept++;
    }
    return OK;
}

/* The records that stay, relative to a new base timestamp. */
static void copy_records(struct compactor *c, const struct batch_info *info, view records,
                         int64_t base_timestamp)
{
    const uint8_t *at = records.at, *end = records.at + records.len;
    struct record_head head;

    writer_reset(&c->records);
    for (int32_t i = 0; i < info->record_count; i++) {
        at = record_parse(at, end, &head);
        assert(at);
        if (info->attributes & BATCH_CONTROL || stays(c, info, &head)) {
            int64_t delta = (int64_t)((uint64_t)raw_timestamp(info, head.timestamp_delta) -
                                      (uint64_t)base_timestamp);
            record_copy(&c->records, delta, &head);
        }
    }
}

static void write_as_is(struct compactor *c, const struct batch_info *info, view batch,
                        struct writer *out)
{
    c->records_out += info->record_count;
    if (info->attributes & BATCH_DELETE_HORIZON) {
        c->horizon_ms = MIN(c->horizon_ms, info->base_timestamp);
    }
    write_view(out, view_upto(batch, info->bytes));
}

/* Writes what survey found; horizon: to be stamped now. */
static err write_some(struct compactor *c, const struct batch_info *info, view batch,
                      view records, const struct survey *s, bool horizon, struct writer *out)
{
    struct batch_info head = *info;
    enum codec codec = (enum codec)(info->attributes & BATCH_CODEC_MASK);

    head.record_count = s->kept;
    if (horizon) {
        head.attributes |= BATCH_DELETE_HORIZON;
        head.base_timestamp = c->rules.now_ms + c->rules.delete_retention_ms;
    } else if (!(info->attributes & BATCH_DELETE_HORIZON)) {
        head.base_timestamp = s->first_timestamp;
    }
    if (!(info->attributes & BATCH_APPEND_TIME)) {
        head.max_timestamp = s->max_timestamp;
    }
    copy_records(c, info, records, head.base_timestamp);
    view packed = writer_view(&c->records);
    if (codec != CODEC_NONE) {
        writer_reset(&c->packed);
        err e = codec_deflate(codec, packed, &c->packed);
        if (e) {
            return e;
        }
        packed = writer_view(&c->packed);
    }
    if (packed.len > BATCH_BYTES_MAX - BATCH_HEAD_BYTES) {
        write_as_is(c, info, batch, out); /* it was packed better than we can */
        return OK;
    }
    if (head.attributes & BATCH_DELETE_HORIZON) {
        c->horizon_ms = MIN(c->horizon_ms, head.base_timestamp);
    }
    c->changed = true;
    c->records_out += s->kept;
    batch_seal(&head, packed, out);
    return OK;
}

static err rewrite_records(struct compactor *c, const struct batch_info *info, view batch,
                           bool wants_horizon, struct writer *out)
{
    struct survey s;
    view records;
    err e = batch_records(batch, info, &c->inflated, &records);

    e = e ? e : survey_records(c, info, records, &s);
    if (e) {
        return e;
    }
    if (s.kept == 0) {
        write_empty(c, info, out);
        return OK;
    }
    bool stamped = info->attributes & BATCH_DELETE_HORIZON;
    bool control = info->attributes & BATCH_CONTROL;
    bool horizon = !stamped && (control ? wants_horizon : s.tombstones);
    if (s.kept == info->record_count && !horizon) {
        write_as_is(c, info, batch, out);
        return OK;
    }
    return write_some(c, info, batch, records, &s, horizon, out);
}

static void note_ended(struct compactor *c, int64_t producer_id, int64_t first_offset)
{
    c->ended = array_room(c->ended, c->ended_count, &c->ended_room, sizeof(*c->ended));
    c->ended[c->ended_count++] = (struct log_aborted){producer_id, first_offset};
}

static err rewrite_marker(struct compactor *c, const struct batch_info *info, view batch,
                          struct writer *out)
{
    int64_t first;
    bool useless = follow_marker(c, info, batch, &first);
    bool expired =
        info->attributes & BATCH_DELETE_HORIZON && info->base_timestamp <= c->rules.now_ms;

    if (info->record_count == 0 || (useless && expired)) {
        if (first >= 0) {
            note_ended(c, info->producer_id, first);
        }
        write_empty(c, info, out);
        return OK;
    }
    return rewrite_records(c, info, batch, useless, out);
}

err compactor_rewrite(struct compactor *c, const struct batch_info *info, view batch,
                      struct writer *out)
{
    c->records_in += info->record_count;
    if (info->attributes & BATCH_CONTROL) {
        return rewrite_marker(c, info, batch, out);
    }
    if (follow_data(c, info) || info->record_count == 0) {
        write_empty(c, info, out);
        return OK;
    }
    return rewrite_records(c, info, batch, false, out);
}
