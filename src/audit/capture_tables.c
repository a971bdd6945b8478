/* capture_tables.c - what is known of a table and of types that are not builtin; its lanes.
 *
 * With replica identity full or nothing the stream does not say which columns are the primary
 * key; the catalog does, and records have their keys from it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/capture_inside.h"

#define FIRST_USER_OID 16384
#define OID_TEXT 16

static view oid_text(char out[OID_TEXT], uint32_t oid)
{
    int len = snprintf(out, OID_TEXT, "%u", oid);

    return (view){(const uint8_t *)out, (size_t)len};
}

static uint32_t oid_of(view text)
{
    int64_t value = 0;

    return text.at && !view_to_int(text, &value) ? (uint32_t)value : 0;
}

static err load_type(struct capture *c, uint32_t oid)
{
    static const char sql[] =
        "select t.typbasetype, t.typtypmod, case when t.typcategory = 'A' then t.typelem else "
        "0 "
        "end, (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e "
        "where e.enumtypid = t.oid) from pg_type t where t.oid = $1::oid";
    struct pg_rows *rows = NULL;
    char text[OID_TEXT];
    const view parameter = oid_text(text, oid);

    if (oid < FIRST_USER_OID || map_get(&c->types, VIEW_OF(oid))) {
        return OK;
    }
    err e = capture_control(c);
    e = e ? e : pg_query(c->control, sql, &parameter, 1, &rows);
    if (e) {
        return e;
    }
    struct type_slot *slot = xcalloc(1, sizeof(*slot));
    slot->oid = oid;
    slot->known = pg_row_count(rows) == 1;
    if (slot->known) {
        int64_t modifier = -1;
        view labels = pg_value(rows, 0, 3);
        e = view_to_int(pg_value(rows, 0, 1), &modifier);
        slot->facts = (struct type_facts){.base = oid_of(pg_value(rows, 0, 0)),
                                          .modifier = (int32_t)modifier,
                                          .element = oid_of(pg_value(rows, 0, 2))};
        if (labels.at) {
            slot->facts.labels = view_text(text_of(labels));
        }
    }
    pg_rows_free(rows);
    map_put(&c->types, VIEW_OF(slot->oid), slot);
    return e;
}

/* With those it is made of: a domain of an array of an enum is three. */
static err load_types(struct capture *c, uint32_t oid)
{
    err e = OK;

    for (int depth = 0; oid >= FIRST_USER_OID && depth < 8 && !e; depth++) {
        e = load_type(c, oid);
        const struct type_slot *slot = e ? NULL : map_get(&c->types, VIEW_OF(oid));
        oid = !slot                 ? 0
              : slot->facts.base    ? slot->facts.base
              : slot->facts.element ? slot->facts.element
                                    : 0;
    }
    return e;
}

/* A domain over a builtin type is stored as that type, which every reader knows; its name
 * stays the domain's. */
static void see_through_domain(struct capture *c, struct column *column)
{
    const struct type_slot *slot = map_get(&c->types, VIEW_OF(column->type));

    if (slot && slot->facts.base && slot->facts.base < FIRST_USER_OID) {
        column->type = slot->facts.base;
        column->modifier = slot->facts.modifier;
    }
}

bool capture_type(void *self, uint32_t oid, struct type_facts *out)
{
    const struct capture *c = self;
    const struct type_slot *slot = map_get(&c->types, VIEW_OF(oid));

    if (!slot || !slot->known) {
        return false;
    }
    *out = slot->facts;
    return true;
}

/* Flags the primary key where the identity does not say it; without one all stays. */
static err flag_primary_key(struct capture *c, struct relation *relation)
{
    static const char sql[] =
        "select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and "
        "a.attnum = any (i.indkey) where i.indisprimary and i.indrelid = $1::oid";
    struct pg_rows *rows = NULL;
    char text[OID_TEXT];
    const view parameter = oid_text(text, relation->oid);

    if (relation->identity != 'f' && relation->identity != 'n') {
        return OK;
    }
    err e = capture_control(c);
    e = e ? e : pg_query(c->control, sql, &parameter, 1, &rows);
    if (e) {
        return e;
    }
    size_t found = 0;
    for (size_t i = 0; i < pg_row_count(rows); i++) {
        found += relation_column(relation, pg_value(rows, i, 0)) >= 0;
    }
    if (found && found == pg_row_count(rows)) {
        for (int i = 0; i < relation->count; i++) {
            relation->columns[i].key = false;
        }
        for (size_t i = 0; i < found; i++) {
            relation->columns[relation_column(relation, pg_value(rows, i, 0))].key = true;
        }
    }
    pg_rows_free(rows);
    return OK;
}

