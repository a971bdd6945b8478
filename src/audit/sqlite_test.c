/* sqlite_test.c - the layer over SQLite. SPDX-License-Identifier: Apache-2.0 */
#include "audit/sqlite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define CACHE (1 << 20)

static struct sqlite *opened(void)
{
    struct sqlite *db;

    if (sqlite_open(":memory:", 0, CACHE, &db)) {
        fail_msg("%s", fault_here.text);
    }
    assert_int_equal(sqlite_run(db, "CREATE TABLE t(i INTEGER, x TEXT, b BLOB UNIQUE)"), OK);
    return db;
}

static void values_come_back_as_they_went_in(void **state)
{
    struct sqlite *db = opened();
    struct sqlite_statement *put, *get;
    bool row;

    (void)state;
    assert_int_equal(sqlite_prepare(db, "INSERT INTO t VALUES (?, ?, ?)", &put), OK);
    sqlite_bind_int(put, 1, INT64_MIN);
    sqlite_bind_text(put, 2, VIEW("a'b"));
    sqlite_bind_blob(put, 3, VIEW("\0\1\2"));
    assert_int_equal(sqlite_done(put), OK);
    assert_int_equal(sqlite_changed(db), 1);
    sqlite_bind_blob(put, 3, VIEW(""));
    assert_int_equal(sqlite_done(put), OK);
    assert_int_equal(sqlite_last_row(db), 2);
    assert_int_equal(sqlite_prepare(db, "SELECT i, x, b FROM t ORDER BY rowid", &get), OK);
    assert_int_equal(sqlite_step(get, &row), OK);
    assert_true(row);
    assert_int_equal(sqlite_int(get, 0), INT64_MIN);
    assert_true(view_is_text(sqlite_bytes(get, 1), "a'b"));
    assert_true(view_is(sqlite_bytes(get, 2), VIEW("\0\1\2")));
    assert_int_equal(sqlite_step(get, &row), OK);
    assert_true(row);
    assert_null(sqlite_bytes(get, 1).at);
    assert_non_null(sqlite_bytes(get, 2).at);
    assert_int_equal(sqlite_bytes(get, 2).len, 0);
    assert_int_equal(sqlite_step(get, &row), OK);
    assert_false(row);
    sqlite_finish(put);
    sqlite_finish(get);
    sqlite_close(db);
}

static void failures_have_their_kind_and_words(void **state)
{
    struct sqlite *db = opened();
    struct sqlite_statement *put;

    (void)state;
    assert_int_equal(sqlite_run(db, "SELEKT"), ERR_IO);
    assert_non_null(strstr(fault_here.text, "syntax error"));
    assert_int_equal(sqlite_prepare(db, "INSERT INTO t VALUES (1, 'x', ?)", &put), OK);
    sqlite_bind_blob(put, 1, VIEW("same"));
    assert_int_equal(sqlite_done(put), OK);
    sqlite_bind_blob(put, 1, VIEW("same"));
    assert_int_equal(sqlite_done(put), ERR_EXISTS);
    sqlite_bind_blob(put, 2, VIEW("no such parameter"));
    assert_int_equal(sqlite_done(put), ERR_IO);
    sqlite_bind_blob(put, 1, VIEW("other")); /* what was bad before is forgotten */
    assert_int_equal(sqlite_done(put), OK);
    sqlite_finish(put);
    sqlite_close(db);
    assert_int_equal(sqlite_open("/nowhere/at/all", SQLITE_READ_ONLY, CACHE, &db),
                     ERR_NOT_FOUND);
}

static void a_file_that_is_no_database_is_corrupt(void **state)
{
    char path[] = "/tmp/sqlite-test-XXXXXX";
    static const char text[] = "this is no database, however long it gets, and it goes on";
    int fd = mkstemp(path);
    struct sqlite *db = NULL;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(os_write_at(os_real(), fd, (view){(const uint8_t *)text, sizeof(text)}, 0),
                     OK);
    err e = sqlite_open(path, 0, CACHE, &db);
    if (!e) {
        e = sqlite_run(db, "CREATE TABLE t(i)");
        sqlite_close(db);
    }
    assert_int_equal(e, ERR_CORRUPT);
    os_real()->file_close(os_real(), fd);
    assert_int_equal(os_real()->path_remove(os_real(), path), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_as_they_went_in),
        cmocka_unit_test(failures_have_their_kind_and_words),
        cmocka_unit_test(a_file_that_is_no_database_is_corrupt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
