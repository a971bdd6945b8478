/* coord_sim_test.c - power losses at any moment under clients that commit offsets and run
 * transactions, over the log and a simulated machine.
 *
 * Each seed: several lives. Committers raise an offset; producers, of both protocol versions,
 * write one record per transaction to some partitions together with a group's offset, then
 * commit or abort; now and then one is replaced by a new instance and goes on as a zombie.
 * After each start, once settled: no acknowledged offset is lost or older; a transaction is
 * seen by committed readers in all its partitions or in none, all if its commit was
 * acknowledged, none if its abort was or it never ended; the offsets of a producer's group are
 * those of its last visible transaction; zombies never succeed. TIDEMARK_SIM_SEEDS says how
 * many seeds, TIDEMARK_SIM_SEED runs a single one. SPDX-License-Identifier: Apache-2.0 */
#include "coord/coord.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/os_sim.h"
#include "log/log.h"

#define PARTITIONS 4
#define LIVES 5
#define STEPS_MAX 3000 /* of one life */
#define COMMITTERS 3
#define PRODUCERS 3
#define INSTANCES 2 /* of each producer: the present one and a zombie */
#define TXNS_MAX 20000
#define SEEDS_PRESET 60

/* A crash leaves the objects of that life behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

enum fate { UNUSED, OPEN, ENDING, COMMITTED, ABORTED };

struct txn_model { /* what a transaction's client knows */
    enum fate fate;
    bool wants_commit;
    unsigned partitions; /* bits: those whose record was acknowledged */
    unsigned tried;      /* bits: those to which a record was sent */
    bool offsets;        /* its offset commit was acknowledged */
    int producer;
};

struct committer {
    struct coord_commit ask;
    struct coord_offset offset;
    struct arena arena;
    char group[16];
    bool busy;
    int64_t tried, acked;
};

enum step { INIT, BEGIN, ADD, SEND, OFFSETS, END, DEAD };

struct producer {
    struct world *world;
    int index;
    char txn_id[16], group[16];
    enum step step;
    bool v2, busy, replaced, zombie;
    int64_t id;
    int16_t epoch;
    int32_t sequences[PARTITIONS];
    int64_t txn; /* number in the model; 0: none open */
    int32_t partition;
    struct arena arena;
    struct coord_init_producer init;
    struct coord_add_partitions add;
    struct coord_txn_partition part;
    struct coord_txn_commit commit;
    struct coord_offset offset;
    struct coord_end_txn end;
    struct log_append append;
};

struct world {
    struct os_sim *sim;
    struct log_config log_config;
    struct coord_config config;
    struct log *log;
    struct coord *coord;
    struct topic *out;
    struct committer *committers[COMMITTERS];
    int64_t tried[COMMITTERS], acked[COMMITTERS]; /* over all lives */
    struct producer *producers[PRODUCERS][INSTANCES];
    struct txn_model txns[TXNS_MAX];
    int64_t next_txn;
    int64_t visible[TXNS_MAX]; /* bits of partitions, when checking */
    int64_t commits, ends;
    uint64_t seed;
};

#define require(condition, w)                                                                  \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fail_msg("seed %llu: %s (run it with TIDEMARK_SIM_SEED); last error: %s",          \
                     (unsigned long long)(w)->seed, #condition, fault_here.text);              \
        }                                                                                      \
    } while (0)

/* ---- committers ---- */

static void committed(struct coord_ask *ask)
{
    struct world *w = ask->owner;
    struct committer *c = (struct committer *)ask;
    size_t i = 0;

    while (w->committers[i] != c) {
        i++;
    }
    c->busy = false;
    if (!os_sim_is_dead(w->sim) && c->offset.status == COORD_OK) {
        w->acked[i] = MAX(w->acked[i], c->offset.offset);
        w->commits++;
    }
}

