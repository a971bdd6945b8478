/* compact_sim_test.c - compaction at work while the machine dies again and again.
 *
 * Each seed: several lives of a log with a compacted topic of small segments, each ended by a
 * power loss. Records with few keys, tombstones, transactions that commit and abort. After each
 * start the log is read as a committed reader does, and what is newest per key must be what the
 * model says; no aborted record is shown, none comes back, none is changed.
 * TIDEMARK_SIM_SEEDS says how many seeds, TIDEMARK_SIM_SEED runs a single one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define LIVES 5
#define STEPS_MAX 600 /* in one life */
#define OFFSETS_MAX 20000
#define KEYS 12
#define PRODUCER 77
#define SEEDS_PRESET 60

/* A crash leaves the objects of that life behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

enum fate { FATE_NONE, FATE_COMMITTED, FATE_ABORTED, FATE_OPEN };

struct fact { /* what was acknowledged, or found, at an offset */
    enum fate fate;
    int key;
    int64_t id; /* 0: a tombstone */
    bool present;
};

struct world {
    struct os_sim *sim;
    struct log_config config;
    struct log *log;
    struct topic *topic;
    struct partition *p;
    struct fact facts[OFFSETS_MAX];
    int64_t end; /* one past the last that was acknowledged */
    int64_t next_id, vanished;
    int16_t epoch;
    int32_t sequence;
    bool in_txn;
    uint64_t seed;
};

struct put { /* an append under way */
    struct log_append append;
    struct world *world;
    struct fact facts[4];
    size_t count;
    bool marker, commit, done;
};

#define require(condition, w)                                                                  \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fail_msg("seed %llu: %s (run it with TIDEMARK_SIM_SEED); last error: %s",          \
                     (unsigned long long)(w)->seed, #condition, fault_here.text);              \
        }                                                                                      \
    } while (0)

static void end_open(struct world *w, int64_t before, bool commit)
{
    for (int64_t i = 0; i < before; i++) {
        if (w->facts[i].fate == FATE_OPEN) {
            w->facts[i].fate = commit ? FATE_COMMITTED : FATE_ABORTED;
        }
    }
}

static void put_done(struct log_append *a)
{
    struct put *put = (struct put *)a;
    struct world *w = put->world;

    put->done = true;
    if (a->status != LOG_APPEND_OK || os_sim_is_dead(w->sim)) {
        return; /* a dead machine tells nobody */
    }
    require(a->last_offset < OFFSETS_MAX, w);
    w->end = MAX(w->end, a->last_offset + 1);
    if (put->marker) {
        end_open(w, a->base_offset, put->commit);
        return;
    }
    for (size_t i = 0; i < put->count; i++) {
        require(w->facts[a->base_offset + (int64_t)i].fate == FATE_NONE, w);
        w->facts[a->base_offset + (int64_t)i] = put->facts[i];
    }
}

static void send(struct world *w, struct put *put)
{
    put->world = w;
    put->append.partition = w->p;
    put->append.acks = LOG_ACKS_DURABLE;
    put->append.done = put_done;
    require(batch_peek(put->append.batch, &put->append.info) == BATCH_FINE, w);
    log_append(w->log, &put->append);
}

static void put_data(struct world *w, bool txn)
{
    struct put *put = xcalloc(1, sizeof(*put));
    struct record records[COUNT(put->facts)];
    char keys[COUNT(put->facts)][8], values[COUNT(put->facts)][400];
    struct batch_build build = {.records = records,
                                .codec = (enum codec)os_sim_below(w->sim, CODEC_COUNT),
                                .producer_id = -1};

    build.count = put->count = 1 + os_sim_below(w->sim, COUNT(put->facts));
    if (txn) {
        build.attributes = BATCH_TRANSACTIONAL;
        build.producer_id = PRODUCER;
        build.producer_epoch = w->epoch;
        build.base_sequence = w->sequence;
        w->sequence += (int32_t)build.count;
        put->append.flags = LOG_APPEND_VERIFIED;
    }
    for (size_t i = 0; i < build.count; i++) {
        struct fact *fact = &put->facts[i];
        *fact = (struct fact){.fate = txn ? FATE_OPEN : FATE_COMMITTED,
                              .key = (int)os_sim_below(w->sim, KEYS),
                              .id = os_sim_below(w->sim, 5) ? w->next_id++ : 0};
        snprintf(keys[i], sizeof(keys[i]), "%d", fact->key);
        snprintf(values[i], sizeof(values[i]), "%lld %0*d", (long long)fact->id,
                 (int)os_sim_below(w->sim, 300), 0);
        records[i] =
            (struct record){.key = view_text(keys[i]),
                            .value = view_text(fact->id ? values[i] : NULL),
                            .timestamp_ms = os_sim_os(w->sim)->now_ms(os_sim_os(w->sim))};
    }
    put->append.hold = batch_new(&build, &put->append.batch);
    send(w, put);
}

