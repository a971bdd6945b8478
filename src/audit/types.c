/* types.c - which type a column has, and the one door to the families behind.
 *
 * Builtin types are known by OID, those of extensions by name, enums and domains by what the
 * catalog says; all others are text. Whether a form leads back to the server's text is known
 * for what is plain (numbers, texts); for the others it is tried.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/types.h"

#include <string.h>

#include "audit/scan.h"
#include "audit/types_parts.h"

#define DOMAINS_MAX 32     /* a domain over a domain over ... */
#define PLAIN_DEPTH_MAX 48 /* JSON inside of a change leaves room for what is around it */
#define VARBIT_ANY INT32_MAX

struct builtin {
    uint32_t oid, array;
    enum type_kind kind;
    int32_t bits;
    bool json, number;
    const char *semantic;
};

#define SEMANTIC_JSON "io.debezium.data.Json"
#define SEMANTIC_ENUM "io.debezium.data.Enum"

static const struct builtin builtins[] = {
    /* the most used first */
    {20, 1016, TYPE_INT, 64, .number = true},
    {23, 1007, TYPE_INT, 32, .number = true},
    {25, 1009, TYPE_TEXT, 0, .semantic = NULL},
    {1043, 1015, TYPE_TEXT, 0, .semantic = NULL},
    {1184, 1185, TYPE_TIMESTAMPTZ, 0, .semantic = "io.debezium.time.ZonedTimestamp"},
    {1114, 1115, TYPE_TIMESTAMP, 0, .semantic = "io.debezium.time.MicroTimestamp"},
    {1700, 1231, TYPE_NUMERIC, 0, .number = true},
    {16, 1000, TYPE_BOOL, 0, .semantic = NULL},
    {3802, 3807, TYPE_TEXT, 0, .json = true, .semantic = SEMANTIC_JSON},
    {2950, 2951, TYPE_TEXT, 0, .semantic = "io.debezium.data.Uuid"},
    {1082, 1182, TYPE_DATE, 0, .semantic = "io.debezium.time.Date"},
    {701, 1022, TYPE_FLOAT, 64, .number = true},
    {700, 1021, TYPE_FLOAT, 32, .number = true},
    {21, 1005, TYPE_INT, 16, .number = true},
    {17, 1001, TYPE_BYTES, 0, .semantic = NULL},
    {114, 199, TYPE_TEXT, 0, .json = true, .semantic = SEMANTIC_JSON},
    {1042, 1014, TYPE_TEXT, 0, .semantic = NULL},
    {18, 1002, TYPE_TEXT, 0, .semantic = NULL},
    {19, 1003, TYPE_TEXT, 0, .semantic = NULL},
    {26, 1028, TYPE_INT, 64, .number = true},
    {142, 143, TYPE_TEXT, 0, .semantic = "io.debezium.data.Xml"},
    {600, 1017, TYPE_POINT, 0, .semantic = "io.debezium.data.geometry.Point"},
    {650, 651, TYPE_TEXT, 0, .semantic = NULL},
    {869, 1041, TYPE_TEXT, 0, .semantic = NULL},
    {829, 1040, TYPE_TEXT, 0, .semantic = NULL},
    {774, 775, TYPE_TEXT, 0, .semantic = NULL},
    {790, 791, TYPE_MONEY, 0, .semantic = NULL},
    {1083, 1183, TYPE_TIME, 0, .semantic = "io.debezium.time.MicroTime"},
    {1266, 1270, TYPE_TIMETZ, 0, .semantic = "io.debezium.time.ZonedTime"},
    {1186, 1187, TYPE_INTERVAL, 0, .semantic = "io.debezium.time.MicroDuration"},
    {1560, 1561, TYPE_BITS, 0, .semantic = NULL},
    {1562, 1563, TYPE_BITS, 0, .semantic = NULL},
    {3614, 3643, TYPE_TEXT, 0, .semantic = "io.debezium.data.TsVector"},
    {3615, 3645, TYPE_TEXT, 0, .semantic = NULL},
    {3904, 3905, TYPE_TEXT, 0, .semantic = NULL},
    {3906, 3907, TYPE_TEXT, 0, .semantic = NULL},
    {3908, 3909, TYPE_TEXT, 0, .semantic = NULL},
    {3910, 3911, TYPE_TEXT, 0, .semantic = NULL},
    {3912, 3913, TYPE_TEXT, 0, .semantic = NULL},
    {3926, 3927, TYPE_TEXT, 0, .semantic = NULL},
    {4451, 6150, TYPE_TEXT, 0, .semantic = NULL},
    {4532, 6151, TYPE_TEXT, 0, .semantic = NULL},
    {4533, 6152, TYPE_TEXT, 0, .semantic = NULL},
    {4534, 6153, TYPE_TEXT, 0, .semantic = NULL},
    {4535, 6155, TYPE_TEXT, 0, .semantic = NULL},
    {4536, 6157, TYPE_TEXT, 0, .semantic = NULL},
    {3220, 3221, TYPE_TEXT, 0, .semantic = NULL},
    {4072, 4073, TYPE_TEXT, 0, .semantic = NULL},
    {27, 1010, TYPE_TEXT, 0, .semantic = NULL},
    {28, 1011, TYPE_TEXT, 0, .semantic = NULL},
    {29, 1012, TYPE_TEXT, 0, .semantic = NULL},
    {5069, 271, TYPE_TEXT, 0, .semantic = NULL},
    {24, 1008, TYPE_TEXT, 0, .semantic = NULL},
    {2205, 2210, TYPE_TEXT, 0, .semantic = NULL},
    {1790, 2201, TYPE_TEXT, 0, .semantic = NULL},
    {601, 1018, TYPE_TEXT, 0, .semantic = NULL},
    {602, 1019, TYPE_TEXT, 0, .semantic = NULL},
    {604, 1027, TYPE_TEXT, 0, .semantic = NULL},
    {628, 629, TYPE_TEXT, 0, .semantic = NULL},
    {718, 719, TYPE_TEXT, 0, .semantic = NULL},
};

