/* log_sim_test.c - power losses at any moment, over thousands of seeds, against a plain model.
 *
 * Each seed: several lives of a log, each ended by a crash in the middle of whatever went on, a
 * few by an orderly stop. Topics with and without flush before the ack, small segments, syncs
 * that fail, a disk that is full now and then. After each start everything is read and
 * compared: no acknowledged record lost (but the unsynced tail of flush.policy=os), none
 * invented, none twice, offsets without gaps and stable, and nothing that a reader had seen is
 * gone. TIDEMARK_SIM_SEEDS says how many seeds, TIDEMARK_SIM_SEED runs a single one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/testing.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define PARTITIONS 3
#define LIVES 6
#define APPENDS_MAX 60 /* in one life */
#define OFFSETS_MAX 20000
#define SEEDS_PRESET 150
#define SEEDS_SOAK 8000 /* more than a million appends */

/* A crash leaves the objects of that life behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

struct model {
    int64_t acked[OFFSETS_MAX]; /* value id at an offset, 0: not known */
    int64_t end;                /* one past the last acked offset */
    int64_t seen;               /* high as a reader saw it */
    bool keeps;                 /* flush.policy=sync */
    int64_t producer;           /* its id, all batches of the partition are its */
    int32_t sequence;           /* of its next record */
    struct batch_info last;     /* the last batch found at a start */
};

struct world {
    struct os_sim *sim;
    struct log_config config;
    struct log *log;
    struct topic *topics[2]; /* 0: sync, 1: os */
    struct model models[2][PARTITIONS];
    bool churning;                              /* a topic change is under way */
    enum { MAY_BE, IS_THERE, IS_GONE } passing; /* the topic of that name, as was promised */
    int64_t next_id;
    int64_t operations;
    uint64_t seed;
};

struct put { /* an append under way */
    struct log_append append;
    struct world *world;
    struct model *model;
    int64_t id;
    size_t count;
    bool done;
};

struct churn {
    struct log_change change;
    struct world *world;
};

#define require(condition, w)                                                                  \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fail_msg("seed %llu: %s (run it with TIDEMARK_SIM_SEED); last error: %s",          \
                     (unsigned long long)(w)->seed, #condition, fault_here.text);              \
        }                                                                                      \
    } while (0)

static void put_done(struct log_append *a)
{
    struct put *put = (struct put *)a;

    put->done = true;
    if (os_sim_is_dead(put->world->sim)) {
        return; /* a dead machine tells nobody */
    }
    if (a->status != LOG_APPEND_OK) { /* the producer goes on where it was refused */
        put->model->sequence = MIN(put->model->sequence, a->info.base_sequence);
        return;
    }
    require(a->base_offset + (int64_t)put->count <= OFFSETS_MAX, put->world);
    for (size_t i = 0; i < put->count; i++) {
        require(put->model->acked[a->base_offset + (int64_t)i] == 0, put->world);
        put->model->acked[a->base_offset + (int64_t)i] = put->id + (int64_t)i;
    }
    put->model->end = MAX(put->model->end, a->base_offset + (int64_t)put->count);
}

static void put_start(struct world *w)
{
    size_t t = os_sim_below(w->sim, 2);
    int32_t index = (int32_t)os_sim_below(w->sim, PARTITIONS);
    size_t count = 1 + os_sim_below(w->sim, 4);
    struct record *records = xcalloc(count, sizeof(*records));
    struct put *put = xcalloc(1, sizeof(*put));
    struct model *model = &w->models[t][index];
    struct batch_build build = {.records = records,
                                .count = count,
                                .producer_id = model->producer,
                                .base_sequence = model->sequence};
    size_t padding = os_sim_below(w->sim, 10) ? os_sim_below(w->sim, 300) : 5000;

    put->world = w;
    put->model = model;
    model->sequence += (int32_t)count;
    put->id = w->next_id;
    put->count = count;
    for (size_t i = 0; i < count; i++) {
        records[i].value =
            view_text(text_format("%lld %0*d", (long long)w->next_id++, (int)padding, 0));
        records[i].timestamp_ms = os_sim_os(w->sim)->now_ms(os_sim_os(w->sim));
    }
    put->append.partition = topic_partition(w->topics[t], index);
    put->append.acks = LOG_ACKS_DURABLE;
    put->append.done = put_done;
    put->append.hold = batch_new(&build, &put->append.batch);
    require(batch_check(put->append.batch, &put->append.info) == BATCH_FINE, w);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)records[i].value.at);
    }
    free(records);
    log_append(w->log, &put->append);
    w->operations++;
}

