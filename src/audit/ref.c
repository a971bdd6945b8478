/* ref.c - references, read and written. SPDX-License-Identifier: Apache-2.0 */
#include "audit/ref.h"

#include <inttypes.h>
#include <string.h>

static err not_a_ref(view text, const char *why)
{
    return fault(ERR_INVALID, "\"%.*s\": %s; a reference is %s", VIEW_ARG(view_upto(text, 80)),
                 why, REF_WORDS);
}

/* What stands before the first end that has no backslash before it, without its backslashes.
 * False: there is no such end, or a backslash before nothing. */
static bool take_escaped(struct arena *arena, view *rest, char end, view *out)
{
    uint8_t *made = arena_take(arena, rest->len + 1);
    size_t len = 0, i = 0;

    for (; i < rest->len && rest->at[i] != (uint8_t)end; i++) {
        i += rest->at[i] == '\\' ? 1 : 0;
        if (i == rest->len) {
            return false;
        }
        made[len++] = rest->at[i];
    }
    *out = (view){made, len};
    bool found = i < rest->len;
    *rest = view_from(*rest, i + 1);
    return found;
}

static err table_before(struct arena *arena, view text, char end, view *rest, struct ref *out)
{
    static const char *const form = "a table is SOURCE.SCHEMA.TABLE";

    out->kind = REF_ROW;
    *rest = text;
    bool named = view_cut(text, '.', &out->source, rest) && out->source.len > 0 &&
                 !memchr(out->source.at, '/', out->source.len) &&
                 take_escaped(arena, rest, '.', &out->schema) && out->schema.len > 0;
    bool ended = named && take_escaped(arena, rest, end, &out->table);
    bool whole = named && (ended || end == '\0') && out->table.len > 0;
    return whole ? OK : not_a_ref(text, form);
}

/* Text has no NUL, so an end of NUL is the text's own end. */
err ref_parse_table(struct arena *arena, view text, struct ref *out)
{
    view rest;

    *out = (struct ref){0};
    if (text.len && memchr(text.at, '\0', text.len)) {
        return not_a_ref(view_upto(text, 0), "it has a NUL in it");
    }
    return table_before(arena, text, '\0', &rest, out);
}

static err row_parse(struct arena *arena, view text, struct ref *out)
{
    err e = table_before(arena, text, '/', &out->key, out);

    if (!e && out->key.len == 0) {
        e = not_a_ref(text, "which row? its key is missing");
    }
    return e;
}

static err tx_parse(view text, struct ref *out)
{
    view rest, xid, lsn;
    int64_t number = -1;

    out->kind = REF_TX;
    if (!view_cut(text, '/', &out->source, &rest) || !out->source.len) {
        return not_a_ref(text, "a transaction is SOURCE/XID");
    }
    bool placed = view_cut(rest, '@', &xid, &lsn);
    if (view_to_int(xid, &number) || number < 1 || number > UINT32_MAX) {
        return not_a_ref(text, "XID is a number from 1 to 4294967295");
    }
    out->xid = (uint32_t)number;
    return placed ? lsn_parse(lsn, &out->commit_lsn) : OK;
}

static err topic_parse(view text, struct ref *out)
{
    view rest, partition, offset;
    int64_t number = -1;

    out->kind = REF_TOPIC;
    bool formed = view_cut(text, '/', &out->topic, &rest) && out->topic.len &&
                  view_cut(rest, '@', &partition, &offset) &&
                  view_to_int(partition, &number) == OK && number >= 0 && number <= INT32_MAX &&
                  view_to_int(offset, &out->offset) == OK && out->offset >= 0;
    if (!formed) {
        return not_a_ref(text, "a record is NAME/PARTITION@OFFSET");
    }
    out->partition = (int32_t)number;
    return OK;
}

err ref_parse(struct arena *arena, view text, struct ref *out)
{
    view kind, rest;
    err e = OK;

    *out = (struct ref){0};
    if (!view_cut(text, ':', &kind, &rest)) {
        e = not_a_ref(text, "of what kind is it?");
    } else if (view_is_text(kind, "row")) {
        e = row_parse(arena, rest, out);
    } else if (view_is_text(kind, "tx")) {
        e = tx_parse(rest, out);
    } else if (view_is_text(kind, "topic")) {
        e = topic_parse(rest, out);
    } else if (view_is_text(kind, "session") && rest.len > 0) {
        *out = (struct ref){.kind = REF_SESSION, .session = rest};
    } else {
        e = not_a_ref(text, "there is no such kind");
    }
    return e;
}

static void write_escaped(struct writer *out, view name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.at[i];
        if (c == '.' || c == '/' || c == '\\') {
            write_u8(out, '\\');
        }
        write_u8(out, c);
    }
}

void ref_print_table(const struct ref *ref, struct writer *out)
{
    write_view(out, ref->source);
    write_u8(out, '.');
    write_escaped(out, ref->schema);
    write_u8(out, '.');
    write_escaped(out, ref->table);
}

void ref_print(const struct ref *ref, struct writer *out)
{
    char lsn[LSN_TEXT_BYTES];

    switch (ref->kind) {
    case REF_ROW:
        write_view(out, VIEW("row:"));
        ref_print_table(ref, out);
        write_u8(out, '/');
        write_view(out, ref->key);
        break;
    case REF_TX:
        write_view(out, VIEW("tx:"));
        write_view(out, ref->source);
        write_format(out, "/%" PRIu32, ref->xid);
        if (ref->commit_lsn) {
            lsn_text(ref->commit_lsn, lsn);
            write_format(out, "@%s", lsn);
        }
        break;
    case REF_TOPIC:
        write_view(out, VIEW("topic:"));
        write_view(out, ref->topic);
        write_format(out, "/%" PRId32 "@%" PRId64, ref->partition, ref->offset);
        break;
    case REF_SESSION:
        write_view(out, VIEW("session:"));
        write_view(out, ref->session);
        break;
    }
}

struct ref ref_of_row(view source, const struct change *change, struct writer *key)
{
    assert(change->relation);
    writer_reset(key);
    change_key_text(change, key);
    return (struct ref){.kind = REF_ROW,
                        .source = source,
                        .schema = change->relation->schema,
                        .table = change->relation->name,
                        .key = writer_view(key)};
}

struct ref ref_of_tx(view source, const struct change_place *place)
{
    return (struct ref){.kind = REF_TX, .source = source, .xid = place->xid};
}
