/* os_real.c - struct os over Linux. SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000
#define SEND_PROBE_BYTES (64u << 10)

static int64_t real_now_ms(struct os *os)
{
    struct timespec now;

    (void)os;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t real_tick_ns(struct os *os)
{
    struct timespec now;

    (void)os;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void real_random(struct os *os, void *at, size_t len)
{
    (void)os;
    for (size_t done = 0; done < len;) {
        ssize_t got = getrandom((char *)at + done, len - done, 0);
        assert(got > 0 || errno == EINTR);
        done += got > 0 ? (size_t)got : 0;
    }
}

static err real_open(struct os *os, const char *path, unsigned flags, os_file *out)
{
    int mode = O_CLOEXEC | (flags & OS_OPEN_WRITE ? O_RDWR : O_RDONLY);

    (void)os;
    mode |= flags & OS_OPEN_CREATE ? O_CREAT : 0;
    mode |= flags & OS_OPEN_FRESH ? O_TRUNC : 0;
    mode |= flags & OS_OPEN_DIRECT ? O_DIRECT : 0;
    *out = open(path, mode, 0600);
    if (*out >= 0 && flags & OS_OPEN_SCATTERED) {
        (void)posix_fadvise(*out, 0, 0, POSIX_FADV_RANDOM);
    }
    return *out < 0 ? fault_errno("open %s", path) : OK;
}

static void real_close(struct os *os, os_file file)
{
    (void)os;
    if (file >= 0) {
        close(file);
    }
}

static err real_read(struct os *os, os_file file, void *at, size_t len, int64_t position,
                     size_t *got)
{
    (void)os;
    for (*got = 0; *got < len;) {
        ssize_t n = pread(file, (char *)at + *got, len - *got, position + (int64_t)*got);
        if (n < 0 && errno != EINTR) {
            return fault_errno("read %zu bytes at %lld", len, (long long)position);
        }
        if (n == 0) {
            break;
        }
        *got += n > 0 ? (size_t)n : 0;
    }
    return OK;
}

static enum os_read_status real_read_cached(struct os *os, os_file file, void *at, size_t len,
                                            int64_t position, size_t *got)
{
    (void)os;
    for (*got = 0; *got < len;) {
        struct iovec part = {(char *)at + *got, len - *got};
        ssize_t n = preadv2(file, &part, 1, position + (int64_t)*got, RWF_NOWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EOPNOTSUPP)) {
            return OS_READ_COLD;
        }
        if (n < 0 && errno != EINTR) {
            (void)fault_errno("read %zu bytes at %lld", len, (long long)position);
            return OS_READ_FAILED;
        }
        if (n == 0) {
            break;
        }
        *got += n > 0 ? (size_t)n : 0;
    }
    return OS_READ_DONE;
}

static err real_write(struct os *os, os_file file, const struct iovec *parts, int count,
                      int64_t position)
{
    (void)os;
    for (int i = 0; i < count;) {
        int some = MIN(count - i, IOV_MAX);
        size_t want = 0;
        for (int k = 0; k < some; k++) {
            want += parts[i + k].iov_len;
        }
        ssize_t n = pwritev(file, parts + i, some, position);
        if (n == (ssize_t)want) {
            position += n;
            i += some;
            continue;
        }
        if (n < 0 && errno != EINTR) {
            return fault_errno("write %zu bytes at %lld", want, (long long)position);
        }
        /* A short write: go on one part at a time. */
        size_t skip = n > 0 ? (size_t)n : 0;
        position += (int64_t)skip;
        for (; skip && skip >= parts[i].iov_len; i++) {
            skip -= parts[i].iov_len;
        }
        for (; skip && skip < parts[i].iov_len;) {
            n = pwrite(file, (char *)parts[i].iov_base + skip, parts[i].iov_len - skip,
                       position);
            if (n < 0 && errno != EINTR) {
                return fault_errno("write %zu bytes at %lld", want, (long long)position);
            }
            position += n > 0 ? n : 0;
            skip += n > 0 ? (size_t)n : 0;
            if (skip == parts[i].iov_len) {
                i++;
                skip = 0;
            }
        }
    }
    return OK;
}

