/* meta_records.c - encoding of __meta's records. SPDX-License-Identifier: Apache-2.0 */
#include "log/meta_records.h"

#include <stdlib.h>
#include <string.h>

#define META_VERSION 1
#define FLAG_INTERNAL 1

static void write_text(struct writer *out, view text)
{
    assert(text.len <= UINT16_MAX);
    write_u16(out, (uint16_t)text.len);
    write_view(out, text);
}

static view read_text(struct reader *r)
{
    return read_bytes(r, read_u16(r));
}

void meta_key_write(struct writer *out, const struct meta_record *record)
{
    write_u8(out, META_VERSION);
    write_u8(out, (uint8_t)record->kind);
    if (record->kind == META_PIN || record->kind == META_NOTE) {
        write_text(out, record->owner);
    }
    if (record->kind != META_NOTE) {
        write_bytes(out, record->id.bytes, sizeof(record->id.bytes));
    }
    if (record->kind == META_TRIM || record->kind == META_PIN) {
        write_i32(out, record->partition);
    }
}

void meta_value_write(struct writer *out, const struct meta_record *record,
                      const struct setting *settings, size_t count)
{
    write_u8(out, META_VERSION);
    switch (record->kind) {
    case META_TOPIC:
        write_text(out, record->name);
        write_i32(out, record->partitions);
        write_u16(out, (uint16_t)count);
        for (size_t i = 0; i < count; i++) {
            write_text(out, view_text(settings[i].name));
            write_text(out, view_text(settings[i].value));
        }
        write_u8(out, record->internal ? FLAG_INTERNAL : 0);
        break;
    case META_TRIM:
    case META_PIN:
        write_i64(out, record->offset);
        break;
    case META_NOTE:
        write_view(out, record->value);
        break;
    }
}

static void read_topic(struct reader *r, struct meta_record *out)
{
    out->name = read_text(r);
    out->partitions = read_i32(r);
    size_t count = read_u16(r), room = 0;
    for (size_t i = 0; i < count && !r->bad; i++) {
        view name = read_text(r), value = read_text(r);
        out->settings =
            array_room(out->settings, out->setting_count, &room, sizeof(*out->settings));
        out->settings[out->setting_count++] = (struct setting){text_of(name), text_of(value)};
    }
    out->internal =
        r->rest.len ? read_u8(r) & FLAG_INTERNAL : view_starts(out->name, VIEW("__"));
    r->bad |= topic_name_check(out->name) != OK || out->partitions < 1 ||
              out->partitions > PARTITIONS_MAX;
}

err meta_record_read(view key, view value, struct meta_record *out)
{
    struct reader k = {.rest = key}, v = {.rest = value};
    uint8_t version = read_u8(&k), value_version = META_VERSION;

    *out = (struct meta_record){.kind = (enum meta_kind)read_u8(&k), .gone = !value.at};
    if (out->kind == META_PIN || out->kind == META_NOTE) {
        out->owner = read_text(&k);
    }
    if (out->kind != META_NOTE) {
        view id = read_bytes(&k, sizeof(out->id.bytes));
        memcpy(out->id.bytes, id.len ? id.at : out->id.bytes, id.len);
    }
    if (out->kind == META_TRIM || out->kind == META_PIN) {
        out->partition = read_i32(&k);
    }
    if (!out->gone) {
        value_version = read_u8(&v);
        if (out->kind == META_TOPIC) {
            read_topic(&v, out);
        } else if (out->kind == META_NOTE) {
            out->value = v.rest;
        } else {
            out->offset = read_i64(&v);
        }
    }
    if (k.bad || v.bad || version != META_VERSION || value_version != META_VERSION ||
        out->kind < META_TOPIC || out->kind > META_NOTE) {
        settings_free(out->settings, out->setting_count);
        return fault(ERR_CORRUPT, "a record of __meta does not parse (version %u, kind %u)",
                     version, (unsigned)out->kind);
    }
    return OK;
}
