/* undo_find.c - from a reference to changes, through the trail.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/undo_find.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/inside.h"
#include "audit/row_json.h"
#include "audit/rules.h"
#include "audit/trail.h"
#include "audit/trail_read.h"

#define PROBE_BYTES 65536 /* longer than what any rule leaves of a value */

struct selecting {
    struct undo_selection *out;
    struct source *source;
    uint64_t after; /* commits that count are behind it */
    bool last_only;
    const struct ref *ref;
    int64_t *numbers; /* in the trail, of each change taken */
    size_t number_room;
    uint64_t last_lsn; /* of the row's entry before */
    struct ledger_gap_span *gaps;
    size_t gap_count;
};

/* What was known before a gap may be wrong behind it. */
static bool is_gap_between(const struct selecting *s, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < s->gap_count; i++) {
        if (s->gaps[i].from >= from && s->gaps[i].from < to) {
            return true;
        }
    }
    return false;
}

static void hold(struct undo_selection *s, struct relation *relation)
{
    for (size_t i = 0; i < s->relation_count; i++) {
        if (s->relations[i] == relation) {
            return;
        }
    }
    s->relations = array_room(s->relations, s->relation_count, &s->relation_room,
                              sizeof(struct relation *));
    s->relations[s->relation_count++] = relation_hold(relation);
}

static err keep(struct undo_selection *s, const struct change *change, struct change **out)
{
    if (s->count == UNDO_CHANGES_MAX) {
        return fault(ERR_TOO_LARGE, "more than %d changes are too many to be undone at once",
                     UNDO_CHANGES_MAX);
    }
    if (!change->relation) {
        return OK;
    }
    hold(s, change->relation);
    s->changes = array_room(s->changes, s->count, &s->room, sizeof(struct change *));
    struct change *copy = change_copy(&s->arena, change);
    s->changes[s->count++] = copy;
    if (out) {
        *out = copy;
    }
    return OK;
}

/* What an image lacks, from what is known of the row at that time. */
static struct value *filled(struct arena *arena, const struct relation *relation,
                            const struct value *image, const struct value *known)
{
    struct value *full = arena_take(arena, ((size_t)relation->count + 1) * sizeof(*full));

    for (int i = 0; i < relation->count; i++) {
        bool is_sent = image && (image[i].kind == VALUE_TEXT || image[i].kind == VALUE_NULL);
        full[i] = is_sent ? image[i] : known[i];
        if (full[i].kind == VALUE_TEXT) {
            full[i].text = arena_copy(arena, full[i].text);
        }
    }
    return full;
}

static bool is_whole(const struct relation *relation, const struct value *image)
{
    bool whole = image != NULL;

    for (int i = 0; whole && i < relation->count; i++) {
        whole = image[i].kind == VALUE_TEXT || image[i].kind == VALUE_NULL;
    }
    return whole;
}

/* --- a row --- */

static err take_entry(void *self, const struct row_entry *entry)
{
    struct selecting *s = self;
    struct change *copy = NULL;
    uint64_t lsn = entry->change->place.commit_lsn;
    bool is_known = entry->old && !entry->first && !is_gap_between(s, s->last_lsn, lsn);

    s->last_lsn = lsn;
    if (entry->change->place.commit_lsn <= s->after || entry->step == ROW_SEEN) {
        return OK;
    }
    if (s->last_only) {
        s->out->count = 0;
    }
    err e = keep(s->out, entry->change, &copy);
    if (!e && copy && is_known && (copy->before || copy->kind == CHANGE_UPDATE)) {
        copy->before = filled(&s->out->arena, copy->relation, copy->before, entry->old);
    }
    return e;
}

