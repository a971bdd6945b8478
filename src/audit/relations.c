/* relations.c - what the server described, by OID. SPDX-License-Identifier: Apache-2.0 */
#include "audit/relations.h"

#include <stdlib.h>
#include <string.h>

struct relation_known {
    uint32_t oid;
    uint64_t arrival;
    struct relation *relation; /* held */
};

struct type_known {
    uint32_t oid;
    char *name; /* heap */
};

/* What catalogs call differently from format_type(); of a domain the server tells the name of
 * its base type. */
static const struct {
    const char *catalog, *name;
} builtin_names[] = {
    {"bool", "boolean"},
    {"bpchar", "character"},
    {"float4", "real"},
    {"float8", "double precision"},
    {"int2", "smallint"},
    {"int4", "integer"},
    {"int8", "bigint"},
    {"time", "time without time zone"},
    {"timestamp", "timestamp without time zone"},
    {"timestamptz", "timestamp with time zone"},
    {"timetz", "time with time zone"},
    {"varbit", "bit varying"},
    {"varchar", "character varying"},
};

void relations_fini(struct relations *relations)
{
    struct relation_known *known;

    for (size_t at = 0; (known = map_next(&relations->by_oid, &at));) {
        relation_drop(known->relation);
        free(known);
    }
    map_fini(&relations->by_oid);
    *relations = (struct relations){0};
}

struct relation *relations_get(const struct relations *relations, uint32_t oid)
{
    const struct relation_known *known = map_get(&relations->by_oid, VIEW_OF(oid));

    return known ? known->relation : NULL;
}

uint64_t relations_arrival(const struct relations *relations, uint32_t oid)
{
    const struct relation_known *known = map_get(&relations->by_oid, VIEW_OF(oid));

    return known ? known->arrival : 0;
}

void relations_put(struct relations *relations, struct relation *relation, uint64_t arrival)
{
    struct relation_known *known = map_get(&relations->by_oid, VIEW_OF(relation->oid));
    struct relation *before = known ? known->relation : NULL;

    if (!known) {
        known = xcalloc(1, sizeof(*known));
        known->oid = relation->oid;
        (void)map_put(&relations->by_oid, VIEW_OF(known->oid), known);
    }
    known->arrival = arrival;
    known->relation = relation_hold(relation);
    relation_drop(before);
}

void relations_copy(struct relations *to, const struct relations *from)
{
    const struct relation_known *known;

    for (size_t at = 0; (known = map_next(&from->by_oid, &at));) {
        relations_put(to, known->relation, known->arrival);
    }
}

void types_fini(struct types *types)
{
    struct type_known *known;

    for (size_t at = 0; (known = map_next(&types->by_oid, &at));) {
        free(known->name);
        free(known);
    }
    map_fini(&types->by_oid);
    *types = (struct types){0};
}

static void write_name(struct writer *out, view name)
{
    bool plain = name.len && (name.at[0] < '0' || name.at[0] > '9');

    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.at[i];
        plain = plain && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_');
    }
    if (plain) {
        write_view(out, name);
        return;
    }
    write_u8(out, '"');
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] == '"') {
            write_u8(out, '"');
        }
        write_u8(out, name.at[i]);
    }
    write_u8(out, '"');
}

static void write_builtin(struct writer *out, view name)
{
    for (size_t i = 0; i < COUNT(builtin_names); i++) {
        if (view_is_text(name, builtin_names[i].catalog)) {
            write_view(out, view_text(builtin_names[i].name));
            return;
        }
    }
    write_name(out, name);
}

/* As format_type() has it under the usual search path; an array's own name begins with _. */
static char *name_of(view schema, view name)
{
    bool array = name.len > 1 && name.at[0] == '_';
    view element = view_from(name, array ? 1 : 0);
    struct writer out = {0};

    if (view_is_text(schema, "pg_catalog")) {
        write_builtin(&out, element);
    } else {
        if (!view_is_text(schema, "public")) {
            write_name(&out, schema);
            write_u8(&out, '.');
        }
        write_name(&out, element);
    }
    write_bytes(&out, "[]", array ? 2 : 0);
    write_u8(&out, '\0');
    return (char *)out.at;
}

void types_put(struct types *types, uint32_t oid, view schema, view name)
{
    struct type_known *known = map_get(&types->by_oid, VIEW_OF(oid));

    if (!known) {
        known = xcalloc(1, sizeof(*known));
        known->oid = oid;
        (void)map_put(&types->by_oid, VIEW_OF(known->oid), known);
    }
    free(known->name);
    known->name = name_of(schema, name);
}

void types_name(const struct types *types, struct relation *relation)
{
    for (int i = 0; i < relation->count; i++) {
        const struct type_known *known =
            map_get(&types->by_oid, VIEW_OF(relation->columns[i].type));
        if (known) {
            relation->columns[i].type_name = view_text(known->name);
        }
    }
}
