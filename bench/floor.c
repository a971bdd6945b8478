/* floor.c - the floor under every broker: what receiving, checking and writing costs alone.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   floor serve FOLDER                     speaks just enough Kafka for `tidemark bench`:
 * Produce frames are taken apart, their CRC-32C checked, written to a file per partition and
 * answered; Fetch is pread + writev. One thread, no durability, one topic at a time. floor
 * journal FILE BYTES SECONDS       a bare sequential journal: O_DIRECT pwrite of BYTES and
 * fdatasync, over a file that was written before floor probe FILE SECONDS               the
 * same with 4096 bytes, then a nap of 1 ms: what one flush takes on a disk that has time for it
 * floor prefill MIB                      touches so much memory and gives it back, so that the
 * machine under this one has it ready
 *
 * It trusts its client: whatever is wrong ends the program. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

#define PARTITIONS_MAX 100000
#define RECEIVE_BYTES (256 << 10)
#define EVENTS_MAX 64
#define TOPIC_EXISTS 36 /* Kafka's error number */
#define WAKE_NS 1000000
#define HEAD_BYTES 61             /* of a record batch */
#define JOURNAL_BYTES (256 << 20) /* its ring */

struct place {
    int64_t offset, position; /* of a batch: its first record, its first byte */
};

struct partition {
    int fd; /* -1: no file yet */
    int64_t next, bytes;
    struct place *places;
    size_t count, room;
};

struct conn {
    int fd;
    struct writer in, out;
    size_t out_sent;
    bool waits; /* for room to send */
};

struct server {
    const char *folder;
    char *topic; /* the one that was created */
    uint16_t port;
    int32_t partition_count;
    struct partition *partitions;
    int epoll, listener;
};

_Noreturn PRINTF_LIKE(1, 2) static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    exit(EXIT_FAILURE);
}

static void need(bool condition, const char *what)
{
    if (!condition) {
        die("floor: %s: %s", what, errno ? strerror(errno) : "unexpected");
    }
}

static view read_text(struct reader *r)
{
    int16_t len = read_i16(r);

    return len < 0 ? (view){0} : read_bytes(r, (size_t)len);
}

static void write_text(struct writer *w, view text)
{
    write_i16(w, text.at ? (int16_t)text.len : (int16_t)-1);
    write_view(w, text);
}

static struct partition *partition_at(struct server *s, int32_t index)
{
    need(index >= 0 && index < s->partition_count, "partition");
    struct partition *p = &s->partitions[index];
    if (p->fd < 0) {
        char *path = text_format("%s/%d", s->folder, index);
        p->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        need(p->fd >= 0, path);
        free(path);
    }
    return p;
}

static void answer_versions(struct writer *out)
{
    static const int16_t rows[][2] = {{0, 7}, {1, 11}, {2, 1}, {3, 4}, {18, 0}, {19, 2}};

    write_i16(out, 0);
    write_i32(out, (int32_t)COUNT(rows));
    for (size_t i = 0; i < COUNT(rows); i++) {
        write_i16(out, rows[i][0]);
        write_i16(out, 0);
        write_i16(out, rows[i][1]);
    }
}

static void answer_metadata(struct server *s, struct writer *out)
{
    write_i32(out, 0);
    write_i32(out, 1);
    write_i32(out, 0);
    write_text(out, VIEW("127.0.0.1"));
    write_i32(out, s->port);
    write_text(out, (view){0});
    write_text(out, VIEW("floor"));
    write_i32(out, 0);
    write_i32(out, 1);
    write_i16(out, 0);
    write_text(out, view_text(s->topic));
    write_bool(out, false);
    write_i32(out, s->partition_count);
    for (int32_t i = 0; i < s->partition_count; i++) {
        write_i16(out, 0);
        write_i32(out, i);
        write_i32(out, 0);
        write_i32(out, 0); /* no list of replicas */
        write_i32(out, 0);
    }
}

/* There is one topic: another name takes its place, and its files are emptied. */
static void topic_replace(struct server *s, view name, int32_t count)
{
    for (int32_t i = 0; i < s->partition_count; i++) {
        struct partition *p = &s->partitions[i];
        need(p->fd < 0 || ftruncate(p->fd, 0) == 0, "truncate");
        p->next = p->bytes = 0;
        p->count = 0;
    }
    s->partitions = xrealloc(s->partitions,
                             (size_t)MAX(count, s->partition_count) * sizeof(*s->partitions));
    for (int32_t i = s->partition_count; i < count; i++) {
        s->partitions[i] = (struct partition){.fd = -1};
    }
    s->partition_count = MAX(count, s->partition_count);
    free(s->topic);
    s->topic = text_of(name);
}

