/* os_sim.c - struct os over the simulated disk, a virtual clock and a seeded scheduler.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/os_sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/os_sim_disk.h"

#define START_MS INT64_C(1750000000000) /* the wall clock when a simulation begins */
#define CALL_NS 1000                    /* what any call takes */
#define SYNC_NS_MAX 2000000             /* what a sync takes at most */
#define STEPS_MAX 1000000               /* of one os_sim_run_until */
#define IDLE_TURN_CHANCE 64             /* one turn in so many has no cause */

struct handle {
    struct sim_node *node; /* NULL: closed */
    unsigned flags;        /* enum os_open */
    bool holds_lock;
};

struct slot {
    struct worker *worker;
    bool woken;
};

struct plan {
    struct os_sim_fault fault;
    uint64_t count;   /* calls so far */
    uint64_t planned; /* count when the fault was planned */
};

struct os_sim {
    struct os os; /* first: the vtable's own address is the simulator's */
    struct sim_dice dice;
    struct sim_disk disk;
    struct handle *handles;
    size_t handle_count, handle_room;
    os_file first_file; /* of handles[0]; grows at a crash, so that old numbers are caught */
    struct slot *slots;
    size_t slot_count, slot_room;
    int64_t now_ns;
    struct plan plans[OS_SIM_CALLS];
    uint32_t cold_one_in;
    uint64_t calls_left; /* before it dies; UINT64_MAX: it does not */
    bool dead;
};

static struct os_sim *sim_of(struct os *os)
{
    return (struct os_sim *)os;
}

/* How a call goes: all of it, a part of it and then an error, or nothing of it. */
enum fate { FATE_WHOLE, FATE_PART, FATE_NOTHING };

/* Every call that could fail begins here; errno is set unless it goes whole. */
static enum fate begin(struct os_sim *sim, enum os_sim_call call)
{
    struct plan *plan = &sim->plans[call];
    const struct os_sim_fault *fault = &plan->fault;

    plan->count++;
    sim->now_ns += CALL_NS;
    errno = EIO;
    if (sim->dead) {
        return FATE_NOTHING;
    }
    if (sim->calls_left != UINT64_MAX && sim->calls_left-- == 0) {
        sim->dead = true;
        return FATE_PART;
    }
    bool due = fault->nth && plan->count - plan->planned == fault->nth;
    if (due || sim_one_in(&sim->dice, fault->one_in)) {
        errno = fault->number ? fault->number : EIO;
        return FATE_PART;
    }
    return FATE_WHOLE;
}

static struct handle *handle_of(struct os_sim *sim, os_file file)
{
    assert(file >= sim->first_file); /* else: opened before the crash */
    assert((size_t)(file - sim->first_file) < sim->handle_count);
    struct handle *h = &sim->handles[file - sim->first_file];
    assert(h->node);
    return h;
}

static os_file handle_new(struct os_sim *sim, struct sim_node *node, unsigned flags)
{
    size_t at = 0;

    while (at < sim->handle_count && sim->handles[at].node) {
        at++;
    }
    if (at == sim->handle_count) {
        sim->handles = array_room(sim->handles, sim->handle_count, &sim->handle_room,
                                  sizeof(*sim->handles));
        sim->handle_count++;
    }
    sim->handles[at] = (struct handle){.node = node, .flags = flags};
    node->opens++;
    return sim->first_file + (os_file)at;
}

static int64_t sim_now_ms(struct os *os)
{
    return START_MS + sim_of(os)->now_ns / 1000000;
}

static int64_t sim_tick_ns(struct os *os)
{
    return sim_of(os)->now_ns;
}

static void sim_random(struct os *os, void *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)at)[i] = (uint8_t)sim_below(&sim_of(os)->dice, 256);
    }
}

static void resize(struct os_sim *sim, struct sim_node *n, int64_t bytes)
{
    sim_file_resize(n, &sim->dice, bytes);
    sim_charge(&sim->disk, n);
}

/* The largest size the file may get. */
static int64_t size_limit(const struct os_sim *sim, const struct sim_node *n)
{
    int64_t room = sim->disk.total_bytes - sim->disk.used_bytes + n->charged;

    return MAX(room - room % SIM_PAGE_BYTES, n->charged);
}

