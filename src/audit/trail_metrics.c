/* trail_metrics.c - samples of all trails. SPDX-License-Identifier: Apache-2.0 */
#include "audit/source.h"
#include "audit/trail.h"
#include "http/http.h"

static int64_t changes(const struct trail_state *state)
{
    return state->changes;
}

static int64_t behind(const struct trail_state *state)
{
    return state->behind_seals;
}

static int64_t bytes(const struct trail_state *state)
{
    return state->bytes;
}

static int64_t waits(const struct trail_state *state)
{
    return state->words[0] != '\0';
}

void trail_metrics(struct source *const *sources, size_t count, struct writer *out)
{
    static const struct {
        const char *name, *help;
        int64_t (*value)(const struct trail_state *state);
    } metrics[] = {
        {"tidemark_trail_changes", "Changes that can be found.", changes},
        {"tidemark_trail_behind_seals", "Seals that the index has not taken in yet.", behind},
        {"tidemark_trail_bytes", "Of the index's file.", bytes},
        {"tidemark_trail_waits", "1 while the index cannot go on; its source says why.", waits},
    };

    for (size_t i = 0; i < COUNT(metrics) && count; i++) {
        http_metric(out, metrics[i].name, "gauge", metrics[i].help);
        for (size_t s = 0; s < count; s++) {
            const struct http_label label = {"source", view_text(sources[s]->name)};
            struct trail_state state;
            trail_state(sources[s]->trail, &state);
            http_sample_int(out, metrics[i].name, &label, 1, metrics[i].value(&state));
        }
    }
}
