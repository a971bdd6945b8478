/* sender.c - answers out: gathers what may go from the head of the queue, sends, repeats.
 *
 * An answer is its bytes with ranges of log files between them. Bytes go out from where they
 * are. A large range that is in memory goes from the page cache to the socket without a copy of
 * ours; of small ones as much as the loop's chunk holds is read first. A chunk whose bytes are
 * not in memory is read by the log's readers into a buffer of the connection's own, which
 * counts one chunk; meanwhile the loop serves others. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "broker/connection.h"

#define PARTS_MAX 64
#define FILE_BYTES_MIN (32u << 10) /* shorter stretches are cheaper to copy */
#define FILE_TURN_BYTES (256u << 10)
#define FLUSH_BYTES_MAX (256u << 10) /* to one connection in one turn of the loop */

struct cold_read { /* a chunk that a reader fetches from the disk */
    struct job job;
    struct connection *connection;
    struct request *request; /* the connection's oldest; owned here once that has closed */
    const struct log_range *range;
    uint32_t from, len;
    bool done;
    enum os_read_status status;
    uint8_t bytes[];
};

enum gather_end { GATHER_ALL, GATHER_FULL, GATHER_COLD, GATHER_FAILED };

struct gather {
    struct connection *connection;
    struct iovec parts[PARTS_MAX];
    int count;
    size_t bytes, chunk_used;
    struct request *file_request; /* behind the parts: a range that goes without copying */
    const struct log_range *file; /* NULL: none */
    uint32_t file_from;
};

static size_t answer_bytes(const struct request *r)
{
    return (size_t)get_u32(r->answer.at) + 4;
}

static void add(struct gather *g, const uint8_t *at, size_t len)
{
    g->parts[g->count++] = (struct iovec){(void *)(uintptr_t)at, len};
    g->bytes += len;
}

static void cold_over(struct job *job)
{
    struct cold_read *cold = (struct cold_read *)job;
    struct connection *c = cold->connection;

    cold->done = true;
    if (c->closed) {
        request_free(cold->request);
        free(cold);
    } else {
        connection_dirty(c);
    }
    connection_drop(c);
}

static void cold_work(struct job *job)
{
    struct cold_read *cold = (struct cold_read *)job;
    struct connection *c = cold->connection;

    cold->status = log_range_read(c->loop->broker->log, cold->range, cold->from, cold->bytes,
                                  cold->len, true);
    job->work = cold_over;
    loop_post(c->loop, job);
}

static void cold_start(struct connection *c, struct request *r, const struct log_range *range,
                       uint32_t from)
{
    uint32_t len = MIN(range->bytes - from, LOOP_CHUNK_BYTES);
    struct cold_read *cold = xmalloc(sizeof(*cold) + len);

    assert(!c->cold);
    *cold = (struct cold_read){.job.work = cold_work,
                               .connection = c,
                               .request = r,
                               .range = range,
                               .from = from,
                               .len = len};
    c->cold = cold;
    c->holders++;
    log_run_blocking(c->loop->broker->log, &cold->job);
}

/* What a reader has brought for this place, if anything. */
static enum gather_end gather_cold(struct gather *g, uint32_t from, uint32_t *took)
{
    struct cold_read *cold = g->connection->cold;

    if (!cold->done) {
        return GATHER_COLD;
    }
    if (cold->status == OS_READ_FAILED) {
        return GATHER_FAILED;
    }
    assert(from >= cold->from);
    *took = cold->from + cold->len - from;
    add(g, cold->bytes + (from - cold->from), *took);
    return GATHER_ALL;
}

/* Adds as much as goes of a range from from on. */
static enum gather_end gather_range(struct gather *g, struct request *r,
                                    const struct log_range *range, uint32_t from)
{
    struct connection *c = g->connection;

    if (range->bytes - from >= FILE_BYTES_MIN && !c->cold) {
        g->file_request = r;
        g->file = range;
        g->file_from = from;
        return GATHER_FULL;
    }
    while (from < range->bytes) {
        uint32_t took = (uint32_t)MIN(range->bytes - from, LOOP_CHUNK_BYTES - g->chunk_used);
        if (g->count == PARTS_MAX || took == 0) {
            return GATHER_FULL;
        }
        struct cold_read *cold = c->cold && c->cold->range == range ? c->cold : NULL;
        if (cold && from >= cold->from && from < cold->from + cold->len) {
            enum gather_end end = gather_cold(g, from, &took);
            if (end != GATHER_ALL) {
                return end;
            }
        } else {
            uint8_t *at = c->loop->chunk + g->chunk_used;
            if (cold && from < cold->from) {
                took = MIN(took, cold->from - from); /* what comes next is being fetched */
            }
            enum os_read_status status =
                log_range_read(c->loop->broker->log, range, from, at, took, false);
            if (status == OS_READ_FAILED) {
                return GATHER_FAILED;
            }
            if (status == OS_READ_COLD) {
                if (!c->cold && r == c->oldest) {
                    cold_start(c, r, range, from);
                }
                return GATHER_COLD;
            }
            add(g, at, took);
            g->chunk_used += took;
        }
        from += took;
    }
    return GATHER_ALL;
}

/* One answer, without its first skip bytes. */
static enum gather_end gather_answer(struct gather *g, struct request *r, size_t skip)
{
    size_t at = 0; /* in r->answer */

