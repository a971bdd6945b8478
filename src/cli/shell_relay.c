/* shell_relay.c - what the database says to one request, passed on or kept from psql.
 *
 * How a request ended (its tag or its error) is held back until the transaction around it has
 * ended too: a commit that fails is the statement's failure.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/shell.h"

#define FLUSH_BYTES (64u << 10)

static void copy_text(char *out, size_t room, view text)
{
    size_t len = MIN(text.len, room - 1);

    if (len) {
        memcpy(out, text.at, len);
    }
    out[len] = 0;
}

static void take_error(const struct pgwire_frame *f, struct outcome *out)
{
    out->failed = true;
    copy_text(out->state, sizeof(out->state), pgwire_field(f->body, 'C'));
    copy_text(out->message, sizeof(out->message), pgwire_field(f->body, 'M'));
}

static void take_tag(const struct pgwire_frame *f, struct outcome *out)
{
    struct reader r = {.rest = f->body};
    view tag = pgwire_text(&r);
    int64_t rows = pgwire_tag_rows(tag);

    copy_text(out->tag, sizeof(out->tag), tag);
    if (rows >= 0) {
        out->rows = MAX(out->rows, 0) + rows; /* a batch may end several statements */
    }
}

static void take_value(const struct pgwire_frame *f, struct outcome *out)
{
    struct reader r = {.rest = f->body};

    if (!out->value[0] && read_u16(&r) > 0) {
        int32_t len = read_i32(&r);
        view text = len > 0 ? read_bytes(&r, (size_t)len) : (view){0};
        copy_text(out->value, sizeof(out->value), text);
    }
}

static void take_parameter(struct talk *t, const struct pgwire_frame *f)
{
    struct reader r = {.rest = f->body};
    view name = pgwire_text(&r), value = pgwire_text(&r);

    if (!r.bad && view_is_text(name, "standard_conforming_strings")) {
        t->rules.backslashes = view_is_text(value, "off");
    }
    if (!r.bad && view_is_text(name, "default_transaction_read_only")) {
        t->writes = view_is_text(value, "off"); /* RESET ALL and the like */
    }
}

static bool is_fatal(const struct pgwire_frame *f)
{
    view severity = pgwire_field(f->body, 'V');

    return view_is_text(severity, "FATAL") || view_is_text(severity, "PANIC");
}

static void hold(struct talk *t, bool visible, const struct pgwire_frame *f)
{
    if (visible) {
        write_view(&t->client.out, writer_view(&t->held));
    }
    writer_reset(&t->held);
    write_view(&t->held, f->all);
}

static void pass(struct talk *t, bool visible, int *hidden_parses, const struct pgwire_frame *f,
                 struct outcome *out)
{
    switch (f->kind) {
    case 'S':
        take_parameter(t, f);
        write_view(&t->client.out, f->all);
        return;
    case 'A':
    case 'N':
        write_view(&t->client.out, f->all);
        return;
    case 'E':
        take_error(f, out);
        if (!is_fatal(f)) {
            hold(t, visible, f);
            return;
        }
        write_view(&t->client.out, f->all);
        return;
    case 'C':
        take_tag(f, out);
        if (visible) {
            hold(t, visible, f);
        }
        return;
    case 'D':
        if (!visible) {
            take_value(f, out);
        }
        break;
    case 'G':
        t->copying = visible;
        break;
    case '1':
        if (*hidden_parses > 0) {
            (*hidden_parses)--;
            return;
        }
        break;
    default:
        break;
    }
    if (visible) {
        write_view(&t->client.out, writer_view(&t->held));
        writer_reset(&t->held);
        write_view(&t->client.out, f->all);
    }
}

/* psql's rows on their way into the database. */
static void pass_copied(struct talk *t)
{
    struct pgwire_frame f;

    link_fill(&t->client);
    while (t->copying && link_take(&t->client, false, &f) == PGWIRE_WHOLE) {
        if (!memchr("dcfSH", f.kind, 5)) {
            t->client.taken -= f.all.len; /* the next request */
            t->copying = false;
            return;
        }
        write_view(&t->server.link.out, f.all);
        if (t->server.link.out.len > FLUSH_BYTES) {
            link_flush(&t->server.link);
        }
    }
}

/* Nobody waits for the answer any more: end it soon, and in good order. */
static void client_left(struct talk *t)
{
    t->client.ended = true;
    t->cancelled = true;
    if (t->copying) {
        t->copying = false;
        pgwire_write(&t->server.link.out, 'f', VIEW("the client left\0"));
        link_flush(&t->server.link);
    }
    pq_cancel(t->shell->pq, &t->server);
}

static err wait_for_more(struct talk *t)
{
    struct pollfd fds[2] = {{.fd = t->server.link.fd, .events = POLLIN},
                            {.fd = t->client.fd, .events = POLLRDHUP}};

    size_t unread = t->server.link.in.len - t->server.link.taken;

    link_flush(&t->client);
    link_flush(&t->server.link);
    if (t->server.link.in.len - t->server.link.taken > unread) {
        return OK; /* came while writing: no poll would tell */
    }
    if (t->client.ended && !t->cancelled) {
        client_left(t);
    }
    if (t->server.link.ended) {
        return fault(ERR_CLOSED, "the database closed the connection");
    }
    fds[1].fd = t->client.ended ? -1 : t->client.fd;
    fds[1].events |= t->copying ? POLLIN : 0;
    if (poll(fds, 2, -1) < 0) {
        return errno == EINTR ? OK : fault_errno("poll");
    }
    if (fds[1].revents & POLLIN) {
        pass_copied(t);
    } else if (fds[1].revents) {
        client_left(t);
    }
    if (fds[0].revents) {
        link_fill(&t->server.link);
    }
    return OK;
}

err relay(struct talk *t, bool visible, int hidden_parses, struct outcome *out)
{
    struct link *from = &t->server.link;
    struct pgwire_frame f;
    err e = OK;

    *out = (struct outcome){.rows = -1};
    t->copying = false;
    link_flush(from);
    while (!e) {
        switch (link_take(from, false, &f)) {
        case PGWIRE_WHOLE:
            if (f.kind == 'Z') {
                t->status = f.body.len ? (char)f.body.at[0] : 'I';
                t->copying = false;
                return OK;
            }
            pass(t, visible, &hidden_parses, &f, out);
            if (t->client.out.len > FLUSH_BYTES) {
                link_flush(&t->client);
            }
            break;
        case PGWIRE_MORE:
            e = wait_for_more(t);
            break;
        case PGWIRE_BAD:
            e = fault(ERR_CORRUPT, "the database speaks another protocol");
            break;
        }
    }
    link_flush(&t->client);
    return e;
}

err relay_hidden(struct talk *t, struct outcome *out, const char *format, ...)
{
    char *sql = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&sql, format, args);
    va_end(args);
    assert(len >= 0);
    pgwire_query(&t->server.link.out, view_text(sql));
    free(sql);
    return relay(t, false, 0, out);
}
