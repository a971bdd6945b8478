/* os_sim_test.c - scheduler, virtual time and planned faults of the simulated machine.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/os_sim.h"

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

static os_file make_file(struct os *os, const char *path)
{
    os_file file;

    assert_ok(os->file_open(os, path, OS_OPEN_WRITE | OS_OPEN_CREATE, &file));
    return file;
}

#define JOBS 40
#define WORKERS 4

struct token {
    struct job job;
    struct ring *ring;
    int hops;
};

/* Workers that throw tokens at each other and write down which was caught. */
struct ring {
    struct worker workers[WORKERS];
    struct token tokens[JOBS];
    char trace[JOBS * 16];
    size_t traced;
};

static void hop(struct job *job)
{
    struct token *token = (struct token *)job;
    struct ring *ring = token->ring;
    size_t here = 0, index = (size_t)(token - ring->tokens);

    while (here < WORKERS - 1 && !worker_is_current(&ring->workers[here])) {
        here++;
    }
    assert_true(worker_is_current(&ring->workers[here]));
    ring->trace[ring->traced++] = (char)('A' + index);
    if (--token->hops > 0) {
        worker_post(&ring->workers[(here + 1 + index % 3) % WORKERS], job);
    }
}

static void ring_start(struct ring *ring, struct os *os)
{
    *ring = (struct ring){0};
    for (size_t i = 0; i < WORKERS; i++) {
        ring->workers[i].name = "thrower";
        assert_ok(worker_start(&ring->workers[i], os));
    }
    for (size_t i = 0; i < JOBS; i++) {
        ring->tokens[i] = (struct token){{.work = hop}, ring, 10};
        worker_post(&ring->workers[i % WORKERS], &ring->tokens[i].job);
    }
}

static void ring_run(uint64_t seed, struct ring *ring)
{
    struct os_sim *sim = sim_at(seed);

    ring_start(ring, os_sim_os(sim));
    while (os_sim_step(sim)) {
    }
    for (size_t i = 0; i < WORKERS; i++) {
        worker_stop(&ring->workers[i]);
    }
    os_sim_free(sim);
}

static void a_seed_replays_and_another_differs(void **state)
{
    static struct ring first, again;
    size_t different = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        ring_run(seed, &first);
        assert_int_equal(first.traced, JOBS * 10); /* no job is lost */
        ring_run(seed, &again);
        assert_memory_equal(first.trace, again.trace, sizeof(first.trace));
        ring_run(seed + 1, &again);
        different += memcmp(first.trace, again.trace, sizeof(first.trace)) != 0;
    }
    assert_true(different > 15);
}

struct beats {
    struct worker worker;
    int64_t every_ns, last_ns;
    int count;
};

static int64_t beat(struct worker *worker, struct job *jobs)
{
    struct beats *b = worker->self;
    int64_t now = worker->os->tick_ns(worker->os);

    mailbox_run(jobs);
    if (now >= b->last_ns + b->every_ns) {
        b->last_ns = now;
        b->count++;
    }
    return b->last_ns + b->every_ns;
}

static bool has_beaten(void *self)
{
    return ((struct beats *)self)->count >= 100;
}

static void nothing(struct job *job)
{
    (void)job;
}

static void time_jumps_to_the_earliest_due_worker(void **state)
{
    struct os_sim *sim = sim_at(7);
    struct os *os = os_sim_os(sim);
    struct beats slow = {.worker = {.name = "slow", .turn = beat, .self = &slow},
                         .every_ns = 5000000000};
    struct beats fast = {.worker = {.name = "fast", .turn = beat, .self = &fast},
                         .every_ns = 1000000000};

    (void)state;
    assert_ok(worker_start(&slow.worker, os)); /* the first turn comes without mail */
    assert_ok(worker_start(&fast.worker, os));
    int64_t start_ms = os->now_ms(os);
    assert_true(os_sim_run_until(sim, has_beaten, &fast));
    assert_in_range(os->now_ms(os) - start_ms, 99000, 101000);
    assert_in_range(slow.count, 19, 21);
    os_sim_advance(sim, 3600000000000);
    assert_in_range(os->now_ms(os) - start_ms, 3699000, 3701000);
    worker_stop(&slow.worker);
    worker_stop(&fast.worker);
    assert_false(os_sim_step(sim));
    os_sim_free(sim);
}

