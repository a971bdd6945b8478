/* row_image.c - folding changes into what is known of a row.
 *
 * Bytes of an image: per column kind u8, and for a text its length uvarint and itself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/row_image.h"

static bool is_known(struct value value)
{
    return value.kind == VALUE_TEXT || value.kind == VALUE_NULL;
}

struct value row_image_value(const struct row_image *image, const struct relation *as,
                             int column)
{
    int at = column;

    assert(column >= 0 && column < as->count);
    if (!image->relation) {
        return (struct value){.kind = VALUE_UNKNOWN};
    }
    if (image->relation != as) {
        at = relation_column(image->relation, as->columns[column].name);
    }
    return at < 0 ? (struct value){.kind = VALUE_ABSENT} : image->values[at];
}

/* What the change itself says of the column, else what was known, else unknown. */
static struct value newest(const struct row_image *image, const struct change *change,
                           int column)
{
    if (change->after && change->after[column].kind != VALUE_UNKNOWN) {
        return change->after[column];
    }
    if (change->before && is_known(change->before[column])) {
        return change->before[column];
    }
    struct value before = row_image_value(image, change->relation, column);
    return is_known(before) ? before : (struct value){.kind = VALUE_UNKNOWN};
}

void row_image_take(struct row_image *image, const struct change *change)
{
    struct relation *relation = change->relation;
    struct arena *next = &image->arenas[1 - image->turn];

    assert(relation);
    arena_reset(next);
    struct value *values = arena_take(next, (size_t)relation->count * sizeof(*values) + 1);
    for (int i = 0; i < relation->count; i++) {
        values[i] = newest(image, change, i);
        if (values[i].kind == VALUE_TEXT) {
            values[i].text = arena_copy(next, values[i].text);
        }
    }
    image->relation = relation;
    image->values = values;
    image->turn = 1 - image->turn;
}

void row_image_forget(struct row_image *image)
{
    image->relation = NULL;
    image->values = NULL;
}

void row_image_fini(struct row_image *image)
{
    row_image_forget(image);
    arena_fini(&image->arenas[0]);
    arena_fini(&image->arenas[1]);
}

int row_image_unknown(const struct row_image *image)
{
    int unknown = 0;

    for (int i = 0; image->relation && i < image->relation->count; i++) {
        unknown += image->values[i].kind == VALUE_UNKNOWN;
    }
    return unknown;
}

void row_image_encode(const struct row_image *image, struct writer *out)
{
    assert(image->relation);
    for (int i = 0; i < image->relation->count; i++) {
        write_u8(out, (uint8_t)image->values[i].kind);
        if (image->values[i].kind == VALUE_TEXT) {
            write_uvarint(out, (uint32_t)image->values[i].text.len);
            write_view(out, image->values[i].text);
        }
    }
}

err row_image_decode(struct row_image *image, struct relation *relation, view bytes)
{
    struct arena *arena = &image->arenas[image->turn];
    struct reader r = {.rest = bytes};

    arena_reset(arena);
    image->values = arena_take(arena, (size_t)relation->count * sizeof(*image->values) + 1);
    image->relation = relation;
    for (int i = 0; i < relation->count; i++) {
        uint8_t kind = read_u8(&r);
        r.bad = r.bad || kind > VALUE_UNKNOWN;
        image->values[i].kind = (enum value_kind)kind;
        if (kind == VALUE_TEXT) {
            image->values[i].text = arena_copy(arena, read_bytes(&r, read_uvarint(&r)));
        }
    }
    if (r.bad || r.rest.len) {
        row_image_forget(image);
        return fault(ERR_CORRUPT, "a kept row of %.*s does not parse",
                     VIEW_ARG(relation->name));
    }
    return OK;
}
