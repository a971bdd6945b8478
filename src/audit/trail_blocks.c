/* trail_blocks.c - the forms of a block on disk. SPDX-License-Identifier: Apache-2.0 */
#include "audit/trail_blocks.h"

#include <string.h>

#include "audit/change.h"

#define LOW_BITS (32 - BUCKET_BITS)
#define BITMAP_FROM 4096 /* positions: then a bitmap is smaller */
#define BITMAP_BYTES (TRAIL_BLOCK_MAX / 8)
#define RADIX_BITS 11
#define CRC_BYTES 4

void postings_sort(uint64_t *postings, uint64_t *spare, size_t count)
{
    static const unsigned shifts[] = {16, 27, 38}; /* the hash's 32 bits; then a tail of ten */
    uint64_t *from = postings, *to = spare;

    for (size_t pass = 0; pass < COUNT(shifts); pass++) {
        size_t starts[1 << RADIX_BITS] = {0}, sum = 0;
        for (size_t i = 0; i < count; i++) {
            starts[from[i] >> shifts[pass] & ((1 << RADIX_BITS) - 1)]++;
        }
        for (size_t i = 0; i < COUNT(starts); i++) {
            size_t own = starts[i];
            starts[i] = sum;
            sum += own;
        }
        for (size_t i = 0; i < count; i++) {
            to[starts[from[i] >> shifts[pass] & ((1 << RADIX_BITS) - 1)]++] = from[i];
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    memcpy(postings, from, count * sizeof(*postings)); /* an odd number of passes */
}

static uint32_t hash_of(uint64_t posting)
{
    return (uint32_t)(posting >> 16);
}

static void positions_write(const uint64_t *postings, size_t count, struct writer *out)
{
    uint8_t *bitmap, spare[2];

    if (count == 1) {
        put_u16(spare, (uint16_t)postings[0]);
        write_bytes(out, spare, sizeof(spare));
        return;
    }
    if (count >= BITMAP_FROM) {
        bitmap = write_space(out, BITMAP_BYTES);
        for (size_t i = 0; i < count; i++) {
            uint16_t position = (uint16_t)postings[i];
            bitmap[position / 8] |= (uint8_t)(1u << position % 8);
        }
        return;
    }
    struct writer list = {0};
    uint32_t last = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t position = (uint16_t)postings[i];
        write_uvarint(&list, position - last);
        last = position;
    }
    write_uvarint(out, (uint32_t)list.len);
    write_view(out, writer_view(&list));
    writer_fini(&list);
}

static void seal_blob(struct writer *out, size_t from)
{
    write_u32(out, crc32c(0, view_from(writer_view(out), from)));
}

size_t bucket_write(const uint64_t *postings, size_t count, uint32_t bucket, struct writer *out)
{
    struct writer many = {0};
    size_t from = out->len, at = 0;
    uint32_t last = 0;

    while (at < count && hash_of(postings[at]) >> LOW_BITS == bucket) {
        uint32_t hash = hash_of(postings[at]), low = hash & ((1u << LOW_BITS) - 1);
        writer_reset(&many);
        for (uint64_t seen = UINT64_MAX; at < count && hash_of(postings[at]) == hash; at++) {
            if (postings[at] != seen) { /* a change may name a term twice */
                write_bytes(&many, &postings[at], sizeof(postings[at]));
            }
            seen = postings[at];
        }
        write_uvarint(out, low - last);
        write_uvarint(out, (uint32_t)(many.len / sizeof(uint64_t)));
        positions_write((const uint64_t *)(const void *)many.at, many.len / sizeof(uint64_t),
                        out);
        last = low;
    }
    writer_fini(&many);
    seal_blob(out, from);
    return at;
}

static err open_blob(view blob, struct reader *out)
{
    if (blob.len < CRC_BYTES || get_u32(blob.at + blob.len - CRC_BYTES) !=
                                    crc32c(0, view_upto(blob, blob.len - CRC_BYTES))) {
        return fault(ERR_CORRUPT, "the index of changes is damaged");
    }
    *out = (struct reader){.rest = view_upto(blob, blob.len - CRC_BYTES)};
    return OK;
}

static void set_bit(uint64_t bits[TRAIL_BITS], uint32_t position)
{
    bits[position / 64 % TRAIL_BITS] |= UINT64_C(1) << position % 64;
}

static void positions_read(struct reader *r, uint32_t count, uint64_t *bits)
{
    view list;
    uint32_t position = 0;

    if (count == 1) {
        position = read_u16(r);
        if (bits) {
            set_bit(bits, position);
        }
    } else if (count >= BITMAP_FROM) {
        list = read_bytes(r, BITMAP_BYTES);
        for (size_t i = 0; bits && i < list.len / sizeof(uint64_t); i++) {
            uint64_t word; /* little endian, as all we run on */
            memcpy(&word, list.at + i * sizeof(word), sizeof(word));
            bits[i] |= word;
        }
    } else {
        list = read_bytes(r, read_uvarint(r));
        struct reader in = {.rest = list};
        for (uint32_t i = 0; bits && i < count; i++) {
            position += read_uvarint(&in);
            set_bit(bits, position);
        }
    }
}

err bucket_find(view blob, uint32_t hash, uint64_t bits[TRAIL_BITS])
{
    struct reader r;
    uint32_t low = 0, wanted = hash & ((1u << LOW_BITS) - 1);
    err e = open_blob(blob, &r);

    while (!e && r.rest.len && !r.bad) {
        low += read_uvarint(&r);
        uint32_t count = read_uvarint(&r);
        if (low > wanted) {
            return OK;
        }
        positions_read(&r, count, low == wanted ? bits : NULL);
    }
    return e;
}

/* Differences wrap around, so that any two values have one. */
static void write_step(struct writer *out, uint64_t now, uint64_t *last)
{
    write_varlong(out, (int64_t)(now - *last));
    *last = now;
}

static uint64_t read_step(struct reader *r, uint64_t *last)
{
    *last += (uint64_t)read_varlong(r);
    return *last;
}

struct steps { /* the fields of the place before */
    uint64_t table, partition, offset, seq, committed_us, lsn, commit_lsn, xid;
};

void chunk_write(const struct trail_place *places, size_t count, struct writer *out)
{
    struct steps last = {0};
    size_t from = out->len;

    assert(count <= CHUNK_PLACES);
    write_uvarint(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const struct trail_place *p = &places[i];
        write_u8(out, p->kind);
        write_step(out, p->table, &last.table);
        write_step(out, (uint64_t)p->partition, &last.partition);
        write_step(out, (uint64_t)p->offset, &last.offset);
        write_step(out, (uint64_t)p->seq, &last.seq);
        write_step(out, (uint64_t)p->committed_us, &last.committed_us);
        write_step(out, p->lsn, &last.lsn);
        write_step(out, p->commit_lsn, &last.commit_lsn);
        write_step(out, p->xid, &last.xid);
    }
    seal_blob(out, from);
}

static struct trail_place read_place(struct reader *r, struct steps *last)
{
    struct trail_place place = {.kind = read_u8(r)};

    place.table = (uint32_t)read_step(r, &last->table);
    place.partition = (int32_t)read_step(r, &last->partition);
    place.offset = (int64_t)read_step(r, &last->offset);
    place.seq = (int64_t)read_step(r, &last->seq);
    place.committed_us = (int64_t)read_step(r, &last->committed_us);
    place.lsn = read_step(r, &last->lsn);
    place.commit_lsn = read_step(r, &last->commit_lsn);
    place.xid = (uint32_t)read_step(r, &last->xid);
    return place;
}

err chunk_read(view blob, struct trail_place out[CHUNK_PLACES], size_t *count)
{
    struct steps last = {0};
    struct reader r;
    err e = open_blob(blob, &r);

    *count = 0;
    if (e) {
        return e;
    }
    uint32_t all = read_uvarint(&r);
    for (uint32_t i = 0; i < all && i < CHUNK_PLACES; i++) {
        out[i] = read_place(&r, &last);
        r.bad = r.bad || out[i].kind > CHANGE_MESSAGE;
        *count = i + 1;
    }
    return r.bad || all > CHUNK_PLACES ? fault(ERR_CORRUPT, "the index of changes is damaged")
                                       : OK;
}
