/* meter.c - requests and their times as histograms. SPDX-License-Identifier: Apache-2.0 */
#include "broker/meter.h"

#include <stdio.h>

#include "broker/request.h"
#include "http/http.h"

#define NAME "tidemark_kafka_request_seconds"

static const int64_t bounds_ns[METER_BOUNDS] = {
    100000,   250000,    500000,    1000000,   2500000,    5000000,    10000000,
    25000000, 100000000, 250000000, 500000000, 1000000000, 5000000000,
};

struct meter *meters_new(void)
{
    return xcalloc(api_count, sizeof(struct meter));
}

/* Only the loop writes: no need for a locked addition. */
static void add(_Atomic int64_t *to, int64_t amount)
{
    int64_t before = atomic_load_explicit(to, memory_order_relaxed);

    atomic_store_explicit(to, before + amount, memory_order_relaxed);
}

void meter_ended(const struct request *r)
{
    struct meter *m = &r->loop->meters[r->api - apis];
    int64_t took_ns = loop_now_ns(r->loop) - r->came_ns;
    size_t bound = 0;

    add(&m->count, 1);
    add(&m->took_ns, took_ns);
    while (bound < METER_BOUNDS && took_ns > bounds_ns[bound]) {
        bound++;
    }
    if (bound < METER_BOUNDS) {
        add(&m->within[bound], 1);
    }
}

static int64_t sum(const struct loop *loops, int count, size_t api, size_t field)
{
    int64_t total = 0;

    for (int i = 0; i < count; i++) {
        const struct meter *m = &loops[i].meters[api];
        total += field < METER_BOUNDS    ? m->within[field]
                 : field == METER_BOUNDS ? m->took_ns
                                         : m->count;
    }
    return total;
}

static void write_api(const struct loop *loops, int loop_count, size_t api, struct writer *out)
{
    struct http_label labels[] = {{"api", view_text(apis[api].name)}, {"le", VIEW("+Inf")}};
    int64_t count = sum(loops, loop_count, api, METER_BOUNDS + 1), within = 0;
    char bound[32];

    if (!count) {
        return; /* of fifty APIs most are never asked */
    }
    for (size_t i = 0; i < METER_BOUNDS; i++) {
        snprintf(bound, sizeof(bound), "%g", (double)bounds_ns[i] / 1e9);
        labels[1].value = view_text(bound);
        within += sum(loops, loop_count, api, i);
        http_sample_int(out, NAME "_bucket", labels, 2, within);
    }
    labels[1].value = VIEW("+Inf");
    http_sample_int(out, NAME "_bucket", labels, 2, count);
    http_sample(out, NAME "_sum", labels, 1,
                (double)sum(loops, loop_count, api, METER_BOUNDS) / 1e9);
    http_sample_int(out, NAME "_count", labels, 1, count);
}

void meters_write(const struct loop *loops, int loop_count, struct writer *out)
{
    http_metric(out, NAME, "histogram",
                "Time from a whole request to its answer, by API; a fetch's wait for more "
                "records is in it.");
    for (size_t i = 0; i < api_count; i++) {
        write_api(loops, loop_count, i, out);
    }
}
