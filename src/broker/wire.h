/* wire.h - what Kafka's messages add to base/wire.h: text, blobs, arrays, uuids, tagged fields.
 *
 * From its first flexible version on a message has compact lengths (unsigned varint of length
 * plus one, 0 is null) and a section of tagged fields at the end of every struct (KIP-482);
 * before that lengths are i16 (text) or i32 (blobs, arrays), -1 is null, and no tags exist. The
 * flag flex says which: bool flex = r->flexible. Everything read is a view into the frame.
 *
 * Lengths that lie set bad: a count is refused when that many items, at least item_bytes each,
 * cannot fit into the bytes left, so an array may be allocated by its count without more ado.
 */
#ifndef TIDEMARK_BROKER_WIRE_H
#define TIDEMARK_BROKER_WIRE_H

#include "base/base.h"

view read_text(struct reader *r, bool flex); /* null is bad; "" is not null */
view read_text_or_null(struct reader *r, bool flex);
view read_blob(struct reader *r, bool flex); /* bytes and records */
view read_blob_or_null(struct reader *r, bool flex);
/* Items of an array; null counts as none. item_bytes: the least that one can take, 1 or more.
 */
size_t read_count(struct reader *r, bool flex, size_t item_bytes);
/* The same, where null means something else than empty: *is_null. */
size_t read_count_or_null(struct reader *r, bool flex, size_t item_bytes, bool *is_null);
/* Arrays of simple things into the arena; *count is 0 when bad. */
int32_t *read_i32_array(struct reader *r, bool flex, struct arena *arena, size_t *count);
view *read_text_array(struct reader *r, bool flex, struct arena *arena, size_t *count);
uuid read_uuid(struct reader *r);
/* The end of every struct: steps over its tagged fields. Nothing when not flexible. */
void read_tags(struct reader *r, bool flex);
/* The same, handing each field's number and bytes to each(), which sets field->bad on nonsense
 * and may leave bytes unread. Numbers must rise. */
void read_tags_each(struct reader *r, bool flex,
                    void (*each)(void *self, uint32_t tag, struct reader *field), void *self);

void write_text(struct writer *w, bool flex, view text); /* a null view becomes "" */
void write_text_or_null(struct writer *w, bool flex, view text);
void write_chars(struct writer *w, bool flex, const char *text); /* NULL becomes null */
void write_blob(struct writer *w, bool flex, view bytes);        /* a null view becomes empty */
void write_blob_or_null(struct writer *w, bool flex, view bytes);
void write_count(struct writer *w, bool flex, size_t count);
void write_null_count(struct writer *w, bool flex); /* a null array */
void write_i32_array(struct writer *w, bool flex, const int32_t *items, size_t count);
void write_uuid(struct writer *w, uuid id);
void write_no_tags(struct writer *w, bool flex); /* the end of a struct without tagged fields */
/* The end of one with: write_uvarint(number of fields), then each by rising number. */
void write_tag(struct writer *w, uint32_t tag, view bytes);

#endif
