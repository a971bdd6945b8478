/* types_fuzz.c - any text in a column of any type: its form is JSON, and when it is said to
 * lead back, it does. SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "audit/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct column columns[] = {
    {.type = 16, .modifier = -1},
    {.type = 20, .modifier = -1},
    {.type = 25, .modifier = -1},
    {.type = 1700, .modifier = -1},
    {.type = 1700, .modifier = 655366},
    {.type = 701, .modifier = -1},
    {.type = 17, .modifier = -1},
    {.type = 790, .modifier = -1},
    {.type = 1082, .modifier = -1},
    {.type = 1083, .modifier = 3},
    {.type = 1114, .modifier = -1},
    {.type = 1184, .modifier = -1},
    {.type = 1184, .modifier = 3},
    {.type = 1266, .modifier = -1},
    {.type = 1186, .modifier = -1},
    {.type = 1560, .modifier = 9},
    {.type = 1562, .modifier = -1},
    {.type = 600, .modifier = -1},
    {.type = 3802, .modifier = -1},
    {.type = 1007, .modifier = -1},
    {.type = 1009, .modifier = -1},
    {.type = 1185, .modifier = -1},
    {.type = 1231, .modifier = -1},
    {.type = 20001, .modifier = -1, .type_name = VIEW("hstore")},
    {.type = 20002, .modifier = -1, .type_name = VIEW("geometry")},
    {.type = 20003, .modifier = -1, .type_name = VIEW("vector")},
    {.type = 20004, .modifier = -1, .type_name = VIEW("sparsevec")},
    {.type = 20005, .modifier = -1, .type_name = VIEW("_hstore")},
    {.type = 20006, .modifier = -1, .type_name = VIEW("\"My\".\"vector\"[]")},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct writer form = {0}, plain = {0};
    struct json_writer j = json_to(&plain);
    struct json *parsed;
    view back;

    if (size < 2) {
        return 0;
    }
    const struct column *column = &columns[data[0] % COUNT(columns)];
    struct type type = type_of(NULL, column);
    struct type_modes modes = {data[1] % 3, data[1] / 3 % 4, data[1] / 12 % 2, data[1] / 24 % 2,
                               data[1] / 48 % 3};
    type_set_times(&type, modes.times);
    view text = {data + 2, size - 2};
    bool leads_back = type_to_debezium(modes, &type, text, &form);
    assert(json_parse(&arena, writer_view(&form), &parsed) == OK);
    if (leads_back) {
        assert(type_from_debezium(&arena, modes, &type, writer_view(&form), &back) == OK);
        assert(view_is(back, text));
    }
    if (type_from_debezium(&arena, modes, &type, text, &back) == OK) {
        assert(back.at);
    }
    type_to_plain(column, text, &j);
    assert(json_parse(&arena, writer_view(&plain), &parsed) == OK);
    writer_fini(&form);
    writer_fini(&plain);
    arena_fini(&arena);
    return 0;
}
