/* envelope_test.c - what is written is read back the same, of every type; and the records'
 * shapes. SPDX-License-Identifier: Apache-2.0 */
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

#define ROUNDS 4000

static uint64_t seed_now;

static uint64_t random_next(void)
{
    seed_now ^= seed_now << 13;
    seed_now ^= seed_now >> 7;
    seed_now ^= seed_now << 17;
    return seed_now;
}

static unsigned below(unsigned limit)
{
    return (unsigned)(random_next() % limit);
}

static bool chance(unsigned percent)
{
    return below(100) < percent;
}

static void random_digits(struct writer *out, unsigned most, bool canonical)
{
    unsigned count = 1 + below(most);

    for (unsigned i = 0; i < count; i++) {
        bool first = i == 0 && canonical && count > 1;
        write_u8(out, (uint8_t)('0' + (first ? 1 + below(9) : below(10))));
    }
}

static void random_text(struct writer *out)
{
    static const char *const pieces[] = {
        "a", "B",  "\"", "\\", "{", "}",    ",",    "NULL", " ",     "\n", "\t",      "\x01",
        "é", "漢", "😀",  "'",  "/", "\x7f", "null", "\xff", "[1,2]", "=>", "\xe2\x82"};

    for (unsigned i = below(6); i > 0; i--) {
        write_view(out, view_text(pieces[below(chance(95) ? 20 : COUNT(pieces))]));
    }
}

static void random_int(struct writer *out)
{
    write_format(out, "%lld", (long long)random_next() >> below(63));
}

static void random_numeric(struct writer *out)
{
    static const char *const special[] = {"NaN", "Infinity", "-Infinity", "0", "0.00", "-0.1"};

    if (chance(10)) {
        write_view(out, view_text(special[below(COUNT(special))]));
        return;
    }
    write_view(out, chance(30) ? VIEW("-") : VIEW(""));
    random_digits(out, chance(90) ? 12 : 300, true);
    if (chance(70)) {
        write_u8(out, '.');
        random_digits(out, chance(90) ? 6 : 200, false);
    }
}

static void random_float(struct writer *out)
{
    static const char *const special[] = {"NaN", "Infinity", "-Infinity",
                                          "-0",  "1e+300",   "1e-05"};

    if (chance(20)) {
        write_view(out, view_text(special[below(COUNT(special))]));
    } else {
        write_format(out, "%.*g", 1 + (int)below(17), (double)(int64_t)random_next() / 1e9);
    }
}

static void random_date(struct writer *out)
{
    unsigned year = chance(80) ? 1900 + below(200) : 1 + below(chance(50) ? 9999 : 290000);

    write_format(out, chance(95) ? "%04u-%02u-%02u" : "%05u-%02u-%02u", year, 1 + below(12),
                 1 + below(28));
}

static void random_clock(struct writer *out)
{
    if (chance(5)) {
        write_view(out, chance(50) ? VIEW("24:00:00") : VIEW("10:00:00.10"));
        return;
    }
    write_format(out, "%02u:%02u:%02u", below(24), below(60), below(60));
    if (chance(50)) {
        write_format(out, ".%0*u%u", (int)below(6), below(2), 1 + below(9));
    }
}

static void random_offset(struct writer *out)
{
    static const char *const offsets[] = {"+00", "+00", "+00", "+02", "-03:30", "+00:19:32"};

    write_view(out, view_text(offsets[below(COUNT(offsets))]));
}

static void random_bytes(struct writer *out)
{
    write_view(out, VIEW("\\x"));
    for (unsigned i = below(20); i > 0; i--) {
        write_format(out, "%02x", below(256));
    }
}

static void random_interval(struct writer *out)
{
    static const char *const some[] = {"1 year 2 mons 3 days 04:05:06.78",
                                       "00:00:00",
                                       "-1 years -2 mons +3 days -04:05:06",
                                       "-00:00:01",
                                       "178000000 years",
                                       "100:00:00.5",
                                       "3 days",
                                       "1 mon"};

    write_view(out, view_text(some[below(COUNT(some))]));
}

static void random_item(struct writer *out, uint32_t oid);

