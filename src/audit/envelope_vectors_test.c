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
                                                                          : BINARY_BYTES;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_value_takes_debeziums_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
