/* os_sim_tree.c - the folders of the simulated disk: names seen now, names on disk, and the
 * changes between the two.
 *
 * A rename between folders is a change in each with the same number: whoever applies one
 * applies the other, and all before it in that folder.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/os_sim_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_AT 256 /* unlinked nodes before the unreachable ones are freed */

struct sim_entry {
    struct sim_node *node;
    char name[];
};

struct sim_change {
    struct sim_change *next;
    uint64_t number;
    char *gone;             /* this name goes, or NULL */
    char *name;             /* this name comes (or changes owner), or NULL */
    struct sim_node *node;  /* what name means from then on */
    struct sim_node *other; /* folder with the other half, or NULL */
};

static void entry_put(struct map *names, const char *name, struct sim_node *node)
{
    size_t bytes = strlen(name) + 1;
    struct sim_entry *entry = xmalloc(sizeof(*entry) + bytes);

    entry->node = node;
    memcpy(entry->name, name, bytes);
    free(map_put(names, view_text(entry->name), entry));
}

static struct sim_node *entry_get(const struct map *names, view name)
{
    struct sim_entry *entry = map_get(names, name);

    return entry ? entry->node : NULL;
}

static void entries_clear(struct map *names)
{
    void *entry;

    for (size_t at = 0; (entry = map_next(names, &at));) {
        free(entry);
    }
    map_fini(names);
}

static struct sim_node *node_new(struct sim_disk *d, bool is_folder)
{
    struct sim_node *n = xcalloc(1, sizeof(*n));

    n->is_folder = is_folder;
    n->cut = INT64_MAX;
    n->changes_end = &n->changes;
    n->next = d->nodes;
    d->nodes = n;
    return n;
}

static void change_free(struct sim_change *c)
{
    free(c->gone);
    free(c->name);
    free(c);
}

static void changes_drop(struct sim_node *folder)
{
    while (folder->changes) {
        struct sim_change *c = folder->changes;
        folder->changes = c->next;
        change_free(c);
    }
    folder->changes_end = &folder->changes;
}

static void node_free(struct sim_node *n)
{
    sim_file_fini(n);
    entries_clear(&n->now);
    entries_clear(&n->disk);
    changes_drop(n);
    free(n);
}

static void note_change(struct sim_disk *d, struct sim_node *folder, const char *gone,
                        const char *name, struct sim_node *node, struct sim_node *other)
{
    struct sim_change *c = xcalloc(1, sizeof(*c));

    c->number = d->changes;
    c->gone = gone ? xstrdup(gone) : NULL;
    c->name = name ? xstrdup(name) : NULL;
    c->node = node;
    c->other = other;
    *folder->changes_end = c;
    folder->changes_end = &c->next;
}

/* Changes of the folder up to this number reach the disk, with their other halves. */
static void apply_changes(struct sim_node *folder, uint64_t last)
{
    while (folder->changes && folder->changes->number <= last) {
        struct sim_change *c = folder->changes;
        folder->changes = c->next;
        if (!folder->changes) {
            folder->changes_end = &folder->changes;
        }
        if (c->gone) {
            free(map_remove(&folder->disk, view_text(c->gone)));
        }
        if (c->name) {
            entry_put(&folder->disk, c->name, c->node);
        }
        if (c->other) {
            apply_changes(c->other, c->number);
        }
        change_free(c);
    }
}

