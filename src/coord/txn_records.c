/* txn_records.c - keys and values of __transaction_state; layouts in records.h.
 *
 * Value 1: producer id i64, epoch i16, timeout i32, state i8, partitions (compact array of
 * {topic compact text, compact array of i32, tags}, null when none), last update i64, start
 * i64, tags {0 previous producer id i64, 1 next producer id i64, 2 client's version i16}.
 * Version 0 is the same with old lengths and no tags. SPDX-License-Identifier: Apache-2.0 */
#include "coord/records.h"

#include <stdlib.h>

enum {
    TXN_KEY_VERSION = 0,
    TXN_VALUE_VERSION = 1,
    TAG_PREVIOUS_ID = 0,
    TAG_NEXT_ID = 1,
    TAG_VERSION = 2,
};

static view read_text(struct reader *r, bool flexible)
{
    uint32_t len = flexible ? read_uvarint(r) - 1 : (uint32_t)read_u16(r);

    return read_bytes(r, len);
}

/* -1: null */
static int64_t read_count(struct reader *r, bool flexible)
{
    return flexible ? (int64_t)read_uvarint(r) - 1 : (int64_t)read_i32(r);
}

static void read_tags(struct reader *r, struct txn_value *out)
{
    for (uint32_t left = read_uvarint(r); left > 0 && !r->bad; left--) {
        uint32_t tag = read_uvarint(r);
        struct reader body = {.rest = read_bytes(r, read_uvarint(r))};
        switch (out ? (int)tag : -1) {
        case TAG_PREVIOUS_ID:
            out->previous_id = read_i64(&body);
            break;
        case TAG_NEXT_ID:
            out->next_id = read_i64(&body);
            break;
        case TAG_VERSION:
            out->version = read_i16(&body);
            break;
        default:
            break; /* of a later writer */
        }
    }
}

static void read_partitions(struct reader *r, bool flexible, struct arena *arena,
                            struct txn_value *out)
{
    size_t room = r->rest.len / sizeof(int32_t); /* each takes as many bytes at least */

    out->partitions = arena_take(arena, room * sizeof(*out->partitions));
    for (int64_t topics = read_count(r, flexible); topics > 0 && !r->bad; topics--) {
        view topic = read_text(r, flexible);
        for (int64_t left = read_count(r, flexible); left > 0 && !r->bad; left--) {
            int32_t partition = read_i32(r);
            if (!r->bad) {
                assert(out->partition_count < room);
                out->partitions[out->partition_count++] =
                    (struct coord_txn_partition){.topic = topic, .partition = partition};
            }
        }
        if (flexible) {
            read_tags(r, NULL);
        }
    }
}

bool txn_key_read(view key, view *txn_id)
{
    struct reader r = {.rest = key};
    int16_t version = read_i16(&r);

    *txn_id = read_text(&r, false);
    return !r.bad && version == TXN_KEY_VERSION;
}

view txn_key_write(struct arena *arena, struct writer *scratch, view txn_id)
{
    writer_reset(scratch);
    write_i16(scratch, TXN_KEY_VERSION);
    write_u16(scratch, (uint16_t)txn_id.len);
    write_view(scratch, txn_id);
    return arena_copy(arena, writer_view(scratch));
}

bool txn_value_read(view value, struct arena *arena, struct txn_value *out)
{
    struct reader r = {.rest = value};
    int16_t version = read_i16(&r);
    bool flexible = version >= TXN_VALUE_VERSION;

    *out = (struct txn_value){.previous_id = -1, .next_id = -1};
    if (r.bad || version < 0 || version > TXN_VALUE_VERSION) {
        return false;
    }
    out->producer_id = read_i64(&r);
    out->producer_epoch = read_i16(&r);
    out->timeout_ms = read_i32(&r);
    out->state = read_i8(&r);
    read_partitions(&r, flexible, arena, out);
    out->update_ms = read_i64(&r);
    out->start_ms = read_i64(&r);
    if (flexible) {
        read_tags(&r, out);
    }
    return !r.bad;
}

static size_t topic_run(const struct txn_value *value, size_t at)
{
    size_t end = at + 1;

    while (end < value->partition_count &&
           view_is(value->partitions[end].topic, value->partitions[at].topic)) {
        end++;
    }
    return end;
}

static void write_partitions(struct writer *w, const struct txn_value *value)
{
    uint32_t topics = 0;

    for (size_t at = 0; at < value->partition_count; at = topic_run(value, at)) {
        topics++;
    }
    write_uvarint(w, topics ? topics + 1 : 0);
    for (size_t at = 0, end; at < value->partition_count; at = end) {
        view topic = value->partitions[at].topic;
        end = topic_run(value, at);
        write_uvarint(w, (uint32_t)topic.len + 1);
        write_view(w, topic);
        write_uvarint(w, (uint32_t)(end - at) + 1);
        for (size_t i = at; i < end; i++) {
            write_i32(w, value->partitions[i].partition);
        }
        write_uvarint(w, 0);
    }
}

static void write_tag_i64(struct writer *w, uint32_t tag, int64_t value)
{
    if (value != -1) {
        write_uvarint(w, tag);
        write_uvarint(w, sizeof(value));
        write_i64(w, value);
    }
}

view txn_value_write(struct arena *arena, struct writer *scratch, const struct txn_value *value)
{
    uint32_t tags = (value->previous_id != -1 ? 1u : 0u) + (value->next_id != -1 ? 1u : 0u) +
                    (value->version != 0 ? 1u : 0u);

    writer_reset(scratch);
    write_i16(scratch, TXN_VALUE_VERSION);
    write_i64(scratch, value->producer_id);
    write_i16(scratch, value->producer_epoch);
    write_i32(scratch, value->timeout_ms);
    write_i8(scratch, value->state);
    write_partitions(scratch, value);
    write_i64(scratch, value->update_ms);
    write_i64(scratch, value->start_ms);
    write_uvarint(scratch, tags);
    write_tag_i64(scratch, TAG_PREVIOUS_ID, value->previous_id);
    write_tag_i64(scratch, TAG_NEXT_ID, value->next_id);
    if (value->version != 0) {
        write_uvarint(scratch, TAG_VERSION);
        write_uvarint(scratch, sizeof(value->version));
        write_i16(scratch, value->version);
    }
    return arena_copy(arena, writer_view(scratch));
}
