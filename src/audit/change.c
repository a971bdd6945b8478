/* change.c - relations and changes: copied, compared, named; pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/change.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {
    [CHANGE_CREATE] = "create",     [CHANGE_UPDATE] = "update", [CHANGE_DELETE] = "delete",
    [CHANGE_TRUNCATE] = "truncate", [CHANGE_READ] = "read",     [CHANGE_MESSAGE] = "message",
};

const char *change_kind_name(enum change_kind kind)
{
    assert((size_t)kind < COUNT(kind_names));
    return kind_names[kind];
}

/* Absent stays absent: a null view is no empty one. */
static view copy_view(struct arena *arena, view v)
{
    return v.at ? arena_copy(arena, v) : (view){0};
}

static struct relation *relation_room(int count)
{
    struct relation *made = xcalloc(1, sizeof(*made));

    assert(count >= 0);
    assert(count <= COLUMNS_MAX);
    made->holders = 1;
    made->count = count;
    made->columns = arena_take(&made->arena, (size_t)count * sizeof(*made->columns));
    return made;
}

struct relation *relation_new(const struct relation *source)
{
    struct relation *made = relation_room(source->count);

    made->oid = source->oid;
    made->version = source->version;
    made->identity = source->identity;
    made->schema = copy_view(&made->arena, source->schema);
    made->name = copy_view(&made->arena, source->name);
    for (int i = 0; i < source->count; i++) {
        made->columns[i] = source->columns[i];
        made->columns[i].name = copy_view(&made->arena, source->columns[i].name);
        made->columns[i].type_name = copy_view(&made->arena, source->columns[i].type_name);
    }
    return made;
}

struct relation *relation_hold(struct relation *relation)
{
    uint32_t before = atomic_fetch_add(&relation->holders, 1);

    assert(before > 0);
    return relation;
}

void relation_drop(struct relation *relation)
{
    if (relation && atomic_fetch_sub(&relation->holders, 1) == 1) {
        arena_fini(&relation->arena);
        free(relation);
    }
}

static bool column_is(const struct column *a, const struct column *b)
{
    return a->type == b->type && a->modifier == b->modifier && a->key == b->key &&
           view_is(a->name, b->name) && view_is(a->type_name, b->type_name);
}

bool relation_is(const struct relation *a, const struct relation *b)
{
    bool same = a->oid == b->oid && a->identity == b->identity && a->count == b->count &&
                view_is(a->schema, b->schema) && view_is(a->name, b->name);

    for (int i = 0; same && i < a->count; i++) {
        same = column_is(&a->columns[i], &b->columns[i]);
    }
    return same;
}

int relation_column(const struct relation *relation, view name)
{
    for (int i = 0; i < relation->count; i++) {
        if (view_is(relation->columns[i].name, name)) {
            return i;
        }
    }
    return -1;
}

static void column_to_json(const struct column *column, struct json_writer *j)
{
    json_object(j);
    json_name(j, "name");
    json_view(j, column->name);
    json_name(j, "type");
    json_int(j, column->type);
    json_name(j, "modifier");
    json_int(j, column->modifier);
    if (column->key) {
        json_name(j, "key");
        json_bool(j, true);
    }
    if (column->type_name.at) {
        json_name(j, "type_name");
        json_view(j, column->type_name);
    }
    json_end_object(j);
}

void relation_to_json(const struct relation *relation, struct json_writer *j)
{
    json_object(j);
    json_name(j, "oid");
    json_int(j, relation->oid);
    json_name(j, "version");
    json_int(j, relation->version);
    json_name(j, "identity");
    json_view(j, (view){(const uint8_t *)&relation->identity, relation->identity ? 1 : 0});
    json_name(j, "schema");
    json_view(j, relation->schema);
    json_name(j, "name");
    json_view(j, relation->name);
    json_name(j, "columns");
    json_array(j);
    for (int i = 0; i < relation->count; i++) {
        column_to_json(&relation->columns[i], j);
    }
    json_end_array(j);
    json_end_object(j);
}