static void commit_next(struct world *w, size_t i)
{
    struct committer *c = w->committers[i];

    arena_reset(&c->arena);
    snprintf(c->group, sizeof(c->group), "group-%d", (int)i);
    c->offset = (struct coord_offset){
        .topic = VIEW("out"), .offset = ++w->tried[i], .leader_epoch = -1};
    c->ask = (struct coord_commit){
        .ask = {.arena = &c->arena, .owner = w, .done = committed},
        .group = view_text(c->group),
        .generation = -1,
        .offsets = &c->offset,
        .offset_count = 1,
    };
    c->busy = true;
    coord_commit(w->coord, &c->ask);
}

/* ---- producers ---- */

static bool is_alive(const struct producer *p)
{
    return !os_sim_is_dead(p->world->sim);
}

static void give_up(struct producer *p)
{
    p->step = p->replaced ? DEAD : INIT; /* the present one begins anew */
    p->txn = 0;
}

static void initialised(struct coord_ask *ask)
{
    struct producer *p = ask->owner;

    p->busy = false;
    if (is_alive(p) && ask->status == COORD_OK) {
        p->id = p->init.producer_id;
        p->epoch = p->init.producer_epoch;
        memset(p->sequences, 0, sizeof(p->sequences));
        p->step = BEGIN;
    }
}

static void added(struct coord_ask *ask)
{
    struct producer *p = ask->owner;

    p->busy = false;
    if (!is_alive(p)) {
        return;
    }
    require(!p->zombie || p->part.status, p->world);
    if (p->part.status == COORD_OK) {
        p->step = SEND;
    } else {
        give_up(p);
    }
}

static void sent(struct log_append *append)
{
    struct producer *p =
        (struct producer *)((char *)append - offsetof(struct producer, append));
    struct txn_model *t = &p->world->txns[p->txn];

    p->busy = false;
    buf_drop(append->hold);
    if (!is_alive(p)) {
        return;
    }
    if (append->status == LOG_APPEND_OK) {
        t->partitions |= 1u << p->partition;
        p->sequences[p->partition]++;
        p->step = os_sim_below(p->world->sim, 2) ? ADD : OFFSETS;
    } else {
        give_up(p);
    }
}

static void offset_added(struct coord_ask *ask)
{
    struct producer *p = ask->owner;

    p->busy = false;
    if (!is_alive(p)) {
        return;
    }
    require(!p->zombie || p->offset.status, p->world);
    if (p->offset.status == COORD_OK) {
        p->world->txns[p->txn].offsets = true;
        p->step = END;
    } else {
        give_up(p);
    }
}

static void ended(struct coord_ask *ask)
{
    struct producer *p = ask->owner;
    struct txn_model *t = &p->world->txns[p->txn];

    p->busy = false;
    if (!is_alive(p)) {
        return;
    }
    require(!p->zombie || ask->status, p->world);
    if (ask->status == COORD_OK) {
        t->fate = p->end.commit ? COMMITTED : ABORTED;
        p->world->ends++;
        if (p->v2) {
            p->id = p->end.next_id;
            p->epoch = p->end.next_epoch;
            memset(p->sequences, 0, sizeof(p->sequences));
        }
        p->txn = 0;
        p->step = BEGIN;
    } else {
        give_up(p);
    }
}

static struct coord_ask ask_of(struct producer *p, void (*done)(struct coord_ask *))
{
    arena_reset(&p->arena);
    p->busy = true;
    return (struct coord_ask){.arena = &p->arena, .owner = p, .done = done};
}

static void start_init(struct producer *p)
{
    p->v2 = os_sim_below(p->world->sim, 2);
    p->init = (struct coord_init_producer){
        .ask = ask_of(p, initialised),
        .txn_id = view_text(p->txn_id),
        .timeout_ms = 60000,
        .expect_id = -1,
        .expect_epoch = -1,
    };
    coord_init_producer(p->world->coord, &p->init);
}