static void random_array(struct writer *out, uint32_t element)
{
    struct writer item = {0};

    write_view(out, chance(5) ? VIEW("[0:1]={") : VIEW("{"));
    for (unsigned i = 0, count = below(4); i < count; i++) {
        write_view(out, i ? VIEW(",") : VIEW(""));
        writer_reset(&item);
        random_item(&item, element);
        if (chance(20)) {
            write_view(out, VIEW("NULL"));
            continue;
        }
        write_u8(out, '"');
        for (size_t k = 0; k < item.len; k++) {
            if (item.at[k] == '"' || item.at[k] == '\\') {
                write_u8(out, '\\');
            }
            write_u8(out, item.at[k]);
        }
        write_u8(out, '"');
    }
    write_u8(out, '}');
    writer_fini(&item);
}

/* Text as the server would write it for most; for some, of anything. */
static void random_item(struct writer *out, uint32_t oid)
{
    static const char *const fixed[] = {"infinity", "-infinity", "",
                                        "null",     "{}",        "2020-13-45"};

    if (chance(4)) {
        write_view(out, view_text(fixed[below(COUNT(fixed))]));
        return;
    }
    switch (oid) {
    case 16:
        write_u8(out, chance(50) ? 't' : 'f');
        break;
    case 20:
    case 21:
    case 23:
    case 26:
        random_int(out);
        break;
    case 1700:
        random_numeric(out);
        break;
    case 700:
    case 701:
        random_float(out);
        break;
    case 17:
        random_bytes(out);
        break;
    case 790:
        write_format(out, chance(80) ? "%s$%u,%03u.%02u" : "%s%u.%03u,%02u EUR",
                     chance(50) ? "-" : "", 1 + below(999), below(1000), below(100));
        break;
    case 1082:
        random_date(out);
        write_view(out, chance(10) ? VIEW(" BC") : VIEW(""));
        break;
    case 1083:
    case 1266:
        random_clock(out);
        if (oid == 1266) {
            random_offset(out);
        }
        break;
    case 1114:
    case 1184:
        random_date(out);
        write_u8(out, ' ');
        random_clock(out);
        if (oid == 1184) {
            random_offset(out);
        }
        write_view(out, chance(10) ? VIEW(" BC") : VIEW(""));
        break;
    case 1186:
        random_interval(out);
        break;
    case 1560:
    case 1562:
        for (unsigned i = below(20); i > 0; i--) {
            write_u8(out, chance(50) ? '1' : '0');
        }
        break;
    case 600:
        write_format(out, "(%d,%u.5)", (int)below(100) - 50, below(9));
        break;
    default:
        random_text(out);
    }
}

static const struct {
    uint32_t oid, element; /* element: it is an array of that */
    int32_t modifier;
    const char *name;
} kinds[] = {
    {16, 0, -1, NULL},           {20, 0, -1, NULL},
    {21, 0, -1, NULL},           {23, 0, -1, NULL},
    {26, 0, -1, NULL},           {25, 0, -1, NULL},
    {1700, 0, -1, NULL},         {1700, 0, 655366, NULL},
    {1700, 0, 393224, NULL},     {1700, 0, 198658, NULL},
    {700, 0, -1, NULL},          {701, 0, -1, NULL},
    {17, 0, -1, NULL},           {790, 0, -1, NULL},
    {1082, 0, -1, NULL},         {1083, 0, -1, NULL},
    {1083, 0, 3, NULL},          {1114, 0, -1, NULL},
    {1114, 0, 3, NULL},          {1114, 0, 0, NULL},
    {1184, 0, -1, NULL},         {1184, 0, 3, NULL},
    {1266, 0, -1, NULL},         {1186, 0, -1, NULL},
    {1560, 0, 1, NULL},          {1560, 0, 11, NULL},
    {1562, 0, -1, NULL},         {1562, 0, 40, NULL},
    {600, 0, -1, NULL},          {114, 0, -1, NULL},
    {3802, 0, -1, NULL},         {2950, 0, -1, NULL},
    {869, 0, -1, NULL},          {3904, 0, -1, NULL},
    {1000, 16, -1, NULL},        {1007, 23, -1, NULL},
    {1009, 25, -1, NULL},        {1016, 20, -1, NULL},
    {1231, 1700, -1, NULL},      {1231, 1700, 655366, NULL},
    {1182, 1082, -1, NULL},      {1115, 1114, -1, NULL},
    {1185, 1184, -1, NULL},      {1001, 17, -1, NULL},
    {1022, 701, -1, NULL},       {1017, 600, -1, NULL},
    {199, 114, -1, NULL},        {1561, 1560, 3, NULL},
    {20001, 0, -1, "hstore"},    {20002, 0, -1, "public.geometry"},
    {20003, 0, -1, "vector"},    {20004, 0, -1, "citext"},
    {20005, 25, -1, "_citext"},  {20006, 25, -1, "mood[]"},
    {20007, 0, -1, "sparsevec"}, {20008, 0, -1, "mood"},
};