static void answer_create(struct server *s, struct reader *r, struct writer *out)
{
    read_i32(r);
    view name = read_text(r);
    int32_t count = read_i32(r);
    bool exists = s->topic && view_is_text(name, s->topic);

    need(count > 0 && count <= PARTITIONS_MAX, "count of partitions");
    if (!exists) {
        topic_replace(s, name, count);
    }
    write_i32(out, 0);
    write_i32(out, 1);
    write_text(out, name);
    write_i16(out, exists ? TOPIC_EXISTS : 0);
    write_text(out, (view){0});
}

static int64_t partition_append(struct partition *p, view batch)
{
    uint8_t base[8];
    int64_t offset = p->next;

    need(batch.len > HEAD_BYTES && get_u32(batch.at + 8) + 12 == batch.len, "batch length");
    need(crc32c(0, view_from(batch, 21)) == get_u32(batch.at + 17), "checksum");
    put_u64(base, (uint64_t)offset);
    struct iovec parts[] = {{base, sizeof(base)},
                            {(void *)(uintptr_t)(batch.at + 8), batch.len - 8}};
    need(pwritev(p->fd, parts, 2, p->bytes) == (ssize_t)batch.len, "write");
    p->places = array_room(p->places, p->count, &p->room, sizeof(*p->places));
    p->places[p->count++] = (struct place){offset, p->bytes};
    p->next += get_u32(batch.at + 57);
    p->bytes += (int64_t)batch.len;
    return offset;
}

static void answer_produce(struct server *s, struct reader *r, struct writer *out)
{
    read_text(r);
    read_i16(r);
    read_i32(r);
    int32_t topics = read_i32(r);
    write_i32(out, topics);
    for (; topics > 0 && !r->bad; topics--) {
        write_text(out, read_text(r));
        int32_t count = read_i32(r);
        write_i32(out, count);
        for (; count > 0 && !r->bad; count--) {
            int32_t index = read_i32(r);
            view batch = read_bytes(r, read_u32(r));
            int64_t offset = partition_append(partition_at(s, index), batch);
            write_i32(out, index);
            write_i16(out, 0);
            write_i64(out, offset);
            write_i64(out, -1);
            write_i64(out, 0);
        }
    }
    write_i32(out, 0);
}

static void answer_offsets(struct server *s, struct reader *r, struct writer *out)
{
    read_i32(r);
    read_i32(r);
    write_i32(out, 1);
    write_text(out, read_text(r));
    int32_t count = read_i32(r);
    write_i32(out, count);
    for (; count > 0 && !r->bad; count--) {
        int32_t index = read_i32(r);
        int64_t time = read_i64(r);
        write_i32(out, index);
        write_i16(out, 0);
        write_i64(out, -1);
        write_i64(out, time == -1 ? partition_at(s, index)->next : 0);
    }
}

static size_t place_index(const struct partition *p, int64_t offset)
{
    size_t low = 0, high = p->count;

    while (low + 1 < high) {
        size_t middle = (low + high) / 2;
        *(p->places[middle].offset <= offset ? &low : &high) = middle;
    }
    return low;
}

/* Whole batches from the offset on, at most so many bytes but one batch at least. */
static size_t partition_range(const struct partition *p, int64_t offset, size_t most,
                              int64_t *position)
{
    if (offset >= p->next) {
        return 0;
    }
    size_t at = place_index(p, offset);
    *position = p->places[at].position;
    size_t end = at + 1;
    while (end < p->count && p->places[end].position - *position <= (int64_t)most) {
        end++;
    }
    int64_t whole = p->bytes - *position;
    if (end < p->count || whole > (int64_t)most) {
        size_t last = end - 1 > at ? end - 1 : at + 1;
        whole = (last < p->count ? p->places[last].position : p->bytes) - *position;
    }
    return (size_t)whole;
}

