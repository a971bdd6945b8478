/* row.c - walking the life of one row.
 *
 * First the plan, from the marks at which lives begin and end and keys change; then the walk:
 *
 *   asked for 42    7 --(update, key 7 to 42)--> 42 --(key 42 to 50)--> 50
 *   stretches       [7: birth .. n1)             [42: n1 .. n2]         (50: n2 .. death]
 *
 * Each stretch is the changes of one key between two numbers of the trail. A change of the key
 * is found under both keys and is told once, in the stretch of the new one when the row came,
 * in that of the old one when it left. TRUNCATEs have no key and are woven in.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/row.h"

#include <stdlib.h>
#include <string.h>

static const char *const step_names[] = {
    [ROW_CREATED] = "created",  [ROW_CHANGED] = "changed", [ROW_CAME] = "key changed",
    [ROW_LEFT] = "key changed", [ROW_DELETED] = "deleted", [ROW_TRUNCATED] = "truncated",
    [ROW_SEEN] = "seen",
};

const char *row_step_name(enum row_step step)
{
    assert((size_t)step < COUNT(step_names));
    return step_names[step];
}

struct stretch {
    view key;
    int64_t from, to; /* numbers, both inclusive */
    bool goes_on;     /* with the row that the stretch before ended with */
};

struct truncated {
    int64_t number;
    struct change *change;
    struct change_origin origin;
};

struct walk {
    const struct row_query *query;
    struct arena arena; /* of the plan */
    char *table;        /* schema.table */
    struct truncated *truncates;
    size_t truncate_count, truncate_room, truncate_next;
    struct stretch *stretches;
    size_t stretch_count, stretch_room;
    int joins;
    struct trail_found covered;
    /* of the walk */
    err (*each)(void *self, const struct row_entry *entry);
    void *self;
    struct row_life *life;
    const struct stretch *now;
    bool alive, left;
    err stopped; /* by each() */
    struct writer key, key_before;
    struct value *old, *new;
    int value_room;
};

struct keys { /* of one change */
    view after, before;
    bool differ;
};

/* Both keys of a change, in the walk's writers. */
static struct keys keys_of(struct walk *w, const struct change *change)
{
    struct change old = *change;

    writer_reset(&w->key);
    writer_reset(&w->key_before);
    change_key_text(change, &w->key);
    old.after = change->before ? NULL : change->after;
    change_key_text(&old, &w->key_before);
    struct keys keys = {.after = writer_view(&w->key), .before = writer_view(&w->key_before)};
    keys.differ = change->before && change->after && !view_is(keys.after, keys.before);
    return keys;
}

static bool is_ours(const struct walk *w, const struct trail_hit *hit)
{
    const struct relation *relation = hit->change->relation;

    return relation && view_is(relation->schema, w->query->ref->schema) &&
           view_is(relation->name, w->query->ref->table) &&
           hit->change->place.commit_lsn <= w->query->until.lsn;
}

static err find(struct walk *w, enum filter_kind kind, view value, bool oldest_first,
                err (*each)(void *self, const struct trail_hit *hit), void *self)
{
    struct filter filters[] = {
        {.kind = FILTER_TABLE, .value = view_text(w->table)},
        {.kind = kind, .value = value},
        {.kind = FILTER_UNTIL_LSN, .number = (int64_t)MIN(w->query->until.lsn, INT64_MAX)},
    };
    struct trail_query query = {
        .filters = filters, .count = COUNT(filters), .oldest_first = oldest_first};
    err e = trail_find(w->query->trail, &query, each, self, &w->covered);

    return e == ERR_CANCELLED ? OK : e;
}

/* --- the plan --- */

static err keep_truncate(void *self, const struct trail_hit *hit)
{
    struct walk *w = self;

    if (!is_ours(w, hit)) {
        return OK;
    }
    if (w->truncate_count == ROW_TRUNCATES_MAX) {
        return ERR_CANCELLED;
    }
    w->truncates =
        array_room(w->truncates, w->truncate_count, &w->truncate_room, sizeof(*w->truncates));
    struct truncated *kept = &w->truncates[w->truncate_count++];
    *kept = (struct truncated){hit->number, change_copy(&w->arena, hit->change), hit->origin};
    kept->origin.topic = arena_copy(&w->arena, hit->origin.topic);
    kept->origin.source = arena_copy(&w->arena, hit->origin.source);
    return OK;
}

