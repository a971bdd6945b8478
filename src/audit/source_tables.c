/* source_tables.c - tables made after their source: published, then their rows read.
 *
 * Rows written between CREATE TABLE and this look are not in the stream; reading the table
 * while the stream goes on brings them. SPDX-License-Identifier: Apache-2.0 */
#include "audit/source_inside.h"

#include "audit/capture.h"
#include "audit/setup.h"

/* Those that the plan will publish, as patterns. */
static err name_fresh(struct pg *pg, const struct setup_ask *ask, struct arena *arena,
                      struct writer *out)
{
    struct setup_table *tables = NULL;
    size_t count = 0;
    err e = setup_tables(pg, ask, arena, &tables, &count);

    for (size_t i = 0; !e && i < count; i++) {
        const struct setup_table *t = &tables[i];
        if (!t->published && !t->skipped && !t->unlogged) {
            write_format(out, "%s%.*s.%.*s", out->len ? "," : "", VIEW_ARG(t->schema),
                         VIEW_ARG(t->name));
        }
    }
    return e;
}

static err publish(struct source *source, struct pg *pg, const struct setup_plan *plan,
                   const char *names)
{
    err e = setup_run(pg, plan);

    if (e) {
        return fault_prefix("tables that are new (%s) could not be published: ", names);
    }
    trace_info("audit", "source %s: new tables are captured: %s", source->name, names);
    return source->options.snapshot ? capture_ask_snapshot(source->capture, names) : OK;
}

err source_take_tables(struct source *source, struct pg *pg)
{
    const struct source_options *o = &source->options;
    const struct setup_ask ask = {.tables = o->tables,
                                  .without = o->without,
                                  .keyless = (enum setup_keyless)o->keyless,
                                  .slot = o->slot,
                                  .publication = o->publication};
    struct setup_plan plan = {0};
    struct writer names = {0};
    struct arena arena = {0};
    err e = OK;

    if (!source->capture) {
        return OK;
    }
    e = setup_plan(pg, &ask, &arena, &plan);
    if (!e && plan.count && !plan.makes_slot) {
        e = name_fresh(pg, &ask, &arena, &names);
    }
    if (!e && names.len) {
        e = publish(source, pg, &plan, arena_text(&arena, writer_view(&names)));
    }
    writer_fini(&names);
    arena_fini(&arena);
    return e;
}
