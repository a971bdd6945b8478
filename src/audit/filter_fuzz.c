/* filter_fuzz.c - any text as the words of a search, as people and addresses give them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "audit/trail.h"
#include "audit/trail_match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct filter *filters = NULL;
    struct plan plan;
    view *words = NULL;
    size_t count = 0, filter_count = 0;

    if (filter_words(&arena, (view){data, size}, &words, &count) == OK &&
        filter_parse(&arena, words, count, INT64_C(1700000000000), &filters, &filter_count) ==
            OK) {
        assert(filter_count <= count * 3);
        err e = plan_init(&plan, filters, filter_count);
        assert(e == OK); /* what parses can be searched for */
        plan_fini(&plan);
    }
    arena_fini(&arena);
    return 0;
}
