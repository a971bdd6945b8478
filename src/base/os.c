/* os.c - conveniences over any struct os. SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

err os_read_file(struct os *os, const char *path, size_t limit, struct buf **out)
{
    os_file file = OS_FILE_NONE;
    struct buf *b = NULL;
    int64_t bytes;
    size_t got;
    err e = os->file_open(os, path, 0, &file);

    if (e) {
        return e;
    }
    e = os->file_size(os, file, &bytes);
    if (e) {
        goto done;
    }
    assert(limit <= UINT32_MAX);
    if (bytes > (int64_t)limit) {
        e = fault(ERR_TOO_LARGE, "%s: %lld bytes, its limit is %zu", path, (long long)bytes,
                  limit);
        goto done;
    }
    b = buf_new((uint32_t)bytes);
    e = os->file_read(os, file, b->bytes, (size_t)bytes, 0, &got);
    if (e) {
        e = fault_prefix("%s: ", path);
        goto done;
    }
    b->len = (uint32_t)got;
    *out = b; /* the caller's from here on */
    b = NULL;
done:
    buf_drop(b);
    os->file_close(os, file);
    return e;
}

static err write_whole(struct os *os, const char *path, view bytes)
{
    os_file file;
    err e = os->file_open(os, path, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_FRESH, &file);

    if (e) {
        return e;
    }
    e = os_write_at(os, file, bytes, 0);
    e = e ? e : os->file_sync(os, file);
    os->file_close(os, file);
    return e ? fault_prefix("%s: ", path) : OK;
}

err os_replace_file(struct os *os, const char *folder, const char *name, view bytes)
{
    char *path = text_format("%s/%s", folder, name);
    char *fresh = text_format("%s/%s.tmp", folder, name);
    err e = write_whole(os, fresh, bytes);

    e = e ? e : os->path_rename(os, fresh, path);
    if (e) {
        struct fault why = fault_here; /* the removal's own failure must not hide it */
        (void)os->path_remove(os, fresh);
        fault_here = why;
        goto done;
    }
    e = os->folder_sync(os, folder);
done:
    free(fresh);
    free(path);
    return e;
}

err os_write_at(struct os *os, os_file file, view bytes, int64_t position)
{
    struct iovec part = {(void *)(uintptr_t)bytes.at, bytes.len};

    return bytes.len ? os->file_write(os, file, &part, 1, position) : OK;
}

err os_make_folder(struct os *os, const char *path)
{
    char *above = xstrdup(path);
    size_t len = strlen(above);
    err e = os->folder_make(os, path);

    while (len && above[len - 1] == '/') {
        len--;
    }
    while (len && above[len - 1] != '/') {
        len--;
    }
    while (len > 1 && above[len - 1] == '/') {
        len--; /* but the root's own */
    }
    above[len] = '\0';
    e = e ? e : os->folder_sync(os, len ? above : ".");
    free(above);
    return e;
}

#define TREE_DEPTH_MAX 64

struct names {
    char **at;
    size_t count, room;
};

static err note_name(void *self, const char *name)
{
    struct names *names = self;

    names->at = array_room(names->at, names->count, &names->room, sizeof(*names->at));
    names->at[names->count++] = xstrdup(name);
    return OK;
}

/* Removal is tried first: it takes files and links, so that no link is followed out of the
 * tree, and fails for folders with something in them. */
static err remove_tree(struct os *os, const char *path, int depth)
{
    struct names names = {0};

    if (depth == TREE_DEPTH_MAX) {
        return fault(ERR_INVALID, "%s: deeper than %d folders", path, TREE_DEPTH_MAX);
    }
    err e = os->path_remove(os, path);
    if (!e) {
        return OK;
    }
    struct fault why = fault_here;
    if (os->folder_list(os, path, note_name, &names) != OK) {
        assert(names.count == 0);
        fault_here = why;
        return e;
    }
    e = OK;
    for (size_t i = 0; i < names.count; i++) {
        char *inside = text_format("%s/%s", path, names.at[i]);
        e = e ? e : remove_tree(os, inside, depth + 1);
        free(inside);
        free(names.at[i]);
    }
    free(names.at);
    return e ? e : os->path_remove(os, path);
}

err os_remove_tree(struct os *os, const char *folder)
{
    return remove_tree(os, folder, 0);
}