static void start_add(struct producer *p)
{
    p->partition = (int32_t)os_sim_below(p->world->sim, PARTITIONS);
    p->part = (struct coord_txn_partition){.topic = VIEW("out"), .partition = p->partition};
    p->add = (struct coord_add_partitions){
        .ask = ask_of(p, added),
        .how = p->v2 ? COORD_TXN_ADD_V2 : COORD_TXN_ADD,
        .txn_id = view_text(p->txn_id),
        .producer_id = p->id,
        .producer_epoch = p->epoch,
        .partitions = &p->part,
        .partition_count = 1,
    };
    coord_add_partitions(p->world->coord, &p->add);
}

static void start_send(struct producer *p)
{
    char text[32];
    struct os *os = os_sim_os(p->world->sim);
    struct record record = {.timestamp_ms = os->now_ms(os)};
    struct batch_build build = {
        .records = &record,
        .count = 1,
        .attributes = BATCH_TRANSACTIONAL,
        .producer_id = p->id,
        .producer_epoch = p->epoch,
        .base_sequence = p->sequences[p->partition],
    };

    snprintf(text, sizeof(text), "%lld", (long long)p->txn);
    record.value = view_text(text);
    p->append = (struct log_append){
        .partition = topic_partition(p->world->out, p->partition),
        .acks = LOG_ACKS_DURABLE,
        .flags = LOG_APPEND_VERIFIED | (p->v2 ? LOG_APPEND_TXN_V2 : 0),
        .done = sent,
    };
    p->append.hold = batch_new(&build, &p->append.batch);
    require(batch_check(p->append.batch, &p->append.info) == BATCH_FINE, p->world);
    p->world->txns[p->txn].tried |= 1u << p->partition;
    p->busy = true;
    log_append(p->world->log, &p->append);
}

static void start_offsets(struct producer *p)
{
    p->offset = (struct coord_offset){
        .topic = VIEW("out"), .partition = 1, .offset = p->txn, .leader_epoch = -1};
    p->commit = (struct coord_txn_commit){
        .ask = ask_of(p, offset_added),
        .txn_id = view_text(p->txn_id),
        .group = view_text(p->group),
        .generation = -1,
        .producer_id = p->id,
        .producer_epoch = p->epoch,
        .v2 = true,
        .offsets = &p->offset,
        .offset_count = 1,
    };
    coord_txn_commit(p->world->coord, &p->commit);
}

static void start_end(struct producer *p)
{
    struct txn_model *t = &p->world->txns[p->txn];

    t->fate = ENDING;
    t->wants_commit = os_sim_below(p->world->sim, 4) != 0;
    p->end = (struct coord_end_txn){
        .ask = ask_of(p, ended),
        .txn_id = view_text(p->txn_id),
        .producer_id = p->id,
        .producer_epoch = p->epoch,
        .commit = t->wants_commit,
        .v2 = p->v2,
    };
    coord_end_txn(p->world->coord, &p->end);
}

static void begin(struct producer *p)
{
    struct world *w = p->world;

    p->txn = w->next_txn++;
    require(p->txn < TXNS_MAX, w);
    w->txns[p->txn] = (struct txn_model){.fate = OPEN, .producer = p->index};
    p->step = ADD;
}

static void producer_go(struct producer *p)
{
    switch (p->step) {
    case INIT:
        start_init(p);
        break;
    case BEGIN:
        begin(p);
        break;
    case ADD:
        start_add(p);
        break;
    case SEND:
        start_send(p);
        break;
    case OFFSETS:
        start_offsets(p);
        break;
    case END:
        start_end(p);
        break;
    case DEAD:
        break;
    }
}

static struct producer *producer_new(struct world *w, int index)
{
    struct producer *p = xcalloc(1, sizeof(*p));

    p->world = w;
    p->index = index;
    snprintf(p->txn_id, sizeof(p->txn_id), "txn-%d", index);
    snprintf(p->group, sizeof(p->group), "out-%d", index);
    return p;
}

/* The present instance is cut off, in whatever it does; another takes its id over. It becomes a
 * zombie only once the other is there: until then it may still succeed. */
