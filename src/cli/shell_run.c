/* shell_run.c - one statement after another: recorded, run, recorded again.
 *
 *   alone, locked     BEGIN READ ONLY   statement                           COMMIT
 *   alone, unlocked   BEGIN READ WRITE  [context]  statement  xid [context] COMMIT
 *   in a block        [context] statement xid [context]
 *
 * A context comes before what looks like a write, and after what wrote without looking so. It
 * comes again after ROLLBACK TO, which takes it away. What the database refuses inside of a
 * transaction (VACUUM) is run again by itself: nothing of it has happened. The same for
 * procedures that end transactions: all they did before their first COMMIT was undone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/shell.h"

#define TEXT_BYTES_MAX (256u << 10) /* of a statement, as it is recorded */
#define STATE_IN_TRANSACTION "25001"
#define STATE_ENDS_TRANSACTION "2D000"
#define STATE_READ_ONLY "25006"
#define UNLOCK_FIX "UNLOCK 'why these writes are needed'; unlocks writes in this session."

struct step { /* one statement, or one batch of extended messages */
    struct talk *t;
    view text;   /* as recorded */
    view frames; /* to the database */
    enum sql_kind kind;
    int hidden_parses;
    bool alone; /* no other statement shares its transaction */
    int64_t number, start_ns, took_ns;
    bool context; /* its transaction has one */
    uint32_t xid;
    struct outcome o;
};

static bool is_unlocked(struct shell *shell)
{
    pthread_mutex_lock(&shell->lock);
    bool unlocked = shell->reason != NULL;
    pthread_mutex_unlock(&shell->lock);
    return unlocked;
}

static int64_t now_ms(void)
{
    return os_real()->now_ms(os_real());
}

static struct json_writer record_open(struct writer *out, const char *kind, int64_t number)
{
    struct json_writer j = json_to(out);

    json_object(&j);
    json_name(&j, "kind");
    json_text(&j, kind);
    json_name(&j, "n");
    json_int(&j, number);
    json_name(&j, "at_ms");
    json_int(&j, now_ms());
    return j;
}

static err record_close(struct talk *t, struct json_writer *j)
{
    json_end_object(j);
    err e = shell_record(t->shell, writer_view(j->out));
    writer_fini(j->out);
    if (e) {
        shell_end(t->shell, "%s", fault_here.text);
    }
    return e;
}

static err record_statement(struct step *s)
{
    struct writer out = {0}, text = {0};

    pthread_mutex_lock(&s->t->shell->lock);
    s->number = ++s->t->shell->statements;
    pthread_mutex_unlock(&s->t->shell->lock);
    struct json_writer j = record_open(&out, "statement", s->number);
    sql_without_secrets(s->t->rules, s->text, &text);
    json_name(&j, "text");
    json_view(&j, view_upto(writer_view(&text), TEXT_BYTES_MAX));
    if (text.len > TEXT_BYTES_MAX) {
        json_name(&j, "text_bytes");
        json_int(&j, (int64_t)text.len);
    }
    json_name(&j, "unlocked");
    json_bool(&j, is_unlocked(s->t->shell));
    writer_fini(&text);
    return record_close(s->t, &j);
}

static err record_result(struct step *s)
{
    struct writer out = {0};
    struct json_writer j = record_open(&out, "result", s->number);

    json_name(&j, "took_us");
    json_int(&j, s->took_ns / 1000);
    json_name(&j, "rows");
    if (s->o.rows >= 0) {
        json_int(&j, s->o.rows);
    } else {
        json_null(&j);
    }
    if (s->o.failed) {
        json_name(&j, "error");
        json_object(&j);
        json_name(&j, "code");
        json_text(&j, s->o.state);
        json_name(&j, "message");
        json_text(&j, s->o.message);
        json_end_object(&j);
    } else {
        json_name(&j, "tag");
        json_text(&j, s->o.tag);
    }
    if (s->xid) {
        json_name(&j, "xid");
        json_int(&j, (int64_t)s->xid);
        json_name(&j, "context");
        json_bool(&j, s->context);
    }
    if (s->t->cancelled) {
        json_name(&j, "left");
        json_bool(&j, true);
    }
    return record_close(s->t, &j);
}

static err record_lock(struct talk *t, const char *kind, const char *reason)
{
    struct writer out = {0};
    struct json_writer j = record_open(&out, kind, 0);

    if (reason) {
        json_name(&j, "reason");
        json_text(&j, reason);
    }
    return record_close(t, &j);
}

