/* log_threads_test.c - a whole log under real threads and files: producers, readers that wait,
 * retention over tiny segments, topics that come and go, trims, checkpoints, and a close in the
 * middle of it. What the thread and address sanitizers are for; beyond that, nothing
 * acknowledged may be missing. SPDX-License-Identifier: Apache-2.0 */
#include "log/log.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define PARTITIONS 3
#define PRODUCERS 3
#define READERS 3
#define BATCHES 1200 /* of one producer */
#define BATCHES_FLYING 8
#define CHURNS 25
#define VALUE_BYTES 600

struct world {
    char folder[64];
    struct log_config config;
    struct log *log;
    struct topic *kept, *passing; /* passing: retention takes its front */
    _Atomic int64_t acked[PARTITIONS];
    _Atomic bool stop;
    _Atomic int64_t faults, reads, next_thread;
};

#define TEXT(literal) ((char *)(uintptr_t)(literal))

struct waiting_change {
    struct log_change change;
    sem_t done;
};

static void change_done(struct log_change *change)
{
    sem_post(&((struct waiting_change *)change)->done);
}

/* False: it was refused. */
static bool run_change(struct log *log, struct log_change change, struct topic **out)
{
    struct waiting_change w = {.change = change};

    w.change.done = change_done;
    sem_init(&w.done, 0, 0);
    log_change(log, &w.change);
    sem_wait(&w.done);
    sem_destroy(&w.done);
    bool good = !w.change.fault;
    free(w.change.fault);
    if (out) {
        *out = w.change.topic;
    }
    return good;
}

static struct topic *make_topic(struct world *w, const char *name, const char *retention_bytes,
                                const char *flush_policy)
{
    struct setting settings[] = {{TEXT("segment.bytes"), TEXT("12000")},
                                 {TEXT("retention.bytes"), TEXT(retention_bytes)},
                                 {TEXT("flush.policy"), TEXT(flush_policy)}};
    struct log_change change = {.kind = LOG_TOPIC_CREATE,
                                .name = view_text(name),
                                .partition_count = PARTITIONS,
                                .settings = settings,
                                .setting_count = COUNT(settings)};
    struct topic *topic = NULL;

    return run_change(w->log, change, &topic) ? topic : NULL;
}

static void open_world(struct world *w)
{
    snprintf(w->folder, sizeof(w->folder), "/tmp/tidemark-threads-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    log_config_preset(&w->config);
    w->config.folder = w->folder;
    w->config.shards = 2;
    w->config.readers = 2;
    w->config.unsynced_ms_max = 3;
    w->config.retention_check_ms = 3;
    w->config.reserve_bytes = 1 << 20;
    w->config.files_max = 4;
    w->config.index_cache_bytes = 100;
    w->config.journal_bytes_max = 0; /* the smallest ring */
    assert_int_equal(log_open(os_real(), &w->config, &w->log), OK);
    w->kept = make_topic(w, "kept", "-1", "sync");
    w->passing = make_topic(w, "passing", "30000", "os");
    assert_non_null(w->kept);
    assert_non_null(w->passing);
}

static err count_folder(void *self, const char *name)
{
    *(int *)self += name[0] != '.';
    return OK;
}

static void close_world(struct world *w)
{
    char path[sizeof(w->folder) + 4];
    int folders = 0;

    topic_drop(w->kept);
    topic_drop(w->passing);
    log_close(w->log);
    snprintf(path, sizeof(path), "%s/p", w->folder);
    assert_int_equal(os_real()->folder_list(os_real(), path, count_folder, &folders), OK);
    assert_in_range(folders, 1, 2 * PARTITIONS + 1); /* __meta; of deleted topics none */
    assert_int_equal(os_remove_tree(os_real(), w->folder), OK);
    free(w->config.defaults.compression_type);
}

struct put {
    struct log_append append;
    struct world *world;
    int64_t producer; /* its counter is told */
    sem_t *left;      /* of the producer's */
    bool strict;      /* must succeed */
};

static void put_done(struct log_append *a)
{
    struct put *put = (struct put *)a;
    sem_t *left = put->left;

    if (a->status == LOG_APPEND_OK && put->strict) {
        atomic_fetch_add(&put->world->acked[partition_index(a->partition)], 1);
    } else if (put->strict) {
        atomic_fetch_add(&put->world->faults, 1);
    }
    buf_drop(a->hold);
    topic_drop(partition_topic(a->partition));
    free(put);
    sem_post(left);
}

static void put(struct world *w, struct topic *topic, int64_t producer, int32_t sequence,
                sem_t *left, bool strict)
{
    char value[VALUE_BYTES] = {0};
    struct record record = {.timestamp_ms = os_real()->now_ms(os_real()),
                            .value = VIEW_OF(value)};
    struct put *put = xcalloc(1, sizeof(*put));
    struct batch_build build = {
        .records = &record, .count = 1, .producer_id = producer, .base_sequence = sequence};

    snprintf(value, sizeof(value), "%d", (int)sequence);
    put->world = w;
    put->left = left;
    put->strict = strict;
    topic_hold(topic);
    put->append.partition = topic_partition(topic, (int32_t)(producer % PARTITIONS));
    put->append.acks = sequence % 4 ? LOG_ACKS_DURABLE : LOG_ACKS_WRITTEN;
    put->append.done = put_done;
    put->append.hold = batch_new(&build, &put->append.batch);
    enum batch_fault bad = batch_check(put->append.batch, &put->append.info);
    assert(bad == BATCH_FINE);
    sem_wait(left);
    log_append(w->log, &put->append);
}

static void settle(sem_t *left, int count)
{
    for (int i = 0; i < count; i++) {
        sem_wait(left);
    }
    sem_destroy(left);
}

static void *producer(void *self)
{
    struct world *w = self;
    int64_t id = atomic_fetch_add(&w->next_thread, 1);
    sem_t kept, passing;

    sem_init(&kept, 0, BATCHES_FLYING);
    sem_init(&passing, 0, BATCHES_FLYING);
    for (int32_t i = 0; i < BATCHES; i++) {
        put(w, w->kept, id, i, &kept, true);
        put(w, w->passing, id, i, &passing, false);
    }
    settle(&kept, BATCHES_FLYING);
    settle(&passing, BATCHES_FLYING);
    return NULL;
}

struct waiting {
    struct log_wait wait;
    sem_t woken;
};

static void wake(struct log_wait *wait)
{
    sem_post(&((struct waiting *)wait)->woken);
}

/* Sleeps until high passes offset, or a moment; then the waiter is off the list. */
static void wait_for(struct partition *p, int64_t offset)
{
    struct waiting w = {.wait = {.partition = p, .offset = offset, .wake = wake}};
    struct timespec until;

    sem_init(&w.woken, 0, 0);
    if (log_wait_add(&w.wait)) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 20000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)sem_timedwait(&w.woken, &until);
        log_wait_remove(&w.wait);
    }
    sem_destroy(&w.woken);
}