void sim_charge(struct sim_disk *d, struct sim_node *n)
{
    int64_t pages = (n->bytes + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES;
    int64_t charged = n->links || n->opens ? pages * SIM_PAGE_BYTES : 0;

    d->used_bytes += charged - n->charged;
    n->charged = charged;
}

void sim_disk_init(struct sim_disk *d, struct sim_dice *dice)
{
    *d = (struct sim_disk){.dice = dice, .total_bytes = INT64_C(1) << 40};
    d->root = node_new(d, true);
    d->root->links = 1;
}

void sim_disk_fini(struct sim_disk *d)
{
    while (d->nodes) {
        struct sim_node *n = d->nodes;
        d->nodes = n->next;
        node_free(n);
    }
}

/* The folder of the path's last part, and that part in name (empty for the root itself). */
static struct sim_node *walk(struct sim_disk *d, const char *path, char name[256])
{
    struct sim_node *folder = d->root;
    view rest = view_text(path), part, next;

    name[0] = '\0';
    for (bool more = true; more; rest = next) {
        more = view_cut(rest, '/', &part, &next);
        if (part.len == 0 || view_is_text(part, ".")) {
            continue;
        }
        folder = name[0] ? entry_get(&folder->now, view_text(name)) : folder;
        if (!folder || !folder->is_folder) {
            errno = folder ? ENOTDIR : ENOENT;
            return NULL;
        }
        if (part.len > 255) {
            errno = ENAMETOOLONG;
            return NULL;
        }
        memcpy(name, part.at, part.len);
        name[part.len] = '\0';
    }
    return folder;
}

bool sim_find(struct sim_disk *d, const char *path, struct sim_node **out)
{
    char name[256];
    struct sim_node *folder = walk(d, path, name);

    if (!folder) {
        return false;
    }
    *out = name[0] ? entry_get(&folder->now, view_text(name)) : folder;
    errno = ENOENT;
    return *out;
}

bool sim_make(struct sim_disk *d, const char *path, bool is_folder, struct sim_node **out)
{
    char name[256];
    struct sim_node *folder = walk(d, path, name);

    if (!folder) {
        return false;
    }
    if (!name[0] || entry_get(&folder->now, view_text(name))) {
        errno = EEXIST;
        return false;
    }
    *out = node_new(d, is_folder);
    (*out)->links = 1;
    entry_put(&folder->now, name, *out);
    d->changes++;
    note_change(d, folder, NULL, name, *out, NULL);
    return true;
}

static void mark_names(struct map *names);

static void mark(struct sim_node *n)
{
    if (n->marked) {
        return;
    }
    n->marked = true;
    mark_names(&n->now);
    mark_names(&n->disk);
    for (struct sim_change *c = n->changes; c; c = c->next) {
        if (c->node) {
            mark(c->node);
        }
        if (c->other) {
            mark(c->other);
        }
    }
}

static void mark_names(struct map *names)
{
    struct sim_entry *entry;

    for (size_t at = 0; (entry = map_next(names, &at));) {
        mark(entry->node);
    }
}

/* Frees what no name, change or open file leads to. */
static void sweep(struct sim_disk *d)
{
    mark(d->root);
    for (struct sim_node *n = d->nodes; n; n = n->next) {
        if (n->opens) {
            mark(n);
        }
    }
    for (struct sim_node **link = &d->nodes; *link;) {
        struct sim_node *n = *link;
        if (n->marked) {
            n->marked = false;
            link = &n->next;
            continue;
        }
        *link = n->next;
        d->used_bytes -= n->charged;
        node_free(n);
    }
    d->unlinked = 0;
}

/* A name stopped meaning this node. */
static void unlink_node(struct sim_disk *d, struct sim_node *n)
{
    assert(n->links > 0);
    n->links--;
    sim_charge(d, n);
    if (++d->unlinked >= SWEEP_AT) {
        sweep(d);
    }
}

bool sim_remove(struct sim_disk *d, const char *path)
{
    char name[256];
    struct sim_node *folder = walk(d, path, name);
    struct sim_node *n = folder && name[0] ? entry_get(&folder->now, view_text(name)) : NULL;

    if (!n) {
        errno = !folder ? errno : name[0] ? ENOENT : EBUSY;
        return false;
    }
    if (n->is_folder && n->now.count) {
        errno = ENOTEMPTY;
        return false;
    }
    free(map_remove(&folder->now, view_text(name)));
    d->changes++;
    note_change(d, folder, name, NULL, NULL, NULL);
    unlink_node(d, n);
    return true;
}

/* Whether the node that is to be replaced permits it. */
static bool may_replace(const struct sim_node *n, const struct sim_node *old)
{
    if (old->is_folder != n->is_folder) {
        errno = old->is_folder ? EISDIR : ENOTDIR;
        return false;
    }
    errno = ENOTEMPTY;
    return !old->now.count;
}

bool sim_rename(struct sim_disk *d, const char *from, const char *to)
{
    char name[256], fresh[256];
    struct sim_node *source = walk(d, from, name), *target = source ? walk(d, to, fresh) : NULL;

    if (!target) {
        return false;
    }
    struct sim_node *n = entry_get(&source->now, view_text(name));
    if (!n || !fresh[0]) {
        errno = n ? EBUSY : ENOENT;
        return false;
    }
    struct sim_node *old = entry_get(&target->now, view_text(fresh));
    if (old == n) {
        return true;
    }
    if (old && !may_replace(n, old)) {
        return false;
    }
    free(map_remove(&source->now, view_text(name)));
    entry_put(&target->now, fresh, n);
    d->changes++;
    if (source == target) {
        note_change(d, source, name, fresh, n, NULL);
    } else {
        note_change(d, source, name, NULL, NULL, target);
        note_change(d, target, NULL, fresh, n, source);
    }
    if (old) {
        unlink_node(d, old);
    }
    return true;
}

void sim_folder_sync(struct sim_node *folder)
{
    apply_changes(folder, UINT64_MAX);
}

void sim_disk_sync(struct sim_disk *d)
{
    for (struct sim_node *n = d->nodes; n; n = n->next) {
        sim_file_sync(n);
        sim_folder_sync(n);
    }
}

void sim_disk_sync_failed(struct sim_disk *d)
{
    for (struct sim_node *n = d->nodes; n; n = n->next) {
        sim_file_sync_failed(n, d->dice);
    }
}

/* Some first part of the folder's changes got to the disk. */
static void crash_folder(struct sim_disk *d, struct sim_node *folder)
{
    uint64_t count = 0;

    for (struct sim_change *c = folder->changes; c; c = c->next) {
        count++;
    }
    uint64_t kept = sim_one_in(d->dice, 3)   ? 0
                    : sim_one_in(d->dice, 2) ? count
                                             : sim_below(d->dice, count + 1);
    struct sim_change *last = NULL;
    for (struct sim_change *c = folder->changes; c && kept; c = c->next, kept--) {
        last = c;
    }
    if (last) {
        apply_changes(folder, last->number);
    }
}

/* What is seen becomes what is on disk. */
static void reload_names(struct sim_node *folder)
{
    struct sim_entry *entry;

    entries_clear(&folder->now);
    for (size_t at = 0; (entry = map_next(&folder->disk, &at));) {
        entry_put(&folder->now, entry->name, entry->node);
        entry->node->links++;
    }
}

void sim_disk_close_all(struct sim_disk *d)
{
    for (struct sim_node *n = d->nodes; n; n = n->next) {
        n->opens = 0;
        n->locked = false;
        sim_charge(d, n);
    }
}

void sim_disk_crash(struct sim_disk *d)
{
    for (struct sim_node *n = d->nodes; n; n = n->next) {
        n->links = n == d->root ? 1 : 0;
        crash_folder(d, n);
    }
    for (struct sim_node *n = d->nodes; n; n = n->next) {
        changes_drop(n); /* after all folders: one may have applied another's */
        sim_file_crash(n, d->dice);
        reload_names(n);
    }
    sweep(d);
    for (struct sim_node *n = d->nodes; n; n = n->next) {
        sim_charge(d, n);
    }
}

char **sim_names(const struct sim_node *folder, size_t *count)
{
    char **names = xcalloc(folder->now.count, sizeof(*names));
    struct sim_entry *entry;

    *count = 0;
    for (size_t at = 0; (entry = map_next(&folder->now, &at));) {
        names[(*count)++] = xstrdup(entry->name);
    }
    return names;
}
