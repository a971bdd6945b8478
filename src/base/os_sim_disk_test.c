/* os_sim_disk_test.c - what the simulated disk keeps and loses when the power goes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/os_sim.h"

#define SEEDS 300

#define assert_ok(call) assert_int_equal((call), OK)

static uint64_t seed_at; /* of the machine made last: what to look at when a test fails */

static struct os_sim *sim_at(uint64_t seed)
{
    seed_at = seed;
    return os_sim_new(seed);
}

static int print_seed(void **state)
{
    (void)state;
    print_message("last seed %llu\n", (unsigned long long)seed_at);
    return 0;
}

static os_file open_file(struct os *os, const char *path, unsigned flags)
{
    os_file file;

    assert_ok(os->file_open(os, path, flags, &file));
    return file;
}

static os_file make_file(struct os *os, const char *path)
{
    return open_file(os, path, OS_OPEN_WRITE | OS_OPEN_CREATE);
}

static void fill(struct os *os, os_file file, char c, size_t len, int64_t position)
{
    char *bytes = xmalloc(len);

    memset(bytes, c, len);
    assert_ok(os_write_at(os, file, (view){(uint8_t *)bytes, len}, position));
    free(bytes);
}

/* A file whose name and contents are on disk. */
static os_file durable_file(struct os *os, const char *path, char c, size_t len)
{
    os_file file = make_file(os, path);

    fill(os, file, c, len, 0);
    assert_ok(os->file_sync(os, file));
    assert_ok(os->folder_sync(os, "/"));
    return file;
}

/* The file as text, the caller's; NULL: not there. */
static char *contents(struct os *os, const char *path)
{
    struct buf *b;

    if (os_read_file(os, path, 1 << 20, &b) != OK) {
        return NULL;
    }
    char *text = text_of((view){b->bytes, b->len});
    buf_drop(b);
    return text;
}

static bool is_there(struct os *os, const char *path)
{
    char *text = contents(os, path);

    free(text);
    return text;
}

static void overwritten_sectors_are_old_or_new_after_a_crash(void **state)
{
    size_t all_old = 0, all_new = 0, torn = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = durable_file(os, "/f", 'a', 16384);
        fill(os, file, 'b', 16384, 0);
        os_sim_crash(sim);
        char *text = contents(os, "/f");
        assert_int_equal(strlen(text), 16384);
        size_t fresh = 0;
        for (size_t at = 0; at < 16384; at += 512) {
            for (size_t i = 0; i < 512; i++) {
                assert_int_equal(text[at + i], text[at]); /* sectors are whole */
            }
            fresh += text[at] == 'b' ? 1 : 0;
        }
        all_old += fresh == 0;
        all_new += fresh == 32;
        torn += fresh > 0 && fresh < 32;
        free(text);
        os_sim_free(sim);
    }
    assert_true(all_old > 20 && all_new > 20 && torn > 20);
}

static void synced_bytes_survive_whatever_follows(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = durable_file(os, "/f", 'a', 5000);
        fill(os, file, 'b', 9000, 5000);
        os_sim_crash(sim);
        char *text = contents(os, "/f");
        size_t len = strlen(text), kept = strspn(text, "a");
        assert_true(kept == 5000);
        assert_true(len >= 5000 && len <= 14000);
        free(text);
        os_sim_free(sim);
    }
}

static void versions_between_two_syncs_can_reach_the_disk(void **state)
{
    size_t seen = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = durable_file(os, "/f", 'a', 4096);
        fill(os, file, 'b', 4096, 0);
        fill(os, file, 'c', 4096, 0);
        os_sim_crash(sim);
        char *text = contents(os, "/f");
        seen += strchr(text, 'b') ? 1 : 0;
        free(text);
        os_sim_free(sim);
    }
    assert_true(seen > 5);
}

static void a_name_needs_its_folder_synced(void **state)
{
    size_t kept = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = make_file(os, "/f");
        fill(os, file, 'a', 10, 0);
        assert_ok(os->file_sync(os, file));
        os_sim_crash(sim);
        char *text = contents(os, "/f");
        if (text) {
            assert_string_equal(text, "aaaaaaaaaa");
            kept++;
        }
        free(text);
        os_sim_free(sim);
    }
    assert_true(kept > 20 && kept < SEEDS - 20);
}

