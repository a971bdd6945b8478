/* envelope_vectors_test.c - the recorded type mappings and envelopes, and what a Bemi worker
 * makes of our messages; skipped when the vectors are not beside the project.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "audit/envelope.h"
#include "audit/types.h"

#define VECTORS "../shared/conformance/audit/"

static const struct {
    const char *name;
    uint32_t oid, array;
} pg_types[] = {
    {"boolean", 16, 1000},
    {"bytea", 17, 1001},
    {"\"char\"", 18, 1002},
    {"name", 19, 1003},
    {"bigint", 20, 1016},
    {"int8", 20, 1016},
    {"bigserial", 20, 1016},
    {"smallint", 21, 1005},
    {"int2", 21, 1005},
    {"smallserial", 21, 1005},
    {"integer", 23, 1007},
    {"int", 23, 1007},
    {"int4", 23, 1007},
    {"serial", 23, 1007},
    {"text", 25, 1009},
    {"oid", 26, 1028},
    {"json", 114, 199},
    {"xml", 142, 143},
    {"point", 600, 1017},
    {"cidr", 650, 651},
    {"real", 700, 1021},
    {"float4", 700, 1021},
    {"double precision", 701, 1022},
    {"float8", 701, 1022},
    {"money", 790, 791},
    {"macaddr", 829, 1040},
    {"macaddr8", 774, 775},
    {"inet", 869, 1041},
    {"char", 1042, 1014},
    {"character", 1042, 1014},
    {"varchar", 1043, 1015},
    {"character varying", 1043, 1015},
    {"date", 1082, 1182},
    {"time", 1083, 1183},
    {"timestamp", 1114, 1115},
    {"timestamptz", 1184, 1185},
    {"interval", 1186, 1187},
    {"timetz", 1266, 1270},
    {"bit", 1560, 1561},
    {"varbit", 1562, 1563},
    {"bit varying", 1562, 1563},
    {"numeric", 1700, 1231},
    {"decimal", 1700, 1231},
    {"uuid", 2950, 2951},
    {"tsvector", 3614, 3643},
    {"jsonb", 3802, 3807},
    {"int4range", 3904, 3905},
    {"numrange", 3906, 3907},
    {"tsrange", 3908, 3909},
    {"tstzrange", 3910, 3911},
    {"daterange", 3912, 3913},
    {"int8range", 3926, 3927},
};

#define OWN_OID 20000

/* "numeric(6,4)[]" as the column that the server would describe. */
static struct column column_of(struct arena *arena, view name)
{
    struct column column = {.modifier = -1, .type = OWN_OID, .name = VIEW("c")};
    bool array = name.len > 2 && name.at[name.len - 1] == ']';
    int first = -1, second = 0;
    view bare, rest;

    name = view_upto(name, name.len - (array ? 2 : 0));
    if (view_cut(name, '(', &bare, &rest)) {
        (void)sscanf(arena_text(arena, rest), "%d,%d", &first, &second);
    }
    bare = view_trim(bare);
    column.type_name = arena_copy(arena, bare);
    for (size_t i = 0; i < COUNT(pg_types); i++) {
        if (view_is_text(bare, pg_types[i].name)) {
            column.type = array ? pg_types[i].array : pg_types[i].oid;
            column.type_name = (view){0};
        }
    }
    if (array && column.type == OWN_OID) {
        column.type_name = view_text(arena_format(arena, "%.*s[]", VIEW_ARG(bare)));
    }
    bool numeric = column.type == 1700 || column.type == 1231;
    bool text = column.type == 1042 || column.type == 1043;
    column.modifier = first < 0 ? -1
                      : numeric ? (first << 16 | (second & 0x7ff)) + 4
                      : text    ? first + 4
                                : first;
    return column;
}

static bool find_enum(void *self, uint32_t oid, struct type_facts *out)
{
    out->labels = *(const view *)self;
    return oid == OWN_OID && out->labels.at;
}