static void replace(struct world *w, int index)
{
    struct producer *old = w->producers[index][0], *older = w->producers[index][1];

    if (old->step == INIT || old->busy || (older && older->busy)) {
        return;
    }
    old->replaced = true;
    w->producers[index][1] = old;
    w->producers[index][0] = producer_new(w, index);
    producer_go(w->producers[index][0]);
}

static void promote_zombies(struct world *w)
{
    for (int i = 0; i < PRODUCERS; i++) {
        struct producer *now = w->producers[i][0], *before = w->producers[i][1];
        if (before && now->step != INIT && !before->busy) {
            before->zombie = true;
        }
    }
}

/* ---- checks ---- */

struct dropping { /* producers whose open records are of an aborted transaction */
    int64_t id, first;
    bool on;
};

static void see_batches(struct world *w, int32_t partition, const struct log_read *read,
                        view batches)
{
    struct batch_walk walk;
    struct record record;
    bool more = true;
    struct dropping *drop = xcalloc(read->aborted_count + 1, sizeof(*drop));

    for (size_t i = 0; i < read->aborted_count; i++) {
        drop[i] = (struct dropping){read->aborted[i].producer_id, read->aborted[i].first_offset,
                                    true};
    }
    batch_walk_init(&walk, batches);
    while (batch_walk_next(&walk, &record, &more) == OK && more) {
        bool dropped = false;
        for (size_t i = 0; i < read->aborted_count; i++) {
            bool his = drop[i].on && drop[i].id == walk.info.producer_id &&
                       record.offset >= drop[i].first;
            dropped = dropped || his;
            if (his && walk.info.attributes & BATCH_CONTROL) {
                drop[i].on = false; /* its end */
                break;
            }
        }
        if (!dropped && !(walk.info.attributes & BATCH_CONTROL)) {
            int64_t txn = strtoll((const char *)record.value.at, NULL, 10);
            require(txn > 0 && txn < w->next_txn, w);
            w->visible[txn] |= 1 << partition;
        }
    }
    batch_walk_fini(&walk);
    free(drop);
}

static void see_partition(struct world *w, int32_t index)
{
    struct log_read read = {
        .partition = topic_partition(w->out, index),
        .bytes_max = 64 << 20,
        .whole_first = true,
        .committed = true,
        .may_block = true,
    };
    struct partition_ends ends;

    partition_ends(read.partition, &ends);
    for (read.offset = ends.start; read.offset < ends.stable;) {
        log_read(w->log, &read);
        require(read.status == LOG_READ_OK, w);
        require(read.range.segment, w);
        uint8_t *bytes = xmalloc(read.range.bytes);
        require(log_range_read(w->log, &read.range, 0, bytes, read.range.bytes, true) ==
                    OS_READ_DONE,
                w);
        view all = {bytes, read.range.bytes}, rest = all;
        struct batch_info info = {0};
        while (rest.len) {
            require(batch_peek(rest, &info) == BATCH_FINE, w);
            rest = view_from(rest, info.bytes);
        }
        see_batches(w, index, &read, all);
        read.offset = info.base_offset + info.last_offset_delta + 1;
        log_range_drop(w->log, &read.range);
        free(read.aborted);
        free(bytes);
    }
}

static bool flag_of(void *at)
{
    return *(bool *)at;
}

struct fetching {
    struct coord_fetch ask;
    struct coord_fetch_group group;
    struct coord_offset offset;
    struct arena arena;
    bool done;
};

static void fetched(struct coord_ask *ask)
{
    ((struct fetching *)ask)->done = true;
}

static int64_t fetch(struct world *w, const char *group, int32_t partition)
{
    struct fetching f = {.offset = {.topic = VIEW("out"), .partition = partition}};

    f.group = (struct coord_fetch_group){
        .group = view_text(group), .offsets = &f.offset, .offset_count = 1};
    f.ask = (struct coord_fetch){
        .ask = {.arena = &f.arena, .done = fetched}, .groups = &f.group, .group_count = 1};
    coord_fetch(w->coord, &f.ask);
    require(os_sim_run_until(w->sim, flag_of, &f.done), w);
    require(f.offset.status == COORD_OK, w);
    arena_fini(&f.arena);
    return f.offset.offset;
}

