/* bench_histogram.c - see bench_histogram.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_histogram.h"

#define FINE_BITS 6
static_assert(1 << FINE_BITS == HISTOGRAM_FINE, "class arithmetic below shifts by it");

static size_t class_of(uint64_t ns)
{
    if (ns < HISTOGRAM_FINE) {
        return (size_t)ns;
    }
    unsigned doublings = 63u - (unsigned)__builtin_clzll(ns) - FINE_BITS;
    size_t at = ((size_t)doublings + 1) * HISTOGRAM_FINE +
                (size_t)((ns >> doublings) & (HISTOGRAM_FINE - 1));
    return MIN(at, COUNT(((struct bench_histogram *)0)->counts) - 1);
}

static int64_t class_end(size_t at)
{
    size_t doublings = at / HISTOGRAM_FINE;

    if (!doublings) {
        return (int64_t)at;
    }
    return (int64_t)(((HISTOGRAM_FINE + at % HISTOGRAM_FINE + 1) << (doublings - 1)) - 1);
}

void bench_histogram_add(struct bench_histogram *h, int64_t ns)
{
    ns = MAX(ns, 0); /* an answer may arrive before the schedule's rounding */
    h->counts[class_of((uint64_t)ns)]++;
    h->count++;
    h->sum += ns;
    h->most = MAX(h->most, ns);
}

void bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from)
{
    for (size_t i = 0; i < COUNT(into->counts); i++) {
        into->counts[i] += from->counts[i];
    }
    into->count += from->count;
    into->sum += from->sum;
    into->most = MAX(into->most, from->most);
}

int64_t bench_histogram_at(const struct bench_histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->count + 0.5), seen = 0;

    assert(share >= 0 && share <= 1);
    for (size_t i = 0; i < COUNT(h->counts); i++) {
        seen += h->counts[i];
        if (seen >= MAX(wanted, 1)) {
            return MIN(class_end(i), h->most);
        }
    }
    return 0;
}
