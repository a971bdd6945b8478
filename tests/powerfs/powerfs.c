/* powerfs.c - a file system that forgets what was not synced, when told that the power failed.
 *
 *     powerfs MOUNTPOINT        runs in the foreground until it is unmounted
 *
 * Everything lives in memory, twice: as programs see it (now), and as a disk would hold it
 * (disk). Between the two are the operations that no sync has covered. fsync and fdatasync of a
 * file carry its bytes and size over, fsync of a folder its entries, nothing else anything: a
 * new file needs both. Linux gives syncfs no way into FUSE; syncfs.c sends it as an ioctl.
 *
 * Control file ".powerfs" in the root (not listed). It takes one command a write:
 *     lose SEED PERCENT   power failure. Of each file's unsynced writes about PERCENT of the
 *                         512-byte sectors are kept, each as it was at some moment, and the
 * size of some moment; of each folder's unsynced changes the first few. With 0 nothing is kept.
 * Only while no file is open. hold | release      syncs wait | go on fail ERRNO          from
 * now on syncs fail with it; 0: they work again space BYTES         the size of the file system
 * and reading it gives "syncs N pending N used N", where pending counts held syncs.
 *
 * Invariant: no kernel caches (direct I/O, no timeouts), so that after a failure programs see
 * what the disk holds. One thread. SPDX-License-Identifier: Apache-2.0 */
#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTROL_NAME ".powerfs"
#define CONTROL_NODE 2 /* 1 is the root */
#define SECTOR_BYTES 512
#define NODES_MAX 1000000
#define HELD_MAX 4096
#define IOCTL_SYNC_ALL 0x5046 /* also in syncfs.c */
#define SPACE_BYTES (8ull << 30)
#define FILE_BYTES_MAX (2ull << 30)

struct bytes {
    uint8_t *at;
    size_t len, room; /* what lies between len and room is zero */
};

struct write_op {
    size_t position, len; /* len: of the bytes, or the new size */
    uint8_t *bytes;       /* NULL: a change of size */
};

struct entry {
    char name[256];
    fuse_ino_t node; /* 0: the name goes away */
};

struct entry_op {
    char from[256];  /* a rename's old name, else empty */
    struct entry to; /* set, or removed */
};

struct entries {
    struct entry *at;
    size_t count;
};

struct node {
    bool folder;
    struct bytes now, disk; /* of a file */
    struct write_op *writes;
    size_t write_count;
    struct entries now_entries, disk_entries; /* of a folder */
    struct entry_op *changes;
    size_t change_count;
};

struct held {
    fuse_req_t request;
    fuse_ino_t node; /* 0: all, an ioctl */
};

static struct node *nodes[NODES_MAX];
static fuse_ino_t node_count;
static uint64_t space_bytes = SPACE_BYTES, sync_count, random_state;
static bool holding;
static int sync_error;
static struct held held[HELD_MAX];
static size_t held_count;

static void *checked(void *memory)
{
    if (!memory) {
        fprintf(stderr, "powerfs: out of memory\n");
        abort();
    }
    return memory;
}

/* One more element at the end of an array; grows to the next power of two. */
static void *grown(void *array, size_t count, size_t element_bytes)
{
    bool full = count == 0 || (count & (count - 1)) == 0;

    return full ? checked(realloc(array, (count ? 2 * count : 1) * element_bytes)) : array;
}

static uint64_t chance(uint64_t below)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static void bytes_resize(struct bytes *b, size_t len)
{
    if (len > b->room) {
        size_t room = b->room ? b->room : 4096;
        while (room < len) {
            room *= 2;
        }
        b->at = checked(realloc(b->at, room));
        memset(b->at + b->room, 0, room - b->room);
        b->room = room;
    }
    if (len < b->len) {
        memset(b->at + len, 0, b->len - len);
    }
    b->len = len;
}

static void bytes_put(struct bytes *b, const void *at, size_t len, size_t position)
{
    if (len && position + len > b->len) {
        bytes_resize(b, position + len);
    }
    if (len) {
        memcpy(b->at + position, at, len);
    }
}

static void bytes_copy(struct bytes *to, const struct bytes *from)
{
    bytes_resize(to, 0);
    bytes_put(to, from->at, from->len, 0);
}

static void write_apply(struct bytes *b, const struct write_op *op)
{
    if (op->bytes) {
        bytes_put(b, op->bytes, op->len, op->position);
    } else {
        bytes_resize(b, op->len);
    }
}

