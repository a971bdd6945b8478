/* bench_histogram.h - times counted in log-linear classes: within 1/64 of the truth, mergeable.
 *
 * Class of t: its 64 finest are exact, then 64 for each doubling. A zeroed struct is empty. */
#ifndef TIDEMARK_CLI_BENCH_HISTOGRAM_H
#define TIDEMARK_CLI_BENCH_HISTOGRAM_H

#include "base/base.h"

#define HISTOGRAM_FINE 64      /* classes for each doubling */
#define HISTOGRAM_DOUBLINGS 38 /* longest: about 4.9 hours of ns */

struct bench_histogram {
    uint64_t counts[HISTOGRAM_DOUBLINGS * HISTOGRAM_FINE];
    uint64_t count;
    int64_t most, sum; /* ns */
};

void bench_histogram_add(struct bench_histogram *h, int64_t ns);
void bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from);
/* The time that share (0 to 1) of all are at or under; 0 when empty. */
int64_t bench_histogram_at(const struct bench_histogram *h, double share);

#endif