static err select_row(struct selecting *s, view to, int64_t now_ms)
{
    struct row_query query = {.trail = s->source->trail, .ref = s->ref, .until = MOMENT_NOW};
    struct row_life life;
    struct moment moment = MOMENT_NOW;
    err e =
        to.len ? moment_parse(s->source->trail, view_text(s->source->name), to, now_ms, &moment)
               : OK;

    if (e) {
        return e;
    }
    s->last_only = !to.len;
    s->after = to.len ? moment.lsn : 0;
    e = row_walk(&query, take_entry, s, &life);
    if (!e) {
        bool found = life.found;
        row_life_fini(&life);
        if (!s->out->count) {
            e = found && to.len
                    ? fault(ERR_NOT_FOUND, "the row was not changed after %.*s", VIEW_ARG(to))
                    : fault(ERR_NOT_FOUND, "no change of that row was captured");
        }
    }
    return e;
}

/* --- a transaction, a session, a record --- */

static err take_hit(void *self, const struct trail_hit *hit)
{
    struct selecting *s = self;

    if (s->out->count && s->ref->kind == REF_TX &&
        s->out->changes[0]->place.commit_lsn != hit->change->place.commit_lsn) {
        char lsn[LSN_TEXT_BYTES];
        lsn_text(hit->change->place.commit_lsn, lsn);
        return fault(ERR_INVALID,
                     "there were several transactions of number %" PRIu32 ": tx:%s/%" PRIu32
                     "@%s is the last of them",
                     s->ref->xid, s->source->name, s->ref->xid, lsn);
    }
    s->numbers = array_room(s->numbers, s->out->count, &s->number_room, sizeof(int64_t));
    s->numbers[s->out->count] = hit->number;
    return keep(s->out, hit->change, NULL);
}

static err select_found(struct selecting *s)
{
    const struct ref *ref = s->ref;
    struct filter filter = {
        .kind = FILTER_CONTEXT, .name = VIEW("session"), .value = ref->session};
    struct trail_query query = {.filters = &filter, .count = 1, .oldest_first = true};
    struct trail_found found;
    char lsn[LSN_TEXT_BYTES];

    if (ref->kind == REF_TX) {
        lsn_text(ref->commit_lsn, lsn);
        filter = (struct filter){.kind = FILTER_TX,
                                 .value = view_text(arena_format(
                                     &s->out->arena, "%" PRIu32 "%s%s", ref->xid,
                                     ref->commit_lsn ? "@" : "", ref->commit_lsn ? lsn : ""))};
    }
    err e = trail_find(s->source->trail, &query, take_hit, s, &found);
    if (!e && !s->out->count) {
        e = fault(ERR_NOT_FOUND, "no change of it was captured from %s", s->source->name);
    }
    return e;
}

static err select_record(struct selecting *s)
{
    const struct ref *ref = s->ref;
    struct trail_fetch *fetch = trail_fetch_new(s->source->audit->log, s->source->ledger);
    struct change change;
    bool found = false;
    err e = trail_fetch_one(fetch, &s->out->arena, ref->topic, ref->partition, ref->offset,
                            &change, &found);

    e = e ? e : found ? keep(s->out, &change, NULL) : OK;
    trail_fetch_free(fetch);
    if (!e && !s->out->count) {
        e = fault(ERR_NOT_FOUND, "there is no change at that place (a tombstone, or gone)");
    }
    return e;
}

/* By the change's own description, from an image that another one describes. */
static void fill_from(struct selecting *s, struct change *change, const struct change *previous)
{
    const struct relation *r = change->relation;
    struct value *known = arena_take(&s->out->arena, ((size_t)r->count + 1) * sizeof(*known));

    for (int i = 0; i < r->count; i++) {
        int at = relation_column(previous->relation, r->columns[i].name);
        known[i] = at < 0 ? (struct value){.kind = VALUE_UNKNOWN} : previous->after[at];
    }
    change->before = filled(&s->out->arena, r, change->before, known);
}

/* Mostly the row's change before says all. */
static err fill_from_previous(struct selecting *s, struct change *change, int64_t number)
{
    struct change *previous = NULL;
    bool is_key_changed = change->kind == CHANGE_UPDATE && change->before;
    err e = number && !is_key_changed
                ? trail_previous(s->source->trail, change, number, &s->out->arena, &previous)
                : OK;

    if (!e && previous && previous->relation && previous->after &&
        !is_gap_between(s, previous->place.commit_lsn, change->place.commit_lsn)) {
        fill_from(s, change, previous);
    }
    return e;
}

