/* catalog_match.c - an older description of a table, laid over the table as it is now.
 *
 *   description   id   name          n         what was captured, in the order of attributes
 *   now           id   full_name    (gone)  req     numbers 1 2 3 4, 3 was dropped
 *
 * Attribute numbers never change and are never used again, and a description has every column
 * that there was. So both lists are the same but for what came later (at the end) and what was
 * dropped; only which of the dropped ones belong to the description must be found out. The
 * best sum over all ways to lay one over the other decides: equal names and types speak for a
 * pair, other types against it, and a live column passed over before the end hardly can be.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/catalog.h"

#include <stdlib.h>

enum {
    SAME = 10,       /* name and type */
    SAME_NAME = 6,   /* of another type now */
    RENAMED = 2,     /* of the same type */
    OTHER = -4,      /* name and type differ: renamed and given another type */
    GONE = 3,        /* rather dropped than renamed: a mistake there costs nothing */
    PASSED = -25,    /* a live column that the description lacks */
    NEVER = -100000, /* no way leads here */
};

static int pair(const struct column *was, const struct catalog_column *is)
{
    bool same_type = was->type == is->type || was->type == is->base;

    if (is->dropped) {
        return GONE;
    }
    if (view_is(was->name, is->name)) {
        return same_type ? SAME : SAME_NAME;
    }
    return same_type && !is->generated ? RENAMED : OTHER;
}

static int pass(const struct catalog_column *is)
{
    return is->dropped || is->generated ? 0 : PASSED;
}

static void match_names(const struct catalog_table *table, const struct relation *relation,
                        int *positions)
{
    for (int i = 0; i < relation->count; i++) {
        positions[i] = -1;
        for (int k = 0; k < table->count && positions[i] < 0; k++) {
            const struct catalog_column *column = &table->columns[k];
            if (!column->dropped && view_is(column->name, relation->columns[i].name)) {
                positions[i] = k;
            }
        }
    }
}

/* best[i][k]: the sum for the first i of the description over the first k of the table. */
static void match_best(const struct catalog_table *table, const struct relation *relation,
                       int *positions)
{
    size_t width = (size_t)table->count + 1;
    int *best = xcalloc(((size_t)relation->count + 1) * width, sizeof(*best));

    for (int i = 0; i <= relation->count; i++) {
        for (int k = 0; k <= table->count; k++) {
            int *here = &best[(size_t)i * width + (size_t)k];
            *here = i == 0 && k == 0 ? 0 : NEVER;
            if (k > 0) { /* passing over is free once all have found their place */
                int over = here[-1] + (i == relation->count ? 0 : pass(&table->columns[k - 1]));
                *here = MAX(*here, over);
            }
            if (i > 0 && k > 0) {
                int taken = *(here - width - 1) +
                            pair(&relation->columns[i - 1], &table->columns[k - 1]);
                *here = MAX(*here, taken);
            }
        }
    }
    for (int i = relation->count, k = table->count; i > 0;) {
        int here = best[(size_t)i * width + (size_t)k];
        int over = k > 0 ? best[(size_t)i * width + (size_t)k - 1] +
                               (i == relation->count ? 0 : pass(&table->columns[k - 1]))
                         : NEVER - 1;
        bool passed = k > 0 && here == over;
        positions[i - 1] = passed || k == 0 ? -1 : k - 1;
        i -= passed ? 0 : 1;
        k -= k > 0 ? 1 : 0;
    }
    free(best);
}

void catalog_match(const struct catalog_table *table, const struct relation *relation,
                   int *positions)
{
    bool is_longer = relation->count > table->count; /* cannot be its description */
    bool is_another = table->oid != relation->oid;   /* made anew under the name */

    if (table->some_columns || is_longer || is_another) {
        match_names(table, relation, positions);
    } else {
        match_best(table, relation, positions);
    }
}
