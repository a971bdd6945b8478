/* moment.c - from points as people write them to a place in the order of commits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/moment.h"

#define MS_US INT64_C(1000)

static err take_first(void *self, const struct trail_hit *hit)
{
    uint64_t *commit_lsn = self;

    *commit_lsn = hit->change->place.commit_lsn;
    return ERR_CANCELLED;
}

/* The commit of the first change the filters leave; 0: there is none. */
static err first_commit(struct trail *trail, const struct filter *filter, uint64_t *out)
{
    struct trail_query query = {
        .filters = filter, .count = filter ? 1 : 0, .oldest_first = true, .limit = 1};
    struct trail_found found;

    *out = 0;
    err e = trail_find(trail, &query, take_first, out, &found);
    return e == ERR_CANCELLED ? OK : e;
}

static err until_time(struct trail *trail, int64_t ms, struct moment *out)
{
    struct filter later = {.kind = FILTER_SINCE, .number = (ms + 1) * MS_US};
    struct trail_state state;
    uint64_t commit_lsn;

    trail_state(trail, &state); /* before the search: what comes after it may be later */
    err e = first_commit(trail, &later, &commit_lsn);
    out->at_ms = ms;
    out->lsn = commit_lsn ? commit_lsn - 1 : state.lsn;
    if (!out->lsn) {
        out->lsn = UINT64_MAX; /* it has taken in no seal since it was opened: all is older */
    }
    return e;
}

static err no_moment(view text, const char *why)
{
    return fault(ERR_INVALID, "\"%.*s\" %s: use %s", VIEW_ARG(view_upto(text, 80)), why,
                 POINT_WORDS_DATABASE);
}

err moment_parse(struct trail *trail, view source, view text, int64_t now_ms,
                 struct moment *out)
{
    struct point point = {.kind = POINT_LATEST};
    bool now = !text.len || view_is_text(text, "now");
    err e = now ? OK : point_parse(text, now_ms, &point);

    *out = MOMENT_NOW;
    if (e) {
        return e;
    }
    switch (point.kind) {
    case POINT_EARLIEST:
        e = first_commit(trail, NULL, &out->lsn);
        break;
    case POINT_LATEST:
        break;
    case POINT_TIME:
        e = until_time(trail, point.value, out);
        break;
    case POINT_LSN:
        out->lsn = (uint64_t)point.value;
        if (!view_is(point.source, source)) {
            e = no_moment(text, "is a position of another source");
        }
        break;
    case POINT_OFFSET:
        e = no_moment(text, "means nothing in a database");
        break;
    }
    return e;
}
