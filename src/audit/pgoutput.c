/* pgoutput.c - decoding PostgreSQL's logical replication messages, protocols 1 to 3.
 *
 *   kind:1, inside a stream xid:4 for R Y I U D T M, then what the kind has; big endian, text
 *   ends with a NUL. tuple: count:2, each column n | u | t len:4 bytes | b len:4 bytes
 *
 * Whole or not at all: a message that is cut short, has bytes left over or a flag that there is
 * not is ERR_CORRUPT. Values in binary are refused: nobody asks the server for them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/pgoutput.h"

#include <ctype.h>
#include <string.h>

#define EPOCH_US INT64_C(946684800000000) /* 2000-01-01 in microseconds since 1970 */
#define COLUMN_IS_KEY 1
#define MESSAGE_IS_TRANSACTIONAL 1
#define TRUNCATE_CASCADE 1
#define TRUNCATE_RESTART_IDENTITY 2
#define SCHEMA_OF_BUILTINS VIEW("pg_catalog") /* sent as "" */

struct decoder {
    struct reader reader;
    struct arena *arena;
    bool in_stream;
    bool binary; /* a value came in binary */
};

static bool fails(struct decoder *d)
{
    d->reader.bad = true;
    return false;
}

static view read_text(struct decoder *d)
{
    view rest = d->reader.rest;
    const uint8_t *end = rest.len ? memchr(rest.at, '\0', rest.len) : NULL;

    if (!end || d->reader.bad) {
        fails(d);
        return VIEW("");
    }
    view text = read_bytes(&d->reader, (size_t)(end - rest.at));
    (void)read_u8(&d->reader);
    return text;
}

/* Wraps for what no clock shows, which is the server's to mean. */
static int64_t read_time(struct decoder *d)
{
    return (int64_t)(read_u64(&d->reader) + (uint64_t)EPOCH_US);
}

static uint32_t read_stream_xid(struct decoder *d)
{
    return d->in_stream ? read_u32(&d->reader) : 0;
}

/* One column from at, which is below end; behind it, or NULL. By hand: most of all bytes of a
 * stream go through here. */
static const uint8_t *decode_value(struct decoder *d, const uint8_t *at, const uint8_t *end,
                                   struct value *out)
{
    uint8_t kind = *at++;

    if (kind == 'n') {
        out->kind = VALUE_NULL;
        return at;
    }
    if (kind == 'u') {
        out->kind = VALUE_UNKNOWN;
        return at;
    }
    d->binary = d->binary || kind == 'b';
    if (kind != 't' || end - at < 4) {
        return NULL;
    }
    size_t len = get_u32(at);
    at += 4;
    if (len > (size_t)(end - at)) {
        return NULL;
    }
    *out = (struct value){VALUE_TEXT, {at, len}};
    return at + len;
}

static void decode_tuple(struct decoder *d, struct pgoutput_tuple *out)
{
    int count = read_u16(&d->reader);

    if (d->reader.bad || count > COLUMNS_MAX || (size_t)count > d->reader.rest.len) {
        fails(d);
        return;
    }
    const uint8_t *at = d->reader.rest.at, *end = at + d->reader.rest.len;
    struct value *values = arena_take(d->arena, (size_t)count * sizeof(*values));
    for (int i = 0; i < count; i++) {
        const uint8_t *next = at < end ? decode_value(d, at, end, &values[i]) : NULL;
        if (!next) {
            d->reader.rest = (view){at, (size_t)(end - at)};
            fails(d);
            return;
        }
        at = next;
    }
    d->reader.rest = (view){at, (size_t)(end - at)};
    *out = (struct pgoutput_tuple){values, count};
}

static void decode_begin(struct decoder *d, struct pgoutput_message *out)
{
    out->lsn = read_u64(&d->reader);
    out->time_us = read_time(d);
    out->xid = read_u32(&d->reader);
}

/* Flags, of which there are none yet, and what all ends of transactions begin with. */
static void decode_end(struct decoder *d, struct pgoutput_message *out)
{
    (void)read_u8(&d->reader);
    out->lsn = read_u64(&d->reader);
    out->end_lsn = read_u64(&d->reader);
    out->time_us = read_time(d);
}

static void decode_prepared(struct decoder *d, struct pgoutput_message *out)
{
    out->xid = read_u32(&d->reader);
    out->name = read_text(d);
}

static void decode_begin_prepare(struct decoder *d, struct pgoutput_message *out)
{
    out->lsn = read_u64(&d->reader);
    out->end_lsn = read_u64(&d->reader);
    out->time_us = read_time(d);
    decode_prepared(d, out);
}

static void decode_rollback_prepared(struct decoder *d, struct pgoutput_message *out)
{
    decode_end(d, out);
    out->time_us = read_time(d); /* the one before was that of the prepare */
    decode_prepared(d, out);
}

static void decode_columns(struct decoder *d, struct relation *out)
{
    const size_t least = 1 + 1 + 4 + 4; /* bytes of a column without a name */
    int count = read_u16(&d->reader);

    if (d->reader.bad || count > COLUMNS_MAX || (size_t)count > d->reader.rest.len / least) {
        fails(d);
        return;
    }
    out->count = count;
    out->columns = arena_take(d->arena, (size_t)count * sizeof(*out->columns));
    for (int i = 0; i < count; i++) {
        struct column *column = &out->columns[i];
        column->key = read_u8(&d->reader) & COLUMN_IS_KEY;
        column->name = read_text(d);
        column->type = read_u32(&d->reader);
        column->modifier = read_i32(&d->reader);
    }
}

