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

/* As format_type() has it under the usual search path; an array's own name begins with _. */
static char *name_of(view schema, view name)
{
    bool array = name.len > 1 && name.at[0] == '_';
    bool builtin = view_is_text(schema, "pg_catalog");
    bool qualified = !builtin && !view_is_text(schema, "public");
    view element = view_from(name, array ? 1 : 0);

    for (size_t i = 0; builtin && i < COUNT(builtin_names); i++) {
        if (view_is_text(element, builtin_names[i].catalog)) {
            element = view_text(builtin_names[i].name);
            break;
        }
    }
    return text_format("%.*s%s%.*s%s", VIEW_ARG(qualified ? schema : VIEW("")),
                       qualified ? "." : "", VIEW_ARG(element), array ? "[]" : "");
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