static void file_change(struct node *file, struct write_op op)
{
    write_apply(&file->now, &op);
    file->writes = grown(file->writes, file->write_count, sizeof(op));
    file->writes[file->write_count++] = op;
}

static void writes_forget(struct node *file)
{
    for (size_t i = 0; i < file->write_count; i++) {
        free(file->writes[i].bytes);
    }
    free(file->writes);
    file->writes = NULL;
    file->write_count = 0;
}

static struct entry *entry_find(struct entries *e, const char *name)
{
    for (size_t i = 0; i < e->count; i++) {
        if (strcmp(e->at[i].name, name) == 0) {
            return &e->at[i];
        }
    }
    return NULL;
}

static void entry_set(struct entries *e, const char *name, fuse_ino_t node)
{
    struct entry *found = entry_find(e, name);

    if (found && node) {
        found->node = node;
    } else if (found) {
        *found = e->at[--e->count];
    } else if (node) {
        e->at = grown(e->at, e->count, sizeof(*e->at));
        snprintf(e->at[e->count].name, sizeof(e->at->name), "%s", name);
        e->at[e->count++].node = node;
    }
}

static void entry_apply(struct entries *e, const struct entry_op *op)
{
    if (*op->from) {
        entry_set(e, op->from, 0);
    }
    entry_set(e, op->to.name, op->to.node);
}

static void folder_change(struct node *folder, const char *from, const char *name,
                          fuse_ino_t node)
{
    struct entry_op op = {.to.node = node};

    snprintf(op.from, sizeof(op.from), "%s", from);
    snprintf(op.to.name, sizeof(op.to.name), "%s", name);
    entry_apply(&folder->now_entries, &op);
    folder->changes = grown(folder->changes, folder->change_count, sizeof(op));
    folder->changes[folder->change_count++] = op;
}

static void changes_forget(struct node *folder)
{
    free(folder->changes);
    folder->changes = NULL;
    folder->change_count = 0;
}

static void node_sync(struct node *n)
{
    for (size_t i = 0; i < n->write_count; i++) {
        write_apply(&n->disk, &n->writes[i]);
    }
    for (size_t i = 0; i < n->change_count; i++) {
        entry_apply(&n->disk_entries, &n->changes[i]);
    }
    writes_forget(n);
    changes_forget(n);
}

/* 0 for all; gives an errno. */
static int sync_now(fuse_ino_t node)
{
    sync_count++;
    if (sync_error) {
        return sync_error;
    }
    for (fuse_ino_t i = node ? node : 1; i <= (node ? node : node_count); i++) {
        if (nodes[i]) {
            node_sync(nodes[i]);
        }
    }
    return 0;
}

static void sync_and_reply(fuse_req_t request, fuse_ino_t node)
{
    int error = sync_now(node);

    if (error || node) {
        fuse_reply_err(request, error);
    } else {
        fuse_reply_ioctl(request, 0, NULL, 0);
    }
}

static void sync_or_hold(fuse_req_t request, fuse_ino_t node)
{
    if (holding && held_count < HELD_MAX) {
        held[held_count++] = (struct held){request, node};
    } else {
        sync_and_reply(request, node);
    }
}

static void release_held(void)
{
    for (size_t i = 0; i < held_count; i++) {
        sync_and_reply(held[i].request, held[i].node);
    }
    held_count = 0;
}

/* Sectors of a write, as they are after it, that reached the disk by chance. */
static void keep_sectors(struct bytes *disk, const struct bytes *then,
                         const struct write_op *op, uint64_t percent)
{
    size_t first = op->position / SECTOR_BYTES * SECTOR_BYTES;

    for (size_t at = first; at < op->position + op->len; at += SECTOR_BYTES) {
        size_t len = then->len - at < SECTOR_BYTES ? then->len - at : SECTOR_BYTES;
        if (chance(100) < percent) {
            bytes_put(disk, then->at + at, len, at);
        }
    }
}

static void file_lose(struct node *file, uint64_t percent)
{
    struct bytes then = {0};
    size_t sized = percent ? chance(file->write_count + 1) : 0, len = file->disk.len;

    bytes_copy(&then, &file->disk);
    for (size_t i = 0; i < file->write_count; i++) {
        const struct write_op *op = &file->writes[i];
        write_apply(&then, op);
        len = i < sized ? then.len : len;
        if (op->bytes) {
            keep_sectors(&file->disk, &then, op, percent);
        }
    }
    bytes_resize(&file->disk, len);
    bytes_copy(&file->now, &file->disk);
    free(then.at);
    writes_forget(file);
}