static bool same_json(const struct json *a, const struct json *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->truth == b->truth;
    case JSON_TEXT:
        return view_is(a->text, b->text);
    case JSON_NUMBER: {
        char *one = text_of(a->text), *two = text_of(b->text);
        bool whole = !strpbrk(one, ".eE") && !strpbrk(two, ".eE");
        bool same = whole ? strcmp(one, two) == 0 : strtod(one, NULL) == strtod(two, NULL);
        free(one);
        free(two);
        return same;
    }
    default: {
        const struct json *x = a->inside, *y = b->inside;
        for (; x && y; x = x->next, y = y->next) {
            if (!view_is(x->name, y->name) || !same_json(x, y)) {
                return false;
            }
        }
        return !x && !y;
    }
    }
}

static struct type_modes modes_of(const struct json *mode)
{
    struct type_modes modes = {0};
    view text = mode && mode->kind == JSON_TEXT ? mode->text : VIEW("");

    modes.decimals = view_is(text, VIEW("decimal.handling.mode=string"))   ? DECIMAL_STRING
                     : view_is(text, VIEW("decimal.handling.mode=double")) ? DECIMAL_DOUBLE
                                                                           : DECIMAL_PRECISE;
    modes.binaries = view_is(text, VIEW("binary.handling.mode=hex"))      ? BINARY_HEX
                     : view_is(text, VIEW("binary.handling.mode=base64")) ? BINARY_BASE64
                     : view_is(text, VIEW("binary.handling.mode=base64-url-safe"))
                         ? BINARY_BASE64_URL
                         : BINARY_BYTES;
    modes.intervals = view_is(text, VIEW("interval.handling.mode=string")) ? INTERVAL_STRING
                                                                           : INTERVAL_NUMERIC;
    modes.hstores = view_is(text, VIEW("hstore.handling.mode=json")) ? HSTORE_JSON : HSTORE_MAP;
    modes.times = view_is(text, VIEW("time.precision.mode=connect")) ? TIME_CONNECT
                  : view_is(text, VIEW("time.precision.mode=adaptive_time_microseconds"))
                      ? TIME_ADAPTIVE_MICROSECONDS
                      : TIME_ADAPTIVE;
    return modes;
}

static view text_member(const struct json *object, const char *name)
{
    const struct json *found = json_get(object, name);

    return found && found->kind == JSON_TEXT ? found->text : (view){0};
}

/* "mood enum(sad,ok)" */
static view enum_labels(view name)
{
    view head, tail, labels;

    if (!view_cut(name, ' ', &head, &tail) || !view_starts(tail, VIEW("enum("))) {
        return (view){0};
    }
    (void)view_cut(view_from(tail, 5), ')', &labels, &tail);
    return labels;
}

static bool schema_fits(struct arena *arena, struct type_modes modes, const struct type *type,
                        const struct json *want)
{
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct json *made;

    type_to_schema(modes, type, true, (view){0}, &j);
    assert_int_equal(json_parse(arena, arena_copy(arena, writer_view(&out)), &made), OK);
    writer_fini(&out);
    const struct json *parameters = json_get(want, "parameters");
    bool named = view_is(text_member(want, "schema_name"), text_member(made, "name"));
    bool typed = view_is(text_member(want, "connect_type"), text_member(made, "type"));
    bool same =
        !parameters || parameters->kind == JSON_NULL ||
        (json_get(made, "parameters") && same_json(parameters, json_get(made, "parameters")));
    return typed && (named || !text_member(want, "schema_name").at) && same;
}