static void names_of_a_folder_are_lost_from_the_newest_on(void **state)
{
    size_t counts[6] = {0};

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        char path[] = "/0";
        for (; path[1] < '5'; path[1]++) {
            os->file_close(os, make_file(os, path));
        }
        os_sim_crash(sim);
        size_t count = 0;
        for (path[1] = '0'; path[1] < '5'; path[1]++) {
            bool there = is_there(os, path);
            assert_true(!there || count == (size_t)(path[1] - '0'));
            count += there ? 1 : 0;
        }
        counts[count]++;
        os_sim_free(sim);
    }
    for (size_t i = 0; i < COUNT(counts); i++) {
        assert_true(counts[i] > 0);
    }
}

static void a_removal_may_be_undone_by_a_crash_until_the_folder_is_synced(void **state)
{
    size_t back = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        durable_file(os, "/f", 'a', 10);
        assert_ok(os->path_remove(os, "/f"));
        assert_false(is_there(os, "/f"));
        if (seed % 2) {
            assert_ok(os->folder_sync(os, "/"));
        }
        os_sim_crash(sim);
        assert_false(seed % 2 && is_there(os, "/f"));
        back += is_there(os, "/f") ? 1 : 0;
        os_sim_free(sim);
    }
    assert_true(back > 20);
}

static void a_rename_between_folders_happens_whole_or_not(void **state)
{
    size_t moved = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        assert_ok(os->folder_make(os, "/a"));
        assert_ok(os->folder_make(os, "/b"));
        os->file_close(os, make_file(os, "/a/f"));
        assert_ok(os->file_sync_all(os, make_file(os, "/x")));
        assert_ok(os->path_rename(os, "/a/f", "/b/g"));
        if (seed % 3 == 0) {
            assert_ok(os->folder_sync(os, seed % 2 ? "/a" : "/b"));
        }
        os_sim_crash(sim);
        assert_true(is_there(os, "/a/f") != is_there(os, "/b/g"));
        assert_true(seed % 3 || is_there(os, "/b/g"));
        moved += is_there(os, "/b/g") ? 1 : 0;
        os_sim_free(sim);
    }
    assert_true(moved > 100 && moved < SEEDS - 20);
}

static void a_folder_is_lost_with_all_in_it(void **state)
{
    size_t lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        assert_ok(os->folder_make(os, "/a"));
        os_file file = make_file(os, "/a/f");
        assert_ok(os->file_sync(os, file));
        assert_ok(os->folder_sync(os, "/a"));
        os_sim_crash(sim);
        lost += is_there(os, "/a/f") ? 0 : 1;
        os_sim_free(sim);
    }
    assert_true(lost > 20 && lost < SEEDS - 20);
}

static void sync_all_keeps_everything(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        assert_ok(os->folder_make(os, "/a"));
        assert_ok(os->folder_make(os, "/a/b"));
        os_file file = make_file(os, "/a/b/f");
        fill(os, file, 'x', 9, 0);
        assert_ok(os->path_rename(os, "/a/b/f", "/a/g"));
        assert_ok(os->file_sync_all(os, file));
        os_sim_crash(sim);
        char *text = contents(os, "/a/g");
        assert_string_equal(text, "xxxxxxxxx");
        assert_false(is_there(os, "/a/b/f"));
        free(text);
        os_sim_free(sim);
    }
}

static void a_folder_made_with_its_name_is_there_after_a_power_loss(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        assert_ok(os_make_folder(os, "/a"));
        assert_ok(os_make_folder(os, "/a/b//"));
        assert_ok(os_make_folder(os, "/a"));
        os_sim_crash(sim);
        assert_ok(os->folder_sync(os, "/a/b"));
        os_sim_free(sim);
    }
}

