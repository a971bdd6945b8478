/* wire.c - the sticky cursor, the growing writer, CRC-32C. SPDX-License-Identifier: Apache-2.0
 */
#include "base/base.h"

#include <isa-l/crc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CRC_STEP_BYTES (1 << 30) /* the library takes an int */

view read_bytes(struct reader *r, size_t len)
{
    if (r->bad || len > r->rest.len) {
        r->bad = true;
        return (view){0};
    }
    view out = {r->rest.at, len};
    r->rest = view_from(r->rest, len);
    return out;
}

uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return __builtin_bswap32(value);
}

uint64_t get_u64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return __builtin_bswap64(value);
}

void put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

void put_u32(uint8_t *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof(value));
}

void put_u64(uint8_t *at, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(at, &value, sizeof(value));
}

uint8_t read_u8(struct reader *r)
{
    view v = read_bytes(r, 1);

    return v.len ? v.at[0] : 0;
}

int8_t read_i8(struct reader *r)
{
    return (int8_t)read_u8(r);
}

bool read_bool(struct reader *r)
{
    return read_u8(r) != 0;
}

uint16_t read_u16(struct reader *r)
{
    view v = read_bytes(r, 2);

    return v.len ? get_u16(v.at) : 0;
}

int16_t read_i16(struct reader *r)
{
    return (int16_t)read_u16(r);
}

uint32_t read_u32(struct reader *r)
{
    view v = read_bytes(r, 4);

    return v.len ? get_u32(v.at) : 0;
}

int32_t read_i32(struct reader *r)
{
    return (int32_t)read_u32(r);
}

uint64_t read_u64(struct reader *r)
{
    view v = read_bytes(r, 8);

    return v.len ? get_u64(v.at) : 0;
}

int64_t read_i64(struct reader *r)
{
    return (int64_t)read_u64(r);
}

double read_f64(struct reader *r)
{
    uint64_t bits = read_u64(r);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t read_groups(struct reader *r, int bits_max)
{
    uint64_t value = 0;

    for (int shift = 0; shift < bits_max; shift += 7) {
        uint8_t byte = read_u8(r);
        if (shift == 63 && byte > 1) {
            break; /* past 64 bits */
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return r->bad ? 0 : value;
        }
    }
    r->bad = true;
    return 0;
}

uint32_t read_uvarint(struct reader *r)
{
    uint64_t value = read_groups(r, 35);

    if (value > UINT32_MAX) {
        r->bad = true;
        return 0;
    }
    return (uint32_t)value;
}

uint64_t read_uvarlong(struct reader *r)
{
    return read_groups(r, 70);
}

int32_t read_varint(struct reader *r)
{
    uint32_t value = read_uvarint(r);

    return (int32_t)(value >> 1 ^ (0u - (value & 1)));
}

int64_t read_varlong(struct reader *r)
{
    uint64_t value = read_uvarlong(r);

    return (int64_t)(value >> 1 ^ (0u - (value & 1)));
}

/* Room for len bytes more, counted as written. */
static uint8_t *grow(struct writer *w, size_t len)
{
    if (w->room - w->len < len) {
        w->room = MAX(w->len + len, w->room ? w->room * 2 : 256);
        w->at = xrealloc(w->at, w->room);
    }
    uint8_t *at = w->at ? w->at + w->len : NULL;
    w->len += len;
    return at;
}

uint8_t *write_space(struct writer *w, size_t len)
{
    uint8_t *at = grow(w, len);

    return len ? memset(at, 0, len) : at;
}

void write_bytes(struct writer *w, const void *at, size_t len)
{
    if (len) {
        memcpy(grow(w, len), at, len);
    }
}

void write_view(struct writer *w, view v)
{
    write_bytes(w, v.at, v.len);
}

void write_u8(struct writer *w, uint8_t value)
{
    *grow(w, 1) = value;
}

void write_i8(struct writer *w, int8_t value)
{
    write_u8(w, (uint8_t)value);
}

void write_bool(struct writer *w, bool value)
{
    write_u8(w, value ? 1 : 0);
}

void write_u16(struct writer *w, uint16_t value)
{
    put_u16(write_space(w, 2), value);
}

void write_i16(struct writer *w, int16_t value)
{
    write_u16(w, (uint16_t)value);
}

void write_u32(struct writer *w, uint32_t value)
{
    put_u32(write_space(w, 4), value);
}

void write_i32(struct writer *w, int32_t value)
{
    write_u32(w, (uint32_t)value);
}

void write_u64(struct writer *w, uint64_t value)
{
    put_u64(write_space(w, 8), value);
}

void write_i64(struct writer *w, int64_t value)
{
    write_u64(w, (uint64_t)value);
}

void write_f64(struct writer *w, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    write_u64(w, bits);
}

void write_uvarlong(struct writer *w, uint64_t value)
{
    for (; value > 0x7f; value >>= 7) {
        write_u8(w, (uint8_t)(value | 0x80));
    }
    write_u8(w, (uint8_t)value);
}

void write_uvarint(struct writer *w, uint32_t value)
{
    write_uvarlong(w, value);
}

void write_varint(struct writer *w, int32_t value)
{
    write_uvarint(w, (uint32_t)value << 1 ^ (value < 0 ? UINT32_MAX : 0));
}

void write_varlong(struct writer *w, int64_t value)
{
    write_uvarlong(w, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

void write_format(struct writer *w, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    assert(len >= 0);
    vsnprintf((char *)write_space(w, (size_t)len + 1), (size_t)len + 1, format, again);
    w->len--; /* without the NUL */
    va_end(again);
    va_end(args);
}

view writer_view(const struct writer *w)
{
    return (view){w->at, w->len};
}

void writer_reset(struct writer *w)
{
    w->len = 0;
}

void writer_fini(struct writer *w)
{
    free(w->at);
    *w = (struct writer){0};
}

uint32_t crc32c(uint32_t before, view v)
{
    uint32_t crc = ~before;

    for (; v.len > CRC_STEP_BYTES; v = view_from(v, CRC_STEP_BYTES)) {
        crc = crc32_iscsi((unsigned char *)(uintptr_t)v.at, CRC_STEP_BYTES, crc);
    }
    return ~(v.len ? crc32_iscsi((unsigned char *)(uintptr_t)v.at, (int)v.len, crc) : crc);
}
