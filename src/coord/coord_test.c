/* coord_test.c - the coordinator on real threads and files: many askers, an orderly stop with
 * questions under way, and a start that knows everything again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/coord.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "log/log.h"

#define ASKERS 4
#define COMMITS 100

static char folder[64];
static struct log *log_open_here;
static struct coord *coord;

struct waiting { /* one thread's answer */
    pthread_mutex_t lock;
    pthread_cond_t came;
    bool done;
};

static void answered(struct coord_ask *ask)
{
    struct waiting *w = ask->owner;

    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->came);
    pthread_mutex_unlock(&w->lock);
}

static void await(struct waiting *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->done) {
        pthread_cond_wait(&w->came, &w->lock);
    }
    w->done = false;
    pthread_mutex_unlock(&w->lock);
}

#define WAITING                                                                                \
    {                                                                                          \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false                             \
    }

static void open_all(void)
{
    struct log_config log_config;
    struct coord_config config;

    log_config_preset(&log_config);
    log_config.folder = folder;
    log_config.journal_bytes_max = 0;
    assert_int_equal(log_open(os_real(), &log_config, &log_open_here), OK);
    coord_config_preset(&config);
    config.initial_rebalance_ms = 0;
    assert_int_equal(coord_open(log_open_here, &config, &coord), OK);
    coord_settle(coord);
    assert_true(coord_is_settled(coord));
    free(log_config.defaults.compression_type);
}

static void close_all(void)
{
    coord_close(coord);
    log_close(log_open_here);
}

struct making {
    struct log_change change;
    struct waiting waiting;
};

static void made(struct log_change *change)
{
    struct coord_ask as_ask = {.owner = &((struct making *)change)->waiting};

    answered(&as_ask);
}

static int setup(void **state)
{
    struct making m = {.change = {.kind = LOG_TOPIC_CREATE,
                                  .name = VIEW("t"),
                                  .partition_count = ASKERS,
                                  .done = made},
                       .waiting = WAITING};

    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/tidemark-coord-XXXXXX");
    assert_non_null(mkdtemp(folder));
    open_all();
    log_change(log_open_here, &m.change);
    await(&m.waiting);
    assert_null(m.change.fault);
    topic_drop(m.change.topic);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close_all();
    return os_remove_tree(os_real(), folder) != OK;
}

static enum coord_status commit(struct waiting *w, struct arena *arena, const char *group,
                                int32_t partition, int64_t offset)
{
    struct coord_offset one = {
        .topic = VIEW("t"), .partition = partition, .offset = offset, .leader_epoch = -1};
    struct coord_commit ask = {.ask = {.arena = arena, .owner = w, .done = answered},
                               .group = view_text(group),
                               .generation = -1,
                               .offsets = &one,
                               .offset_count = 1};

    coord_commit(coord, &ask);
    await(w);
    return one.status;
}

static int64_t fetch(struct waiting *w, struct arena *arena, const char *group,
                     int32_t partition)
{
    struct coord_offset one = {.topic = VIEW("t"), .partition = partition};
    struct coord_fetch_group g = {
        .group = view_text(group), .offsets = &one, .offset_count = 1};
    struct coord_fetch ask = {
        .ask = {.arena = arena, .owner = w, .done = answered}, .groups = &g, .group_count = 1};

    coord_fetch(coord, &ask);
    await(w);
    return one.offset;
}

static void *ask_a_lot(void *number)
{
    int32_t me = *(int32_t *)number;
    struct waiting w = WAITING;
    struct arena arena = {0};
    char group[32];

    snprintf(group, sizeof(group), "group-%d", (int)me);
    for (int i = 1; i <= COMMITS; i++) {
        assert(commit(&w, &arena, group, me, i) == COORD_OK);
        assert(fetch(&w, &arena, group, me) == i);
        arena_reset(&arena);
    }
    arena_fini(&arena);
    return NULL;
}

static void many_threads_commit_and_a_restart_knows(void **state)
{
    pthread_t threads[ASKERS];
    int32_t numbers[ASKERS];
    struct waiting w = WAITING;
    struct arena arena = {0};

    (void)state;
    for (int32_t i = 0; i < ASKERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, ask_a_lot, &numbers[i]), 0);
    }
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    close_all();
    open_all();
    for (int32_t i = 0; i < ASKERS; i++) {
        char group[32];
        snprintf(group, sizeof(group), "group-%d", (int)i);
        assert_int_equal(fetch(&w, &arena, group, i), COMMITS);
    }
    arena_fini(&arena);
}

static void closing_answers_whoever_is_parked(void **state)
{
    struct waiting w = WAITING;
    struct arena arena = {0}, other = {0};
    struct coord_protocol protocol = {VIEW("range"), VIEW("")};
    struct coord_join join = {.ask = {.arena = &arena, .owner = &w, .done = answered},
                              .group = VIEW("g"),
                              .member = VIEW(""),
                              .client_id = VIEW("c"),
                              .client_host = VIEW("h"),
                              .protocol_type = VIEW("consumer"),
                              .session_ms = 10000,
                              .rebalance_ms = 60000,
                              .protocols = &protocol,
                              .protocol_count = 1};

    (void)state;
    coord_join(coord, &join);
    await(&w);
    assert_int_equal(join.ask.status, COORD_OK);
    struct coord_join second = join;
    struct waiting other_waiting = WAITING;
    second.ask.arena = &other;
    second.ask.owner = &other_waiting;
    second.member = VIEW("");
    coord_join(coord, &second); /* parked: the first does not join again */
    close_all();
    await(&other_waiting);
    assert_int_equal(second.ask.status, COORD_NOT_COORDINATOR);
    open_all();
    arena_fini(&arena);
    arena_fini(&other);
}

