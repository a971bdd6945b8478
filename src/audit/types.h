/* types.h - PostgreSQL's types: their text output as Debezium's JSON, and back; internal.
 *
 * A type is what a column's OID, name and modifier come down to: a kind, an array of it or not,
 * and what the kind needs to know. Text that is not as the server writes it becomes a JSON text
 * and is said to be inexact; nothing here fails on a value.
 * Pure functions, any thread. Source: Debezium 2.x, "Data type mappings"; PostgreSQL 8. */
#ifndef TIDEMARK_AUDIT_TYPES_H
#define TIDEMARK_AUDIT_TYPES_H

#include "audit/envelope.h"

enum type_kind {
    TYPE_TEXT, /* and all whose text stands as it is: uuid, json, inet, ranges, enums ... */
    TYPE_BOOL,
    TYPE_INT, /* bits tells which */
    TYPE_FLOAT,
    TYPE_NUMERIC,
    TYPE_MONEY,
    TYPE_BYTES,
    TYPE_BITS, /* bits: declared length, 1 is a boolean */
    TYPE_DATE,
    TYPE_TIME,
    TYPE_TIMETZ,
    TYPE_TIMESTAMP,
    TYPE_TIMESTAMPTZ,
    TYPE_INTERVAL,
    TYPE_POINT,
    TYPE_GEOMETRY, /* PostGIS: hexadecimal EWKB */
    TYPE_HSTORE,
    TYPE_VECTOR,
    TYPE_SPARSE_VECTOR,
};

struct type {
    enum type_kind kind;
    bool array;
    bool looked_up;    /* by options->types: a reader without it sees plain text */
    bool millis;       /* TIME, TIMESTAMP: counted in milliseconds */
    bool json, number; /* TEXT: is JSON; is a number though written as text */
    int32_t bits;      /* INT, FLOAT, BITS */
    int32_t precision; /* NUMERIC: digits, 0: any scale; times: fraction's digits, -1: preset */
    int32_t scale;     /* NUMERIC */
    const char *semantic; /* the schema's name, or NULL */
    view labels;          /* of an enum */
};

/* types: NULL, or what the catalog knows. */
struct type type_of(const struct type_finder *types, const struct column *column);

struct type_modes {
    enum decimal_mode decimals;
    enum binary_mode binaries;
    enum interval_mode intervals;
    enum hstore_mode hstores;
    enum time_mode times;
};
/* Times counted as the mode says: once, behind type_of. */
void type_set_times(struct type *type, enum time_mode times);

/* The value's JSON in Debezium's form. False: that form does not lead back to this text, so it
 * must travel beside it. */
bool type_to_debezium(struct type_modes modes, const struct type *type, view text,
                      struct writer *out);
/* The server's text again, in the arena or json. ERR_CORRUPT when json is no such value. */
MUST_CHECK err type_from_debezium(struct arena *arena, struct type_modes modes,
                                  const struct type *type, view json, view *text);
/* What stands for a value that the server did not send. */
void type_unavailable(struct type_modes modes, const struct type *type, struct writer *out);
/* For people and searches: a number, truth, JSON or text. */
void type_to_plain(const struct column *column, view text, struct json_writer *j);
/* Connect schema of the column, as Debezium writes it with schemas on; field NULL: none. */
void type_to_schema(struct type_modes modes, const struct type *type, bool optional, view field,
                    struct json_writer *j);

#endif
