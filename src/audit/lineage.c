/* lineage.c - tracing changes backwards to their cause, and forwards to what came after.
 *
 *   row ----> its last change --.
 *   topic --> that record -------+--> transaction: who, why --> all its changes
 *   tx ---------------------------'                              `--> later changes of those
 * rows
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/lineage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/inside.h"
#include "audit/row_json.h"
#include "audit/trail_read.h"

#define RING (LINEAGE_EACH_MAX + 1)

struct kept { /* what is known of the change that was asked for */
    struct change *change;
    struct change_origin origin;
    struct arena arena; /* of both */
};

struct lineage {
    const struct lineage_query *query;
    struct json_writer *j;
    struct arena scratch; /* of one change */
    struct labels *labels;
    struct kept cause;
    struct writer entries[RING]; /* of the row, JSON; a ring */
    int64_t entry_count;
    view rows[LINEAGE_ROWS_MAX]; /* of the transaction: row references */
    size_t row_count;
    int64_t change_count, listed, later_count;
    bool many_contexts;
};

static void keep_change(struct lineage *l, const struct change *change,
                        const struct change_origin *origin)
{
    struct arena *arena = &l->cause.arena;

    arena_reset(arena);
    l->cause.change = change_copy(arena, change);
    l->cause.origin = *origin;
    l->cause.origin.source = arena_copy(arena, origin->source);
    l->cause.origin.topic = arena_copy(arena, origin->topic);
}

/* --- from what was asked for to the change --- */

static err take_entry(void *self, const struct row_entry *entry)
{
    struct lineage *l = self;
    struct writer *out = &l->entries[l->entry_count++ % RING];
    struct json_writer j = json_to(out);

    writer_reset(out);
    arena_reset(&l->scratch);
    json_entry(&l->scratch, l->query->ref->source, l->labels, entry, &j);
    keep_change(l, entry->change, entry->origin);
    return OK;
}

static err not_found(const struct ref *ref, const char *why)
{
    struct writer name = {0};

    ref_print(ref, &name);
    err e = fault(ERR_NOT_FOUND, "%.*s: %s", VIEW_ARG(writer_view(&name)), why);
    writer_fini(&name);
    return e;
}

static err from_row(struct lineage *l)
{
    struct row_query query = {
        .trail = l->query->source->trail, .ref = l->query->ref, .until = l->query->until};
    struct row_life life;
    err e = row_walk(&query, take_entry, l, &life);

    if (!e) {
        row_life_fini(&life);
    }
    return e || l->cause.change ? e : not_found(query.ref, "no change of it was captured");
}

static err from_record(struct lineage *l)
{
    const struct ref *ref = l->query->ref;
    struct source *source = l->query->source;
    struct trail_fetch *fetch = trail_fetch_new(source->audit->log, source->ledger);
    struct change change;
    bool found = false;
    err e = trail_fetch_one(fetch, &l->scratch, ref->topic, ref->partition, ref->offset,
                            &change, &found);

    if (!e && !found) {
        e = not_found(ref, "there is no captured change at that place (a tombstone, or gone)");
    }
    if (!e) {
        struct change_origin origin = {.source = view_text(source->name),
                                       .topic = ref->topic,
                                       .partition = ref->partition,
                                       .offset = ref->offset};
        keep_change(l, &change, &origin);
    }
    trail_fetch_free(fetch);
    return e;
}

static err take_newest(void *self, const struct trail_hit *hit)
{
    keep_change(self, hit->change, &hit->origin);
    return ERR_CANCELLED;
}

/* Numbers come back after four billion transactions: without a place the newest is meant. */
static view tx_value(struct arena *arena, uint32_t xid, uint64_t commit_lsn)
{
    char lsn[LSN_TEXT_BYTES];

    lsn_text(commit_lsn, lsn);
    return view_text(arena_format(arena, "%" PRIu32 "%s%s", xid, commit_lsn ? "@" : "",
                                  commit_lsn ? lsn : ""));
}

static err from_tx(struct lineage *l)
{
    const struct ref *ref = l->query->ref;
    struct filter filter = {.kind = FILTER_TX,
                            .value = tx_value(l->query->arena, ref->xid, ref->commit_lsn)};
    struct trail_query query = {.filters = &filter, .count = 1, .limit = 1};
    struct trail_found found;
    err e = trail_find(l->query->source->trail, &query, take_newest, l, &found);

    e = e == ERR_CANCELLED ? OK : e;
    return e || l->cause.change ? e : not_found(ref, "no change of that transaction");
}

/* --- the transaction --- */

