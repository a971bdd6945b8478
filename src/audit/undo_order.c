/* undo_order.c - which row is put back first.
 *
 * One node a row, an edge for each thing that must have happened before another:
 *   FREE     a unique value is given up      before another row takes it
 *   NEED     a referenced row is there       before a row refers to it
 *   RELEASE  nobody refers to a row          before it goes, or its key changes
 *   MOVE     a row is changed by its old key before a foreign key's own cascade changes that
 * A walk in depth from the latest change to the first gives the order. Where it runs in a
 * circle (a swap of unique values, two rows that refer to each other) an edge is taken out:
 * first one that the database can check at the end, else one whose row can do with another
 * value on the way: a value it had before on its way, null, or one made up.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/undo_inside.h"

enum edge_kind { FREE, NEED, RELEASE, MOVE };

struct edge {
    enum edge_kind kind;
    size_t from;  /* the node that must come first */
    size_t other; /* the next edge into the same node, from 1; 0: none */
    bool soft;    /* deferrable: checked at the end */
    bool broken;
    const struct catalog_index *index;     /* FREE */
    const struct catalog_foreign *foreign; /* the rest */
};

struct node {
    struct undo_row *row;
    size_t edges; /* into it, from 1; 0: none */
    size_t next;  /* of the edges, while it is on the way */
    enum { NEW, UNDER_WAY, DONE } state;
};

struct order {
    struct undo_plan *plan;
    struct node *nodes;
    size_t count;
    struct edge *edges;
    size_t edge_count, edge_room;
    size_t *way; /* nodes under way, each waits for the next */
    size_t way_count;
    size_t *done;
    size_t done_count;
    int made_up; /* values so far */
};

bool undo_touches(const struct undo_row *row, const int *columns, int count)
{
    bool any = !row->before || !row->after;

    for (int i = 0; i < count && !any; i++) {
        any = row->set[columns[i]];
    }
    return any;
}

static void add_edge(struct order *o, size_t to, struct edge edge)
{
    if (edge.from == to) {
        return;
    }
    o->edges = array_room(o->edges, o->edge_count, &o->edge_room, sizeof(struct edge));
    edge.other = o->nodes[to].edges;
    o->edges[o->edge_count++] = edge;
    o->nodes[to].edges = o->edge_count;
}

/* Values of the rows that touch the columns, before or after, to their nodes. */
static void collect(struct order *o, const struct catalog_table *table, const int *columns,
                    int count, bool after, struct map *out)
{
    struct writer text = {0};

    for (size_t i = 0; i < o->count; i++) {
        struct undo_row *row = o->nodes[i].row;
        const struct value *image = after ? row->after : row->before;
        writer_reset(&text);
        if (row->table == table && image && undo_touches(row, columns, count) &&
            undo_values(image, columns, count, &text)) {
            map_put(out, arena_copy(&o->plan->arena, writer_view(&text)), &o->nodes[i]);
        }
    }
    writer_fini(&text);
}

static struct node *look_up(const struct map *map, const struct value *image,
                            const int *columns, int count)
{
    struct writer text = {0};
    bool is_whole = undo_values(image, columns, count, &text);
    struct node *found = is_whole ? map_get(map, writer_view(&text)) : NULL;

    writer_fini(&text);
    return found;
}

static void add_unique(struct order *o, const struct catalog_table *table,
                       const struct catalog_index *index)
{
    struct map freed = {0};

    collect(o, table, index->columns, index->count, true, &freed);
    for (size_t i = 0; freed.count && i < o->count; i++) {
        struct undo_row *row = o->nodes[i].row;
        if (row->table != table || !row->before ||
            !undo_touches(row, index->columns, index->count)) {
            continue;
        }
        const struct node *from = look_up(&freed, row->before, index->columns, index->count);
        if (from) {
            add_edge(o, i,
                     (struct edge){.kind = FREE,
                                   .from = (size_t)(from - o->nodes),
                                   .soft = index->deferrable,
                                   .index = index});
        }
    }
    map_fini(&freed);
}

/* A child that the parent's new key reaches by the foreign key's own cascade. */
static bool goes_along(const struct order *o, const struct catalog_foreign *f,
                       const struct undo_row *child, const struct undo_row *parent)
{
    struct writer child_key = {0}, parent_key = {0};
    bool is_same = false;

    (void)o;
    if (f->on_update == 'c' && child->before && parent->before) {
        is_same = undo_values(child->before, f->from_columns, f->count, &child_key) &&
                  undo_values(parent->before, f->to_columns, f->count, &parent_key) &&
                  view_is(writer_view(&child_key), writer_view(&parent_key));
    }
    writer_fini(&child_key);
    writer_fini(&parent_key);
    return is_same;
}

