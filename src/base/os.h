/* os.h - everything the log and the coordinator ask of the machine: clock, random, files,
 * threads.
 *
 * os_real() is Linux. os_sim (os_sim.h) keeps files in memory, runs all workers in one thread
 * under a seeded scheduler and virtual time, and injects faults. Code above base calls no
 * clock, random, file or thread function of libc, so that whole-system simulation costs no
 * further hooks.
 *
 * Paths are NUL-terminated and absolute or relative to the working folder. A file is a small
 * number as a descriptor is (for os_real it is one). Any thread may call anything. After a
 * failed file_sync or file_sync_all the page cache lies: the caller must not trust what was
 * written. */
#ifndef TIDEMARK_BASE_OS_H
#define TIDEMARK_BASE_OS_H

#include "base/view.h"

#include <sys/uio.h>

struct buf;
struct worker;

typedef int os_file;
#define OS_FILE_NONE (-1)

enum os_open {
    OS_OPEN_WRITE = 1u << 0,     /* read and write; otherwise read only */
    OS_OPEN_CREATE = 1u << 1,    /* make it when missing */
    OS_OPEN_FRESH = 1u << 2,     /* with CREATE: empty it when there */
    OS_OPEN_DIRECT = 1u << 3,    /* O_DIRECT: 4096-byte aligned address, position and length */
    OS_OPEN_SCATTERED = 1u << 4, /* nothing is read ahead but by file_read_ahead */
};

struct os_space {
    int64_t total_bytes, free_bytes; /* of the file system, free to an ordinary user */
};

enum os_read_status { OS_READ_DONE, OS_READ_COLD, OS_READ_FAILED };

struct os {
    int64_t (*now_ms)(struct os *);  /* wall clock, ms since 1970 UTC */
    int64_t (*tick_ns)(struct os *); /* monotonic */
    void (*random)(struct os *, void *at, size_t len);

    err (*file_open)(struct os *, const char *path, unsigned flags, os_file *out);
    void (*file_close)(struct os *, os_file file);
    err (*file_read)(struct os *, os_file file, void *at, size_t len, int64_t position,
                     size_t *got); /* got < len only at the end */
    /* Never waits for a disk: COLD when a byte of it is not in memory. */
    enum os_read_status (*file_read_cached)(struct os *, os_file file, void *at, size_t len,
                                            int64_t position, size_t *got);
    /* Straight to a socket that does not block, without a copy of ours: COLD when it might wait
     * for a disk, else as much as the socket takes now, perhaps nothing. */
    enum os_read_status (*file_send)(struct os *, os_file file, int socket, size_t len,
                                     int64_t position, size_t *sent);
    void (*file_read_ahead)(struct os *, os_file file, int64_t position,
                            int64_t len); /* hint */
    err (*file_write)(struct os *, os_file file, const struct iovec *parts, int count,
                      int64_t position); /* all of it, or an error */
    err (*file_size)(struct os *, os_file file, int64_t *bytes);
    err (*file_truncate)(struct os *, os_file file, int64_t bytes);
    err (*file_allocate)(struct os *, os_file file,
                         int64_t bytes);         /* real blocks, zero filled */
    err (*file_sync)(struct os *, os_file file); /* fdatasync */
    void (*file_sync_start)(struct os *, os_file file, int64_t position,
                            int64_t len);            /* hint */
    err (*file_sync_all)(struct os *, os_file file); /* syncfs of its file system */

    err (*folder_make)(struct os *, const char *path); /* fine when it is there */
    err (*folder_sync)(struct os *, const char *path);
    /* Names in it but "." and "..", in no order; each() returning an error ends the walk. */
    err (*folder_list)(struct os *, const char *path, err (*each)(void *self, const char *name),
                       void *self);
    err (*path_rename)(struct os *, const char *from, const char *to);
    err (*path_remove)(struct os *, const char *path); /* a file or an empty folder */
    err (*path_lock)(struct os *, const char *path,
                     os_file *out); /* ERR_BUSY: held elsewhere */
    err (*space)(struct os *, const char *path, struct os_space *out);

    err (*worker_start)(struct os *, struct worker *); /* see worker.h */
    void (*worker_wake)(struct os *, struct worker *);
    void (*worker_join)(struct os *, struct worker *);
};

struct os *os_real(void);

/* Conveniences over any os. */
MUST_CHECK err os_read_file(struct os *os, const char *path, size_t limit, struct buf **out);
/* Replaces path as a whole: temporary file, sync, rename, folder sync. */
MUST_CHECK err os_replace_file(struct os *os, const char *folder, const char *name, view bytes);
MUST_CHECK err os_write_at(struct os *os, os_file file, view bytes, int64_t position);
/* folder_make, and its name on disk in the folder above it. */
MUST_CHECK err os_make_folder(struct os *os, const char *path);
MUST_CHECK err os_remove_tree(struct os *os, const char *folder);

#endif