static void random_extension(struct writer *out, const char *name)
{
    bool fine = chance(90);

    if (fine && strcmp(name, "hstore") == 0) {
        write_view(out, VIEW("\"a\\\"\"=>\"1\", \"b\"=>NULL, \"é\"=>\"\\\\x\""));
    } else if (fine && strcmp(name, "public.geometry") == 0) {
        write_view(out, VIEW("0101000020730C00001C7C613255DE6540787AA52C435C42C0"));
    } else if (fine && strcmp(name, "vector") == 0) {
        write_view(out, VIEW("[1,2.5,-3e-05]"));
    } else if (fine && strcmp(name, "sparsevec") == 0) {
        write_view(out, chance(50) ? VIEW("{1:1.5,3:2}/5") : VIEW("{}/3"));
    } else {
        random_text(out);
    }
}

static view random_value(struct arena *arena, size_t kind)
{
    struct writer out = {0};

    if (kinds[kind].element) {
        random_array(&out, kinds[kind].element);
    } else if (kinds[kind].name) {
        random_extension(&out, kinds[kind].name);
    } else {
        random_item(&out, kinds[kind].oid);
    }
    view text = arena_copy(arena, out.at ? writer_view(&out) : VIEW(""));
    writer_fini(&out);
    return text;
}

static struct relation *random_relation(struct arena *arena)
{
    int count = 1 + (int)below(6);
    struct relation source = {.oid = 16400,
                              .version = 1 + below(9),
                              .identity = chance(50) ? 'd' : 'f',
                              .schema = VIEW("public"),
                              .name = VIEW("or\"ders"),
                              .count = count};

    source.columns = arena_take(arena, (size_t)count * sizeof(*source.columns));
    for (int i = 0; i < count; i++) {
        size_t kind = below(COUNT(kinds));
        source.columns[i] = (struct column){
            .name = view_text(arena_format(arena, "c%d\"é", i)),
            .type = kinds[kind].oid,
            .modifier = kinds[kind].modifier,
            .key = i == 0 || chance(20),
            .type_name = view_text(kinds[kind].name),
        };
    }
    return relation_new(&source);
}

static size_t kind_index(const struct column *column)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (kinds[i].oid == column->type && kinds[i].modifier == column->modifier) {
            return i;
        }
    }
    return 0;
}

static struct value *random_image(struct arena *arena, const struct relation *relation,
                                  bool keys_only)
{
    struct value *values = arena_take(arena, (size_t)relation->count * sizeof(*values));

    for (int i = 0; i < relation->count; i++) {
        const struct column *column = &relation->columns[i];
        if (keys_only && !column->key) {
            continue;
        }
        values[i].kind = column->key || chance(80) ? VALUE_TEXT
                         : chance(50)              ? VALUE_NULL
                                                   : VALUE_UNKNOWN;
        if (values[i].kind == VALUE_TEXT) {
            values[i].text = random_value(arena, kind_index(column));
        }
    }
    return values;
}

static struct change random_change(struct arena *arena, struct relation *relation)
{
    static const char *const contexts[] = {"{}", "{\"user\":\"ann\",\"a\":[1,{\"b\":null}]}",
                                           "{\"user\": \"\\u00e9\\n\"}"};
    struct change change = {.kind = below(5), .relation = relation};

    if (change.kind == CHANGE_UPDATE || change.kind == CHANGE_DELETE) {
        bool keys_only = chance(40);
        change.before = change.kind == CHANGE_DELETE || chance(70)
                            ? random_image(arena, relation, keys_only)
                            : NULL;
    }
    if (change.kind != CHANGE_DELETE && change.kind != CHANGE_TRUNCATE) {
        change.after = random_image(arena, relation, false);
    }
    change.cascade = change.kind == CHANGE_TRUNCATE && chance(50);
    change.restart_identity = change.kind == CHANGE_TRUNCATE && chance(50);
    change.context = view_text(chance(50) ? contexts[below(COUNT(contexts))] : NULL);
    change.place = (struct change_place){.xid = (uint32_t)random_next(),
                                         .lsn = random_next(),
                                         .commit_lsn = random_next(),
                                         .end_lsn = random_next(),
                                         .committed_us = (int64_t)(random_next() >> 12),
                                         .seq = (int64_t)(random_next() >> 20)};
    return change;
}

