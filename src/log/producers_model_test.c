/* producers_model_test.c - random batches and markers against a model that keeps everything.
 *
 * The model is a list of all that was appended; every answer is found by walking it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log/producers.h"

#define IDS 6
#define STEPS 4000
#define ROUNDS 25

struct event { /* one batch that was appended */
    struct batch_info info;
    int64_t base;
    bool marker, commit;
};

struct model {
    struct event events[STEPS];
    size_t count;
    int64_t end;
    bool held[IDS]; /* its last transaction waits for the release */
    int64_t held_first[IDS];
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static int32_t pick(uint64_t *seed, int32_t below)
{
    return (int32_t)(next_random(seed) >> 33) % below;
}

/* First offset of the producer's open transaction before events[upto], -1: none. */
static int64_t open_of(const struct model *m, int64_t id, size_t upto)
{
    int64_t first = -1;

    for (size_t i = 0; i < upto; i++) {
        const struct event *e = &m->events[i];
        if (e->info.producer_id == id) {
            bool data = e->info.attributes & BATCH_TRANSACTIONAL && !e->marker;
            first = e->marker ? -1 : (data && first < 0 ? e->base : first);
        }
    }
    return first;
}

static const struct event *last_of(const struct model *m, int64_t id)
{
    for (size_t i = m->count; i > 0; i--) {
        if (m->events[i - 1].info.producer_id == id) {
            return &m->events[i - 1];
        }
    }
    return NULL;
}

/* The producer's batches under its present epoch, newest first. */
static size_t recent(const struct model *m, int64_t id, const struct event **out)
{
    const struct event *last = last_of(m, id);
    size_t count = 0;

    for (size_t i = m->count; last && i > 0 && count < PRODUCER_BATCHES_KEPT; i--) {
        const struct event *e = &m->events[i - 1];
        if (e->info.producer_id != id) {
            continue;
        }
        if (e->info.producer_epoch != last->info.producer_epoch) {
            break;
        }
        if (!e->marker) {
            out[count++] = e;
        }
    }
    return count;
}

static int32_t end_sequence(const struct event *e)
{
    int64_t last = (int64_t)e->info.base_sequence + e->info.last_offset_delta;

    return (int32_t)(last > INT32_MAX ? last - INT32_MAX - 1 : last);
}

static int32_t following(const struct event *e)
{
    return end_sequence(e) == INT32_MAX ? 0 : end_sequence(e) + 1;
}

static enum log_append_status expect_data(const struct model *m, const struct batch_info *info,
                                          unsigned flags, int64_t *old_base)
{
    const struct event *known = last_of(m, info->producer_id), *list[PRODUCER_BATCHES_KEPT];
    size_t count = recent(m, info->producer_id, list);
    bool open = open_of(m, info->producer_id, m->count) >= 0;
    bool same_epoch = known && known->info.producer_epoch == info->producer_epoch;
    bool transactional = info->attributes & BATCH_TRANSACTIONAL;

    if (known && info->producer_epoch < known->info.producer_epoch) {
        return LOG_APPEND_OLD_EPOCH;
    }
    for (size_t i = 0; same_epoch && i < count; i++) {
        if (list[i]->info.base_sequence == info->base_sequence &&
            list[i]->info.last_offset_delta == info->last_offset_delta) {
            *old_base = list[i]->base;
            return LOG_APPEND_DUPLICATE;
        }
    }
    if (transactional && !(open && same_epoch) && !(flags & LOG_APPEND_VERIFIED)) {
        return LOG_APPEND_TXN_STATE;
    }
    if (known && info->base_sequence != (same_epoch && count ? following(list[0]) : 0)) {
        return LOG_APPEND_OUT_OF_ORDER;
    }
    return open && !transactional ? LOG_APPEND_TXN_STATE : LOG_APPEND_OK;
}

static int64_t expect_first_open(const struct model *m)
{
    int64_t least = INT64_MAX;

    for (int64_t id = 0; id < IDS; id++) {
        int64_t first = open_of(m, id, m->count);
        least = first >= 0 ? MIN(least, first) : least;
        least = m->held[id] ? MIN(least, m->held_first[id]) : least;
    }
    return least;
}

static void assert_same_aborts(const struct producers *p, const struct model *m, int64_t from,
                               int64_t to)
{
    struct log_aborted *list;
    size_t count = producers_aborted(p, from, to, &list), found = 0;

    for (size_t i = 0; i < m->count; i++) {
        const struct event *e = &m->events[i];
        int64_t first = e->marker && !e->commit ? open_of(m, e->info.producer_id, i) : -1;
        if (first >= 0 && first < to && e->base >= from) {
            assert_true(found < count);
            assert_int_equal(list[found].producer_id, e->info.producer_id);
            assert_int_equal(list[found++].first_offset, first);
        }
    }
    assert_int_equal(found, count);
    free(list);
}

static void note(struct model *m, struct batch_info info, bool marker, bool commit)
{
    assert_true(m->count < STEPS);
    m->events[m->count++] =
        (struct event){.info = info, .base = m->end, .marker = marker, .commit = commit};
    m->end += info.last_offset_delta + 1;
}

static void step_data(struct producers *p, struct model *m, uint64_t *seed)
{
    int64_t id = pick(seed, IDS), base = -1, last = -1, old = -1;
    const struct event *known = last_of(m, id), *list[PRODUCER_BATCHES_KEPT];
    size_t count = recent(m, id, list);
    int32_t epoch = known ? known->info.producer_epoch + (pick(seed, 12) == 0) : 0;
    struct batch_info info = {.producer_id = id,
                              .producer_epoch = (int16_t)(epoch - (pick(seed, 15) == 0)),
                              .base_sequence = count ? following(list[0]) : 0,
                              .last_offset_delta = pick(seed, 4)};
    unsigned flags = pick(seed, 3) ? LOG_APPEND_VERIFIED : 0;

    if (count && pick(seed, 6) == 0) { /* repeat one */
        const struct event *again = list[pick(seed, (int32_t)count)];
        info.base_sequence = again->info.base_sequence;
        info.last_offset_delta = again->info.last_offset_delta;
    } else if (pick(seed, 8) == 0) { /* any, near the wrap when unknown */
        info.base_sequence = known ? pick(seed, 20) : INT32_MAX - pick(seed, 5);
    } else if (epoch != (known ? known->info.producer_epoch : 0)) {
        info.base_sequence = 0;
    }
    info.base_sequence = MAX(info.base_sequence, 0);
    info.attributes = id % 2 == 0 || pick(seed, 10) == 0 ? BATCH_TRANSACTIONAL : 0;
    if (m->held[id] || info.producer_epoch < 0) {
        return; /* a coordinator releases before the next transaction */
    }
    enum log_append_status status = producers_check(p, &info, (view){0}, flags, &base, &last);
    assert_int_equal(status, expect_data(m, &info, flags, &old));
    if (status == LOG_APPEND_DUPLICATE) {
        assert_int_equal(base, old);
        assert_int_equal(last, old + info.last_offset_delta);
    }
    if (status == LOG_APPEND_OK) {
        producers_apply(p, &info, (view){0}, m->end, false, m->end);
        note(m, info, false, false);
    }
}

static void step_marker(struct producers *p, struct model *m, uint64_t *seed)
{
    int64_t id = pick(seed, IDS), base, last, first = open_of(m, id, m->count);
    const struct event *known = last_of(m, id);
    bool commit = pick(seed, 2), hold = pick(seed, 3) == 0;
    struct batch_info info;
    view batch;

    if (!known || m->held[id]) {
        return;
    }
    int32_t epoch = known->info.producer_epoch + pick(seed, 2);
    struct buf *b = batch_marker(commit, id, (int16_t)epoch, 0, 0, &batch);
    assert_int_equal(batch_peek(batch, &info), BATCH_FINE);
    assert_int_equal(producers_check(p, &info, batch, LOG_APPEND_INTERNAL, &base, &last),
                     LOG_APPEND_OK);
    producers_apply(p, &info, batch, m->end, hold, m->end);
    m->held[id] = hold && first >= 0;
    m->held_first[id] = first;
    note(m, info, true, commit);
    buf_drop(b);
}

static void step_release(struct producers *p, struct model *m, uint64_t *seed)
{
    int64_t id = pick(seed, IDS);

    producers_release(p, id);
    m->held[id] = false;
}

static void step_snapshot(struct producers *p, struct model *m)
{
    struct writer out = {0};
    int64_t offset;

    producers_save(p, m->end, &out);
    assert_int_equal(producers_load(p, writer_view(&out), &offset), OK);
    assert_int_equal(offset, m->end);
    memset(m->held, 0, sizeof(m->held)); /* held counts as released */
    writer_fini(&out);
}

static void random_steps_agree_with_the_model(void **state)
{
    uint64_t seed = (uint64_t)time(NULL) * 2654435761u | 1;
    const char *given = getenv("SEED");

    (void)state;
    seed = given ? strtoull(given, NULL, 10) | 1 : seed;
    for (int round = 0; round < ROUNDS; round++, seed += 2) {
        struct producers *p = producers_new(IDS * 2, INT64_MAX);
        struct model *m = xcalloc(1, sizeof(*m));
        uint64_t random = seed;
        print_message("seed %llu\n", (unsigned long long)seed);
        for (int step = 0; step < STEPS / ROUNDS * 2; step++) {
            int32_t what = pick(&random, 100);
            if (what < 75) {
                step_data(p, m, &random);
            } else if (what < 88) {
                step_marker(p, m, &random);
            } else if (what < 97) {
                step_release(p, m, &random);
            } else {
                step_snapshot(p, m);
            }
            assert_int_equal(producers_first_open(p), expect_first_open(m));
            int64_t from = pick(&random, (int32_t)m->end + 1);
            assert_same_aborts(p, m, from, from + pick(&random, 40));
        }
        free(m);
        producers_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_steps_agree_with_the_model)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
