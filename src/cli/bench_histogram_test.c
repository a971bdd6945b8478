/* bench_histogram_test.c - quantiles against a sorted array.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/bench_histogram.h"

#define SAMPLES 20000

static int order(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static void quantiles_are_within_a_sixty_fourth_of_the_truth(void **state)
{
    struct bench_histogram *h = xcalloc(1, sizeof(*h));
    int64_t *times = xcalloc(SAMPLES, sizeof(*times));
    const double shares[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1};
    unsigned seed = 7;

    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        times[i] = (int64_t)rand_r(&seed) >> (rand_r(&seed) % 30);
        bench_histogram_add(h, times[i]);
    }
    qsort(times, SAMPLES, sizeof(*times), order);
    for (size_t i = 0; i < COUNT(shares); i++) {
        int64_t truth = times[(size_t)(shares[i] * SAMPLES + 0.5) - 1];
        int64_t said = bench_histogram_at(h, shares[i]);
        assert_true(said >= truth);
        assert_true(said <= truth + truth / HISTOGRAM_FINE + 1);
    }
    assert_int_equal(bench_histogram_at(h, 1), times[SAMPLES - 1]);
    free(times);
    free(h);
}

static void two_merged_are_as_one(void **state)
{
    struct bench_histogram *all = xcalloc(3, sizeof(*all)), *odd = all + 1, *even = all + 2;

    (void)state;
    for (int64_t t = 0; t < 100000; t += 7) {
        bench_histogram_add(all, t);
        bench_histogram_add(t % 2 ? odd : even, t);
    }
    bench_histogram_merge(odd, even);
    assert_memory_equal(all, odd, sizeof(*all));
    free(all);
}

static void an_empty_one_and_absurd_times_are_harmless(void **state)
{
    struct bench_histogram *h = xcalloc(1, sizeof(*h));

    (void)state;
    assert_int_equal(bench_histogram_at(h, 0.99), 0);
    bench_histogram_add(h, -5);
    bench_histogram_add(h, INT64_MAX / 4);
    assert_int_equal(h->count, 2);
    assert_int_equal(bench_histogram_at(h, 0.1), 0);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_within_a_sixty_fourth_of_the_truth),
        cmocka_unit_test(two_merged_are_as_one),
        cmocka_unit_test(an_empty_one_and_absurd_times_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
