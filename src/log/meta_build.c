/* meta_build.c - from changes to the records of __meta. SPDX-License-Identifier: Apache-2.0 */
#include "log/meta_state.h"

#include <stdlib.h>

static void add_record(struct meta_building *b, const struct meta_record *r,
                       const struct setting *settings, size_t count)
{
    struct writer out = {0};
    struct record record = {.timestamp_ms = b->now_ms};

    meta_key_write(&out, r);
    record.key = arena_copy(b->arena, writer_view(&out));
    if (!r->gone) {
        writer_reset(&out);
        meta_value_write(&out, r, settings, count);
        record.value = arena_copy(b->arena, writer_view(&out));
    }
    writer_fini(&out);
    b->records = array_room(b->records, b->count, &b->room, sizeof(*b->records));
    b->records[b->count++] = record;
}

static void add_topic(struct meta_building *b, const struct topic *topic, int32_t partitions,
                      const struct setting *settings, size_t count)
{
    struct meta_record r = {.kind = META_TOPIC,
                            .id = topic->id,
                            .name = view_text(topic->name),
                            .partitions = partitions,
                            .internal = topic->internal};

    add_record(b, &r, settings, count);
}

static void add_unpins(struct meta_state *m, struct meta_building *b, view owner)
{
    pthread_mutex_lock(&m->lock);
    for (struct pin *pin = m->pins; pin; pin = pin->next) {
        if (view_is_text(owner, pin->owner)) {
            struct meta_record r = {.kind = META_PIN,
                                    .gone = true,
                                    .owner = owner,
                                    .id = pin->id,
                                    .partition = pin->partition};
            add_record(b, &r, NULL, 0);
        }
    }
    pthread_mutex_unlock(&m->lock);
}

static void add_delete(struct meta_building *b, const struct topic *topic)
{
    struct meta_record r = {.kind = META_TOPIC, .gone = true, .id = topic->id};

    add_record(b, &r, NULL, 0);
    r.kind = META_TRIM;
    for (r.partition = 0;
         r.partition < atomic_load(&((struct topic *)(uintptr_t)topic)->partition_count);
         r.partition++) {
        if (atomic_load(&((struct topic *)(uintptr_t)topic)->partitions)[r.partition]
                ->trimmed) {
            add_record(b, &r, NULL, 0);
        }
    }
}

/* A record says all of a topic, so it must hold what the batch did before, too. */
static void add_grown(struct meta_building *b, struct log_change *batch, struct log_change *c)
{
    const struct log_change *set = meta_earlier(batch, c, LOG_TOPIC_SETTINGS);
    struct setting *overrides = NULL;
    size_t count = set ? 0 : topic_overrides(c->topic, &overrides);

    add_topic(b, c->topic, c->partition_count, set ? set->merged : overrides,
              set ? set->merged_count : count);
    settings_free(overrides, count);
}

static void add_set(struct meta_building *b, struct log_change *batch, struct log_change *c)
{
    const struct log_change *grown = meta_earlier(batch, c, LOG_TOPIC_GROW);
    int32_t count = grown ? grown->partition_count : atomic_load(&c->topic->partition_count);

    add_topic(b, c->topic, count, c->merged, c->merged_count);
}

void meta_build_change(struct meta_state *m, struct meta_building *b, struct log_change *batch,
                       struct log_change *c)
{
    struct meta_record r = {
        .owner = c->owner, .value = c->value, .offset = c->offset, .partition = c->partition};

    switch (c->kind) {
    case LOG_TOPIC_CREATE:
        c->id = uuid_is_zero(c->id) ? uuid_new(m->log->os) : c->id;
        r.kind = META_TOPIC;
        r.id = c->id;
        r.name = c->name;
        r.partitions = c->partition_count;
        r.internal = c->internal;
        add_record(b, &r, c->settings, c->setting_count);
        break;
    case LOG_TOPIC_DELETE:
        add_delete(b, c->topic);
        break;
    case LOG_TOPIC_GROW:
        add_grown(b, batch, c);
        break;
    case LOG_TOPIC_SETTINGS:
        add_set(b, batch, c);
        break;
    case LOG_UNPIN:
        add_unpins(m, b, c->owner);
        break;
    case LOG_TRIM:
    case LOG_PIN:
    case LOG_NOTE:
        r.kind = c->kind == LOG_TRIM ? META_TRIM : c->kind == LOG_PIN ? META_PIN : META_NOTE;
        r.gone = c->kind == LOG_NOTE && !c->value.len;
        r.id = c->topic ? c->topic->id : (uuid){{0}};
        add_record(b, &r, NULL, 0);
        break;
    }
}
