/* err_test.c - the error convention.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static void words_are_kept_and_prefixed(void **state)
{
    (void)state;
    assert_int_equal(fault(ERR_CORRUPT, "block %d", 7), ERR_CORRUPT);
    assert_int_equal(fault_prefix("%s: ", "file.log"), ERR_CORRUPT);
    assert_string_equal(fault_here.text, "file.log: block 7");
    assert_int_equal(fault_here.code, ERR_CORRUPT);
    assert_int_equal(fault(ERR_IO, "again: %s", fault_here.text), ERR_IO);
    assert_string_equal(fault_here.text, "again: file.log: block 7");
}

static void words_too_long_are_cut_at_the_end(void **state)
{
    char huge[2 * FAULT_TEXT_MAX];

    (void)state;
    memset(huge, 'x', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = 0;
    assert_int_equal(fault(ERR_INVALID, "%s", huge), ERR_INVALID);
    assert_int_equal(strlen(fault_here.text), FAULT_TEXT_MAX - 1);
    assert_int_equal(fault_prefix("before: "), ERR_INVALID);
    assert_int_equal(strlen(fault_here.text), FAULT_TEXT_MAX - 1);
    assert_memory_equal(fault_here.text, "before: xxx", 11);
    assert_int_equal(fault_prefix("%s", huge), ERR_INVALID);
    assert_int_equal(strlen(fault_here.text), FAULT_TEXT_MAX - 1);
}

static void system_errors_become_kinds(void **state)
{
    static const struct {
        int number;
        err code;
    } rows[] = {{ENOENT, ERR_NOT_FOUND}, {EEXIST, ERR_EXISTS}, {ENOSPC, ERR_FULL},
                {EACCES, ERR_DENIED},    {EMFILE, ERR_BUSY},   {ETIMEDOUT, ERR_TIMEOUT},
                {EIO, ERR_IO},           {ENOTDIR, ERR_IO}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        errno = rows[i].number;
        assert_int_equal(fault_errno("open %s", "x"), rows[i].code);
        assert_non_null(strstr(fault_here.text, "open x: "));
        assert_non_null(strstr(fault_here.text, strerror(rows[i].number)));
    }
}

static void every_kind_has_a_text_and_a_name_of_its_own(void **state)
{
    (void)state;
    for (err a = OK; a <= ERR_CANCELLED; a++) {
        assert_true(err_text(a)[0]);
        for (err b = OK; b < a; b++) {
            assert_string_not_equal(err_name(a), err_name(b));
        }
    }
    assert_string_equal(err_name(ERR_OUT_OF_RANGE), "out_of_range");
}

static void *fail_elsewhere(void *arg)
{
    (void)arg;
    (void)fault(ERR_BUSY, "other thread");
    return fault_take();
}

static void each_thread_has_words_of_its_own(void **state)
{
    pthread_t thread;
    void *other;

    (void)state;
    assert_int_equal(fault(ERR_FULL, "here"), ERR_FULL);
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    assert_int_equal(pthread_join(thread, &other), 0);
    assert_string_equal(fault_here.text, "here");
    assert_string_equal(((struct fault *)other)->text, "other thread");
    assert_int_equal(((struct fault *)other)->code, ERR_BUSY);
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_kept_and_prefixed),
        cmocka_unit_test(words_too_long_are_cut_at_the_end),
        cmocka_unit_test(system_errors_become_kinds),
        cmocka_unit_test(every_kind_has_a_text_and_a_name_of_its_own),
        cmocka_unit_test(each_thread_has_words_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
