/* pg_stream.c - what a connection copies: rows out, rows in, and the replication stream.
 *
 * The stream's connection never blocks on its socket: waiting is poll() with the caller's
 * limit, and a status that the socket does not take now is sent by the next look.
 * Failure: whatever ends a copy early leaves the connection broken off or drained, never half
 * read. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "audit/change.h"
#include "audit/pg_inside.h"

#define EPOCH_2000_US INT64_C(946684800000000)
#define STATUS_BYTES 34 /* 'r', written, flushed, applied, clock, reply now */

/* Ends a copy that the caller wants no more of; its own words stay. */
static err copy_given_up(struct pg *pg, err e)
{
    struct fault kept = fault_here;
    char *row = NULL;

    pg_cancel(pg);
    while (pg->lib.getCopyData(pg->connection, &row, 0) > 0) {
        pg->lib.freemem(row);
        row = NULL;
    }
    if (pg_drain(pg)) { /* of course: it was cancelled */
        fault_here = kept;
    }
    fault_here = kept;
    return e;
}

static err copy_started(struct pg *pg, const char *sql, ExecStatusType wanted)
{
    PGresult *result = pg->lib.exec(pg->connection, sql);
    ExecStatusType status = pg->lib.resultStatus(result);
    err e = OK;

    pg->sqlstate[0] = 0;
    if (status == PGRES_FATAL_ERROR) {
        e = pg_fault(pg, result);
    } else if (status != wanted) {
        e = fault(ERR_INVALID, "no COPY came of this statement");
    }
    pg->lib.clear(result);
    return e;
}

err pg_copy_out(struct pg *pg, const char *sql, err (*each)(void *self, view line), void *self)
{
    char *row = NULL;
    int len = 0;
    err e = copy_started(pg, sql, PGRES_COPY_OUT);

    if (e) {
        return e;
    }
    while ((len = pg->lib.getCopyData(pg->connection, &row, 0)) > 0) {
        bool has_break = row[len - 1] == '\n';
        e = each(self, (view){(const uint8_t *)row, (size_t)len - (has_break ? 1 : 0)});
        pg->lib.freemem(row);
        row = NULL;
        if (e) {
            return copy_given_up(pg, e);
        }
    }
    return len == -2 ? pg_fault(pg, NULL) : pg_drain(pg);
}

err pg_copy_in(struct pg *pg, const char *sql, err (*next)(void *self, view *piece), void *self)
{
    view piece = {0};
    err e = copy_started(pg, sql, PGRES_COPY_IN);

    if (e) {
        return e;
    }
    while (!(e = next(self, &piece)) && piece.len) {
        assert(piece.len <= INT32_MAX);
        if (pg->lib.putCopyData(pg->connection, (const char *)piece.at, (int)piece.len) != 1) {
            return pg_fault(pg, NULL);
        }
    }
    if (e) {
        struct fault kept = fault_here;
        pg->lib.putCopyEnd(pg->connection, "given up by its sender");
        err ended = pg_drain(pg);
        (void)ended; /* of course: the sender gave up */
        fault_here = kept;
        return e;
    }
    if (pg->lib.putCopyEnd(pg->connection, NULL) != 1) {
        return pg_fault(pg, NULL);
    }
    return pg_drain(pg);
}

err pg_identify(struct pg *pg, struct pg_system *out)
{
    struct pg_rows *rows = NULL;
    int64_t timeline = 0;
    err e = pg_query(pg, "IDENTIFY_SYSTEM", NULL, 0, &rows);

    if (e) {
        return e;
    }
    if (pg_row_count(rows) != 1 || pg_column_count(rows) < 3) {
        e = fault(ERR_UNSUPPORTED,
                  "IDENTIFY_SYSTEM answers nothing: no PostgreSQL 13 or later");
    } else {
        memset(out, 0, sizeof(*out));
        view id = view_upto(pg_value(rows, 0, 0), sizeof(out->system_id) - 1);
        memcpy(out->system_id, id.at, id.len);
        e = view_to_int(pg_value(rows, 0, 1), &timeline);
        out->timeline = (int32_t)timeline;
        e = e ? e : lsn_parse(pg_value(rows, 0, 2), &out->wal_lsn);
    }
    pg_rows_free(rows);
    return e;
}

