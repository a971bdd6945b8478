/* capture_begin.c - from a definition to a stream that has begun.
 *
 * Before a stream begins it is certain that it goes on where the last seal ended: the same
 * cluster, a slot that is there, not lost, and not ahead of us. Everything else is a gap, and
 * named exactly; only a person accepts one. SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/capture_inside.h"
#include "audit/pgoutput.h"

#define APPLICATION "tidemark"

static struct setup_ask ask_of(const struct capture *c)
{
    const struct source_options *o = &c->source->options;

    return (struct setup_ask){.tables = o->tables,
                              .without = o->without,
                              .keyless = (enum setup_keyless)o->keyless,
                              .slot = o->slot,
                              .publication = o->publication};
}

static bool is_ending(void *self)
{
    return capture_is_ending(self);
}

err capture_control(struct capture *c)
{
    if (c->control && pg_is_alive(c->control)) {
        return OK;
    }
    pg_close(c->control);
    c->control = NULL;
    err e = source_connect(c->source, APPLICATION, &c->control);
    if (!e) {
        pg_watch(c->control, is_ending, c); /* locks may have to be waited for */
    }
    return e;
}

static err open_stream(struct capture *c)
{
    const struct source_options *o = &c->source->options;
    struct pg_target target = {.url = o->url,
                               .password = c->source->password,
                               .application = APPLICATION,
                               .replication = true};

    pg_close(c->stream);
    c->stream = NULL;
    err e = pg_open(&target, &c->stream);
    if (!e) {
        pg_watch(c->stream, is_ending, c); /* a new slot may have to wait for long */
    }
    return e;
}

void capture_disconnect(struct capture *c)
{
    c->streams = false;
    pg_close(c->stream);
    pg_close(c->control);
    c->stream = c->control = NULL;
}