static void add_release(struct order *o, const struct catalog_foreign *f, size_t child,
                        const struct node *parent)
{
    struct undo_row *row = o->nodes[child].row;
    struct edge edge = {.kind = RELEASE, .from = child, .foreign = f};
    size_t to = (size_t)(parent - o->nodes);

    if (goes_along(o, f, row, parent->row)) {
        edge.kind = MOVE;
        row->cascaded = row->cascaded
                            ? row->cascaded
                            : arena_take(&o->plan->arena, (size_t)row->table->count + 1);
        for (int i = 0; i < f->count; i++) {
            row->cascaded[f->from_columns[i]] = true;
        }
    } else {
        char action = parent->row->before ? f->on_update : f->on_delete;
        edge.soft = f->deferrable && action == 'a';
    }
    add_edge(o, to, edge);
}

static bool is_cascaded(const struct undo_row *row, const struct catalog_foreign *f)
{
    return row->cascaded && row->cascaded[f->from_columns[0]];
}

static void add_foreign(struct order *o, const struct catalog_foreign *f)
{
    struct map provided = {0}, removed = {0};

    collect(o, f->to, f->to_columns, f->count, false, &provided);
    collect(o, f->to, f->to_columns, f->count, true, &removed);
    for (size_t i = 0; (provided.count || removed.count) && i < o->count; i++) {
        struct undo_row *row = o->nodes[i].row;
        if (row->table != f->from || !undo_touches(row, f->from_columns, f->count)) {
            continue;
        }
        const struct node *gone =
            row->after ? look_up(&removed, row->after, f->from_columns, f->count) : NULL;
        if (gone) {
            add_release(o, f, i, gone);
        }
        const struct node *there =
            row->before && !is_cascaded(row, f)
                ? look_up(&provided, row->before, f->from_columns, f->count)
                : NULL;
        if (there) {
            add_edge(o, i,
                     (struct edge){.kind = NEED,
                                   .from = (size_t)(there - o->nodes),
                                   .soft = f->deferrable,
                                   .foreign = f});
        }
    }
    map_fini(&provided);
    map_fini(&removed);
}

static bool in_key(const struct catalog_table *table, int column)
{
    for (int i = 0; table->key && i < table->key->count; i++) {
        if (table->key->columns[i] == column) {
            return true;
        }
    }
    return false;
}

static void park(struct order *o, struct undo_row *row, int column, struct value value)
{
    if (!row->park) {
        row->park =
            arena_take(&o->plan->arena, (size_t)row->table->count * sizeof(struct value));
    }
    row->park[column] = value;
}

/* A column of a foreign key that may be null for a while; -1: none. */
static int loose_column(const struct catalog_foreign *f)
{
    for (int i = 0; i < f->count; i++) {
        int column = f->from_columns[i];
        if (f->from->columns[column].nullable && !in_key(f->from, column)) {
            return column;
        }
    }
    return -1;
}

/* What the row held on its way was free then, and all checks took it. */
static bool park_between(struct order *o, struct undo_row *row,
                         const struct catalog_index *index)
{
    for (size_t i = 0; i < row->between_count; i++) {
        const struct value *image = row->between[i];
        bool is_new = false, is_known = true;
        for (int k = 0; k < index->count; k++) {
            int c = index->columns[k];
            is_known = is_known && value_is_known(&image[c]);
            is_new = is_new || (!value_is(&image[c], &row->after[c]) &&
                                !(row->before && value_is(&image[c], &row->before[c])));
        }
        for (int k = 0; is_known && is_new && k < index->count; k++) {
            park(o, row, index->columns[k], image[index->columns[k]]);
        }
        if (is_known && is_new) {
            return true;
        }
    }
    return false;
}

static view made_up(struct order *o, const struct catalog_column *column)
{
    int n = o->made_up++;

    switch (column->base) {
    case 20: /* int8 */
        return view_text(arena_format(&o->plan->arena, "%lld", (long long)INT64_MIN + n + 1));
    case 21: /* int2 */
        return view_text(arena_format(&o->plan->arena, "%d", INT16_MIN + n % INT16_MAX + 1));
    case 23: /* int4 */
        return view_text(arena_format(&o->plan->arena, "%d", INT32_MIN + n + 1));
    case 25:   /* text */
    case 1043: /* varchar */
        return view_text(arena_format(&o->plan->arena, "tidemark-undo-%d", n));
    case 2950: /* uuid */
        return view_text(
            arena_format(&o->plan->arena, "00000000-0000-4000-8000-%012x", (unsigned)n));
    default:
        return (view){0};
    }
}

static bool park_unique(struct order *o, struct undo_row *row,
                        const struct catalog_index *index)
{
    if (park_between(o, row, index)) {
        return true;
    }
    for (int i = 0; i < index->count && !index->nulls_equal; i++) {
        if (row->table->columns[index->columns[i]].nullable) {
            park(o, row, index->columns[i], (struct value){.kind = VALUE_NULL});
            return true;
        }
    }
    for (int i = 0; i < index->count; i++) {
        view text = made_up(o, &row->table->columns[index->columns[i]]);
        if (text.at) {
            park(o, row, index->columns[i], (struct value){.kind = VALUE_TEXT, .text = text});
            return true;
        }
    }
    return false;
}