static err sim_open(struct os *os, const char *path, unsigned flags, os_file *out)
{
    struct os_sim *sim = sim_of(os);
    struct sim_node *n;

    *out = OS_FILE_NONE;
    if (begin(sim, OS_SIM_OPEN) != FATE_WHOLE) {
        return fault_errno("open %s", path);
    }
    bool found = sim_find(&sim->disk, path, &n);
    if (!found && (!(flags & OS_OPEN_CREATE) || !sim_make(&sim->disk, path, false, &n))) {
        return fault_errno("open %s", path);
    }
    if (n->is_folder && (flags & (OS_OPEN_WRITE | OS_OPEN_CREATE))) {
        errno = EISDIR;
        return fault_errno("open %s", path);
    }
    if (found && (flags & OS_OPEN_FRESH)) {
        resize(sim, n, 0);
    }
    *out = handle_new(sim, n, flags);
    return OK;
}

static void sim_close(struct os *os, os_file file)
{
    struct os_sim *sim = sim_of(os);

    if (file == OS_FILE_NONE) {
        return;
    }
    struct handle *h = handle_of(sim, file);
    h->node->locked = h->node->locked && !h->holds_lock;
    h->node->opens--;
    sim_charge(&sim->disk, h->node);
    h->node = NULL;
}

/* Whether the parameters would do for the kernel. */
static bool is_permitted(const struct handle *h, const void *at, size_t len, int64_t position,
                         bool write)
{
    uintptr_t bits = (uintptr_t)at | len | (uintptr_t)position;

    if (h->node->is_folder) {
        errno = EISDIR;
    } else if (write && !(h->flags & OS_OPEN_WRITE)) {
        errno = EBADF;
    } else if (position < 0 || ((h->flags & OS_OPEN_DIRECT) && bits % SIM_PAGE_BYTES != 0)) {
        errno = EINVAL;
    } else {
        return true;
    }
    return false;
}

static err sim_read(struct os *os, os_file file, void *at, size_t len, int64_t position,
                    size_t *got)
{
    struct os_sim *sim = sim_of(os);
    struct handle *h = handle_of(sim, file);

    if (begin(sim, OS_SIM_READ) != FATE_WHOLE || !is_permitted(h, at, len, position, false)) {
        return fault_errno("read %zu bytes at %lld", len, (long long)position);
    }
    *got = (size_t)MIN((int64_t)len, MAX(h->node->bytes - position, 0));
    if (*got) {
        sim_file_read(h->node, at, *got, position, h->flags & OS_OPEN_DIRECT);
    }
    return OK;
}

static enum os_read_status sim_read_cached(struct os *os, os_file file, void *at, size_t len,
                                           int64_t position, size_t *got)
{
    if (sim_one_in(&sim_of(os)->dice, sim_of(os)->cold_one_in)) {
        return OS_READ_COLD;
    }
    return sim_read(os, file, at, len, position, got) == OK ? OS_READ_DONE : OS_READ_FAILED;
}

/* Writes the first len bytes of the parts. */
static void write_parts(struct os_sim *sim, struct sim_node *n, const struct iovec *parts,
                        size_t len, int64_t position)
{
    for (; len; parts++) {
        size_t some = MIN(len, parts->iov_len);
        sim_file_write(n, &sim->dice, parts->iov_base, some, position);
        position += (int64_t)some;
        len -= some;
    }
    sim_charge(&sim->disk, n);
}

static err sim_write(struct os *os, os_file file, const struct iovec *parts, int count,
                     int64_t position)
{
    struct os_sim *sim = sim_of(os);
    struct handle *h = handle_of(sim, file);
    enum fate fate = begin(sim, OS_SIM_WRITE);
    int number = errno;
    size_t want = 0;

    for (int i = 0; i < count; i++) {
        want += parts[i].iov_len;
        if (!is_permitted(h, parts[i].iov_base, parts[i].iov_len, position, true)) {
            return fault_errno("write %zu bytes at %lld", want, (long long)position);
        }
    }
    size_t len = fate == FATE_WHOLE ? want : 0;
    if (fate == FATE_PART) {
        len = sim_below(&sim->dice, want + 1);
        len -= h->flags & OS_OPEN_DIRECT ? len % SIM_SECTOR_BYTES : 0;
    }
    int64_t room = size_limit(sim, h->node) - position;
    if ((int64_t)len > room) {
        len = (size_t)MAX(room, 0);
        number = fate == FATE_WHOLE ? ENOSPC : number;
        fate = FATE_PART;
    }
    write_parts(sim, h->node, parts, len, position);
    errno = number;
    return fate == FATE_WHOLE
               ? OK
               : fault_errno("write %zu bytes at %lld", want, (long long)position);
}

static err sim_size(struct os *os, os_file file, int64_t *bytes)
{
    *bytes = handle_of(sim_of(os), file)->node->bytes;
    return OK;
}

