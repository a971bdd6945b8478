/* trail_find.c - searching: block by block, candidates, their places, then the changes.
 *
 *   bounds -> candidates (terms) -> places (time, tx, table) -> records read -> each()
 *
 * Candidates are read in groups, sorted by partition and offset, so that neighbours cost one
 * read; a group grows while few of it match, and shrinks when its values are large. A cold
 * block is read as a whole from the topics: it gives places too, and goes the same way on.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/trail_inside.h"
#include "audit/trail_match.h"

#define GROUP_LEAST 16
#define GROUP_MOST 1024
#define GROUP_BYTES_MAX (16u << 20) /* of values read ahead: then groups get smaller */
#define RECALLS_MAX 1000            /* then a page ends, found or not */
#define COLD_MEMORY_BYTES (4 << 20)

struct candidate {
    int64_t number;
    struct trail_place place;
    struct change *change; /* when it was read and matches */
};

struct search {
    struct trail *trail;
    const struct trail_query *query;
    int64_t cursor; /* the last number given, or the query's */
    int64_t last_us;
    int64_t gone_us; /* of the newest change whose record is there no more; 0: none met */
    int64_t recalls; /* changes whose old values were looked for */
    struct plan plan;
    err (*each)(void *self, const struct trail_hit *hit);
    void *self;
    struct trail_found *found;
    struct trail_fetch *fetch;
    struct arena arena; /* of a group */
    size_t group;
    bool cold;    /* the block in hand is: its places' tables are our topics */
    view *topics; /* of cold blocks */
    size_t topic_count, topic_room;
    struct arena texts;  /* theirs */
    uint16_t *positions; /* of a block, in the order they are wanted */
    struct trail_place *places;
    size_t count;
    bool full; /* as many as were asked for */
};

static void note_covered(struct search *s, int64_t from_us, int64_t until_us)
{
    struct trail_found *f = s->found;

    from_us = MAX(from_us, s->plan.from_us);
    until_us = MIN(until_us, s->plan.until_us);
    if (from_us <= until_us) {
        f->from_us = f->from_us ? MIN(f->from_us, from_us) : from_us;
        f->until_us = f->until_us ? MAX(f->until_us, until_us) : until_us;
    }
}

static bool is_behind_cursor(const struct search *s, int64_t number)
{
    return !s->cursor || (s->query->oldest_first ? number > s->cursor : number < s->cursor);
}

/* The positions whose bit is set, in the order of the search, behind the cursor. */
static void take_positions(struct search *s, const struct trail_block *b,
                           const uint64_t bits[TRAIL_BITS])
{
    bool rising = s->query->oldest_first;

    s->count = 0;
    for (size_t i = 0; i < TRAIL_BITS; i++) {
        size_t word = rising ? i : TRAIL_BITS - 1 - i;
        for (uint64_t left = bits[word]; left;) {
            unsigned bit =
                (unsigned)(rising ? __builtin_ctzll(left) : 63 - __builtin_clzll(left));
            size_t at = word * 64 + bit;
            left &= ~(UINT64_C(1) << bit);
            if (is_behind_cursor(s, b->first + (int64_t)at)) {
                s->positions[s->count++] = (uint16_t)at;
            }
        }
    }
}

static view topic_of(struct search *s, const struct trail_place *place)
{
    struct trail_table table;

    if (s->cold) {
        return s->topics[place->table];
    }
    trail_index_table_get(s->trail->index, place->table, &table);
    return table.topic;
}

static uint32_t cold_topic(struct search *s, view topic)
{
    for (size_t i = 0; i < s->topic_count; i++) {
        if (view_is(s->topics[i], topic)) {
            return (uint32_t)i;
        }
    }
    s->topics = array_room(s->topics, s->topic_count, &s->topic_room, sizeof(*s->topics));
    s->topics[s->topic_count++] = arena_copy(&s->texts, topic);
    return (uint32_t)(s->topic_count - 1);
}

static bool place_may_match(struct search *s, const struct trail_place *place)
{
    struct trail_table table;

    trail_index_table_get(s->trail->index, place->table, &table);
    return plan_place(&s->plan, place, &table);
}