static bool vector_fits(struct arena *arena, const struct json *one)
{
    struct type_modes modes = modes_of(json_get(one, "mode"));
    view name = text_member(one, "pg_type"), text = text_member(one, "text");
    view labels = enum_labels(name);
    struct type_finder finder = {.find = find_enum, .self = &labels};
    bool missing = view_starts(name, VIEW("unchanged TOAST "));
    struct column column =
        column_of(arena, missing ? view_from(name, strlen("unchanged TOAST ")) : name);
    struct type type = type_of(&finder, &column);
    struct writer out = {0};

    type_set_times(&type, modes.times);
    struct json *made;

    if (missing) {
        type_unavailable(modes, &type, &out);
    } else {
        (void)type_to_debezium(modes, &type, text, &out);
    }
    view form = arena_copy(arena, writer_view(&out));
    writer_fini(&out);
    bool fine = json_parse(arena, form, &made) == OK &&
                same_json(made, json_get(one, "json")) && schema_fits(arena, modes, &type, one);
    if (!fine) {
        print_error("%.*s %.*s became %.*s\n", VIEW_ARG(name), VIEW_ARG(text), VIEW_ARG(form));
    }
    return fine;
}

static struct json *read_vectors(struct arena *arena, const char *path)
{
    FILE *file = fopen(path, "r");
    struct writer text = {0};
    struct json *json = NULL;
    char block[65536];
    size_t len;

    if (!file) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    while ((len = fread(block, 1, sizeof(block), file)) > 0) {
        write_bytes(&text, block, len);
    }
    fclose(file);
    view whole = arena_copy(arena, writer_view(&text));
    writer_fini(&text);
    assert_int_equal(json_parse(arena, whole, &json), OK);
    return json;
}

static void every_recorded_value_takes_debeziums_form(void **state)
{
    struct arena arena = {0};
    struct json *all = read_vectors(&arena, VECTORS "debezium_types_and_envelopes.json");
    int passed = 0, failed = 0;

    (void)state;
    for (const struct json *one = json_get(all, "types")->inside; one; one = one->next) {
        bool fits = vector_fits(&arena, one);
        passed += fits ? 1 : 0;
        failed += fits ? 0 : 1;
    }
    print_message("types: %d passed, %d failed\n", passed, failed);
    assert_int_equal(failed, 0);
    assert_true(passed > 0);
    arena_fini(&arena);
}

/* A row of a vector as values of a relation: JSON null is NULL, text and digits are text. */
static struct value *image_of(struct arena *arena, const struct relation *relation,
                              const struct json *row)
{
    if (!row || row->kind != JSON_OBJECT) {
        return NULL;
    }
    struct value *values = arena_take(arena, (size_t)relation->count * sizeof(*values));
    for (const struct json *one = row->inside; one; one = one->next) {
        int i = relation_column(relation, one->name);
        assert_true(i >= 0);
        view text = one->kind == JSON_BOOL ? (one->truth ? VIEW("t") : VIEW("f")) : one->text;
        values[i] = (struct value){one->kind == JSON_NULL ? VALUE_NULL : VALUE_TEXT, text};
        if (one->kind == JSON_ARRAY) { /* the placeholder: nothing was sent */
            values[i].kind = VALUE_UNKNOWN;
        }
    }
    return values;
}

/* Columns as the values have them: whole numbers, texts, truths, arrays of texts. */
static struct relation *relation_of(struct arena *arena, const struct json *source,
                                    const struct json *row)
{
    struct relation relation = {.identity = 'd',
                                .version = 1,
                                .schema = text_member(source, "schema"),
                                .name = text_member(source, "table")};

    relation.columns = arena_take(arena, 16 * sizeof(*relation.columns));
    for (const struct json *one = row ? row->inside : NULL; one; one = one->next) {
        relation.columns[relation.count++] = (struct column){
            .name = one->name,
            .type = one->kind == JSON_NUMBER  ? 23
                    : one->kind == JSON_BOOL  ? 16
                    : one->kind == JSON_ARRAY ? 1009
                                              : 25,
            .modifier = -1,
            .key = view_is(one->name, VIEW("id")),
        };
    }
    return relation_new(&relation);
}

static int64_t int_member(const struct json *object, const char *name)
{
    int64_t value = 0;

    return json_get_int(object, name, &value) == OK ? value : 0;
}