static void replacing_a_file_leaves_old_or_new_at_every_point(void **state)
{
    size_t old = 0, fresh = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        bool killed = true;
        for (uint64_t calls = 0; killed; calls++) {
            struct os_sim *sim = sim_at(seed);
            struct os *os = os_sim_os(sim);
            assert_ok(os_replace_file(os, "/", "f", VIEW("old contents")));
            os_sim_kill_after(sim, calls);
            err e = os_replace_file(os, "/", "f", VIEW("new"));
            killed = os_sim_is_dead(sim);
            assert_int_equal(e == OK, !killed);
            os_sim_crash(sim);
            char *text = contents(os, "/f");
            assert_true(!strcmp(text, "new") || (killed && !strcmp(text, "old contents")));
            old += !strcmp(text, "old contents");
            fresh += killed && !strcmp(text, "new");
            free(text);
            os_sim_free(sim);
        }
    }
    assert_true(old > 40 && fresh > 5);
}

static void shrinking_may_be_lost_but_nothing_of_the_cut_part_mixes(void **state)
{
    size_t undone = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = durable_file(os, "/f", 'a', 12000);
        assert_ok(os->file_truncate(os, file, 5000));
        fill(os, file, 'b', 4000, 5000);
        os_sim_crash(sim);
        char *text = contents(os, "/f");
        size_t kept = strspn(text, "a");
        bool lost = kept == 12000;
        assert_true(lost || kept == 5000);
        assert_true(lost || strchr(text + kept, 'a') == NULL);
        undone += lost ? 1 : 0;
        free(text);
        os_sim_free(sim);
    }
    assert_true(undone > 20 && undone < SEEDS - 20);
}

static void what_a_cut_removed_reads_as_zeros_when_the_file_grows_again(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    os_file file = durable_file(os, "/f", 'a', 9000);
    uint8_t bytes[9000];
    size_t got;

    (void)state;
    assert_ok(os->file_truncate(os, file, 100));
    assert_ok(os->file_truncate(os, file, 9000));
    assert_ok(os->file_sync(os, file));
    for (int i = 0; i < 2; i++) {
        file = open_file(os, "/f", 0);
        assert_ok(os->file_read(os, file, bytes, sizeof(bytes), 0, &got));
        assert_int_equal(got, 9000);
        for (size_t at = 0; at < got; at++) {
            assert_int_equal(bytes[at], at < 100 ? 'a' : 0);
        }
        os_sim_crash(sim);
    }
    os_sim_free(sim);
}

static void after_a_failed_sync_bytes_are_readable_but_not_on_disk(void **state)
{
    size_t lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = durable_file(os, "/f", 'a', 4096);
        fill(os, file, 'b', 4096, 0);
        os_sim_plan(sim, OS_SIM_SYNC, (struct os_sim_fault){.nth = 1});
        assert_int_equal(os->file_sync(os, file), ERR_IO);
        assert_ok(os->file_sync(os, file)); /* lies, as the kernel does */
        char *text = contents(os, "/f");
        assert_int_equal(strspn(text, "b"), 4096);
        free(text);
        os_sim_crash(sim);
        text = contents(os, "/f");
        lost += strchr(text, 'a') ? 1 : 0;
        free(text);
        os_sim_free(sim);
    }
    assert_true(lost > SEEDS / 2);
}

static void reads_past_the_cache_see_what_a_failed_sync_lost(void **state)
{
    uint8_t *page = aligned_alloc(4096, 4096);
    size_t old = 0, got;

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = durable_file(os, "/f", 'a', 4096);
        os_file direct = open_file(os, "/f", OS_OPEN_DIRECT);
        fill(os, file, 'b', 4096, 0);
        assert_ok(os->file_read(os, direct, page, 4096, 0, &got));
        assert_null(memchr(page, 'a', 4096)); /* dirty pages are written before */
        os_sim_plan(sim, OS_SIM_SYNC, (struct os_sim_fault){.nth = 1});
        assert_int_equal(os->file_sync(os, file), ERR_IO);
        assert_ok(os->file_read(os, direct, page, 4096, 0, &got));
        old += memchr(page, 'a', 4096) ? 1 : 0;
        os_sim_end_process(sim); /* a new process still finds the lying cache */
        file = open_file(os, "/f", 0);
        assert_ok(os->file_read(os, file, page, 4096, 0, &got));
        assert_null(memchr(page, 'a', 4096));
        os_sim_free(sim);
    }
    free(page);
    assert_true(old > 50);
}

