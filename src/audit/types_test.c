/* types_test.c - values of types and modes that the shared vectors do not have.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "audit/types.h"

#define ALWAYS 1 /* the form leads back */

static const struct {
    uint32_t oid;
    int32_t modifier;
    const char *name; /* of an extension's type */
    struct type_modes modes;
    const char *text, *form;
    int leads_back;
} cases[] = {
    {1186,
     -1,
     NULL,
     {.intervals = INTERVAL_STRING},
     "1 year 2 mons 3 days 04:05:06.78",
     "\"P1Y2M3DT4H5M6.78S\"",
     0},
    {1186, -1, NULL, {.intervals = INTERVAL_STRING}, "00:00:00", "\"P0Y0M0DT0H0M0S\"", 0},
    {1186, -1, NULL, {.intervals = INTERVAL_STRING}, "-00:00:00.5", "\"P0Y0M0DT0H0M-0.5S\"", 0},
    {1186, -1, NULL, {0}, "04:05:06", "14706000000", ALWAYS},
    {1186, -1, NULL, {0}, "1 mon", "2629800000000", 0},
    {20001,
     -1,
     "hstore",
     {.hstores = HSTORE_JSON},
     "\"a\"=>\"1\", \"b\"=>NULL",
     "\"{\\\"a\\\":\\\"1\\\",\\\"b\\\":null}\"",
     ALWAYS},
    {1082, -1, NULL, {.times = TIME_CONNECT}, "1970-01-02", "1", ALWAYS},
    {1083, -1, NULL, {.times = TIME_CONNECT}, "00:00:01.5", "1500", ALWAYS},
    {1083, -1, NULL, {.times = TIME_CONNECT}, "00:00:01.0005", "1000", 0},
    {1083, 3, NULL, {.times = TIME_ADAPTIVE_MICROSECONDS}, "00:00:01.5", "1500000", ALWAYS},
    {1114, -1, NULL, {.times = TIME_CONNECT}, "1970-01-01 00:00:01", "1000", ALWAYS},
    {17, -1, NULL, {.binaries = BINARY_BASE64_URL}, "\\xfbff", "\"-_8=\"", ALWAYS},
    {17, -1, NULL, {0}, "\\xFBFF", "\"+/8=\"", 0},
    {17, -1, NULL, {0}, "\\x", "\"\"", ALWAYS},
    {1700, -1, NULL, {0}, "0", "{\"scale\":0,\"value\":\"AA==\"}", ALWAYS},
    {1700, -1, NULL, {0}, "-128", "{\"scale\":0,\"value\":\"gA==\"}", ALWAYS},
    {1700, -1, NULL, {0}, "128", "{\"scale\":0,\"value\":\"AIA=\"}", ALWAYS},
    {1700, -1, NULL, {0}, "0.0500", "{\"scale\":2,\"value\":\"BQ==\"}", 0},
    {1700, -1, NULL, {0}, "Infinity", "null", 0},
    {1700, -1, NULL, {.decimals = DECIMAL_DOUBLE}, "1.10", "1.10", ALWAYS},
    {1700, -1, NULL, {.decimals = DECIMAL_DOUBLE}, "NaN", "\"NaN\"", ALWAYS},
    {1700, (3 << 16 | 0x7fe) + 4, NULL, {0}, "12300", "\"ew==\"", 0}, /* numeric(3,-2) */
    {790, -1, NULL, {0}, "$1,234,567.89", "\"B1vNFQ==\"", ALWAYS},
    {790, -1, NULL, {0}, "1.234,11 €", "\"AeIT\"", 0},
    {790, -1, NULL, {.decimals = DECIMAL_STRING}, "-$0.05", "\"-0.05\"", ALWAYS},
    {701, -1, NULL, {0}, "1e+300", "1e+300", ALWAYS},
    {701, -1, NULL, {0}, "-0", "-0.0", ALWAYS},
    {1114, -1, NULL, {0}, "infinity", "9223372036825200000", ALWAYS},
    {1114, 3, NULL, {0}, "-infinity", "-9223372036832400", ALWAYS},
    {1114, -1, NULL, {0}, "0044-03-15 12:00:00 BC", "-63517780800000000", ALWAYS},
    {1114,
     -1,
     NULL,
     {0},
     "294276-12-31 23:59:59.999999",
     "\"294276-12-31 23:59:59.999999\"",
     ALWAYS},
    {1184, 3, NULL, {0}, "2016-11-04 11:51:30.5+00", "\"2016-11-04T11:51:30.500Z\"", ALWAYS},
    {1184, 0, NULL, {0}, "2016-11-04 11:51:30+00", "\"2016-11-04T11:51:30Z\"", ALWAYS},
    {1184,
     -1,
     NULL,
     {0},
     "21016-11-04 13:51:30+00",
     "\"+21016-11-04T13:51:30.000000Z\"",
     ALWAYS},
    {1184, -1, NULL, {0}, "2016-11-04 00:30:00-01:30", "\"2016-11-04T02:00:00.000000Z\"", 0},
    {1266, -1, NULL, {0}, "24:00:00+00", "\"24:00:00Z\"", ALWAYS},
    {1266, -1, NULL, {0}, "01:00:00+02", "\"23:00:00Z\"", 0},
    {1082, -1, NULL, {0}, "infinity", "2147483647", ALWAYS},
    {1082, -1, NULL, {0}, "5874897-12-31", "2145042905", ALWAYS},
    {1560, 11, NULL, {0}, "10101010101", "\"VQU=\"", ALWAYS},
    {1562, -1, NULL, {0}, "0011", "\"Aw==\"", 0},
    {1562, 24, NULL, {0}, "000000110000001000000001", "\"AQID\"", ALWAYS},
    {1562, 2, NULL, {0}, "00", "\"\"", ALWAYS},
    {600,
     -1,
     NULL,
     {0},
     "(1,1)",
     "{\"x\":1.0,\"y\":1.0,\"wkb\":\"AQEAAAAAAAAAAADwPwAAAAAAAPA/\",\"srid\":null}",
     ALWAYS},
    {20001,
     -1,
     "public.geometry",
     {0},
     "0101000020730C00001C7C613255DE6540787AA52C435C42C0",
     "{\"wkb\":\"AQEAACBzDAAAHHxhMlXeZUB4eqUsQ1xCwA==\",\"srid\":3187}",
     ALWAYS},
    {20001,
     -1,
     "geometry",
     {0},
     "010700000000000000",
     "{\"wkb\":\"AQcAAAAAAAAA\",\"srid\":null}",
     ALWAYS},
    {20001, -1, "vector", {0}, "[1,2.5,-3]", "[1.0,2.5,-3.0]", ALWAYS},
    {20001,
     -1,
     "sparsevec",
     {0},
     "{1:1.5,3:2}/5",
     "{\"dimensions\":5,\"vector\":[[1,1.5],[3,2.0]]}",
     ALWAYS},
    {20001, -1, "_citext", {0}, "{four,\"a b\"}", "[\"four\",\"a b\"]", ALWAYS},
    {20001, -1, "mood", {0}, "ok", "\"ok\"", ALWAYS},
    {1007, -1, NULL, {0}, "{}", "[]", ALWAYS},
    {1007, -1, NULL, {0}, "[2:3]={1,2}", "[1,2]", 0},
    {1009, -1, NULL, {0}, "{a;b,\"\",\"NULL\",NULL}", "[\"a;b\",\"\",\"NULL\",null]", ALWAYS},
    {1231,
     -1,
     NULL,
     {0},
     "{1.1,2.22}",
     "[{\"scale\":1,\"value\":\"Cw==\"},{\"scale\":2,\"value\":\"AN4=\"}]",
     ALWAYS},
    {2951,
     -1,
     NULL,
     {0},
     "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
     "[\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"]",
     ALWAYS},
    {3911,
     -1,
     NULL,
     {0},
     "{\"[\\\"2017-06-05 11:29:12+00\\\",)\"}",
     "[\"[\\\"2017-06-05 11:29:12+00\\\",)\"]",
     ALWAYS},
    {16, -1, NULL, {0}, "maybe", "\"maybe\"", ALWAYS},
    {25, -1, NULL, {0}, "\xff", "\"\xef\xbf\xbd\"", 0},
};

