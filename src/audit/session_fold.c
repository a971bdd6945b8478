/* session_fold.c - the view of sessions, from their records.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/session_inside.h"

void sessions_topic(view source, struct writer *out)
{
    write_format(out, "%.*s.sessions", VIEW_ARG(source));
}

struct session *session_get(struct sessions *sessions, view id)
{
    return map_get(&sessions->by_id, id);
}

void session_free(struct session *s)
{
    char *const texts[] = {s->id,     s->source, s->person, s->login, s->host,    s->tty,
                           s->reason, s->ticket, s->how,    s->note,  s->verdict, s->reviewer};

    for (size_t i = 0; i < COUNT(texts); i++) {
        free(texts[i]);
    }
    free(s);
}

static view word(const struct json *record, const char *name)
{
    const struct json *member = json_get(record, name);

    return member && member->kind == JSON_TEXT ? member->text : VIEW("");
}

static int64_t amount(const struct json *record, const char *name)
{
    const struct json *member = json_get(record, name);
    int64_t value = 0;

    return member && member->kind == JSON_NUMBER && view_to_int(member->text, &value) == OK
               ? value
               : 0;
}

static void keep(char **at, view text)
{
    char *copy = text_of(text);

    free(*at);
    *at = copy;
}

static struct session *begin(struct sessions *sessions, const struct json *record,
                             int64_t offset)
{
    struct session *s = xcalloc(1, sizeof(*s));

    s->owner = sessions;
    keep(&s->id, word(record, "session"));
    keep(&s->source, word(record, "source"));
    keep(&s->person, word(record, "person"));
    keep(&s->login, word(record, "login"));
    keep(&s->host, word(record, "host"));
    keep(&s->tty, word(record, "tty"));
    keep(&s->reason, word(record, "reason"));
    keep(&s->ticket, word(record, "ticket"));
    keep(&s->verdict, VIEW(SESSION_PENDING));
    keep(&s->how, VIEW(""));
    keep(&s->note, VIEW(""));
    keep(&s->reviewer, VIEW(""));
    s->opened_ms = amount(record, "at_ms");
    s->first = offset;
    sessions->all =
        array_room(sessions->all, sessions->count, &sessions->room, sizeof(*sessions->all));
    sessions->all[sessions->count++] = s;
    void *before = map_put(&sessions->by_id, view_text(s->id), s);
    assert(!before);
    return s;
}

static void fold_result(struct session *s, const struct json *record)
{
    s->errors += json_get(record, "error") != NULL;
    s->writes += amount(record, "xid") != 0;
    s->rows += amount(record, "rows");
}

static void fold_review(struct session *s, const struct json *record)
{
    keep(&s->verdict, word(record, "verdict"));
    keep(&s->note, word(record, "note"));
    keep(&s->reviewer, word(record, "reviewer"));
    s->reviewed_ms = amount(record, "at_ms");
}

err session_fold(struct sessions *sessions, const struct json *record, int64_t offset,
                 struct session **out)
{
    view id = word(record, "session"), kind = word(record, "kind");
    struct session *s = id.len ? session_get(sessions, id) : NULL;

    if (!id.len || (!s && !view_is_text(kind, "open"))) {
        return fault(ERR_CORRUPT, "record %lld is of no session", (long long)offset);
    }
    if (!s) {
        s = begin(sessions, record, offset);
    }
    s->last = offset;
    if (view_is_text(kind, "statement")) {
        s->statements++;
    } else if (view_is_text(kind, "result")) {
        fold_result(s, record);
    } else if (view_is_text(kind, "unlock")) {
        s->unlocked = true;
    } else if (view_is_text(kind, "end") && !s->ended_ms) {
        s->ended_ms = MAX(amount(record, "at_ms"), 1);
        keep(&s->how, word(record, "how"));
    } else if (view_is_text(kind, "review")) {
        fold_review(s, record);
    }
    *out = s;
    return OK;
}

bool session_is_over(const struct session *s)
{
    return s->ended_ms != 0;
}

const char *session_state(const struct session *s)
{
    return !s->ended_ms ? "running" : !strcmp(s->how, "normal") ? "done" : "failed";
}

static void time_member(struct json_writer *j, const char *name, int64_t ms)
{
    char text[POINT_TIME_BYTES];

    json_name(j, name);
    if (ms) {
        point_time_text(ms, text);
        json_text(j, text);
    } else {
        json_null(j);
    }
}

static void text_member(struct json_writer *j, const char *name, const char *text)
{
    json_name(j, name);
    json_text(j, text[0] ? text : NULL);
}

static void count_member(struct json_writer *j, const char *name, int64_t count)
{
    json_name(j, name);
    json_int(j, count);
}

void session_write(const struct session *s, struct json_writer *j)
{
    json_object(j);
    json_name(j, "ref");
    json_textf(j, "session:%s", s->id);
    text_member(j, "id", s->id);
    text_member(j, "source", s->source);
    text_member(j, "state", session_state(s));
    text_member(j, "how", s->how);
    text_member(j, "person", s->person);
    text_member(j, "login", s->login);
    text_member(j, "host", s->host);
    text_member(j, "tty", s->tty);
    text_member(j, "reason", s->reason);
    text_member(j, "ticket", s->ticket);
    time_member(j, "opened_at", s->opened_ms);
    time_member(j, "ended_at", s->ended_ms);
    count_member(j, "statements", s->statements);
    count_member(j, "errors", s->errors);
    count_member(j, "writes", s->writes);
    count_member(j, "rows", s->rows);
    json_name(j, "unlocked");
    json_bool(j, s->unlocked);
    json_name(j, "review");
    json_object(j);
    text_member(j, "verdict", s->verdict);
    text_member(j, "note", s->note);
    text_member(j, "reviewer", s->reviewer);
    time_member(j, "at", s->reviewed_ms);
    json_end_object(j);
    json_end_object(j);
}