static err real_size(struct os *os, os_file file, int64_t *bytes)
{
    struct stat st;

    (void)os;
    if (fstat(file, &st) != 0) {
        return fault_errno("stat");
    }
    *bytes = st.st_size;
    return OK;
}

static err real_truncate(struct os *os, os_file file, int64_t bytes)
{
    (void)os;
    return ftruncate(file, bytes) == 0 ? OK : fault_errno("truncate to %lld", (long long)bytes);
}

static err real_allocate(struct os *os, os_file file, int64_t bytes)
{
    int number;

    (void)os;
    do {
        number = posix_fallocate(file, 0, bytes);
    } while (number == EINTR);
    errno = number;
    return number == 0 ? OK : fault_errno("reserve %lld bytes", (long long)bytes);
}

static err real_sync(struct os *os, os_file file)
{
    (void)os;
    return fdatasync(file) == 0 ? OK : fault_errno("sync");
}

/* Pages leave the cache in runs, so one in so many bytes, and the last, speak for the others.
 */
static bool is_cached(os_file file, size_t len, int64_t position)
{
    for (size_t at = 0; at < len; at += SEND_PROBE_BYTES) {
        char byte;
        struct iovec part = {&byte, 1};
        size_t place = len - at <= SEND_PROBE_BYTES ? len - 1 : at;
        if (preadv2(file, &part, 1, position + (int64_t)place, RWF_NOWAIT) != 1) {
            return false;
        }
    }
    return true;
}

static enum os_read_status real_send(struct os *os, os_file file, int to, size_t len,
                                     int64_t position, size_t *sent)
{
    off_t at = position;

    (void)os;
    *sent = 0;
    if (!is_cached(file, len, position)) {
        return OS_READ_COLD;
    }
    ssize_t n = sendfile(to, file, &at, len);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        (void)fault_errno("send %zu bytes at %lld", len, (long long)position);
        return OS_READ_FAILED;
    }
    *sent = n > 0 ? (size_t)n : 0;
    return OS_READ_DONE;
}

static void real_read_ahead(struct os *os, os_file file, int64_t position, int64_t len)
{
    (void)os;
    (void)posix_fadvise(file, position, len, POSIX_FADV_WILLNEED);
}

static void real_sync_start(struct os *os, os_file file, int64_t position, int64_t len)
{
    (void)os;
    (void)sync_file_range(file, position, len, SYNC_FILE_RANGE_WRITE);
}

static err real_sync_all(struct os *os, os_file file)
{
    (void)os;
    return syncfs(file) == 0 ? OK : fault_errno("sync of the file system");
}

static err real_folder_make(struct os *os, const char *path)
{
    (void)os;
    return mkdir(path, 0700) == 0 || errno == EEXIST ? OK : fault_errno("make folder %s", path);
}

static err real_folder_sync(struct os *os, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)os;
    if (fd < 0) {
        return fault_errno("open folder %s", path);
    }
    err e = fsync(fd) == 0 ? OK : fault_errno("sync folder %s", path);
    close(fd);
    return e;
}

static err real_folder_list(struct os *os, const char *path,
                            err (*each)(void *self, const char *name), void *self)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    err e = OK;

    (void)os;
    if (!folder) {
        return fault_errno("list folder %s", path);
    }
    while (!e && (entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            e = each(self, entry->d_name);
        }
    }
    closedir(folder);
    return e;
}

static err real_rename(struct os *os, const char *from, const char *to)
{
    (void)os;
    return rename(from, to) == 0 ? OK : fault_errno("rename %s to %s", from, to);
}