/* An answer of our own to a whole request: an error, or a tag. */
static void answer_error(struct talk *t, const char *state, const char *message,
                         const char *fix)
{
    pgwire_notice(&t->client.out, 'E', "ERROR", state, message, fix);
    pgwire_ready(&t->client.out, t->status);
}

static err give_context(struct step *s)
{
    struct writer json = {0}, quoted = {0};
    struct outcome o;

    shell_context(s->t->shell, s->number, &json);
    sql_quote(&quoted, writer_view(&json));
    err e =
        relay_hidden(s->t, &o, "SELECT pg_catalog.pg_logical_emit_message(true, '_bemi',%.*s)",
                     VIEW_ARG(writer_view(&quoted)));
    s->t->given |= !e && !o.failed;
    if (!e && o.failed) { /* then the statement must not be: it stands in t->held as its end */
        s->o = o;
    }
    writer_fini(&json);
    writer_fini(&quoted);
    return e;
}

/* The database's session follows the lock, so that a transaction that the user opens may write
 * or not; between transactions only. */
static err follow_lock(struct talk *t, bool unlocked)
{
    struct outcome o;

    if (t->writes == unlocked || t->status != 'I') {
        return OK;
    }
    err e = relay_hidden(t, &o, "SET SESSION CHARACTERISTICS AS TRANSACTION READ %s",
                         unlocked ? "WRITE" : "ONLY");
    t->writes = !e && !o.failed ? unlocked : t->writes;
    return e;
}

static err open_wrap(struct step *s, bool unlocked)
{
    struct outcome o;
    err e = relay_hidden(s->t, &o, "BEGIN READ %s", unlocked ? "WRITE" : "ONLY");

    s->t->wrapped = !e && s->t->status == 'T';
    if (e || s->t->wrapped) {
        return e;
    }
    s->o = o; /* it stands in t->held as the statement's own failure */
    return OK;
}

/* After what ran: which transaction it was, and a context if it wrote without one. */
static err look_after(struct step *s)
{
    struct talk *t = s->t;
    struct outcome o;
    bool idle = s->kind == SQL_SETTING || s->kind == SQL_BEGIN || s->kind == SQL_POINT ||
                s->kind == SQL_END;
    err e = OK;

    if (t->status == 'T' && !idle && !t->xid) {
        e = relay_hidden(t, &o, "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text");
        t->xid = e ? 0 : (uint32_t)strtoull(o.value, NULL, 10); /* as the log has it */
    }
    if (!e && t->status == 'T' && t->xid && !t->given) {
        e = give_context(s);
    }
    s->xid = t->xid;
    s->context = t->given;
    return e;
}

static err close_wrap(struct step *s)
{
    struct talk *t = s->t;
    struct outcome o = {0};
    err e = OK;

    t->wrapped = false;
    if (t->status == 'E') {
        e = relay_hidden(t, &o, "ROLLBACK");
    } else if (t->status == 'T') {
        struct writer said = t->held;
        t->held = (struct writer){0};
        e = relay_hidden(t, &o, "COMMIT");
        if (!e && o.failed) { /* a deferred constraint, say: held is that error now */
            s->o.failed = true;
            memcpy(s->o.state, o.state, sizeof(o.state));
            memcpy(s->o.message, o.message, sizeof(o.message));
            writer_fini(&said);
        } else {
            writer_fini(&t->held);
            t->held = said;
        }
    }
    return e;
}

/* What is over takes its context and its number along. */
static void settle(struct talk *t, enum sql_kind kind)
{
    if (t->status == 'I' || kind == SQL_END) {
        t->given = false;
        t->xid = 0;
    } else if (kind == SQL_BACK) {
        t->given = false;
    }
}

static err send_step(struct step *s)
{
    struct os *os = os_real();

    writer_reset(&s->t->held);
    write_view(&s->t->server.link.out, s->frames);
    s->start_ns = os->tick_ns(os);
    err e = relay(s->t, true, s->hidden_parses, &s->o);
    s->took_ns = os->tick_ns(os) - s->start_ns;
    return e;
}