static err read_truncates(struct walk *w)
{
    err e = find(w, FILTER_OPERATION, VIEW("truncate"), false, keep_truncate, w);

    for (size_t i = 0; i < w->truncate_count / 2; i++) { /* oldest first */
        struct truncated other = w->truncates[i];
        w->truncates[i] = w->truncates[w->truncate_count - 1 - i];
        w->truncates[w->truncate_count - 1 - i] = other;
    }
    return e;
}

/* The newest TRUNCATE before a number; 0: none. */
static int64_t truncated_before(const struct walk *w, int64_t number)
{
    int64_t found = 0;

    for (size_t i = 0; i < w->truncate_count && w->truncates[i].number < number; i++) {
        found = w->truncates[i].number;
    }
    return found;
}

struct mark { /* where a key's own history joins that of another key */
    view other;
    int64_t number;
};

struct marks { /* of one key */
    struct walk *walk;
    view key;
    struct mark *came;
    size_t came_count, came_room;
    struct mark left; /* number 0: it did not */
    int64_t after;    /* look behind it */
};

static err take_mark(void *self, const struct trail_hit *hit)
{
    struct marks *m = self;

    if (!is_ours(m->walk, hit) || hit->number <= m->after) {
        return OK;
    }
    struct keys keys = keys_of(m->walk, hit->change);
    if (!keys.differ) {
        m->left.number = 0; /* there was another life at this address, or still is */
        return OK;
    }
    if (view_is(keys.after, m->key)) {
        m->came = array_room(m->came, m->came_count, &m->came_room, sizeof(*m->came));
        m->came[m->came_count++] =
            (struct mark){arena_copy(&m->walk->arena, keys.before), hit->number};
        m->left.number = 0;
    } else if (view_is(keys.before, m->key)) {
        m->left = (struct mark){arena_copy(&m->walk->arena, keys.after), hit->number};
    }
    return OK;
}

struct origin_search { /* backwards, to where a life under this key began */
    struct walk *walk;
    view key;
    int64_t before, barrier, from;
    struct mark came; /* number 0: it began here */
};

static err take_origin(void *self, const struct trail_hit *hit)
{
    struct origin_search *s = self;

    if (!is_ours(s->walk, hit) || hit->number >= s->before) {
        return OK;
    }
    struct keys keys = keys_of(s->walk, hit->change);
    bool left = keys.differ && view_is(keys.before, s->key);
    if (hit->number <= s->barrier || left || hit->change->kind == CHANGE_DELETE) {
        return ERR_CANCELLED;
    }
    s->from = hit->number;
    if (keys.differ && view_is(keys.after, s->key)) {
        s->came = (struct mark){arena_copy(&s->walk->arena, keys.before), hit->number};
        return ERR_CANCELLED;
    }
    return hit->change->kind == CHANGE_CREATE ? ERR_CANCELLED : OK;
}

static void add_stretch(struct walk *w, struct stretch stretch)
{
    w->stretches =
        array_room(w->stretches, w->stretch_count, &w->stretch_room, sizeof(*w->stretches));
    w->stretches[w->stretch_count++] = stretch;
}

/* The stretches of the row that came from `came.other`, oldest first. */
static err plan_origin(struct walk *w, struct mark came)
{
    struct stretch found[ROW_JOINS_MAX];
    int count = 0;
    err e = OK;

    while (!e && came.number && count < ROW_JOINS_MAX) {
        struct origin_search s = {
            .walk = w, .key = came.other, .before = came.number, .from = came.number};
        s.barrier = truncated_before(w, came.number);
        e = find(w, FILTER_KEY, came.other, false, take_origin, &s);
        found[count++] = (struct stretch){came.other, s.from, came.number - 1, true};
        came = s.came;
    }
    for (int i = count; i-- > 0 && !e;) {
        found[i].goes_on = i + 1 < count;
        add_stretch(w, found[i]);
    }
    return e;
}

struct end_search { /* forwards, to where a life under this key ends */
    struct walk *walk;
    view key;
    int64_t after, to;
    struct mark left;
};