PRINTF_LIKE(2, 3) static err fatal(struct capture *c, const char *format, ...)
{
    char words[FAULT_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    c->fatal = true;
    return fault(ERR_CONFLICT, "%s", words);
}

static err note_system(struct capture *c)
{
    char json[96];

    snprintf(json, sizeof(json), "{\"system_id\":\"%s\",\"timeline\":%d}", c->system.system_id,
             (int)c->system.timeline);
    return ledger_note(c->ledger, "system", view_text(json));
}

/* Is it the database that was captured until now? */
static err check_system(struct capture *c)
{
    struct source_status *status = &c->source->status;
    struct ledger_end end;
    char ours[LSN_TEXT_BYTES], theirs[LSN_TEXT_BYTES];
    err e = pg_identify(c->stream, &c->system);

    if (e) {
        return e;
    }
    ledger_end(c->ledger, &end);
    if (end.system_id[0] && strcmp(end.system_id, c->system.system_id)) {
        return fatal(c,
                     "this is another database cluster (system id %s, captured until now: %s); "
                     "create a new source for it",
                     c->system.system_id, end.system_id);
    }
    lsn_text(end.to, ours);
    lsn_text(c->system.wal_lsn, theirs);
    if (end.to > c->system.wal_lsn) {
        return fatal(
            c,
            "the database went back: its log ends at %s, the trail is sealed up to %s; "
            "it was restored or lost commits in a failover; create a new source",
            theirs, ours);
    }
    if (!end.system_id[0] || end.timeline != c->system.timeline) {
        e = note_system(c);
    }
    pthread_mutex_lock(&c->source->lock);
    snprintf(status->database.system_id, sizeof(status->database.system_id), "%s",
             c->system.system_id);
    status->database.timeline = c->system.timeline;
    status->server_lsn = MAX(status->server_lsn, c->system.wal_lsn);
    status->durable_lsn = MAX(status->durable_lsn, end.to);
    pthread_mutex_unlock(&c->source->lock);
    return e;
}

static err load_database(struct capture *c)
{
    struct pg_rows *rows = NULL;
    err e = capture_control(c);

    e = e ? e : pg_query(c->control, "select current_database()", NULL, 0, &rows);
    if (!e) {
        free(c->database);
        c->database = text_of(pg_value(rows, 0, 0));
    }
    pg_rows_free(rows);
    return e;
}

/* Both connections, and what hangs on neither. */
static err open_all(struct capture *c)
{
    err e = load_database(c);

    e = e ? e : open_stream(c);
    e = e ? e : check_system(c);
    return e ? e : capture_writers_open(c);
}

#define GAP_FIX                                                                                \
    "`tidemark source resume %s --accept-gap` makes a new slot, marks the gap in the trail "   \
    "and reads the tables anew"

/* The gap in words, or OK. */
static err check_slot(struct capture *c)
{
    const char *slot = c->source->options.slot, *name = c->source->name;
    char from[LSN_TEXT_BYTES], to[LSN_TEXT_BYTES];
    struct setup_slot_state state;
    struct ledger_end end;
    err e = setup_slot_state(c->control, slot, &state);

    ledger_end(c->ledger, &end);
    lsn_text(end.to, from);
    lsn_text(c->system.wal_lsn, to);
    if (e == ERR_NOT_FOUND) {
        return fatal(c, "slot %s is gone: changes from %s to about %s are lost; " GAP_FIX, slot,
                     from, to, name);
    }
    if (e) {
        return e;
    }
    if (state.is_lost) {
        return fatal(c,
                     "slot %s is lost (the server removed WAL it needed): changes from %s to "
                     "about %s are lost; " GAP_FIX,
                     slot, from, to, name);
    }
    if (state.confirmed_lsn > end.to) {
        lsn_text(state.confirmed_lsn, to);
        return fatal(c,
                     "slot %s was moved on by somebody else: changes from %s to %s were not "
                     "captured; " GAP_FIX,
                     slot, from, to, name);
    }
    if (state.active) {
        return fault(ERR_BUSY, "slot %s is in use by process %lld of the server", slot,
                     (long long)state.active_pid);
    }
    pthread_mutex_lock(&c->source->lock);
    c->source->status.slot_bytes = state.held_bytes;
    pthread_mutex_unlock(&c->source->lock);
    return OK;
}

static err note_begin(struct capture *c, uint64_t lsn)
{
    struct writer text = {0};
    struct json_writer j = json_to(&text);
    char at[LSN_TEXT_BYTES];

    lsn_text(lsn, at);
    json_object(&j);
    json_name(&j, "lsn");
    json_text(&j, at);
    json_name(&j, "slot");
    json_text(&j, c->source->options.slot);
    json_end_object(&j);
    err e = ledger_note(c->ledger, "begin", writer_view(&text));
    writer_fini(&text);
    c->sealed_from = c->flushed_lsn = lsn;
    c->open = (struct round){.to = lsn};
    return e;
}

static err note_snapshot(struct capture *c, const char *mode)
{
    struct writer text = {0};
    struct json_writer j = json_to(&text);

    json_object(&j);
    json_name(&j, "text");
    json_textf(&j, "{\"mode\":\"%s\",\"tables\":\"\"}", mode);
    json_end_object(&j);
    err e = ledger_note(c->ledger, "snapshot", writer_view(&text));
    writer_fini(&text);
    return e;
}

static err publish_tables(struct capture *c)
{
    const struct setup_ask ask = ask_of(c);
    struct arena arena = {0};
    struct setup_plan plan = {0};
    err e = setup_plan(c->control, &ask, &arena, &plan);

    e = e ? e : setup_run(c->control, &plan);
    arena_fini(&arena);
    return e;
}

/* A slot made by hand, or before a crash, is taken as it is; its snapshot is gone, so the rows
 * there are come while the stream goes on. */
static err begin_slot(struct capture *c)
{
    const struct source_options *o = &c->source->options;
    struct setup_slot_state state;
    struct setup_slot made = {0};
    err e = setup_slot_state(c->control, o->slot, &state);
    bool is_there = !e;

    if (is_there) {
        made.consistent_lsn = state.confirmed_lsn;
    } else if (e == ERR_NOT_FOUND) {
        capture_say(c, "making the slot; it waits for transactions that are open now");
        e = setup_slot(c->stream, o->slot, &made);
    }
    e = e ? e : note_begin(c, made.consistent_lsn);
    if (e || !o->snapshot) {
        return e;
    }
    e = note_snapshot(c, is_there ? "watermark" : "exported");
    return e || is_there ? e : capture_snapshot_exported(c, &made);
}

err capture_prepare(struct capture *c)
{
    struct ledger_end end;
    err e = open_all(c);

    if (e) {
        return e;
    }
    ledger_end(c->ledger, &end);
    if (!end.to) {
        capture_say(c, "publishing tables");
        e = publish_tables(c);
        e = e ? e : begin_slot(c);
    }
    return e;
}

err capture_accept_gap(struct capture *c)
{
    const char *slot = c->source->options.slot;
    struct setup_slot_state state;
    struct setup_slot made = {0};
    struct ledger_end end;
    err e = open_all(c);

    ledger_end(c->ledger, &end);
    if (e || check_slot(c) == OK) {
        goto done; /* nothing is lost: nothing to accept */
    }
    c->fatal = false;
    e = setup_slot_state(c->control, slot, &state);
    if (!e && !state.is_lost && state.confirmed_lsn > end.to) {
        made.consistent_lsn = state.confirmed_lsn;
    } else if (!e || e == ERR_NOT_FOUND) {
        e = e ? OK : setup_slot_drop(c->control, slot);
        e = e ? e : publish_tables(c); /* of a source that was removed it is gone, too */
        e = e ? e : setup_slot(c->stream, slot, &made);
    }
    e = e ? e
          : ledger_gap(c->ledger, end.to, made.consistent_lsn,
                       "the slot was lost; a person accepted the gap");
    e = e ? e : note_snapshot(c, "watermark");
done:
    capture_writers_close(c);
    capture_disconnect(c);
    return e;
}

static err start_stream(struct capture *c)
{
    struct pgoutput_protocol protocol = pgoutput_protocol_of(pg_version(c->stream));
    struct writer options = {0};

    write_format(&options, "proto_version '%d', publication_names ", protocol.version);
    err e = setup_publications(c->control, c->source->options.publication, &options);
    write_format(&options, "%s%s", protocol.messages ? ", messages 'true'" : "",
                 protocol.streaming && !c->plain ? ", streaming 'on'" : "");
    write_u8(&options, 0);
    e = e ? e
          : pg_stream_start(c->stream, c->source->options.slot, c->sealed_from,
                            (const char *)options.at);
    writer_fini(&options);
    c->streams = !e;
    c->report_due_ns = 0;
    return e;
}

static err open_stitch(struct capture *c)
{
    const struct stitch_target target = {.begin = capture_begin,
                                         .change = capture_change,
                                         .end = capture_end,
                                         .message = capture_message,
                                         .self = c};
    char *folder = NULL;
    err e = audit_path(c->audit, "spool", c->source->name, &folder);

    if (!e) {
        const struct stitch_config config = {
            .os = c->os,
            .spool_folder = folder,
            .memory_bytes = (size_t)c->audit->config.capture_memory_bytes,
            .rule = (enum context_rule)c->source->options.context_rule};
        e = stitch_new(&config, &target, &c->stitch);
    }
    free(folder);
    return e;
}

err capture_connect(struct capture *c)
{
    err e = open_all(c);

    e = e ? e : check_slot(c);
    e = e ? e : open_stitch(c);
    return e ? e : start_stream(c);
}
