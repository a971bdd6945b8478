/* snapshot_line.c - a line of COPY's text format: fields by tabs, \N for null, backslashes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "audit/snapshot_inside.h"

static int octal(uint8_t c)
{
    return c >= '0' && c <= '7' ? c - '0' : -1;
}

/* *i stands on the character behind the backslash, and then on the escape's last one. */
static uint8_t unescape(view field, size_t *i)
{
    static const char from[] = "bfnrtv", to[] = "\b\f\n\r\t\v";
    uint8_t c = field.at[*i];
    const char *found = c ? strchr(from, c) : NULL;
    int value = octal(c);

    if (found) {
        return (uint8_t)to[found - from];
    }
    if (value < 0) {
        return c;
    }
    for (int digits = 1; digits < 3 && *i + 1 < field.len && octal(field.at[*i + 1]) >= 0;
         digits++) {
        value = value * 8 + octal(field.at[++*i]);
    }
    return (uint8_t)value;
}

static view unescaped(struct arena *arena, view field)
{
    uint8_t *out = arena_take(arena, field.len);
    size_t len = 0;

    for (size_t i = 0; i < field.len; i++) {
        if (field.at[i] == '\\' && i + 1 < field.len) {
            i++;
            out[len++] = unescape(field, &i);
        } else {
            out[len++] = field.at[i];
        }
    }
    return (view){out, len};
}

err line_parse(struct arena *arena, view line, struct value *values, int count)
{
    line = line.at ? line : VIEW("");
    bool escapes = memchr(line.at, '\\', line.len);
    const uint8_t *at = line.at, *end = line.at + line.len;

    for (int i = 0; i < count; i++) {
        const uint8_t *tab = at < end ? memchr(at, '\t', (size_t)(end - at)) : NULL;
        const uint8_t *stop = tab ? tab : end;
        view field = {at, (size_t)(stop - at)};
        if ((i + 1 < count) != (tab != NULL)) {
            return fault(ERR_CORRUPT, "a copied row has %s columns than its table's %d",
                         tab ? "more" : "fewer", count);
        }
        if (escapes && view_is_text(field, "\\N")) {
            values[i] = (struct value){.kind = VALUE_NULL};
        } else if (escapes && field.len && memchr(field.at, '\\', field.len)) {
            values[i] = (struct value){VALUE_TEXT, unescaped(arena, field)};
        } else {
            values[i] = (struct value){VALUE_TEXT, field};
        }
        at = tab ? tab + 1 : end;
    }
    return count || !line.len ? OK
                              : fault(ERR_CORRUPT, "a copied row has columns, its table none");
}
