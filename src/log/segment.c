/* segment.c - segment objects: names, life, reads and writes through the descriptor cache.
 *
 * A segment is removed from disk by whoever drops it last after it was marked deleted, so a
 * fetch in flight keeps its bytes. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct segment *segment_new(struct partition *p, int64_t base)
{
    struct segment *s = xcalloc(1, sizeof(*s));

    assert(base >= 0);
    s->holders = 1;
    s->partition = p;
    s->base = s->next = base;
    s->max_timestamp = s->max_timestamp_offset = s->first_ms = -1;
    s->file = OS_FILE_NONE;
    s->index_loaded = true; /* of no bytes */
    return s;
}

static struct log *log_of(const struct segment *s)
{
    return s->partition->topic->log;
}

void segment_path(const struct segment *s, const char *ending, char *out, size_t room)
{
    char folder[PATH_BYTES];

    partition_folder(s->partition, folder, sizeof(folder));
    int len = snprintf(out, room, "%s/%020" PRId64 "%s", folder, s->base, ending);
    assert(len > 0 && (size_t)len < room);
}

struct segment *segment_hold(struct segment *s)
{
    uint32_t before = atomic_fetch_add(&s->holders, 1);

    assert(before > 0);
    return s;
}

static void remove_files(struct segment *s)
{
    static const char *const endings[] = {".log", ".index"};
    struct os *os = log_of(s)->os;
    char path[PATH_BYTES];

    for (size_t i = 0; i < COUNT(endings); i++) {
        segment_path(s, endings[i], path, sizeof(path));
        err e = os->path_remove(os, path);
        if (e && e != ERR_NOT_FOUND) {
            trace_warn("log", "%s", fault_here.text);
        }
    }
}

void segment_drop(struct segment *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) != 1) {
        return;
    }
    files_forget(log_of(s)->files, s);
    if (s->deleted) {
        remove_files(s);
    }
    segment_forget_index(s);
    free(s);
}

enum os_read_status segment_read(struct segment *s, void *at, size_t len, int64_t position,
                                 bool may_block, size_t *got)
{
    struct log *log = log_of(s);
    os_file file;

    if (files_use(log->files, s, false, may_block, &file)) {
        return OS_READ_FAILED;
    }
    if (file == OS_FILE_NONE) {
        return OS_READ_COLD;
    }
    enum os_read_status status;
    if (may_block) {
        status = log->os->file_read(log->os, file, at, len, position, got) ? OS_READ_FAILED
                                                                           : OS_READ_DONE;
    } else {
        status = log->os->file_read_cached(log->os, file, at, len, position, got);
    }
    files_done(log->files, s);
    return status;
}

void segment_read_ahead(struct segment *s, int64_t position, int64_t len)
{
    struct log *log = log_of(s);
    os_file file;

    if (files_use(log->files, s, false, true, &file) == OK) {
        log->os->file_read_ahead(log->os, file, position, len);
        files_done(log->files, s);
    }
}

enum os_read_status segment_send(struct segment *s, int socket, size_t len, int64_t position,
                                 size_t *sent)
{
    struct log *log = log_of(s);
    os_file file;

    if (files_use(log->files, s, false, false, &file)) {
        return OS_READ_FAILED;
    }
    if (file == OS_FILE_NONE) {
        return OS_READ_COLD;
    }
    enum os_read_status status = log->os->file_send(log->os, file, socket, len, position, sent);
    files_done(log->files, s);
    return status;
}

err segment_write(struct segment *s, const struct iovec *parts, int count, int64_t position)
{
    struct log *log = log_of(s);
    os_file file;
    err e = files_use(log->files, s, true, true, &file);

    if (e) {
        return e;
    }
    e = log->os->file_write(log->os, file, parts, count, position);
    files_done(log->files, s);
    return e;
}

err segment_sync(struct segment *s)
{
    struct log *log = log_of(s);
    os_file file;
    err e = files_use(log->files, s, false, true, &file);

    if (e) {
        return e;
    }
    e = log->os->file_sync(log->os, file);
    files_done(log->files, s);
    return e;
}

err segment_cut(struct segment *s, int64_t position)
{
    struct log *log = log_of(s);
    os_file file;
    int64_t bytes = 0;
    err e = files_use(log->files, s, false, true, &file);

    if (e) {
        return e;
    }
    e = log->os->file_size(log->os, file, &bytes);
    if (!e && bytes > position) {
        e = log->os->file_truncate(log->os, file, position);
        e = e ? e : log->os->file_sync(log->os, file);
    }
    files_done(log->files, s);
    return e;
}

void segment_sync_start(struct segment *s, int64_t position, int64_t len)
{
    struct log *log = log_of(s);
    os_file file;

    if (files_use(log->files, s, false, false, &file) == OK && file != OS_FILE_NONE) {
        log->os->file_sync_start(log->os, file, position, len);
        files_done(log->files, s);
    }
}