static err take_end(void *self, const struct trail_hit *hit)
{
    struct end_search *s = self;

    if (!is_ours(s->walk, hit) || hit->number <= s->after) {
        return OK;
    }
    struct keys keys = keys_of(s->walk, hit->change);
    bool came = keys.differ && view_is(keys.after, s->key);
    bool left = keys.differ && view_is(keys.before, s->key);
    if (came || hit->change->kind == CHANGE_CREATE) {
        s->to = hit->number - 1; /* of another row */
        return ERR_CANCELLED;
    }
    if (left) {
        s->left = (struct mark){arena_copy(&s->walk->arena, keys.after), hit->number};
    }
    if (left || hit->change->kind == CHANGE_DELETE) {
        s->to = hit->number;
        return ERR_CANCELLED;
    }
    return OK;
}

static err plan_onwards(struct walk *w, struct mark left)
{
    err e = OK;

    for (int i = 0; !e && left.number && i < ROW_JOINS_MAX; i++) {
        struct end_search s = {
            .walk = w, .key = left.other, .after = left.number, .to = INT64_MAX};
        e = find(w, FILTER_KEY, left.other, true, take_end, &s);
        add_stretch(w, (struct stretch){left.other, left.number + 1, s.to, true});
        left = s.left;
    }
    return e;
}

static err plan(struct walk *w)
{
    struct marks m = {.walk = w, .key = w->query->ref->key};
    int64_t from = 1;
    bool goes_on = false;
    err e = read_truncates(w);

    e = e ? e : find(w, FILTER_KEY, m.key, true, take_mark, &m);
    for (size_t i = 0; i < m.came_count && !e; i++) {
        add_stretch(w, (struct stretch){m.key, from, m.came[i].number - 1, goes_on});
        e = plan_origin(w, m.came[i]);
        from = m.came[i].number;
        goes_on = true;
    }
    add_stretch(w, (struct stretch){m.key, from, INT64_MAX, goes_on});
    e = e ? e : plan_onwards(w, m.left);
    free(m.came);
    return e;
}

/* --- the walk --- */

static err tell(struct walk *w, struct row_entry *entry)
{
    struct row_life *life = w->life;
    const struct change_place *place = &entry->change->place;

    if (!life->found) {
        life->found = true;
        life->begins = entry->step;
        life->begins_us = place->committed_us;
        life->begins_lsn = place->commit_lsn;
    }
    life->entries++;
    life->last_us = place->committed_us;
    life->last_lsn = place->commit_lsn;
    entry->life = life->lives;
    w->stopped = w->each ? w->each(w->self, entry) : OK;
    return w->stopped;
}

/* TRUNCATEs in front of a number end the life that is under way. */
static err tell_truncates(struct walk *w, int64_t before)
{
    err e = OK;

    while (!e && w->truncate_next < w->truncate_count &&
           w->truncates[w->truncate_next].number < before) {
        const struct truncated *t = &w->truncates[w->truncate_next++];
        if (w->alive && !w->left && t->number >= w->now->from) {
            struct row_entry entry = {.step = ROW_TRUNCATED,
                                      .number = t->number,
                                      .change = t->change,
                                      .origin = &t->origin,
                                      .key = writer_view(&w->life->key)};
            entry.key_before = entry.key;
            w->alive = false;
            e = tell(w, &entry);
        }
    }
    return e;
}

static enum row_step step_of(const struct walk *w, const struct change *change,
                             const struct keys *keys)
{
    switch (change->kind) {
    case CHANGE_CREATE:
        return ROW_CREATED;
    case CHANGE_DELETE:
        return ROW_DELETED;
    case CHANGE_READ:
        return ROW_SEEN;
    default:
        break;
    }
    if (!keys->differ) {
        return ROW_CHANGED;
    }
    return view_is(keys->after, w->now->key) ? ROW_CAME : ROW_LEFT;
}

/* Old values from what is known, else from the change's own image of before. */
static void fill_values(struct walk *w, const struct change *change)
{
    const struct relation *relation = change->relation;
    struct row_image *image = &w->life->last;

    if (relation->count > w->value_room) {
        w->value_room = relation->count;
        w->old = xrealloc(w->old, (size_t)w->value_room * sizeof(*w->old));
        w->new = xrealloc(w->new, (size_t)w->value_room * sizeof(*w->new));
    }
    for (int i = 0; i < relation->count; i++) {
        struct value sent = {.kind = VALUE_ABSENT};
        if (change->before) {
            sent = change->before[i];
        }
        bool known = sent.kind == VALUE_TEXT || sent.kind == VALUE_NULL;
        w->old[i] =
            known || change->kind == CHANGE_CREATE ? sent : row_image_value(image, relation, i);
    }
}

