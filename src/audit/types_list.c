/* types_list.c - types that hold others: arrays, hstore, vectors.
 *
 * An array's text is {1,NULL,"a,b",{...}}, with its lower bounds in front when they are not 1;
 * JSON arrays have no place for those. Elements go through the element type's own form.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/types_parts.h"

#include <string.h>
#include <strings.h>

#include "audit/scan.h"

#define DIMENSIONS_MAX 6 /* PostgreSQL's own limit */

struct array_text {
    view rest;
    bool bad;
    struct writer item; /* of a quoted one, without its escapes */
};

static uint8_t ahead(const struct array_text *a)
{
    return a->rest.len ? a->rest.at[0] : 0;
}

static bool take(struct array_text *a, char c)
{
    bool is = ahead(a) == (uint8_t)c;

    a->rest = view_from(a->rest, is ? 1 : 0);
    return is;
}

/* Behind the opening quote, through the closing one. */
static view take_quoted(struct array_text *a)
{
    writer_reset(&a->item);
    (void)write_space(&a->item, 1);
    a->item.len = 0;
    while (!take(a, '"')) {
        (void)take(a, '\\');
        if (!a->rest.len) {
            a->bad = true;
            return (view){0};
        }
        write_u8(&a->item, a->rest.at[0]);
        a->rest = view_from(a->rest, 1);
    }
    return writer_view(&a->item);
}

/* An element; a null view is NULL. */
static view take_item(struct array_text *a)
{
    size_t len = 0;

    if (take(a, '"')) {
        return take_quoted(a);
    }
    while (len < a->rest.len && !strchr(",{}\"\\", a->rest.at[len]) && a->rest.at[len]) {
        len++;
    }
    view item = view_upto(a->rest, len);
    a->rest = view_from(a->rest, len);
    a->bad = a->bad || len == 0;
    return view_is(item, VIEW("NULL")) ? (view){0} : item;
}

static void item_to(struct type_modes modes, const struct type *element, view item,
                    struct writer *out)
{
    if (!item.at) {
        write_view(out, VIEW("null"));
    } else {
        (void)type_to_debezium(modes, element, item, out);
    }
}

/* "[0:1][2:3]=" says nothing that JSON could: it is passed over. */
static void skip_bounds(struct array_text *a)
{
    const uint8_t *equals = ahead(a) == '[' ? memchr(a->rest.at, '=', a->rest.len) : NULL;

    if (equals) {
        a->rest = view_from(a->rest, (size_t)(equals - a->rest.at) + 1);
    }
}

static bool array_walk(struct array_text *a, struct type_modes modes,
                       const struct type *element, struct writer *out)
{
    int depth = 0;

    skip_bounds(a);
    do {
        if (take(a, '{')) {
            write_u8(out, '[');
            if (++depth > DIMENSIONS_MAX) {
                return false;
            }
            if (ahead(a) != '}') {
                continue;
            }
        } else if (depth) {
            item_to(modes, element, take_item(a), out);
        } else {
            return false;
        }
        while (depth && take(a, '}')) {
            write_u8(out, ']');
            depth--;
        }
        if (depth && !take(a, ',')) {
            return false;
        }
        write_view(out, depth ? VIEW(",") : VIEW(""));
    } while (depth && !a->bad && a->rest.len);
    return !a->bad && depth == 0 && a->rest.len == 0;
}

bool array_to(struct type_modes modes, const struct type *type, view text, struct writer *out)
{
    struct array_text a = {.rest = text};
    struct type element = *type;
    size_t start = out->len;

    element.array = false;
    bool fine = array_walk(&a, modes, &element, out);
    writer_fini(&a.item);
    out->len = fine ? out->len : start;
    return fine;
}

static bool needs_quotes(view item)
{
    bool is_null = item.len == 4 && strncasecmp((const char *)item.at, "null", 4) == 0;

    for (size_t i = 0; i < item.len; i++) {
        if (!item.at[i] || strchr("\"\\{}, \t\n\r\v\f", item.at[i])) {
            return true;
        }
    }
    return is_null || item.len == 0;
}

