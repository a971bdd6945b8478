/* trail_test.c - random changes on real topics, sealed, searched; against a plain array.
 *
 * The array's answers come from plan_match() on every change in it, so this holds the index,
 * the reading by place, blocks, pages and rebuilding to that; trail_match_test.c holds
 * plan_match(). SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/records.h"
#include "audit/trail.h"
#include "audit/trail_match.h"
#include "log/log.h"

#define SEED 20260131
#define TABLES 3
#define PARTITIONS 2
#define CHANGES_MAX 3000
#define BLOCK_CHANGES 300
#define SEARCHES 250
#define STEP_US 1000000 /* between two transactions */
#define BEGIN_US INT64_C(1700000000000000)

struct world {
    char folder[64], path[96];
    struct log_config config;
    struct log *log;
    struct ledger *ledger;
    struct topic *topics[TABLES];
    struct relation *relations[TABLES];
    struct trail *trail;
    int64_t hot_ms;
    uint64_t random, lsn;
    uint32_t xid;
    struct arena arena; /* of the model */
    struct change *model[CHANGES_MAX];
    size_t count;
    struct fault *_Atomic broken; /* of a searching thread */
    _Atomic bool torn;
};

static uint32_t chance(struct world *w, uint32_t below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(w->random >> 33) % below;
}

static struct column columns[] = {
    {.name = {(const uint8_t *)"id", 2}, .type = 23, .modifier = -1, .key = true},
    {.name = {(const uint8_t *)"status", 6}, .type = 25, .modifier = -1},
    {.name = {(const uint8_t *)"total", 5}, .type = 1700, .modifier = -1},
    {.name = {(const uint8_t *)"data", 4}, .type = 3802, .modifier = -1},
    {.name = {(const uint8_t *)"paid", 4}, .type = 16, .modifier = -1},
};
static const char *const names[TABLES] = {"orders", "customers", "items"};
static const char *const statuses[] = {"new", "shipped", "lost", "null", "5"};
static const char *const totals[] = {"5.00", "5", "12.50", "-7", "NaN"};
static const char *const documents[] = {"{\"a\": 1, \"tags\": [\"x\", \"y\"]}",
                                        "{\"a\": {\"b\": null}}", "[1, 2]", "\"text\"",
                                        "{\"a\": 1.0, \"deep\": {\"er\": true}}"};
static const char *const contexts[] = {
    "{\"user\":\"ann\",\"request\":{\"id\":\"r1\",\"path\":\"/a\"}}",
    "{\"user\":\"bob\",\"request\":{\"id\":\"r2\"},\"tags\":[\"x\",\"night\"]}",
    "{\"job\":\"nightly\",\"n\":5.0}", "{\"user\":\"ann\",\"ok\":true}"};

