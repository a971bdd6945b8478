/* line.h - records as lines of text, both ways: value, key-value, json, hex; internal to cli/.
 *
 *   value      VALUE                         key-value  KEY<separator>VALUE
 *   hex        KEY VALUE, "-" for null       json       one object, all there is of a record
 *
 * What json writes, json reads back exactly, bytes that are not UTF-8 included (key_hex,
 * value_hex); so does hex, for keys and values. Where a record came from (ref, topic,
 * partition, offset) is written, and passed over when reading: it says nothing of where it
 * goes. Pure functions. */
#ifndef TIDEMARK_CLI_LINE_H
#define TIDEMARK_CLI_LINE_H

#include "base/base.h"

#define LINE_SEPARATOR "\t" /* of key-value, when none is given */

enum line_format { LINE_VALUE, LINE_KEY_VALUE, LINE_JSON, LINE_HEX };
extern const char *const line_formats[]; /* names, by number; ends with NULL */

struct line_header {
    view name, value; /* value null: none */
};

struct line_record {
    view topic;
    int32_t partition; /* of reading: -1 */
    int64_t offset;
    int64_t timestamp_ms; /* -1: none */
    view key, value;      /* null views where null */
    struct line_header *headers;
    size_t header_count;
};

/* Views borrow from line or live in the arena. INVALID says what is wrong with it. */
MUST_CHECK err line_read(enum line_format format, const char *separator, view line,
                         struct arena *arena, struct line_record *out);
/* With its line break. */
void line_write(enum line_format format, const char *separator,
                const struct line_record *record, struct writer *out);

#endif
