/* os_real_test.c - struct os over Linux, and the conveniences over any os.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/base.h"

#define assert_ok(call) assert_int_equal((call), OK)

static char folder[200];

static int make_folder(void **state)
{
    const char *base = getenv("TMPDIR");

    (void)state;
    snprintf(folder, sizeof(folder), "%.150s/tidemark-os-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return os_remove_tree(os_real(), folder) == OK ? 0 : -1;
}

static const char *in_folder(const char *name)
{
    static char paths[4][300];
    static size_t at;
    char *path = paths[at++ % COUNT(paths)];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static os_file make_file(const char *name)
{
    struct os *os = os_real();
    os_file file;

    assert_ok(os->file_open(os, in_folder(name), OS_OPEN_WRITE | OS_OPEN_CREATE, &file));
    return file;
}

static void many_parts_are_written_in_one_call(void **state)
{
    struct os *os = os_real();
    os_file file = make_file("f");
    struct iovec parts[3000];
    char back[9000];
    size_t got;
    int64_t bytes;

    (void)state;
    for (size_t i = 0; i < COUNT(parts); i++) {
        static char texts[] = "0123456789";
        parts[i] = (struct iovec){texts + i % 10, i % 4};
        parts[i].iov_len = MIN(parts[i].iov_len, 10 - i % 10);
    }
    assert_ok(os->file_write(os, file, parts, COUNT(parts), 100));
    assert_ok(os->file_size(os, file, &bytes));
    assert_ok(os->file_read(os, file, back, sizeof(back), 100, &got));
    assert_int_equal(got + 100, bytes);
    const char *at = back;
    for (size_t i = 0; i < COUNT(parts); i++) {
        assert_memory_equal(at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    assert_int_equal(at - back, got);
    enum os_read_status status = os->file_read_cached(os, file, back, 10, 100, &got);
    assert_true(status == OS_READ_COLD || (status == OS_READ_DONE && got == 10));
    assert_ok(os->file_read(os, file, back, 10, 1 << 20, &got));
    assert_int_equal(got, 0);
    os->file_close(os, file);
    os->file_close(os, OS_FILE_NONE);
}

static void a_write_cut_short_by_the_system_is_an_error(void **state)
{
    struct os *os = os_real();
    os_file file = make_file("short");
    struct rlimit before, limit;
    char text[3000];
    struct iovec parts[] = {{text, 3000}, {text, 3000}, {text, 3000}};
    int64_t bytes;

    (void)state;
    memset(text, 'a', sizeof(text));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 5000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    err e = os->file_write(os, file, parts, 3, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(e, ERR_IO);
    assert_ok(os->file_size(os, file, &bytes));
    assert_int_equal(bytes, 5000);
    os->file_close(os, file);
}

static void sizes_are_cut_and_reserved(void **state)
{
    struct os *os = os_real();
    os_file file = make_file("size");
    struct os_space space;
    int64_t bytes;

    (void)state;
    assert_ok(os->file_allocate(os, file, 100000));
    assert_ok(os->file_size(os, file, &bytes));
    assert_int_equal(bytes, 100000);
    assert_ok(os->file_truncate(os, file, 10));
    assert_ok(os->file_size(os, file, &bytes));
    assert_int_equal(bytes, 10);
    os->file_sync_start(os, file, 0, 10);
    assert_ok(os->file_sync(os, file));
    os->file_close(os, file);
    assert_ok(os->space(os, folder, &space));
    assert_true(space.total_bytes >= space.free_bytes && space.free_bytes > 0);
}

static err count_name(void *self, const char *name)
{
    assert_true(name[0] != '.');
    return ++*(int *)self < 3 ? OK : fault(ERR_CANCELLED, "enough");
}

static void folders_are_made_listed_and_removed_whole(void **state)
{
    struct os *os = os_real();
    int count = 0;

    (void)state;
    assert_ok(os->folder_make(os, in_folder("d")));
    assert_ok(os->folder_make(os, in_folder("d")));
    assert_ok(os->folder_make(os, in_folder("d/e")));
    os->file_close(os, make_file("d/f"));
    assert_ok(os->folder_list(os, in_folder("d"), count_name, &count));
    assert_int_equal(count, 2);
    os->file_close(os, make_file("d/e/g"));
    os->file_close(os, make_file("d/h"));
    count = 0;
    assert_int_equal(os->folder_list(os, in_folder("d"), count_name, &count), ERR_CANCELLED);
    assert_int_equal(os->path_remove(os, in_folder("d")), ERR_IO); /* not empty */
    assert_ok(os->folder_sync(os, in_folder("d")));
    assert_ok(os_remove_tree(os, in_folder("d")));
    assert_int_equal(os->folder_list(os, in_folder("d"), count_name, &count), ERR_NOT_FOUND);
    assert_int_equal(os_remove_tree(os, in_folder("d")), ERR_NOT_FOUND);
}

