/* meta_check.c - whether a change may be made, against what is and what its batch does before
 * it. SPDX-License-Identifier: Apache-2.0 */
#include "log/meta_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NOTE_BYTES_MAX (64 << 10)
#define EDITS_MAX 256 /* of settings in one change: more than there are names */

static struct log_change *earlier(struct log_change *batch, const struct log_change *end,
                                  bool (*same)(const struct log_change *,
                                               const struct log_change *))
{
    struct log_change *found = NULL;

    for (struct log_change *c = batch; c != end; c = c->queued) {
        if (!c->fault && !c->only_check && same(c, end)) {
            found = c;
        }
    }
    return found;
}

static bool creates_same(const struct log_change *a, const struct log_change *b)
{
    return a->kind == LOG_TOPIC_CREATE && view_is(a->name, b->name);
}

static bool deletes_same(const struct log_change *a, const struct log_change *b)
{
    return a->kind == LOG_TOPIC_DELETE && a->topic == b->topic;
}

static bool makes_way(const struct log_change *a, const struct log_change *b)
{
    return a->kind == LOG_TOPIC_DELETE && view_is_text(b->name, a->topic->name);
}

const struct log_change *meta_earlier(struct log_change *batch, const struct log_change *c,
                                      enum log_change_kind kind)
{
    const struct log_change *found = NULL;

    for (const struct log_change *a = batch; a != c; a = a->queued) {
        if (a->kind == kind && a->topic == c->topic && !a->fault && !a->only_check) {
            found = a;
        }
    }
    return found;
}

static bool trims_same(const struct log_change *a, const struct log_change *b)
{
    return a->kind == LOG_TRIM && a->topic == b->topic && a->partition == b->partition;
}

static err check_settings(struct log *log, const struct setting *overrides, size_t count)
{
    struct topic_settings settings;

    settings_copy(&settings, &log->config.defaults);
    err e = settings_apply(&settings, overrides, count);
    settings_fini(&settings);
    return e;
}

static struct setting *named(struct setting *settings, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(settings[i].name, name)) {
            return &settings[i];
        }
    }
    return NULL;
}

/* c->settings over what holds when its turn has come, so that edits at one time all count. */
static void merge(struct log_change *batch, struct log_change *c)
{
    const struct log_change *set = meta_earlier(batch, c, LOG_TOPIC_SETTINGS);
    struct setting *base = NULL;
    size_t count = set ? set->merged_count : topic_overrides(c->topic, &base), room = count;

    base = set ? settings_dup(set->merged, count) : base;
    for (size_t i = 0; i < c->setting_count; i++) {
        struct setting *old = named(base, count, c->settings[i].name);
        if (old) {
            free(old->name);
            free(old->value);
            *old = base[--count];
        }
        if (c->settings[i].value) {
            base = array_room(base, count, &room, sizeof(*base));
            base[count++] =
                (struct setting){xstrdup(c->settings[i].name), xstrdup(c->settings[i].value)};
        }
    }
    c->merged = base;
    c->merged_count = count;
}

static err check_set(struct log *log, struct log_change *batch, struct log_change *c)
{
    if (c->setting_count > EDITS_MAX) {
        return fault(ERR_INVALID, "%zu settings are more than there are", c->setting_count);
    }
    if (c->merge) {
        merge(batch, c);
    } else {
        c->merged = settings_dup(c->settings, c->setting_count);
        c->merged_count = c->setting_count;
    }
    return check_settings(log, c->merged, c->merged_count);
}

static err check_create(struct log *log, struct log_change *batch, struct log_change *c)
{
    err e = topic_name_check(c->name);

    if (e) {
        return e;
    }
    if (!c->internal && topic_name_is_reserved(log, c->name)) {
        return fault(ERR_DENIED, "the name '%.*s' is kept for an internal topic",
                     VIEW_ARG(c->name));
    }
    if (c->partition_count < 1 || c->partition_count > PARTITIONS_MAX) {
        return fault(ERR_INVALID, "a topic has 1 to %d partitions, not %d", PARTITIONS_MAX,
                     c->partition_count);
    }
    struct topic *there = log_topic(log, c->name);
    topic_drop(there);
    if ((there && !earlier(batch, c, makes_way)) || earlier(batch, c, creates_same)) {
        return fault(ERR_EXISTS, "topic '%.*s' already exists", VIEW_ARG(c->name));
    }
    return check_settings(log, c->settings, c->setting_count);
}