static void note_last(struct model *m, view batches)
{
    while (batches.len && batch_peek(batches, &m->last) == BATCH_FINE) {
        m->sequence = m->last.base_sequence + m->last.record_count;
        batches = view_from(batches, m->last.bytes);
    }
}

/* The producer's last batch once more, as a client does that saw no answer: not a second time.
 */
static void repeat_last(struct world *w, struct partition *p, struct model *m)
{
    struct testing_record records[] = {
        {"k", "v", 1}, {"k", "v", 1}, {"k", "v", 1}, {"k", "v", 1}};
    struct batch_build head = {.producer_id = m->producer,
                               .base_sequence = m->last.base_sequence};
    enum log_append_status status;

    if (m->end > 0) {
        int64_t offset = testing_append(w->sim, w->log, p, records,
                                        (size_t)m->last.record_count, &head, &status);
        require(status == LOG_APPEND_DUPLICATE, w);
        require(offset == m->last.base_offset, w);
    }
}

/* Compares what the partition holds with the model, and takes it over. */
static void check_partition(struct world *w, struct partition *p, struct model *m)
{
    struct partition_ends ends;
    int64_t at, found_end;

    partition_ends(p, &ends);
    require(ends.start == 0, w);
    if (m->keeps) {
        require(ends.high >= m->end, w);
        require(ends.high >= m->seen, w);
    }
    for (at = 0; at < ends.high;) {
        struct buf *bytes = NULL;
        struct batch_walk walk;
        struct record record;
        bool more = true;
        require(log_fetch(w->log, p, at, 1 << 20, false, &bytes) == OK, w);
        require(bytes != NULL, w);
        batch_walk_init(&walk, (view){bytes->bytes, bytes->len});
        while (batch_walk_next(&walk, &record, &more) == OK && more) {
            if (record.offset < at) {
                continue;
            }
            require(record.offset == at, w); /* no gaps */
            int64_t id = strtoll((const char *)record.value.at, NULL, 10);
            require(id > 0 && id < w->next_id, w);
            require(m->acked[at] == 0 || m->acked[at] == id, w);
            require(at == 0 || m->acked[at - 1] != id, w); /* not twice */
            m->acked[at++] = id;
        }
        batch_walk_fini(&walk);
        note_last(m, (view){bytes->bytes, bytes->len});
        buf_drop(bytes);
    }
    found_end = at;
    for (; at < MAX(m->end, m->seen); at++) { /* lost with the page cache */
        require(!m->keeps, w);
        m->acked[at] = 0;
    }
    m->end = m->seen = found_end;
    if (!found_end) {
        m->sequence = 0;
    }
    repeat_last(w, p, m);
}

static void check_all(struct world *w)
{
    for (size_t t = 0; t < 2; t++) {
        for (int32_t i = 0; i < PARTITIONS; i++) {
            check_partition(w, topic_partition(w->topics[t], i), &w->models[t][i]);
        }
    }
}