static void write_item(view item, struct writer *out)
{
    if (!needs_quotes(item)) {
        write_view(out, item);
        return;
    }
    write_u8(out, '"');
    for (size_t i = 0; i < item.len; i++) {
        if (item.at[i] == '"' || item.at[i] == '\\') {
            write_u8(out, '\\');
        }
        write_u8(out, item.at[i]);
    }
    write_u8(out, '"');
}

/* depth: levels above this one; as deep as the JSON scanner lets it be. */
static bool level_from(struct arena *arena, struct type_modes modes, const struct type *element,
                       view json, int depth, struct writer *out)
{
    struct scan s = scan_of(json);
    bool first = true;
    view item;

    scan_open(&s, '[');
    write_u8(out, '{');
    while (scan_more(&s, ']')) {
        view value = scan_value(&s);
        write_view(out, first ? VIEW("") : VIEW(","));
        first = false;
        if (value.len && value.at[0] == '[' && element->kind != TYPE_VECTOR) {
            if (depth == DIMENSIONS_MAX ||
                !level_from(arena, modes, element, value, depth + 1, out)) {
                return false;
            }
        } else if (scan_is_null(value)) {
            write_view(out, VIEW("NULL"));
        } else if (type_from_debezium(arena, modes, element, value, &item) == OK) {
            write_item(item, out);
        } else {
            return false;
        }
    }
    write_u8(out, '}');
    return scan_end(&s);
}

bool array_from(struct arena *arena, struct type_modes modes, const struct type *type,
                view json, view *text)
{
    struct writer out = {0};
    struct type element = *type;

    element.array = false;
    bool fine = level_from(arena, modes, &element, json, 1, &out);
    *text = fine ? arena_copy(arena, writer_view(&out)) : (view){0};
    writer_fini(&out);
    return fine;
}

/* "a"=>"1", "b"=>NULL */
bool hstore_to(view text, struct writer *out)
{
    struct array_text a = {.rest = text};
    size_t start = out->len;
    bool fine = true, first = true;

    write_u8(out, '{');
    while (fine && a.rest.len) {
        fine = first || (take(&a, ',') && take(&a, ' '));
        write_view(out, first ? VIEW("") : VIEW(","));
        first = false;
        fine = fine && take(&a, '"');
        if (fine) {
            (void)scan_quote(take_quoted(&a), out);
            write_u8(out, ':');
            fine = !a.bad && take(&a, '=') && take(&a, '>');
        }
        if (fine && take(&a, '"')) {
            (void)scan_quote(take_quoted(&a), out);
            fine = !a.bad;
        } else if (fine) {
            fine = view_starts(a.rest, VIEW("NULL"));
            a.rest = view_from(a.rest, 4);
            write_view(out, VIEW("null"));
        }
    }
    write_u8(out, '}');
    writer_fini(&a.item);
    out->len = fine ? out->len : start;
    return fine;
}

bool hstore_text_to(view text, struct writer *out)
{
    struct writer object = {0};
    bool fine = hstore_to(text, &object) && scan_quote(writer_view(&object), out);

    writer_fini(&object);
    return fine;
}

static void write_hstore_text(view text, struct writer *out)
{
    write_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '"' || text.at[i] == '\\') {
            write_u8(out, '\\');
        }
        write_u8(out, text.at[i]);
    }
    write_u8(out, '"');
}

bool hstore_from(struct arena *arena, view json, view *text)
{
    struct scan s = scan_of(json);
    struct writer out = {0};
    bool fine = true;

    scan_open(&s, '{');
    while (fine && scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s), inside;
        write_view(&out, out.len ? VIEW(", ") : VIEW(""));
        write_hstore_text(name, &out);
        write_view(&out, VIEW("=>"));
        if (scan_is_null(value)) {
            write_view(&out, VIEW("NULL"));
        } else if (scan_text(arena, value, &inside)) {
            write_hstore_text(inside, &out);
        } else {
            fine = false;
        }
    }
    fine = fine && scan_end(&s);
    *text = fine ? arena_copy(arena, writer_view(&out)) : (view){0};
    writer_fini(&out);
    return fine;
}