static bool same_image(const struct value *a, const struct value *b, int count)
{
    if (!a || !b) {
        return a == b;
    }
    for (int i = 0; i < count; i++) {
        if (a[i].kind != b[i].kind || !view_is(a[i].text, b[i].text)) {
            return false;
        }
    }
    return true;
}

static bool same_place(const struct change_place *a, const struct change_place *b)
{
    return a->xid == b->xid && a->lsn == b->lsn && a->commit_lsn == b->commit_lsn &&
           a->end_lsn == b->end_lsn && a->committed_us == b->committed_us && a->seq == b->seq;
}

static bool same_change(const struct change *a, const struct change *b)
{
    int count = a->relation ? a->relation->count : 0;

    return a->kind == b->kind && a->relation == b->relation &&
           same_image(a->before, b->before, count) && same_image(a->after, b->after, count) &&
           same_place(&a->place, &b->place) && view_is(a->context, b->context) &&
           (a->context.at == NULL) == (b->context.at == NULL) && a->cascade == b->cascade &&
           a->restart_identity == b->restart_identity && view_is(a->prefix, b->prefix) &&
           view_is(a->content, b->content);
}

static struct relation *find_only(void *self, uint32_t version)
{
    struct relation *relation = self;

    return relation->version == version ? relation : NULL;
}

/* Reads all records; exactly one of them is the change. */
static void assert_reads_back(const struct change *change, const struct envelope_out *out,
                              uint64_t seed)
{
    struct arena arena = {0};
    struct relation_finder finder = {find_only, change->relation};
    int found = 0;

    for (size_t i = 0; i < out->count; i++) {
        struct change back;
        bool is_change;
        err e = envelope_read(&arena, &out->records[i], &finder, &back, &is_change);
        if (e) {
            fail_msg("seed %llu: %s: %.*s", (unsigned long long)seed, fault_here.text,
                     VIEW_ARG(out->records[i].value));
        }
        assert_true(back.place.seq == change->place.seq);
        assert_true(back.place.commit_lsn == change->place.commit_lsn);
        if (is_change && !same_change(change, &back)) {
            fail_msg("seed %llu: not the same: %.*s %.*s", (unsigned long long)seed,
                     VIEW_ARG(out->records[i].value),
                     VIEW_ARG(out->records[i].headers[0].value));
        }
        found += is_change ? 1 : 0;
    }
    assert_int_equal(found, 1);
    arena_fini(&arena);
}

static void assert_is_json(struct arena *arena, view text)
{
    struct json *json;

    if (text.at && json_parse(arena, text, &json)) {
        fail_msg("%s: %.*s", fault_here.text, VIEW_ARG(text));
    }
}

static void write_and_read(uint64_t seed, const struct envelope_options *options)
{
    struct arena arena = {0};

    seed_now = seed;
    struct relation *relation = random_relation(&arena);
    struct envelope_out out = {.arena = &arena};
    struct envelope_source source = {.now_ms = 1700000000123, .last_commit = 5};
    for (int i = 0; i < 5; i++) {
        struct change change = random_change(&arena, relation);
        envelope_write(options, &source, &change, &out);
        for (size_t k = 0; k < out.count; k++) {
            assert_is_json(&arena, out.records[k].key);
            assert_is_json(&arena, out.records[k].value);
            assert_is_json(&arena, out.records[k].headers[0].value);
        }
        assert_reads_back(&change, &out, seed);
    }
    envelope_out_fini(&out);
    relation_drop(relation);
    arena_fini(&arena);
}

static void every_change_is_read_back_as_it_was(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        struct envelope_options options = {.source = VIEW("shop"),
                                           .database = VIEW("db"),
                                           .tombstones = i % 3 != 0,
                                           .schemas = i % 5 == 0,
                                           .decimals = i % 7 % 3,
                                           .binaries = i % 11 % 4,
                                           .intervals = i % 13 % 2,
                                           .hstores = i % 17 % 2,
                                           .times = i % 19 % 3};
        write_and_read(i * 0x9e3779b97f4a7c15u, &options);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_change_is_read_back_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
