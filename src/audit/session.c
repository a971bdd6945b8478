/* session.c - sessions: opened, added to, leased, reviewed.
 *
 * An append comes before its fold, so the view never knows what the topic does not. Only one
 * record is made without waiting: the end of a session whose shell has gone, on a thread that
 * must not block; closing waits for those.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/records.h"
#include "audit/session_inside.h"

#define ID_BYTES 12 /* in hex: as random as it takes never to meet another one */
#define RECORD_VERSION 1
#define BEAT_NS INT64_C(1000000000) /* between signs of life that a lease is sent */
#define LEASE_MS 30000              /* a session whose shell has no lease by then is lost */

static int64_t now_ms(struct sessions *sessions)
{
    struct os *os = log_os(sessions->log);

    return os->now_ms(os);
}

static err topic_of(struct sessions *sessions, view source, struct topic **out)
{
    static const struct setting settings[] = {{(char *)"retention.ms", (char *)"-1"}};
    struct writer name = {0};

    sessions_topic(source, &name);
    err e = records_topic(sessions->log, writer_view(&name), 1, settings, COUNT(settings), out);
    writer_fini(&name);
    return e;
}

/* The members every record begins with; the object is left open. */
static struct json_writer record_open(struct sessions *sessions, struct writer *out,
                                      const char *kind, view id, view source)
{
    struct json_writer j = json_to(out);

    json_object(&j);
    json_name(&j, "v");
    json_int(&j, RECORD_VERSION);
    json_name(&j, "kind");
    json_text(&j, kind);
    json_name(&j, "session");
    json_view(&j, id);
    json_name(&j, "source");
    json_view(&j, source);
    json_name(&j, "at_ms");
    json_int(&j, now_ms(sessions));
    return j;
}

static err fold_text(struct sessions *sessions, view text, int64_t offset, struct session **out)
{
    struct arena arena = {0};
    struct json *json = NULL;
    err e = json_parse(&arena, text, &json);

    if (!e) {
        pthread_mutex_lock(&sessions->lock);
        e = session_fold(sessions, json, offset, out);
        pthread_mutex_unlock(&sessions->lock);
    }
    arena_fini(&arena);
    return e;
}

/* Durable, and then in the view. */
static err put(struct sessions *sessions, view source, view id, view value)
{
    struct topic *topic = NULL;
    struct record record = {.timestamp_ms = now_ms(sessions), .key = id, .value = value};
    struct session *session = NULL;
    int64_t offset = -1;
    err e = topic_of(sessions, source, &topic);

    e = e ? e : records_append(sessions->log, topic_partition(topic, 0), &record, 1, &offset);
    topic_drop(topic);
    return e ? e : fold_text(sessions, value, offset, &session);
}

static void text_member(struct json_writer *j, const char *name, view text)
{
    if (text.len) {
        json_name(j, name);
        json_view(j, text);
    }
}

static view new_id(struct sessions *sessions, struct arena *arena)
{
    struct os *os = log_os(sessions->log);
    uint8_t random[ID_BYTES];
    struct writer hex = {0};

    os->random(os, random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        write_format(&hex, "%02x", random[i]);
    }
    view id = arena_copy(arena, writer_view(&hex));
    writer_fini(&hex);
    return id;
}

/* Its source, in the arena; with still: it must not have ended. */
static err source_of(struct sessions *sessions, struct arena *arena, view id, bool still,
                     view *source)
{
    err e = OK;

    pthread_mutex_lock(&sessions->lock);
    struct session *s = session_get(sessions, id);
    if (!s) {
        e = fault(ERR_NOT_FOUND, "there is no session:%.*s", VIEW_ARG(id));
    } else if (still && session_is_over(s)) {
        e = fault(ERR_CONFLICT, "session:%s has ended (%s)", s->id, s->how);
    } else {
        *source = arena_copy(arena, view_text(s->source));
    }
    pthread_mutex_unlock(&sessions->lock);
    return e;
}

static void again(struct json_writer *j, const struct json *json)
{
    const struct json *in = json->inside;

    switch (json->kind) {
    case JSON_NULL:
        json_null(j);
        break;
    case JSON_BOOL:
        json_bool(j, json->truth);
        break;
    case JSON_NUMBER:
        json_raw(j, json->text);
        break;
    case JSON_TEXT:
        json_view(j, json->text);
        break;
    case JSON_ARRAY:
        json_array(j);
        for (; in; in = in->next) {
            again(j, in);
        }
        json_end_array(j);
        break;
    case JSON_OBJECT:
        json_object(j);
        for (; in; in = in->next) {
            json_name_view(j, in->name);
            again(j, in);
        }
        json_end_object(j);
        break;
    }
}