    for (size_t i = 0; i <= r->range_count; i++) {
        size_t until = i < r->range_count ? r->ranges[i].at : r->answer.len;
        if (skip < until - at) {
            if (g->count == PARTS_MAX) {
                return GATHER_FULL;
            }
            add(g, r->answer.at + at + skip, until - at - skip);
            skip = 0;
        } else {
            skip -= until - at;
        }
        at = until;
        if (i == r->range_count) {
            break;
        }
        const struct log_range *range = &r->ranges[i].range;
        if (skip < range->bytes) {
            enum gather_end end = gather_range(g, r, range, (uint32_t)skip);
            if (end != GATHER_ALL) {
                return end;
            }
            skip = 0;
        } else {
            skip -= range->bytes;
        }
    }
    return GATHER_ALL;
}

static enum gather_end gather(struct gather *g)
{
    struct connection *c = g->connection;
    size_t skip = c->sent;

    for (struct request *r = c->oldest; r && r->state != REQUEST_WORKING; r = r->next) {
        if (r->state == REQUEST_ANSWERED) {
            enum gather_end end = gather_answer(g, r, skip);
            if (end != GATHER_ALL) {
                return end;
            }
        }
        skip = 0;
    }
    return GATHER_ALL;
}

static void pop(struct connection *c)
{
    struct request *r = c->oldest;

    c->oldest = r->next;
    if (!c->oldest) {
        c->newest = NULL;
    }
    c->in_flight--;
    c->sent = 0;
    if (r->state == REQUEST_ANSWERED) {
        c->queued_bytes -= r->answer.len;
    }
    connection_throttle(c, r->throttle_ms);
    request_free(r);
}

/* A chunk that a reader brought is not needed once it has gone out. */
static void cold_used(struct connection *c)
{
    struct cold_read *cold = c->cold;

    if (cold && cold->done) {
        size_t before = 0, i = 0;
        while (&cold->request->ranges[i].range != cold->range) {
            before += cold->request->ranges[i++].range.bytes;
        }
        before += cold->request->ranges[i].at + cold->from;
        if (c->oldest != cold->request || c->sent >= before + cold->len) {
            c->cold = NULL;
            free(cold);
        }
    }
}

static void advance(struct connection *c, size_t sent)
{
    while (c->oldest && c->oldest->state != REQUEST_WORKING) {
        size_t left =
            c->oldest->state == REQUEST_SILENT ? 0 : answer_bytes(c->oldest) - c->sent;
        if (sent < left) {
            c->sent += sent;
            break;
        }
        sent -= left;
        if (c->cold && c->cold->request == c->oldest) {
            assert(c->cold->done);
            free(c->cold);
            c->cold = NULL;
        }
        pop(c);
    }
    cold_used(c);
}

void sender_closed(struct connection *c)
{
    struct cold_read *cold = c->cold;

    c->cold = NULL;
    if (!cold) {
        return;
    }
    if (cold->done) {
        free(cold);
        return;
    }
    assert(c->oldest == cold->request); /* its range is being read: freed when that is over */
    c->oldest = cold->request->next;
}

/* The parts; -1: the connection was closed. */
static ssize_t send_parts(struct connection *c, struct gather *g)
{
    struct msghdr message = {.msg_iov = g->parts, .msg_iovlen = (size_t)g->count};
    ssize_t sent =
        g->count ? sendmsg(c->fd, &message, MSG_NOSIGNAL | (g->file ? MSG_MORE : 0)) : 0;

    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        connection_close(c);
        return -1;
    }
    return MAX(sent, 0);
}

/* The file behind the parts, when those went out; what was wanted counts into g->bytes. */
static enum os_read_status send_file(struct connection *c, struct gather *g, size_t *sent)
{
    uint32_t want = MIN(g->file->bytes - g->file_from, FILE_TURN_BYTES);
    size_t more = 0;
    enum os_read_status status =
        log_range_send(c->loop->broker->log, g->file, g->file_from, c->fd, want, &more);

    if (status == OS_READ_DONE) {
        g->bytes += want;
        *sent += more;
    } else if (status == OS_READ_COLD && g->file_request == c->oldest) {
        cold_start(c, g->file_request, g->file, g->file_from);
    }
    return status;
}

/* One round; true: go on. */
static bool send_some(struct connection *c, size_t *total)
{
    struct gather g = {.connection = c};
    enum gather_end end = gather(&g);
    ssize_t parts = end == GATHER_FAILED ? 0 : send_parts(c, &g);
    size_t sent = (size_t)MAX(parts, 0);
    bool waits = false; /* for a reader */

    if (parts < 0) {
        return false;
    }
    if (end != GATHER_FAILED && g.file && sent == g.bytes) {
        enum os_read_status status = send_file(c, &g, &sent);
        end = status == OS_READ_FAILED ? GATHER_FAILED : end;
        waits = status == OS_READ_COLD;
    }
    if (end == GATHER_FAILED) {
        connection_break(c, "the records it asked for cannot be read from the disk");
        return false;
    }
    if (sent > 0) {
        c->active_ns = loop_now_ns(c->loop);
        c->loop->counts.bytes_out += (int64_t)sent;
        *total += sent;
    }
    advance(c, sent);
    if (sent < g.bytes) {
        c->wants_room = true;
        return false;
    }
    if (waits) {
        return !c->cold; /* the range was not the oldest answer's: it is now */
    }
    return end == GATHER_FULL || (end == GATHER_COLD && (!c->cold || c->cold->done));
}

void sender_flush(struct connection *c)
{
    size_t total = 0;

    if (c->wants_room) {
        return; /* polled() clears it */
    }
    while (send_some(c, &total)) {
        if (total >= FLUSH_BYTES_MAX) {
            c->wants_room = true; /* others first; the socket is writable, so we come back */
            return;
        }
    }
}