static view row_ref_of(struct lineage *l, const struct change *change)
{
    struct writer key = {0}, out = {0};
    struct ref ref = ref_of_row(view_text(l->query->source->name), change, &key);

    ref_print(&ref, &out);
    view text = arena_copy(l->query->arena, writer_view(&out));
    writer_fini(&key);
    writer_fini(&out);
    return text;
}

static void note_row(struct lineage *l, view row)
{
    for (size_t i = 0; i < l->row_count; i++) {
        if (view_is(l->rows[i], row)) {
            return;
        }
    }
    if (l->row_count < LINEAGE_ROWS_MAX) {
        l->rows[l->row_count++] = row;
    }
}

/* {ref, row, operation, lsn, who, fields}: fields only where both images were sent. */
static void json_change(struct lineage *l, const struct change *change,
                        const struct change_origin *origin)
{
    struct json_writer *j = l->j;
    bool both = change->before && change->after && change->relation;
    bool has_row = change->relation && (change->before || change->after);
    struct ref record = {.kind = REF_TOPIC,
                         .topic = origin->topic,
                         .partition = origin->partition,
                         .offset = origin->offset};

    json_object(j);
    json_name(j, "ref");
    json_ref(j, &record);
    json_name(j, "row");
    json_view(j, has_row ? row_ref_of(l, change) : (view){0});
    json_name(j, "table");
    if (change->relation) {
        json_textf(j, "%.*s.%.*s", VIEW_ARG(change->relation->schema),
                   VIEW_ARG(change->relation->name));
    } else {
        json_null(j);
    }
    json_name(j, "operation");
    json_text(j, change_kind_name(change->kind));
    json_who(&l->scratch, view_text(l->query->source->name), change, j);
    json_name(j, "changed");
    json_array(j);
    for (int i = 0; both && i < change->relation->count; i++) {
        if (change_is_changed(change, i)) {
            json_view(j, change->relation->columns[i].name);
        }
    }
    json_end_array(j);
    json_end_object(j);
}

static err list_change(void *self, const struct trail_hit *hit)
{
    struct lineage *l = self;
    const struct change *change = hit->change;

    l->change_count++;
    if (!view_is(change->context, l->cause.change->context)) {
        l->many_contexts = true;
    }
    if (change->relation && (change->before || change->after)) {
        note_row(l, row_ref_of(l, change));
    }
    if (l->listed == LINEAGE_CHANGES_MAX) {
        return ERR_CANCELLED;
    }
    l->listed++;
    arena_reset(&l->scratch);
    json_change(l, change, &hit->origin);
    return OK;
}

static err list_changes(struct lineage *l)
{
    const struct change_place *place = &l->cause.change->place;
    struct filter filters[] = {
        {.kind = FILTER_TX, .value = tx_value(l->query->arena, place->xid, place->commit_lsn)}};
    struct trail_query query = {.filters = filters, .count = 1, .oldest_first = true};
    struct trail_found found;

    json_name(l->j, "changes");
    json_array(l->j);
    err e = trail_find(l->query->source->trail, &query, list_change, l, &found);
    json_end_array(l->j);
    json_name(l->j, "more");
    json_bool(l->j, l->change_count > l->listed);
    return e == ERR_CANCELLED ? OK : e;
}

static err list_later(void *self, const struct trail_hit *hit)
{
    struct lineage *l = self;

    l->later_count++;
    arena_reset(&l->scratch);
    json_change(l, hit->change, &hit->origin);
    return OK;
}

/* What changed the rows of the transaction afterwards. */
static err list_later_changes(struct lineage *l)
{
    struct arena *arena = l->query->arena;
    err e = OK;

    json_name(l->j, "later");
    json_array(l->j);
    for (size_t i = 0; i < l->row_count && !e; i++) {
        struct ref row;
        e = ref_parse(arena, l->rows[i], &row);
        struct filter filters[] = {
            {.kind = FILTER_TABLE,
             .value = view_text(
                 arena_format(arena, "%.*s.%.*s", VIEW_ARG(row.schema), VIEW_ARG(row.table)))},
            {.kind = FILTER_KEY, .value = row.key},
            {.kind = FILTER_AFTER_LSN, .number = (int64_t)l->cause.change->place.commit_lsn},
        };
        struct trail_query query = {.filters = filters,
                                    .count = COUNT(filters),
                                    .oldest_first = true,
                                    .limit = LINEAGE_EACH_MAX};
        struct trail_found found;
        e = e ? e : trail_find(l->query->source->trail, &query, list_later, l, &found);
    }
    json_end_array(l->j);
    return e;
}