static void an_abandon_may_come_at_any_time(void **state)
{
    struct waiting w = WAITING;
    struct arena arena = {0};
    struct coord_protocol protocol = {VIEW("range"), VIEW("")};

    (void)state;
    for (int i = 0; i < 200; i++) {
        struct coord_join join = {.ask = {.arena = &arena, .owner = &w, .done = answered},
                                  .group = VIEW("abandoned"),
                                  .member = VIEW(""),
                                  .client_id = VIEW("c"),
                                  .client_host = VIEW("h"),
                                  .protocol_type = VIEW("consumer"),
                                  .session_ms = 10000,
                                  .rebalance_ms = 60000,
                                  .protocols = &protocol,
                                  .protocol_count = 1};
        coord_join(coord, &join);
        coord_abandon(coord, join.ask.id);
        await(&w);
        coord_abandon(coord, join.ask.id);
        assert_true(join.ask.status == COORD_OK || join.ask.status == COORD_CANCELLED);
        arena_reset(&arena);
    }
    arena_fini(&arena);
}

/* How many records a committed reader sees in a partition. */
static int count_seen(struct partition *p)
{
    struct log_read read = {.partition = p,
                            .bytes_max = 1 << 20,
                            .whole_first = true,
                            .committed = true,
                            .may_block = true};
    struct buf *bytes = NULL;
    struct batch_walk walk;
    struct record record;
    bool more = true;
    int seen = 0;

    log_read(log_open_here, &read);
    assert_int_equal(read.status, LOG_READ_OK);
    log_range_drop(log_open_here, &read.range);
    assert_int_equal(log_fetch(log_open_here, p, 0, 1 << 20, true, &bytes), OK);
    batch_walk_init(&walk, bytes ? (view){bytes->bytes, bytes->len} : (view){0});
    walk.skip_control = true;
    while (batch_walk_next(&walk, &record, &more) == OK && more) {
        bool dropped = false;
        for (size_t i = 0; i < read.aborted_count; i++) {
            dropped = dropped || (read.aborted[i].producer_id == walk.info.producer_id &&
                                  record.value.at[0] == 'a');
        }
        seen += !dropped;
    }
    batch_walk_fini(&walk);
    buf_drop(bytes);
    free(read.aborted);
    return seen;
}

static void a_door_writes_transactions_in_plain_steps(void **state)
{
    struct coord_producer *p, *successor;
    struct topic *topic = log_topic(log_open_here, VIEW("t"));
    struct record committed = {.value = VIEW("c")}, aborted = {.value = VIEW("a")};
    struct coord_offset offset = {.topic = VIEW("t"), .offset = 77, .leader_epoch = -1};
    struct waiting w = WAITING;
    struct arena arena = {0};

    (void)state;
    assert_int_equal(coord_producer_open(coord, log_open_here, VIEW("door"), 10000, &p), OK);
    assert_int_equal(coord_begin(p), OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(coord_send(p, topic_partition(topic, i % 2), &committed, 1), OK);
    }
    assert_int_equal(coord_send_offsets(p, VIEW("door-group"), &offset, 1), OK);
    assert_int_equal(count_seen(topic_partition(topic, 0)), 0);
    assert_int_equal(fetch(&w, &arena, "door-group", 0), -1);
    assert_int_equal(coord_end(p, true), OK);
    assert_int_equal(count_seen(topic_partition(topic, 0)), 5);
    assert_int_equal(count_seen(topic_partition(topic, 1)), 5);
    assert_int_equal(fetch(&w, &arena, "door-group", 0), 77);
    assert_int_equal(coord_begin(p), OK);
    assert_int_equal(coord_send(p, topic_partition(topic, 0), &aborted, 1), OK);
    assert_int_equal(coord_end(p, false), OK);
    assert_int_equal(count_seen(topic_partition(topic, 0)), 5);
    assert_int_equal(coord_begin(p), OK);
    assert_int_equal(coord_send(p, topic_partition(topic, 0), &aborted, 1), OK);
    assert_int_equal(coord_producer_open(coord, log_open_here, VIEW("door"), 10000, &successor),
                     OK);
    assert_int_equal(coord_end(p, true), ERR_CONFLICT);
    assert_int_equal(count_seen(topic_partition(topic, 0)), 5);
    coord_producer_close(p);
    coord_producer_close(successor);
    topic_drop(topic);
    arena_fini(&arena);
}

static void metrics_are_lines_of_samples(void **state)
{
    struct writer out = {0};
    struct waiting w = WAITING;
    struct arena arena = {0};

    (void)state;
    assert_int_equal(commit(&w, &arena, "counted", 0, 1), COORD_OK);
    coord_metrics(coord, &out);
    write_u8(&out, 0);
    assert_non_null(strstr((const char *)out.at, "\ntidemark_coord_offsets "));
    assert_non_null(strstr((const char *)out.at, "# TYPE tidemark_coord_commits"));
    writer_fini(&out);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_commit_and_a_restart_knows),
        cmocka_unit_test(closing_answers_whoever_is_parked),
        cmocka_unit_test(an_abandon_may_come_at_any_time),
        cmocka_unit_test(a_door_writes_transactions_in_plain_steps),
        cmocka_unit_test(metrics_are_lines_of_samples),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
