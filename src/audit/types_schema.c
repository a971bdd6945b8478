/* types_schema.c - a type as a Connect schema, and what stands for a value that was not sent.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/types_parts.h"

#include "audit/scan.h"

#define UNAVAILABLE_UUID "b68a35a7-17ad-35b3-af2a-ae46edb4545a" /* version 3, of the words */

static void write_words(const struct type *type, struct type_modes modes, struct writer *out)
{
    view words = VIEW(ENVELOPE_UNAVAILABLE);

    if (type->kind == TYPE_BYTES && modes.binaries == BINARY_HEX) {
        write_u8(out, '"');
        hex_write(words, false, out);
        write_u8(out, '"');
    } else if (type->kind == TYPE_BYTES || type->kind == TYPE_BITS) {
        base64_to(words, out);
    } else {
        (void)scan_quote(words, out);
    }
}

static void write_unavailable_items(struct type_modes modes, const struct type *type,
                                    struct writer *out)
{
    view words = VIEW(ENVELOPE_UNAVAILABLE);

    write_u8(out, '[');
    if (type->kind == TYPE_INT || type->kind == TYPE_DATE) { /* the words' bytes */
        for (size_t i = 0; i < words.len; i++) {
            write_format(out, i ? ",%d" : "%d", words.at[i]);
        }
    } else if (type->semantic && view_is_text(VIEW("io.debezium.data.Uuid"), type->semantic)) {
        (void)scan_quote(VIEW(UNAVAILABLE_UUID), out);
    } else if (type->kind == TYPE_TEXT || type->kind == TYPE_BYTES) {
        write_words(type, modes, out);
    }
    write_u8(out, ']');
}

void type_unavailable(struct type_modes modes, const struct type *type, struct writer *out)
{
    view words = VIEW(ENVELOPE_UNAVAILABLE);
    bool decimal = type->kind == TYPE_NUMERIC;

    if (type->array || type->kind == TYPE_VECTOR) {
        write_unavailable_items(modes, type, out);
    } else if (type->kind == TYPE_HSTORE && modes.hstores == HSTORE_JSON) {
        (void)scan_quote(VIEW("{\"" ENVELOPE_UNAVAILABLE "\":\"" ENVELOPE_UNAVAILABLE "\"}"),
                         out);
    } else if (type->kind == TYPE_HSTORE) {
        write_u8(out, '{');
        (void)scan_quote(words, out);
        write_u8(out, ':');
        (void)scan_quote(words, out);
        write_u8(out, '}');
    } else if (type->kind == TYPE_GEOMETRY) {
        write_view(out, VIEW("{\"wkb\":"));
        base64_to(words, out);
        write_view(out, VIEW(",\"srid\":null}"));
    } else if (decimal && modes.decimals == DECIMAL_PRECISE && type->precision == 0) {
        write_view(out, VIEW("{\"scale\":0,\"value\":"));
        base64_to(words, out);
        write_u8(out, '}');
    } else if (decimal && modes.decimals == DECIMAL_PRECISE) {
        base64_to(words, out);
    } else if (type->kind == TYPE_TEXT || type->kind == TYPE_BYTES || type->kind == TYPE_BITS ||
               (decimal && modes.decimals == DECIMAL_STRING)) {
        write_words(type, modes, out);
    } else { /* never stored out of line */
        write_view(out, VIEW("null"));
    }
}

/* What stands in front of a schema's members: type, optional, name and version. */
static void head(struct json_writer *j, const char *type, bool optional, const char *name)
{
    json_name(j, "type");
    json_text(j, type);
    json_name(j, "optional");
    json_bool(j, optional);
    if (name) {
        json_name(j, "name");
        json_text(j, name);
        json_name(j, "version");
        json_int(j, 1);
    }
}

static void field_of(struct json_writer *j, const char *field, const char *type, bool optional)
{
    json_object(j);
    head(j, type, optional, NULL);
    json_name(j, "field");
    json_text(j, field);
    json_end_object(j);
}

static void parameter(struct json_writer *j, const char *name, int value)
{
    json_name(j, name);
    json_textf(j, "%d", value);
}

#define DECIMAL_NAME "org.apache.kafka.connect.data.Decimal"

static void decimal_schema(struct type_modes modes, const struct type *type, bool optional,
                           struct json_writer *j)
{
    if (modes.decimals != DECIMAL_PRECISE) {
        head(j, modes.decimals == DECIMAL_STRING ? "string" : "double", optional, NULL);
        return;
    }
    if (type->kind == TYPE_NUMERIC && type->precision == 0) {
        head(j, "struct", optional, "io.debezium.data.VariableScaleDecimal");
        json_name(j, "fields");
        json_array(j);
        field_of(j, "scale", "int32", false);
        field_of(j, "value", "bytes", false);
        json_end_array(j);
        return;
    }
    head(j, "bytes", optional, DECIMAL_NAME);
    json_name(j, "parameters");
    json_object(j);
    parameter(j, "scale", type->kind == TYPE_MONEY ? 2 : type->scale);
    if (type->kind == TYPE_NUMERIC) {
        parameter(j, "connect.decimal.precision", type->precision);
    }
    json_end_object(j);
}

