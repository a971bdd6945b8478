/* recovery.c - from a folder to a log that may be written: after an orderly stop or a crash.
 *
 *   1 checkpoint        what is certainly in the segments, up to which journal round
 *   2 journal           (unclean) later rounds are written into the segments again
 *   3 __meta            opened first, read: topics, ids, settings, trims, pins
 *   4 partitions        (unclean) whose files reach past their recovery point: tails are read
 *   5 checkpoint        (unclean) under a new leader epoch: offsets behind it may be given anew
 * What recovery reads is bounded: the journal by its size, tails by what is synced in the
 * background. An orderly stop leaves the file "clean" and skips 2 and 4.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLEAN_NAME "clean"

struct place { /* of a partition, by topic id and index */
    uint8_t key[20];
    struct recovery_point point;
    int64_t journaled_end; /* 0: the journal has nothing of it */
    bool known;            /* in the checkpoint */
    bool folder;           /* its folder exists */
};

struct recovery {
    struct log *log;
    struct map places;
    uint64_t last_round;
    bool clean;
};

static void place_key(uuid id, int32_t partition, uint8_t key[20])
{
    memcpy(key, id.bytes, 16);
    put_u32(key + 16, (uint32_t)partition);
}

static struct place *place_of(struct recovery *r, uuid id, int32_t partition, bool make)
{
    uint8_t key[20];

    place_key(id, partition, key);
    struct place *place = map_get(&r->places, (view){key, sizeof(key)});
    if (!place && make) {
        place = xcalloc(1, sizeof(*place));
        memcpy(place->key, key, sizeof(key));
        place->point.segment = -1;
        map_put(&r->places, (view){place->key, sizeof(place->key)}, place);
    }
    return place;
}

static err read_checkpoint(struct recovery *r)
{
    struct checkpoint checkpoint;
    err e = checkpoint_read(r->log, &checkpoint);

    if (e == ERR_NOT_FOUND) {
        return OK; /* a new folder */
    }
    if (e) {
        return e;
    }
    r->log->epoch = checkpoint.epoch + (r->clean ? 0 : 1);
    r->log->checkpoint_round = r->last_round = checkpoint.round;
    for (size_t i = 0; i < checkpoint.count; i++) {
        const struct checkpoint_partition *c = &checkpoint.partitions[i];
        struct place *place = place_of(r, c->topic_id, c->partition, true);
        place->point = c->point;
        place->known = true;
    }
    free(checkpoint.partitions);
    return OK;
}

/* Names of partition folders are <topic id>-<index>. */
static err note_folder(void *self, const char *name)
{
    struct recovery *r = self;
    uuid id;
    char *end;

    if (strlen(name) < UUID_TEXT_BYTES || name[UUID_TEXT_BYTES - 1] != '-' ||
        uuid_parse((view){(const uint8_t *)name, UUID_TEXT_BYTES - 1}, &id)) {
        return OK;
    }
    int64_t index = strtoll(name + UUID_TEXT_BYTES, &end, 10);
    if (!*end && index >= 0 && index < PARTITIONS_MAX) {
        place_of(r, id, (int32_t)index, true)->folder = true;
    }
    return OK;
}

/* A journaled batch, back to where it had been written. */
static err write_back(void *self, const struct journal_entry *entry)
{
    struct recovery *r = self;
    struct os *os = r->log->os;
    struct place *place = place_of(r, entry->topic_id, entry->partition, true);
    char id[UUID_TEXT_BYTES], folder[PATH_BYTES], path[PATH_BYTES + 32];
    os_file file = OS_FILE_NONE;

    if (entry->base_offset < place->point.offset) {
        return OK; /* the checkpoint has it */
    }
    uuid_text(entry->topic_id, id);
    snprintf(folder, sizeof(folder), "%s/p/%s-%d", r->log->folder, id, entry->partition);
    snprintf(path, sizeof(path), "%s/%020" PRId64 ".log", folder, entry->segment);
    err e = place->folder ? OK : os->folder_make(os, folder);
    if (!e) {
        place->folder = true;
        e = os->file_open(os, path, OS_OPEN_WRITE | OS_OPEN_CREATE, &file);
    }
    if (!e) {
        e = os_write_at(os, file, entry->batch, entry->position);
        os->file_close(os, file);
    }
    place->journaled_end = MAX(place->journaled_end, entry->end);
    return e;
}

static void attach_point(struct recovery *r, struct partition *p)
{
    struct place *place = place_of(r, p->topic->id, p->index, false);

    p->epoch = r->log->epoch;
    if (!place || !place->known) {
        p->end = p->high = p->stable =
            p->start; /* a trim without a checkpoint: all is before it */
        p->recovery.start = p->start;
        return;
    }
    p->recovery = place->point;
    p->start = MAX(p->start, place->point.start);
    p->end = p->high = MAX(place->point.offset, p->start);
    p->stable = MAX(p->start, place->point.stable);
    p->bytes = place->point.bytes;
}

struct tail_check {
    int64_t active; /* base of the checkpoint's active segment */
    bool newer;     /* a later segment exists */
};

static err check_name(void *self, const char *name)
{
    struct tail_check *check = self;
    char *end;
    int64_t base = strtoll(name, &end, 10);

    check->newer |= strcmp(end, ".log") == 0 && base > check->active;
    return OK;
}