static void open_life(struct world *w)
{
    static const struct setting sync[] = {
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t) "6000"}};
    static const struct setting os[] = {
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t) "6000"},
        {(char *)(uintptr_t) "flush.policy", (char *)(uintptr_t) "os"}};
    bool first = w->log == NULL;

    require(log_open(os_sim_os(w->sim), &w->config, &w->log) == OK, w);
    if (first) {
        w->topics[0] = testing_topic(w->sim, w->log, "kept", PARTITIONS, sync, COUNT(sync));
        w->topics[1] = testing_topic(w->sim, w->log, "cached", PARTITIONS, os, COUNT(os));
    } else {
        w->topics[0] = log_topic(w->log, VIEW("kept"));
        w->topics[1] = log_topic(w->log, VIEW("cached"));
    }
    require(w->topics[0] && w->topics[1], w);
    struct topic *passing = log_topic(w->log, VIEW("passing"));
    require(w->passing != IS_THERE || passing, w);
    require(w->passing != IS_GONE || !passing, w);
    topic_drop(passing);
    w->churning = false;
}

/* Topics that come and go; what became of the last change is not waited for. */
static void churn_done(struct log_change *change)
{
    struct churn *churn = (struct churn *)change;

    churn->world->churning = false;
    topic_drop(change->topic);
    if (os_sim_is_dead(churn->world->sim) || change->fault) {
        return;
    }
    churn->world->passing = change->kind == LOG_TOPIC_CREATE ? IS_THERE : IS_GONE;
}

static void churn_start(struct world *w)
{
    struct topic *there = log_topic(w->log, VIEW("passing"));
    struct churn *churn = xcalloc(1, sizeof(*churn));

    churn->world = w;
    churn->change = (struct log_change){
        .kind = there ? LOG_TOPIC_DELETE : LOG_TOPIC_CREATE,
        .name = VIEW("passing"),
        .partition_count = 2,
        .topic = there,
        .done = churn_done,
    };
    w->churning = true;
    w->passing = MAY_BE;
    log_change(w->log, &churn->change);
    w->operations++;
}

static void passing_done(struct log_append *a)
{
    topic_drop(partition_topic(a->partition));
}

/* Some data in it, so that its files are in the way of its end. */
static void churn_put(struct world *w)
{
    struct topic *there = log_topic(w->log, VIEW("passing"));
    struct record record = {.value = VIEW("passing by")};
    struct batch_build build = {.records = &record, .count = 1, .producer_id = -1};
    struct put *put = xcalloc(1, sizeof(*put));

    if (there) {
        put->append.partition = topic_partition(there, 0);
        put->append.acks = LOG_ACKS_DURABLE;
        put->append.done = passing_done;
        put->append.hold = batch_new(&build, &put->append.batch);
        require(batch_check(put->append.batch, &put->append.info) == BATCH_FINE, w);
        log_append(w->log, &put->append);
    }
}

static void see(struct world *w)
{
    for (int32_t i = 0; i < PARTITIONS; i++) {
        struct partition_ends ends;
        partition_ends(topic_partition(w->topics[0], i), &ends);
        w->models[0][i].seen = MAX(w->models[0][i].seen, ends.high);
    }
}

/* A disk that is full for a moment. */
static void plan_full(struct world *w, enum os_sim_call call, uint64_t within)
{
    struct os_sim_fault fault = {.number = ENOSPC};

    if (os_sim_below(w->sim, 4) == 0) {
        fault.nth = 1 + os_sim_below(w->sim, within);
    }
    os_sim_plan(w->sim, call, fault);
}

static void plan_none(struct world *w)
{
    os_sim_plan(w->sim, OS_SIM_SYNC, (struct os_sim_fault){0});
    os_sim_plan(w->sim, OS_SIM_SYNC_ALL, (struct os_sim_fault){0});
    os_sim_plan(w->sim, OS_SIM_WRITE, (struct os_sim_fault){0});
    os_sim_plan(w->sim, OS_SIM_RENAME, (struct os_sim_fault){0});
}

static void plan_faults(struct world *w)
{
    plan_full(w, OS_SIM_WRITE, 100);
    plan_full(w, OS_SIM_RENAME, 4);
    os_sim_plan(w->sim, OS_SIM_SYNC, (struct os_sim_fault){0});
    os_sim_plan(w->sim, OS_SIM_SYNC_ALL, (struct os_sim_fault){0});
    if (os_sim_below(w->sim, 4) == 0) {
        os_sim_plan(w->sim, OS_SIM_SYNC,
                    (struct os_sim_fault){.nth = 1 + os_sim_below(w->sim, 60)});
    }
    if (os_sim_below(w->sim, 8) == 0) {
        os_sim_plan(w->sim, OS_SIM_SYNC_ALL,
                    (struct os_sim_fault){.nth = 1 + os_sim_below(w->sim, 4)});
    }
}

