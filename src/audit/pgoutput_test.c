/* pgoutput_test.c - every kind of message field by field; cut short anywhere it is corrupt.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "audit/pgoutput.h"

#define EPOCH_US INT64_C(946684800000000)

static struct arena arena;

/* A message: texts in quotes as they are, the rest in hex, blanks do not count. */
#define RELATION_TAIL                                                                          \
    "00004001 'public' 00 't' 00 'd' 0002 01 'id' 00 00000017 ffffffff 00 'v' 00 00000413 "    \
    "00000018"
#define LSNS "0000000000000001 0000000000000002 0000000000000003 "

static const struct {
    const char *text;
    bool in_stream;
} sound[] = {
    {"'B' 0000000000000001 0000000000000002 00000007", false},
    {"'C' 00 " LSNS, false},
    {"'O' 0000000000000001 'origin' 00", false},
    {"'R' " RELATION_TAIL, false},
    {"'R' 00000007 " RELATION_TAIL, true},
    {"'Y' 00004002 00 'int4' 00", false},
    {"'I' 00004001 'N' 0003 'n' 'u' 't' 00000002 'ab'", false},
    {"'I' 00000007 00004001 'N' 0000", true},
    {"'U' 00004001 'N' 0001 'n'", false},
    {"'U' 00004001 'K' 0001 'n' 'N' 0001 'n'", false},
    {"'U' 00004001 'O' 0001 'n' 'N' 0001 'n'", false},
    {"'D' 00004001 'K' 0001 'n'", false},
    {"'D' 00004001 'O' 0001 'n'", false},
    {"'T' 00000002 03 00004001 00004002", false},
    {"'M' 01 0000000000000001 '_bemi' 00 00000002 '{}'", false},
    {"'M' 00000007 01 0000000000000001 '_bemi' 00 00000000", true},
    {"'S' 00000007 01", false},
    {"'E'", true},
    {"'c' 00000007 00 " LSNS, false},
    {"'A' 00000007 00000008", false},
    {"'b' " LSNS "00000007 'gid' 00", false},
    {"'P' 00 " LSNS "00000007 'gid' 00", false},
    {"'K' 00 " LSNS "00000007 'gid' 00", false},
    {"'r' 00 " LSNS "0000000000000004 00000007 'gid' 00", false},
    {"'p' 00 " LSNS "00000007 'gid' 00", false},
};

static struct arena bytes_arena;

static view bytes_of(const char *text)
{
    uint8_t *bytes = arena_take(&bytes_arena, strlen(text));
    size_t len = 0;

    for (const char *c = text; *c; c++) {
        if (*c == '\'') {
            for (c++; *c != '\''; c++) {
                bytes[len++] = (uint8_t)*c;
            }
        } else if (*c != ' ') {
            char digits[3] = {c[0], c[1], '\0'};
            bytes[len++] = (uint8_t)strtoul(digits, NULL, 16);
            c++;
        }
    }
    return (view){bytes, len};
}

static err decode(view bytes, bool in_stream, struct pgoutput_message *out)
{
    arena_reset(&arena);
    return pgoutput_decode(&arena, bytes, in_stream, out);
}

static struct pgoutput_message take(size_t at)
{
    struct pgoutput_message m;

    assert_int_equal(decode(bytes_of(sound[at].text), sound[at].in_stream, &m), OK);
    return m;
}

/* The n-th sound message of a kind. */
static struct pgoutput_message take_kind(char kind, int n)
{
    for (size_t i = 0; i < COUNT(sound); i++) {
        if (sound[i].text[1] == kind && n-- == 0) {
            return take(i);
        }
    }
    fail();
    return (struct pgoutput_message){0};
}

static void every_kind_is_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(sound); i++) {
        struct pgoutput_message m = take(i);
        assert_int_equal(m.kind, sound[i].text[1]);
    }
}

/* In memory of its own size, so that a sanitizer sees a byte read beyond it. */
static err decode_exactly(view bytes, bool in_stream)
{
    uint8_t *copy = xmalloc(bytes.len);
    struct pgoutput_message m;

    memcpy(copy, bytes.at, bytes.len);
    err e = decode((view){copy, bytes.len}, in_stream, &m);
    free(copy);
    return e;
}

static void a_message_cut_short_or_too_long_is_corrupt(void **state)
{
    (void)state;
    struct pgoutput_message m;

    for (size_t i = 0; i < COUNT(sound); i++) {
        view whole = bytes_of(sound[i].text);
        for (size_t len = 1; len < whole.len; len++) {
            assert_int_equal(decode_exactly(view_upto(whole, len), sound[i].in_stream),
                             ERR_CORRUPT);
        }
        struct writer longer = {0};
        write_view(&longer, whole);
        write_u8(&longer, 0);
        assert_int_equal(decode(writer_view(&longer), sound[i].in_stream, &m), ERR_CORRUPT);
        writer_fini(&longer);
    }
    assert_int_equal(decode((view){0}, false, &m), ERR_CORRUPT);
}

