/* snapshot_window.c - a chunk between two messages: which of its rows still hold at the second.
 *
 * The chunk is read in a snapshot taken after the first message was committed and before the
 * second was sent. A row whose key no change of that time names is the same at the second
 * message, and may be given there; of the others the stream has the newest state.
 *
 * Tables without key are counted, whole rows at a time: a row that the snapshot sees and the
 * stream has inserted is not given again; one that was removed after the snapshot neither.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/snapshot_inside.h"

struct touch {
    int64_t inserted; /* keyless: seen by the snapshot and in the stream, so far */
    int64_t left_out; /* keyless: so many lines like this are not given */
};

struct noted { /* keyless: whether the snapshot sees it is known only when it was read */
    struct noted *next;
    uint32_t xid;
    view before, after; /* as keys; null: no such image */
};

void window_fini(struct window *window)
{
    writer_fini(&window->lines);
    map_fini(&window->touched);
    arena_fini(&window->arena);
    free(window->running);
    *window = (struct window){0};
}

void window_line(struct window *window, view line)
{
    assert(line.len <= UINT32_MAX);
    write_u32(&window->lines, (uint32_t)line.len);
    write_view(&window->lines, line);
}

void window_begin(struct window *window, const struct table *table, int64_t serial)
{
    struct writer lines = window->lines;

    window->lines = (struct writer){0};
    window_fini(window);
    writer_reset(&lines);
    *window = (struct window){
        .state = WINDOW_ASKED, .serial = serial, .table = table, .lines = lines};
}

err window_snapshot(struct window *window, view text)
{
    view part = {0}, rest = text;
    int64_t number = 0;
    size_t room = 0;

    (void)view_cut(rest, ':', &part, &rest); /* xmin: all older ones are over */
    bool whole = view_cut(rest, ':', &part, &rest);
    err e = whole ? view_to_int(part, &number) : ERR_INVALID;
    window->xmax = (uint32_t)number;
    while (!e && rest.len) {
        (void)view_cut(rest, ',', &part, &rest);
        e = view_to_int(part, &number);
        window->running =
            array_room(window->running, window->running_count, &room, sizeof(uint32_t));
        window->running[window->running_count++] = (uint32_t)number;
    }
    return e ? fault(ERR_CORRUPT, "\"%.*s\" is no snapshot", VIEW_ARG(text)) : OK;
}

bool window_sees(const struct window *window, uint32_t xid)
{
    if ((int32_t)(xid - window->xmax) >= 0) { /* they wrap */
        return false;
    }
    for (size_t i = 0; i < window->running_count; i++) {
        if (window->running[i] == xid) {
            return false;
        }
    }
    return true;
}

/* The key's values, or all of them, with their lengths. other fills what is not known. False:
 * one of them is known on neither side. */
static bool write_key(const struct table *table, const struct value *values,
                      const struct value *other, struct writer *out)
{
    int count = table->key_count ? table->key_count : table->relation->count;

    writer_reset(out);
    for (int i = 0; i < count; i++) {
        int at = table->key_count ? table->key[i] : i;
        const struct value *v = &values[at];
        bool known = v->kind == VALUE_TEXT || v->kind == VALUE_NULL;
        if (!known && other) {
            v = &other[at];
            known = v->kind == VALUE_TEXT || v->kind == VALUE_NULL;
        }
        if (!known) {
            return false;
        }
        write_u32(out, v->kind == VALUE_NULL ? UINT32_MAX : (uint32_t)v->text.len);
        write_view(out, v->kind == VALUE_NULL ? (view){0} : v->text);
    }
    return true;
}

static struct touch *touched(struct window *window, view key)
{
    struct touch *found = map_get(&window->touched, key);

    if (!found) {
        found = arena_take(&window->arena, sizeof(*found));
        (void)map_put(&window->touched, arena_copy(&window->arena, key), found);
    }
    return found;
}

static void touch(struct window *window, const struct value *values, const struct value *other)
{
    struct writer key = {0};

    if (!write_key(window->table, values, other, &key)) {
        window->unsure = true;
    } else {
        (void)touched(window, writer_view(&key));
    }
    writer_fini(&key);
}

static view copied_key(struct window *window, const struct value *values,
                       const struct value *other)
{
    struct writer key = {0};
    view copy = {0};

    if (values && write_key(window->table, values, other, &key)) {
        copy = arena_copy(&window->arena, writer_view(&key));
    } else if (values) {
        window->unsure = true;
    }
    writer_fini(&key);
    return copy;
}

static void note(struct window *window, const struct change *change)
{
    struct noted *noted = arena_take(&window->arena, sizeof(*noted));

    noted->xid = change->place.xid;
    noted->before = copied_key(window, change->before, NULL);
    noted->after = copied_key(window, change->after, change->before);
    *(window->last ? window->last : &window->noted) = noted;
    window->last = &noted->next;
}

static void count_noted(struct window *window)
{
    for (const struct noted *n = window->noted; n; n = n->next) {
        bool seen = window_sees(window, n->xid);
        struct touch *old = n->before.at && !seen ? touched(window, n->before) : NULL;
        if (old && old->inserted) {
            old->inserted--; /* left out already, and gone again */
        } else if (old) {
            old->left_out++;
        }
        struct touch *made = n->after.at && seen ? touched(window, n->after) : NULL;
        if (made) {
            made->inserted++;
            made->left_out++;
        }
    }
}

void window_touch(struct window *window, const struct change *change)
{
    if (change->kind == CHANGE_TRUNCATE) {
        window->truncated = true;
        return;
    }
    if (!window->table->key_count) {
        note(window, change);
        return;
    }
    if (change->after) {
        touch(window, change->after, change->before);
    }
    if (change->before) { /* the key as it was, when it changed */
        touch(window, change->before, change->after);
    }
}

static bool holds(struct window *window, const struct value *values, struct writer *key)
{
    if (!write_key(window->table, values, NULL, key)) {
        return true;
    }
    struct touch *found = map_get(&window->touched, writer_view(key));
    if (!found || window->table->key_count) {
        return !found;
    }
    if (found->left_out > 0) {
        found->left_out--;
        return false;
    }
    return true;
}

err window_give(struct window *window, err (*each)(void *self, struct value *values),
                void *self)
{
    int count = window->table->relation->count;
    struct value *values = xcalloc((size_t)count + 1, sizeof(*values));
    struct reader lines = {.rest = writer_view(&window->lines)};
    struct arena arena = {0};
    struct writer key = {0};
    err e = OK;

    count_noted(window);
    while (lines.rest.len && !e && !window->truncated) {
        view line = read_bytes(&lines, read_u32(&lines));
        arena_reset(&arena);
        e = line_parse(&arena, line, values, count);
        if (!e && holds(window, values, &key)) {
            e = each(self, values);
        }
    }
    assert(!lines.bad);
    writer_fini(&key);
    arena_fini(&arena);
    free(values);
    return e;
}