static void removing_a_tree_does_not_follow_links_out_of_it(void **state)
{
    struct os *os = os_real();
    os_file file;

    (void)state;
    assert_ok(os->folder_make(os, in_folder("kept")));
    os->file_close(os, make_file("kept/f"));
    assert_ok(os->folder_make(os, in_folder("gone")));
    assert_int_equal(symlink(in_folder("kept"), in_folder("gone/link")), 0);
    assert_ok(os_remove_tree(os, in_folder("gone")));
    assert_ok(os->file_open(os, in_folder("kept/f"), 0, &file));
    os->file_close(os, file);
}

static void files_are_replaced_and_read_whole(void **state)
{
    struct os *os = os_real();
    struct buf *b;

    (void)state;
    assert_int_equal(os_read_file(os, in_folder("r"), 100, &b), ERR_NOT_FOUND);
    assert_non_null(strstr(fault_here.text, in_folder("r")));
    assert_ok(os_replace_file(os, folder, "r", VIEW("first")));
    assert_ok(os_replace_file(os, folder, "r", VIEW("2")));
    assert_ok(os_read_file(os, in_folder("r"), 1, &b));
    assert_int_equal(b->len, 1);
    assert_int_equal(b->bytes[0], '2');
    buf_drop(b);
    assert_ok(os_replace_file(os, folder, "r", VIEW("")));
    assert_ok(os_read_file(os, in_folder("r"), 1, &b));
    assert_int_equal(b->len, 0);
    buf_drop(b);
    assert_ok(os_replace_file(os, folder, "r", VIEW("12")));
    assert_int_equal(os_read_file(os, in_folder("r"), 1, &b), ERR_TOO_LARGE);
    os_file file;
    assert_int_equal(os->file_open(os, in_folder("r.tmp"), 0, &file), ERR_NOT_FOUND);
    assert_int_equal(os_replace_file(os, in_folder("none"), "r", VIEW("x")), ERR_NOT_FOUND);
}

static void a_lock_is_held_once(void **state)
{
    struct os *os = os_real();
    os_file lock, other;

    (void)state;
    assert_ok(os->path_lock(os, in_folder("lock"), &lock));
    assert_int_equal(os->path_lock(os, in_folder("lock"), &other), ERR_BUSY);
    os->file_close(os, lock);
    assert_ok(os->path_lock(os, in_folder("lock"), &lock));
    os->file_close(os, lock);
}

static void clocks_go_forward_and_random_is_random(void **state)
{
    struct os *os = os_real();
    uint8_t a[32] = {0}, b[32] = {0};
    int64_t tick = os->tick_ns(os);

    (void)state;
    assert_true(os->now_ms(os) > INT64_C(1700000000000));
    assert_true(os->tick_ns(os) >= tick);
    os->random(os, a, sizeof(a));
    os->random(os, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_parts_are_written_in_one_call),
        cmocka_unit_test(a_write_cut_short_by_the_system_is_an_error),
        cmocka_unit_test(sizes_are_cut_and_reserved),
        cmocka_unit_test(folders_are_made_listed_and_removed_whole),
        cmocka_unit_test(removing_a_tree_does_not_follow_links_out_of_it),
        cmocka_unit_test(files_are_replaced_and_read_whole),
        cmocka_unit_test(a_lock_is_held_once),
        cmocka_unit_test(clocks_go_forward_and_random_is_random),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