static const struct { /* types of extensions */
    const char *name;
    enum type_kind kind;
    const char *semantic;
} extensions[] = {
    {"citext", TYPE_TEXT, NULL},
    {"hstore", TYPE_HSTORE, NULL},
    {"ltree", TYPE_TEXT, "io.debezium.data.Ltree"},
    {"geometry", TYPE_GEOMETRY, "io.debezium.data.geometry.Geometry"},
    {"geography", TYPE_GEOMETRY, "io.debezium.data.geometry.Geography"},
    {"vector", TYPE_VECTOR, "io.debezium.data.DoubleVector"},
    {"halfvec", TYPE_VECTOR, "io.debezium.data.FloatVector"},
    {"sparsevec", TYPE_SPARSE_VECTOR, "io.debezium.data.SparseDoubleVector"},
};

#define FIRST_OWN_OID 16384 /* below are the builtin ones */
#define NUMERIC_SCALE_BITS 11
#define MILLIS_DIGITS 3 /* a precision up to it counts milliseconds */
#define CONNECT_DATA "org.apache.kafka.connect.data."
#define MODIFIER_HEAD 4 /* of a length word, in modifiers of varlena types */

static void apply_modifier(struct type *type, uint32_t oid, int32_t modifier)
{
    type->precision = -1;
    if (type->kind == TYPE_NUMERIC) {
        uint32_t packed = (uint32_t)(modifier - MODIFIER_HEAD);
        uint32_t half = 1u << (NUMERIC_SCALE_BITS - 1);
        type->precision = modifier < MODIFIER_HEAD ? 0 : (int32_t)(packed >> 16 & 0xffff);
        type->scale = (int32_t)((packed & (2 * half - 1)) ^ half) - (int32_t)half;
    } else if (type->kind == TYPE_BITS) {
        type->bits = modifier > 0 ? modifier : oid == 1562 ? VARBIT_ANY : 1;
    } else if (type->kind == TYPE_INTERVAL) {
        type->precision = -1;
    } else if (modifier >= 0 && type->kind >= TYPE_TIME && type->kind <= TYPE_TIMESTAMPTZ) {
        type->precision = modifier;
    }
    bool counted = type->kind == TYPE_TIME || type->kind == TYPE_TIMESTAMP;
    type->millis = counted && type->precision >= 0 && type->precision <= MILLIS_DIGITS;
    if (type->millis) {
        type->semantic =
            type->kind == TYPE_TIME ? "io.debezium.time.Time" : "io.debezium.time.Timestamp";
    }
}