MUST_CHECK static err get_u32_field(const struct json *json, const char *name, uint32_t *out)
{
    int64_t value;
    err e = json_get_int(json, name, &value);

    if (!e && (value < 0 || value > UINT32_MAX)) {
        e = fault(ERR_INVALID, "\"%s\" is %" PRId64 ", outside of 32 bits", name, value);
    }
    *out = e ? 0 : (uint32_t)value;
    return e;
}

MUST_CHECK static err get_modifier(const struct json *json, int32_t *out)
{
    int64_t value;
    err e = json_get_int(json, "modifier", &value);

    if (!e && (value < INT32_MIN || value > INT32_MAX)) {
        e = fault(ERR_INVALID, "\"modifier\" is %" PRId64 ", outside of 32 bits", value);
    }
    *out = e ? -1 : (int32_t)value;
    return e;
}

/* A member that may be missing; then, and as null, it is a null view. */
MUST_CHECK static err get_optional_text(const struct json *json, const char *name, view *out)
{
    const struct json *found = json_get(json, name);

    *out = (view){0};
    return !found || found->kind == JSON_NULL ? OK : json_get_text(json, name, out);
}

MUST_CHECK static err column_from_json(struct arena *arena, const struct json *json,
                                       struct column *out)
{
    view name = {0}, type_name = {0};
    const struct json *key = json_get(json, "key");
    err e = json_get_text(json, "name", &name);

    e = e ? e : get_u32_field(json, "type", &out->type);
    e = e ? e : get_modifier(json, &out->modifier);
    e = e ? e : get_optional_text(json, "type_name", &type_name);
    if (e) {
        return e;
    }
    out->key = key && key->kind == JSON_BOOL && key->truth;
    out->name = arena_copy(arena, name);
    out->type_name = copy_view(arena, type_name);
    return OK;
}

MUST_CHECK static err columns_from_json(const struct json *list, struct relation *made)
{
    err e = OK;
    int at = 0;

    for (const struct json *one = list->inside; !e && one; one = one->next) {
        e = column_from_json(&made->arena, one, &made->columns[at]);
        at++;
    }
    return e;
}

err relation_from_json(const struct json *json, struct relation **out)
{
    const struct json *list = json_get(json, "columns");
    view schema, name, identity;
    uint32_t oid, version;
    int count = 0;
    err e = json_get_text(json, "schema", &schema);

    e = e ? e : json_get_text(json, "name", &name);
    e = e ? e : json_get_text(json, "identity", &identity);
    e = e ? e : get_u32_field(json, "oid", &oid);
    e = e ? e : get_u32_field(json, "version", &version);
    if (e) {
        return e;
    }
    if (!list || list->kind != JSON_ARRAY || identity.len > 1) {
        return fault(ERR_INVALID, "a relation needs \"columns\", its identity is one letter");
    }
    for (const struct json *one = list->inside; one; one = one->next) {
        if (++count > COLUMNS_MAX) {
            return fault(ERR_INVALID, "a relation has at most %d columns", COLUMNS_MAX);
        }
    }
    struct relation *made = relation_room(count);
    made->oid = oid;
    made->version = version;
    made->identity = identity.len ? (char)identity.at[0] : '\0';
    made->schema = arena_copy(&made->arena, schema);
    made->name = arena_copy(&made->arena, name);
    e = columns_from_json(list, made);
    if (e) {
        relation_drop(made);
        return e;
    }
    *out = made;
    return OK;
}

static struct value *copy_image(struct arena *arena, const struct value *image, int count)
{
    if (!image) {
        return NULL;
    }
    struct value *copy = arena_take(arena, (size_t)count * sizeof(*copy));
    for (int i = 0; i < count; i++) {
        copy[i].kind = image[i].kind;
        if (image[i].kind == VALUE_TEXT) {
            copy[i].text = arena_copy(arena, image[i].text);
        }
    }
    return copy;
}