static void stopping_a_worker_runs_its_mail_first(void **state)
{
    static struct ring ring;
    struct os_sim *sim = sim_at(1);

    (void)state;
    ring_start(&ring, os_sim_os(sim));
    for (size_t i = 0; i < JOBS; i++) {
        ring.tokens[i].hops = 1;
    }
    for (size_t i = 0; i < WORKERS; i++) {
        worker_stop(&ring.workers[i]);
        assert_int_equal(ring.traced, (i + 1) * JOBS / WORKERS);
    }
    os_sim_free(sim);
}

struct committer {
    struct worker worker;
    os_file file;
    int written, synced;
};

static int64_t commit(struct worker *worker, struct job *jobs)
{
    struct committer *c = worker->self;
    struct os *os = worker->os;

    (void)jobs;
    if (os_write_at(os, c->file, VIEW("x"), c->written) == OK) {
        c->written++;
        if (os->file_sync(os, c->file) == OK) {
            c->synced = c->written;
        }
    }
    return os->tick_ns(os) + 1000;
}

static void a_kill_stops_all_calls_and_a_crash_forgets_the_workers(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        struct committer c = {.worker = {.name = "c", .turn = commit, .self = &c}};
        struct job kick = {.work = nothing}, unread = {.work = nothing};
        struct buf *b;
        c.file = make_file(os, "/f");
        assert_ok(os->folder_sync(os, "/"));
        assert_ok(worker_start(&c.worker, os));
        worker_post(&c.worker, &kick);
        os_sim_kill_after(sim, os_sim_below(sim, 50));
        while (os_sim_step(sim)) {
        }
        assert_true(os_sim_is_dead(sim));
        assert_int_equal(os->folder_make(os, "/x"), ERR_IO);
        worker_post(&c.worker, &unread);
        os_sim_crash(sim);
        assert_false(os_sim_is_dead(sim));
        assert_true(mailbox_is_empty(&c.worker.box));
        assert_false(os_sim_step(sim));
        assert_ok(os_read_file(os, "/f", 1000, &b));
        assert_in_range(b->len, c.synced, c.written + 1); /* the last write may be half done */
        buf_drop(b);
        os_sim_free(sim);
    }
}

static void the_end_of_a_process_loses_nothing_on_disk(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    struct worker w = {.name = "w"};
    struct buf *b;
    os_file lock;

    (void)state;
    assert_ok(worker_start(&w, os));
    assert_ok(os->path_lock(os, "/lock", &lock));
    assert_ok(os_write_at(os, make_file(os, "/f"), VIEW("never synced"), 0));
    os_sim_end_process(sim);
    assert_false(os_sim_step(sim));
    assert_ok(os_read_file(os, "/f", 100, &b));
    assert_int_equal(b->len, 12);
    buf_drop(b);
    assert_ok(os->path_lock(os, "/lock", &lock));
    os_sim_free(sim);
}

static void the_nth_call_of_a_kind_fails_and_no_other(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    os_file file = make_file(os, "/f");

    (void)state;
    os_sim_plan(sim, OS_SIM_WRITE, (struct os_sim_fault){.nth = 3, .number = ENOSPC});
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(os_write_at(os, file, VIEW("x"), i), i == 3 ? ERR_FULL : OK);
    }
    assert_int_equal(os_sim_count(sim, OS_SIM_WRITE), 10);
    os_sim_plan(sim, OS_SIM_RENAME, (struct os_sim_fault){.nth = 1});
    assert_int_equal(os->path_rename(os, "/f", "/g"), ERR_IO);
    assert_ok(os->path_rename(os, "/f", "/g"));
    os_sim_free(sim);
}

static void a_rate_of_failures_is_kept(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    os_file file = make_file(os, "/f");
    int failed = 0;

    (void)state;
    os_sim_plan(sim, OS_SIM_SYNC, (struct os_sim_fault){.one_in = 10});
    for (int i = 0; i < 2000; i++) {
        failed += os->file_sync(os, file) == OK ? 0 : 1;
    }
    assert_in_range(failed, 120, 280);
    os_sim_free(sim);
}