static void folder_lose(struct node *folder, uint64_t percent)
{
    size_t kept = percent ? chance(folder->change_count + 1) : 0;

    for (size_t i = 0; i < kept; i++) {
        entry_apply(&folder->disk_entries, &folder->changes[i]);
    }
    changes_forget(folder);
    folder->now_entries.count = 0;
    for (size_t i = 0; i < folder->disk_entries.count; i++) {
        struct entry *e = &folder->disk_entries.at[i];
        entry_set(&folder->now_entries, e->name, e->node);
    }
}

static void mark(fuse_ino_t node, bool *reached)
{
    struct node *n = nodes[node];

    reached[node] = true;
    for (size_t i = 0; i < n->now_entries.count; i++) {
        mark(n->now_entries.at[i].node, reached);
    }
}

static void node_free(fuse_ino_t node)
{
    struct node *n = nodes[node];

    writes_forget(n);
    changes_forget(n);
    free(n->now.at);
    free(n->disk.at);
    free(n->now_entries.at);
    free(n->disk_entries.at);
    free(n);
    nodes[node] = NULL;
}

static void lose(uint64_t percent)
{
    bool *reached = checked(calloc(node_count + 1, sizeof(bool)));

    for (fuse_ino_t i = 1; i <= node_count; i++) {
        if (nodes[i] && nodes[i]->folder) {
            folder_lose(nodes[i], percent);
        } else if (nodes[i]) {
            file_lose(nodes[i], percent);
        }
    }
    mark(FUSE_ROOT_ID, reached);
    for (fuse_ino_t i = 1; i <= node_count; i++) {
        if (nodes[i] && !reached[i]) {
            node_free(i);
        }
    }
    free(reached);
}

static uint64_t used_bytes(void)
{
    uint64_t used = 0;

    for (fuse_ino_t i = 1; i <= node_count; i++) {
        used += nodes[i] ? (nodes[i]->now.len + 4095) / 4096 * 4096 : 0;
    }
    return used;
}

static int command(const char *text)
{
    uint64_t a = 0, b = 0;

    if (sscanf(text, "lose %" SCNu64 " %" SCNu64, &a, &b) == 2) {
        random_state = a;
        lose(b);
    } else if (strncmp(text, "hold", 4) == 0) {
        holding = true;
    } else if (strncmp(text, "release", 7) == 0) {
        holding = false;
        release_held();
    } else if (sscanf(text, "fail %" SCNu64, &a) == 1) {
        sync_error = (int)a;
    } else if (sscanf(text, "space %" SCNu64, &a) == 1) {
        space_bytes = a;
    } else {
        return EINVAL;
    }
    return 0;
}

/* Operations of the kernel. */

static fuse_ino_t node_new(bool folder)
{
    if (node_count + 1 >= NODES_MAX) {
        fprintf(stderr, "powerfs: too many files\n");
        abort();
    }
    nodes[++node_count] = checked(calloc(1, sizeof(struct node)));
    nodes[node_count]->folder = folder;
    return node_count;
}

static struct stat stat_of(fuse_ino_t node)
{
    struct stat st = {.st_ino = node, .st_nlink = 1, .st_mode = S_IFREG | 0600};
    const struct node *n = node == CONTROL_NODE ? NULL : nodes[node];

    if (n && n->folder) {
        st.st_mode = S_IFDIR | 0700;
        st.st_nlink = 2;
    } else if (n) {
        st.st_size = (off_t)n->now.len;
        st.st_blocks = (blkcnt_t)((n->now.len + 511) / 512);
    }
    st.st_blksize = 4096;
    return st;
}

static struct fuse_entry_param param_of(fuse_ino_t node)
{
    return (struct fuse_entry_param){.ino = node, .attr = stat_of(node)};
}

static bool exists(fuse_ino_t node)
{
    return node == CONTROL_NODE || (node <= node_count && nodes[node]);
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct entry *e = exists(parent) ? entry_find(&nodes[parent]->now_entries, name) : NULL;

    if (parent == FUSE_ROOT_ID && strcmp(name, CONTROL_NAME) == 0) {
        struct fuse_entry_param control = param_of(CONTROL_NODE);
        fuse_reply_entry(request, &control);
    } else if (e) {
        struct fuse_entry_param found = param_of(e->node);
        fuse_reply_entry(request, &found);
    } else {
        fuse_reply_err(request, ENOENT);
    }
}

