/* bench_fuzz.c - whatever a broker answers, the load generator stays whole: the first byte
 * picks the answer, the rest is its body. SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_load.h"

#include <stdlib.h>

#define PARTITIONS 4

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A connection as open() would leave it, had there been a broker. */
static void answer_to(const struct bench_load *load, bool check, view body)
{
    struct bench_plan plan = {.kafka = (char *)(uintptr_t) "127.0.0.1:0",
                              .topic = (char *)(uintptr_t) "t",
                              .group = (char *)(uintptr_t) "g",
                              .partitions = PARTITIONS,
                              .connections = 2,
                              .depth = 1,
                              .bundle = 1,
                              .check = check};
    struct bench_run run = {.plan = &plan, .load = load};
    struct bench_thread *thread = xcalloc(1, sizeof(*thread));
    struct bench_conn conn = {.fd = -1, .index = 1, .thread = thread};
    struct bench_slot slot = {.records = 1};

    thread->run = &run;
    bench_batch_init(&run.batch, &plan);
    (void)!load->open(&conn); /* cannot ask for offsets, and keeps its state */
    (void)!load->answer(&conn, &slot, body);
    load->close(&conn);
    writer_fini(&run.batch.bytes);
    free(thread);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const view body = {bytes + 1, len ? len - 1 : 0};
    int64_t at[PARTITIONS] = {0}, led = 0;
    bool there = true;

    switch (len ? bytes[0] % 8 : UINT8_MAX) {
    case 0:
        (void)!bench_take_versions(body);
        break;
    case 1:
        (void)!bench_take_created(body, &there);
        break;
    case 2:
        (void)!bench_take_led(body, &led);
        break;
    case 3:
        (void)!bench_take_offsets(body, PARTITIONS, at);
        break;
    case 4:
        answer_to(&bench_load_produce, false, body);
        break;
    case 5:
        answer_to(&bench_load_consume, bytes[0] & 8, body);
        break;
    case 6:
        answer_to(&bench_load_commit, false, body);
        break;
    case 7:
        answer_to(&bench_load_transact, false, body);
        break;
    default:
        break;
    }
    return 0;
}