/* The row as it was before the transaction, from all that is known of it. */
static err fill_from_life(struct selecting *s, struct change *change)
{
    struct arena *arena = &s->out->arena;
    struct change was = *change;
    struct writer key = {0};
    struct row_life life;

    if (change->kind == CHANGE_UPDATE && change->before) { /* under the key it had then */
        was.kind = CHANGE_DELETE;
        was.after = NULL;
    }
    struct ref ref = ref_of_row(view_text(s->source->name), &was, &key);
    struct row_query query = {.trail = s->source->trail,
                              .ref = &ref,
                              .until = {.lsn = change->place.commit_lsn - 1, .at_ms = -1}};
    err e = row_walk(&query, NULL, NULL, &life);
    writer_fini(&key);
    if (e) {
        return e;
    }
    if (life.exists && life.last.relation &&
        !is_gap_between(s, life.last_lsn, change->place.commit_lsn)) {
        struct value *known =
            arena_take(arena, ((size_t)change->relation->count + 1) * sizeof(*known));
        for (int i = 0; i < change->relation->count; i++) {
            known[i] = row_image_value(&life.last, change->relation, i);
        }
        change->before = filled(arena, change->relation, change->before, known);
    }
    row_life_fini(&life);
    return OK;
}

static bool lacks_before(const struct change *change)
{
    return (change->kind == CHANGE_UPDATE || change->kind == CHANGE_DELETE) &&
           !is_whole(change->relation, change->before);
}

static err fill_before(struct selecting *s, size_t at)
{
    struct change *change = (struct change *)(uintptr_t)s->out->changes[at]; /* our copy */
    err e = OK;

    if (lacks_before(change)) {
        e = fill_from_previous(s, change, s->numbers ? s->numbers[at] : 0);
    }
    return !e && lacks_before(change) ? fill_from_life(s, change) : e;
}

err undo_select(struct source *source, const struct ref *ref, view to, int64_t now_ms,
                struct undo_selection *out)
{
    struct selecting s = {.out = out, .source = source, .ref = ref};
    err e = OK;

    *out = (struct undo_selection){0};
    s.gap_count = ledger_gaps(source->ledger, &s.gaps);
    if (to.len && ref->kind != REF_ROW) {
        e = fault(ERR_INVALID,
                  "a point to go back to is for a row: row:SOURCE.SCHEMA.TABLE/KEY");
    } else if (ref->kind == REF_ROW) {
        e = select_row(&s, to, now_ms);
    } else {
        e = ref->kind == REF_TOPIC ? select_record(&s) : select_found(&s);
        for (size_t i = 0; !e && i < out->count; i++) {
            e = fill_before(&s, i);
        }
    }
    free(s.numbers);
    free(s.gaps);
    if (e) {
        undo_selection_fini(out);
    }
    return e;
}

void undo_selection_fini(struct undo_selection *selection)
{
    for (size_t i = 0; i < selection->relation_count; i++) {
        relation_drop(selection->relations[i]);
    }
    free(selection->relations);
    free(selection->changes);
    arena_fini(&selection->arena);
    *selection = (struct undo_selection){0};
}

/* --- rules --- */

/* The table as the database would describe it. */
static struct relation *described(struct arena *arena, const struct catalog_table *table,
                                  int *positions)
{
    struct relation relation = {
        .oid = table->oid, .identity = 'd', .schema = table->schema, .name = table->name};

    relation.columns = arena_take(arena, ((size_t)table->count + 1) * sizeof(struct column));
    for (int i = 0; i < table->count; i++) {
        if (!table->columns[i].dropped && !table->columns[i].generated) {
            positions[relation.count] = i;
            relation.columns[relation.count++] = (struct column){
                .name = table->columns[i].name, .type = table->columns[i].type, .modifier = -1};
        }
    }
    return relation_new(&relation);
}

