/* ledger_entry.c - the ledger's records as JSON, and back.
 *
 * A seal's last member is "hash": SHA-256 of the record's bytes before it, so that the chain is
 * checked on what is stored and on nothing that was made from it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/ledger_inside.h"

#include <string.h>

#define HASH_NAME ",\"hash\":\""
#define HASH_TAIL_BYTES (sizeof(HASH_NAME) - 1 + 2 * SEAL_HASH_BYTES + 2) /* and "} */

void hex_of(const uint8_t *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * count] = '\0';
}

static int nibble(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static err get_hash(const struct json *json, const char *name, uint8_t out[SEAL_HASH_BYTES])
{
    view text;
    err e = json_get_text(json, name, &text);

    if (!e && text.len != 2 * SEAL_HASH_BYTES) {
        e = fault(ERR_INVALID, "%s is no SHA-256", name);
    }
    for (size_t i = 0; !e && i < SEAL_HASH_BYTES; i++) {
        int high = nibble(text.at[2 * i]), low = nibble(text.at[2 * i + 1]);
        e = high < 0 || low < 0 ? fault(ERR_INVALID, "%s is no SHA-256", name) : OK;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return e;
}

static void put_hash(struct json_writer *j, const char *name, const uint8_t *hash)
{
    char hex[SEAL_HEX_BYTES];

    hex_of(hash, SEAL_HASH_BYTES, hex);
    json_name(j, name);
    json_text(j, hex);
}

static err get_lsn(const struct json *json, const char *name, uint64_t *out)
{
    view text;
    err e = json_get_text(json, name, &text);

    return e ? e : lsn_parse(text, out);
}

static void put_lsn(struct json_writer *j, const char *name, uint64_t lsn)
{
    char text[LSN_TEXT_BYTES];

    lsn_text(lsn, text);
    json_name(j, name);
    json_text(j, text);
}

static void put_int(struct json_writer *j, const char *name, int64_t value)
{
    json_name(j, name);
    json_int(j, value);
}

void ledger_seal_write(struct seal *seal, const uint8_t between[SEAL_HASH_BYTES],
                       struct writer *out)
{
    struct json_writer j = json_to(out);
    char hex[SEAL_HEX_BYTES];
    size_t start = out->len;

    json_object(&j);
    json_name(&j, "kind");
    json_text(&j, "seal");
    put_int(&j, "v", 1);
    put_int(&j, "number", seal->number);
    put_lsn(&j, "from", seal->from);
    put_lsn(&j, "to", seal->to);
    put_int(&j, "at", seal->at_ms);
    put_int(&j, "changes", seal->changes);
    put_int(&j, "transactions", seal->transactions);
    json_name(&j, "ranges");
    json_array(&j);
    for (size_t i = 0; i < seal->range_count; i++) {
        const struct seal_range *r = &seal->ranges[i];
        json_object(&j);
        json_name(&j, "topic");
        json_view(&j, r->topic);
        put_int(&j, "partition", r->partition);
        put_int(&j, "from", r->from);
        put_int(&j, "to", r->to);
        put_hash(&j, "sha256", r->hash);
        json_end_object(&j);
    }
    json_end_array(&j);
    put_hash(&j, "between", between);
    put_hash(&j, "previous", seal->previous);
    sha256_of((view){out->at + start, out->len - start}, seal->hash);
    hex_of(seal->hash, SEAL_HASH_BYTES, hex);
    write_format(out, HASH_NAME "%s\"}", hex);
}

err ledger_seal_check(view text, uint8_t between[SEAL_HASH_BYTES],
                      uint8_t hash[SEAL_HASH_BYTES])
{
    struct arena arena = {0};
    struct json *json = NULL;
    err e = json_parse(&arena, text, &json);

    e = e ? e : get_hash(json, "between", between);
    if (!e && text.len < HASH_TAIL_BYTES) {
        e = fault(ERR_CORRUPT, "a seal is cut short");
    }
    if (!e) {
        sha256_of(view_upto(text, text.len - HASH_TAIL_BYTES), hash);
    }
    arena_fini(&arena);
    return e;
}

static err read_range(const struct json *json, struct seal_range *out)
{
    int64_t partition = 0;
    err e = json_get_text(json, "topic", &out->topic);

    e = e ? e : json_get_int(json, "partition", &partition);
    e = e ? e : json_get_int(json, "from", &out->from);
    e = e ? e : json_get_int(json, "to", &out->to);
    e = e ? e : get_hash(json, "sha256", out->hash);
    if (!e && (partition < 0 || partition >= PARTITIONS_MAX || out->from > out->to)) {
        e = fault(ERR_INVALID, "a range of the seal makes no sense");
    }
    out->partition = (int32_t)partition;
    return e;
}

static err read_seal(struct arena *arena, const struct json *json, struct seal *out)
{
    const struct json *list = json_get(json, "ranges");
    size_t count = 0;
    err e = json_get_int(json, "number", &out->number);

    e = e ? e : get_lsn(json, "from", &out->from);
    e = e ? e : get_lsn(json, "to", &out->to);
    e = e ? e : json_get_int(json, "at", &out->at_ms);
    e = e ? e : json_get_int(json, "changes", &out->changes);
    e = e ? e : json_get_int(json, "transactions", &out->transactions);
    e = e ? e : get_hash(json, "previous", out->previous);
    e = e ? e : get_hash(json, "hash", out->hash);
    if (!e && (!list || list->kind != JSON_ARRAY)) {
        e = fault(ERR_INVALID, "a seal has no ranges");
    }
    for (const struct json *one = e ? NULL : list->inside; one; one = one->next) {
        count++;
    }
    struct seal_range *ranges = arena_take(arena, (count + 1) * sizeof(*ranges));
    out->ranges = ranges;
    out->range_count = count;
    for (const struct json *one = e ? NULL : list->inside; one && !e; one = one->next) {
        e = read_range(one, ranges++);
    }
    return e;
}

static err read_kind(struct arena *arena, const struct json *json, view kind,
                     struct ledger_entry *out, struct relation **table)
{
    if (view_is_text(kind, "seal")) {
        out->kind = LEDGER_SEAL;
        return read_seal(arena, json, &out->seal);
    }
    if (view_is_text(kind, "table")) {
        const struct json *described = json_get(json, "table");
        out->kind = LEDGER_TABLE;
        return described ? relation_from_json(described, table)
                         : fault(ERR_INVALID, "a table without its description");
    }
    if (view_is_text(kind, "gap")) {
        out->kind = LEDGER_GAP;
        err e = get_lsn(json, "from", &out->from);
        e = e ? e : get_lsn(json, "to", &out->to);
        return e ? e : json_get_text(json, "why", &out->words);
    }
    out->kind = LEDGER_NOTE;
    return json_get_text(json, "note", &out->words);
}

err ledger_entry_read(struct arena *arena, const struct record *record,
                      struct ledger_entry *out, struct relation **table)
{
    struct json *json = NULL;
    view kind;

    *out = (struct ledger_entry){
        .offset = record->offset, .at_ms = record->timestamp_ms, .json = record->value};
    *table = NULL;
    err e = json_parse(arena, record->value, &json);
    e = e ? e : json_get_text(json, "kind", &kind);
    e = e ? e : read_kind(arena, json, kind, out, table);
    if (e) {
        return fault(ERR_CORRUPT, "the ledger's record %lld: %.*s", (long long)record->offset,
                     FAULT_TEXT_MAX - 64, fault_here.text);
    }
    return OK;
}