err pg_stream_start(struct pg *pg, const char *slot, uint64_t lsn, const char *options)
{
    struct writer sql = {0};
    char at[LSN_TEXT_BYTES];

    lsn_text(lsn, at);
    write_format(&sql, "START_REPLICATION SLOT ");
    pg_quote_name(&sql, view_text(slot));
    write_format(&sql, " LOGICAL %s%s%s%s", at, options[0] ? " (" : "", options,
                 options[0] ? ")" : "");
    write_u8(&sql, 0);
    err e = copy_started(pg, (const char *)sql.at, PGRES_COPY_BOTH);
    writer_fini(&sql);
    if (!e && pg->lib.setnonblocking(pg->connection, 1)) {
        e = pg_fault(pg, NULL);
    }
    pg->streams = !e;
    return e;
}

/* It ends by itself only when the server shuts down or gave up on us. */
static err stream_ended(struct pg *pg, int len)
{
    err e = len == -2 ? pg_fault(pg, NULL) : pg_drain(pg);

    pg->streams = false;
    return e ? e : fault(ERR_CLOSED, "the server ended the stream");
}

static err look(struct pg *pg, int *len)
{
    *len = pg->lib.getCopyData(pg->connection, &pg->received, 1);
    return *len < 0 ? stream_ended(pg, *len) : OK;
}

/* Something came, or the time is over: *waited tells. */
static err wait_for_input(struct pg *pg, int64_t wait_ms, bool *came)
{
    int unsent = pg->lib.flush(pg->connection);
    struct pollfd socket = {.fd = pg->lib.socket(pg->connection),
                            .events = (short)(POLLIN | (unsent > 0 ? POLLOUT : 0))};

    if (unsent < 0) {
        return pg_fault(pg, NULL);
    }
    int got = poll(&socket, 1, (int)(wait_ms > INT32_MAX ? INT32_MAX : wait_ms));
    if (got < 0 && errno != EINTR) {
        return fault_errno("waiting for the server");
    }
    *came = got > 0;
    if (*came && !pg->lib.consumeInput(pg->connection)) {
        return pg_fault(pg, NULL);
    }
    return OK;
}

static err decode_item(view message, struct pg_stream_item *out)
{
    struct reader r = {.rest = message};
    uint8_t kind = read_u8(&r);

    *out = (struct pg_stream_item){.is_data = kind == 'w'};
    if (kind == 'w') {
        out->wal_start = read_u64(&r);
    } else if (kind != 'k') {
        return fault(ERR_CORRUPT, "a message of the stream has the unknown kind %u", kind);
    }
    out->wal_end = read_u64(&r);
    out->sent_us = (int64_t)(read_u64(&r) + (uint64_t)EPOCH_2000_US);
    if (kind == 'k') {
        out->reply_requested = read_u8(&r) != 0;
    }
    out->payload = r.rest;
    return r.bad ? fault(ERR_CORRUPT, "a message of the stream is cut short") : OK;
}

err pg_stream_next(struct pg *pg, int64_t wait_ms, struct pg_stream_item *out)
{
    struct os *os = os_real();
    int64_t end_ns = wait_ms > 0 ? os->tick_ns(os) + wait_ms * 1000000 : 0;
    bool came = true;
    int len = 0;

    assert(pg->streams);
    if (pg->received) {
        pg->lib.freemem(pg->received);
        pg->received = NULL;
    }
    for (;;) {
        err e = look(pg, &len);
        if (e || len) {
            return e ? e : decode_item((view){(uint8_t *)pg->received, (size_t)len}, out);
        }
        int64_t left_ns = end_ns ? end_ns - os->tick_ns(os) : 0;
        if (!came && left_ns <= 0) {
            return ERR_TIMEOUT; /* no failure: nothing is said about it */
        }
        e = wait_for_input(pg, left_ns > 0 ? left_ns / 1000000 + 1 : 0, &came);
        if (e) {
            pg->streams = false;
            return e;
        }
    }
}

err pg_stream_status(struct pg *pg, uint64_t written, uint64_t flushed, bool reply_now)
{
    struct os *os = os_real();
    uint8_t message[STATUS_BYTES] = {'r'};

    assert(pg->streams);
    /* Messages tell where they stand, which may be before the end of their commit. */
    put_u64(message + 1, written > flushed ? written : flushed);
    put_u64(message + 9, flushed);
    put_u64(message + 17, flushed);
    put_u64(message + 25, (uint64_t)(os->now_ms(os) * 1000 - EPOCH_2000_US));
    message[33] = reply_now;
    /* 0: no room now. The server hears it with the next one. */
    if (pg->lib.putCopyData(pg->connection, (const char *)message, STATUS_BYTES) < 0 ||
        pg->lib.flush(pg->connection) < 0) {
        return pg_fault(pg, NULL);
    }
    return OK;
}