void type_set_times(struct type *type, enum time_mode times)
{
    if (times == TIME_ADAPTIVE_MICROSECONDS && type->kind == TYPE_TIME) {
        type->millis = false;
        type->semantic = "io.debezium.time.MicroTime";
    } else if (times == TIME_CONNECT && type->kind == TYPE_DATE) {
        type->semantic = CONNECT_DATA "Date";
    } else if (times == TIME_CONNECT && type->kind == TYPE_TIME) {
        type->millis = true;
        type->semantic = CONNECT_DATA "Time";
    } else if (times == TIME_CONNECT && type->kind == TYPE_TIMESTAMP) {
        type->millis = true;
        type->semantic = CONNECT_DATA "Timestamp";
    }
}

static bool find_builtin(struct type *type, uint32_t oid, int32_t modifier)
{
    for (size_t i = 0; i < COUNT(builtins); i++) {
        const struct builtin *b = &builtins[i];
        if (b->oid == oid || b->array == oid) {
            type->kind = b->kind;
            type->array = type->array || b->array == oid;
            type->bits = b->bits;
            type->json = b->json;
            type->number = b->number;
            type->semantic = b->semantic;
            apply_modifier(type, b->oid, modifier);
            return true;
        }
    }
    return false;
}

/* The name itself: public."Geometry"[] and _geometry are both an array of it. */
static view bare_name(view name, bool *array)
{
    view suffix = VIEW("[]");

    for (size_t i = name.len; i > 0; i--) {
        if (name.at[i - 1] == '.') {
            name = view_from(name, i);
            break;
        }
    }
    *array = false;
    while (name.len > suffix.len && view_is(view_from(name, name.len - suffix.len), suffix)) {
        name = view_upto(name, name.len - suffix.len);
        *array = true;
    }
    if (name.len > 1 && name.at[0] == '"') {
        name = view_upto(view_from(name, 1), name.len - 2);
    }
    if (name.len > 1 && name.at[0] == '_' && !*array) {
        name = view_from(name, 1);
        *array = true;
    }
    return name;
}

static void find_extension(struct type *type, view full)
{
    bool array;
    view name = bare_name(full, &array);

    type->array = type->array || array;
    for (size_t i = 0; i < COUNT(extensions); i++) {
        if (view_is_text(name, extensions[i].name)) {
            type->kind = extensions[i].kind;
            type->semantic = extensions[i].semantic;
            return;
        }
    }
}

/* What the catalog says of a type, put into the type: domains and arrays to their bases. */
static struct type resolve(const struct type_finder *types, const struct column *column)
{
    struct type type = {.kind = TYPE_TEXT, .precision = -1};
    uint32_t oid = column->type;
    int32_t modifier = column->modifier;
    struct type_facts facts;

    if (find_builtin(&type, oid, modifier) || oid < FIRST_OWN_OID) {
        return type;
    }
    for (int i = 0; i < DOMAINS_MAX && types && types->find; i++) {
        facts = (struct type_facts){0};
        if (!types->find(types->self, oid, &facts)) {
            break;
        }
        if (facts.labels.at) {
            type.semantic = SEMANTIC_ENUM;
            type.labels = facts.labels;
            return type;
        }
        if (facts.element && !type.array) {
            type.array = true;
            oid = facts.element;
        } else if (facts.base) {
            oid = facts.base;
            modifier = facts.modifier;
        } else {
            break;
        }
        if (find_builtin(&type, oid, modifier)) {
            return type;
        }
    }
    find_extension(&type, column->type_name);
    return type;
}

