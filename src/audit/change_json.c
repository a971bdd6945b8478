/* change_json.c - a change as everybody outside sees it, and who its context says did it.
 *
 * docs/formats.md describes the object. Where something cannot be known (which columns an
 * update changed, when the server sent no old row) the member is null, never a guess.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/types.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "audit/scan.h"

#define CONTEXT_DEPTH_MAX 48 /* it stands inside of what others parse to JSON_DEPTH_MAX */

/* Members of a context that name a person, the better ones first; an object among them is
 * looked into once with the same names and those of inside_names. */
static const char *const actor_names[] = {
    "actor",     "user",     "user_email", "userEmail",     "email",
    "user_name", "userName", "username",   "current_user",  "currentUser",
    "user_id",   "userId",   "userID",     "account",       "account_id",
    "accountId", "person",   "author",     "database_user",
};
static const char *const inside_names[] = {"email", "name", "username", "login", "id", "sub"};

/* The member with the best name; a null view when there is none. */
static view best_member(struct arena *arena, view object, const char *const *names,
                        size_t count)
{
    struct scan s = scan_of(object);
    size_t best = count;
    view found = {0};

    scan_open(&s, '{');
    while (scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s);
        bool empty = scan_is_null(value) || view_is_text(value, "\"\"") ||
                     view_is_text(value, "{}") || view_is_text(value, "[]");
        for (size_t i = 0; i < best && !empty; i++) {
            if (view_is_text(name, names[i])) {
                best = i;
                found = value;
            }
        }
    }
    return s.bad ? (view){0} : found;
}

view change_actor(struct arena *arena, view context)
{
    view found = {0}, text;

    if (context.at) {
        found = best_member(arena, context, actor_names, COUNT(actor_names));
    }
    if (found.at && found.at[0] == '{') {
        found = best_member(arena, found, inside_names, COUNT(inside_names));
    }
    if (!found.at || found.at[0] == '{' || found.at[0] == '[') {
        return (view){0};
    }
    return scan_text(arena, found, &text) ? text : found;
}

static void write_image(const struct change *change, const struct value *values,
                        struct json_writer *j)
{
    if (!values) {
        json_null(j);
        return;
    }
    json_object(j);
    for (int i = 0; i < change->relation->count; i++) {
        const struct column *column = &change->relation->columns[i];
        if (values[i].kind == VALUE_NULL || values[i].kind == VALUE_TEXT) {
            json_name_view(j, column->name);
        }
        if (values[i].kind == VALUE_NULL) {
            json_null(j);
        } else if (values[i].kind == VALUE_TEXT) {
            type_to_plain(column, values[i].text, j);
        }
    }
    json_end_object(j);
}

static void write_changed(const struct change *change, struct json_writer *j)
{
    if (!change->before || !change->after) {
        json_null(j);
        return;
    }
    json_array(j);
    for (int i = 0; i < change->relation->count; i++) {
        if (change_is_changed(change, i)) {
            json_view(j, change->relation->columns[i].name);
        }
    }
    json_end_array(j);
}

static bool is_unknown(const struct value *values, int i)
{
    return values && values[i].kind == VALUE_UNKNOWN;
}

static void write_unknown(const struct change *change, struct json_writer *j)
{
    json_array(j);
    for (int i = 0; change->relation && i < change->relation->count; i++) {
        if (is_unknown(change->before, i) || is_unknown(change->after, i)) {
            json_view(j, change->relation->columns[i].name);
        }
    }
    json_end_array(j);
}

/* 2026-01-31T12:00:00.123456Z */
static void write_time(int64_t micros, struct json_writer *j)
{
    int64_t rest = micros % 1000000;
    time_t seconds = (time_t)(micros / 1000000 - (rest < 0 ? 1 : 0));
    struct tm parts;
    char text[64];

    if (!gmtime_r(&seconds, &parts)) {
        json_null(j);
        return;
    }
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    json_textf(j, "%s.%06" PRId64 "Z", text, rest < 0 ? rest + 1000000 : rest);
}

static void write_ref(const struct change_origin *origin, struct json_writer *j)
{
    json_name(j, "ref");
    if (origin->offset < 0) {
        json_null(j);
    } else {
        json_textf(j, "topic:%.*s/%" PRId32 "@%" PRId64, VIEW_ARG(origin->topic),
                   origin->partition, origin->offset);
    }
}

static void write_key(const struct change *change, struct json_writer *j)
{
    struct writer key = {0};

    json_name(j, "key");
    if (change->before || change->after) {
        change_key_text(change, &key);
        json_view(j, key.at ? writer_view(&key) : VIEW(""));
    } else {
        json_null(j);
    }
    writer_fini(&key);
}

static void write_rows(const struct change *change, struct json_writer *j)
{
    json_name(j, "schema");
    json_view(j, change->relation->schema);
    json_name(j, "table");
    json_view(j, change->relation->name);
    write_key(change, j);
    json_name(j, "operation");
    json_text(j, change_kind_name(change->kind));
    json_name(j, "before");
    write_image(change, change->before, j);
    json_name(j, "after");
    write_image(change, change->after, j);
    json_name(j, "changed");
    write_changed(change, j);
}

static void write_message(const struct change *change, struct json_writer *j)
{
    json_name(j, "operation");
    json_text(j, change_kind_name(change->kind));
    json_name(j, "prefix");
    json_view(j, change->prefix);
    json_name(j, "content");
    json_view(j, change->content);
}

static void write_context(const struct change *change, struct json_writer *j)
{
    struct arena arena = {0};

    json_name(j, "context");
    if (change->context.at && scan_is_json(change->context, CONTEXT_DEPTH_MAX)) {
        json_raw(j, change->context);
    } else {
        json_object(j);
        if (change->context.at) {
            json_name(j, "$raw");
            json_view(j, change->context);
        }
        json_end_object(j);
    }
    json_name(j, "actor");
    json_view(j, change_actor(&arena, change->context));
    arena_fini(&arena);
}

void change_to_json(const struct change *change, const struct change_origin *origin,
                    struct json_writer *j)
{
    char lsn[LSN_TEXT_BYTES], commit[LSN_TEXT_BYTES];

    lsn_text(change->place.lsn, lsn);
    lsn_text(change->place.commit_lsn, commit);
    json_object(j);
    write_ref(origin, j);
    json_name(j, "source");
    json_view(j, origin->source);
    if (change->relation) {
        write_rows(change, j);
    } else {
        write_message(change, j);
    }
    write_context(change, j);
    json_name(j, "committed_at");
    write_time(change->place.committed_us, j);
    json_name(j, "tx");
    json_int(j, change->place.xid);
    json_name(j, "lsn");
    json_text(j, lsn);
    json_name(j, "commit_lsn");
    json_text(j, commit);
    json_name(j, "position");
    json_int(j, change->place.seq);
    json_name(j, "unknown");
    write_unknown(change, j);
    if (change->recalled) {
        json_name(j, "recalled");
        json_bool(j, true);
    }
    json_end_object(j);
}