static err sim_truncate(struct os *os, os_file file, int64_t bytes)
{
    struct os_sim *sim = sim_of(os);
    struct handle *h = handle_of(sim, file);

    if (begin(sim, OS_SIM_TRUNCATE) != FATE_WHOLE || !is_permitted(h, NULL, 0, 0, true)) {
        return fault_errno("truncate to %lld", (long long)bytes);
    }
    if (bytes > size_limit(sim, h->node)) {
        errno = ENOSPC; /* stricter than Linux, which makes a hole */
        return fault_errno("truncate to %lld", (long long)bytes);
    }
    resize(sim, h->node, bytes);
    return OK;
}

static err sim_allocate(struct os *os, os_file file, int64_t bytes)
{
    struct os_sim *sim = sim_of(os);
    struct handle *h = handle_of(sim, file);

    if (begin(sim, OS_SIM_ALLOCATE) != FATE_WHOLE || !is_permitted(h, NULL, 0, 0, true)) {
        return fault_errno("reserve %lld bytes", (long long)bytes);
    }
    if (bytes > size_limit(sim, h->node)) {
        errno = ENOSPC;
        return fault_errno("reserve %lld bytes", (long long)bytes);
    }
    resize(sim, h->node, MAX(bytes, h->node->bytes));
    return OK;
}

static err sim_sync(struct os *os, os_file file)
{
    struct os_sim *sim = sim_of(os);
    struct sim_node *n = handle_of(sim, file)->node;
    enum fate fate = begin(sim, OS_SIM_SYNC);
    int number = errno;

    sim->now_ns += (int64_t)sim_below(&sim->dice, SYNC_NS_MAX);
    if (fate == FATE_WHOLE) {
        sim_file_sync(n);
        sim_folder_sync(n);
        return OK;
    }
    if (fate == FATE_PART) {
        sim_file_sync_failed(n, &sim->dice);
    }
    errno = number;
    return fault_errno("sync");
}

/* There are no sockets here: whoever sends reads first. */
static enum os_read_status sim_send(struct os *os, os_file file, int to, size_t len,
                                    int64_t position, size_t *sent)
{
    (void)os, (void)file, (void)to, (void)len, (void)position;
    *sent = 0;
    return OS_READ_COLD;
}

static void sim_read_ahead(struct os *os, os_file file, int64_t position, int64_t len)
{
    (void)os;
    (void)file;
    (void)position;
    (void)len;
}

static void sim_sync_start(struct os *os, os_file file, int64_t position, int64_t len)
{
    struct os_sim *sim = sim_of(os);
    struct sim_node *n = handle_of(sim, file)->node;

    (void)position;
    (void)len;
    if (!sim->dead) {
        sim_file_leak(n, &sim->dice);
    }
}

static err sim_sync_all(struct os *os, os_file file)
{
    struct os_sim *sim = sim_of(os);
    enum fate fate = begin(sim, OS_SIM_SYNC_ALL);
    int number = errno;

    (void)handle_of(sim, file);
    sim->now_ns += (int64_t)sim_below(&sim->dice, SYNC_NS_MAX);
    if (fate == FATE_WHOLE) {
        sim_disk_sync(&sim->disk);
        return OK;
    }
    if (fate == FATE_PART) {
        sim_disk_sync_failed(&sim->disk);
    }
    errno = number;
    return fault_errno("sync of the file system");
}

static err sim_folder_make(struct os *os, const char *path)
{
    struct os_sim *sim = sim_of(os);
    struct sim_node *n;

    if (begin(sim, OS_SIM_FOLDER_MAKE) != FATE_WHOLE) {
        return fault_errno("make folder %s", path);
    }
    return sim_make(&sim->disk, path, true, &n) || errno == EEXIST
               ? OK
               : fault_errno("make folder %s", path);
}

/* The folder at path, or an err that says what was wanted of it. */
static err find_folder(struct os_sim *sim, const char *path, const char *what,
                       struct sim_node **out)
{
    if (!sim_find(&sim->disk, path, out)) {
        return fault_errno("%s folder %s", what, path);
    }
    errno = ENOTDIR;
    return (*out)->is_folder ? OK : fault_errno("%s folder %s", what, path);
}

static err sim_sync_folder(struct os *os, const char *path)
{
    struct os_sim *sim = sim_of(os);
    struct sim_node *folder;

    if (begin(sim, OS_SIM_FOLDER_SYNC) != FATE_WHOLE) {
        return fault_errno("sync folder %s", path);
    }
    err e = find_folder(sim, path, "sync", &folder);
    if (!e) {
        sim->now_ns += (int64_t)sim_below(&sim->dice, SYNC_NS_MAX);
        sim_folder_sync(folder);
    }
    return e;
}

