/* json.h - writing JSON into a struct writer, and a small reader for requests and answers.
 *
 * Writer: calls nest; commas and escaping are its business; text that is not UTF-8 has its bad
 * bytes replaced by U+FFFD. Reader: whole documents of at most JSON_DEPTH_MAX levels, parsed
 * into an arena; numbers keep their source text, so nothing is rounded. RFC 8259. */
#ifndef TIDEMARK_BASE_JSON_H
#define TIDEMARK_BASE_JSON_H

#include "base/wire.h"

#define JSON_DEPTH_MAX 64

struct json_writer {
    struct writer *out;
    unsigned depth;
    bool first[JSON_DEPTH_MAX]; /* no comma is due yet at this level */
    bool after_name;
};

struct json_writer json_to(struct writer *out);
void json_object(struct json_writer *j);
void json_end_object(struct json_writer *j);
void json_array(struct json_writer *j);
void json_end_array(struct json_writer *j);
void json_name(struct json_writer *j, const char *name);
void json_name_view(struct json_writer *j, view name);
void json_view(struct json_writer *j, view text);        /* a null view gives null */
void json_text(struct json_writer *j, const char *text); /* NULL gives null */
PRINTF_LIKE(2, 3) void json_textf(struct json_writer *j, const char *format, ...);
void json_int(struct json_writer *j, int64_t value);
void json_number(struct json_writer *j, double value); /* null when not finite */
void json_bool(struct json_writer *j, bool value);
void json_null(struct json_writer *j);
void json_raw(struct json_writer *j, view json); /* is JSON already */

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_kind kind;
    bool truth;          /* JSON_BOOL */
    view name;           /* of an object's member, unescaped */
    view text;           /* JSON_TEXT unescaped; JSON_NUMBER as written */
    struct json *inside; /* first member or item, NULL when none */
    struct json *next;   /* sibling */
};

/* ERR_INVALID names line and column. Views live in the arena or in text. */
MUST_CHECK err json_parse(struct arena *arena, view text, struct json **out);
const struct json *json_get(const struct json *object, const char *name); /* NULL: missing */
/* Of a member: NOT_FOUND when missing, INVALID naming it when of another kind. */
MUST_CHECK err json_get_text(const struct json *object, const char *name, view *out);
MUST_CHECK err json_get_int(const struct json *object, const char *name, int64_t *out);
MUST_CHECK err json_get_bool(const struct json *object, const char *name, bool *out);

#endif
