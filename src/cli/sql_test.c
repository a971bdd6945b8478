/* sql_test.c - where statements end, and what kind they are.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cli/sql.h"

static const struct sql_rules plain = {0};
static const struct sql_rules slashes = {.backslashes = true};

/* The statements, joined by |. */
static void assert_split(struct sql_rules rules, const char *sql, const char *expected)
{
    struct writer out = {0};
    view rest = view_text(sql), statement;

    while (sql_next(rules, &rest, &statement)) {
        write_format(&out, "%s%.*s", out.len ? "|" : "", VIEW_ARG(statement));
    }
    if (!view_is_text(writer_view(&out), expected)) {
        fail_msg("%s\nbecame %.*s\nnot    %s", sql, VIEW_ARG(writer_view(&out)), expected);
    }
    writer_fini(&out);
}

static void semicolons_end_statements(void **state)
{
    (void)state;
    assert_split(plain, "", "");
    assert_split(plain, " \n\t", "");
    assert_split(plain, "select 1", "select 1");
    assert_split(plain, "select 1; select 2 ;", "select 1|select 2");
    assert_split(plain, ";;x", "x");
}

static void semicolons_in_quotes_end_nothing(void **state)
{
    (void)state;
    assert_split(plain, "select ';'; x", "select ';'|x");
    assert_split(plain, "select 'a'';b'; x", "select 'a'';b'|x");
    assert_split(plain, "select \"a;\"\"b\"; x", "select \"a;\"\"b\"|x");
    assert_split(plain, "select $$;$$; x", "select $$;$$|x");
    assert_split(plain, "select $a$;$$;$a$; x", "select $a$;$$;$a$|x");
    assert_split(plain, "select E'\\';'; x", "select E'\\';'|x");
    assert_split(plain, "select U&'\\0061;'; x", "select U&'\\0061;'|x");
    assert_split(plain, "select '\\'; x", "select '\\'|x");
    assert_split(slashes, "select '\\'; x'; y", "select '\\'; x'|y");
}

static void semicolons_in_comments_and_brackets_end_nothing(void **state)
{
    (void)state;
    assert_split(plain, "select 1 -- ; a\n; x", "select 1 -- ; a|x");
    assert_split(plain, "select /* ; /* ; */ ; */ 1; x", "select /* ; /* ; */ ; */ 1|x");
    assert_split(plain, "create rule r as on insert to t do (a; b); x",
                 "create rule r as on insert to t do (a; b)|x");
    assert_split(plain, "select $1; x", "select $1|x");
    assert_split(plain, "select a$b; x", "select a$b|x");
}

static void bodies_of_functions_stay_whole(void **state)
{
    (void)state;
    assert_split(plain,
                 "create or replace function f() returns int begin atomic select 1; "
                 "select case when true then 2 end; end; x",
                 "create or replace function f() returns int begin atomic select 1; "
                 "select case when true then 2 end; end|x");
    assert_split(plain, "create procedure p() begin atomic delete from t; end; x",
                 "create procedure p() begin atomic delete from t; end|x");
    assert_split(plain, "begin; select 1; end; x", "begin|select 1|end|x");
}

static void what_is_not_closed_ends_with_the_text(void **state)
{
    static const char *const open[] = {
        "select 'a;b", "select \"a;", "select $$;", "a /* ;", "select (1; 2",
        "E'\\",        "U&",          "$",          "E",      "-- x"};

    (void)state;
    for (size_t i = 0; i < COUNT(open); i++) {
        view rest = view_text(open[i]), statement;
        assert_true(sql_next(plain, &rest, &statement));
        assert_int_equal(rest.len, 0);
    }
}