/* Random writes, cuts and syncs against a model: per byte, what it was when last synced and
 * which values it had since. */
#define MODEL_BYTES 20000
struct model {
    uint8_t now[MODEL_BYTES];
    bool may[MODEL_BYTES][8]; /* values 0..7 the byte may have after a crash */
    int64_t bytes, least, most;
};

static void model_synced(struct model *m)
{
    memset(m->may, 0, sizeof(m->may));
    for (size_t i = 0; i < MODEL_BYTES; i++) {
        m->may[i][m->now[i]] = true;
        m->may[i][0] = m->may[i][0] || (int64_t)i >= m->bytes;
    }
    m->least = m->most = m->bytes;
}

static void model_set(struct model *m, size_t at, uint8_t value)
{
    m->now[at] = value;
    m->may[at][value] = true;
    m->may[at][0] = m->may[at][0] || (int64_t)at >= m->least; /* size came, bytes did not */
}

static void random_change(struct os_sim *sim, struct os *os, os_file file, struct model *m)
{
    size_t at = os_sim_below(sim, MODEL_BYTES), len = os_sim_below(sim, MODEL_BYTES - at) + 1;
    char value = (char)(os_sim_below(sim, 7) + 1);

    switch (os_sim_below(sim, 8)) {
    case 0:
        assert_ok(os->file_sync(os, file));
        model_synced(m);
        return;
    case 1:
        assert_ok(os->file_truncate(os, file, (int64_t)at));
        for (size_t i = at; i < MODEL_BYTES; i++) {
            model_set(m, i, 0);
        }
        m->bytes = (int64_t)at;
        break;
    case 2:
        os->file_sync_start(os, file, 0, MODEL_BYTES);
        return;
    default:
        len = len / 4 + 1;
        fill(os, file, value, len, (int64_t)at);
        for (size_t i = 0; i < len; i++) {
            model_set(m, at + i, (uint8_t)value);
        }
        m->bytes = MAX(m->bytes, (int64_t)(at + len));
    }
    m->least = MIN(m->least, m->bytes);
    m->most = MAX(m->most, m->bytes);
}

static void assert_model(struct os *os, os_file file, struct model *m, bool crashed)
{
    static uint8_t bytes[MODEL_BYTES];
    size_t got;

    memset(bytes, 0, sizeof(bytes));
    assert_ok(os->file_read(os, file, bytes, sizeof(bytes), 0, &got));
    if (!crashed) {
        assert_int_equal(got, m->bytes);
        assert_memory_equal(bytes, m->now, sizeof(bytes));
        return;
    }
    assert_true((int64_t)got >= m->least && (int64_t)got <= m->most);
    for (size_t i = 0; i < got; i++) {
        assert_true(bytes[i] < 8 && m->may[i][bytes[i]]);
    }
    memcpy(m->now, bytes, sizeof(bytes));
    m->bytes = (int64_t)got;
    model_synced(m);
}

static void random_histories_agree_with_a_model(void **state)
{
    static struct model m;

    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = durable_file(os, "/f", 0, 0);
        memset(&m, 0, sizeof(m));
        model_synced(&m);
        for (int i = 0; i < 200; i++) {
            random_change(sim, os, file, &m);
            if (os_sim_below(sim, 20) == 0) {
                assert_model(os, file, &m, false);
                os_sim_crash(sim);
                file = open_file(os, "/f", OS_OPEN_WRITE);
                assert_model(os, file, &m, true);
            }
        }
        os_sim_free(sim);
    }
}

