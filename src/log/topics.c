/* topics.c - the topic maps and the life of a topic.
 *
 * The maps hold one count of each topic; partitions and everything in flight hold more. An old
 * partition array stays allocated when the topic grows, because readers take no lock for it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stdlib.h>
#include <string.h>

struct old_array { /* partition arrays that were outgrown */
    struct old_array *next;
    struct partition **partitions;
};

struct topic_inside { /* a topic with what only this file sees */
    struct topic topic;
    struct old_array *old;
};

static void fill(struct topic *topic, struct partition **array, int32_t from, int32_t to)
{
    for (int32_t i = from; i < to; i++) {
        array[i] = partition_new(topic, i, log_shard_of(topic->log, topic->id, i));
    }
}

struct topic *topic_new(struct log *log, view name, uuid id, int32_t partitions, bool internal)
{
    struct topic_inside *inside = xcalloc(1, sizeof(*inside));
    struct topic *topic = &inside->topic;

    assert(partitions > 0 && partitions <= PARTITIONS_MAX);
    topic->name = text_of(name);
    topic->id = id;
    topic->internal = internal;
    topic->holders = 1;
    topic->log = log;
    settings_copy(&topic->settings, &log->config.defaults);
    struct partition **array = xcalloc((size_t)partitions, sizeof(struct partition *));
    fill(topic, array, 0, partitions);
    atomic_store(&topic->partitions, array);
    atomic_store(&topic->partition_count, partitions);
    return topic;
}

bool topic_name_is_reserved(const struct log *log, view name)
{
    for (const char *const *at = log->config.reserved; *at; at++) {
        view kept = view_text(*at);
        bool rest = kept.at[kept.len - 1] == '*';
        if (rest ? view_starts(name, view_upto(kept, kept.len - 1)) : view_is(name, kept)) {
            return true;
        }
    }
    return false;
}

void topic_grow(struct topic *topic, int32_t partitions)
{
    struct topic_inside *inside = (struct topic_inside *)topic;
    int32_t before = atomic_load(&topic->partition_count);
    struct partition **array = xcalloc((size_t)partitions, sizeof(struct partition *));
    struct old_array *old = xmalloc(sizeof(*old));

    assert(partitions > before);
    *old = (struct old_array){inside->old, atomic_load(&topic->partitions)};
    memcpy(array, old->partitions, (size_t)before * sizeof(struct partition *));
    fill(topic, array, before, partitions);
    inside->old = old;
    atomic_store(&topic->partitions, array);
    atomic_store(&topic->partition_count, partitions);
}

struct topic *topic_hold(struct topic *topic)
{
    uint32_t before = atomic_fetch_add(&topic->holders, 1);

    assert(before > 0);
    return topic;
}

void topic_drop(struct topic *topic)
{
    if (!topic || atomic_fetch_sub(&topic->holders, 1) != 1) {
        return;
    }
    struct topic_inside *inside = (struct topic_inside *)topic;
    struct partition **array = atomic_load(&topic->partitions);
    for (int32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
        partition_free(array[i]);
    }
    for (struct old_array *old = inside->old, *next; old; old = next) {
        next = old->next;
        free(old->partitions);
        free(old);
    }
    free(array);
    settings_free(topic->overrides, topic->override_count);
    settings_fini(&topic->settings);
    free(topic->name);
    free(inside);
}

void topics_add(struct log *log, struct topic *topic)
{
    pthread_rwlock_wrlock(&log->topics_lock);
    void *same_name = map_put(&log->topics_by_name, view_text(topic->name), topic);
    void *same_id = map_put(&log->topics_by_id, VIEW_OF(topic->id), topic);
    pthread_rwlock_unlock(&log->topics_lock);
    assert(!same_name);
    assert(!same_id);
}

void topics_remove(struct log *log, struct topic *topic)
{
    pthread_rwlock_wrlock(&log->topics_lock);
    void *by_name = map_remove(&log->topics_by_name, view_text(topic->name));
    void *by_id = map_remove(&log->topics_by_id, VIEW_OF(topic->id));
    pthread_rwlock_unlock(&log->topics_lock);
    assert(by_name == topic && by_id == topic);
    atomic_store(&topic->deleted, true);
}

struct topic *log_topic(struct log *log, view name)
{
    pthread_rwlock_rdlock(&log->topics_lock);
    struct topic *topic = map_get(&log->topics_by_name, name);
    if (topic) {
        topic_hold(topic);
    }
    pthread_rwlock_unlock(&log->topics_lock);
    return topic;
}

struct topic *log_topic_by_id(struct log *log, uuid id)
{
    pthread_rwlock_rdlock(&log->topics_lock);
    struct topic *topic = map_get(&log->topics_by_id, VIEW_OF(id));
    if (topic) {
        topic_hold(topic);
    }
    pthread_rwlock_unlock(&log->topics_lock);
    return topic;
}

static int by_name(const void *a, const void *b)
{
    const struct topic *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

size_t log_topics(struct log *log, struct topic ***out)
{
    size_t count = 0, at = 0;
    struct topic *topic;

    pthread_rwlock_rdlock(&log->topics_lock);
    *out = xmalloc((log->topics_by_name.count + 1) * sizeof(**out));
    while ((topic = map_next(&log->topics_by_name, &at))) {
        (*out)[count++] = topic_hold(topic);
    }
    pthread_rwlock_unlock(&log->topics_lock);
    qsort(*out, count, sizeof(**out), by_name);
    return count;
}

void topics_drop(struct topic **topics, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        topic_drop(topics[i]);
    }
    free(topics);
}

void topic_settings_get(struct topic *topic, struct topic_settings *out)
{
    pthread_rwlock_rdlock(&topic->log->topics_lock);
    *out = topic->settings;
    pthread_rwlock_unlock(&topic->log->topics_lock);
    out->compression_type = NULL;
}

size_t topic_overrides(struct topic *topic, struct setting **out)
{
    pthread_rwlock_rdlock(&topic->log->topics_lock);
    size_t count = topic->override_count;
    *out = settings_dup(topic->overrides, count);
    pthread_rwlock_unlock(&topic->log->topics_lock);
    return count;
}

struct partition *topic_partition(struct topic *topic, int32_t index)
{
    if (index < 0 || index >= atomic_load(&topic->partition_count)) {
        return NULL;
    }
    return atomic_load(&topic->partitions)[index];
}

err topic_name_check(view name)
{
    if (!name.len || view_is_text(name, ".") || view_is_text(name, "..")) {
        return fault(ERR_INVALID, "a topic's name may not be empty, \".\" or \"..\"");
    }
    if (name.len > TOPIC_NAME_MAX) {
        return fault(ERR_INVALID, "topic name is longer than %d characters", TOPIC_NAME_MAX);
    }
    for (size_t i = 0; i < name.len; i++) {
        if (!memchr("-._", name.at[i], 3) && !(name.at[i] >= 'a' && name.at[i] <= 'z') &&
            !(name.at[i] >= 'A' && name.at[i] <= 'Z') &&
            !(name.at[i] >= '0' && name.at[i] <= '9')) {
            return fault(ERR_INVALID,
                         "topic name \"%.*s\" may hold only letters, digits, '.', '_' and '-'",
                         VIEW_ARG(name));
        }
    }
    return OK;
}