static struct put *put_marker(struct world *w, bool commit)
{
    struct put *put = xcalloc(1, sizeof(*put));
    int64_t now_ms = os_sim_os(w->sim)->now_ms(os_sim_os(w->sim));

    put->marker = true;
    put->commit = commit;
    put->append.flags = LOG_APPEND_INTERNAL;
    put->append.hold = batch_marker(commit, PRODUCER, w->epoch, 0, now_ms, &put->append.batch);
    send(w, put);
    return put;
}

/* One record that a reader was given. */
static void look(struct world *w, const struct batch_info *info, const struct record *record,
                 int64_t newest[KEYS])
{
    struct fact *fact = &w->facts[record->offset];
    int64_t key = -1;
    int64_t id = record->value.at ? strtoll((const char *)record->value.at, NULL, 10) : 0;

    require(view_to_int(record->key, &key) == OK && key >= 0 && key < KEYS, w);
    if (fact->fate == FATE_NONE) { /* not acknowledged, but it made it */
        *fact = (struct fact){.fate = FATE_COMMITTED, .key = (int)key, .id = id};
    }
    require(fact->key == key && fact->id == id, w);
    require(fact->fate == FATE_COMMITTED, w);
    require(record->offset <= info->base_offset + info->last_offset_delta, w);
    fact->present = true;
    newest[key] = id;
}

/* Is the batch's transaction an aborted one? As a reader of committed data finds out. */
static bool skipped(struct world *w, const struct log_read *read, const struct batch_info *info,
                    bool *aborting)
{
    int64_t last = info->base_offset + info->last_offset_delta;

    require(info->producer_id == -1 || info->producer_id == PRODUCER, w);
    for (size_t i = 0; i < read->aborted_count; i++) {
        if (read->aborted[i].first_offset <= last) {
            *aborting = true;
            read->aborted[i].first_offset = INT64_MAX;
        }
    }
    return *aborting && info->attributes & BATCH_TRANSACTIONAL;
}

static void look_at_batch(struct world *w, const struct log_read *read, view batch,
                          const struct batch_info *info, bool *aborting, int64_t newest[KEYS])
{
    struct batch_walk walk;
    struct record record;
    bool commit, more = true;
    int32_t epoch;

    if (info->attributes & BATCH_CONTROL) {
        (void)skipped(w, read, info, aborting);
        if (batch_marker_read(batch, &commit, &epoch) && !commit) {
            *aborting = false;
        }
        return;
    }
    if (skipped(w, read, info, aborting)) {
        for (int32_t i = 0; i <= info->last_offset_delta; i++) {
            require(w->facts[info->base_offset + i].fate != FATE_COMMITTED, w);
        }
        return;
    }
    batch_walk_init(&walk, batch);
    while (batch_walk_next(&walk, &record, &more) == OK && more) {
        if (record.offset >= read->offset) {
            look(w, info, &record, newest);
        }
    }
    require(!more, w);
    batch_walk_fini(&walk);
}

/* One fetch of a committed reader; gives where the next one begins. */
static int64_t fetch(struct world *w, int64_t at, int64_t newest[KEYS])
{
    struct log_read read = {.partition = w->p,
                            .offset = at,
                            .bytes_max = 5000,
                            .whole_first = true,
                            .committed = true,
                            .may_block = true};
    struct batch_info info;
    bool aborting = false;

    log_read(w->log, &read);
    require(read.status == LOG_READ_OK, w);
    require(read.range.segment, w); /* there is always an end to find */
    uint8_t *bytes = xmalloc(read.range.bytes);
    require(log_range_read(w->log, &read.range, 0, bytes, read.range.bytes, true) ==
                OS_READ_DONE,
            w);
    for (view rest = {bytes, read.range.bytes}; rest.len; rest = view_from(rest, info.bytes)) {
        require(batch_check_stored(rest, &info) == BATCH_FINE, w);
        require(info.base_offset + info.last_offset_delta >= at, w);
        look_at_batch(w, &read, view_upto(rest, info.bytes), &info, &aborting, newest);
        at = info.base_offset + info.last_offset_delta + 1;
    }
    log_range_drop(w->log, &read.range);
    free(read.aborted);
    free(bytes);
    return at;
}

/* Outcomes that nobody was told of, as the markers in the log say. */
static void learn_outcomes(struct world *w, int64_t high)
{
    for (int64_t at = 0; at < high;) {
        struct buf *bytes = NULL;
        struct batch_info info;
        require(log_fetch(w->log, w->p, at, 1 << 20, false, &bytes) == OK, w);
        require(bytes, w);
        for (view rest = {bytes->bytes, bytes->len}; rest.len;
             rest = view_from(rest, info.bytes)) {
            bool commit;
            int32_t epoch;
            require(batch_peek(rest, &info) == BATCH_FINE, w);
            if (batch_marker_read(rest, &commit, &epoch)) {
                end_open(w, info.base_offset, commit);
            }
            at = info.base_offset + info.last_offset_delta + 1;
        }
        buf_drop(bytes);
    }
}