/* "[1,2.5]" */
bool vector_to(view text, struct writer *out)
{
    size_t start = out->len;
    view item, rest = view_upto(view_from(text, 1), text.len > 2 ? text.len - 2 : 0);
    bool fine = text.len > 2 && text.at[0] == '[' && text.at[text.len - 1] == ']';

    write_u8(out, '[');
    for (bool more = true; fine && more;) {
        more = view_cut(rest, ',', &item, &rest);
        fine = float_to(item, out);
        write_view(out, more ? VIEW(",") : VIEW("]"));
    }
    out->len = fine ? out->len : start;
    return fine;
}

bool vector_from(struct arena *arena, view json, view *text)
{
    struct scan s = scan_of(json);
    struct writer out = {0};
    bool fine = true;
    view item;

    scan_open(&s, '[');
    write_u8(&out, '[');
    while (fine && scan_more(&s, ']')) {
        fine = float_from(arena, scan_value(&s), &item);
        write_view(&out, out.len > 1 ? VIEW(",") : VIEW(""));
        write_view(&out, fine ? item : VIEW(""));
    }
    write_u8(&out, ']');
    fine = fine && scan_end(&s);
    *text = fine ? arena_copy(arena, writer_view(&out)) : (view){0};
    writer_fini(&out);
    return fine;
}

/* "{1:1.5,3:2}/5": a map whose keys are no texts is a list of pairs. */
bool sparse_to(view text, struct writer *out)
{
    struct writer made = {0};
    view list, dimensions, pair, rest, index, value;
    int64_t number;
    bool fine = view_cut(text, '/', &list, &dimensions) && scan_is_number(dimensions) &&
                scan_int(dimensions, &number) && list.len >= 2 && list.at[0] == '{' &&
                list.at[list.len - 1] == '}';

    rest = fine ? view_upto(view_from(list, 1), list.len - 2) : (view){0};
    write_format(&made, "{\"dimensions\":%.*s,\"vector\":[", VIEW_ARG(dimensions));
    for (bool more = rest.len > 0; fine && more;) {
        more = view_cut(rest, ',', &pair, &rest);
        fine = view_cut(pair, ':', &index, &value) && scan_is_number(index) &&
               scan_int(index, &number);
        write_format(&made, "[%.*s,", VIEW_ARG(index));
        fine = fine && float_to(value, &made);
        write_view(&made, more ? VIEW("],") : VIEW("]"));
    }
    write_view(&made, VIEW("]}"));
    write_view(out, fine ? writer_view(&made) : VIEW(""));
    writer_fini(&made);
    return fine;
}

static bool pair_from(struct arena *arena, view json, struct writer *out)
{
    struct scan s = scan_of(json);
    int64_t index;
    view item;

    scan_open(&s, '[');
    bool fine = scan_more(&s, ']') && scan_int(scan_value(&s), &index) && scan_more(&s, ']') &&
                float_from(arena, scan_value(&s), &item) && !scan_more(&s, ']') && scan_end(&s);
    if (fine) {
        write_format(out, "%lld:%.*s", (long long)index, VIEW_ARG(item));
    }
    return fine;
}

bool sparse_from(struct arena *arena, view json, view *text)
{
    struct scan s = scan_of(json), pairs = scan_of((view){0});
    struct writer out = {0};
    int64_t dimensions = -1;
    bool fine = true;

    scan_open(&s, '{');
    while (fine && scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s);
        if (view_is_text(name, "dimensions")) {
            fine = scan_int(value, &dimensions);
        } else {
            pairs = scan_of(value);
        }
    }
    scan_open(&pairs, '[');
    write_u8(&out, '{');
    while (fine && scan_more(&pairs, ']')) {
        write_view(&out, out.len > 1 ? VIEW(",") : VIEW(""));
        fine = pair_from(arena, scan_value(&pairs), &out);
    }
    fine = fine && scan_end(&s) && scan_end(&pairs) && dimensions >= 0;
    write_format(&out, "}/%lld", (long long)dimensions);
    *text = fine ? arena_copy(arena, writer_view(&out)) : (view){0};
    writer_fini(&out);
    return fine;
}