/* Of a cold block: all its places, from the ledger and the topics. */
static err read_cold(struct search *s, const struct trail_block *b)
{
    struct trail *t = s->trail;
    struct trail_reader *reader =
        trail_reader_new(t->config.log, t->config.ledger, b->begin, COLD_MEMORY_BYTES);
    struct trail_read read = {.kind = TRAIL_READ_CHANGE};
    bool ended = false;
    uint32_t at = 0;
    err e = OK;

    s->found->cold = true;
    s->count = 0;
    while (!e && !ended && at < b->count) {
        e = trail_reader_next(reader, 0, &read);
        bool past = read.at.ledger > b->end.ledger ||
                    (read.at.ledger == b->end.ledger && read.at.skip > b->end.skip);
        ended =
            e || read.kind == TRAIL_READ_NOTHING || (read.kind == TRAIL_READ_CHANGE && past);
        if (ended || read.kind != TRAIL_READ_CHANGE) {
            continue;
        }
        arena_reset(&s->arena);
        if (is_behind_cursor(s, b->first + at) &&
            plan_may_match(&s->plan, &s->arena, &read.change)) {
            s->places[s->count] = (struct trail_place){
                .offset = read.offset,
                .partition = read.partition,
                .committed_us = read.change.place.committed_us,
                .table = cold_topic(s, read.topic),
            };
            s->positions[s->count++] = (uint16_t)at;
        }
        at++;
    }
    trail_reader_free(reader);
    for (size_t i = 0; i < s->count / 2 && !s->query->oldest_first; i++) {
        size_t other = s->count - 1 - i;
        uint16_t position = s->positions[i];
        struct trail_place place = s->places[i];
        s->positions[i] = s->positions[other];
        s->places[i] = s->places[other];
        s->positions[other] = position;
        s->places[other] = place;
    }
    return e;
}

static int by_place(const void *a, const void *b)
{
    const struct trail_place *p = &(*(struct candidate *const *)a)->place;
    const struct trail_place *q = &(*(struct candidate *const *)b)->place;

    if (p->table != q->table) {
        return p->table < q->table ? -1 : 1;
    }
    if (p->partition != q->partition) {
        return p->partition < q->partition ? -1 : 1;
    }
    return p->offset == q->offset ? 0 : p->offset < q->offset ? -1 : 1;
}

static err recall(struct search *s, struct change *change, int64_t number, struct arena *arena)
{
    s->recalls += change_lacks_before(change) ? 1 : 0;
    return trail_recall(s->trail, change, number, arena);
}

/* Reads and decides. *large: so many bytes came that the rest was left. */
static err read_group(struct search *s, struct candidate *group, size_t count, bool *large)
{
    struct candidate **sorted = arena_take(&s->arena, (count + 1) * sizeof(*sorted));
    struct arena scratch = {0};
    err e = OK;

    *large = false;
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &group[i];
    }
    qsort(sorted, count, sizeof(struct candidate *), by_place);
    for (size_t i = 0; i < count && !e && !*large; i++) {
        struct candidate *c = sorted[i];
        struct change change;
        bool found = false;
        arena_reset(&scratch);
        e = trail_fetch_one(s->fetch, &scratch, topic_of(s, &c->place), c->place.partition,
                            c->place.offset, &change, &found);
        if (!e && !found) {
            s->gone_us = MAX(s->gone_us, c->place.committed_us);
        }
        if (e || !found || !plan_may_match(&s->plan, &scratch, &change)) {
            continue;
        }
        if (s->plan.compares || s->query->recall) {
            e = recall(s, &change, c->number, &scratch);
        }
        if (!e && plan_match(&s->plan, &scratch, &change)) {
            c->change = change_copy(&s->arena, &change);
        }
        *large = s->arena.bytes > GROUP_BYTES_MAX && count > 1;
    }
    arena_fini(&scratch);
    return e;
}

static err give(struct search *s, const struct candidate *c)
{
    struct trail_hit hit = {
        .number = c->number,
        .change = c->change,
        .origin =
            {
                .source = s->trail->config.source,
                .topic = topic_of(s, &c->place),
                .partition = c->place.partition,
                .offset = c->place.offset,
            },
    };

    s->found->count++;
    s->cursor = c->number;
    s->last_us = c->change->place.committed_us;
    s->full = s->query->limit && s->found->count == s->query->limit;
    return s->each(s->self, &hit);
}

static err give_group(struct search *s, struct candidate *group, size_t count)
{
    size_t matched = 0;
    bool large = false;
    err e = read_group(s, group, count, &large);

    if (e || large) {
        s->group = large ? MAX(count / 4, (size_t)1) : s->group;
        return e;
    }
    for (size_t i = 0; i < count && !e && !s->full; i++) {
        if (group[i].change) {
            matched++;
            e = give(s, &group[i]);
        }
    }
    if (!e && !s->full && count && s->query->limit && s->recalls >= RECALLS_MAX) {
        s->full = true;
        s->cursor = group[count - 1].number;
        s->last_us = group[count - 1].place.committed_us;
    }
    if (matched * 4 < count) {
        s->group = MIN(s->group * 2, (size_t)GROUP_MOST);
    }
    return e;
}