static void a_failed_write_leaves_some_first_part(void **state)
{
    size_t partial = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct os_sim *sim = sim_at(seed);
        struct os *os = os_sim_os(sim);
        os_file file = make_file(os, "/f");
        struct iovec parts[] = {{"abc", 3}, {"defghi", 6}, {"j", 1}};
        struct buf *b;
        os_sim_plan(sim, OS_SIM_WRITE, (struct os_sim_fault){.nth = 1});
        assert_int_equal(os->file_write(os, file, parts, 3, 0), ERR_IO);
        assert_ok(os_read_file(os, "/f", 100, &b));
        assert_memory_equal(b->bytes, "abcdefghij", b->len);
        partial += b->len > 0 && b->len < 10;
        buf_drop(b);
        os_sim_free(sim);
    }
    assert_true(partial > 50);
}

static void direct_files_want_their_alignment(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    uint8_t *page = aligned_alloc(4096, 8192);
    os_file file;
    size_t got;

    (void)state;
    memset(page, 'a', 8192);
    assert_ok(os->file_open(os, "/f", OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_DIRECT, &file));
    assert_ok(os_write_at(os, file, (view){page, 8192}, 4096));
    assert_int_equal(os_write_at(os, file, (view){page, 512}, 0), ERR_IO);
    assert_int_equal(os_write_at(os, file, (view){page + 8, 4096}, 0), ERR_IO);
    assert_int_equal(os_write_at(os, file, (view){page, 4096}, 100), ERR_IO);
    assert_ok(os->file_read(os, file, page, 4096, 0, &got));
    assert_int_equal(page[0], 0);
    assert_int_equal(os->file_read(os, file, page, 100, 0, &got), ERR_IO);
    free(page);
    os_sim_free(sim);
}

static void cached_reads_are_cold_at_the_planned_rate(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    os_file file = make_file(os, "/f");
    char text[8];
    size_t got;
    int cold = 0;

    (void)state;
    assert_ok(os_write_at(os, file, VIEW("hello"), 0));
    for (int i = 0; i < 1000; i++) {
        os_sim_cold_reads(sim, i < 500 ? 0 : 2);
        enum os_read_status status = os->file_read_cached(os, file, text, 8, 0, &got);
        assert_true(status == OS_READ_COLD ||
                    (status == OS_READ_DONE && got == 5 && !memcmp(text, "hello", 5)));
        cold += status == OS_READ_COLD ? 1 : 0;
        assert_true(i >= 500 || cold == 0);
    }
    assert_in_range(cold, 200, 300);
    os_sim_plan(sim, OS_SIM_READ, (struct os_sim_fault){.nth = 1});
    os_sim_cold_reads(sim, 0);
    assert_int_equal(os->file_read_cached(os, file, text, 8, 0, &got), OS_READ_FAILED);
    os_sim_free(sim);
}

static void a_lock_excludes_until_closed_or_crashed(void **state)
{
    struct os_sim *sim = sim_at(1);
    struct os *os = os_sim_os(sim);
    os_file lock, other;

    (void)state;
    assert_ok(os->path_lock(os, "/l", &lock));
    assert_int_equal(os->path_lock(os, "/l", &other), ERR_BUSY);
    assert_int_equal(os->path_lock(os, "/l", &other), ERR_BUSY); /* the failure freed nothing */
    os->file_close(os, lock);
    assert_ok(os->path_lock(os, "/l", &lock));
    assert_ok(os->folder_sync(os, "/"));
    os_sim_crash(sim);
    assert_ok(os->path_lock(os, "/l", &lock));
    os_sim_free(sim);
}

#define TEST(name) cmocka_unit_test_teardown(name, print_seed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_seed_replays_and_another_differs),
        TEST(time_jumps_to_the_earliest_due_worker),
        TEST(stopping_a_worker_runs_its_mail_first),
        TEST(a_kill_stops_all_calls_and_a_crash_forgets_the_workers),
        TEST(the_end_of_a_process_loses_nothing_on_disk),
        TEST(the_nth_call_of_a_kind_fails_and_no_other),
        TEST(a_rate_of_failures_is_kept),
        TEST(a_failed_write_leaves_some_first_part),
        TEST(direct_files_want_their_alignment),
        TEST(cached_reads_are_cold_at_the_planned_rate),
        TEST(a_lock_excludes_until_closed_or_crashed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