/* "1.0" would come back as 1, which is what the server writes. */
static bool ends_whole(view text)
{
    return text.len > 2 && view_is(view_from(text, text.len - 2), VIEW(".0"));
}

struct type type_of(const struct type_finder *types, const struct column *column)
{
    struct type type = resolve(types, column);

    if (types && types->find && column->type >= FIRST_OWN_OID) {
        struct type seen = resolve(NULL, column);
        type.looked_up = type.kind != seen.kind || type.array != seen.array ||
                         type.bits != seen.bits || type.precision != seen.precision ||
                         type.scale != seen.scale;
    }
    return type;
}

/* The form of one value; *surely: it leads back, there is no need to try. */
static bool write_kind(struct type_modes modes, const struct type *type, view text,
                       struct writer *out, bool *surely)
{
    *surely = false;
    switch (type->kind) {
    case TYPE_TEXT:
        *surely = scan_quote(text, out);
        return true;
    case TYPE_BOOL:
        *surely = view_is(text, VIEW("t")) || view_is(text, VIEW("f"));
        write_view(out,
                   *surely ? (text.at[0] == 't' ? VIEW("true") : VIEW("false")) : VIEW(""));
        return *surely;
    case TYPE_INT:
        *surely = scan_is_number(text) && !memchr(text.at, '.', text.len);
        write_view(out, *surely ? text : VIEW(""));
        return *surely;
    case TYPE_FLOAT:
        *surely = !ends_whole(text);
        return float_to(text, out);
    case TYPE_NUMERIC:
        *surely = decimal_to(modes, type, text, out);
        return true;
    case TYPE_MONEY:
        return money_to(modes, text, out);
    case TYPE_BYTES:
        return bytes_to(modes, text, out, surely);
    case TYPE_BITS:
        return bits_to(type, text, out);
    case TYPE_POINT:
        return point_to(text, out);
    case TYPE_GEOMETRY:
        return geometry_to(text, out);
    case TYPE_HSTORE:
        return modes.hstores == HSTORE_JSON ? hstore_text_to(text, out) : hstore_to(text, out);
    case TYPE_VECTOR:
        return vector_to(text, out);
    case TYPE_SPARSE_VECTOR:
        return sparse_to(text, out);
    case TYPE_INTERVAL:
        return modes.intervals == INTERVAL_STRING ? interval_text_to(text, out)
                                                  : time_to(type, text, out, surely);
    default:
        return time_to(type, text, out, surely);
    }
}

/* A JSON text stands for itself where the form is none: there it can only be a fallback. */
static bool is_text_form(struct type_modes modes, const struct type *type)
{
    bool wordy = type->kind == TYPE_TEXT || type->kind == TYPE_BYTES ||
                 type->kind == TYPE_TIMETZ || type->kind == TYPE_TIMESTAMPTZ ||
                 (type->kind == TYPE_BITS && type->bits != 1) ||
                 (type->kind == TYPE_INTERVAL && modes.intervals == INTERVAL_STRING) ||
                 (type->kind == TYPE_HSTORE && modes.hstores == HSTORE_JSON);
    bool decimal = type->kind == TYPE_NUMERIC || type->kind == TYPE_MONEY;
    bool precise =
        modes.decimals == DECIMAL_PRECISE && (type->kind == TYPE_MONEY || type->precision > 0);

    return !type->array &&
           (wordy || (decimal && (precise || modes.decimals == DECIMAL_STRING)));
}

static bool leads_back(struct type_modes modes, const struct type *type, view json, view text)
{
    struct arena arena = {0};
    view back;
    bool same =
        type_from_debezium(&arena, modes, type, json, &back) == OK && view_is(back, text);

    arena_fini(&arena);
    return same;
}

