/* compact_threads_test.c - compaction beside writers and readers, on real threads and files:
 * what the thread and address sanitizers are for. SPDX-License-Identifier: Apache-2.0 */
#include "log/log.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define READERS 2
#define KEYS 40
#define BATCH_RECORDS 10
#define BATCHES_LEAST 300
#define BATCHES_MAX 20000
#define SHRINKS 5 /* so many times compaction must have been seen to work */

struct world {
    char folder[64];
    struct log_config config;
    struct log *log;
    struct topic *topic;
    struct partition *p;
    int64_t newest[KEYS]; /* number of the record, by key */
    int64_t number;
    _Atomic bool stop;
    _Atomic int64_t rounds, faults;
};

struct waiting_change {
    struct log_change change;
    sem_t done;
};

static void change_done(struct log_change *change)
{
    sem_post(&((struct waiting_change *)change)->done);
}

static struct topic *make_topic(struct log *log)
{
    struct setting settings[] = {
        {(char *)(uintptr_t) "cleanup.policy", (char *)(uintptr_t) "compact"},
        {(char *)(uintptr_t) "segment.bytes", (char *)(uintptr_t) "8000"},
        {(char *)(uintptr_t) "min.cleanable.dirty.ratio", (char *)(uintptr_t) "0.01"}};
    struct waiting_change w = {.change = {.kind = LOG_TOPIC_CREATE,
                                          .name = VIEW("compacted"),
                                          .partition_count = 1,
                                          .settings = settings,
                                          .setting_count = COUNT(settings),
                                          .done = change_done}};

    sem_init(&w.done, 0, 0);
    log_change(log, &w.change);
    sem_wait(&w.done);
    assert_null(w.change.fault);
    sem_destroy(&w.done);
    return w.change.topic;
}

struct waiting_append {
    struct log_append append;
    sem_t done;
};

static void append_done(struct log_append *a)
{
    sem_post(&((struct waiting_append *)a)->done);
}

static void append(struct world *w)
{
    struct record records[BATCH_RECORDS];
    char keys[BATCH_RECORDS][16], values[BATCH_RECORDS][64];
    struct batch_build build = {.records = records,
                                .count = BATCH_RECORDS,
                                .codec = (enum codec)(w->number / BATCH_RECORDS % CODEC_COUNT),
                                .producer_id = -1};
    struct waiting_append a = {
        .append = {.partition = w->p, .acks = LOG_ACKS_DURABLE, .done = append_done}};

    for (size_t i = 0; i < BATCH_RECORDS; i++, w->number++) {
        int key = (int)(w->number * 7 % KEYS);
        snprintf(keys[i], sizeof(keys[i]), "%d", key);
        snprintf(values[i], sizeof(values[i]), "%lld %030d", (long long)w->number, 0);
        records[i] = (struct record){.timestamp_ms = os_real()->now_ms(os_real()),
                                     .key = view_text(keys[i]),
                                     .value = view_text(values[i])};
        w->newest[key] = w->number;
    }
    a.append.hold = batch_new(&build, &a.append.batch);
    assert_int_equal(batch_check(a.append.batch, &a.append.info), BATCH_FINE);
    sem_init(&a.done, 0, 0);
    log_append(w->log, &a.append);
    sem_wait(&a.done);
    assert_int_equal(a.append.status, LOG_APPEND_OK);
    sem_destroy(&a.done);
    buf_drop(a.append.hold);
}

/* Reads all there is; the newest number of each key. False: something was not right. */
static bool read_all(struct world *w, int64_t newest[KEYS])
{
    struct partition_ends ends;
    bool good = true;

    partition_ends(w->p, &ends);
    for (int64_t at = 0; good && at < ends.high;) {
        struct buf *bytes;
        struct batch_walk walk;
        struct record record;
        bool more = true;
        good = log_fetch(w->log, w->p, at, 3000, false, &bytes) == OK && bytes;
        if (!good) {
            break;
        }
        batch_walk_init(&walk, (view){bytes->bytes, bytes->len});
        while (good && more) {
            good = batch_walk_next(&walk, &record, &more) == OK;
            int64_t key = -1, last = at;
            if (good && more && record.offset >= at) {
                good = view_to_int(record.key, &key) == OK && record.offset >= last;
                last = record.offset;
                newest[good ? key : 0] = strtoll((const char *)record.value.at, NULL, 10);
            }
        }
        at = walk.info.base_offset + walk.info.last_offset_delta + 1;
        batch_walk_fini(&walk);
        buf_drop(bytes);
    }
    return good;
}

static void *reader(void *self)
{
    struct world *w = self;

    while (!atomic_load(&w->stop)) {
        int64_t newest[KEYS];
        if (!read_all(w, newest)) {
            print_message("a reader: %s\n", fault_here.text);
            atomic_fetch_add(&w->faults, 1);
        }
        atomic_fetch_add(&w->rounds, 1);
    }
    return NULL;
}

static void write_until_it_shrank(struct world *w)
{
    int64_t before = 0;
    int shrinks = 0, batches = 0;

    while (batches < BATCHES_LEAST || shrinks < SHRINKS || atomic_load(&w->rounds) < READERS) {
        struct partition_ends ends;
        append(w);
        partition_ends(w->p, &ends);
        shrinks += ends.bytes < before;
        before = ends.bytes;
        assert_in_range(++batches, 1, BATCHES_MAX);
    }
}

static void readers_and_writers_go_on_while_it_works(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    pthread_t threads[READERS];
    int64_t newest[KEYS] = {0};

    (void)state;
    snprintf(w->folder, sizeof(w->folder), "/tmp/tidemark-compact-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    log_config_preset(&w->config);
    w->config.folder = w->folder;
    w->config.unsynced_ms_max = 5;
    w->config.retention_check_ms = 5;
    w->config.reserve_bytes = 1 << 20;
    w->config.files_max = 2;
    assert_int_equal(log_open(os_real(), &w->config, &w->log), OK);
    w->topic = make_topic(w->log);
    w->p = topic_partition(w->topic, 0);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reader, w), 0);
    }
    write_until_it_shrank(w);
    atomic_store(&w->stop, true);
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&w->faults), 0);
    assert_true(read_all(w, newest));
    assert_memory_equal(newest, w->newest, sizeof(newest));
    topic_drop(w->topic);
    log_close(w->log);
    assert_int_equal(os_remove_tree(os_real(), w->folder), OK);
    free(w->config.defaults.compression_type);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_and_writers_go_on_while_it_works),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