static err real_remove(struct os *os, const char *path)
{
    (void)os;
    return remove(path) == 0 ? OK : fault_errno("remove %s", path);
}

static err real_lock(struct os *os, const char *path, os_file *out)
{
    (void)os;
    *out = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*out < 0) {
        return fault_errno("open %s", path);
    }
    if (flock(*out, LOCK_EX | LOCK_NB) == 0) {
        return OK;
    }
    err e = errno == EWOULDBLOCK ? fault(ERR_BUSY, "%s is locked by another process", path)
                                 : fault_errno("lock %s", path);
    close(*out);
    *out = OS_FILE_NONE;
    return e;
}

static err real_space(struct os *os, const char *path, struct os_space *out)
{
    struct statvfs st;

    (void)os;
    if (statvfs(path, &st) != 0) {
        return fault_errno("look at the space of %s", path);
    }
    out->total_bytes = (int64_t)(st.f_blocks * st.f_frsize);
    out->free_bytes = (int64_t)(st.f_bavail * st.f_frsize);
    return OK;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen, int64_t wait_ns)
{
    struct timespec wait = {wait_ns / NS_PER_S, wait_ns % NS_PER_S};

    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, wait_ns < 0 ? NULL : &wait, NULL, 0);
}

/* Sleeps until mail, the end, or the due time. The order (announce sleep, look again, wait on
 * the word read before) makes a lost wake-up impossible. */
static void worker_sleep(struct worker *w)
{
    uint32_t seen = atomic_load(&w->signal);

    atomic_store(&w->sleeps, true);
    if (mailbox_is_empty(&w->box) && !atomic_load(&w->ends)) {
        int64_t wait_ns = w->due_ns == WORKER_NEVER ? -1 : w->due_ns - real_tick_ns(w->os);
        if (w->due_ns == WORKER_NEVER || wait_ns > 0) {
            futex_wait(&w->signal, seen, wait_ns);
        }
    }
    atomic_store(&w->sleeps, false);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    if (w->niceness) {
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(),
                          getpriority(PRIO_PROCESS, 0) + w->niceness);
    }
    while (!atomic_load(&w->ends) || !mailbox_is_empty(&w->box)) {
        worker_sleep(w);
        worker_turn(w);
    }
    return NULL;
}

static err real_worker_start(struct os *os, struct worker *w)
{
    (void)os;
    int number = pthread_create(&w->thread, NULL, worker_main, w);
    errno = number;
    if (number != 0) {
        return fault_errno("start thread %s", w->name);
    }
    pthread_setname_np(w->thread, w->name);
    return OK;
}

static void real_worker_wake(struct os *os, struct worker *w)
{
    (void)os;
    if (atomic_load(&w->sleeps)) {
        atomic_fetch_add(&w->signal, 1);
        syscall(SYS_futex, &w->signal, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void real_worker_join(struct os *os, struct worker *w)
{
    (void)os;
    pthread_join(w->thread, NULL);
}

struct os *os_real(void)
{
    static struct os real = {
        .now_ms = real_now_ms,
        .tick_ns = real_tick_ns,
        .random = real_random,
        .file_open = real_open,
        .file_close = real_close,
        .file_read = real_read,
        .file_read_cached = real_read_cached,
        .file_write = real_write,
        .file_size = real_size,
        .file_truncate = real_truncate,
        .file_allocate = real_allocate,
        .file_sync = real_sync,
        .file_send = real_send,
        .file_read_ahead = real_read_ahead,
        .file_sync_start = real_sync_start,
        .file_sync_all = real_sync_all,
        .folder_make = real_folder_make,
        .folder_sync = real_folder_sync,
        .folder_list = real_folder_list,
        .path_rename = real_rename,
        .path_remove = real_remove,
        .path_lock = real_lock,
        .space = real_space,
        .worker_start = real_worker_start,
        .worker_wake = real_worker_wake,
        .worker_join = real_worker_join,
    };
    return &real;
}