/* It was refused for standing in a transaction of ours, which is undone: run it by itself. */
static err again_alone(struct step *s, bool unlocked)
{
    bool refused = s->o.failed && s->alone && s->t->wrapped &&
                   (!strcmp(s->o.state, STATE_IN_TRANSACTION) ||
                    !strcmp(s->o.state, STATE_ENDS_TRANSACTION));

    if (!refused || !unlocked) {
        return OK;
    }
    err e = close_wrap(s);
    settle(s->t, SQL_END);
    e = e ? e : send_step(s);
    s->xid = 0;
    s->context = false;
    return e;
}

/* In a block of the user's that must not write: nothing can be undone of this any more. */
static err bind_block(struct talk *t, bool unlocked)
{
    struct outcome o;

    if (t->status != 'T' || unlocked) {
        return OK;
    }
    err e = relay_hidden(t, &o, "SET TRANSACTION READ ONLY");
    return !e && o.failed
               ? fault(ERR_DENIED, "the transaction would not be read-only: %s", o.message)
               : e;
}

static void hint(struct step *s, bool unlocked)
{
    struct writer with = {0};
    bool by_lock = !unlocked && (!strcmp(s->o.state, STATE_READ_ONLY) ||
                                 !strcmp(s->o.state, STATE_IN_TRANSACTION) ||
                                 !strcmp(s->o.state, STATE_ENDS_TRANSACTION));
    struct pgwire_frame f;

    if (by_lock && pgwire_frame(writer_view(&s->t->held), false, &f) == PGWIRE_WHOLE &&
        f.kind == 'E') {
        pgwire_error_hint(&with, f.body, "This session is read-only. " UNLOCK_FIX);
        writer_fini(&s->t->held);
        s->t->held = with;
    }
}

static bool is_error(const struct writer *frame)
{
    return frame->len && frame->at[0] == 'E';
}

static err run(struct step *s, bool unlocked, bool last)
{
    struct talk *t = s->t;
    bool wraps = t->status == 'I' && !sql_is_control(s->kind);
    err e = OK;

    s->o = (struct outcome){.rows = -1};
    if (wraps) {
        e = open_wrap(s, unlocked);
    }
    if (!e && unlocked && s->kind == SQL_WRITE && t->status == 'T') {
        e = give_context(s);
    }
    if (!e && !s->o.failed) {
        e = send_step(s);
        e = e ? e : again_alone(s, unlocked);
    }
    e = e || s->kind != SQL_BEGIN ? e : bind_block(t, unlocked);
    struct writer said = t->held; /* questions of ours have tags and errors too */
    t->held = (struct writer){0};
    if (!e && !s->o.failed) {
        e = look_after(s);
    }
    bool after_failed = t->held.len && s->o.failed && t->status == 'E' && !is_error(&said);
    writer_fini(after_failed ? &said : &t->held);
    t->held = after_failed ? t->held : said;
    if (!e && t->wrapped && (last || s->o.failed)) {
        e = close_wrap(s);
    }
    settle(t, s->kind);
    return e;
}

/* What would make a locked session write is not sent at all. */
static bool is_refused(const struct step *s, bool unlocked)
{
    bool sets = s->kind == SQL_SETTING || s->kind == SQL_BEGIN;

    return !unlocked &&
           (s->kind == SQL_PREPARED || (sets && sql_allows_writes(s->t->rules, s->text)));
}

static void refuse(struct step *s)
{
    s->o = (struct outcome){.failed = true, .rows = -1, .state = STATE_READ_ONLY};
    snprintf(s->o.message, sizeof(s->o.message), "this session is read-only");
    writer_reset(&s->t->held);
    pgwire_notice(&s->t->held, 'E', "ERROR", STATE_READ_ONLY, s->o.message, UNLOCK_FIX);
}

/* Recorded, run, recorded; *failed: the rest of the request does not run. */
static err take_step(struct step *s, bool last, bool *failed)
{
    bool unlocked = is_unlocked(s->t->shell);
    err e = record_statement(s);

    e = e ? e : follow_lock(s->t, unlocked);
    if (e) {
        return e;
    }
    if (is_refused(s, unlocked)) {
        refuse(s);
    } else {
        e = run(s, unlocked, last);
    }
    if (e && !s->o.failed) { /* cut off: it may have happened, or not */
        s->o.failed = true;
        snprintf(s->o.message, sizeof(s->o.message), "%s", fault_here.text);
    }
    hint(s, unlocked);
    err recorded = record_result(s);
    if (!recorded || s->o.failed) {
        write_view(&s->t->client.out, writer_view(&s->t->held));
    }
    writer_reset(&s->t->held);
    *failed = s->o.failed;
    return e ? e : recorded;
}