static void open_trail(struct world *w)
{
    struct trail_config config = {
        .os = os_real(),
        .log = w->log,
        .ledger = w->ledger,
        .source = VIEW("shop"),
        .path = w->path,
        .hot_ms = w->hot_ms,
        .memory_bytes = 8 << 20,
        .block_changes = BLOCK_CHANGES,
    };
    assert_int_equal(trail_open(&config, &w->trail), OK);
    if (trail_catch_up(w->trail, 20000)) {
        fail_msg("%s", fault_here.text);
    }
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    snprintf(w->folder, sizeof(w->folder), "/tmp/trail-test-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof(w->path), "%s/view.sqlite", w->folder);
    log_config_preset(&w->config);
    w->config.folder = w->folder;
    w->config.journal_bytes_max = 16 << 20;
    assert_int_equal(log_open(os_real(), &w->config, &w->log), OK);
    assert_int_equal(ledger_open(w->log, VIEW("shop"), &w->ledger), OK);
    assert_int_equal(ledger_note(w->ledger, "begin", VIEW("{\"lsn\":\"0/64\"}")), OK);
    for (int i = 0; i < TABLES; i++) {
        struct relation r = {.oid = 100u + (uint32_t)i,
                             .identity = 'f',
                             .columns = columns,
                             .schema = VIEW("public"),
                             .name = view_text(names[i]),
                             .count = COUNT(columns)};
        char topic[64];
        snprintf(topic, sizeof(topic), "shop.public.%s", names[i]);
        assert_int_equal(ledger_describe(w->ledger, &r, &w->relations[i]), OK);
        assert_int_equal(
            records_topic(w->log, view_text(topic), PARTITIONS, NULL, 0, &w->topics[i]), OK);
    }
    w->random = SEED;
    w->lsn = 0x64;
    w->hot_ms = -1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    trail_close(w->trail);
    ledger_close(w->ledger);
    for (int i = 0; i < TABLES; i++) {
        topic_drop(w->topics[i]);
    }
    log_close(w->log);
    free(w->config.defaults.compression_type);
    arena_fini(&w->arena);
    assert_int_equal(os_remove_tree(os_real(), w->folder), OK);
    free(w);
    return 0;
}

static struct value text_or_null(struct world *w, const char *const *texts, size_t count)
{
    uint32_t at = chance(w, (uint32_t)count + 1);

    return at == count ? (struct value){.kind = VALUE_NULL}
                       : (struct value){VALUE_TEXT, view_text(texts[at])};
}

static struct value *random_image(struct world *w, view key)
{
    struct value *image = arena_take(&w->arena, COUNT(columns) * sizeof(*image));

    image[0] = (struct value){VALUE_TEXT, key};
    image[1] = text_or_null(w, statuses, COUNT(statuses));
    image[2] = text_or_null(w, totals, COUNT(totals));
    image[3] = text_or_null(w, documents, COUNT(documents));
    image[4] = (struct value){VALUE_TEXT, chance(w, 2) ? VIEW("t") : VIEW("f")};
    return image;
}

static view random_key(struct world *w)
{
    return view_text(arena_format(&w->arena, "%u", chance(w, 40)));
}

static struct change random_change(struct world *w, int table)
{
    static const enum change_kind kinds[] = {CHANGE_CREATE, CHANGE_UPDATE, CHANGE_UPDATE,
                                             CHANGE_UPDATE, CHANGE_DELETE, CHANGE_READ};
    struct change c = {.kind = kinds[chance(w, COUNT(kinds))], .relation = w->relations[table]};
    view key = random_key(w);

    if (c.kind == CHANGE_UPDATE || c.kind == CHANGE_DELETE) {
        c.before = random_image(w, key);
    }
    if (c.kind != CHANGE_DELETE) {
        c.after = random_image(w, chance(w, 20) ? key : random_key(w));
    }
    return c;
}

struct pile { /* records of one partition, before they are appended */
    struct record *records;
    size_t count, room;
};

static void write_change(struct world *w, struct arena *arena, const struct change *c,
                         struct pile *piles, int table)
{
    static const struct envelope_options options = {.source = {(const uint8_t *)"shop", 4},
                                                    .database = {(const uint8_t *)"d", 1},
                                                    .tombstones = true};
    struct envelope_source source = {.now_ms = 1};
    struct envelope_out out = {.arena = arena};
    struct writer key = {0};

    source.snapshot = c->kind == CHANGE_READ ? "true" : NULL;
    envelope_write(&options, &source, c, &out);
    change_key_text(c, &key);
    struct pile *pile = &piles[table * PARTITIONS + (key.len ? key.at[0] % PARTITIONS : 0)];
    for (size_t i = 0; i < out.count; i++) {
        pile->records =
            array_room(pile->records, pile->count, &pile->room, sizeof(*pile->records));
        pile->records[pile->count++] = out.records[i];
    }
    envelope_out_fini(&out);
    writer_fini(&key);
    (void)w;
}

static void append_pile(struct world *w, struct pile *pile, int at, struct seal_range *range)
{
    struct topic *topic = w->topics[at / PARTITIONS];
    struct partition *p = topic_partition(topic, at % PARTITIONS);
    struct seal_digest *digest = seal_digest_new();
    struct buf *bytes = NULL;

    assert_int_equal(records_append(w->log, p, pile->records, pile->count, &range->from), OK);
    assert_int_equal(log_fetch(w->log, p, range->from, 64 << 20, false, &bytes), OK);
    seal_digest_add(digest, (view){bytes->bytes, bytes->len});
    seal_digest_end(digest, range->hash);
    seal_digest_free(digest);
    buf_drop(bytes);
    range->topic = view_text(topic->name);
    range->partition = at % PARTITIONS;
    range->to = range->from + (int64_t)pile->count;
}

/* One seal of some transactions; the model gets the same. */
static void make_seal(struct world *w, uint32_t transactions)
{
    struct pile piles[TABLES * PARTITIONS] = {0};
    struct seal_range ranges[TABLES * PARTITIONS] = {0};
    struct arena arena = {0};
    struct seal seal = {.from = w->lsn, .ranges = ranges, .transactions = transactions};

    for (uint32_t t = 0; t < transactions; t++) {
        uint32_t changes = 1 + chance(w, 6), context = chance(w, COUNT(contexts) + 1);
        w->lsn += 1000;
        w->xid++;
        for (uint32_t seq = 0; seq < changes && w->count < CHANGES_MAX; seq++) {
            int table = (int)chance(w, TABLES);
            struct change c = random_change(w, table);
            c.place = (struct change_place){
                .xid = w->xid % 200 + 1,
                .lsn = w->lsn - 900 + seq,
                .commit_lsn = w->lsn - 10,
                .end_lsn = w->lsn,
                .committed_us = BEGIN_US + (int64_t)w->xid * STEP_US,
                .seq = seq,
            };
            c.context = context < COUNT(contexts) ? view_text(contexts[context]) : (view){0};
            write_change(w, &arena, &c, piles, table);
            w->model[w->count++] = change_copy(&w->arena, &c);
            seal.changes++;
        }
    }
    for (int i = 0; i < TABLES * PARTITIONS; i++) {
        if (piles[i].count) {
            append_pile(w, &piles[i], i, &ranges[seal.range_count++]);
        }
        free(piles[i].records);
    }
    seal.to = w->lsn;
    assert_int_equal(ledger_seal(w->ledger, &seal), OK);
    arena_fini(&arena);
}

static void fill(struct world *w, size_t changes)
{
    while (w->count < changes) {
        make_seal(w, 1 + chance(w, 40));
    }
}

struct answer {
    int64_t numbers[CHANGES_MAX];
    size_t count;
};

static err take(void *self, const struct trail_hit *hit)
{
    struct answer *a = self;

    assert_in_range(a->count, 0, CHANGES_MAX - 1);
    a->numbers[a->count++] = hit->number;
    return OK;
}

static void find_in_model(struct world *w, const struct trail_query *query, struct answer *out)
{
    struct arena arena = {0};
    struct plan plan;

    out->count = 0;
    assert_int_equal(plan_init(&plan, query->filters, query->count), OK);
    for (size_t i = 0; i < w->count; i++) {
        size_t at = query->oldest_first ? i : w->count - 1 - i;
        arena_reset(&arena);
        if (plan_match(&plan, &arena, w->model[at])) {
            out->numbers[out->count++] = (int64_t)at + 1;
        }
    }
    plan_fini(&plan);
    arena_fini(&arena);
}

/* In pages of random sizes, put together. */
static void find_in_trail(struct world *w, struct trail_query query, struct answer *out,
                          bool *cold)
{
    struct trail_found found = {0};

    out->count = 0;
    query.limit = chance(w, 2) ? 0 : 1 + chance(w, 400);
    do {
        query.cursor = found.cursor;
        if (trail_find(w->trail, &query, take, out, &found)) {
            fail_msg("%s", fault_here.text);
        }
        assert_true(!query.limit || found.count <= query.limit);
        *cold = *cold || found.cold;
    } while (found.cursor);
    assert_int_equal(found.numbered, w->count);
}

static struct filter random_filter(struct world *w)
{
    static const struct filter some[] = {
        {.kind = FILTER_TABLE, .value = {(const uint8_t *)"orders", 6}},
        {.kind = FILTER_TABLE, .value = {(const uint8_t *)"public.items", 12}},
        {.kind = FILTER_TABLE, .value = {(const uint8_t *)"nowhere", 7}},
        {.kind = FILTER_KEY, .value = {(const uint8_t *)"7", 1}},
        {.kind = FILTER_KEY, .value = {(const uint8_t *)"31", 2}},
        {.kind = FILTER_OPERATION, .value = {(const uint8_t *)"update", 6}},
        {.kind = FILTER_OPERATION, .value = {(const uint8_t *)"delete", 6}},
        {.kind = FILTER_CHANGED, .name = {(const uint8_t *)"status", 6}},
        {.kind = FILTER_CHANGED, .name = {(const uint8_t *)"id", 2}},
        {.kind = FILTER_BEFORE,
         .name = {(const uint8_t *)"status", 6},
         .value = {(const uint8_t *)"new", 3}},
        {.kind = FILTER_AFTER,
         .name = {(const uint8_t *)"total", 5},
         .value = {(const uint8_t *)"5.0", 3}},
        {.kind = FILTER_AFTER, .name = {(const uint8_t *)"status", 6}},
        {.kind = FILTER_AFTER,
         .name = {(const uint8_t *)"paid", 4},
         .value = {(const uint8_t *)"true", 4}},
        {.kind = FILTER_VALUE,
         .name = {(const uint8_t *)"data.a", 6},
         .value = {(const uint8_t *)"1", 1}},
        {.kind = FILTER_VALUE,
         .name = {(const uint8_t *)"status", 6},
         .value = {(const uint8_t *)"null", 4}},
        {.kind = FILTER_CONTEXT,
         .name = {(const uint8_t *)"request.id", 10},
         .value = {(const uint8_t *)"r2", 2}},
        {.kind = FILTER_CONTEXT, .name = {(const uint8_t *)"tags", 4}},
        {.kind = FILTER_CONTEXT,
         .name = {(const uint8_t *)"n", 1},
         .value = {(const uint8_t *)"5", 1}},
        {.kind = FILTER_CONTAINS,
         .name = {(const uint8_t *)"context", 7},
         .value = {(const uint8_t *)"{\"request\":{\"id\":\"r1\"}}", 23}},
        {.kind = FILTER_CONTAINS,
         .name = {(const uint8_t *)"after", 5},
         .value = {(const uint8_t *)"{\"data\":{\"tags\":[\"y\"]}}", 23}},
        {.kind = FILTER_CONTAINS,
         .name = {(const uint8_t *)"before", 6},
         .value = {(const uint8_t *)"{\"total\":5,\"paid\":false}", 24}},
        {.kind = FILTER_CONTAINS,
         .name = {(const uint8_t *)"after", 5},
         .value = {(const uint8_t *)"{\"data\":{}}", 11}},
        {.kind = FILTER_ACTOR, .value = {(const uint8_t *)"ann", 3}},
        {.kind = FILTER_ACTOR, .value = {(const uint8_t *)"nobody", 6}},
        {.kind = FILTER_TX, .value = {(const uint8_t *)"17", 2}},
    };
    struct filter f = some[chance(w, COUNT(some))];

    if (chance(w, 6) == 0) {
        bool since = chance(w, 2);
        f = (struct filter){.kind = since ? FILTER_SINCE : FILTER_UNTIL};
        f.number = BEGIN_US + (int64_t)chance(w, w->xid + 1) * STEP_US;
    } else if (chance(w, 12) == 0) {
        f = (struct filter){.kind = chance(w, 2) ? FILTER_AFTER_LSN : FILTER_UNTIL_LSN};
        f.number = (int64_t)chance(w, (uint32_t)w->lsn);
    }
    f.is_not = chance(w, 5) == 0;
    return f;
}

static void compare(struct world *w, const struct trail_query *query, bool *cold)
{
    struct answer *model = xmalloc(sizeof(*model)), *trail = xmalloc(sizeof(*trail));

    find_in_model(w, query, model);
    find_in_trail(w, *query, trail, cold);
    for (size_t i = 0; i < query->count && trail->count != model->count; i++) {
        const struct filter *f = &query->filters[i];
        print_message("filter %d%s %.*s = %.*s\n", (int)f->kind, f->is_not ? " not" : "",
                      VIEW_ARG(f->name), VIEW_ARG(f->value));
    }
    assert_int_equal(trail->count, model->count);
    if (model->count) {
        assert_memory_equal(trail->numbers, model->numbers,
                            model->count * sizeof(*model->numbers));
    }
    free(model);
    free(trail);
}

static bool search_at_random(struct world *w, int searches)
{
    bool cold = false;

    print_message("seed %d\n", SEED);
    for (int i = 0; i < searches; i++) {
        struct filter filters[4];
        struct trail_query query = {.filters = filters, .count = chance(w, COUNT(filters))};
        for (size_t f = 0; f < query.count; f++) {
            filters[f] = random_filter(w);
        }
        query.oldest_first = chance(w, 2);
        compare(w, &query, &cold);
    }
    return cold;
}

static void any_search_finds_what_a_plain_array_does(void **state)
{
    struct world *w = *state;

    open_trail(w);
    fill(w, 2000);
    assert_int_equal(trail_catch_up(w->trail, 20000), OK);
    assert_false(search_at_random(w, SEARCHES));
}

static void a_trail_goes_on_where_it_stopped(void **state)
{
    struct world *w = *state;

    open_trail(w);
    for (size_t part = 1; part <= 4; part++) {
        fill(w, part * 400);
        assert_int_equal(trail_catch_up(w->trail, 20000), OK);
        trail_close(w->trail);
        open_trail(w);
        (void)search_at_random(w, 20);
    }
}

static void a_deleted_view_is_built_anew(void **state)
{
    struct world *w = *state;

    fill(w, 1000);
    open_trail(w);
    trail_close(w->trail);
    assert_int_equal(unlink(w->path), 0);
    open_trail(w);
    (void)search_at_random(w, 40);
}

static void spoil(const char *path, long from, long step)
{
    FILE *file = fopen(path, "r+b");

    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long bytes = ftell(file);
    for (long at = from; at < bytes; at += step) {
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        assert_int_equal(fputs("spoiled!", file) < 0, 0);
    }
    assert_int_equal(fclose(file), 0);
}

static void a_view_that_is_no_database_is_built_anew(void **state)
{
    struct world *w = *state;

    fill(w, 1000);
    open_trail(w);
    trail_close(w->trail);
    spoil(w->path, 0, 64);
    open_trail(w);
    (void)search_at_random(w, 40);
}

static err ignore(void *self, const struct trail_hit *hit)
{
    (void)self;
    (void)hit;
    return OK;
}

static void damage_found_by_a_search_is_said_and_mended(void **state)
{
    struct world *w = *state;
    struct trail_query query = {0};
    struct trail_found found;
    err e = OK;

    fill(w, 1500);
    open_trail(w);
    trail_close(w->trail);
    spoil(w->path, 64 * 1024, 8192); /* pages of blobs, mostly: the heads are in front */
    open_trail(w);
    e = trail_find(w->trail, &query, ignore, NULL, &found);
    assert_int_equal(e, ERR_CORRUPT);
    assert_int_equal(trail_catch_up(w->trail, 20000), OK);
    assert_int_equal(trail_find(w->trail, &query, ignore, NULL, &found), OK);
    assert_int_equal(found.count, w->count);
    (void)search_at_random(w, 40);
}

static void old_blocks_turn_cold_and_are_still_searched(void **state)
{
    struct world *w = *state;

    fill(w, 1500);
    open_trail(w);
    trail_close(w->trail);
    struct os *os = os_real();
    w->hot_ms = os->now_ms(os) - (BEGIN_US + (int64_t)(w->xid / 2) * STEP_US) / 1000;
    open_trail(w);
    assert_true(search_at_random(w, 60));
}

static void trim(struct world *w, struct topic *topic, int partition)
{
    struct partition_ends ends;

    partition_ends(topic_partition(topic, partition), &ends);
    struct log_change change = {.kind = LOG_TRIM,
                                .topic = topic,
                                .partition = partition,
                                .offset = ends.high / 2,
                                .internal = true};
    assert_int_equal(records_change(w->log, &change), OK);
}

static void what_retention_took_is_left_out_and_not_called_covered(void **state)
{
    struct world *w = *state;
    struct answer *a = xcalloc(1, sizeof(*a));
    struct trail_query query = {.count = 0};
    struct trail_found found;

    fill(w, 1000);
    open_trail(w);
    for (int i = 0; i < TABLES * PARTITIONS; i++) {
        trim(w, w->topics[i / PARTITIONS], i % PARTITIONS);
    }
    for (int again = 0; again < 2; again++) {
        a->count = 0;
        assert_int_equal(trail_find(w->trail, &query, take, a, &found), OK);
        assert_in_range(a->count, 350, 650);
        assert_true(found.from_us > w->model[300]->place.committed_us);
        assert_int_equal(found.until_us, w->model[w->count - 1]->place.committed_us);
        trail_close(w->trail); /* and of an index that never saw it */
        assert_int_equal(unlink(w->path), 0);
        open_trail(w);
    }
    free(a);
}

static void *search_on(void *self)
{
    struct world *w = self;
    struct trail_query query = {.oldest_first = true};
    struct answer *a = xmalloc(sizeof(*a));
    struct trail_found found = {0};

    while (found.numbered < CHANGES_MAX / 2) {
        a->count = 0;
        if (trail_find(w->trail, &query, take, a, &found)) {
            w->broken = fault_take();
            break;
        }
        for (size_t i = 0; i < a->count; i++) { /* what is numbered is there, and in order */
            w->torn = w->torn || a->numbers[i] != (int64_t)i + 1;
        }
        w->torn = w->torn || a->count < (size_t)found.numbered;
    }
    free(a);
    return NULL;
}

static void searches_while_changes_come_see_whole_beginnings(void **state)
{
    struct world *w = *state;
    pthread_t threads[2];

    open_trail(w);
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, search_on, w), 0);
    }
    fill(w, CHANGES_MAX / 2);
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_null(w->broken);
    assert_false(w->torn);
}