bool type_to_debezium(struct type_modes modes, const struct type *type, view text,
                      struct writer *out)
{
    size_t start = out->len;
    bool surely = false;
    bool formed = type->array ? array_to(modes, type, text, out)
                              : write_kind(modes, type, text, out, &surely);

    if (!formed) {
        out->len = start;
        bool whole = scan_quote(text, out);
        return whole && !type->looked_up && !is_text_form(modes, type);
    }
    if (type->looked_up) { /* the reader takes it for a text */
        return surely && type->kind == TYPE_TEXT && !type->array;
    }
    if (surely || (type->kind == TYPE_NUMERIC && !type->array)) {
        return surely;
    }
    view made = {out->at + start, out->len - start};
    return leads_back(modes, type, made, text);
}

static bool read_kind(struct arena *arena, struct type_modes modes, const struct type *type,
                      view json, view *text)
{
    view inside;

    switch (type->kind) {
    case TYPE_TEXT:
        return false; /* a JSON text was taken before */
    case TYPE_BOOL:
        *text = view_is_text(json, "true") ? VIEW("t") : VIEW("f");
        return view_is_text(json, "true") || view_is_text(json, "false");
    case TYPE_INT:
        *text = json;
        return scan_is_number(json);
    case TYPE_FLOAT:
        return float_from(arena, json, text);
    case TYPE_NUMERIC:
        return decimal_from(arena, modes, type, json, text);
    case TYPE_MONEY:
        return money_from(arena, modes, json, text);
    case TYPE_BYTES:
        return bytes_from(arena, modes, json, text);
    case TYPE_BITS:
        return bits_from(arena, type, json, text);
    case TYPE_POINT:
        return point_from(arena, json, text);
    case TYPE_GEOMETRY:
        return geometry_from(arena, json, text);
    case TYPE_HSTORE:
        return modes.hstores == HSTORE_JSON
                   ? scan_text(arena, json, &inside) && hstore_from(arena, inside, text)
                   : hstore_from(arena, json, text);
    case TYPE_VECTOR:
        return vector_from(arena, json, text);
    case TYPE_SPARSE_VECTOR:
        return sparse_from(arena, json, text);
    default:
        return time_from(arena, type, json, text);
    }
}

err type_from_debezium(struct arena *arena, struct type_modes modes, const struct type *type,
                       view json, view *text)
{
    bool fine = false;

    if (json.len && json.at[0] == '"' &&
        (type->kind == TYPE_TEXT || !is_text_form(modes, type))) {
        fine = scan_text(arena, json, text);
    } else if (type->array) {
        fine = array_from(arena, modes, type, json, text);
    } else {
        fine = read_kind(arena, modes, type, json, text);
    }
    return fine ? OK
                : fault(ERR_CORRUPT, "%.*s is no value of its column's type",
                        (int)MIN(json.len, (size_t)60), (const char *)json.at);
}

/* JSON as it is, but in one line: white space between its parts may be anything. */
static void raw_line(view json, struct json_writer *j)
{
    struct writer line = {0};

    write_view(&line, json);
    for (size_t i = 0; i < line.len; i++) {
        line.at[i] = line.at[i] < ' ' ? ' ' : line.at[i];
    }
    json_raw(j, writer_view(&line));
    writer_fini(&line);
}

void type_to_plain(const struct column *column, view text, struct json_writer *j)
{
    struct type type = type_of(NULL, column);

    if (!type.array && type.kind == TYPE_BOOL && text.len == 1) {
        json_bool(j, text.at[0] == 't');
    } else if (!type.array && type.number && scan_is_number(text)) {
        json_raw(j, text);
    } else if (!type.array && type.json && scan_is_json(text, PLAIN_DEPTH_MAX)) {
        raw_line(text, j);
    } else {
        json_view(j, text);
    }
}