static void shape_schema(const struct type *type, bool optional, struct json_writer *j)
{
    head(j, "struct", optional, type->semantic);
    json_name(j, "fields");
    json_array(j);
    if (type->kind == TYPE_POINT) {
        field_of(j, "x", "double", false);
        field_of(j, "y", "double", false);
    }
    field_of(j, "wkb", "bytes", type->kind == TYPE_POINT);
    field_of(j, "srid", "int32", true);
    json_end_array(j);
}

static void item_schema(struct json_writer *j, const char *name, const char *type,
                        bool optional)
{
    json_name(j, name);
    json_object(j);
    head(j, type, optional, NULL);
    json_end_object(j);
}

static void sparse_schema(const struct type *type, bool optional, struct json_writer *j)
{
    head(j, "struct", optional, type->semantic);
    json_name(j, "fields");
    json_array(j);
    field_of(j, "dimensions", "int16", false);
    json_object(j);
    head(j, "map", false, NULL);
    item_schema(j, "keys", "int16", false);
    item_schema(j, "values", "double", false);
    json_name(j, "field");
    json_text(j, "vector");
    json_end_object(j);
    json_end_array(j);
}

static const char *simple_name(struct type_modes modes, const struct type *type)
{
    switch (type->kind) {
    case TYPE_BOOL:
        return "boolean";
    case TYPE_INT:
        return type->bits == 16 ? "int16" : type->bits == 32 ? "int32" : "int64";
    case TYPE_FLOAT:
        return type->bits == 32 ? "float" : "double";
    case TYPE_BYTES:
        return modes.binaries == BINARY_BYTES ? "bytes" : "string";
    case TYPE_DATE:
        return "int32";
    case TYPE_TIME:
        return type->millis ? "int32" : "int64";
    case TYPE_TIMESTAMP:
        return "int64";
    case TYPE_INTERVAL:
        return modes.intervals == INTERVAL_STRING ? "string" : "int64";
    default:
        return "string";
    }
}

static void bits_schema(const struct type *type, bool optional, struct json_writer *j)
{
    if (type->bits == 1) {
        head(j, "boolean", optional, NULL);
        return;
    }
    head(j, "bytes", optional, "io.debezium.data.Bits");
    json_name(j, "parameters");
    json_object(j);
    parameter(j, "length", type->bits);
    json_end_object(j);
}

static void kind_schema(struct type_modes modes, const struct type *type, bool optional,
                        struct json_writer *j)
{
    switch (type->kind) {
    case TYPE_NUMERIC:
    case TYPE_MONEY:
        decimal_schema(modes, type, optional, j);
        break;
    case TYPE_BITS:
        bits_schema(type, optional, j);
        break;
    case TYPE_POINT:
    case TYPE_GEOMETRY:
        shape_schema(type, optional, j);
        break;
    case TYPE_INTERVAL:
        head(j, simple_name(modes, type), optional,
             modes.intervals == INTERVAL_STRING ? "io.debezium.time.Interval" : type->semantic);
        break;
    case TYPE_HSTORE:
        if (modes.hstores == HSTORE_JSON) {
            head(j, "string", optional, "io.debezium.data.Json");
            break;
        }
        head(j, "map", optional, NULL);
        item_schema(j, "keys", "string", false);
        item_schema(j, "values", "string", true);
        break;
    case TYPE_VECTOR:
        head(j, "array", optional, type->semantic);
        item_schema(j, "items",
                    view_is_text(VIEW("io.debezium.data.FloatVector"), type->semantic)
                        ? "float"
                        : "double",
                    false);
        break;
    case TYPE_SPARSE_VECTOR:
        sparse_schema(type, optional, j);
        break;
    default:
        head(j, simple_name(modes, type), optional, type->semantic);
        if (type->labels.at) {
            json_name(j, "parameters");
            json_object(j);
            json_name(j, "allowed");
            json_view(j, type->labels);
            json_end_object(j);
        }
    }
}

void type_to_schema(struct type_modes modes, const struct type *type, bool optional, view field,
                    struct json_writer *j)
{
    json_object(j);
    if (type->array) {
        struct type element = *type;
        element.array = false;
        head(j, "array", optional, NULL);
        json_name(j, "items");
        json_object(j);
        kind_schema(modes, &element, true, j);
        json_end_object(j);
    } else {
        kind_schema(modes, type, optional, j);
    }
    if (field.at) {
        json_name(j, "field");
        json_view(j, field);
    }
    json_end_object(j);
}