/* Takes an edge out of a circle; false: its rows cannot do without it. */
static bool break_edge(struct order *o, struct edge *edge, size_t to)
{
    struct undo_row *row = o->nodes[edge->kind == NEED ? to : edge->from].row;
    int column = edge->kind == NEED || edge->kind == RELEASE ? loose_column(edge->foreign) : -1;

    if (edge->soft) {
        edge->broken = true;
    } else if (edge->kind == FREE) {
        edge->broken = park_unique(o, row, edge->index);
    } else if (edge->kind == RELEASE && column >= 0) {
        park(o, row, column, (struct value){.kind = VALUE_NULL});
        edge->broken = true;
    } else if (edge->kind == NEED && column >= 0) {
        row->post =
            row->post ? row->post : arena_take(&o->plan->arena, (size_t)row->table->count + 1);
        row->post[column] = true;
        edge->broken = true;
    }
    return edge->broken;
}

/* The circle is the end of the way, from edge->from to its end: each node waits for the next
 * by its edge at hand, the last one by this edge. Soft edges go first. True: the edge at the
 * end is the one that went, and the walk can go on. */
static bool break_circle(struct order *o, struct edge *last)
{
    size_t to = o->way[o->way_count - 1], begin = o->way_count;

    while (begin > 0 && o->way[begin - 1] != last->from) {
        begin--;
    }
    for (int hard = 0; hard < 2; hard++) {
        if (last->soft == !hard && break_edge(o, last, to)) {
            return true;
        }
        for (size_t i = begin; i + 1 <= o->way_count && i > 0; i++) {
            size_t waits = o->way[i - 1];
            struct edge *edge = &o->edges[o->nodes[waits].next - 1];
            if (edge != last && edge->soft == !hard && break_edge(o, edge, waits)) {
                return false;
            }
        }
    }
    last->broken = true; /* the database will say what is wrong with it */
    return true;
}

static void enter(struct order *o, size_t node)
{
    o->nodes[node].state = UNDER_WAY;
    o->nodes[node].next = o->nodes[node].edges;
    o->way[o->way_count++] = node;
}

/* From one node to all it waits for. False: an edge went that the way had come by. */
static bool walk(struct order *o, size_t start)
{
    enter(o, start);
    while (o->way_count) {
        struct node *node = &o->nodes[o->way[o->way_count - 1]];
        if (!node->next) {
            node->state = DONE;
            o->done[o->done_count++] = o->way[--o->way_count];
            if (o->way_count) {
                struct node *before = &o->nodes[o->way[o->way_count - 1]];
                before->next = o->edges[before->next - 1].other;
            }
            continue;
        }
        struct edge *edge = &o->edges[node->next - 1];
        struct node *from = &o->nodes[edge->from];
        if (!edge->broken && from->state == UNDER_WAY && !break_circle(o, edge)) {
            return false;
        }
        if (edge->broken || from->state == DONE) {
            node->next = edge->other;
        } else {
            enter(o, edge->from);
        }
    }
    return true;
}

static void start_again(struct order *o)
{
    o->way_count = o->done_count = 0;
    for (size_t i = 0; i < o->count; i++) {
        o->nodes[i].state = NEW;
    }
}

static int by_latest(const void *a, const void *b)
{
    const struct node *x = a, *y = b;
    return (x->row->at < y->row->at) - (x->row->at > y->row->at);
}

static void find_edges(struct order *o)
{
    const struct catalog *c = o->plan->catalog;

    for (size_t i = 0; i < c->table_count; i++) {
        for (size_t k = 0; c->tables[i].named && k < c->tables[i].index_count; k++) {
            add_unique(o, &c->tables[i], &c->tables[i].indexes[k]);
        }
    }
    for (size_t i = 0; i < c->foreign_count; i++) {
        add_foreign(o, &c->foreigns[i]);
    }
}

void undo_order(struct undo_plan *plan)
{
    struct order o = {.plan = plan, .count = plan->row_count};

    o.nodes = xcalloc(o.count + 1, sizeof(*o.nodes));
    o.way = xcalloc(o.count + 1, sizeof(*o.way));
    o.done = xcalloc(o.count + 1, sizeof(*o.done));
    for (size_t i = 0; i < o.count; i++) {
        o.nodes[i].row = plan->rows[i];
    }
    qsort(o.nodes, o.count, sizeof(*o.nodes), by_latest);
    find_edges(&o);
    for (size_t i = 0; i < o.count; i++) {
        if (o.nodes[i].state == NEW && !walk(&o, i)) {
            start_again(&o);
            i = SIZE_MAX; /* from the first one */
        }
    }
    for (size_t i = 0; i < o.count; i++) {
        plan->rows[i] = o.nodes[o.done[i]].row;
    }
    free(o.nodes);
    free(o.way);
    free(o.done);
    free(o.edges);
}
