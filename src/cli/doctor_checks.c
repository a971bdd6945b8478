/* doctor_checks.c - the checks of `tidemark doctor`. SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FREE_BYTES_LEAST (INT64_C(256) << 20) /* journal and reserve need as much */
#define FREE_PERCENT_LEAST 10
#define FILES_LEAST 4096
#define SANE_SINCE_MS INT64_C(1735689600000) /* 2025: before it the clock is plainly wrong */
#define TMPFS_NUMBER 0x01021994
#define NFS_NUMBER 0x6969
#define PROC_LINE_BYTES 512

/* The nearest folder that is there, at or above path. */
static void existing_folder(const char *path, char *out, size_t room)
{
    struct stat st;

    snprintf(out, room, "%s", path);
    while (stat(out, &st) && errno == ENOENT) {
        char *slash = strrchr(out, '/');
        if (!slash || slash == out) {
            snprintf(out, room, "%s", slash ? "/" : ".");
            return;
        }
        *slash = '\0';
    }
}

static void look_at_folder(struct doctor *d, struct doctor_finding *f)
{
    const char *path = d->settings->data;
    char above[PATH_MAX];
    struct stat st;

    existing_folder(path, above, sizeof(above));
    bool there = !strcmp(above, path);
    if (stat(above, &st)) {
        doctor_find(f, DOCTOR_WRONG, "%s: %s", above, strerror(errno));
        doctor_fix(f, "give the user a way in, or another --data");
    } else if (!S_ISDIR(st.st_mode)) {
        doctor_find(f, DOCTOR_WRONG, "%s is not a folder", above);
        doctor_fix(f, "move it away, or give another --data");
    } else if (access(above, W_OK | X_OK)) {
        doctor_find(f, DOCTOR_WRONG, "%s cannot be written by user %d", above, (int)geteuid());
        doctor_fix(f, "chown %d %s, or give another --data", (int)geteuid(), above);
    } else if (there && (st.st_mode & (S_IRGRP | S_IROTH | S_IXGRP | S_IXOTH))) {
        doctor_find(f, DOCTOR_FINE, "%s, which others on this machine may list", path);
    } else {
        doctor_find(f, DOCTOR_FINE, there ? "%s" : "%s, to be made by the first start", path);
    }
}

/* The process that holds a lock on the file, from the kernel's list; 0: none. */
static int lock_holder(const struct stat *file)
{
    FILE *locks = fopen("/proc/locks", "re");
    char line[PROC_LINE_BYTES];
    int holder = 0;

    while (locks && !holder && fgets(line, sizeof(line), locks)) {
        unsigned major, minor;
        unsigned long long inode;
        int pid;
        bool parsed =
            sscanf(line, "%*s %*s %*s %*s %d %x:%x:%llu", &pid, &major, &minor, &inode) == 4;
        if (parsed && inode == file->st_ino) {
            holder = pid > 0 ? pid : -1; /* -1 is what the kernel says of open-file locks */
        }
    }
    if (locks) {
        fclose(locks);
    }
    return holder;
}

static void look_at_lock(struct doctor *d, struct doctor_finding *f)
{
    char *path = text_format("%s/tidemark.lock", d->settings->data);
    struct stat st;

    d->server_pid = stat(path, &st) ? 0 : lock_holder(&st);
    if (d->server_pid > 0) {
        doctor_find(f, DOCTOR_FINE, "served by process %d", d->server_pid);
    } else if (d->server_pid) {
        doctor_find(f, DOCTOR_FINE, "served by a running tidemark");
    } else {
        doctor_find(f, DOCTOR_FINE, "no server has it");
    }
    free(path);
}

static void look_at_disk(struct doctor *d, struct doctor_finding *f)
{
    char folder[PATH_MAX], text[BYTES_TEXT];
    struct os_space space = {0};

    existing_folder(d->settings->data, folder, sizeof(folder));
    if (os_real()->space(os_real(), folder, &space)) {
        doctor_find(f, DOCTOR_WRONG, "%s: %s", folder, fault_here.text);
        return;
    }
    if (space.total_bytes <= 0) {
        doctor_find(f, DOCTOR_WRONG, "%s is not on a disk", folder);
        doctor_fix(f, "give another --data");
        return;
    }
    int percent = (int)(space.free_bytes * 100 / space.total_bytes);
    bytes_text(space.free_bytes, text);
    if (space.free_bytes < FREE_BYTES_LEAST) {
        doctor_find(f, DOCTOR_WRONG, "%s free: writes will be refused soon", text);
        doctor_fix(f, "free some, trim topics, or set retention.bytes or log.disk.percent.max");
    } else if (percent < FREE_PERCENT_LEAST) {
        doctor_find(f, DOCTOR_WARN, "%s free, %d %%", text, percent);
        doctor_fix(f, "set retention.disk.percent, or log.disk.percent.max for all topics");
    } else {
        doctor_find(f, DOCTOR_FINE, "%s free, %d %%", text, percent);
    }
}

static void look_at_file_system(struct doctor *d, struct doctor_finding *f)
{
    char folder[PATH_MAX];
    struct statfs fs;

    existing_folder(d->settings->data, folder, sizeof(folder));
    if (statfs(folder, &fs)) {
        doctor_find(f, DOCTOR_WARN, "%s: %s", folder, strerror(errno));
    } else if (fs.f_type == TMPFS_NUMBER) {
        doctor_find(f, DOCTOR_WARN, "%s is in memory: a power loss takes all of it", folder);
        doctor_fix(f, "put --data on a disk");
    } else if (fs.f_type == NFS_NUMBER) {
        doctor_find(f, DOCTOR_WARN, "%s is on a network: locks and syncs may not hold", folder);
        doctor_fix(f, "put --data on a local disk");
    } else {
        doctor_find(f, DOCTOR_FINE, "local");
    }
}