struct told {
    pthread_mutex_t lock;
    int64_t next; /* number that must come */
    size_t count;
    bool torn, gone, done;
};

static err tell(void *self, const struct trail_hit *hit)
{
    struct told *t = self;

    pthread_mutex_lock(&t->lock);
    t->torn = t->torn || hit->number < t->next || hit->change->kind != CHANGE_DELETE;
    t->next = hit->number + 1;
    t->count++;
    pthread_mutex_unlock(&t->lock);
    return OK;
}

static bool is_gone(void *self)
{
    struct told *t = self;

    pthread_mutex_lock(&t->lock);
    bool gone = t->gone;
    pthread_mutex_unlock(&t->lock);
    return gone;
}

static void done(void *self)
{
    struct told *t = self;

    t->done = true;
}

static void a_follower_is_told_each_change_once_and_let_go_at_the_end(void **state)
{
    struct world *w = *state;
    const struct filter deletes = {.kind = FILTER_OPERATION, .value = VIEW("delete")};
    struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct trail_follower follower = {.each = tell, .is_gone = is_gone, .done = done};
    size_t wanted = 0, count = 0;

    follower.self = &told;
    follower.query = (struct trail_query){.filters = &deletes, .count = 1};
    open_trail(w);
    fill(w, 300);
    trail_follow(w->trail, &follower);
    fill(w, 900);
    for (size_t i = 0; i < w->count; i++) {
        wanted += w->model[i]->kind == CHANGE_DELETE;
    }
    for (int i = 0; i < 200 && count < wanted; i++) {
        (void)trail_wait(w->trail, (int64_t)w->count, 50);
        pthread_mutex_lock(&told.lock);
        count = told.count;
        pthread_mutex_unlock(&told.lock);
    }
    trail_close(w->trail);
    w->trail = NULL;
    assert_int_equal(told.count, wanted);
    assert_false(told.torn);
    assert_true(told.done);
}