static void take_lease(struct sessions *sessions, view id, struct http_stream **out)
{
    pthread_mutex_lock(&sessions->lock);
    struct session *s = session_get(sessions, id);
    *out = s->lease;
    s->lease = NULL;
    pthread_mutex_unlock(&sessions->lock);
}

static bool is_reserved(view name)
{
    return view_is_text(name, "v") || view_is_text(name, "kind") ||
           view_is_text(name, "session") || view_is_text(name, "source");
}

err session_add(struct sessions *sessions, view id, const struct json *record)
{
    static const char *const kinds[] = {"statement", "result", "unlock", "lock", "end"};
    struct arena arena = {0};
    struct writer out = {0};
    struct http_stream *lease = NULL;
    const char *kind = NULL;
    view source = {0}, said = {0};
    err e = json_get_text(record, "kind", &said);

    for (size_t i = 0; !e && i < COUNT(kinds); i++) {
        kind = view_is_text(said, kinds[i]) ? kinds[i] : kind;
    }
    if (!e && !kind) {
        e = fault(ERR_INVALID, "kind is statement, result, unlock, lock or end");
    }
    e = e ? e : source_of(sessions, &arena, id, true, &source);
    if (!e) {
        struct json_writer j = json_to(&out);
        json_object(&j);
        json_name(&j, "v");
        json_int(&j, RECORD_VERSION);
        text_member(&j, "kind", view_text(kind));
        text_member(&j, "session", id);
        text_member(&j, "source", source);
        for (const struct json *m = record->inside; m; m = m->next) {
            if (!is_reserved(m->name)) {
                json_name_view(&j, m->name);
                again(&j, m);
            }
        }
        json_end_object(&j);
        e = put(sessions, source, id, writer_view(&out));
    }
    if (!e && !strcmp(kind, "end")) {
        take_lease(sessions, id, &lease);
        http_stream_end(lease);
    }
    writer_fini(&out);
    arena_fini(&arena);
    return e;
}

err session_judge(struct sessions *sessions, view id, view verdict, view note, view reviewer)
{
    struct arena arena = {0};
    struct writer out = {0};
    view source = {0};
    err e = OK;

    if (!view_is_text(verdict, "approved") && !view_is_text(verdict, "flagged") &&
        !view_is_text(verdict, SESSION_PENDING)) {
        return fault(ERR_INVALID, "a verdict is approved, flagged or pending");
    }
    e = source_of(sessions, &arena, id, false, &source);
    if (!e) {
        struct json_writer j = record_open(sessions, &out, "review", id, source);
        text_member(&j, "verdict", verdict);
        text_member(&j, "note", note);
        text_member(&j, "reviewer", reviewer);
        json_end_object(&j);
        e = put(sessions, source, id, writer_view(&out));
    }
    writer_fini(&out);
    arena_fini(&arena);
    return e;
}

struct ending {               /* an end that nobody waits for */
    struct log_append append; /* first */
    struct session *session;
    struct topic *topic;
    struct writer value;
    int64_t at_ms;
};

static void ended(struct log_append *append)
{
    struct ending *ending = (struct ending *)(void *)append;
    struct sessions *sessions = ending->session->owner;

    if (append->status != LOG_APPEND_OK) {
        trace_warn("audit", "session:%s: its end is not recorded: %s", ending->session->id,
                   log_append_status_text(append->status));
    }
    buf_drop(append->hold);
    topic_drop(ending->topic);
    writer_fini(&ending->value);
    pthread_mutex_lock(&sessions->lock);
    if (append->status == LOG_APPEND_OK) {
        ending->session->last = append->base_offset;
    }
    sessions->pending--;
    pthread_cond_signal(&sessions->written);
    pthread_mutex_unlock(&sessions->lock);
    free(ending);
}

/* Under the lock; the topic is there, as the session's opening is on it. */
static struct ending *end_lost(struct session *s)
{
    struct sessions *sessions = s->owner;
    struct ending *ending = xcalloc(1, sizeof(*ending));
    struct writer name = {0};
    struct json_writer j =
        record_open(sessions, &ending->value, "end", view_text(s->id), view_text(s->source));