/* The LSN of the commit before, out of "[\"24023119\",\"24023128\"]". */
static uint64_t last_commit(const struct json *source)
{
    unsigned long long before = 0;
    char *text = text_of(text_member(source, "sequence"));

    (void)sscanf(text, "[\"%llu\"", &before);
    free(text);
    return before;
}

static enum change_kind kind_of(view op)
{
    static const char ops[] = "cudtrm";
    const char *found = op.len == 1 ? strchr(ops, op.at[0]) : NULL;

    assert_non_null(found);
    return (enum change_kind)(found - ops);
}

/* Writes the change that a vector's value tells of. */
static void write_vector(struct arena *arena, const struct json *value,
                         const struct envelope_options *options, struct envelope_out *out)
{
    const struct json *origin = json_get(value, "source"), *row = json_get(value, "after");
    const struct json *message = json_get(value, "message");
    struct change change = {.kind = kind_of(text_member(value, "op"))};
    struct envelope_source source = {.now_ms = int_member(value, "ts_ms"),
                                     .last_commit = last_commit(origin)};

    row = row && row->kind == JSON_OBJECT ? row : json_get(value, "before");
    int64_t micros = int_member(origin, "ts_us");
    change.place = (struct change_place){
        .xid = (uint32_t)int_member(origin, "txId"),
        .lsn = (uint64_t)int_member(origin, "lsn"),
        .committed_us = micros ? micros : int_member(origin, "ts_ms") * 1000,
    };
    source.snapshot = arena_text(arena, text_member(origin, "snapshot"));
    if (change.kind == CHANGE_MESSAGE) {
        struct type bytes = {.kind = TYPE_BYTES, .precision = -1};
        view form = view_text(
                 arena_format(arena, "\"%.*s\"", VIEW_ARG(text_member(message, "content")))),
             text;
        struct writer content = {0};
        assert_int_equal(type_from_debezium(arena, (struct type_modes){0}, &bytes, form, &text),
                         OK);
        for (size_t i = 2; i < text.len; i += 2) {
            write_u8(
                &content,
                (uint8_t)strtol((char[]){(char)text.at[i], (char)text.at[i + 1], 0}, NULL, 16));
        }
        change.prefix = text_member(message, "prefix");
        change.content = arena_copy(arena, writer_view(&content));
        writer_fini(&content);
    } else {
        change.relation = relation_of(arena, origin, row);
        change.before = image_of(arena, change.relation, json_get(value, "before"));
        change.after = image_of(arena, change.relation, json_get(value, "after"));
    }
    envelope_write(options, &source, &change, out);
    relation_drop(change.relation);
}

/* All that want has is in got, but for what is each writer's own. */
static bool value_fits(const struct json *want, const struct json *got)
{
    static const char *const own[] = {"version", "ts_us", "ts_ns"};

    if (!got || want->kind != JSON_OBJECT) {
        return got && same_json(want, got);
    }
    for (const struct json *one = want->inside; one; one = one->next) {
        bool mine = false;
        for (size_t i = 0; i < COUNT(own); i++) {
            mine = mine || view_is_text(one->name, own[i]);
        }
        char *name = text_of(one->name);
        const struct json *found = json_get(got, name);
        free(name);
        if (!mine && !value_fits(one, found)) {
            return false;
        }
    }
    return true;
}

static bool record_fits(struct arena *arena, const struct json *want, view got)
{
    struct json *made;

    if (!want || want->kind == JSON_NULL) {
        return got.at == NULL;
    }
    return got.at && json_parse(arena, got, &made) == OK && value_fits(want, made);
}