static void a_full_disk_takes_what_fits_and_recovers_by_removal(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    struct os_space space;
    int64_t bytes;

    (void)state;
    os_sim_disk_bytes(sim, 10 * 4096);
    os_file a = durable_file(os, "/a", 'a', 5 * 4096), b = make_file(os, "/b");
    char *text = xcalloc(1, 6 * 4096);
    assert_int_equal(os_write_at(os, b, (view){(uint8_t *)text, 6 * 4096}, 0), ERR_FULL);
    free(text);
    assert_ok(os->file_size(os, b, &bytes));
    assert_int_equal(bytes, 5 * 4096);
    assert_int_equal(os->file_allocate(os, b, 6 * 4096), ERR_FULL);
    assert_ok(os->space(os, "/", &space));
    assert_int_equal(space.total_bytes, 10 * 4096);
    assert_int_equal(space.free_bytes, 0);
    assert_ok(os->path_remove(os, "/a"));
    assert_ok(os->space(os, "/", &space));
    assert_int_equal(space.free_bytes, 0); /* still open */
    os->file_close(os, a);
    assert_ok(os->file_allocate(os, b, 6 * 4096));
    assert_ok(os->file_truncate(os, b, 1));
    assert_ok(os->space(os, "/", &space));
    assert_int_equal(space.free_bytes, 9 * 4096);
    os_sim_free(sim);
}

static void a_removed_file_stays_readable_while_open(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    os_file file = durable_file(os, "/f", 'a', 10);
    char text[10], path[20];
    size_t got;

    (void)state;
    assert_ok(os->path_remove(os, "/f"));
    for (int i = 0; i < 1000; i++) { /* enough removals for a sweep */
        snprintf(path, sizeof(path), "/%d", i);
        os->file_close(os, make_file(os, path));
        assert_ok(os->path_remove(os, path));
    }
    assert_ok(os->file_read(os, file, text, 10, 0, &got));
    assert_memory_equal(text, "aaaaaaaaaa", 10);
    os_sim_free(sim);
}

static void paths_fail_as_the_kernel_has_it(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    os_file file = make_file(os, "/f");

    (void)state;
    assert_int_equal(os->file_open(os, "/x/y", OS_OPEN_CREATE, &file), ERR_NOT_FOUND);
    assert_int_equal(os->file_open(os, "/x", 0, &file), ERR_NOT_FOUND);
    assert_int_equal(os->file_open(os, "/f/y", 0, &file), ERR_IO);
    assert_int_equal(os->path_remove(os, "/x"), ERR_NOT_FOUND);
    assert_int_equal(os->path_rename(os, "/x", "/y"), ERR_NOT_FOUND);
    assert_int_equal(os->folder_list(os, "/f", NULL, NULL), ERR_IO);
    assert_ok(os->folder_make(os, "/d"));
    assert_ok(os->folder_make(os, "//d/."));
    os->file_close(os, make_file(os, "d/f"));
    assert_int_equal(os->path_remove(os, "/d"), ERR_IO); /* not empty */
    assert_int_equal(os->path_rename(os, "/f", "/d"), ERR_IO);
    assert_int_equal(os->file_open(os, "/d", OS_OPEN_WRITE, &file), ERR_IO);
    assert_ok(os_remove_tree(os, "/d"));
    assert_int_equal(os->folder_sync(os, "/d"), ERR_NOT_FOUND);
    os_sim_free(sim);
}

#define TEST(name) cmocka_unit_test_teardown(name, print_seed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(overwritten_sectors_are_old_or_new_after_a_crash),
        TEST(synced_bytes_survive_whatever_follows),
        TEST(versions_between_two_syncs_can_reach_the_disk),
        TEST(a_name_needs_its_folder_synced),
        TEST(names_of_a_folder_are_lost_from_the_newest_on),
        TEST(a_removal_may_be_undone_by_a_crash_until_the_folder_is_synced),
        TEST(a_rename_between_folders_happens_whole_or_not),
        TEST(a_folder_is_lost_with_all_in_it),
        TEST(sync_all_keeps_everything),
        TEST(a_folder_made_with_its_name_is_there_after_a_power_loss),
        TEST(replacing_a_file_leaves_old_or_new_at_every_point),
        TEST(shrinking_may_be_lost_but_nothing_of_the_cut_part_mixes),
        TEST(what_a_cut_removed_reads_as_zeros_when_the_file_grows_again),
        TEST(after_a_failed_sync_bytes_are_readable_but_not_on_disk),
        TEST(reads_past_the_cache_see_what_a_failed_sync_lost),
        TEST(random_histories_agree_with_a_model),
        TEST(a_full_disk_takes_what_fits_and_recovers_by_removal),
        TEST(a_removed_file_stays_readable_while_open),
        TEST(paths_fail_as_the_kernel_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
