/* spool_test.c - several spools at random against plain lists, and disks that fail.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "audit/spool.h"
#include "base/os_sim.h"

#define SPOOLS 3
#define RECORDS 300

/* Of a record everything follows from its number. */
static size_t bytes_of(uint64_t number)
{
    static const size_t sizes[] = {0, 1, 17, 200, 5000, 70000, 300000, 1200000};

    return number % 40 ? sizes[number % 5] : sizes[number / 40 % 8];
}

static struct spool_record record_of(uint8_t *bytes, uint64_t number)
{
    size_t len = bytes_of(number);

    memset(bytes, (int)number, len);
    return (struct spool_record){(uint32_t)number, number << 32, {bytes, len}};
}

static void assert_walks(struct spool *spool, const uint64_t *numbers, size_t count,
                         uint8_t *bytes)
{
    struct spool_walk walk = {.spool = spool};
    struct spool_record record;
    bool more = true;

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(spool_next(&walk, &record, &more), OK);
        assert_true(more);
        struct spool_record expected = record_of(bytes, numbers[i]);
        assert_int_equal(record.xid, expected.xid);
        assert_true(record.wal == expected.wal);
        assert_true(view_is(record.message, expected.message));
    }
    assert_int_equal(spool_next(&walk, &record, &more), OK);
    assert_false(more);
    spool_walk_fini(&walk);
}

static void run_at_random(uint64_t seed, size_t memory)
{
    struct os_sim *sim = os_sim_new(seed);
    struct spools spools;
    struct spool spool[SPOOLS];
    static uint64_t numbers[SPOOLS][RECORDS];
    size_t count[SPOOLS] = {0};
    uint8_t *bytes = xmalloc(1 << 21);

    assert_int_equal(spools_init(&spools, os_sim_os(sim), "/spool", memory), OK);
    for (int i = 0; i < SPOOLS; i++) {
        spool_open(&spools, &spool[i]);
    }
    for (uint64_t number = 0; number < RECORDS; number++) {
        size_t at = os_sim_below(sim, SPOOLS);
        struct spool_record record = record_of(bytes, number);
        assert_int_equal(spool_add(&spool[at], &record), OK);
        assert_in_range(spools.memory_bytes, 0, memory);
        numbers[at][count[at]++] = number;
        if (os_sim_below(sim, 100) == 0) {
            spool_reset(&spool[at]);
            count[at] = 0;
        }
        if (os_sim_below(sim, 50) == 0) {
            assert_walks(&spool[at], numbers[at], count[at], bytes);
        }
    }
    for (int i = 0; i < SPOOLS; i++) {
        assert_walks(&spool[i], numbers[i], count[i], bytes);
        assert_walks(&spool[i], numbers[i], count[i], bytes); /* as often as one likes */
        spool_close(&spool[i]);
    }
    spools_fini(&spools);
    free(bytes);
    os_sim_free(sim);
}

static void records_come_back_in_order_whatever_the_memory(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        run_at_random(seed, 0);
        run_at_random(seed, 300000);
        run_at_random(seed, 64 << 20);
    }
}

static void a_disk_that_fails_is_told(void **state)
{
    (void)state;
    static const enum os_sim_call calls[] = {OS_SIM_OPEN, OS_SIM_WRITE};
    uint8_t *bytes = xmalloc(1 << 21);

    for (size_t i = 0; i < COUNT(calls); i++) {
        struct os_sim *sim = os_sim_new(1);
        struct spools spools;
        struct spool spool;
        struct spool_record record = record_of(bytes, 3);
        assert_int_equal(spools_init(&spools, os_sim_os(sim), "/spool", 0), OK);
        spool_open(&spools, &spool);
        os_sim_plan(sim, calls[i], (struct os_sim_fault){.nth = 1, .number = ENOSPC});
        assert_int_equal(spool_add(&spool, &record), ERR_FULL);
        assert_non_null(strstr(fault_here.text, "large transaction"));
        spool_close(&spool);
        spools_fini(&spools);
        os_sim_free(sim);
    }
    free(bytes);
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
    (void)state;
    uint8_t *bytes = xmalloc(1 << 21);
    struct os_sim *sim = os_sim_new(1);
    struct spools spools;
    struct spool spool;
    struct spool_record record = record_of(bytes, 3);
    struct spool_walk walk = {.spool = &spool};
    bool more;

    assert_int_equal(spools_init(&spools, os_sim_os(sim), "/spool", 0), OK);
    spool_open(&spools, &spool);
    assert_int_equal(spool_add(&spool, &record), OK);
    os_sim_plan(sim, OS_SIM_READ, (struct os_sim_fault){.nth = 1});
    assert_int_equal(spool_next(&walk, &record, &more), ERR_IO);
    spool_walk_fini(&walk);
    spool_close(&spool);
    spools_fini(&spools);
    os_sim_free(sim);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_in_order_whatever_the_memory),
        cmocka_unit_test(a_disk_that_fails_is_told),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