    text_member(&j, "how", VIEW("lost"));
    json_end_object(&j);
    ending->session = s;
    ending->at_ms = now_ms(sessions);
    sessions_topic(view_text(s->source), &name);
    ending->topic = log_topic(sessions->log, writer_view(&name));
    writer_fini(&name);
    s->ended_ms = ending->at_ms;
    free(s->how);
    s->how = xstrdup("lost");
    if (!ending->topic) { /* deleted meanwhile */
        writer_fini(&ending->value);
        free(ending);
        return NULL;
    }
    sessions->pending++;
    return ending;
}

static void end_write(struct ending *ending)
{
    struct record record = {.timestamp_ms = ending->at_ms,
                            .key = view_text(ending->session->id),
                            .value = writer_view(&ending->value)};
    struct batch_build build = {.records = &record,
                                .count = 1,
                                .producer_id = -1,
                                .producer_epoch = -1,
                                .base_sequence = -1};

    ending->append = (struct log_append){.partition = topic_partition(ending->topic, 0),
                                         .acks = LOG_ACKS_DURABLE,
                                         .flags = LOG_APPEND_INTERNAL,
                                         .done = ended};
    ending->append.hold = batch_new(&build, &ending->append.batch);
    enum batch_fault bad = batch_peek(ending->append.batch, &ending->append.info);
    assert(bad == BATCH_FINE);
    log_append(ending->session->owner->log, &ending->append);
}

/* The shell has gone: with its end recorded, or without. */
static void gone(void *self)
{
    struct session *s = self;
    struct sessions *sessions = s->owner;
    struct ending *ending = NULL;

    pthread_mutex_lock(&sessions->lock);
    struct http_stream *lease = s->lease;
    s->lease = NULL;
    s->left = true;
    if (!session_is_over(s)) {
        ending = end_lost(s);
    }
    pthread_mutex_unlock(&sessions->lock);
    http_stream_end(lease);
    if (ending) {
        end_write(ending);
    }
}

/* Ends what runs without a shell: opened before a moment, and no lease taken. */
static void end_unleased(struct sessions *sessions, int64_t before_ms)
{
    for (size_t i = 0;; i++) {
        struct ending *ending = NULL;
        pthread_mutex_lock(&sessions->lock);
        bool more = i < sessions->count;
        struct session *s = more ? sessions->all[i] : NULL;
        if (s && !session_is_over(s) && !s->leased && s->opened_ms < before_ms) {
            ending = end_lost(s);
        }
        pthread_mutex_unlock(&sessions->lock);
        if (ending) {
            end_write(ending);
        }
        if (!more) {
            return;
        }
    }
}

err session_begin(struct sessions *sessions, struct arena *arena,
                  const struct session_asked *asked, view *id)
{
    struct writer out = {0};

    end_unleased(sessions, now_ms(sessions) - LEASE_MS);
    *id = new_id(sessions, arena);
    struct json_writer j = record_open(sessions, &out, "open", *id, asked->source);
    text_member(&j, "person", asked->person);
    text_member(&j, "login", asked->login);
    text_member(&j, "host", asked->host);
    text_member(&j, "tty", asked->tty);
    text_member(&j, "reason", asked->reason);
    text_member(&j, "ticket", asked->ticket);
    json_end_object(&j);
    err e = put(sessions, asked->source, *id, writer_view(&out));
    writer_fini(&out);
    return e;
}

/* To its session, unless that is over or nobody reads any more: then it ends. */
static void lease_give(struct session *s, struct http_stream *stream, err sent)
{
    struct sessions *sessions = s->owner;

    pthread_mutex_lock(&sessions->lock);
    bool over = sent || s->left || session_is_over(s);
    bool wakes = !over && !sessions->beats;
    s->lease = over ? NULL : stream;
    sessions->beats |= wakes;
    pthread_mutex_unlock(&sessions->lock);
    if (over) {
        http_stream_end(stream);
    }
    if (wakes) {
        worker_post(&sessions->beat, &sessions->woken);
    }
}

static void beat_begins(struct job *job)
{
    (void)job;
}

/* The next one from *at on that has a lease, which is ours until it is given back. */
static struct http_stream *lease_next(struct sessions *sessions, size_t *at,
                                      struct session **session)
{
    struct http_stream *lease = NULL;

    pthread_mutex_lock(&sessions->lock);
    for (; !lease && *at < sessions->count; (*at)++) {
        *session = sessions->all[*at];
        lease = (*session)->lease;
        (*session)->lease = NULL;
    }
    pthread_mutex_unlock(&sessions->lock);
    return lease;
}