static void json_transaction(struct lineage *l)
{
    struct json_writer *j = l->j;
    const struct change *change = l->cause.change;
    bool snapshot = change->kind == CHANGE_READ;

    json_name(j, "transaction");
    json_object(j);
    json_name(j, "source");
    json_text(j, l->query->source->name);
    json_name(j, "snapshot"); /* not a transaction of the application's */
    json_bool(j, snapshot);
    json_name(j, "xid");
    json_int(j, change->place.xid);
    arena_reset(&l->scratch);
    json_who(&l->scratch, view_text(l->query->source->name), change, j);
    json_end_object(j);
}

/* The row's entry from the newest on: 0 is the cause itself. */
static view entry_back(const struct lineage *l, int64_t back)
{
    assert(back < l->entry_count);
    return writer_view(&l->entries[(l->entry_count - 1 - back) % RING]);
}

static void json_earlier(struct lineage *l)
{
    int64_t count = MAX(l->entry_count - 1, 0);

    json_name(l->j, "earlier"); /* newest first */
    json_array(l->j);
    for (int64_t i = 1; i <= MIN(count, LINEAGE_EACH_MAX); i++) {
        json_raw(l->j, entry_back(l, i));
    }
    json_end_array(l->j);
    json_name(l->j, "earlier_count");
    json_int(l->j, count);
}

/* A snapshot's rows are of no transaction: only the row itself has a story. */
static err write_all(struct lineage *l)
{
    struct json_writer *j = l->j;
    err e = OK;

    json_object(j);
    json_name(j, "ref");
    json_ref(j, l->query->ref);
    json_name(j, "change");
    if (l->entry_count) {
        json_raw(j, entry_back(l, 0));
    } else if (l->query->ref->kind == REF_TOPIC) {
        json_change(l, l->cause.change, &l->cause.origin);
    } else {
        json_null(j);
    }
    json_transaction(l);
    if (l->cause.change->place.xid) {
        e = list_changes(l);
    } else {
        json_name(j, "changes");
        json_array(j);
        json_end_array(j);
        json_name(j, "more");
        json_bool(j, false);
        if (l->cause.change->relation && (l->cause.change->before || l->cause.change->after)) {
            note_row(l, row_ref_of(l, l->cause.change));
        }
    }
    json_name(j, "several_contexts");
    json_bool(j, l->many_contexts);
    json_earlier(l);
    e = e ? e : list_later_changes(l);
    json_end_object(j);
    return e;
}

/* --- a session: all that carries its name --- */

static err list_of_session(void *self, const struct trail_hit *hit)
{
    struct lineage *l = self;

    if (!l->cause.change) {
        keep_change(l, hit->change, &hit->origin);
    }
    return list_change(l, hit);
}

static err write_session(struct lineage *l)
{
    struct filter filter = {
        .kind = FILTER_CONTEXT, .name = VIEW("session"), .value = l->query->ref->session};
    struct trail_query query = {.filters = &filter, .count = 1, .oldest_first = true};
    struct trail_found found;
    struct json_writer *j = l->j;

    json_object(j);
    json_name(j, "ref");
    json_ref(j, l->query->ref);
    json_name(j, "session");
    json_view(j, l->query->ref->session);
    json_name(j, "changes");
    json_array(j);
    err e = trail_find(l->query->source->trail, &query, list_of_session, l, &found);
    e = e == ERR_CANCELLED ? OK : e;
    json_end_array(j);
    json_name(j, "more");
    json_bool(j, l->change_count > l->listed);
    json_end_object(j);
    return e || l->cause.change ? e
                                : not_found(l->query->ref, "no change of that session in this "
                                                           "source");
}

err lineage_write(const struct lineage_query *query, struct json_writer *j)
{
    struct lineage l = {.query = query, .j = j};
    struct source *source = query->source;
    err e = labels_load(source->audit->os, source->options.labels, &l.labels);

    if (e) {
        return e;
    }
    switch (query->ref->kind) {
    case REF_ROW:
        e = from_row(&l);
        break;
    case REF_TOPIC:
        e = from_record(&l);
        break;
    case REF_TX:
        e = from_tx(&l);
        break;
    case REF_SESSION:
        e = write_session(&l);
        break;
    }
    if (!e && query->ref->kind != REF_SESSION) {
        e = write_all(&l);
    }
    labels_free(l.labels);
    arena_fini(&l.scratch);
    arena_fini(&l.cause.arena);
    for (size_t i = 0; i < COUNT(l.entries); i++) {
        writer_fini(&l.entries[i]);
    }
    return e;
}