/* Through what take_positions or read_cold has left. */
static err give_block(struct search *s, const struct trail_block *b)
{
    err e = OK;

    for (size_t at = 0; at < s->count && !e && !s->full;) {
        size_t count = MIN(s->group, s->count - at), left = 0;
        arena_reset(&s->arena);
        struct candidate *group = arena_take(&s->arena, count * sizeof(*group));
        if (!s->cold) {
            e = trail_index_places(s->trail->index, b, s->positions + at, count,
                                   s->places + at);
        }
        for (size_t i = 0; i < count && !e; i++) {
            if (s->cold || place_may_match(s, &s->places[at + i])) {
                group[left++] = (struct candidate){.number = b->first + s->positions[at + i],
                                                   .place = s->places[at + i]};
            }
        }
        size_t asked = s->group;
        e = e ? e : give_group(s, group, left);
        if (e || s->group >= asked) { /* smaller: the same again in smaller pieces */
            at += count;
        }
    }
    return e;
}

static err search_block(struct search *s, const struct trail_block *b)
{
    uint64_t bits[TRAIL_BITS];
    err e = OK;

    if (b->until_us < s->plan.from_us || b->from_us > s->plan.until_us) {
        return OK;
    }
    s->cold = b->cold;
    if (!s->cold) {
        e = trail_index_candidates(s->trail->index, b, s->plan.needs, s->plan.need_count, bits);
        if (!e) {
            take_positions(s, b, bits);
            e = give_block(s, b);
        }
        s->cold = e == ERR_NOT_FOUND; /* it turned cold under our hands */
    }
    if (s->cold) {
        e = read_cold(s, b);
        e = e ? e : give_block(s, b);
    }
    return e;
}

static err search_all(struct search *s)
{
    struct trail_block *blocks = NULL;
    size_t count = trail_index_blocks(s->trail->index, &blocks);
    err e = OK;

    if (count) {
        s->found->numbered = blocks[count - 1].first + blocks[count - 1].count - 1;
    }
    for (size_t i = 0; i < count && !e && !s->full; i++) {
        const struct trail_block *b = &blocks[s->query->oldest_first ? i : count - 1 - i];
        bool behind = s->query->oldest_first ? b->first + b->count - 1 > s->cursor
                                             : !s->cursor || b->first < s->cursor;
        if (behind) {
            e = search_block(s, b);
            note_covered(s, b->from_us, b->until_us);
        }
    }
    free(blocks);
    return e;
}

/* A page ends with its last hit: no more was covered. */
static void end_found(struct search *s, bool stopped)
{
    struct trail_found *f = s->found;

    f->from_us = MAX(f->from_us, MIN(s->gone_us, f->until_us)); /* before it not all is there */
    if (!stopped || s->cursor == s->query->cursor) {
        return;
    }
    f->cursor = s->cursor;
    if (s->query->oldest_first) {
        f->until_us = MIN(f->until_us, s->last_us);
    } else {
        f->from_us = MAX(f->from_us, s->last_us);
    }
}

err trail_find(struct trail *trail, const struct trail_query *query,
               err (*each)(void *self, const struct trail_hit *hit), void *self,
               struct trail_found *found)
{
    struct search s = {
        .trail = trail,
        .query = query,
        .cursor = query->cursor,
        .each = each,
        .self = self,
        .found = found,
        .group = query->limit ? MAX(MIN(query->limit, (size_t)256), (size_t)GROUP_LEAST) : 256,
    };

    *found = (struct trail_found){0};
    err e = plan_init(&s.plan, query->filters, query->count);
    if (e) {
        return e;
    }
    s.fetch = trail_fetch_new(trail->config.log, trail->config.ledger);
    s.positions = xmalloc(TRAIL_BLOCK_MAX * sizeof(*s.positions));
    s.places = xmalloc(TRAIL_BLOCK_MAX * sizeof(*s.places));
    e = search_all(&s);
    end_found(&s, s.full || e == ERR_CANCELLED);
    if (e == ERR_CORRUPT) {
        trail_note_damage(trail);
        e = fault_prefix("the index of %s is built anew, ask again in a while: ",
                         trail->source);
    }
    trail_fetch_free(s.fetch);
    plan_fini(&s.plan);
    arena_fini(&s.arena);
    arena_fini(&s.texts);
    free(s.topics);
    free(s.positions);
    free(s.places);
    return e == ERR_CANCELLED ? OK : e;
}
