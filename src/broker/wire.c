/* wire.c - Kafka's compact and classic lengths, arrays, uuids, tagged fields.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/wire.h"

#include <string.h>

/* A length as the format has it: -1 is null. Compact texts keep the classic form's limit, as
 * in Kafka: a text that came in must fit into any version's answer. */
static int64_t read_length(struct reader *r, bool flex, bool text)
{
    if (!flex) {
        return text ? read_i16(r) : read_i32(r);
    }
    int64_t len = (int64_t)read_uvarint(r) - 1;
    r->bad = r->bad || (text && len > INT16_MAX);
    return len;
}

static view read_sized(struct reader *r, int64_t len, bool may_be_null)
{
    if (len == -1 && may_be_null) {
        return (view){0};
    }
    if (len < 0) {
        r->bad = true;
        return (view){0};
    }
    return read_bytes(r, (size_t)len);
}

view read_text(struct reader *r, bool flex)
{
    return read_sized(r, read_length(r, flex, true), false);
}

view read_text_or_null(struct reader *r, bool flex)
{
    return read_sized(r, read_length(r, flex, true), true);
}

view read_blob(struct reader *r, bool flex)
{
    return read_sized(r, read_length(r, flex, false), false);
}

view read_blob_or_null(struct reader *r, bool flex)
{
    return read_sized(r, read_length(r, flex, false), true);
}

size_t read_count_or_null(struct reader *r, bool flex, size_t item_bytes, bool *is_null)
{
    int64_t count = read_length(r, flex, false);

    assert(item_bytes > 0);
    *is_null = count == -1 && !r->bad;
    if (count < -1 || (count > 0 && (uint64_t)count > r->rest.len / item_bytes)) {
        r->bad = true;
    }
    return r->bad || count < 0 ? 0 : (size_t)count;
}

size_t read_count(struct reader *r, bool flex, size_t item_bytes)
{
    bool is_null;

    return read_count_or_null(r, flex, item_bytes, &is_null);
}

int32_t *read_i32_array(struct reader *r, bool flex, struct arena *arena, size_t *count)
{
    size_t claimed = read_count(r, flex, sizeof(int32_t));
    int32_t *items = claimed ? arena_take(arena, claimed * sizeof(*items)) : NULL;

    for (size_t i = 0; i < claimed; i++) {
        items[i] = read_i32(r);
    }
    *count = r->bad ? 0 : claimed;
    return items;
}

view *read_text_array(struct reader *r, bool flex, struct arena *arena, size_t *count)
{
    size_t claimed = read_count(r, flex, flex ? 1 : 2);
    view *items = claimed ? arena_take(arena, claimed * sizeof(*items)) : NULL;

    for (size_t i = 0; i < claimed; i++) {
        items[i] = read_text(r, flex);
    }
    *count = r->bad ? 0 : claimed;
    return items;
}

uuid read_uuid(struct reader *r)
{
    uuid id = {{0}};
    view v = read_bytes(r, sizeof(id.bytes));

    if (v.len) {
        memcpy(id.bytes, v.at, sizeof(id.bytes));
    }
    return id;
}

static void skip(void *self, uint32_t tag, struct reader *field)
{
    (void)self;
    (void)tag;
    (void)field;
}

void read_tags(struct reader *r, bool flex)
{
    read_tags_each(r, flex, skip, NULL);
}

void read_tags_each(struct reader *r, bool flex,
                    void (*each)(void *self, uint32_t tag, struct reader *field), void *self)
{
    uint32_t count = flex ? read_uvarint(r) : 0;
    int64_t last = -1;

    for (uint32_t i = 0; i < count && !r->bad; i++) {
        uint32_t tag = read_uvarint(r);
        struct reader field = {.rest = read_bytes(r, read_uvarint(r))};
        if (r->bad || (int64_t)tag <= last) {
            r->bad = true;
            return;
        }
        last = tag;
        each(self, tag, &field);
        r->bad = field.bad;
    }
}

static void write_length(struct writer *w, bool flex, bool text, int64_t len)
{
    assert(len >= -1);
    assert(len < INT32_MAX);
    if (flex) {
        write_uvarint(w, (uint32_t)(len + 1));
    } else if (text) {
        assert(len <= INT16_MAX);
        write_i16(w, (int16_t)len);
    } else {
        write_i32(w, (int32_t)len);
    }
}

void write_text(struct writer *w, bool flex, view text)
{
    write_length(w, flex, true, (int64_t)text.len);
    write_view(w, text);
}

void write_text_or_null(struct writer *w, bool flex, view text)
{
    write_length(w, flex, true, text.at ? (int64_t)text.len : -1);
    write_view(w, text);
}

void write_chars(struct writer *w, bool flex, const char *text)
{
    write_text_or_null(w, flex, view_text(text));
}

void write_blob(struct writer *w, bool flex, view bytes)
{
    write_length(w, flex, false, (int64_t)bytes.len);
    write_view(w, bytes);
}

void write_blob_or_null(struct writer *w, bool flex, view bytes)
{
    write_length(w, flex, false, bytes.at ? (int64_t)bytes.len : -1);
    write_view(w, bytes);
}

void write_count(struct writer *w, bool flex, size_t count)
{
    write_length(w, flex, false, (int64_t)count);
}

void write_null_count(struct writer *w, bool flex)
{
    write_length(w, flex, false, -1);
}

void write_i32_array(struct writer *w, bool flex, const int32_t *items, size_t count)
{
    write_count(w, flex, count);
    for (size_t i = 0; i < count; i++) {
        write_i32(w, items[i]);
    }
}

void write_uuid(struct writer *w, uuid id)
{
    write_bytes(w, id.bytes, sizeof(id.bytes));
}

void write_no_tags(struct writer *w, bool flex)
{
    if (flex) {
        write_u8(w, 0);
    }
}

void write_tag(struct writer *w, uint32_t tag, view bytes)
{
    write_uvarint(w, tag);
    write_uvarint(w, (uint32_t)bytes.len);
    write_view(w, bytes);
}
