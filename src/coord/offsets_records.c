/* offsets_records.c - keys and values of __consumer_offsets; layouts in records.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/records.h"

#include <string.h>

enum {
    KEY_OFFSET_OLD = 0,
    KEY_OFFSET = 1,
    KEY_GROUP = 2,
    OFFSET_VALUE_VERSION = 3,
    OFFSET_VALUE_FLEXIBLE = 4,
    GROUP_VALUE_VERSION = 3,
    GROUP_VALUE_FLEXIBLE = 4,
    MEMBER_BYTES_MIN = 12, /* of one member in a group's value: bounds the count */
};

static view read_text(struct reader *r, bool flexible)
{
    if (flexible) {
        uint32_t len = read_uvarint(r);
        return len ? read_bytes(r, len - 1) : (view){0};
    }
    int16_t len = read_i16(r);
    return len < 0 ? (view){0} : read_bytes(r, (size_t)len);
}

static view read_blob(struct reader *r, bool flexible)
{
    if (flexible) {
        return read_text(r, true);
    }
    int32_t len = read_i32(r);
    return len < 0 ? (view){0} : read_bytes(r, (size_t)len);
}

static void skip_tags(struct reader *r)
{
    for (uint32_t left = read_uvarint(r); left > 0 && !r->bad; left--) {
        read_uvarint(r);
        read_bytes(r, read_uvarint(r));
    }
}

static void write_text(struct writer *w, view v)
{
    if (!v.at) {
        write_i16(w, -1);
        return;
    }
    write_i16(w, (int16_t)MIN(v.len, (size_t)INT16_MAX));
    write_view(w, view_upto(v, INT16_MAX));
}

static void write_blob(struct writer *w, view v)
{
    write_i32(w, (int32_t)v.len);
    write_view(w, v);
}

static view taken(struct arena *arena, const struct writer *scratch)
{
    return arena_copy(arena, writer_view(scratch));
}

struct offset_key offset_key_read(view key)
{
    struct reader r = {.rest = key};
    struct offset_key out = {0};
    int16_t version = read_i16(&r);

    if (r.bad || version < KEY_OFFSET_OLD || version > KEY_GROUP) {
        return out;
    }
    out.group = read_text(&r, false);
    if (version != KEY_GROUP) {
        out.topic = read_text(&r, false);
        out.partition = read_i32(&r);
    }
    out.kind = r.bad ? RECORD_OTHER : version == KEY_GROUP ? RECORD_GROUP : RECORD_OFFSET;
    return out;
}

view offset_key_write(struct arena *arena, struct writer *scratch, view group, view topic,
                      int32_t partition)
{
    writer_reset(scratch);
    write_i16(scratch, KEY_OFFSET);
    write_text(scratch, group);
    write_text(scratch, topic);
    write_i32(scratch, partition);
    return taken(arena, scratch);
}

view group_key_write(struct arena *arena, struct writer *scratch, view group)
{
    writer_reset(scratch);
    write_i16(scratch, KEY_GROUP);
    write_text(scratch, group);
    return taken(arena, scratch);
}

bool offset_value_read(view value, struct offset_value *out)
{
    struct reader r = {.rest = value};
    int16_t version = read_i16(&r);
    bool flexible = version >= OFFSET_VALUE_FLEXIBLE;

    *out = (struct offset_value){.leader_epoch = -1};
    out->offset = read_i64(&r);
    if (version >= 3) {
        out->leader_epoch = read_i32(&r);
    }
    out->metadata = read_text(&r, flexible);
    out->commit_ms = read_i64(&r);
    for (uint32_t left = flexible ? read_uvarint(&r) : 0; left > 0 && !r.bad; left--) {
        uint32_t tag = read_uvarint(&r);
        view body = read_bytes(&r, read_uvarint(&r));
        if (tag == 0 && body.len == sizeof(out->topic_id)) {
            memcpy(out->topic_id.bytes, body.at, body.len);
        }
    }
    return !r.bad && version >= 0 && version <= OFFSET_VALUE_FLEXIBLE;
}

view offset_value_write(struct arena *arena, struct writer *scratch,
                        const struct offset_value *value)
{
    writer_reset(scratch);
    write_i16(scratch, OFFSET_VALUE_VERSION);
    write_i64(scratch, value->offset);
    write_i32(scratch, value->leader_epoch);
    write_text(scratch, value->metadata.at ? value->metadata : VIEW(""));
    write_i64(scratch, value->commit_ms);
    return taken(arena, scratch);
}

static void member_read(struct reader *r, int16_t version, struct coord_member_value *m)
{
    bool flexible = version >= GROUP_VALUE_FLEXIBLE;

    m->member = read_text(r, flexible);
    m->instance = version >= 3 ? read_text(r, flexible) : (view){0};
    m->client_id = read_text(r, flexible);
    m->client_host = read_text(r, flexible);
    m->rebalance_ms = version >= 1 ? read_i32(r) : -1;
    m->session_ms = read_i32(r);
    m->rebalance_ms = version >= 1 ? m->rebalance_ms : m->session_ms;
    m->subscription = read_blob(r, flexible);
    m->assignment = read_blob(r, flexible);
    if (flexible) {
        skip_tags(r);
    }
}

bool group_value_read(view value, struct arena *arena, struct group_value *out)
{
    struct reader r = {.rest = value};
    int16_t version = read_i16(&r);
    bool flexible = version >= GROUP_VALUE_FLEXIBLE;

    *out = (struct group_value){.state_ms = -1};
    out->protocol_type = read_text(&r, flexible);
    out->generation = read_i32(&r);
    out->protocol = read_text(&r, flexible);
    out->leader = read_text(&r, flexible);
    if (version >= 2) {
        out->state_ms = read_i64(&r);
    }
    int64_t count = flexible ? (int64_t)read_uvarint(&r) - 1 : read_i32(&r);
    if (r.bad || version < 0 || version > GROUP_VALUE_FLEXIBLE || count < 0 ||
        (size_t)count > r.rest.len / MEMBER_BYTES_MIN) {
        return false;
    }
    out->member_count = (size_t)count;
    out->members = arena_take(arena, out->member_count * sizeof(*out->members));
    for (size_t i = 0; i < out->member_count; i++) {
        member_read(&r, version, &out->members[i]);
    }
    return !r.bad;
}

view group_value_write(struct arena *arena, struct writer *scratch,
                       const struct group_value *value)
{
    writer_reset(scratch);
    write_i16(scratch, GROUP_VALUE_VERSION);
    write_text(scratch, value->protocol_type);
    write_i32(scratch, value->generation);
    write_text(scratch, value->protocol);
    write_text(scratch, value->leader);
    write_i64(scratch, value->state_ms);
    write_i32(scratch, (int32_t)value->member_count);
    for (size_t i = 0; i < value->member_count; i++) {
        const struct coord_member_value *m = &value->members[i];
        write_text(scratch, m->member);
        write_text(scratch, m->instance);
        write_text(scratch, m->client_id);
        write_text(scratch, m->client_host);
        write_i32(scratch, m->rebalance_ms);
        write_i32(scratch, m->session_ms);
        write_blob(scratch, m->subscription);
        write_blob(scratch, m->assignment);
    }
    return taken(arena, scratch);
}

bool subscription_has(view metadata, view topic)
{
    struct reader r = {.rest = metadata};

    read_i16(&r); /* all versions begin with the same fields */
    for (int32_t left = read_i32(&r); left > 0 && !r.bad; left--) {
        if (view_is(read_text(&r, false), topic) && !r.bad) {
            return true;
        }
    }
    return r.bad;
}