static void kinds_follow_from_the_first_words(void **state)
{
    static const struct {
        const char *sql;
        enum sql_kind kind;
    } rows[] = {
        {"/* c */ -- d", SQL_EMPTY},
        {"select 1", SQL_READ},
        {"/*Bemi {} Bemi*/ (((select 1)))", SQL_READ},
        {"select * into x from y", SQL_WRITE},
        {"with a as (select 1) select * from a", SQL_READ},
        {"WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", SQL_WRITE},
        {"select 'delete'", SQL_READ},
        {"explain select 1", SQL_READ},
        {"explain analyze update t set a = 1", SQL_WRITE},
        {"insert into t values (1)", SQL_WRITE},
        {"truncate t", SQL_WRITE},
        {"copy t from stdin", SQL_WRITE},
        {"vacuum", SQL_WRITE},
        {"do $$ begin end $$", SQL_WRITE},
        {"nonsense", SQL_WRITE},
        {"set x = 1", SQL_SETTING},
        {"begin", SQL_BEGIN},
        {"start transaction read write", SQL_BEGIN},
        {"commit", SQL_END},
        {"end", SQL_END},
        {"rollback work", SQL_END},
        {"rollback to savepoint a", SQL_BACK},
        {"rollback transaction to a", SQL_BACK},
        {"rollback prepared 'x'", SQL_PREPARED},
        {"commit prepared 'x'", SQL_PREPARED},
        {"prepare transaction 'x'", SQL_END},
        {"prepare p as insert into t values (1)", SQL_READ},
        {"execute p", SQL_WRITE},
        {"savepoint a", SQL_POINT},
        {"declare c cursor for select 1", SQL_BARE},
        {"lock table t", SQL_BARE},
        {"lock session", SQL_LOCK},
        {"lock session in share mode", SQL_BARE},
        {"unlock 'x'", SQL_UNLOCK},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (sql_kind(plain, view_text(rows[i].sql)) != rows[i].kind) {
            fail_msg("%s", rows[i].sql);
        }
    }
}

static void settings_that_allow_writes_are_seen(void **state)
{
    static const char *const yes[] = {
        "set transaction_read_only = off",
        "SET LOCAL Transaction_Read_Only TO false",
        "set \"default_transaction_read_only\" = off",
        "set u&\"transaction\\005fread_only\" = off",
        "set session characteristics as transaction read /* x */ write",
        "reset transaction_read_only",
        "begin isolation level serializable, read write",
    };
    static const char *const no[] = {"set transaction read only", "set search_path = a",
                                     "begin", "begin read only",
                                     "set application_name = 'read write read_only'"};

    (void)state;
    for (size_t i = 0; i < COUNT(yes); i++) {
        assert_true(sql_allows_writes(plain, view_text(yes[i])));
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        assert_false(sql_allows_writes(plain, view_text(no[i])));
    }
}

static void unlocking_wants_one_text_as_its_reason(void **state)
{
    struct arena arena = {0};

    (void)state;
    assert_true(view_is_text(sql_reason(&arena, plain, VIEW("unlock 'it''s me'")), "it's me"));
    assert_true(view_is_text(sql_reason(&arena, plain, VIEW("UNLOCK $$a$$")), "a"));
    assert_null(sql_reason(&arena, plain, VIEW("unlock")).at);
    assert_null(sql_reason(&arena, plain, VIEW("unlock ' '")).at);
    assert_null(sql_reason(&arena, plain, VIEW("unlock a")).at);
    assert_null(sql_reason(&arena, plain, VIEW("unlock 'a' b")).at);
    arena_fini(&arena);
}

static void passwords_are_not_kept(void **state)
{
    static const char *const rows[][2] = {
        {"alter role a password 'geheim'", "alter role a password '***'"},
        {"create user mapping for a server s options (password 'x', user 'y')",
         "create user mapping for a server s options (password '***', user 'y')"},
        {"create subscription s connection 'host=a password=b' publication p",
         "create subscription s connection '***' publication p"},
        {"select 'password'", "select 'password'"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct writer out = {0};
        sql_without_secrets(plain, view_text(rows[i][0]), &out);
        assert_true(view_is_text(writer_view(&out), rows[i][1]));
        writer_fini(&out);
    }
}

static void quoted_text_reads_back_whatever_the_rules(void **state)
{
    struct writer out = {0};

    (void)state;
    sql_quote(&out, VIEW("a'b\\c"));
    assert_true(view_is_text(writer_view(&out), " E'a''b\\\\c'"));
    writer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(semicolons_end_statements),
        cmocka_unit_test(semicolons_in_quotes_end_nothing),
        cmocka_unit_test(semicolons_in_comments_and_brackets_end_nothing),
        cmocka_unit_test(bodies_of_functions_stay_whole),
        cmocka_unit_test(what_is_not_closed_ends_with_the_text),
        cmocka_unit_test(kinds_follow_from_the_first_words),
        cmocka_unit_test(settings_that_allow_writes_are_seen),
        cmocka_unit_test(unlocking_wants_one_text_as_its_reason),
        cmocka_unit_test(passwords_are_not_kept),
        cmocka_unit_test(quoted_text_reads_back_whatever_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
