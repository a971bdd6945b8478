/* snapshot_line_fuzz.c - any bytes as a copied row: parsed within bounds, and written again the
 * way COPY does they mean the same. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "audit/snapshot_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COLUMNS 5

static void write_field(struct writer *out, const struct value *value)
{
    static const char from[] = "\b\f\n\r\t\v\\", to[] = "bfnrtv\\";

    if (value->kind == VALUE_NULL) {
        write_format(out, "\\N");
    }
    for (size_t i = 0; value->kind == VALUE_TEXT && i < value->text.len; i++) {
        uint8_t c = value->text.at[i];
        const char *found = c ? strchr(from, c) : NULL;
        write_format(out, found ? "\\" : "");
        write_u8(out, found ? (uint8_t)to[found - from] : c);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct writer again = {0};
    struct value first[COLUMNS], second[COLUMNS];
    int count = size ? data[0] % (COLUMNS + 1) : 0;
    view line = {data + (size ? 1 : 0), size ? size - 1 : 0};

    if (!line_parse(&arena, line, first, count)) {
        for (int i = 0; i < count; i++) {
            write_format(&again, i ? "\t" : "");
            write_field(&again, &first[i]);
        }
        err e = line_parse(&arena, writer_view(&again), second, count);
        assert(!e);
        for (int i = 0; i < count; i++) {
            assert(first[i].kind == second[i].kind);
            assert(first[i].kind != VALUE_TEXT || view_is(first[i].text, second[i].text));
        }
    }
    writer_fini(&again);
    arena_fini(&arena);
    return 0;
}