/* Answers at once, with little or nothing too: the floor has no long polls. */
static void answer_fetch(struct server *s, struct reader *r, struct writer *out)
{
    read_bytes(r, 12); /* replica, wait, least bytes */
    size_t room = read_u32(r);
    read_bytes(r, 13); /* isolation, session, topics */
    write_i32(out, 0);
    write_i16(out, 0);
    write_i32(out, 0);
    write_i32(out, 1);
    write_text(out, read_text(r));
    int32_t count = read_i32(r);
    write_i32(out, count);
    for (; count > 0 && !r->bad; count--) {
        int32_t index = read_i32(r);
        read_i32(r);
        int64_t offset = read_i64(r), position = 0;
        read_i64(r);
        struct partition *p = partition_at(s, index);
        size_t most = read_u32(r);
        size_t len = room ? partition_range(p, offset, MIN(most, room), &position) : 0;
        write_i32(out, index);
        write_i16(out, 0);
        write_i64(out, p->next);
        write_i64(out, p->next);
        write_i64(out, 0);
        write_i32(out, -1);
        write_i32(out, -1);
        write_i32(out, (int32_t)len);
        if (out->room - out->len < len) { /* not by write_space, which would zero it */
            out->room = out->len + len + RECEIVE_BYTES;
            out->at = xrealloc(out->at, out->room);
        }
        need(pread(p->fd, out->at + out->len, len, position) == (ssize_t)len, "read");
        out->len += len;
        room -= MIN(room, len);
    }
}

static void answer(struct server *s, struct conn *c, view frame)
{
    struct reader r = {.rest = frame};
    int16_t key = read_i16(&r);
    size_t start = c->out.len;

    read_i16(&r);
    write_u32(&c->out, 0);
    write_i32(&c->out, read_i32(&r)); /* correlation */
    read_text(&r);
    switch (key) {
    case 0:
        answer_produce(s, &r, &c->out);
        break;
    case 1:
        answer_fetch(s, &r, &c->out);
        break;
    case 2:
        answer_offsets(s, &r, &c->out);
        break;
    case 3:
        answer_metadata(s, &c->out);
        break;
    case 18:
        answer_versions(&c->out);
        break;
    case 19:
        answer_create(s, &r, &c->out);
        break;
    default:
        die("floor: request %d", key);
    }
    errno = 0;
    need(!r.bad, "a request cut short");
    put_u32(c->out.at + start, (uint32_t)(c->out.len - start - 4));
}

static void conn_watch(struct server *s, struct conn *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};

    need(epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &event) == 0, "epoll_ctl");
}

static void conn_send(struct server *s, struct conn *c)
{
    while (c->out_sent < c->out.len) {
        ssize_t sent =
            send(c->fd, c->out.at + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            break; /* nobody wants the rest; receiving sees the end */
        }
        if (sent < 0) {
            need(errno == EAGAIN, "send");
            c->waits = true;
            conn_watch(s, c, EPOLLOUT);
            return;
        }
        c->out_sent += (size_t)sent;
    }
    if (c->waits) {
        c->waits = false;
        conn_watch(s, c, EPOLLIN);
    }
    writer_reset(&c->out);
    c->out_sent = 0;
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    writer_fini(&c->in);
    writer_fini(&c->out);
    free(c);
}

static void conn_receive(struct server *s, struct conn *c)
{
    struct writer *in = &c->in;

    if (in->room - in->len < RECEIVE_BYTES) {
        in->room = in->len + 2 * RECEIVE_BYTES;
        in->at = xrealloc(in->at, in->room);
    }
    ssize_t got = recv(c->fd, in->at + in->len, in->room - in->len, 0);
    if (got <= 0) {
        need(got == 0 || errno == EAGAIN || errno == ECONNRESET, "receive");
        if (got == 0 || errno == ECONNRESET) {
            conn_close(c);
        }
        return;
    }
    in->len += (size_t)got;
    size_t at = 0;
    while (in->len - at >= 4 && in->len - at - 4 >= get_u32(in->at + at)) {
        size_t len = get_u32(in->at + at);
        answer(s, c, (view){in->at + at + 4, len});
        at += 4 + len;
    }
    memmove(in->at, in->at + at, in->len - at);
    in->len -= at;
    conn_send(s, c);
}

static void server_accept(struct server *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct conn *c = xcalloc(1, sizeof(*c));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    need(fd >= 0, "accept");
    socket_tune(fd);
    c->fd = fd;
    need(epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static void server_listen(struct server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN};
    socklen_t size = sizeof(at);

    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(s->listener >= 0, "socket");
    need(bind(s->listener, (struct sockaddr *)&at, size) == 0, "bind");
    need(listen(s->listener, SOMAXCONN) == 0, "listen");
    need(getsockname(s->listener, (struct sockaddr *)&at, &size) == 0, "getsockname");
    s->port = ntohs(at.sin_port);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    need(epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &event) == 0, "epoll_ctl");
    printf("kafka    127.0.0.1:%u\n", s->port);
    fflush(stdout);
}

_Noreturn static void serve(const char *folder)
{
    struct server s = {.folder = folder};
    struct epoll_event events[EVENTS_MAX];

    server_listen(&s);
    for (;;) {
        int count = epoll_wait(s.epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                server_accept(&s);
            } else if (events[i].events & EPOLLOUT) {
                conn_send(&s, c);
            } else {
                conn_receive(&s, c);
            }
        }
    }
}