/* Offsets follow each other without a gap. */
static bool follow(struct world *w, struct partition *p, int64_t *at)
{
    struct buf *bytes = NULL;
    struct batch_info info;
    err e = log_fetch(w->log, p, *at, 1500, false, &bytes);

    if (e == ERR_OUT_OF_RANGE) { /* retention was faster */
        struct partition_ends ends;
        partition_ends(p, &ends);
        bool behind = *at < ends.start;
        *at = ends.start;
        return behind;
    }
    if (e) {
        return false;
    }
    view rest = bytes ? (view){bytes->bytes, bytes->len} : (view){0};
    bool good = true;
    while (good && rest.len) {
        good = batch_check_stored(rest, &info) == BATCH_FINE && info.base_offset <= *at;
        if (good) {
            *at = info.base_offset + info.last_offset_delta + 1;
            rest = view_from(rest, info.bytes);
        }
    }
    buf_drop(bytes);
    return good;
}

static void ask_around(struct world *w, struct partition *p)
{
    struct log_time_answer answer;
    struct log_cut_entry *cut;
    struct writer metrics = {0};
    int32_t epoch;
    int64_t end;
    size_t count;

    if (partition_find_time(p, 1, false, &answer) || partition_find_max_time(p, &answer) ||
        partition_epoch_end(p, 0, &epoch, &end)) {
        print_message("a question: %s\n", fault_here.text);
        atomic_fetch_add(&w->faults, 1);
    }
    log_cut(w->log, &cut, &count);
    free(cut);
    log_metrics(w->log, &metrics);
    writer_fini(&metrics);
}

static void *reader(void *self)
{
    struct world *w = self;
    int64_t id = atomic_fetch_add(&w->next_thread, 1);
    struct topic *topics[] = {w->kept, w->passing};
    int64_t at[2] = {0, 0};

    for (int64_t i = 0; !atomic_load(&w->stop); i++) {
        struct partition *p = topic_partition(topics[i % 2], (int32_t)(id % PARTITIONS));
        if (i % 2 == 0) {
            wait_for(p, at[0]);
        }
        if (!follow(w, p, &at[i % 2])) {
            print_message("a reader at %lld: %s\n", (long long)at[i % 2], fault_here.text);
            atomic_fetch_add(&w->faults, 1);
        }
        if (i % 50 == 0) {
            ask_around(w, p);
        }
        atomic_fetch_add(&w->reads, 1);
    }
    return NULL;
}