static void on_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file)
{
    (void)file;
    if (!exists(node)) {
        fuse_reply_err(request, ESTALE);
        return;
    }
    struct stat st = stat_of(node);
    fuse_reply_attr(request, &st, 0);
}

static void on_setattr(fuse_req_t request, fuse_ino_t node, struct stat *attr, int set,
                       struct fuse_file_info *file)
{
    if (!exists(node)) {
        fuse_reply_err(request, ESTALE);
        return;
    }
    if (set & FUSE_SET_ATTR_SIZE && node != CONTROL_NODE) {
        if ((uint64_t)attr->st_size > FILE_BYTES_MAX) {
            fuse_reply_err(request, EFBIG);
            return;
        }
        file_change(nodes[node], (struct write_op){.len = (size_t)attr->st_size});
    }
    on_getattr(request, node, file);
}

static void make(fuse_req_t request, fuse_ino_t parent, const char *name, bool folder,
                 struct fuse_file_info *file)
{
    if (strlen(name) > 255 || !exists(parent)) {
        fuse_reply_err(request, exists(parent) ? ENAMETOOLONG : ESTALE);
        return;
    }
    if (entry_find(&nodes[parent]->now_entries, name)) {
        fuse_reply_err(request, EEXIST);
        return;
    }
    fuse_ino_t node = node_new(folder);
    folder_change(nodes[parent], "", name, node);
    struct fuse_entry_param made = param_of(node);
    if (file) {
        file->direct_io = 1;
        fuse_reply_create(request, &made, file);
    } else {
        fuse_reply_entry(request, &made);
    }
}

static void on_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *file)
{
    (void)mode;
    make(request, parent, name, false, file);
}

static void on_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
    (void)mode;
    make(request, parent, name, true, NULL);
}

static void on_remove(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct entry *e = exists(parent) ? entry_find(&nodes[parent]->now_entries, name) : NULL;

    if (!e) {
        fuse_reply_err(request, ENOENT);
    } else if (nodes[e->node]->now_entries.count) {
        fuse_reply_err(request, ENOTEMPTY);
    } else {
        folder_change(nodes[parent], "", name, 0);
        fuse_reply_err(request, 0);
    }
}

static void on_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t to,
                      const char *new_name, unsigned flags)
{
    struct entry *e = exists(parent) ? entry_find(&nodes[parent]->now_entries, name) : NULL;

    if (!e || flags || parent != to) {
        fuse_reply_err(request, !e ? ENOENT : flags ? EINVAL : EXDEV);
        return;
    }
    folder_change(nodes[parent], name, new_name, e->node);
    fuse_reply_err(request, 0);
}

static void on_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file)
{
    if (!exists(node)) {
        fuse_reply_err(request, ESTALE);
        return;
    }
    if (node != CONTROL_NODE && file->flags & O_TRUNC) {
        file_change(nodes[node], (struct write_op){.len = 0});
    }
    file->direct_io = 1;
    fuse_reply_open(request, file);
}

static void on_read(fuse_req_t request, fuse_ino_t node, size_t size, off_t position,
                    struct fuse_file_info *file)
{
    char text[128];
    const uint8_t *at = (const uint8_t *)text;
    size_t len;

    (void)file;
    if (node == CONTROL_NODE) {
        len = (size_t)snprintf(text, sizeof(text),
                               "syncs %" PRIu64 " pending %zu used %" PRIu64 "\n", sync_count,
                               held_count, used_bytes());
    } else {
        at = nodes[node]->now.at;
        len = nodes[node]->now.len;
    }
    size_t from = (size_t)position < len ? (size_t)position : len;
    size_t count = len - from < size ? len - from : size;
    fuse_reply_buf(request, count ? (const char *)at + from : NULL, count);
}

static bool has_room(const struct node *file, uint64_t end)
{
    return end <= file->now.len || used_bytes() + (end - file->now.len) <= space_bytes;
}

static void on_write(fuse_req_t request, fuse_ino_t node, const char *at, size_t len,
                     off_t position, struct fuse_file_info *file)
{
    (void)file;
    if (node == CONTROL_NODE) {
        char text[128];
        snprintf(text, sizeof(text), "%.*s", (int)(len < 100 ? len : 100), at);
        int error = command(text);
        if (error) {
            fuse_reply_err(request, error);
        } else {
            fuse_reply_write(request, len);
        }
        return;
    }
    uint64_t end = (uint64_t)position + len;
    if (end > FILE_BYTES_MAX || !has_room(nodes[node], end)) {
        fuse_reply_err(request, end > FILE_BYTES_MAX ? EFBIG : ENOSPC);
        return;
    }
    uint8_t *bytes = checked(malloc(len ? len : 1));
    memcpy(bytes, at, len);
    file_change(nodes[node],
                (struct write_op){.position = (size_t)position, .len = len, .bytes = bytes});
    fuse_reply_write(request, len);
}