static err check_grow(struct log_change *batch, struct log_change *c)
{
    const struct log_change *before = meta_earlier(batch, c, LOG_TOPIC_GROW);
    int32_t now = before ? before->partition_count : atomic_load(&c->topic->partition_count);

    if (c->partition_count <= now || c->partition_count > PARTITIONS_MAX) {
        return fault(ERR_INVALID,
                     "topic '%s' has %d partitions; their number can only grow, up to %d",
                     c->topic->name, now, PARTITIONS_MAX);
    }
    return OK;
}

/* TRIM and PIN: an offset inside of the partition. */
static err check_offset(struct log_change *batch, struct log_change *c)
{
    struct partition *p = topic_partition(c->topic, c->partition);
    struct partition_ends ends;

    if (!p) {
        return fault(ERR_NOT_FOUND, "topic '%s' has no partition %d", c->topic->name,
                     c->partition);
    }
    partition_ends(p, &ends);
    if (c->kind == LOG_TRIM && c->offset == -1) {
        c->offset = ends.high;
    }
    const struct log_change *trim = earlier(batch, c, trims_same);
    int64_t least = c->kind == LOG_PIN ? MAX(ends.start, trim ? trim->offset : 0) : 0;
    if (c->offset < least || c->offset > ends.high) {
        return fault(ERR_OUT_OF_RANGE,
                     "offset %" PRId64 " is outside of %" PRId64 " to %" PRId64, c->offset,
                     MAX(ends.start, least), ends.high);
    }
    if (c->kind == LOG_TRIM) {
        if (c->offset > p->pin) {
            return fault(ERR_CONFLICT, "%s-%d is pinned at offset %" PRId64, c->topic->name,
                         c->partition, p->pin);
        }
        c->offset = MAX(c->offset, ends.start);
    }
    return OK;
}

static err check_topic(struct log_change *batch, const struct log_change *c)
{
    if (atomic_load(&c->topic->deleted) ||
        earlier(batch, (struct log_change *)(uintptr_t)c, deletes_same)) {
        return fault(ERR_NOT_FOUND, "topic '%s' was deleted", c->topic->name);
    }
    if (c->topic->internal && !c->internal) {
        return fault(ERR_DENIED, "topic '%s' is internal", c->topic->name);
    }
    return OK;
}

err meta_check(struct meta_state *m, struct log_change *batch, struct log_change *c)
{
    err e = OK;

    switch (c->kind) {
    case LOG_TOPIC_CREATE:
        return check_create(m->log, batch, c);
    case LOG_UNPIN:
        return OK;
    case LOG_NOTE:
        return c->owner.len && c->value.len <= NOTE_BYTES_MAX
                   ? OK
                   : fault(ERR_INVALID, "a note has a name and at most %d bytes",
                           NOTE_BYTES_MAX);
    case LOG_TOPIC_DELETE:
        return check_topic(batch, c);
    case LOG_TOPIC_GROW:
        e = check_topic(batch, c);
        return e ? e : check_grow(batch, c);
    case LOG_TOPIC_SETTINGS:
        e = check_topic(batch, c);
        return e ? e : check_set(m->log, batch, c);
    case LOG_TRIM:
    case LOG_PIN:
        e = check_topic(batch, c);
        e = e ? e : check_offset(batch, c);
        if (!e && c->kind == LOG_PIN && !c->only_check) {
            meta_pin_add(m, c, c->owner, c->topic->id, c->partition, c->offset);
        }
        return e;
    }
    return fault(ERR_INVALID, "unknown change");
}
