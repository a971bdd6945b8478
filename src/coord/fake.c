/* fake.c - the store of the unit tests. Turns are given by fake_run, time by fake_pass; an
 * append is durable at once, or with fake_let_go. SPDX-License-Identifier: Apache-2.0 */
#include "coord/fake.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static struct fake *fake_of_os(struct os *os)
{
    return (struct fake *)(void *)((char *)os - offsetof(struct fake, os));
}

static int64_t now_ms(struct os *os)
{
    struct fake *f = fake_of_os(os);

    return f->epoch_ms + f->tick_ns / 1000000;
}

static int64_t tick_ns(struct os *os)
{
    return fake_of_os(os)->tick_ns;
}

static void fill_random(struct os *os, void *at, size_t len)
{
    struct fake *f = fake_of_os(os);

    for (size_t i = 0; i < len; i++) {
        f->seed = f->seed * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)at)[i] = (uint8_t)(f->seed >> 33);
    }
}

static err start(struct os *os, struct worker *worker)
{
    (void)os;
    (void)worker;
    return OK;
}

static void wake(struct os *os, struct worker *worker)
{
    (void)os;
    (void)worker;
}

static void join(struct os *os, struct worker *worker)
{
    (void)os;
    while (!mailbox_is_empty(&worker->box)) {
        worker_turn(worker);
    }
}

static int32_t partitions(struct coord_store *s, enum store_topic topic)
{
    (void)s;
    (void)topic;
    return 50;
}

static err read_back(struct coord_store *s, enum store_topic topic,
                     void (*each)(void *, const struct store_entry *), void *self)
{
    struct fake *f = (struct fake *)(void *)s;

    for (size_t i = 0; i < f->record_count; i++) {
        const struct fake_record *r = &f->records[i];
        struct store_entry e = {
            .topic = topic,
            .partition = r->partition,
            .offset = r->offset,
            .key = r->key,
            .value = r->value,
            .topic_id = r->topic_id,
            .producer_id = r->producer_id,
            .producer_epoch = r->producer_epoch,
            .transactional = r->producer_id >= 0,
            .commit = r->commit,
        };
        if (r->topic == topic) {
            each(self, &e);
        }
    }
    return OK;
}

static struct fake_record *record_new(struct fake *f, enum store_topic topic, int32_t partition)
{
    f->records = array_room(f->records, f->record_count, &f->record_room, sizeof(*f->records));
    struct fake_record *r = &f->records[f->record_count++];

    *r = (struct fake_record){.topic = topic,
                              .partition = partition,
                              .offset = f->ends[topic][partition]++,
                              .producer_id = -1,
                              .producer_epoch = -1};
    return r;
}

static view keep(struct fake *f, view v)
{
    return v.at ? arena_copy(&f->arena, v) : v;
}

static void make_durable(struct fake *f, struct store_append *a)
{
    a->base_offset = f->ends[a->topic][a->partition];
    for (size_t i = 0; i < a->count; i++) {
        const struct record *in = &a->records[i];
        struct fake_record *r = record_new(f, a->topic, a->partition);
        r->key = keep(f, in->key);
        r->value = keep(f, in->value);
        r->topic_id = in->header_count ? keep(f, in->headers[0].value) : (view){0};
        r->producer_id = a->producer_id;
        r->producer_epoch = a->producer_epoch;
    }
    a->ok = true;
    a->done(a);
}

static void append(struct coord_store *s, struct store_append *a)
{
    struct fake *f = (struct fake *)(void *)s;

    f->appends++;
    if (f->fail_appends > 0) {
        f->fail_appends--;
        a->ok = false;
        a->done(a);
    } else if (f->hold_back) {
        assert(f->waiting_count < COUNT(f->waiting));
        f->waiting[f->waiting_count++] = a;
    } else {
        make_durable(f, a);
    }
}

void fake_let_go(struct fake *f)
{
    size_t count = f->waiting_count;

    f->waiting_count = 0;
    f->hold_back = false;
    for (size_t i = 0; i < count; i++) {
        make_durable(f, f->waiting[i]);
    }
    fake_run(f);
}

static bool find(struct coord_store *s, view name, int32_t partition, uuid *id)
{
    struct fake *f = (struct fake *)(void *)s;

    for (size_t i = 0; i < f->topic_count; i++) {
        if (view_is_text(name, f->topics[i].name) && partition >= 0 &&
            partition < f->topics[i].partitions) {
            *id = f->topics[i].id;
            return true;
        }
    }
    return false;
}