static err sim_folder_list(struct os *os, const char *path,
                           err (*each)(void *self, const char *name), void *self)
{
    struct os_sim *sim = sim_of(os);
    struct sim_node *folder;

    if (begin(sim, OS_SIM_FOLDER_LIST) != FATE_WHOLE) {
        return fault_errno("list folder %s", path);
    }
    err e = find_folder(sim, path, "list", &folder);
    if (e) {
        return e;
    }
    size_t count, start;
    char **names = sim_names(folder, &count);
    start = sim_below(&sim->dice, count);
    for (size_t i = 0; !e && i < count; i++) {
        e = each(self, names[(start + i) % count]);
    }
    for (size_t i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    return e;
}

static err sim_path_rename(struct os *os, const char *from, const char *to)
{
    struct os_sim *sim = sim_of(os);

    return begin(sim, OS_SIM_RENAME) == FATE_WHOLE && sim_rename(&sim->disk, from, to)
               ? OK
               : fault_errno("rename %s to %s", from, to);
}

static err sim_path_remove(struct os *os, const char *path)
{
    struct os_sim *sim = sim_of(os);

    return begin(sim, OS_SIM_REMOVE) == FATE_WHOLE && sim_remove(&sim->disk, path)
               ? OK
               : fault_errno("remove %s", path);
}

static err sim_path_lock(struct os *os, const char *path, os_file *out)
{
    struct os_sim *sim = sim_of(os);

    *out = OS_FILE_NONE;
    if (begin(sim, OS_SIM_LOCK) != FATE_WHOLE) {
        return fault_errno("lock %s", path);
    }
    err e = sim_open(os, path, OS_OPEN_WRITE | OS_OPEN_CREATE, out);
    if (e) {
        return e;
    }
    struct handle *h = handle_of(sim, *out);
    if (h->node->locked) {
        sim_close(os, *out);
        *out = OS_FILE_NONE;
        return fault(ERR_BUSY, "%s is locked by another process", path);
    }
    h->node->locked = h->holds_lock = true;
    return OK;
}

static err sim_space(struct os *os, const char *path, struct os_space *out)
{
    struct sim_disk *d = &sim_of(os)->disk;
    struct sim_node *n;

    if (!sim_find(d, path, &n)) {
        return fault_errno("look at the space of %s", path);
    }
    *out = (struct os_space){d->total_bytes, MAX(d->total_bytes - d->used_bytes, 0)};
    return OK;
}

static struct slot *slot_of(struct os_sim *sim, const struct worker *w)
{
    for (size_t i = 0; i < sim->slot_count; i++) {
        if (sim->slots[i].worker == w) {
            return &sim->slots[i];
        }
    }
    return NULL;
}

static err sim_worker_start(struct os *os, struct worker *w)
{
    struct os_sim *sim = sim_of(os);

    if (begin(sim, OS_SIM_WORKER_START) != FATE_WHOLE) {
        return fault_errno("start thread %s", w->name);
    }
    assert(!slot_of(sim, w));
    sim->slots = array_room(sim->slots, sim->slot_count, &sim->slot_room, sizeof(*sim->slots));
    sim->slots[sim->slot_count++] = (struct slot){.worker = w};
    return OK;
}

static void sim_worker_wake(struct os *os, struct worker *w)
{
    struct slot *slot = slot_of(sim_of(os), w);

    assert(slot);
    slot->woken = true;
}

static void sim_worker_join(struct os *os, struct worker *w)
{
    struct os_sim *sim = sim_of(os);

    assert(!worker_is_current(w));
    while (!mailbox_is_empty(&w->box)) {
        worker_turn(w);
    }
    struct slot *slot = slot_of(sim, w);
    assert(slot);
    *slot = sim->slots[--sim->slot_count];
}

static const struct os sim_os = {
    .now_ms = sim_now_ms,
    .tick_ns = sim_tick_ns,
    .random = sim_random,
    .file_open = sim_open,
    .file_close = sim_close,
    .file_read = sim_read,
    .file_read_cached = sim_read_cached,
    .file_write = sim_write,
    .file_size = sim_size,
    .file_truncate = sim_truncate,
    .file_allocate = sim_allocate,
    .file_sync = sim_sync,
    .file_send = sim_send,
    .file_read_ahead = sim_read_ahead,
    .file_sync_start = sim_sync_start,
    .file_sync_all = sim_sync_all,
    .folder_make = sim_folder_make,
    .folder_sync = sim_sync_folder,
    .folder_list = sim_folder_list,
    .path_rename = sim_path_rename,
    .path_remove = sim_path_remove,
    .path_lock = sim_path_lock,
    .space = sim_space,
    .worker_start = sim_worker_start,
    .worker_wake = sim_worker_wake,
    .worker_join = sim_worker_join,
};

struct os_sim *os_sim_new(uint64_t seed)
{
    struct os_sim *sim = xcalloc(1, sizeof(*sim));

    sim->os = sim_os;
    sim->dice.state = seed;
    sim->calls_left = UINT64_MAX;
    sim->now_ns = 1;
    sim_disk_init(&sim->disk, &sim->dice);
    return sim;
}

struct os *os_sim_os(struct os_sim *sim)
{
    return &sim->os;
}

void os_sim_free(struct os_sim *sim)
{
    if (!sim) {
        return;
    }
    assert(sim->slot_count == 0);
    sim_disk_fini(&sim->disk);
    free(sim->handles);
    free(sim->slots);
    free(sim);
}

uint64_t os_sim_below(struct os_sim *sim, uint64_t limit)
{
    return sim_below(&sim->dice, limit);
}

static bool is_runnable(const struct os_sim *sim, const struct slot *slot)
{
    return slot->woken || !mailbox_is_empty(&slot->worker->box) ||
           slot->worker->due_ns <= sim->now_ns;
}

/* A runnable worker by chance; NULL: all sleep. */
static struct slot *pick(struct os_sim *sim)
{
    struct slot *picked = NULL;
    uint64_t runnable = 0;

    for (size_t i = 0; i < sim->slot_count; i++) {
        if (is_runnable(sim, &sim->slots[i]) && sim_below(&sim->dice, ++runnable) == 0) {
            picked = &sim->slots[i];
        }
    }
    return picked && sim_one_in(&sim->dice, IDLE_TURN_CHANCE)
               ? &sim->slots[sim_below(&sim->dice, sim->slot_count)]
               : picked;
}

bool os_sim_step(struct os_sim *sim)
{
    if (sim->dead) {
        return false;
    }
    struct slot *slot = pick(sim);
    if (!slot) {
        int64_t due = WORKER_NEVER;
        for (size_t i = 0; i < sim->slot_count; i++) {
            due = MIN(due, sim->slots[i].worker->due_ns);
        }
        if (due == WORKER_NEVER) {
            return false;
        }
        sim->now_ns = due;
        slot = pick(sim);
    }
    sim->now_ns += CALL_NS;
    slot->woken = false;
    worker_turn(slot->worker);
    return true;
}

bool os_sim_run_until(struct os_sim *sim, bool (*done)(void *self), void *self)
{
    for (int i = 0; !done(self); i++) {
        if (i == STEPS_MAX || !os_sim_step(sim)) {
            return done(self);
        }
    }
    return true;
}

void os_sim_advance(struct os_sim *sim, int64_t ns)
{
    assert(ns >= 0);
    sim->now_ns += ns;
}

/* Nothing of the process is left; what it wrote is, in the cache. */
void os_sim_end_process(struct os_sim *sim)
{
    for (size_t i = 0; i < sim->slot_count; i++) {
        struct worker *w = sim->slots[i].worker;
        w->os = NULL;
        w->due_ns = WORKER_NEVER;
        (void)mailbox_drain(&w->box);
    }
    sim->slot_count = 0;
    sim->first_file += (os_file)sim->handle_count;
    sim->handle_count = 0;
    sim->dead = false;
    sim->calls_left = UINT64_MAX;
    sim_disk_close_all(&sim->disk);
}

void os_sim_crash(struct os_sim *sim)
{
    os_sim_end_process(sim);
    sim_disk_crash(&sim->disk);
}

void os_sim_kill_after(struct os_sim *sim, uint64_t calls)
{
    assert(calls != UINT64_MAX);
    sim->calls_left = calls;
}

bool os_sim_is_dead(const struct os_sim *sim)
{
    return sim->dead;
}

void os_sim_plan(struct os_sim *sim, enum os_sim_call call, struct os_sim_fault fault)
{
    assert(call < OS_SIM_CALLS);
    sim->plans[call].fault = fault;
    sim->plans[call].planned = sim->plans[call].count;
}

uint64_t os_sim_count(const struct os_sim *sim, enum os_sim_call call)
{
    return sim->plans[call].count;
}

void os_sim_cold_reads(struct os_sim *sim, uint32_t one_in)
{
    sim->cold_one_in = one_in;
}

void os_sim_disk_bytes(struct os_sim *sim, int64_t total)
{
    sim->disk.total_bytes = total;
}