static void check_commits(struct world *w)
{
    for (size_t i = 0; i < COMMITTERS; i++) {
        char group[16];
        snprintf(group, sizeof(group), "group-%d", (int)i);
        int64_t found = fetch(w, group, 0);
        require(found >= w->acked[i] || (found == -1 && w->acked[i] == 0), w);
        require(found <= w->tried[i], w);
        w->acked[i] = MAX(found, 0);
    }
}

static bool all_stable(struct world *w)
{
    for (int32_t i = 0; i < PARTITIONS; i++) {
        struct partition_ends ends;
        partition_ends(topic_partition(w->out, i), &ends);
        if (ends.stable != ends.high) {
            return false;
        }
    }
    return true;
}

/* What was left open holds up committed readers until its timeout. */
static void let_time_out(struct world *w)
{
    for (int i = 0; i < 100000 && !all_stable(w) && os_sim_step(w->sim); i++) {
    }
    require(all_stable(w), w);
}

static void see_all(struct world *w)
{
    memset(w->visible, 0, sizeof(w->visible));
    for (int32_t i = 0; i < PARTITIONS; i++) {
        see_partition(w, i);
    }
}

/* Takes what was found for the truth, where the client did not know. */
static void check_txns(struct world *w)
{
    int64_t last[PRODUCERS] = {0};

    see_all(w);
    for (int64_t n = 1; n < w->next_txn; n++) { /* others may still be held up */
        enum fate fate = w->txns[n].fate;
        bool may = fate == COMMITTED || (fate == ENDING && w->txns[n].wants_commit);
        require(may || !w->visible[n], w);
    }
    let_time_out(w);
    see_all(w);
    for (int64_t n = 1; n < w->next_txn; n++) {
        struct txn_model *t = &w->txns[n];
        if (t->fate == OPEN || (t->fate == ENDING && !t->wants_commit)) {
            t->fate = ABORTED; /* or will be: nobody may see it ever */
        } else if (t->fate == ENDING) {
            t->fate = w->visible[n] ? COMMITTED : ABORTED;
        }
        unsigned wanted = t->fate == COMMITTED ? t->partitions : 0;
        if ((unsigned)w->visible[n] != wanted) {
            print_message("transaction %lld: fate %d, acked in %x, tried %x, seen in %x\n",
                          (long long)n, (int)t->fate, t->partitions, t->tried,
                          (unsigned)w->visible[n]);
        }
        require((unsigned)w->visible[n] == wanted, w);
        if (t->fate == COMMITTED && t->offsets) {
            last[t->producer] = n;
        }
    }
    for (int i = 0; i < PRODUCERS; i++) {
        char group[16];
        snprintf(group, sizeof(group), "out-%d", i);
        int64_t found = fetch(w, group, 1);
        require(found == (last[i] ? last[i] : -1), w);
    }
}

/* ---- lives ---- */

static bool is_settled(void *coord)
{
    return coord_is_settled(coord);
}

static void topic_made(struct log_change *change)
{
    *(bool *)(uintptr_t)change->owner.at = true;
}

static void make_topic(struct world *w)
{
    bool done = false;
    const struct setting keep = {(char *)(uintptr_t) "retention.ms", (char *)(uintptr_t) "-1"};
    struct log_change change = {
        .kind = LOG_TOPIC_CREATE,
        .name = VIEW("out"),
        .partition_count = PARTITIONS,
        .settings = &keep, /* time flies in a simulation */
        .setting_count = 1,
        .owner = {(const uint8_t *)&done, sizeof(done)},
        .done = topic_made,
    };

    log_change(w->log, &change);
    require(os_sim_run_until(w->sim, flag_of, &done), w);
    require(!change.fault, w);
    w->out = change.topic;
}

