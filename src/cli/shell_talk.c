/* shell_talk.c - one connection of psql: in, request by request, out.
 *
 * Extended messages wait for their Sync and run as one step. A Parse without a name is kept: a
 * query of ours destroys what it made, so a batch that needs it gets it again.
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/shell.h"

#define BATCH_BYTES_MAX (64u << 20)
#define PREPARED_MAX 10000 /* statements and portals together, of one connection */

struct prepared { /* a statement or a portal: its text */
    bool portal;
    char *name, *text;
};

static struct prepared *find_prepared(struct talk *t, bool portal, view name)
{
    for (size_t i = 0; i < t->prepared_count; i++) {
        struct prepared *p = &t->prepared[i];
        if (p->portal == portal && view_is_text(name, p->name)) {
            return p;
        }
    }
    return NULL;
}

static err put_prepared(struct talk *t, bool portal, view name, view text)
{
    struct prepared *p = find_prepared(t, portal, name);

    if (!p && t->prepared_count >= PREPARED_MAX) {
        return fault(ERR_BUSY, "more than %d prepared statements", PREPARED_MAX);
    }
    if (!p) {
        t->prepared =
            array_room(t->prepared, t->prepared_count, &t->prepared_room, sizeof(*t->prepared));
        p = &t->prepared[t->prepared_count++];
        *p = (struct prepared){.portal = portal, .name = text_of(name)};
    }
    char *kept = text_of(text);
    free(p->text);
    p->text = kept;
    return OK;
}

struct batch { /* what a batch of extended messages comes to */
    size_t executes;
    bool binds_unnamed, parses_unnamed; /* binds: before it parses */
    enum sql_kind kind;
    struct writer text;
};

static void batch_execute(struct talk *t, struct batch *b, view portal)
{
    struct prepared *p = find_prepared(t, true, portal);
    view text = p ? view_text(p->text) : VIEW("");
    enum sql_kind kind = sql_kind(t->rules, text);

    if (b->executes++) {
        write_view(&b->text, VIEW(";\n"));
        kind = MAX(kind, b->kind); /* the kinds are in the order of what they need */
    }
    b->kind = kind;
    write_view(&b->text, text);
}

static err batch_message(struct talk *t, struct batch *b, const struct pgwire_frame *f)
{
    struct pgwire_prepare parse;
    struct pgwire_bind bind;
    struct reader r = {.rest = f->body};
    err e = OK;

    switch (f->kind) {
    case 'P':
        e = pgwire_prepare(f->body, &parse);
        e = e ? e : put_prepared(t, false, parse.name, parse.text);
        if (!e && !parse.name.len) {
            b->parses_unnamed = true;
            writer_reset(&t->unnamed);
            write_view(&t->unnamed, f->all);
        }
        return e;
    case 'B':
        e = pgwire_bind(f->body, &bind);
        if (e) {
            return e;
        }
        b->binds_unnamed |= !bind.name.len && !b->parses_unnamed;
        struct prepared *p = find_prepared(t, false, bind.name);
        return put_prepared(t, true, bind.portal, p ? view_text(p->text) : VIEW(""));
    case 'E':
        batch_execute(t, b, pgwire_text(&r));
        return OK;
    default:
        return OK;
    }
}

static err batch_read(struct talk *t, struct batch *b)
{
    view rest = writer_view(&t->batch);
    struct pgwire_frame f;
    err e = OK;

    while (!e && pgwire_frame(rest, false, &f) == PGWIRE_WHOLE) {
        e = batch_message(t, b, &f);
        rest = view_from(rest, f.all.len);
    }
    return e;
}

static bool is_locked(struct shell *shell)
{
    pthread_mutex_lock(&shell->lock);
    bool locked = !shell->reason;
    pthread_mutex_unlock(&shell->lock);
    return locked;
}

static void refuse_batch(struct talk *t)
{
    pgwire_notice(&t->client.out, 'E', "ERROR", "0A000",
                  "a read-only session takes a transaction's statements one by one", NULL);
    pgwire_ready(&t->client.out, t->status);
}

/* Nothing in it runs: what it says is no statement. */
static err pass_batch(struct talk *t)
{
    struct outcome o;

    write_view(&t->server.link.out, writer_view(&t->batch));
    err e = relay(t, true, 0, &o);
    if (!e) {
        write_view(&t->client.out, writer_view(&t->held));
        writer_reset(&t->held);
        pgwire_ready(&t->client.out, t->status);
    }
    return e;
}