static void live(struct world *w)
{
    size_t appends = 1 + os_sim_below(w->sim, APPENDS_MAX);
    bool dies_inside = os_sim_below(w->sim, 2);

    plan_faults(w);
    if (dies_inside) {
        os_sim_kill_after(w->sim, 1 + os_sim_below(w->sim, 400));
    }
    while (appends && !os_sim_is_dead(w->sim)) {
        if (os_sim_below(w->sim, 3) == 0) {
            put_start(w);
            appends--;
            if (!w->churning && os_sim_below(w->sim, 10) == 0) {
                churn_start(w);
            } else if (os_sim_below(w->sim, 10) == 0) {
                churn_put(w);
            }
        } else if (!os_sim_step(w->sim)) {
            os_sim_advance(w->sim, 1000000);
        }
        if (!os_sim_is_dead(w->sim)) {
            see(w);
        }
    }
}

static void end_life(struct world *w)
{
    if (!os_sim_is_dead(w->sim) && os_sim_below(w->sim, 5) == 0) {
        os_sim_kill_after(w->sim, UINT64_MAX - 1); /* no more */
        plan_none(w);
        topic_drop(w->topics[0]);
        topic_drop(w->topics[1]);
        log_close(w->log); /* in order: what waits is finished first */
        return;
    }
    os_sim_crash(w->sim);
}

/* A start that crashes itself must be repeatable. */
static void crash_while_starting(struct world *w)
{
    struct log *log;

    plan_none(w);
    while (os_sim_below(w->sim, 3) == 0) {
        os_sim_kill_after(w->sim, 1 + os_sim_below(w->sim, 80));
        err e = log_open(os_sim_os(w->sim), &w->config, &log);
        require(e == OK || os_sim_is_dead(w->sim), w);
        os_sim_crash(w->sim);
    }
}

static int64_t run_seed(uint64_t seed)
{
    struct world *w = xcalloc(1, sizeof(*w));

    w->seed = seed;
    w->sim = os_sim_new(seed);
    w->config = testing_config();
    w->config.journal_bytes_max = 0; /* the smallest ring */
    w->config.unsynced_bytes_max = 20000;
    w->config.round_bytes_max = 8000;
    w->next_id = 1;
    for (int32_t i = 0; i < PARTITIONS; i++) {
        w->models[0][i].keeps = true;
        w->models[0][i].producer = 100 + i;
        w->models[1][i].producer = 200 + i;
    }
    for (int i = 0; i < LIVES; i++) {
        open_life(w);
        check_all(w);
        live(w);
        end_life(w);
        crash_while_starting(w);
    }
    open_life(w);
    check_all(w);
    int64_t operations = w->operations;
    topic_drop(w->topics[0]);
    topic_drop(w->topics[1]);
    log_close(w->log);
    os_sim_free(w->sim);
    free(w->config.defaults.compression_type);
    free(w);
    return operations;
}

static void nothing_acknowledged_is_lost_at_any_power_loss(void **state)
{
    const char *one = getenv("TIDEMARK_SIM_SEED"), *many = getenv("TIDEMARK_SIM_SEEDS");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1;
    uint64_t preset = getenv("TIDEMARK_SOAK") ? SEEDS_SOAK : SEEDS_PRESET;
    uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : preset;
    int64_t operations = 0;

    (void)state;
    if (!one) {
        trace_setup((enum trace_level) - 1, false); /* failing disks are what is asked for */
    }
    for (uint64_t seed = from; seed < from + count; seed++) {
        operations += run_seed(seed);
    }
    printf("%llu seeds, %lld appends, %d lives each\n", (unsigned long long)count,
           (long long)operations, LIVES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_acknowledged_is_lost_at_any_power_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