static err open_lanes(struct capture *c, struct table *t)
{
    int32_t partitions = (int32_t)c->source->options.partitions;
    struct writer topic = {0};
    err e = OK;

    envelope_topic(&c->envelope, t->stored, &topic);
    t->lanes = xcalloc((size_t)partitions, sizeof(struct lane *));
    for (int32_t i = 0; i < partitions && !e; i++) {
        e = lanes_open(c->lanes, writer_view(&topic), i, partitions, true, &t->lanes[i]);
    }
    c->fatal = c->fatal || e == ERR_CONFLICT;
    writer_fini(&topic);
    return e;
}

static void table_free(struct table *t)
{
    relation_drop(t->key);
    rules_table_free(t->rules);
    free(t->lanes);
    free(t);
}

static err table_make(struct capture *c, struct relation *relation, struct table **out)
{
    struct relation *described = relation_new(relation), *shown = NULL;
    struct table *t = xcalloc(1, sizeof(*t));
    err e = flag_primary_key(c, described);

    for (int i = 0; i < described->count && !e; i++) {
        e = load_types(c, described->columns[i].type);
        if (!e) {
            see_through_domain(c, &described->columns[i]);
        }
    }
    t->key = relation_hold(relation);
    if (!e) {
        t->rules = rules_table_new(c->rules, described);
        shown = rules_relation(t->rules);
        e = ledger_describe(c->ledger, shown, &t->stored);
    }
    e = e ? e : open_lanes(c, t);
    relation_drop(described);
    relation_drop(shown);
    if (e) {
        table_free(t);
        return e;
    }
    *out = t;
    return OK;
}

err capture_table(struct capture *c, struct relation *relation, struct table **out)
{
    if (c->newest && c->newest->key == relation) {
        *out = c->newest;
        return OK;
    }
    struct table *t = map_get(&c->tables, VIEW_OF(relation));
    if (!t) {
        err e = table_make(c, relation, &t);
        if (e) {
            return e;
        }
        map_put(&c->tables, VIEW_OF(t->key), t);
    }
    c->newest = t;
    *out = t;
    return OK;
}

void capture_tables_clear(struct capture *c)
{
    struct table *table;
    struct type_slot *type;

    for (size_t at = 0; (table = map_next(&c->tables, &at));) {
        table_free(table);
    }
    for (size_t at = 0; (type = map_next(&c->types, &at));) {
        free((void *)(uintptr_t)type->facts.labels.at);
        free(type);
    }
    map_fini(&c->tables);
    map_fini(&c->types);
    c->tables = c->types = (struct map){0};
    c->newest = NULL;
}

/* Where Kafka's own clients put a key: murmur2. */
static uint32_t murmur2(view key)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28c ^ (uint32_t)key.len;
    size_t i = 0;

    for (; i + 4 <= key.len; i += 4) {
        uint32_t k = (uint32_t)key.at[i] | (uint32_t)key.at[i + 1] << 8 |
                     (uint32_t)key.at[i + 2] << 16 | (uint32_t)key.at[i + 3] << 24;
        k *= m;
        k ^= k >> 24;
        h = (h * m) ^ (k * m);
    }
    if (i < key.len) {
        uint32_t rest = 0;
        for (size_t left = key.len - i; left-- > 0;) {
            rest = rest << 8 | key.at[i + left];
        }
        h = (h ^ rest) * m;
    }
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

int32_t capture_partition(const struct capture *c, const struct record *record)
{
    int32_t partitions = (int32_t)c->source->options.partitions;

    if (partitions == 1 || !record->key.at) {
        return 0;
    }
    return (int32_t)(murmur2(record->key) & INT32_MAX) % partitions;
}
