/* files.c - the descriptor cache: segments' .log files, least recently used closed first.
 *
 * A file in use (file_users > 0) is never closed, so the limit may be passed for a moment by as
 * many as are in use. The .index files are opened and closed where they are needed: that is
 * rare. SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <stdlib.h>

struct files {
    struct os *os;
    pthread_mutex_t lock;
    struct segment *newest, *oldest; /* of those open */
    int64_t open, limit;
};

struct files *files_new(struct os *os, int64_t limit)
{
    struct files *files = xcalloc(1, sizeof(*files));

    assert(limit > 0);
    files->os = os;
    files->limit = limit;
    pthread_mutex_init(&files->lock, NULL);
    return files;
}

void files_free(struct files *files)
{
    if (files) {
        assert(files->open == 0);
        pthread_mutex_destroy(&files->lock);
        free(files);
    }
}

static void unlink_segment(struct files *files, struct segment *s)
{
    *(s->lru_prev ? &s->lru_prev->lru_next : &files->newest) = s->lru_next;
    *(s->lru_next ? &s->lru_next->lru_prev : &files->oldest) = s->lru_prev;
    s->lru_prev = s->lru_next = NULL;
}

static void link_newest(struct files *files, struct segment *s)
{
    s->lru_next = files->newest;
    *(files->newest ? &files->newest->lru_prev : &files->oldest) = s;
    files->newest = s;
}

static void close_file(struct files *files, struct segment *s)
{
    unlink_segment(files, s);
    files->os->file_close(files->os, s->file);
    s->file = OS_FILE_NONE;
    files->open--;
}

static void close_surplus(struct files *files)
{
    struct segment *s = files->oldest;

    while (s && files->open > files->limit) {
        struct segment *newer = s->lru_prev;
        if (s->file_users == 0 && !s->pinned) {
            close_file(files, s);
        }
        s = newer;
    }
}

static err open_file(struct files *files, struct segment *s, bool create)
{
    char path[PATH_BYTES];
    os_file file;

    segment_path(s, ".log", path, sizeof(path));
    err e = files->os->file_open(
        files->os, path, OS_OPEN_WRITE | OS_OPEN_SCATTERED | (create ? OS_OPEN_CREATE : 0u),
        &file);
    if (e) {
        return e;
    }
    s->file = file;
    link_newest(files, s);
    files->open++;
    return OK;
}

err files_use(struct files *files, struct segment *s, bool create, bool may_block, os_file *out)
{
    err e = OK;

    *out = OS_FILE_NONE;
    pthread_mutex_lock(&files->lock);
    bool usable = s->file != OS_FILE_NONE;
    if (!usable && may_block) {
        e = open_file(files, s, create);
        usable = !e;
    } else if (usable && files->newest != s) {
        unlink_segment(files, s);
        link_newest(files, s);
    }
    if (usable) {
        s->file_touched = true;
        s->file_users++;
        *out = s->file;
        close_surplus(files); /* now that this one counts as used */
    }
    pthread_mutex_unlock(&files->lock);
    return e;
}

void files_done(struct files *files, struct segment *s)
{
    pthread_mutex_lock(&files->lock);
    assert(s->file_users > 0);
    s->file_users--;
    pthread_mutex_unlock(&files->lock);
}

void files_forget(struct files *files, struct segment *s)
{
    pthread_mutex_lock(&files->lock);
    assert(s->file_users == 0);
    if (s->file != OS_FILE_NONE) {
        close_file(files, s);
    }
    pthread_mutex_unlock(&files->lock);
}

err files_pin(struct files *files, struct segment *s)
{
    err e = OK;

    pthread_mutex_lock(&files->lock);
    if (s->file == OS_FILE_NONE) {
        e = open_file(files, s, false);
    }
    s->pinned = !e;
    pthread_mutex_unlock(&files->lock);
    return e;
}

void files_adopt(struct files *files, struct segment *s, os_file take_file)
{
    pthread_mutex_lock(&files->lock);
    assert(s->file == OS_FILE_NONE);
    s->file = take_file;
    s->pinned = true;
    link_newest(files, s);
    files->open++;
    pthread_mutex_unlock(&files->lock);
}

void files_unpin(struct files *files, struct segment *s)
{
    pthread_mutex_lock(&files->lock);
    s->pinned = false;
    close_surplus(files);
    pthread_mutex_unlock(&files->lock);
}

bool files_is_pinned(struct files *files, const struct segment *s)
{
    pthread_mutex_lock(&files->lock);
    bool pinned = s->pinned;
    pthread_mutex_unlock(&files->lock);
    return pinned;
}

void files_shrink(struct files *files, int64_t keep)
{
    pthread_mutex_lock(&files->lock);
    for (struct segment *s = files->oldest, *newer; s; s = newer) {
        newer = s->lru_prev;
        if (files->open > keep && s->file_users == 0 && !s->file_touched) {
            close_file(files, s);
        } else {
            s->file_touched = false;
        }
    }
    pthread_mutex_unlock(&files->lock);
}

int64_t files_open_count(struct files *files)
{
    pthread_mutex_lock(&files->lock);
    int64_t open = files->open;
    pthread_mutex_unlock(&files->lock);
    return open;
}