static bool envelope_fits(struct arena *arena, const struct json *one)
{
    const struct json *records = json_get(one, "records");
    const struct json *first = records ? records->inside : one;
    const struct json *value = json_get(first, "value");
    const struct json *origin = value ? json_get(value, "source") : NULL;
    struct envelope_out out = {.arena = arena};
    size_t i = 0;
    bool fits = true;

    if (!origin) {
        return true; /* transaction metadata: another test's */
    }
    struct envelope_options options = {.source = text_member(origin, "name"),
                                       .database = text_member(origin, "db"),
                                       .tombstones = true};
    write_vector(arena, value, &options, &out);
    for (const struct json *want = first; want; want = records ? want->next : NULL, i++) {
        fits = fits && i < out.count &&
               record_fits(arena, json_get(want, "key"), out.records[i].key) &&
               record_fits(arena, json_get(want, "value"), out.records[i].value);
    }
    fits = fits && i == out.count;
    if (!fits) {
        print_error("%.*s became %.*s %.*s\n", VIEW_ARG(text_member(one, "name")),
                    VIEW_ARG(out.records[0].key), VIEW_ARG(out.records[0].value));
    }
    envelope_out_fini(&out);
    return fits;
}

static void every_recorded_envelope_is_written_so(void **state)
{
    struct arena arena = {0};
    struct json *all = read_vectors(&arena, VECTORS "debezium_types_and_envelopes.json");
    int passed = 0, failed = 0;

    (void)state;
    for (const struct json *one = json_get(all, "envelopes")->inside; one; one = one->next) {
        bool fits = envelope_fits(&arena, one);
        passed += fits ? 1 : 0;
        failed += fits ? 0 : 1;
    }
    print_message("envelopes: %d passed, %d failed\n", passed, failed);
    assert_int_equal(failed, 0);
    assert_true(passed > 0);
    arena_fini(&arena);
}

/* What a Bemi worker stores for a message of ours: nothing but what stands in it. */
static void bemi_assert(struct arena *arena, const struct json *made, const struct json *want)
{
    const struct json *source = json_get(made, "source"), *image;
    const char *images[] = {"before", "after"};

    if (json_get(want, "position")) {
        assert_true(view_is(text_member(source, "db"), text_member(want, "database")));
        assert_true(view_is(text_member(source, "schema"), text_member(want, "schema")));
        assert_true(view_is(text_member(source, "table"), text_member(want, "table")));
        assert_true(int_member(source, "lsn") == int_member(want, "position"));
        assert_true(int_member(source, "txId") == int_member(want, "transactionId"));
        assert_true(int_member(source, "ts_ms") == int_member(want, "committed_at_ms"));
        assert_true(int_member(made, "ts_ms") == int_member(want, "queued_at_ms"));
    }
    for (size_t i = 0; i < COUNT(images); i++) {
        struct json *nothing;
        assert_int_equal(json_parse(arena, VIEW("{}"), &nothing), OK);
        image = json_get(made, images[i]);
        image = image && image->kind == JSON_OBJECT ? image : nothing;
        assert_true(value_fits(json_get(want, images[i]), image));
        assert_true(value_fits(image, json_get(want, images[i])));
    }
}

static void a_bemi_worker_stores_from_our_messages_what_it_should(void **state)
{
    struct arena arena = {0};
    struct json *all = read_vectors(&arena, VECTORS "bemi_ingest.json"), *made;
    int passed = 0;

    (void)state;
    for (const struct json *one = json_get(all, "messages")->inside; one; one = one->next) {
        const struct json *value = json_get(one, "debezium_value");
        struct envelope_options options = {
            .source = text_member(json_get(value, "source"), "name"),
            .database = text_member(json_get(value, "source"), "db")};
        struct envelope_out out = {.arena = &arena};
        if (view_is(text_member(one, "name"), VIEW("array_unavailable_value"))) {
            continue; /* the placeholder's words are Bemi's own setting */
        }
        write_vector(&arena, value, &options, &out);
        assert_int_equal(json_parse(&arena, out.records[0].value, &made), OK);
        assert_true(value_fits(value, made));
        bemi_assert(&arena, made, json_get(one, "expected_change"));
        envelope_out_fini(&out);
        passed++;
    }
    print_message("bemi messages: %d passed\n", passed);
    assert_true(passed > 0);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_value_takes_debeziums_form),
        cmocka_unit_test(every_recorded_envelope_is_written_so),
        cmocka_unit_test(a_bemi_worker_stores_from_our_messages_what_it_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