static void decode_name(struct decoder *d, struct pgoutput_message *out)
{
    out->xid = read_stream_xid(d);
    out->relation.oid = read_u32(&d->reader);
    out->relation.schema = read_text(d);
    out->relation.name = read_text(d);
    if (out->relation.schema.len == 0) {
        out->relation.schema = SCHEMA_OF_BUILTINS;
    }
}

static void decode_relation(struct decoder *d, struct pgoutput_message *out)
{
    decode_name(d, out);
    uint8_t identity = read_u8(&d->reader);
    if (!identity || !strchr("dnfi", identity)) {
        fails(d);
    }
    out->relation.identity = (char)identity;
    decode_columns(d, &out->relation);
}

static void decode_row(struct decoder *d, struct pgoutput_message *out)
{
    bool has_old = out->kind != PGOUTPUT_INSERT, has_new = out->kind != PGOUTPUT_DELETE;

    out->xid = read_stream_xid(d);
    out->oid = read_u32(&d->reader);
    uint8_t mark = read_u8(&d->reader);
    if (has_old && (mark == 'K' || mark == 'O')) {
        out->old_is_key = mark == 'K';
        decode_tuple(d, &out->old);
        mark = has_new ? read_u8(&d->reader) : 0;
    }
    if (has_new && mark == 'N') {
        decode_tuple(d, &out->new);
    }
    if (has_new ? !out->new.values : !out->old.values) {
        fails(d);
    }
}

static void decode_truncate(struct decoder *d, struct pgoutput_message *out)
{
    out->xid = read_stream_xid(d);
    uint32_t count = read_u32(&d->reader);
    uint8_t options = read_u8(&d->reader);
    if (d->reader.bad || count > d->reader.rest.len / sizeof(uint32_t)) {
        fails(d);
        return;
    }
    out->cascade = options & TRUNCATE_CASCADE;
    out->restart_identity = options & TRUNCATE_RESTART_IDENTITY;
    out->oid_count = (int)count;
    out->oids = arena_take(d->arena, count * sizeof(*out->oids));
    for (uint32_t i = 0; i < count; i++) {
        out->oids[i] = read_u32(&d->reader);
    }
}

static void decode_logical_message(struct decoder *d, struct pgoutput_message *out)
{
    out->xid = read_stream_xid(d);
    out->transactional = read_u8(&d->reader) & MESSAGE_IS_TRANSACTIONAL;
    out->lsn = read_u64(&d->reader);
    out->prefix = read_text(d);
    out->content = read_bytes(&d->reader, read_u32(&d->reader));
}

static void decode_abort(struct decoder *d, struct pgoutput_message *out)
{
    out->xid = read_u32(&d->reader);
    out->subxid = read_u32(&d->reader);
}

/* long: table */
static bool decode_kind(struct decoder *d, struct pgoutput_message *out)
{
    switch (out->kind) {
    case PGOUTPUT_BEGIN:
        decode_begin(d, out);
        break;
    case PGOUTPUT_COMMIT:
        decode_end(d, out);
        break;
    case PGOUTPUT_ORIGIN:
        out->lsn = read_u64(&d->reader);
        out->name = read_text(d);
        break;
    case PGOUTPUT_RELATION:
        decode_relation(d, out);
        break;
    case PGOUTPUT_TYPE:
        decode_name(d, out);
        break;
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        decode_row(d, out);
        break;
    case PGOUTPUT_TRUNCATE:
        decode_truncate(d, out);
        break;
    case PGOUTPUT_MESSAGE:
        decode_logical_message(d, out);
        break;
    case PGOUTPUT_STREAM_START:
        out->xid = read_u32(&d->reader);
        out->first = read_u8(&d->reader) == 1;
        break;
    case PGOUTPUT_STREAM_STOP:
        break;
    case PGOUTPUT_STREAM_COMMIT:
        out->xid = read_u32(&d->reader);
        decode_end(d, out);
        break;
    case PGOUTPUT_STREAM_ABORT:
        decode_abort(d, out);
        break;
    case PGOUTPUT_BEGIN_PREPARE:
        decode_begin_prepare(d, out);
        break;
    case PGOUTPUT_PREPARE:
    case PGOUTPUT_COMMIT_PREPARED:
    case PGOUTPUT_STREAM_PREPARE:
        decode_end(d, out);
        decode_prepared(d, out);
        break;
    case PGOUTPUT_ROLLBACK_PREPARED:
        decode_rollback_prepared(d, out);
        break;
    default:
        return fails(d);
    }
    return !d->reader.bad && d->reader.rest.len == 0;
}

err pgoutput_decode(struct arena *arena, view message, bool in_stream,
                    struct pgoutput_message *out)
{
    struct decoder d = {.reader = {.rest = message}, .arena = arena, .in_stream = in_stream};

    *out = (struct pgoutput_message){0};
    out->kind = read_u8(&d.reader);
    if (decode_kind(&d, out)) {
        return OK;
    }
    if (d.binary) {
        return fault(ERR_UNSUPPORTED, "the server sends values in binary, ask it for text");
    }
    return fault(ERR_CORRUPT, "pgoutput message '%c' of %zu bytes is wrong at byte %zu",
                 isgraph((int)out->kind) ? (int)out->kind : '?', message.len,
                 message.len - d.reader.rest.len);
}

struct pgoutput_protocol pgoutput_protocol_of(int server_version_num)
{
    bool streams = server_version_num >= 140000;

    return (struct pgoutput_protocol){streams ? 2 : 1, streams, streams};
}
