/* row_image.h - what is known of one row, carried from change to change; internal.
 *
 * A change rarely says all: default identity sends no values from before, and large values
 * that did not change are not sent at all. Folding changes fills both from what was said
 * before. What was never said stays UNKNOWN; a column that did not exist is ABSENT. Columns are
 * told apart by name: a relation's description names nothing better. One thread. */
#ifndef TIDEMARK_AUDIT_ROW_IMAGE_H
#define TIDEMARK_AUDIT_ROW_IMAGE_H

#include "audit/change.h"

struct row_image {
    struct relation *relation; /* borrowed from the last change; NULL: nothing is known */
    struct value *values;      /* relation->count, in arenas[turn] */
    struct arena arenas[2];    /* the image, and room for the next one */
    int turn;
};

/* The row after the change; of a deleted one: as it was last. */
void row_image_take(struct row_image *image, const struct change *change);
/* A column's value, by the description another change has; ABSENT: it had none such. */
struct value row_image_value(const struct row_image *image, const struct relation *as,
                             int column);
void row_image_forget(struct row_image *image);
void row_image_fini(struct row_image *image);
int row_image_unknown(const struct row_image *image); /* how many columns are UNKNOWN */

/* As bytes, for a temporary table, without the relation; decode takes it from the caller. */
void row_image_encode(const struct row_image *image, struct writer *out);
MUST_CHECK err row_image_decode(struct row_image *image, struct relation *relation, view bytes);

#endif