static void check(struct world *w)
{
    struct partition_ends ends;
    int64_t newest[KEYS] = {0}, expected[KEYS] = {0};

    partition_ends(w->p, &ends);
    require(ends.start == 0 && ends.high >= w->end, w);
    require(ends.stable == ends.high, w);
    for (int64_t i = 0; i < ends.high; i++) {
        w->facts[i].present = false;
    }
    for (int64_t at = 0; at < ends.high;) {
        at = fetch(w, at, newest);
    }
    for (int64_t i = 0; i < ends.high; i++) {
        if (w->facts[i].fate == FATE_COMMITTED) {
            expected[w->facts[i].key] = w->facts[i].id;
            w->vanished += !w->facts[i].present;
        }
    }
    require(memcmp(newest, expected, sizeof(newest)) == 0, w);
    w->end = ends.high;
}

static void pass_time(struct world *w)
{
    if (!os_sim_step(w->sim)) {
        os_sim_advance(w->sim, 1000000);
    }
}

/* What was open when the machine died is aborted, as a coordinator does; false: died again. */
static bool end_what_was_open(struct world *w)
{
    struct partition_ends ends;

    partition_ends(w->p, &ends);
    learn_outcomes(w, ends.high);
    w->epoch++;
    w->sequence = 0;
    w->in_txn = false;
    struct put *put = put_marker(w, false);
    while (!put->done && !os_sim_is_dead(w->sim)) {
        pass_time(w);
    }
    return !os_sim_is_dead(w->sim);
}

static void live(struct world *w)
{
    for (size_t steps = os_sim_below(w->sim, STEPS_MAX); steps && !os_sim_is_dead(w->sim);
         steps--) {
        uint64_t dice = os_sim_below(w->sim, 100);
        if (dice < 30) {
            bool txn = w->in_txn && os_sim_below(w->sim, 2);
            put_data(w, txn);
        } else if (dice < 34 && !w->in_txn) {
            w->epoch++;
            w->sequence = 0;
            w->in_txn = true;
            put_data(w, true);
        } else if (dice < 40 && w->in_txn) {
            w->in_txn = false;
            (void)put_marker(w, os_sim_below(w->sim, 2));
        } else {
            pass_time(w);
            os_sim_advance(w->sim, (int64_t)os_sim_below(w->sim, 8) * 1000000);
        }
    }
}

static void open_life(struct world *w)
{
    bool large = os_sim_below(w->sim, 2); /* with and without an index */
    const struct setting settings[] = {
        {(char *)(uintptr_t) "cleanup.policy", (char *)(uintptr_t) "compact"},
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t)(large ? "15000" : "3000")},
        {(char *)(uintptr_t) "min.cleanable.dirty.ratio", (char *)(uintptr_t) "0.01"},
        {(char *)(uintptr_t) "delete.retention.ms", (char *)(uintptr_t) "150"}};
    bool first = w->log == NULL;

    w->log = testing_open(w->sim, &w->config);
    w->topic = first ? testing_topic(w->sim, w->log, "compacted", 1, settings, COUNT(settings))
                     : log_topic(w->log, VIEW("compacted"));
    require(w->topic, w);
    w->p = topic_partition(w->topic, 0);
}

static void run_seed(uint64_t seed, int64_t *vanished)
{
    struct world *w = xcalloc(1, sizeof(*w));

    w->seed = seed;
    w->sim = os_sim_new(seed);
    w->config = testing_config();
    w->config.journal_bytes_max = 0; /* the smallest ring */
    w->config.unsynced_bytes_max = 4000;
    w->config.unsynced_ms_max = 20;
    w->config.retention_check_ms = 30;
    w->next_id = 1;
    for (int i = 0; i < LIVES; i++) {
        open_life(w);
        if (end_what_was_open(w)) {
            check(w);
            if (os_sim_below(w->sim, 2)) {
                os_sim_kill_after(w->sim, 1 + os_sim_below(w->sim, 1500));
            }
            live(w);
        }
        os_sim_crash(w->sim);
    }
    open_life(w);
    require(end_what_was_open(w), w);
    check(w);
    *vanished += w->vanished;
    topic_drop(w->topic);
    log_close(w->log);
    os_sim_free(w->sim);
    free(w->config.defaults.compression_type);
    free(w);
}

static void compaction_survives_power_losses(void **state)
{
    const char *one = getenv("TIDEMARK_SIM_SEED"), *many = getenv("TIDEMARK_SIM_SEEDS");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_PRESET;
    int64_t vanished = 0;

    (void)state;
    if (!one) {
        trace_setup((enum trace_level) - 1, false); /* dying disks are what is asked for */
    }
    for (uint64_t seed = from; seed < from + count; seed++) {
        run_seed(seed, &vanished);
    }
    printf("%llu seeds, %d lives each, compaction took %lld records away\n",
           (unsigned long long)count, LIVES, (long long)vanished);
    assert_true(one || vanished > (int64_t)count * 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compaction_survives_power_losses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