/* What keeps it from being listened on: 0 nothing, else errno; -1 the resolver. */
static int listen_error(const char *address, const char **why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    const char *colon = strrchr(address, ':');
    char *host =
        text_of((view){(const uint8_t *)address, (size_t)(colon ? colon - address : 0)});
    int64_t port = -1;
    bool bracketed = host[0] == '[' && host[strlen(host) - 1] == ']';

    if (!colon || view_to_int(view_text(colon + 1), &port) || port < 0 || port > UINT16_MAX) {
        free(host);
        *why = "not HOST:PORT";
        return -1;
    }
    if (bracketed) {
        host[strlen(host) - 1] = '\0';
    }
    int code = getaddrinfo(host + (bracketed ? 1 : 0), colon + 1, &hints, &found);
    free(host);
    if (code) {
        *why = gai_strerror(code);
        return -1;
    }
    int on = 1, fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fine = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) &&
                !bind(fd, found->ai_addr, found->ai_addrlen) && !listen(fd, 1);
    int error = fine ? 0 : errno;
    *why = strerror(error);
    if (fd >= 0) {
        close(fd);
    }
    freeaddrinfo(found);
    return error;
}

static void look_at_address(const struct doctor *d, const char *address, const char *option,
                            struct doctor_finding *f)
{
    const char *why = "";

    int error = listen_error(address, &why);

    if (!error) {
        doctor_find(f, DOCTOR_FINE,
                    d->server_pid ? "%s is free: the server listens elsewhere" : "%s is free",
                    address);
    } else if (d->server_pid && error == EADDRINUSE) {
        doctor_find(f, DOCTOR_FINE, "%s, in use; the server runs", address);
    } else {
        doctor_find(f, DOCTOR_WRONG, "%s: %s", address, why);
        if (error == EADDRINUSE) {
            doctor_fix(f, "`ss -ltnp` says who has it; stop that one, or give another %s",
                       option);
        } else {
            doctor_fix(f, "give another %s", option);
        }
    }
}

static void look_at_kafka(struct doctor *d, struct doctor_finding *f)
{
    look_at_address(d, d->settings->kafka, "--kafka", f);
}

static void look_at_http(struct doctor *d, struct doctor_finding *f)
{
    look_at_address(d, d->settings->http, "--http", f);
}

static void look_at_files(struct doctor *d, struct doctor_finding *f)
{
    struct rlimit files = {0};

    (void)d;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < FILES_LEAST) {
        doctor_find(f, DOCTOR_WARN, "at most %llu open files: few connections and segments",
                    (unsigned long long)files.rlim_max);
        doctor_fix(f, "raise the hard limit: LimitNOFILE=65536 of a systemd unit, or `ulimit "
                      "-Hn 65536`");
    } else {
        doctor_find(f, DOCTOR_FINE, "up to %llu open files",
                    (unsigned long long)files.rlim_max);
    }
}

static void look_at_clock(struct doctor *d, struct doctor_finding *f)
{
    struct os *os = os_real();
    struct timex kernel = {0};
    struct stat st;
    char now[POINT_TIME_BYTES];
    int64_t now_ms = os->now_ms(os);
    bool later = !stat(d->settings->data, &st) && st.st_mtim.tv_sec * 1000 > now_ms + 60000;

    point_time_text(now_ms, now);
    if (now_ms < SANE_SINCE_MS || later) {
        doctor_find(f, DOCTOR_WRONG, "it says %s%s", now,
                    later ? ", but the data folder was written later" : "");
        doctor_fix(f, "set the clock: retention and timestamps go by it");
    } else if (adjtimex(&kernel) >= 0 && (kernel.status & STA_UNSYNC)) {
        doctor_find(f, DOCTOR_WARN, "%s, kept in step by nobody", now);
        doctor_fix(f, "run a time service such as systemd-timesyncd or chrony");
    } else {
        doctor_find(f, DOCTOR_FINE, "%s", now);
    }
}

static void look_at_libraries(struct doctor *d, struct doctor_finding *f)
{
    static const char *const names[][2] = {
        {"librdkafka.so.1", "librdkafka1"},
        {"libcurl.so.4", "libcurl4"},
    };

    (void)d;
    doctor_find(f, DOCTOR_FINE, "what produce, consume and the others load is there");
    for (size_t i = 0; i < COUNT(names); i++) {
        void *library = dlopen(names[i][0], RTLD_LAZY | RTLD_LOCAL);
        if (library) {
            dlclose(library);
        } else {
            doctor_find(f, DOCTOR_WARN, "%s is missing: %s", names[i][0],
                        i ? "commands cannot ask the server" : "no produce, no consume");
            doctor_fix(f, "apt-get install %s", names[i][1]);
        }
    }
}

const struct doctor_check doctor_checks[] = {
    {"data folder", look_at_folder},  {"in use", look_at_lock},
    {"disk", look_at_disk},           {"file system", look_at_file_system},
    {"kafka", look_at_kafka},         {"http", look_at_http},
    {"open files", look_at_files},    {"clock", look_at_clock},
    {"libraries", look_at_libraries},
};
const size_t doctor_check_count = COUNT(doctor_checks);