/* A life begins at whatever comes first, and with each row that is created. */
static bool begin_life(struct walk *w, const struct change *change)
{
    bool first = !w->alive || w->left || change->kind == CHANGE_CREATE;

    if (first) {
        row_image_forget(&w->life->last);
        w->life->lives++;
    }
    w->alive = true;
    w->left = false;
    return first && change->kind != CHANGE_CREATE;
}

static err take_hit(void *self, const struct trail_hit *hit)
{
    struct walk *w = self;
    struct row_life *life = w->life;
    const struct change *change = hit->change;
    bool has_row = change->before || change->after;

    if (!is_ours(w, hit) || hit->number < w->now->from || !has_row) {
        return OK;
    }
    if (hit->number > w->now->to) {
        return ERR_CANCELLED;
    }
    err e = tell_truncates(w, hit->number);
    if (e) {
        return e;
    }
    struct keys keys = keys_of(w, change);
    struct row_entry entry = {.step = step_of(w, change, &keys),
                              .number = hit->number,
                              .change = change,
                              .origin = &hit->origin,
                              .key = keys.after,
                              .key_before = keys.differ ? keys.before : keys.after};
    entry.first = begin_life(w, change);
    fill_values(w, change);
    row_image_take(&life->last, change);
    for (int i = 0; i < change->relation->count; i++) {
        w->new[i] = life->last.values[i];
    }
    entry.old = w->old;
    entry.new = w->new;
    writer_reset(&life->key);
    write_view(&life->key, keys.after);
    w->left = entry.step == ROW_LEFT;
    w->alive = entry.step != ROW_DELETED;
    return tell(w, &entry);
}

static err run(struct walk *w)
{
    err e = OK;

    for (size_t i = 0; i < w->stretch_count && !e; i++) {
        w->now = &w->stretches[i];
        if (!w->now->goes_on) {
            w->alive = w->left = false;
        }
        w->left = false;
        w->truncate_next = 0;
        e = find(w, FILTER_KEY, w->now->key, true, take_hit, w);
        e = e ? e : w->stopped;
        e = e ? e : tell_truncates(w, w->now->to);
    }
    w->life->exists = w->alive;
    return e;
}

/* A row that was there before a gap, and that the snapshot after it did not see. */
static void look_at_gaps(struct walk *w)
{
    struct row_life *life = w->life;
    struct ledger_gap_span *gaps = NULL;
    size_t count = w->query->ledger ? ledger_gaps(w->query->ledger, &gaps) : 0;

    for (size_t i = 0; i < count && life->found; i++) {
        bool after = gaps[i].from >= life->begins_lsn && gaps[i].from < w->query->until.lsn;
        bool healed = gaps[i].healed && gaps[i].healed <= w->query->until.lsn;
        if (after) {
            life->gap = gaps[i];
            life->vanished = life->exists && healed && life->last_lsn <= gaps[i].from;
            life->exists = life->exists && !life->vanished;
        }
    }
    free(gaps);
}

err row_walk(const struct row_query *query,
             err (*each)(void *self, const struct row_entry *entry), void *self,
             struct row_life *out)
{
    struct walk w = {.query = query, .each = each, .self = self, .life = out};

    assert(query->trail);
    assert(query->ref->kind == REF_ROW);
    *out = (struct row_life){0};
    w.table = arena_format(&w.arena, "%.*s.%.*s", VIEW_ARG(query->ref->schema),
                           VIEW_ARG(query->ref->table));
    err e = plan(&w);
    e = e ? e : run(&w);
    out->covered = w.covered;
    if (!e) {
        look_at_gaps(&w);
    }
    free(w.truncates);
    free(w.stretches);
    free(w.old);
    free(w.new);
    writer_fini(&w.key);
    writer_fini(&w.key_before);
    arena_fini(&w.arena);
    if (e) {
        row_life_fini(out);
    }
    return e;
}

void row_life_fini(struct row_life *life)
{
    row_image_fini(&life->last);
    writer_fini(&life->key);
}