static void mark(struct coord_store *s, struct store_mark *m)
{
    struct fake *f = (struct fake *)(void *)s;
    bool offsets = view_is_text(m->topic, store_topic_name(STORE_OFFSETS));
    uuid id;

    if (f->fail_marks > 0) {
        f->fail_marks--;
        m->result = STORE_MARK_FAILED;
    } else if (!offsets && !find(s, m->topic, m->partition, &id)) {
        m->result = STORE_MARK_GONE;
    } else {
        m->result = STORE_MARK_DONE;
        f->marks = array_room(f->marks, f->mark_count, &f->mark_room, sizeof(*f->marks));
        f->marks[f->mark_count++] =
            (struct fake_mark){text_of(m->topic), m->partition,     m->commit, false,
                               m->producer_id,    m->producer_epoch};
        if (offsets) {
            struct fake_record *r = record_new(f, STORE_OFFSETS, m->partition);
            r->producer_id = m->producer_id;
            r->marker = true;
            r->commit = m->commit;
        }
    }
    m->done(m);
}

static void release(struct coord_store *s, struct store_mark *const *marks, size_t count)
{
    struct fake *f = (struct fake *)(void *)s;

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < f->mark_count; k++) {
            struct fake_mark *m = &f->marks[k];
            m->released = m->released || (m->producer_id == marks[i]->producer_id &&
                                          m->partition == marks[i]->partition &&
                                          view_is_text(marks[i]->topic, m->topic));
        }
    }
}

static void forget(struct coord_store *s, struct store_mark *m)
{
    (void)s;
    (void)m;
}

static void reserve(struct coord_store *s, struct store_ids *ids)
{
    struct fake *f = (struct fake *)(void *)s;

    ids->ok = true;
    ids->first = f->next_id;
    ids->count = 1000;
    f->next_id += ids->count;
    ids->done(ids);
}

static void nothing(struct coord_store *s)
{
    (void)s; /* the fake outlives its coordinators, as a log does */
}

struct fake *fake_new(void)
{
    struct fake *f = xcalloc(1, sizeof(*f));

    f->os = (struct os){.now_ms = now_ms,
                        .tick_ns = tick_ns,
                        .random = fill_random,
                        .worker_start = start,
                        .worker_wake = wake,
                        .worker_join = join};
    f->store = (struct coord_store){.partitions = partitions,
                                    .read = read_back,
                                    .append = append,
                                    .mark = mark,
                                    .release = release,
                                    .forget = forget,
                                    .reserve = reserve,
                                    .find = find,
                                    .close = nothing};
    f->epoch_ms = 1700000000000;
    f->tick_ns = 1;
    f->topics[0] = (struct fake_topic){"in", 4, {{1}}};
    f->topics[1] = (struct fake_topic){"out", 4, {{2}}};
    f->topic_count = 2;
    return f;
}

void fake_open(struct fake *f, const struct coord_config *config)
{
    err e = coord_open_on(&f->os, &f->store, config, &f->coord);

    assert(e == OK);
    fake_run(f);
}

void fake_run(struct fake *f)
{
    while (!mailbox_is_empty(&f->coord->worker.box)) {
        worker_turn(&f->coord->worker);
    }
}

void fake_pass(struct fake *f, int64_t ms)
{
    int64_t end = f->tick_ns + ms * 1000000;

    fake_run(f);
    while (f->tick_ns < end) {
        worker_turn(&f->coord->worker); /* says when it is due */
        int64_t due = f->coord->worker.due_ns;
        f->tick_ns = due > f->tick_ns && due < end ? due : due <= f->tick_ns ? f->tick_ns : end;
        worker_turn(&f->coord->worker);
        fake_run(f);
    }
}

/* What was on its way to the store is lost; parked asks are answered by the closing, which a
 * test does not look at. */
void fake_crash(struct fake *f)
{
    for (size_t i = 0; i < f->waiting_count; i++) {
        f->waiting[i]->ok = false;
        f->waiting[i]->done(f->waiting[i]);
    }
    f->waiting_count = 0;
    f->hold_back = false;
    f->fail_appends = f->fail_marks = 1 << 30; /* nothing more gets through */
    fake_run(f);
    coord_close(f->coord);
    f->coord = NULL;
    f->fail_appends = f->fail_marks = 0;
}

void fake_free(struct fake *f)
{
    coord_close(f->coord);
    for (size_t i = 0; i < f->mark_count; i++) {
        free(f->marks[i].topic);
    }
    free(f->marks);
    free(f->records);
    arena_fini(&f->arena);
    free(f);
}
