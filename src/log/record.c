/* record.c - parsing and encoding single records. SPDX-License-Identifier: Apache-2.0
 *
 * Parsing is on the way of every produced record: raw pointers, no allocation. Invariant: at
 * never passes end, and a length is compared with what is left before it is used. */
#include "log/record.h"

#include <string.h>

#define VARINT_BITS 35
#define VARLONG_BITS 70

struct cursor {
    const uint8_t *at, *end;
};

static __attribute__((noinline)) bool take_long(struct cursor *c, int bits_max, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < bits_max && c->at < c->end; shift += 7) {
        uint8_t byte = *c->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

/* Nearly all varints take one byte or two, so those are what is made fast. */
static bool take_raw(struct cursor *c, int bits_max, uint64_t *out)
{
    if (c->end - c->at < 2) {
        *out = c->at < c->end ? *c->at : 0x80;
        c->at = c->end;
        return *out < 0x80;
    }
    if (c->at[0] < 0x80) {
        *out = *c->at++;
        return true;
    }
    if (c->at[1] < 0x80) {
        *out = (c->at[0] & 0x7fu) | (uint64_t)c->at[1] << 7;
        c->at += 2;
        return true;
    }
    return take_long(c, bits_max, out);
}

static bool take_varint(struct cursor *c, int32_t *out)
{
    uint64_t raw;

    if (!take_raw(c, VARINT_BITS, &raw) || raw > UINT32_MAX) {
        return false;
    }
    *out = (int32_t)((uint32_t)raw >> 1 ^ (0u - ((uint32_t)raw & 1)));
    return true;
}

static bool take_varlong(struct cursor *c, int64_t *out)
{
    uint64_t raw;

    if (!take_raw(c, VARLONG_BITS, &raw)) {
        return false;
    }
    *out = (int64_t)(raw >> 1 ^ (0u - (raw & 1)));
    return true;
}

static bool take_bytes(struct cursor *c, view *out)
{
    int32_t len;

    if (!take_varint(c, &len) || len < -1 || len > c->end - c->at) {
        return false;
    }
    *out = len < 0 ? (view){0} : (view){c->at, (size_t)len};
    c->at += out->len;
    return true;
}

/* flatten: calls inside made it nearly three times as slow */
__attribute__((flatten)) const uint8_t *record_parse(const uint8_t *at, const uint8_t *end,
                                                     struct record_head *out)
{
    struct cursor c = {at, end};
    int32_t len;
    view key, value;

    assert(at <= end);
    if (!take_varint(&c, &len) || len < 1 || len > c.end - c.at) {
        return NULL;
    }
    c.end = c.at + len;
    c.at++; /* attributes */
    if (!take_varlong(&c, &out->timestamp_delta) || !take_varint(&c, &out->offset_delta) ||
        !take_bytes(&c, &out->key) || !take_bytes(&c, &out->value) ||
        !take_varint(&c, &out->header_count) || out->header_count < 0) {
        return NULL;
    }
    out->headers = (view){c.at, (size_t)(c.end - c.at)};
    for (int32_t i = 0; i < out->header_count; i++) {
        if (!take_bytes(&c, &key) || !key.at || !take_bytes(&c, &value)) {
            return NULL;
        }
    }
    return c.at == c.end ? c.end : NULL;
}

static uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

static size_t varint_bytes(int64_t value)
{
    size_t bytes = 1;

    for (uint64_t rest = zigzag(value); rest > 0x7f; rest >>= 7) {
        bytes++;
    }
    return bytes;
}

static uint8_t *put_varint(uint8_t *at, int64_t value)
{
    uint64_t rest = zigzag(value);

    for (; rest > 0x7f; rest >>= 7) {
        *at++ = (uint8_t)(rest | 0x80);
    }
    *at++ = (uint8_t)rest;
    return at;
}

static int64_t stored_len(view v)
{
    return v.at ? (int64_t)v.len : -1;
}

static size_t bytes_bytes(view v)
{
    return varint_bytes(stored_len(v)) + v.len;
}

static uint8_t *put_bytes(uint8_t *at, view v)
{
    at = put_varint(at, stored_len(v));
    if (v.len) {
        memcpy(at, v.at, v.len);
    }
    return at + v.len;
}

void record_write(struct writer *out, int64_t timestamp_delta, int32_t offset_delta,
                  const struct record *record)
{
    size_t len = 1 + varint_bytes(timestamp_delta) + varint_bytes(offset_delta) +
                 bytes_bytes(record->key) + bytes_bytes(record->value) +
                 varint_bytes((int64_t)record->header_count);

    for (size_t i = 0; i < record->header_count; i++) {
        assert(record->headers[i].key.at);
        len += bytes_bytes(record->headers[i].key) + bytes_bytes(record->headers[i].value);
    }
    assert(len <= BATCH_INFLATED_MAX);
    size_t all = len + varint_bytes((int64_t)len);
    uint8_t *at = write_space(out, all), *start = at;
    at = put_varint(at, (int64_t)len);
    *at++ = 0;
    at = put_varint(at, timestamp_delta);
    at = put_varint(at, offset_delta);
    at = put_bytes(at, record->key);
    at = put_bytes(at, record->value);
    at = put_varint(at, (int64_t)record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        at = put_bytes(at, record->headers[i].key);
        at = put_bytes(at, record->headers[i].value);
    }
    assert(at == start + all);
}

void record_copy(struct writer *out, int64_t timestamp_delta, const struct record_head *record)
{
    size_t len = 1 + varint_bytes(timestamp_delta) + varint_bytes(record->offset_delta) +
                 bytes_bytes(record->key) + bytes_bytes(record->value) +
                 varint_bytes(record->header_count) + record->headers.len;
    uint8_t *at = write_space(out, len + varint_bytes((int64_t)len));

    at = put_varint(at, (int64_t)len);
    *at++ = 0;
    at = put_varint(at, timestamp_delta);
    at = put_varint(at, record->offset_delta);
    at = put_bytes(at, record->key);
    at = put_bytes(at, record->value);
    at = put_varint(at, record->header_count);
    if (record->headers.len) {
        memcpy(at, record->headers.at, record->headers.len);
    }
    assert(at + record->headers.len == out->at + out->len);
}

int64_t record_timestamp(const struct batch_info *info, int64_t timestamp_delta)
{
    if (info->attributes & BATCH_APPEND_TIME) {
        return info->max_timestamp;
    }
    /* both come from clients: wrapping is theirs, undefined behaviour would be ours */
    return (int64_t)((uint64_t)info->base_timestamp + (uint64_t)timestamp_delta);
}
