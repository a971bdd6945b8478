/* types_parts.h - the families of types behind types.c; internal to types*.c.
 *
 * X_to writes the JSON form, or says false and may leave something behind that the caller cuts
 * off: the text is none of this type. *surely: the form leads back, there is no need to try.
 * X_from gives the text back, or false when the JSON is no such value. */
#ifndef TIDEMARK_AUDIT_TYPES_PARTS_H
#define TIDEMARK_AUDIT_TYPES_PARTS_H

#include "audit/types.h"

/* Always writes a form; false: it does not lead back. */
bool decimal_to(struct type_modes modes, const struct type *type, view text,
                struct writer *out);
bool decimal_from(struct arena *arena, struct type_modes modes, const struct type *type,
                  view json, view *text);
bool money_to(struct type_modes modes, view text, struct writer *out);
bool money_from(struct arena *arena, struct type_modes modes, view json, view *text);

bool float_to(view text, struct writer *out); /* a number is never written as a whole one */
bool float_from(struct arena *arena, view json, view *text);

void base64_to(view bytes, struct writer *out); /* with its quotes */
bool base64_from(struct arena *arena, view json, view *bytes);
bool hex_read(view hex, struct writer *bytes); /* appends; false: not hexadecimal */
void hex_write(view bytes, bool upper, struct writer *out);

bool bytes_to(struct type_modes modes, view text, struct writer *out, bool *surely);
bool bytes_from(struct arena *arena, struct type_modes modes, view json, view *text);
bool bits_to(const struct type *type, view text, struct writer *out);
bool bits_from(struct arena *arena, const struct type *type, view json, view *text);

bool time_to(const struct type *type, view text, struct writer *out, bool *surely);
bool time_from(struct arena *arena, const struct type *type, view json, view *text);

bool interval_text_to(view text, struct writer *out); /* ISO 8601; does not lead back */

bool point_to(view text, struct writer *out);
bool point_from(struct arena *arena, view json, view *text);
bool geometry_to(view text, struct writer *out);
bool geometry_from(struct arena *arena, view json, view *text);

bool array_to(struct type_modes modes, const struct type *type, view text, struct writer *out);
bool array_from(struct arena *arena, struct type_modes modes, const struct type *type,
                view json, view *text);
bool hstore_to(view text, struct writer *out);
bool hstore_text_to(view text, struct writer *out); /* as a JSON text of JSON */
bool hstore_from(struct arena *arena, view json, view *text);
bool vector_to(view text, struct writer *out);
bool vector_from(struct arena *arena, view json, view *text);
bool sparse_to(view text, struct writer *out);
bool sparse_from(struct arena *arena, view json, view *text);

#endif
