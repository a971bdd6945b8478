/* row_json.c - rows and their changes in JSON. SPDX-License-Identifier: Apache-2.0 */
#include "audit/row_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "audit/types.h"

#define SECOND_US INT64_C(1000000)

void time_us_text(int64_t us, char out[TIME_US_BYTES])
{
    char text[POINT_TIME_BYTES];
    int64_t fraction = ((us % SECOND_US) + SECOND_US) % SECOND_US;

    point_time_text((us - fraction) / 1000, text);
    char *dot = strchr(text, '.');
    if (dot) {
        *dot = '\0';
        snprintf(out, TIME_US_BYTES, "%s.%06" PRId64 "Z", text, fraction);
    } else {
        snprintf(out, TIME_US_BYTES, "%s", text);
    }
}

void json_time_us(struct json_writer *j, int64_t us)
{
    char text[TIME_US_BYTES];

    time_us_text(us, text);
    json_text(j, us ? text : NULL);
}

void json_lsn(struct json_writer *j, uint64_t lsn)
{
    char text[LSN_TEXT_BYTES];

    lsn_text(lsn, text);
    json_text(j, lsn ? text : NULL);
}

void json_ref(struct json_writer *j, const struct ref *ref)
{
    struct writer out = {0};

    ref_print(ref, &out);
    json_view(j, writer_view(&out));
    writer_fini(&out);
}

static const struct json *member(const struct json *json, const char *path)
{
    view rest = view_text(path), name;

    for (bool more = true; json && more;) {
        const struct json *in = json->kind == JSON_OBJECT ? json->inside : NULL;
        more = view_cut(rest, '.', &name, &rest);
        while (in && !view_is(in->name, name)) {
            in = in->next;
        }
        json = in;
    }
    return json;
}

view context_word(struct arena *arena, view context, const char *const *names, size_t count)
{
    struct json *json = NULL;

    if (!context.len || json_parse(arena, context, &json)) {
        return (view){0};
    }
    for (size_t i = 0; i < count; i++) {
        const struct json *found = member(json, names[i]);
        bool is_word = found && (found->kind == JSON_TEXT || found->kind == JSON_NUMBER);
        if (is_word && found->text.len) {
            return found->text;
        }
    }
    return (view){0};
}

view context_request(struct arena *arena, view context)
{
    static const char *const names[] = {"request_id", "requestId",    "request.id",
                                        "req_id",     "x_request_id", "correlation_id"};

    return context_word(arena, context, names, COUNT(names));
}

view context_traceparent(struct arena *arena, view context)
{
    static const char *const names[] = {"traceparent", "trace.traceparent", "trace_parent"};

    return context_word(arena, context, names, COUNT(names));
}

view context_session(struct arena *arena, view context)
{
    static const char *const names[] = {"session", "session_id"};

    return context_word(arena, context, names, COUNT(names));
}

view context_application(struct arena *arena, view context)
{
    static const char *const names[] = {"application_name", "application", "app"};

    return context_word(arena, context, names, COUNT(names));
}

void json_who(struct arena *arena, view source, const struct change *change,
              struct json_writer *j)
{
    struct ref tx = ref_of_tx(source, &change->place);
    view session = context_session(arena, change->context);

    json_name(j, "committed_at");
    json_time_us(j, change->place.committed_us);
    json_name(j, "tx");
    if (change->place.xid) {
        json_ref(j, &tx);
    } else {
        json_null(j); /* a snapshot's */
    }
    json_name(j, "commit_lsn");
    json_lsn(j, change->place.commit_lsn);
    json_name(j, "actor");
    json_view(j, change->context.len ? change_actor(arena, change->context) : (view){0});
    json_name(j, "session");
    if (session.at) {
        json_ref(j, &(struct ref){.kind = REF_SESSION, .session = session});
    } else {
        json_null(j);
    }
    json_name(j, "request");
    json_view(j, context_request(arena, change->context));
    json_name(j, "traceparent");
    json_view(j, context_traceparent(arena, change->context));
    json_name(j, "application");
    json_view(j, context_application(arena, change->context));
    json_name(j, "context");
    if (change->context.len) {
        json_raw(j, change->context);
    } else {
        json_null(j);
    }
}

static void json_value(const struct column *column, struct value value, struct json_writer *j)
{
    if (value.kind == VALUE_TEXT) {
        type_to_plain(column, value.text, j);
    } else {
        json_null(j);
    }
}

/* The words of the business for a column and a value of it, when there are any. */
static void json_words(const struct labels *labels, const struct relation *relation,
                       const struct column *column, struct value value, const char *name,
                       struct json_writer *j)
{
    view words = {0};

    if (value.kind == VALUE_TEXT) {
        words =
            labels_value(labels, relation->schema, relation->name, column->name, value.text);
    }
    if (words.at) {
        json_name(j, name);
        json_view(j, words);
    }
}

static void json_label(const struct labels *labels, const struct relation *relation,
                       const struct column *column, struct json_writer *j)
{
    view label = labels_column(labels, relation->schema, relation->name, column->name);

    if (label.at) {
        json_name(j, "label");
        json_view(j, label);
    }
}