/* Under the lock. */
static bool has_lease(const struct sessions *sessions)
{
    for (size_t i = 0; i < sessions->count; i++) {
        if (sessions->all[i]->lease) {
            return true;
        }
    }
    return false;
}

/* A peer that is gone shows when it is written to, the second time. */
static int64_t beat(struct worker *worker, struct job *jobs)
{
    struct sessions *sessions = worker->self;
    struct os *os = log_os(sessions->log);
    struct session *s = NULL;
    struct http_stream *lease;

    mailbox_run(jobs);
    for (size_t at = 0; (lease = lease_next(sessions, &at, &s));) {
        lease_give(s, lease, http_stream_event(lease, "beat", VIEW("{}")));
    }
    pthread_mutex_lock(&sessions->lock);
    bool goes_on = has_lease(sessions);
    sessions->beats = goes_on;
    pthread_mutex_unlock(&sessions->lock);
    return goes_on ? os->tick_ns(os) + BEAT_NS : WORKER_NEVER;
}

void session_lease(struct sessions *sessions, view id, struct http_call *call)
{
    pthread_mutex_lock(&sessions->lock);
    struct session *s = session_get(sessions, id);
    bool free_to_take = s && !session_is_over(s) && !s->leased;
    if (free_to_take) {
        s->leased = true;
    }
    pthread_mutex_unlock(&sessions->lock);
    if (!free_to_take) {
        http_refuse(call, s ? 409 : 404, s ? "conflict" : "not_found",
                    s ? "session:%.*s has ended, or has its shell already"
                      : "there is no session:%.*s",
                    VIEW_ARG(id));
        return;
    }
    struct http_stream *stream = http_stream_start(call, gone, s);
    if (!stream) { /* too many readers: it may ask again */
        pthread_mutex_lock(&sessions->lock);
        s->leased = false;
        pthread_mutex_unlock(&sessions->lock);
        return;
    }
    lease_give(s, stream, http_stream_event(stream, "live", VIEW("{}")));
}

err session_find(struct sessions *sessions, struct arena *arena, view start, view *id)
{
    size_t found = 0;

    pthread_mutex_lock(&sessions->lock);
    for (size_t i = 0; i < sessions->count && start.len; i++) {
        view whole = view_text(sessions->all[i]->id);
        if (view_starts(whole, start)) {
            *id = arena_copy(arena, whole);
            found++;
        }
    }
    pthread_mutex_unlock(&sessions->lock);
    if (found > 1) {
        return fault(ERR_INVALID, "%zu sessions begin with %.*s", found, VIEW_ARG(start));
    }
    return found ? OK : fault(ERR_NOT_FOUND, "there is no session:%.*s", VIEW_ARG(start));
}

err session_to_json(struct sessions *sessions, view id, struct json_writer *j)
{
    err e = OK;

    pthread_mutex_lock(&sessions->lock);
    struct session *s = session_get(sessions, id);
    if (s) {
        session_write(s, j);
    } else {
        e = fault(ERR_NOT_FOUND, "there is no session:%.*s", VIEW_ARG(id));
    }
    pthread_mutex_unlock(&sessions->lock);
    return e;
}

static bool fits(const struct session *s, const struct session_filter *filter)
{
    return (!filter->source.at || view_is_text(filter->source, s->source)) &&
           (!filter->person.at || view_is_text(filter->person, s->person)) &&
           (!filter->state.at || view_is_text(filter->state, session_state(s))) &&
           (!filter->review.at || view_is_text(filter->review, s->verdict));
}

void sessions_to_json(struct sessions *sessions, struct arena *arena,
                      const struct session_filter *filter, view cursor, size_t limit,
                      struct json_writer *j, view *next)
{
    const struct session *last = NULL;
    bool begun = !cursor.at, more = false;
    size_t given = 0;

    pthread_mutex_lock(&sessions->lock);
    for (size_t i = sessions->count; i > 0 && !more; i--) {
        const struct session *s = sessions->all[i - 1];
        if (begun && fits(s, filter)) {
            more = given == limit;
            if (!more) {
                session_write(s, j);
                last = s;
                given++;
            }
        }
        begun |= view_is_text(cursor, s->id);
    }
    *next = more && last ? arena_copy(arena, view_text(last->id)) : (view){0};
    pthread_mutex_unlock(&sessions->lock);
}

struct stretch { /* of a session's records in its topic */
    struct topic *topic;
    int64_t from, until;
};