static err run_batch(struct talk *t)
{
    struct batch b = {0};
    struct writer frames = {0};
    err e = batch_read(t, &b);

    if (!e && !b.executes) {
        e = pass_batch(t);
    } else if (!e && sql_is_control(b.kind) && b.executes > 1 && is_locked(t->shell)) {
        refuse_batch(t);
    } else if (!e) {
        bool repeats = b.binds_unnamed && t->unnamed.len;
        write_view(&frames, repeats ? writer_view(&t->unnamed) : VIEW(""));
        write_view(&frames, writer_view(&t->batch));
        e = talk_raw(t, writer_view(&frames), writer_view(&b.text), b.kind, repeats ? 1 : 0);
    }
    writer_reset(&t->batch);
    writer_fini(&b.text);
    writer_fini(&frames);
    return e;
}

static err call_function(struct talk *t, const struct pgwire_frame *f)
{
    struct reader r = {.rest = f->body};
    char text[64];
    struct writer frame = {0};

    snprintf(text, sizeof(text), "function call of oid %u", read_u32(&r));
    write_view(&frame, f->all);
    err e = talk_raw(t, writer_view(&frame), view_text(text), SQL_WRITE, 0);
    writer_fini(&frame);
    return e;
}

static err query(struct talk *t, const struct pgwire_frame *f)
{
    struct reader r = {.rest = f->body};
    view sql = pgwire_text(&r);

    if (r.bad) {
        return fault(ERR_CORRUPT, "a query message is cut short");
    }
    /* The frame's bytes go when more is read from psql: a COPY does that. */
    writer_reset(&t->text);
    write_view(&t->text, sql);
    return talk_query(t, writer_view(&t->text));
}

static err request(struct talk *t, const struct pgwire_frame *f)
{
    switch (f->kind) {
    case 'Q':
        return query(t, f);
    case 'F':
        return call_function(t, f);
    case 'P':
    case 'B':
    case 'D':
    case 'E':
    case 'C':
    case 'S':
        write_view(&t->batch, f->all);
        if (t->batch.len > BATCH_BYTES_MAX) {
            return fault(ERR_TOO_LARGE, "messages without a Sync pass %u MiB",
                         BATCH_BYTES_MAX >> 20);
        }
        return f->kind == 'S' ? run_batch(t) : OK;
    case 'd':
    case 'c':
    case 'f':
        return OK; /* rows of a COPY that has failed already */
    case 'H':
        return fault(ERR_UNSUPPORTED, "a recorded shell answers at a Sync, not at a Flush");
    case 'X':
        t->client.ended = true;
        return OK;
    default:
        return fault(ERR_CORRUPT, "a client of another protocol");
    }
}

/* Idle: psql may ask, the database may notify, or end. */
static err wait_idle(struct talk *t)
{
    struct pollfd fds[2] = {{.fd = t->client.fd, .events = POLLIN},
                            {.fd = t->server.link.fd, .events = POLLIN}};
    struct pgwire_frame f;

    link_flush(&t->client);
    if (t->client.ended) {
        return OK;
    }
    if (poll(fds, 2, -1) < 0) {
        return OK; /* a signal */
    }
    if (fds[0].revents) {
        link_fill(&t->client);
    }
    if (fds[1].revents) {
        link_fill(&t->server.link);
    }
    while (link_take(&t->server.link, false, &f) == PGWIRE_WHOLE) {
        write_view(&t->client.out, f.all);
    }
    link_flush(&t->client);
    return t->server.link.ended ? fault(ERR_CLOSED, "the database closed the connection") : OK;
}

static err serve(struct talk *t)
{
    struct pgwire_frame f;
    err e = OK;

    while (!e && !t->client.ended) {
        enum pgwire_found found = link_take(&t->client, false, &f);
        if (found == PGWIRE_BAD) {
            return fault(ERR_CORRUPT, "a client of another protocol");
        }
        e = found == PGWIRE_WHOLE ? request(t, &f) : wait_idle(t);
    }
    return e;
}

static void cancel_other(struct talk *t, view body)
{
    struct reader r = {.rest = body};
    struct shell *shell = t->shell;

    (void)read_u32(&r);
    uint32_t pid = read_u32(&r), secret = read_u32(&r);
    pthread_mutex_lock(&shell->lock);
    for (struct talk *other = shell->talks; other && !r.bad; other = other->next) {
        if (other->pid == pid && other->secret == secret && other->server.cancel) {
            pq_cancel(shell->pq, &other->server);
        }
    }
    pthread_mutex_unlock(&shell->lock);
}