static void open_life(struct world *w, bool first)
{
    require(log_open(os_sim_os(w->sim), &w->log_config, &w->log) == OK, w);
    if (first) {
        make_topic(w);
    } else {
        w->out = log_topic(w->log, VIEW("out"));
        require(w->out, w);
    }
    require(coord_open(w->log, &w->config, &w->coord) == OK, w);
    require(os_sim_run_until(w->sim, is_settled, w->coord), w);
    for (int i = 0; i < PRODUCERS; i++) {
        w->producers[i][0] = producer_new(w, i); /* the old ones died with the machine */
        w->producers[i][1] = NULL;
    }
    for (size_t i = 0; i < COMMITTERS; i++) {
        w->committers[i] = xcalloc(1, sizeof(struct committer));
    }
}

static void someone_goes(struct world *w)
{
    uint64_t who = os_sim_below(w->sim, COMMITTERS + PRODUCERS * INSTANCES + 1);

    if (who < COMMITTERS) {
        if (!w->committers[who]->busy) {
            commit_next(w, who);
        }
        return;
    }
    who -= COMMITTERS;
    if (who < PRODUCERS * INSTANCES) {
        struct producer *p = w->producers[who / INSTANCES][who % INSTANCES];
        if (p && !p->busy) {
            producer_go(p);
        }
    } else if (os_sim_below(w->sim, 20) == 0) {
        replace(w, (int)os_sim_below(w->sim, PRODUCERS));
    }
}

/* Now and then a sync fails: the log takes no more writes until the next start. */
static void plan_faults(struct world *w, bool any)
{
    uint64_t nth = any && os_sim_below(w->sim, 4) == 0 ? 1 + os_sim_below(w->sim, 100) : 0;

    os_sim_plan(w->sim, OS_SIM_SYNC, (struct os_sim_fault){.nth = nth});
}

static void live(struct world *w)
{
    size_t steps = os_sim_below(w->sim, STEPS_MAX);

    if (os_sim_below(w->sim, 2)) {
        os_sim_kill_after(w->sim, 1 + os_sim_below(w->sim, 600));
    }
    plan_faults(w, true);
    while (steps-- && !os_sim_is_dead(w->sim)) {
        if (os_sim_below(w->sim, 2) == 0) {
            someone_goes(w);
        } else if (!os_sim_step(w->sim)) {
            os_sim_advance(w->sim, 1000000);
        }
        promote_zombies(w);
    }
}

static int64_t run_seed(uint64_t seed)
{
    struct world *w = xcalloc(1, sizeof(*w));

    w->seed = seed;
    w->sim = os_sim_new(seed);
    w->next_txn = 1;
    log_config_preset(&w->log_config);
    w->log_config.folder = "data";
    w->log_config.readers = 1;
    w->log_config.reserve_bytes = 1 << 20;
    w->log_config.journal_bytes_max = 0;
    coord_config_preset(&w->config);
    w->config.offsets_retention_ms = w->config.txn_id_expiry_ms = INT64_MAX / 4;
    for (int i = 0; i < LIVES; i++) {
        open_life(w, i == 0);
        check_txns(w);
        check_commits(w);
        live(w);
        os_sim_crash(w->sim);
        plan_faults(w, false);
    }
    open_life(w, false);
    check_txns(w);
    check_commits(w);
    os_sim_crash(w->sim);
    int64_t operations = w->commits + w->ends;
    os_sim_free(w->sim);
    free(w);
    return operations;
}

static void acknowledged_commits_survive_and_transactions_are_whole(void **state)
{
    const char *one = getenv("TIDEMARK_SIM_SEED"), *many = getenv("TIDEMARK_SIM_SEEDS");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_PRESET;
    int64_t operations = 0;

    (void)state;
    if (!one) {
        trace_setup((enum trace_level) - 1, false); /* timeouts are what is asked for */
    }
    for (uint64_t seed = from; seed < from + count; seed++) {
        operations += run_seed(seed);
    }
    printf("%llu seeds, %lld acknowledged commits and ends, %d lives each\n",
           (unsigned long long)count, (long long)operations, LIVES);
    assert_true(operations > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_commits_survive_and_transactions_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