static err stretch_of(struct sessions *sessions, view id, int64_t offset, struct stretch *out)
{
    struct writer name = {0};

    pthread_mutex_lock(&sessions->lock);
    struct session *s = session_get(sessions, id);
    if (s) {
        *out = (struct stretch){.from = MAX(s->first, offset), .until = s->last + 1};
        sessions_topic(view_text(s->source), &name);
    }
    pthread_mutex_unlock(&sessions->lock);
    out->topic = s ? log_topic(sessions->log, writer_view(&name)) : NULL;
    writer_fini(&name);
    return out->topic
               ? OK
               : fault(ERR_NOT_FOUND, "there are no records of session:%.*s", VIEW_ARG(id));
}

err session_records(struct sessions *sessions, view id, int64_t offset, size_t limit,
                    struct json_writer *j, int64_t *next)
{
    struct stretch stretch = {0};
    struct records_walk walk;
    struct record record;
    size_t given = 0;
    bool more = true;
    err e = stretch_of(sessions, id, offset, &stretch);

    *next = -1;
    if (e) {
        return e;
    }
    records_walk_init(&walk, sessions->log, topic_partition(stretch.topic, 0), stretch.from,
                      stretch.until);
    while (!e && more && *next < 0) {
        e = records_walk_next(&walk, &record, &more);
        if (e || !more || !view_is(record.key, id)) {
            continue;
        }
        if (given == limit) {
            *next = record.offset;
        } else {
            json_raw(j, record.value);
            given++;
        }
    }
    records_walk_fini(&walk);
    topic_drop(stretch.topic);
    return e;
}

static err fold_topic(struct sessions *sessions, struct topic *topic)
{
    struct records_walk walk;
    struct record record;
    struct session *session = NULL;
    bool more = true;
    err e = OK;

    records_walk_init(&walk, sessions->log, topic_partition(topic, 0), 0, -1);
    while (!e && more) {
        e = records_walk_next(&walk, &record, &more);
        if (!e && more && fold_text(sessions, record.value, record.offset, &session)) {
            trace_debug("audit", "%s: %s", topic->name, fault_here.text); /* not ours */
        }
    }
    records_walk_fini(&walk);
    return e;
}

static int by_opening(const void *a, const void *b)
{
    const struct session *const *one = a, *const *other = b;

    return (*one)->opened_ms < (*other)->opened_ms ? -1
                                                   : (*one)->opened_ms > (*other)->opened_ms;
}

err sessions_open(struct log *log, struct sessions **out)
{
    struct sessions *sessions = xcalloc(1, sizeof(*sessions));
    struct topic **topics = NULL;
    size_t count = log_topics(log, &topics);
    err e = OK;

    sessions->log = log;
    pthread_mutex_init(&sessions->lock, NULL);
    pthread_cond_init(&sessions->written, NULL);
    for (size_t i = 0; i < count && !e; i++) {
        view name = view_text(topics[i]->name), end = VIEW(".sessions");
        bool named_so = name.len > end.len && view_is(view_from(name, name.len - end.len), end);
        if (named_so) {
            e = fold_topic(sessions, topics[i]);
        }
    }
    topics_drop(topics, count);
    if (e) {
        sessions_close(sessions);
        return e;
    }
    if (sessions->count) {
        qsort(sessions->all, sessions->count, sizeof(*sessions->all), by_opening);
    }
    sessions->woken.work = beat_begins;
    sessions->beat = (struct worker){.name = "sessions", .turn = beat, .self = sessions};
    e = worker_start(&sessions->beat, log_os(log));
    if (e) {
        sessions_close(sessions);
        return e;
    }
    sessions->beating = true;
    end_unleased(sessions, INT64_MAX); /* cut off with the server before */
    *out = sessions;
    return OK;
}

void sessions_close(struct sessions *sessions)
{
    if (!sessions) {
        return;
    }
    if (sessions->beating) {
        worker_stop(&sessions->beat);
    }
    pthread_mutex_lock(&sessions->lock);
    while (sessions->pending) {
        pthread_cond_wait(&sessions->written, &sessions->lock);
    }
    pthread_mutex_unlock(&sessions->lock);
    for (size_t i = 0; i < sessions->count; i++) {
        session_free(sessions->all[i]);
    }
    free(sessions->all);
    map_fini(&sessions->by_id);
    pthread_mutex_destroy(&sessions->lock);
    pthread_cond_destroy(&sessions->written);
    free(sessions);
}
