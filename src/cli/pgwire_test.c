/* pgwire_test.c - frames of PostgreSQL's protocol. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cli/pgwire.h"

static void frames_are_taken_whole_or_not_at_all(void **state)
{
    struct writer out = {0};
    struct pgwire_frame f;

    (void)state;
    pgwire_query(&out, VIEW("select 1"));
    view all = writer_view(&out);
    for (size_t len = 0; len < all.len; len++) {
        assert_int_equal(pgwire_frame(view_upto(all, len), false, &f), PGWIRE_MORE);
    }
    assert_int_equal(pgwire_frame(all, false, &f), PGWIRE_WHOLE);
    assert_int_equal(f.kind, 'Q');
    assert_int_equal(f.all.len, all.len);
    assert_true(view_is(f.body, VIEW("select 1\0")));
    writer_fini(&out);
}

static void lengths_that_cannot_be_are_refused(void **state)
{
    struct pgwire_frame f;

    (void)state;
    assert_int_equal(pgwire_frame(VIEW("Q\0\0\0\3"), false, &f), PGWIRE_BAD);
    assert_int_equal(pgwire_frame(VIEW("Q\377\377\377\377"), false, &f), PGWIRE_BAD);
    assert_int_equal(pgwire_frame(VIEW("GET / HTTP/1.1\r\n"), true, &f), PGWIRE_BAD);
}

static void a_start_says_who_and_where(void **state)
{
    struct pgwire_start start;

    (void)state;
    assert_int_equal(pgwire_start(VIEW("\0\3\0\0user\0ann\0database\0shop\0x\0y\0\0"), &start),
                     OK);
    assert_true(view_is_text(start.user, "ann"));
    assert_true(view_is_text(start.database, "shop"));
    assert_false(start.replication);
    assert_int_equal(pgwire_start(VIEW("\0\3\0\0replication\0yes\0\0"), &start), OK);
    assert_true(start.replication);
    assert_int_equal(pgwire_start(VIEW("\0\3\0\0user"), &start), ERR_CORRUPT);
    assert_int_equal(pgwire_start(VIEW("\0\2\0\0user\0a\0\0"), &start), ERR_UNSUPPORTED);
}

static void an_error_gets_a_hint_unless_it_has_one(void **state)
{
    struct writer out = {0}, again = {0};
    struct pgwire_frame f;

    (void)state;
    pgwire_notice(&out, 'E', "ERROR", "25006", "no", NULL);
    assert_int_equal(pgwire_frame(writer_view(&out), false, &f), PGWIRE_WHOLE);
    pgwire_error_hint(&again, f.body, "unlock");
    assert_int_equal(pgwire_frame(writer_view(&again), false, &f), PGWIRE_WHOLE);
    assert_int_equal(f.all.len, again.len);
    assert_true(view_is_text(pgwire_field(f.body, 'C'), "25006"));
    assert_true(view_is_text(pgwire_field(f.body, 'M'), "no"));
    assert_true(view_is_text(pgwire_field(f.body, 'H'), "unlock"));
    writer_reset(&out);
    pgwire_error_hint(&out, f.body, "other");
    assert_true(view_is(writer_view(&out), writer_view(&again)));
    writer_fini(&out);
    writer_fini(&again);
}

static void tags_tell_rows(void **state)
{
    (void)state;
    assert_int_equal(pgwire_tag_rows(VIEW("INSERT 0 5")), 5);
    assert_int_equal(pgwire_tag_rows(VIEW("SELECT 0")), 0);
    assert_int_equal(pgwire_tag_rows(VIEW("CREATE TABLE")), -1);
    assert_int_equal(pgwire_tag_rows(VIEW("7")), -1);
    assert_int_equal(pgwire_tag_rows(VIEW("")), -1);
    assert_int_equal(pgwire_tag_rows(VIEW("COPY 99999999999999999999")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_taken_whole_or_not_at_all),
        cmocka_unit_test(lengths_that_cannot_be_are_refused),
        cmocka_unit_test(a_start_says_who_and_where),
        cmocka_unit_test(an_error_gets_a_hint_unless_it_has_one),
        cmocka_unit_test(tags_tell_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
