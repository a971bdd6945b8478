/* scan.h - JSON taken as it comes: a cursor over text that skips what nobody asks for;
 * internal.
 *
 * Envelopes are read a hundred thousand a second, so they are not made trees of. Values come
 * back as they stand in the text, checked to be JSON of at most JSON_DEPTH_MAX levels; only
 * texts that are asked for are unescaped. Errors stick: after one, every call yields nothing.
 *
 *   scan_open(&s, '{'); while (scan_more(&s, '}')) { name = scan_name(&s, arena); ... }
 *
 * Source: RFC 8259. */
#ifndef TIDEMARK_AUDIT_SCAN_H
#define TIDEMARK_AUDIT_SCAN_H

#include <string.h>

#include "base/base.h"

/* Is the view these letters? Without a call, since names are compared all the time. */
#define SCAN_IS(v, literal)                                                                    \
    ((v).len == sizeof(literal) - 1 && memcmp((v).at, "" literal, sizeof(literal) - 1) == 0)

struct scan {
    view rest;
    bool bad;
    bool fresh; /* just behind an opening bracket: no comma is due */
    unsigned depth_max;
};

struct scan scan_of(view json);
void scan_open(struct scan *s, char bracket);
bool scan_more(struct scan *s, char bracket); /* an item follows; else the bracket is taken */
view scan_name(struct scan *s, struct arena *arena);
view scan_value(struct scan *s);            /* any value, as it stands */
bool scan_is_ahead(struct scan *s, char c); /* is that what comes next? */
bool scan_end(struct scan *s);              /* nothing is left, and all was well */

/* Of one value as it stands. */
bool scan_is_null(view value);
/* A text's content, unescaped in the arena when it has to be. False: no text. */
bool scan_text(struct arena *arena, view value, view *out);
bool scan_int(view value, int64_t *out);          /* false: no whole number of 64 bits */
bool scan_lsn(view value, uint64_t *out);         /* unsigned */
bool scan_is_number(view text);                   /* exactly one JSON number */
bool scan_is_json(view text, unsigned depth_max); /* exactly one value, no deeper */

/* The other way: text as a JSON text, with the bytes escaped that must be. False: it is not
 * UTF-8, and U+FFFD stands for what is not. */
bool scan_quote(view text, struct writer *out);
void scan_digits(int64_t value, struct writer *out);
void scan_digits_unsigned(uint64_t value, struct writer *out);
#define SCAN_DIGITS_MAX 20
size_t scan_digits_into(uint64_t value, char out[SCAN_DIGITS_MAX]); /* their count */

#endif