static void on_fallocate(fuse_req_t request, fuse_ino_t node, int mode, off_t position,
                         off_t len, struct fuse_file_info *file)
{
    uint64_t end = (uint64_t)position + (uint64_t)len;

    (void)file;
    if (mode || end > FILE_BYTES_MAX || !has_room(nodes[node], end)) {
        fuse_reply_err(request, mode ? EOPNOTSUPP : ENOSPC);
        return;
    }
    if (end > nodes[node]->now.len) {
        file_change(nodes[node], (struct write_op){.len = end});
    }
    fuse_reply_err(request, 0);
}

static void on_fsync(fuse_req_t request, fuse_ino_t node, int data_only,
                     struct fuse_file_info *file)
{
    (void)data_only;
    (void)file;
    if (node == CONTROL_NODE) {
        fuse_reply_err(request, 0);
    } else {
        sync_or_hold(request, node);
    }
}

static void on_ioctl(fuse_req_t request, fuse_ino_t node, unsigned number, void *argument,
                     struct fuse_file_info *file, unsigned flags, const void *in,
                     size_t in_bytes, size_t out_bytes)
{
    (void)node, (void)argument, (void)file, (void)flags, (void)in, (void)in_bytes,
        (void)out_bytes;
    if (number == IOCTL_SYNC_ALL) {
        sync_or_hold(request, 0);
    } else {
        fuse_reply_err(request, ENOTTY);
    }
}

static void on_readdir(fuse_req_t request, fuse_ino_t node, size_t size, off_t position,
                       struct fuse_file_info *file)
{
    char *out = checked(malloc(size));
    size_t used = 0;

    (void)file;
    for (size_t i = (size_t)position; i < nodes[node]->now_entries.count; i++) {
        struct entry *e = &nodes[node]->now_entries.at[i];
        struct stat st = stat_of(e->node);
        size_t bytes =
            fuse_add_direntry(request, out + used, size - used, e->name, &st, (off_t)i + 1);
        if (bytes > size - used) {
            break;
        }
        used += bytes;
    }
    fuse_reply_buf(request, out, used);
    free(out);
}

static void on_statfs(fuse_req_t request, fuse_ino_t node)
{
    uint64_t used = used_bytes(), space = space_bytes / 4096;
    uint64_t left = used < space_bytes ? (space_bytes - used) / 4096 : 0;
    struct statvfs st = {.f_bsize = 4096,
                         .f_frsize = 4096,
                         .f_blocks = space,
                         .f_bfree = left,
                         .f_bavail = left,
                         .f_files = NODES_MAX,
                         .f_ffree = NODES_MAX - node_count,
                         .f_namemax = 255};

    (void)node;
    fuse_reply_statfs(request, &st);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = on_lookup,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .create = on_create,
    .mkdir = on_mkdir,
    .unlink = on_remove,
    .rmdir = on_remove,
    .rename = on_rename,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fallocate = on_fallocate,
    .fsync = on_fsync,
    .fsyncdir = on_fsync,
    .ioctl = on_ioctl,
    .readdir = on_readdir,
    .statfs = on_statfs,
};

int main(int argc, char **argv)
{
    char *options[] = {argv[0], "-ofsname=powerfs"};
    struct fuse_args arguments = FUSE_ARGS_INIT(2, options);

    if (argc != 2) {
        fprintf(stderr, "usage: powerfs MOUNTPOINT\n");
        return 2;
    }
    node_new(true);  /* the root */
    node_new(false); /* the number of the control file is taken */
    node_free(CONTROL_NODE);
    struct fuse_session *session =
        fuse_session_new(&arguments, &operations, sizeof(operations), NULL);
    if (!session || fuse_set_signal_handlers(session) != 0 ||
        fuse_session_mount(session, argv[1]) != 0) {
        return 1;
    }
    puts("ready");
    fflush(stdout);
    int ended = fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_remove_signal_handlers(session);
    fuse_session_destroy(session);
    return ended < 0 ? 1 : 0; /* above 0: ended by a signal */
}