static err unlock(struct talk *t, view statement)
{
    struct arena arena = {0};
    view words = sql_reason(&arena, t->rules, statement);
    char *reason = words.at ? text_of(words) : NULL;
    err e = OK;

    arena_fini(&arena);
    if (!reason) {
        answer_error(t, "42601", "UNLOCK wants a reason", UNLOCK_FIX);
        return OK;
    }
    if (t->status != 'I') {
        free(reason);
        answer_error(t, STATE_IN_TRANSACTION, "a transaction is under way",
                     "COMMIT or ROLLBACK it, then UNLOCK.");
        return OK;
    }
    e = record_lock(t, "unlock", reason);
    if (e) {
        free(reason);
        return e;
    }
    pthread_mutex_lock(&t->shell->lock);
    free(t->shell->reason);
    t->shell->reason = reason;
    pthread_mutex_unlock(&t->shell->lock);
    pgwire_notice(&t->client.out, 'N', "NOTICE", "00000",
                  "writes are unlocked; each carries your name and this reason",
                  "LOCK SESSION; locks them again.");
    pgwire_complete(&t->client.out, "UNLOCK");
    pgwire_ready(&t->client.out, t->status);
    return OK;
}

static err lock(struct talk *t)
{
    if (t->status != 'I') {
        answer_error(t, STATE_IN_TRANSACTION, "a transaction is under way",
                     "COMMIT or ROLLBACK it, then LOCK SESSION.");
        return OK;
    }
    err e = record_lock(t, "lock", NULL);
    if (e) {
        return e;
    }
    pthread_mutex_lock(&t->shell->lock);
    free(t->shell->reason);
    t->shell->reason = NULL;
    pthread_mutex_unlock(&t->shell->lock);
    pgwire_complete(&t->client.out, "LOCK SESSION");
    pgwire_ready(&t->client.out, t->status);
    return OK;
}

struct request { /* a query message: its statements */
    size_t count;
    bool controls; /* one of them begins or ends a transaction */
};

static struct request look_at(struct sql_rules rules, view sql)
{
    struct request r = {0};
    view statement;

    while (sql_next(rules, &sql, &statement)) {
        enum sql_kind kind = sql_kind(rules, statement);
        r.count += kind != SQL_EMPTY;
        r.controls |= sql_is_control(kind);
    }
    return r;
}

static err run_statement(struct talk *t, view statement, enum sql_kind kind, bool alone,
                         bool last, bool *failed)
{
    struct writer frames = {0};

    pgwire_query(&frames, statement);
    struct step s = {.t = t,
                     .text = statement,
                     .frames = writer_view(&frames),
                     .kind = kind,
                     .alone = alone};
    err e = take_step(&s, last, failed);
    writer_fini(&frames);
    return e;
}

/* Statements that come together are one transaction, unless they manage transactions
 * themselves: then each runs as if it had come by itself. */
err talk_query(struct talk *t, view sql)
{
    struct request r = look_at(t->rules, sql);
    view rest = sql, statement;
    size_t done = 0;
    bool failed = false;
    err e = OK;

    while (!e && !failed && sql_next(t->rules, &rest, &statement)) {
        enum sql_kind kind = sql_kind(t->rules, statement);
        if (kind == SQL_EMPTY) {
            continue;
        }
        if (r.count == 1 && kind == SQL_UNLOCK) {
            return unlock(t, statement);
        }
        if (r.count == 1 && kind == SQL_LOCK) {
            return lock(t);
        }
        done++;
        e = run_statement(t, statement, kind, r.count == 1 || r.controls,
                          r.controls || done == r.count, &failed);
    }
    if (!e && failed && t->wrapped) { /* refused by us in the middle of a request */
        struct outcome o;
        e = relay_hidden(t, &o, "ROLLBACK");
        t->wrapped = false;
        settle(t, SQL_END);
    }
    if (!r.count) {
        pgwire_write(&t->client.out, 'I', VIEW(""));
    }
    if (!e) {
        pgwire_ready(&t->client.out, t->status);
    }
    return e;
}

err talk_raw(struct talk *t, view frames, view text, enum sql_kind kind, int repeats)
{
    struct step s = {
        .t = t, .text = text, .frames = frames, .kind = kind, .hidden_parses = repeats};
    bool failed = false;

    err e = take_step(&s, true, &failed);
    if (!e) {
        pgwire_ready(&t->client.out, t->status);
    }
    return e;
}
