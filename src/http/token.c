/* token.c - the secret that lets its own user write: made at each start, kept in two files
 * while the server runs.
 *
 *   DATA/http.token                      for whoever owns the data folder
 *   RUNTIME/tidemark/PORT.token          so that the command line finds it by the port alone
 *
 * RUNTIME is $XDG_RUNTIME_DIR, else /run/user/UID; where neither is ours the folder is
 * /tmp/tidemark-UID. A folder counts only when it is no symbolic link, belongs to us and is
 * closed to others (0700): /tmp is anybody's to prepare. Files are read and written through the
 * folder's descriptor, without following links; this is about permissions that struct os does
 * not know, and no part of what a simulation replays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_RANDOM_BYTES 32
#define TOKEN_FILE "http.token"
#define NAME_BYTES 32

void token_make(struct os *os, char out[HTTP_TOKEN_BYTES])
{
    uint8_t random[TOKEN_RANDOM_BYTES];

    os->random(os, random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        snprintf(out + 2 * i, 3, "%02x", random[i]);
    }
}

bool token_is(const char *token, view given)
{
    volatile uint8_t differs = 0;

    if (given.len != HTTP_TOKEN_BYTES - 1) {
        return false; /* its length is no secret */
    }
    for (size_t i = 0; i < given.len; i++) {
        differs = (uint8_t)(differs | (given.at[i] ^ (uint8_t)token[i]));
    }
    return differs == 0;
}

static err open_private(const char *path, int *out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        return fault_errno("open %s", path);
    }
    if (fstat(fd, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        close(fd);
        return fault(ERR_DENIED, "%s is not a folder of ours alone (mode 0700)", path);
    }
    *out = fd;
    return OK;
}

/* The user's runtime folder that holds tidemark/; NULL: there is none. Heap. */
static char *runtime_parent(void)
{
    const char *given = secure_getenv("XDG_RUNTIME_DIR");
    char *path = given && given[0] == '/' ? xstrdup(given)
                                          : text_format("/run/user/%u", (unsigned)geteuid());
    int fd;

    if (open_private(path, &fd) != OK) {
        free(path);
        return NULL;
    }
    close(fd);
    return path;
}

static err open_runtime(bool create, int *out)
{
    char *parent = runtime_parent();
    char *path = parent ? text_format("%s/tidemark", parent)
                        : text_format("/tmp/tidemark-%u", (unsigned)geteuid());
    err e = OK;

    if (create && mkdir(path, 0700) != 0 && errno != EEXIST) {
        e = fault_errno("make folder %s", path);
    }
    if (!e) {
        e = open_private(path, out);
    }
    free(path);
    free(parent);
    return e;
}

static void name_for(int port, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%d.token", port);
}

/* A fresh file, never one that somebody else has put there. */
static err write_file(int folder, const char *name, const char *token)
{
    (void)unlinkat(folder, name, 0); /* left by a server that was killed */
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fault_errno("create %s", name);
    }
    size_t len = strlen(token);
    err e = write(fd, token, len) == (ssize_t)len ? OK : fault_errno("write %s", name);
    close(fd);
    return e;
}

static err read_file(int folder, const char *name, char out[HTTP_TOKEN_BYTES])
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        return fault_errno("open %s", name);
    }
    memset(out, 0, HTTP_TOKEN_BYTES);
    bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
    ssize_t got = ours ? read(fd, out, HTTP_TOKEN_BYTES - 1) : -1;
    close(fd);
    return got == HTTP_TOKEN_BYTES - 1 && strlen(out) == HTTP_TOKEN_BYTES - 1
               ? OK
               : fault(ERR_CORRUPT, "%s does not hold a token", name);
}

err token_keep(struct os *os, const char *data_folder, int port, const char *token)
{
    char name[NAME_BYTES];
    int folder;
    err e = os_replace_file(os, data_folder, TOKEN_FILE, view_text(token));

    if (e) {
        return fault_prefix("the token's file: ");
    }
    name_for(port, name);
    e = open_runtime(true, &folder);
    if (!e) {
        e = write_file(folder, name, token);
        close(folder);
    }
    if (e) {
        trace_warn("http",
                   "the command line will not find the token by itself (%s); pass "
                   "TIDEMARK_TOKEN from %s/%s",
                   fault_here.text, data_folder, TOKEN_FILE);
    }
    return OK;
}

void token_forget(struct os *os, const char *data_folder, int port, const char *token)
{
    char name[NAME_BYTES], there[HTTP_TOKEN_BYTES];
    char *path = text_format("%s/%s", data_folder, TOKEN_FILE);
    int folder;

    if (os->path_remove(os, path) != OK && fault_here.code != ERR_NOT_FOUND) {
        trace_warn("http", "%s", fault_here.text);
    }
    free(path);
    name_for(port, name);
    if (open_runtime(false, &folder) == OK) {
        /* Another server may have the port by now, on another address. */
        if (read_file(folder, name, there) == OK && strcmp(there, token) == 0) {
            (void)unlinkat(folder, name, 0);
        }
        close(folder);
    }
}

err http_token_find(int port, char out[HTTP_TOKEN_BYTES])
{
    char name[NAME_BYTES];
    int folder;
    err e = open_runtime(false, &folder);

    if (e) {
        return e;
    }
    name_for(port, name);
    e = read_file(folder, name, out);
    close(folder);
    return e;
}