static int64_t now_ns(void)
{
    struct os *os = os_real();

    return os->tick_ns(os);
}

static int order(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static int journal_open(const char *path, uint8_t *block, size_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);

    need(fd >= 0, path);
    for (int64_t at = 0; at + (int64_t)bytes <= JOURNAL_BYTES; at += (int64_t)bytes) {
        need(pwrite(fd, block, bytes, at) == (ssize_t)bytes, "write");
    }
    need(fsync(fd) == 0, "fsync");
    return fd;
}

/* One JSON line: how many, how fast, and how long each took. */
static void print_times(int64_t *times, size_t count, size_t bytes, double seconds)
{
    need(count > 0, "no time passed");
    qsort(times, count, sizeof(*times), order);
    printf("{\"count\":%zu,\"seconds\":%.3f,\"mb_per_s\":%.2f,\"per_s\":%.1f,"
           "\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f}\n",
           count, seconds, (double)(count * bytes) / seconds / 1e6, (double)count / seconds,
           (double)times[count / 2] / 1e6, (double)times[count * 99 / 100] / 1e6,
           (double)times[count - 1] / 1e6);
}

static void journal(const char *path, size_t bytes, double seconds, unsigned nap_us)
{
    size_t room = 0, count = 0;
    int64_t *times = NULL, position = 0;
    void *block = NULL;

    bytes = (bytes + 4095) / 4096 * 4096;
    need(bytes <= JOURNAL_BYTES && posix_memalign(&block, 4096, bytes) == 0, "memory");
    memset(block, 'j', bytes);
    int fd = journal_open(path, block, bytes);
    int64_t start = now_ns(), end = start + (int64_t)(seconds * 1e9), now = start;
    while (now < end) {
        int64_t before = now;
        position = position + (int64_t)bytes > JOURNAL_BYTES ? 0 : position;
        need(pwrite(fd, block, bytes, position) == (ssize_t)bytes, "write");
        need(fdatasync(fd) == 0, "fdatasync");
        now = now_ns();
        times = array_room(times, count, &room, sizeof(*times));
        times[count++] = now - before;
        position += (int64_t)bytes;
        if (nap_us) {
            usleep(nap_us);
            now = now_ns();
        }
    }
    print_times(times, count, bytes, (double)(now - start) / 1e9);
    close(fd);
    free(block);
    free(times);
}

static void wake(double seconds)
{
    size_t room = 0, count = 0;
    int64_t *times = NULL, start = now_ns(), end = start + (int64_t)(seconds * 1e9);

    for (int64_t before = start; before < end; before = now_ns()) {
        const struct timespec nap = {.tv_nsec = WAKE_NS};
        nanosleep(&nap, NULL);
        times = array_room(times, count, &room, sizeof(*times));
        times[count++] = MAX(now_ns() - before - WAKE_NS, 0);
    }
    print_times(times, count, 0, (double)(now_ns() - start) / 1e9);
    free(times);
}

static void prefill(size_t mib)
{
    size_t bytes = mib << 20;
    uint8_t *at = xmalloc(bytes);

    for (size_t i = 0; i < bytes; i += 4096) {
        at[i] = 1;
    }
    /* Read back, so that the writes are not thought useless. */
    size_t seen = 0;
    for (size_t i = 0; i < bytes; i += 4096) {
        seen += at[i];
    }
    printf("{\"pages\":%zu}\n", seen);
    free(at);
}

int main(int argc, char **argv)
{
    struct rlimit limit;

    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (argc == 3 && strcmp(argv[1], "serve") == 0) {
        serve(argv[2]);
    } else if (argc == 5 && strcmp(argv[1], "journal") == 0) {
        journal(argv[2], strtoul(argv[3], NULL, 10), strtod(argv[4], NULL), 0);
    } else if (argc == 4 && strcmp(argv[1], "probe") == 0) {
        journal(argv[2], 4096, strtod(argv[3], NULL), 1000);
    } else if (argc == 3 && strcmp(argv[1], "wake") == 0) {
        wake(strtod(argv[2], NULL));
    } else if (argc == 3 && strcmp(argv[1], "prefill") == 0) {
        prefill(strtoul(argv[2], NULL, 10));
    } else {
        die("usage: floor serve FOLDER | journal FILE BYTES SECONDS | probe FILE SECONDS | "
            "wake SECONDS | prefill MIB");
    }
    return EXIT_SUCCESS;
}