struct change *change_copy(struct arena *arena, const struct change *change)
{
    struct change *copy = arena_take(arena, sizeof(*copy));
    int count = change->relation ? change->relation->count : 0;

    *copy = *change;
    copy->before = copy_image(arena, change->before, count);
    copy->after = copy_image(arena, change->after, count);
    copy->context = copy_view(arena, change->context);
    copy->prefix = copy_view(arena, change->prefix);
    copy->content = copy_view(arena, change->content);
    return copy;
}

/* A value of the row as it is after the change; of a deleted one, as it was. */
static struct value newest_value(const struct change *change, int column)
{
    struct value value = {.kind = VALUE_ABSENT};

    if (change->after) {
        value = change->after[column];
    }
    if (change->before && (value.kind == VALUE_ABSENT || value.kind == VALUE_UNKNOWN)) {
        value = change->before[column].kind == VALUE_ABSENT ? value : change->before[column];
    }
    return value;
}

/* NULL is \N and what is not known \?, which no text gives: its backslashes are doubled. */
static void write_key_part(struct value value, struct writer *out)
{
    if (value.kind != VALUE_TEXT) {
        write_view(out, value.kind == VALUE_NULL ? VIEW("\\N") : VIEW("\\?"));
        return;
    }
    for (size_t i = 0; i < value.text.len; i++) {
        uint8_t c = value.text.at[i];
        if (c == ',' || c == '\\') {
            write_u8(out, '\\');
        }
        write_u8(out, c);
    }
}

void change_key_text(const struct change *change, struct writer *out)
{
    const struct relation *relation = change->relation;
    bool has_key = false, first = true;

    if (!relation || (!change->before && !change->after)) {
        return;
    }
    for (int i = 0; i < relation->count; i++) {
        has_key = has_key || relation->columns[i].key;
    }
    for (int i = 0; i < relation->count; i++) {
        if (has_key && !relation->columns[i].key) {
            continue;
        }
        if (!first) {
            write_u8(out, ',');
        }
        first = false;
        write_key_part(newest_value(change, i), out);
    }
}

bool change_is_changed(const struct change *change, int column)
{
    assert(column >= 0);
    if (!change->before || !change->after) {
        return false;
    }
    struct value before = change->before[column], after = change->after[column];
    bool known = before.kind != VALUE_ABSENT && before.kind != VALUE_UNKNOWN &&
                 after.kind != VALUE_ABSENT && after.kind != VALUE_UNKNOWN;
    return known && (before.kind != after.kind ||
                     (before.kind == VALUE_TEXT && !view_is(before.text, after.text)));
}

bool change_lacks_before(const struct change *change)
{
    if (change->kind != CHANGE_UPDATE || !change->after || !change->before) {
        return change->kind == CHANGE_UPDATE && change->after;
    }
    for (int i = 0; i < change->relation->count; i++) {
        if (change->before[i].kind == VALUE_ABSENT) {
            return true;
        }
    }
    return false;
}

void lsn_text(uint64_t lsn, char out[LSN_TEXT_BYTES])
{
    snprintf(out, LSN_TEXT_BYTES, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
}

static bool half_parse(view digits, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < digits.len; i++) {
        uint8_t c = digits.at[i], low = c | 0x20;
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && (low < 'a' || low > 'f')) {
            return false;
        }
        *out = *out << 4 | (uint64_t)(is_digit ? c - '0' : low - 'a' + 10);
    }
    return digits.len > 0 && digits.len <= 8;
}

err lsn_parse(view text, uint64_t *out)
{
    view high, low;
    uint64_t halves[2];

    if (!view_cut(text, '/', &high, &low) || !half_parse(high, &halves[0]) ||
        !half_parse(low, &halves[1])) {
        return fault(ERR_INVALID,
                     "'%.*s' is no position in a database's log, such as 0/16B3748",
                     VIEW_ARG(view_upto(text, 40)));
    }
    *out = halves[0] << 32 | halves[1];
    return OK;
}