/* Do its files reach past the recovery point? */
static err has_tail(struct partition *p, bool *out)
{
    struct os *os = p->topic->log->os;
    struct tail_check check = {.active = p->recovery.segment};
    char folder[PATH_BYTES], path[PATH_BYTES + 32];
    os_file file;
    int64_t bytes;

    partition_folder(p, folder, sizeof(folder));
    err e = os->folder_list(os, folder, check_name, &check);
    *out = check.newer;
    if (e || check.newer || p->recovery.segment < 0) {
        return e;
    }
    snprintf(path, sizeof(path), "%s/%020" PRId64 ".log", folder, p->recovery.segment);
    e = os->file_open(os, path, 0, &file);
    if (e) {
        return e;
    }
    e = os->file_size(os, file, &bytes);
    os->file_close(os, file);
    *out = bytes != p->recovery.position;
    return e;
}

static err recover_partition(struct recovery *r, struct partition *p)
{
    struct place *place = place_of(r, p->topic->id, p->index, false);
    bool tail = false;
    err e = OK;

    attach_point(r, p);
    if (!place) {
        return OK;
    }
    if (r->clean) {
        return p->stable < p->high ? partition_open(p) : OK;
    }
    if (place->folder) {
        e = has_tail(p, &tail);
    } else if (place->point.segment >= 0) {
        e = fault(ERR_CORRUPT, "%s-%d: its folder is missing", p->topic->name, p->index);
    }
    if (!e && (tail || place->journaled_end > p->end)) {
        e = partition_recover(p, place->journaled_end);
    } else if (!e && p->stable < p->high) {
        e = partition_open(p); /* what was held back or open may be over: only opening tells */
    }
    return e;
}

static err recover_partitions(struct recovery *r)
{
    struct topic **topics;
    size_t count = log_topics(r->log, &topics);
    err e = OK;

    for (size_t i = 0; !e && i < count; i++) {
        for (int32_t k = 0; !e && k < atomic_load(&topics[i]->partition_count); k++) {
            if (topics[i] != r->log->meta_topic) {
                e = recover_partition(r, topic_partition(topics[i], k));
            }
        }
    }
    topics_drop(topics, count);
    return e;
}

/* Folders of topics that were deleted while their files were in the way of a crash. */
static void remove_orphans(struct recovery *r)
{
    struct place *place;
    size_t at = 0;

    while ((place = map_next(&r->places, &at))) {
        char name[UUID_TEXT_BYTES], folder[PATH_BYTES];
        uuid id;
        memcpy(id.bytes, place->key, sizeof(id.bytes));
        struct topic *topic = log_topic_by_id(r->log, id);
        if (!topic && place->folder) {
            uuid_text(id, name);
            snprintf(folder, sizeof(folder), "%s/p/%s-%d", r->log->folder, name,
                     (int)get_u32(place->key + 16));
            if (os_remove_tree(r->log->os, folder)) {
                trace_warn("log", "%s", fault_here.text);
            }
        }
        topic_drop(topic);
    }
}

static err read_folder(struct recovery *r)
{
    struct log *log = r->log;
    char path[PATH_BYTES];
    err e = OK;

    snprintf(path, sizeof(path), "%s/p", log->folder);
    e = log->os->folder_make(log->os, path);
    if (!e && !r->clean) {
        e = log->os->folder_list(log->os, path, note_folder, r);
    }
    if (!e && !r->clean) {
        e = journal_replay(log->os, log->folder, r->last_round, write_back, r, &r->last_round,
                           &log->start.recovered_bytes);
    }
    return e;
}

static err is_clean(struct recovery *r)
{
    char path[PATH_BYTES];
    struct buf *bytes = NULL;

    snprintf(path, sizeof(path), "%s/%s", r->log->folder, CLEAN_NAME);
    err e = os_read_file(r->log->os, path, PATH_BYTES, &bytes);
    r->clean = !e;
    buf_drop(bytes);
    return e == ERR_NOT_FOUND ? OK : e;
}

static err steps(struct recovery *r)
{
    struct log *log = r->log;
    err e = is_clean(r);

    e = e ? e : read_checkpoint(r);
    e = e ? e : read_folder(r);
    if (!e) {
        meta_new(log);
        e = recover_partition(r, topic_partition(log->meta_topic, 0));
    }
    e = e ? e : meta_open(log);
    e = e ? e : recover_partitions(r);
    e = e ? e
          : journal_open(log->os, log->folder, log->config.journal_bytes_max, r->last_round + 1,
                         &log->journal);
    atomic_store(&log->rounds_done, r->last_round);
    if (!e && !r->clean) {
        e = checkpoint_run(log);
    }
    if (!e && !r->clean) {
        remove_orphans(r); /* not before what says so is durable */
    }
    if (!e && r->clean) {
        char path[PATH_BYTES];
        snprintf(path, sizeof(path), "%s/%s", log->folder, CLEAN_NAME);
        e = log->os->path_remove(log->os, path);
        e = e ? e : log->os->folder_sync(log->os, log->folder);
    }
    log->start.clean = r->clean;
    return e;
}

err recovery_run(struct log *log)
{
    struct recovery r = {.log = log};
    struct place *place;
    size_t at = 0;
    err e = steps(&r);

    while ((place = map_next(&r.places, &at))) {
        free(place);
    }
    map_fini(&r.places);
    return e;
}

err log_mark_clean(struct log *log)
{
    return os_replace_file(log->os, log->folder, CLEAN_NAME, VIEW("stopped in order\n"));
}