/* Topics come, are written, read and waited for while they go. */
static void *churner(void *self)
{
    struct world *w = self;

    for (int i = 0; i < CHURNS; i++) {
        struct topic *topic = make_topic(w, "churn", "-1", i % 2 ? "sync" : "os");
        struct waiting waiting = {.wait = {.offset = INT64_MAX - 1, .wake = wake}};
        sem_t left;
        if (!topic) {
            atomic_fetch_add(&w->faults, 1);
            break;
        }
        sem_init(&left, 0, BATCHES_FLYING);
        sem_init(&waiting.woken, 0, 0);
        waiting.wait.partition = topic_partition(topic, 0);
        bool queued = log_wait_add(&waiting.wait);
        for (int k = 0; k < 30; k++) {
            put(w, topic, k, 0, &left, false);
        }
        bool trimmed = run_change(w->log,
                                  (struct log_change){.kind = LOG_TRIM,
                                                      .topic = w->passing,
                                                      .partition = i % PARTITIONS,
                                                      .offset = -1},
                                  NULL);
        if (!queued || !trimmed ||
            !run_change(w->log, (struct log_change){.kind = LOG_TOPIC_DELETE, .topic = topic},
                        NULL)) {
            atomic_fetch_add(&w->faults, 1);
        }
        put(w, topic, 1, 1, &left, false);
        sem_wait(&waiting.woken); /* a waiter learns of the end */
        sem_destroy(&waiting.woken);
        settle(&left, BATCHES_FLYING);
        topic_drop(topic);
    }
    return NULL;
}

static void start(pthread_t *thread, void *(*run)(void *), struct world *w)
{
    assert_int_equal(pthread_create(thread, NULL, run, w), 0);
}

static void all_goes_on_at_once(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    pthread_t producers[PRODUCERS], readers[READERS], churn;

    (void)state;
    open_world(w);
    for (int i = 0; i < PRODUCERS; i++) {
        start(&producers[i], producer, w);
    }
    for (int i = 0; i < READERS; i++) {
        start(&readers[i], reader, w);
    }
    start(&churn, churner, w);
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(producers[i], NULL);
    }
    pthread_join(churn, NULL);
    atomic_store(&w->stop, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
    }
    assert_int_equal(atomic_load(&w->faults), 0);
    assert_true(atomic_load(&w->reads) > 0);
    for (int32_t i = 0; i < PARTITIONS; i++) {
        struct partition_ends ends;
        partition_ends(topic_partition(w->kept, i), &ends);
        assert_int_equal(ends.high, atomic_load(&w->acked[i]));
    }
    close_world(w);
    free(w);
}

static void gone_done(struct log_change *change)
{
    topic_drop(change->topic);
    change_done(change);
}

/* Appends are under way, segments roll and a topic is being deleted: all are answered before
 * log_close returns, and the next start finds what was acknowledged. */
static void a_close_in_the_middle_of_it_answers_all(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    (void)state;
    open_world(w);
    for (int round = 0; round < 10; round++) {
        int32_t first = (int32_t)atomic_load(&w->acked[0]);
        struct topic *going = make_topic(w, "going", "-1", "sync");
        struct waiting_change gone = {
            .change = {.kind = LOG_TOPIC_DELETE, .topic = going, .done = gone_done}};
        sem_t left;
        assert_non_null(going);
        sem_init(&left, 0, 200);
        sem_init(&gone.done, 0, 0);
        for (int32_t i = 0; i < 100; i++) {
            put(w, w->kept, 0, first + i, &left, true);
            put(w, going, 0, i, &left, false);
        }
        log_change(w->log, &gone.change);
        topic_drop(w->kept);
        topic_drop(w->passing);
        log_close(w->log);
        settle(&left, 200);
        assert_int_equal(sem_trywait(&gone.done), 0);
        sem_destroy(&gone.done);
        free(gone.change.fault);
        assert_int_equal(log_open(os_real(), &w->config, &w->log), OK);
        w->kept = log_topic(w->log, VIEW("kept"));
        w->passing = log_topic(w->log, VIEW("passing"));
        struct partition_ends ends;
        partition_ends(topic_partition(w->kept, 0), &ends);
        assert_int_equal(ends.high, atomic_load(&w->acked[0]));
        assert_int_equal(ends.high, first + 100);
        going = log_topic(w->log, VIEW("going"));
        if (going) { /* refused: the log was closing */
            assert_true(run_change(
                w->log, (struct log_change){.kind = LOG_TOPIC_DELETE, .topic = going}, NULL));
            topic_drop(going);
        }
    }
    close_world(w);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_goes_on_at_once),
        cmocka_unit_test(a_close_in_the_middle_of_it_answers_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