static void json_row_labels(const struct labels *labels, const struct relation *relation,
                            const struct value *values, struct json_writer *j)
{
    json_name(j, "labels");
    json_object(j);
    for (int i = 0; i < relation->count; i++) {
        const struct column *column = &relation->columns[i];
        json_name_view(j, column->name);
        json_object(j);
        json_label(labels, relation, column, j);
        json_words(labels, relation, column, values[i], "value", j);
        json_end_object(j);
    }
    json_end_object(j);
}

void json_row(const struct labels *labels, const struct relation *relation,
              const struct value *values, struct json_writer *j)
{
    bool there = relation && values;

    json_name(j, "row");
    if (there) {
        json_object(j);
        for (int i = 0; i < relation->count; i++) {
            if (values[i].kind == VALUE_TEXT || values[i].kind == VALUE_NULL) {
                json_name_view(j, relation->columns[i].name);
                json_value(&relation->columns[i], values[i], j);
            }
        }
        json_end_object(j);
    } else {
        json_null(j);
    }
    json_name(j, "unknown");
    json_array(j);
    for (int i = 0; there && i < relation->count; i++) {
        if (values[i].kind == VALUE_UNKNOWN) {
            json_view(j, relation->columns[i].name);
        }
    }
    json_end_array(j);
    if (there && labels) {
        json_row_labels(labels, relation, values, j);
    }
}

/* Known and told apart, or one of them known and the other not. */
static bool differs(struct value old, struct value new)
{
    bool same_text = old.kind == VALUE_TEXT && new.kind == VALUE_TEXT;

    return same_text ? !view_is(old.text, new.text) : old.kind != new.kind;
}

static void json_side(const char *name, const struct column *column, struct value value,
                      struct json_writer *j)
{
    if (value.kind == VALUE_TEXT || value.kind == VALUE_NULL) {
        json_name(j, name);
        json_value(column, value, j);
    }
}

static void json_field(const struct labels *labels, const struct relation *relation, int at,
                       struct value old, struct value new, struct json_writer *j)
{
    const struct column *column = &relation->columns[at];

    json_object(j);
    json_name(j, "name");
    json_view(j, column->name);
    json_side("old", column, old, j);
    json_side("new", column, new, j);
    json_label(labels, relation, column, j);
    json_words(labels, relation, column, old, "old_label", j);
    json_words(labels, relation, column, new, "new_label", j);
    if (old.kind == VALUE_UNKNOWN || new.kind == VALUE_UNKNOWN) {
        json_name(j, "unknown");
        json_array(j);
        if (old.kind == VALUE_UNKNOWN) {
            json_text(j, "old");
        }
        if (new.kind == VALUE_UNKNOWN) {
            json_text(j, "new");
        }
        json_end_array(j);
    }
    json_end_object(j);
}

void json_fields(const struct labels *labels, const struct relation *relation,
                 const struct value *old, const struct value *new, bool all,
                 struct json_writer *j)
{
    json_array(j);
    for (int i = 0; i < relation->count; i++) {
        struct value before = {.kind = VALUE_ABSENT}, after = {.kind = VALUE_ABSENT};
        before = old ? old[i] : before;
        after = new ? new[i] : after;
        if (all || differs(before, after)) {
            json_field(labels, relation, i, before, after, j);
        }
    }
    json_end_array(j);
}

/* The images that an entry's fields are told from: a row that is new has no old ones. */
static void entry_fields(const struct labels *labels, const struct row_entry *entry,
                         struct json_writer *j)
{
    const struct relation *relation = entry->change->relation;
    const struct value *old = entry->old, *new = entry->new;

    if (!old || !new) {
        json_array(j);
        json_end_array(j);
        return;
    }
    switch (entry->step) {
    case ROW_CREATED:
        json_fields(labels, relation, NULL, new, false, j);
        break;
    case ROW_DELETED: /* the new image is what it was last */
        json_fields(labels, relation, new, NULL, false, j);
        break;
    case ROW_SEEN:
        json_fields(labels, relation, entry->first ? NULL : old, new, false, j);
        break;
    default:
        json_fields(labels, relation, old, new, false, j);
        break;
    }
}

void json_entry(struct arena *arena, view source, const struct labels *labels,
                const struct row_entry *entry, struct json_writer *j)
{
    const struct change *change = entry->change;
    struct ref record = {.kind = REF_TOPIC,
                         .topic = entry->origin->topic,
                         .partition = entry->origin->partition,
                         .offset = entry->origin->offset};

    json_object(j);
    json_name(j, "ref");
    json_ref(j, &record);
    json_name(j, "step");
    json_text(j, row_step_name(entry->step));
    json_name(j, "operation");
    json_text(j, change_kind_name(change->kind));
    json_name(j, "life");
    json_int(j, entry->life);
    json_name(j, "position");
    json_int(j, entry->number);
    json_name(j, "lsn");
    json_lsn(j, change->place.lsn);
    json_who(arena, source, change, j);
    json_name(j, "key");
    json_view(j, entry->key);
    if (!view_is(entry->key, entry->key_before)) {
        json_name(j, "key_before");
        json_view(j, entry->key_before);
    }
    json_name(j, "first");
    json_bool(j, entry->first);
    json_name(j, "fields");
    entry_fields(labels, entry, j);
    json_end_object(j);
}
