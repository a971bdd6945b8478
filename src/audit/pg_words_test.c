/* pg_words_test.c - codes, quotes and URLs of PostgreSQL. SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "audit/pg_inside.h"

static void codes_become_kinds(void **state)
{
    static const struct {
        const char *code;
        err kind;
    } rows[] = {
        {"23505", ERR_EXISTS},    {"23503", ERR_CONFLICT},     {"42P01", ERR_NOT_FOUND},
        {"42601", ERR_INVALID},   {"42501", ERR_DENIED},       {"28P01", ERR_DENIED},
        {"53100", ERR_FULL},      {"53300", ERR_BUSY},         {"55006", ERR_BUSY},
        {"55000", ERR_CONFLICT},  {"57P01", ERR_CLOSED},       {"57P03", ERR_BUSY},
        {"57014", ERR_CANCELLED}, {"58P01", ERR_OUT_OF_RANGE}, {"XX000", ERR_IO},
        {"", ERR_CLOSED},         {NULL, ERR_CLOSED},          {"40001", ERR_CONFLICT},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(pg_kind(rows[i].code), rows[i].kind);
    }
}

static void names_and_texts_are_quoted(void **state)
{
    struct writer out = {0};

    (void)state;
    pg_quote_name(&out, VIEW("or\"der"));
    write_u8(&out, ' ');
    pg_quote_text(&out, VIEW("it's"));
    write_u8(&out, ' ');
    pg_quote_text(&out, VIEW("a\\'b"));
    assert_true(view_is_text(writer_view(&out), "\"or\"\"der\" 'it''s' E'a\\\\''b'"));
    writer_fini(&out);
}

static void a_url_comes_apart_from_its_password(void **state)
{
    static const struct {
        const char *url, *clean, *password;
    } rows[] = {
        {"postgres://localhost/shop", "postgres://localhost/shop", NULL},
        {"postgres://ann@db:5432/shop?sslmode=require",
         "postgres://ann@db:5432/shop?sslmode=require", NULL},
        {"postgresql://ann:se%20cr%3At@db/shop", "postgresql://ann@db/shop", "se cr:t"},
        {"postgres://ann:p@ss/word@db/shop", "postgres://ann@db/shop", "p@ss/word"},
        {"postgres://ann:p?ss@db/shop", "postgres://ann@db/shop", "p?ss"},
        {"postgres://db:5432?user=a@b", "postgres://db:5432?user=a@b", NULL},
        {"postgres://db/shop?password=x%26y&sslmode=disable",
         "postgres://db/shop?sslmode=disable", "x&y"},
        {"postgres://db/shop?sslmode=disable&password=x", "postgres://db/shop?sslmode=disable",
         "x"},
        {"postgres://:only@/shop", "postgres://@/shop", "only"},
        {"host=db user=ann password=secret dbname=shop", "host=db user=ann dbname=shop",
         "secret"},
        {"password = 'a b\\'c' host = db", "host = db", "a b'c"},
        {"  postgres://ann:secret@db/shop\n", "postgres://ann@db/shop", "secret"},
        {"password=x postgres://ann:secret@db/shop", "postgres://ann@db/shop", "x"},
        {"", "", NULL},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *clean, *password;
        pg_url_split(&arena, view_text(rows[i].url), &clean, &password);
        assert_string_equal(clean, rows[i].clean);
        assert_int_equal(password != NULL, rows[i].password != NULL);
        if (password) {
            assert_string_equal(password, rows[i].password);
        }
    }
    arena_fini(&arena);
}

static void words_of_many_lines_become_one(void **state)
{
    char text[] = "connection failed:\n\tno route\n";

    (void)state;
    pg_one_line(text);
    assert_string_equal(text, "connection failed:  no route");
}

static void what_is_no_url_is_refused_without_being_shown(void **state)
{
    struct pg *pg = NULL;
    const struct pg_target target = {.url = "postgres://ann:sesame@[::1/shop"};

    (void)state;
    err e = pg_open(&target, &pg);
    if (e == ERR_UNSUPPORTED) {
        print_message("skipped: %s\n", fault_here.text);
        skip();
    }
    assert_int_equal(e, ERR_INVALID);
    assert_null(strstr(fault_here.text, "sesame"));
}

static void where_nobody_listens_the_words_have_no_password(void **state)
{
    struct pg *pg = NULL;
    const struct pg_target target = {.url = "postgres://ann:sesame@127.0.0.1:1/shop"};

    (void)state;
    err e = pg_open(&target, &pg);
    if (e == ERR_UNSUPPORTED) {
        print_message("skipped: %s\n", fault_here.text);
        skip();
    }
    assert_int_equal(e, ERR_CLOSED);
    assert_null(strstr(fault_here.text, "sesame"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_become_kinds),
        cmocka_unit_test(names_and_texts_are_quoted),
        cmocka_unit_test(a_url_comes_apart_from_its_password),
        cmocka_unit_test(words_of_many_lines_become_one),
        cmocka_unit_test(what_is_no_url_is_refused_without_being_shown),
        cmocka_unit_test(where_nobody_listens_the_words_have_no_password),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
