/* trace_test.c - log lines as a reader of stderr sees them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/base.h"

static int stderr_kept, pipe_ends[2];

static int catch_stderr(void **state)
{
    (void)state;
    stderr_kept = dup(STDERR_FILENO);
    return stderr_kept < 0 || pipe(pipe_ends) != 0 || dup2(pipe_ends[1], STDERR_FILENO) < 0;
}

static int give_stderr_back(void **state)
{
    (void)state;
    trace_setup(TRACE_INFO, false);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    int back = dup2(stderr_kept, STDERR_FILENO);
    close(stderr_kept);
    return back < 0;
}

/* What was written since; at least one line must be. */
static void read_lines(char *out, size_t room)
{
    ssize_t got = read(pipe_ends[0], out, room - 1);

    assert_true(got > 0);
    out[got] = 0;
}

static void a_line_has_time_level_module_and_text(void **state)
{
    char line[200];

    (void)state;
    trace_warn("log", "dropped %d bytes", 7);
    read_lines(line, sizeof(line));
    assert_non_null(strstr(line, "Z warn  log: dropped 7 bytes\n"));
    assert_int_equal(line[4], '-');
    assert_int_equal(line[10], 'T');
}

static void levels_below_the_chosen_one_are_silent(void **state)
{
    char line[400];

    (void)state;
    trace_debug("log", "hidden");
    trace_setup(TRACE_ERROR, false);
    trace_info("log", "hidden");
    trace_error("log", "shown");
    read_lines(line, sizeof(line));
    assert_null(strstr(line, "hidden"));
    assert_non_null(strstr(line, "error log: shown\n"));
}

static void json_lines_are_json(void **state)
{
    struct arena arena = {0};
    struct json *root;
    char line[400];
    view text;

    (void)state;
    trace_setup(TRACE_INFO, true);
    trace_info("http", "a \"quoted\"\nline");
    read_lines(line, sizeof(line));
    assert_int_equal(json_parse(&arena, view_text(line), &root), OK);
    assert_int_equal(json_get_text(root, "text", &text), OK);
    assert_true(view_is_text(text, "a \"quoted\"\nline"));
    assert_int_equal(json_get_text(root, "module", &text), OK);
    assert_true(view_is_text(text, "http"));
    arena_fini(&arena);
}

static void a_text_line_stays_one_line(void **state)
{
    char line[3000], huge[2000];

    (void)state;
    memset(huge, 'x', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = 0;
    trace_info("log", "two\nlines %s", huge);
    read_lines(line, sizeof(line));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_non_null(strstr(line, "log: two lines xxx"));
    assert_true(strlen(line) < 1200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, catch_stderr, give_stderr_back)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_level_module_and_text),
        TEST(levels_below_the_chosen_one_are_silent),
        TEST(json_lines_are_json),
        TEST(a_text_line_stays_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