/* A change of every column goes through the rules: what comes out otherwise, or not at all, is
 * not stored as it is. */
static void probe(const struct rules *rules, struct catalog_table *table, view text)
{
    struct arena arena = {0};
    int *positions = arena_take(&arena, ((size_t)table->count + 1) * sizeof(*positions));
    struct relation *relation = described(&arena, table, positions);
    struct rules_table *applied = rules_table_new(rules, relation);
    struct relation *stored = rules_relation(applied);
    struct value *values =
        arena_take(&arena, ((size_t)relation->count + 1) * sizeof(struct value));
    struct change change = {.kind = CHANGE_CREATE, .relation = relation, .after = values}, out;

    for (int i = 0; i < relation->count; i++) {
        values[i] = (struct value){.kind = VALUE_TEXT, .text = text};
    }
    bool is_stored = rules_apply(applied, stored, &arena, &change, &out);
    for (int i = 0; i < relation->count; i++) {
        int at = is_stored ? relation_column(stored, relation->columns[i].name) : -1;
        bool is_same =
            at >= 0 && out.after[at].kind == VALUE_TEXT && view_is(out.after[at].text, text);
        table->columns[positions[i]].masked = !is_same;
    }
    table->some_columns = true; /* a column that is left out is in no description */
    rules_table_free(applied);
    relation_drop(stored);
    relation_drop(relation);
    arena_fini(&arena);
}

err undo_find_masked(struct source *source, struct catalog *catalog)
{
    static const uint8_t key[RULES_KEY_BYTES];
    struct rules *rules = NULL;

    if (!source->options.mask || !source->options.mask[0]) {
        return OK;
    }
    err e = rules_new(NULL, source->options.mask, key, &rules);
    if (e) {
        return e;
    }
    uint8_t *bytes = xmalloc(PROBE_BYTES);
    memset(bytes, 'x', PROBE_BYTES);
    for (size_t i = 0; i < catalog->table_count; i++) {
        if (catalog->tables[i].named) {
            probe(rules, &catalog->tables[i], (view){bytes, PROBE_BYTES});
        }
    }
    free(bytes);
    rules_free(rules);
    return OK;
}

/* --- who came in between --- */

struct since {
    struct source *source;
    struct undo_plan *plan;
    struct undo_note *note;
};

static err take_since(void *self, const struct trail_hit *hit)
{
    struct since *s = self;
    struct arena scratch = {0};
    struct writer text = {0};
    struct json_writer j = json_to(&text);

    json_object(&j);
    json_name(&j, "operation");
    json_text(&j, change_kind_name(hit->change->kind));
    json_who(&scratch, view_text(s->source->name), hit->change, &j);
    json_end_object(&j);
    s->note->since = arena_copy(&s->plan->arena, writer_view(&text));
    writer_fini(&text);
    arena_fini(&scratch);
    return ERR_CANCELLED;
}

err undo_tell_since(struct source *source, const struct undo_selection *selection,
                    struct undo_plan *plan)
{
    err e = OK;

    for (size_t i = 0; !e && i < MIN(plan->conflict_count, (size_t)UNDO_NOTES_MAX); i++) {
        struct undo_note *note = &plan->conflicts[i];
        const struct change *last = selection->changes[selection->count - 1];
        view table = view_text(arena_format(&plan->arena, "%.*s.%.*s", VIEW_ARG(note->schema),
                                            VIEW_ARG(note->table)));
        struct filter filters[] = {
            {.kind = FILTER_TABLE, .value = table},
            {.kind = FILTER_KEY, .value = note->key_text},
            {.kind = FILTER_AFTER_LSN, .number = (int64_t)last->place.commit_lsn}};
        struct trail_query query = {.filters = filters, .count = COUNT(filters), .limit = 1};
        struct since s = {.source = source, .plan = plan, .note = note};
        struct trail_found found;
        if (note->key_text.len) {
            e = trail_find(source->trail, &query, take_since, &s, &found);
            e = e == ERR_CANCELLED ? OK : e;
        }
    }
    return e;
}