/* The first frame, waited for. */
static err first_frame(struct talk *t, struct pgwire_frame *f)
{
    struct pollfd fd = {.fd = t->client.fd, .events = POLLIN};

    for (;;) {
        switch (link_take(&t->client, true, f)) {
        case PGWIRE_WHOLE:
            return OK;
        case PGWIRE_BAD:
            return fault(ERR_CORRUPT, "a client of another protocol");
        case PGWIRE_MORE:
            (void)poll(&fd, 1, -1);
            link_fill(&t->client);
            if (t->client.ended) {
                return fault(ERR_CLOSED, "the client left");
            }
        }
    }
}

static err open_database(struct talk *t, view body)
{
    struct pgwire_start start;
    struct shell *shell = t->shell;
    struct pq_link made;
    err e = pgwire_start(body, &start);

    if (!e && start.replication) {
        e = fault(ERR_DENIED, "a recorded shell has no replication");
    }
    e = e ? e : pq_connect(shell->pq, shell, &start, &made);
    if (e) {
        return e;
    }
    pthread_mutex_lock(&shell->lock);
    t->server = made;
    pthread_mutex_unlock(&shell->lock);
    const char *database = pq_database(shell->pq, &t->server);
    if (start.database.len && !view_is_text(start.database, database)) {
        return fault(ERR_DENIED, "this session is on database %s alone", database);
    }
    struct os *os = os_real();
    os->random(os, &t->pid, sizeof(t->pid));
    os->random(os, &t->secret, sizeof(t->secret));
    t->pid &= INT32_MAX;
    t->status = 'I';
    pgwire_accept(&t->client.out);
    pq_parameters(shell->pq, &t->server, &t->client.out);
    pgwire_key(&t->client.out, t->pid, t->secret);
    pgwire_ready(&t->client.out, 'I');
    return OK;
}

static err talk_open(struct talk *t, bool *is_session)
{
    struct pgwire_frame f;
    err e = OK;

    for (*is_session = false; !e;) {
        e = first_frame(t, &f);
        uint32_t code = !e && f.body.len >= 4 ? get_u32(f.body.at) : 0;
        if (!e && code == PGWIRE_CANCEL) {
            cancel_other(t, f.body);
            return OK;
        }
        if (e || (code != PGWIRE_TLS && code != PGWIRE_GSS)) {
            break;
        }
        write_u8(&t->client.out, 'N'); /* the socket is this user's own */
        link_flush(&t->client);
    }
    *is_session = !e;
    return e ? e : open_database(t, f.body);
}

static void talk_free(struct talk *t)
{
    for (size_t i = 0; i < t->prepared_count; i++) {
        free(t->prepared[i].name);
        free(t->prepared[i].text);
    }
    free(t->prepared);
    writer_fini(&t->held);
    writer_fini(&t->text);
    writer_fini(&t->unnamed);
    writer_fini(&t->batch);
    link_fini(&t->client);
    close(t->client.fd);
    free(t);
}

static void talk_leave(struct talk *t)
{
    struct shell *shell = t->shell;

    pthread_mutex_lock(&shell->lock);
    for (struct talk **at = &shell->talks; *at; at = &(*at)->next) {
        if (*at == t) {
            *at = t->next;
            break;
        }
    }
    pq_close(shell->pq, &t->server); /* under the lock: nobody cancels it meanwhile */
    pthread_mutex_unlock(&shell->lock);
    talk_free(t);
    pthread_mutex_lock(&shell->lock);
    shell->talk_count--;
    pthread_cond_signal(&shell->quiet);
    pthread_mutex_unlock(&shell->lock);
}

static void *talk_run(void *self)
{
    struct talk *t = self;
    bool is_session = false;
    err e = talk_open(t, &is_session);

    if (!e && is_session) {
        e = serve(t);
    }
    if (e && !t->client.ended) {
        pgwire_notice(&t->client.out, 'E', "FATAL", e == ERR_DENIED ? "28000" : "57P01",
                      fault_here.text, NULL);
    }
    link_flush(&t->client);
    talk_leave(t);
    return NULL;
}

void talk_start(struct shell *shell, int fd)
{
    struct talk *t = xcalloc(1, sizeof(*t));
    pthread_t thread;

    t->shell = shell;
    t->client.fd = fd;
    t->server.link.fd = -1;
    pthread_mutex_lock(&shell->lock);
    t->next = shell->talks;
    shell->talks = t;
    shell->talk_count++;
    pthread_mutex_unlock(&shell->lock);
    if (pthread_create(&thread, NULL, talk_run, t)) {
        talk_leave(t);
        return;
    }
    (void)pthread_detach(thread);
}