static void each_value_has_its_form_and_says_whether_that_leads_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct column column = {.type = cases[i].oid,
                                .modifier = cases[i].modifier,
                                .type_name = view_text(cases[i].name)};
        struct type type = type_of(NULL, &column);
        struct writer out = {0};
        type_set_times(&type, cases[i].modes.times);
        bool leads = type_to_debezium(cases[i].modes, &type, view_text(cases[i].text), &out);
        if (!view_is_text(writer_view(&out), cases[i].form) || leads != cases[i].leads_back) {
            fail_msg("%s became %.*s (%d), not %s", cases[i].text, VIEW_ARG(writer_view(&out)),
                     leads, cases[i].form);
        }
        writer_fini(&out);
    }
}

static void a_number_of_a_thousand_digits_comes_back(void **state)
{
    struct column column = {.type = 1700, .modifier = -1};
    struct type type = type_of(NULL, &column);
    struct arena arena = {0};
    struct writer text = {0}, out = {0};
    view back;

    (void)state;
    write_u8(&text, '-');
    for (int i = 0; i < 1000; i++) {
        write_u8(&text, (uint8_t)('1' + i % 9));
    }
    write_view(&text, VIEW(".123456789"));
    assert_true(type_to_debezium((struct type_modes){0}, &type, writer_view(&text), &out));
    assert_int_equal(
        type_from_debezium(&arena, (struct type_modes){0}, &type, writer_view(&out), &back),
        OK);
    assert_true(view_is(back, writer_view(&text)));
    writer_fini(&text);
    writer_fini(&out);
    arena_fini(&arena);
}

static bool find_chain(void *self, uint32_t oid, struct type_facts *out)
{
    (void)self;
    *out = (struct type_facts){.modifier = -1};
    if (oid == 20001) { /* a domain of a domain of numeric(8,2) */
        out->base = 20002;
    } else if (oid == 20002) {
        out->base = 1700;
        out->modifier = (8 << 16 | 2) + 4;
    } else if (oid == 20003) { /* a domain of itself: the catalog cannot, a bug could */
        out->base = 20003;
    } else if (oid == 20004) {
        out->element = 20005;
    } else if (oid == 20005) {
        out->labels = VIEW("sad,ok");
    }
    return oid <= 20005;
}

static void domains_and_arrays_are_seen_through(void **state)
{
    const struct type_finder finder = {.find = find_chain};
    struct column column = {.type = 20001, .modifier = -1, .type_name = VIEW("amount")};

    (void)state;
    struct type type = type_of(&finder, &column);
    assert_int_equal(type.kind, TYPE_NUMERIC);
    assert_int_equal(type.scale, 2);
    assert_true(type.looked_up);
    column.type = 20003;
    assert_int_equal(type_of(&finder, &column).kind, TYPE_TEXT);
    column.type = 20004;
    column.type_name = VIEW("_mood");
    type = type_of(&finder, &column);
    assert_true(type.array);
    assert_false(type.looked_up);
    assert_true(view_is_text(type.labels, "sad,ok"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_has_its_form_and_says_whether_that_leads_back),
        cmocka_unit_test(a_number_of_a_thousand_digits_comes_back),
        cmocka_unit_test(domains_and_arrays_are_seen_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