static void ends_tell_their_places_and_times(void **state)
{
    (void)state;
    static const char kinds[] = "CcPKp";

    for (const char *kind = kinds; *kind; kind++) {
        struct pgoutput_message m = take_kind(*kind, 0);
        assert_int_equal(m.lsn, 1);
        assert_int_equal(m.end_lsn, 2);
        assert_int_equal(m.time_us, EPOCH_US + 3);
        assert_int_equal(m.xid, *kind == 'C' ? 0 : 7);
    }
    struct pgoutput_message m = take_kind('r', 0);
    assert_int_equal(m.time_us, EPOCH_US + 4);
    assert_true(view_is_text(m.name, "gid"));
    m = take_kind('B', 0);
    assert_int_equal(m.lsn, 1);
    assert_int_equal(m.time_us, EPOCH_US + 2);
    assert_int_equal(m.xid, 7);
    m = take_kind('A', 0);
    assert_int_equal(m.subxid, 8);
    m = take_kind('S', 0);
    assert_true(m.first);
}

static void a_relation_has_its_columns(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct pgoutput_message m = take_kind('R', i);
        assert_int_equal(m.xid, i ? 7 : 0);
        assert_int_equal(m.relation.oid, 0x4001);
        assert_true(view_is_text(m.relation.schema, "public"));
        assert_true(view_is_text(m.relation.name, "t"));
        assert_int_equal(m.relation.identity, 'd');
        assert_int_equal(m.relation.count, 2);
        assert_true(m.relation.columns[0].key);
        assert_false(m.relation.columns[1].key);
        assert_int_equal(m.relation.columns[0].modifier, -1);
        assert_int_equal(m.relation.columns[1].type, 1043);
        assert_int_equal(m.relation.columns[1].modifier, 24);
        assert_true(view_is_text(m.relation.columns[1].name, "v"));
    }
    struct pgoutput_message type = take_kind('Y', 0);
    assert_true(view_is_text(type.relation.schema, "pg_catalog"));
    assert_true(view_is_text(type.relation.name, "int4"));
}

static void rows_tell_null_from_unknown_from_text(void **state)
{
    (void)state;
    struct pgoutput_message m = take_kind('I', 0);

    assert_int_equal(m.oid, 0x4001);
    assert_int_equal(m.new.count, 3);
    assert_int_equal(m.new.values[0].kind, VALUE_NULL);
    assert_int_equal(m.new.values[1].kind, VALUE_UNKNOWN);
    assert_true(view_is_text(m.new.values[2].text, "ab"));
    assert_null(m.old.values);
    m = take_kind('I', 1);
    assert_int_equal(m.xid, 7);
    assert_non_null(m.new.values); /* a table may have no column */
    m = take_kind('U', 0);
    assert_null(m.old.values);
    m = take_kind('U', 1);
    assert_true(m.old_is_key);
    m = take_kind('U', 2);
    assert_false(m.old_is_key);
    assert_non_null(m.old.values);
    m = take_kind('D', 0);
    assert_true(m.old_is_key);
    assert_null(m.new.values);
}

static void truncates_and_messages_are_whole(void **state)
{
    (void)state;
    struct pgoutput_message m = take_kind('T', 0);

    assert_int_equal(m.oid_count, 2);
    assert_int_equal(m.oids[1], 0x4002);
    assert_true(m.cascade);
    assert_true(m.restart_identity);
    m = take_kind('M', 0);
    assert_true(m.transactional);
    assert_true(view_is_text(m.prefix, "_bemi"));
    assert_true(view_is_text(m.content, "{}"));
    m = take_kind('M', 1);
    assert_int_equal(m.xid, 7);
    assert_int_equal(m.content.len, 0);
}

static void what_there_is_not_is_corrupt(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "'Z'",
        "'I' 00004001 'O' 0000",     /* an insert with an old row */
        "'D' 00004001 'N' 0000",     /* a delete with a new one */
        "'I' 00004001 'N' ffff 'n'", /* more columns than bytes */
        "'I' 00004001 'N' 0001 't' ffffffff 'a'",
        "'R' 00000001 00 't' 00 'x' 0000", /* no such identity */
        "'R' 00000001 00 't' 00 00 0000",
        "'T' ffffffff 00",
        "'M' 00 0000000000000001 'p' 00 ffffffff 'a'",
        "'I' 00004001 'N' 0001 'x'", /* no such kind of value */
    };
    struct pgoutput_message m;
    view binary = bytes_of("'I' 00004001 'N' 0001 'b' 00000001 'a'");

    assert_int_equal(decode(binary, false, &m), ERR_UNSUPPORTED);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(decode(bytes_of(wrong[i]), false, &m), ERR_CORRUPT);
    }
    assert_string_equal(fault_here.text, "pgoutput message 'I' of 9 bytes is wrong at byte 8");
}

static void a_server_is_asked_for_what_it_has(void **state)
{
    (void)state;
    struct pgoutput_protocol old = pgoutput_protocol_of(130012);
    struct pgoutput_protocol now = pgoutput_protocol_of(140000);

    assert_int_equal(old.version, 1);
    assert_false(old.streaming || old.messages);
    assert_int_equal(now.version, 2);
    assert_true(now.streaming && now.messages);
}

static int end(void **state)
{
    (void)state;
    arena_fini(&arena);
    arena_fini(&bytes_arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_known),
        cmocka_unit_test(a_message_cut_short_or_too_long_is_corrupt),
        cmocka_unit_test(ends_tell_their_places_and_times),
        cmocka_unit_test(a_relation_has_its_columns),
        cmocka_unit_test(rows_tell_null_from_unknown_from_text),
        cmocka_unit_test(truncates_and_messages_are_whole),
        cmocka_unit_test(what_there_is_not_is_corrupt),
        cmocka_unit_test(a_server_is_asked_for_what_it_has),
    };

    return cmocka_run_group_tests(tests, NULL, end);
}