static void counts_are_of_all_changes(void **state)
{
    struct world *w = *state;
    struct arena arena = {0};
    struct trail_count *counts = NULL;
    size_t count = 0, all = 0;

    fill(w, 1000);
    open_trail(w);
    trail_close(w->trail);
    open_trail(w);
    assert_int_equal(trail_counts(w->trail, &arena, &counts, &count), OK);
    assert_int_equal(count, TABLES);
    for (size_t i = 0; i < count; i++) {
        all += (size_t)(counts[i].creates + counts[i].updates + counts[i].deletes +
                        counts[i].truncates + counts[i].reads);
    }
    assert_int_equal(all, w->count);
    arena_fini(&arena);
}

static void a_search_says_what_it_covered(void **state)
{
    struct world *w = *state;
    struct answer *answer = xcalloc(1, sizeof(*answer));
    struct trail_query query = {.limit = 10};
    struct trail_found found;

    fill(w, 1000);
    open_trail(w);
    assert_int_equal(trail_find(w->trail, &query, take, answer, &found), OK);
    assert_int_equal(found.until_us, w->model[w->count - 1]->place.committed_us);
    assert_int_equal(found.from_us, w->model[w->count - 10]->place.committed_us);
    query.limit = 0;
    answer->count = 0;
    assert_int_equal(trail_find(w->trail, &query, take, answer, &found), OK);
    assert_int_equal(found.from_us, w->model[0]->place.committed_us);
    assert_int_equal(found.cursor, 0);
    free(answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(any_search_finds_what_a_plain_array_does),
        TEST(a_trail_goes_on_where_it_stopped),
        TEST(a_deleted_view_is_built_anew),
        TEST(a_view_that_is_no_database_is_built_anew),
        TEST(damage_found_by_a_search_is_said_and_mended),
        TEST(old_blocks_turn_cold_and_are_still_searched),
        TEST(what_retention_took_is_left_out_and_not_called_covered),
        TEST(searches_while_changes_come_see_whole_beginnings),
        TEST(a_follower_is_told_each_change_once_and_let_go_at_the_end),
        TEST(counts_are_of_all_changes),
        TEST(a_search_says_what_it_covered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
