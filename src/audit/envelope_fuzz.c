/* envelope_fuzz.c - a record that anybody wrote to a table's topic: read, or refused; what is
 * read can be shown and written again. SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "audit/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct relation *find_only(void *self, uint32_t version)
{
    return version < 3 ? self : NULL;
}

static struct relation *relation_made(void)
{
    struct column columns[] = {
        {.name = VIEW("id"), .type = 20, .modifier = -1, .key = true},
        {.name = VIEW("a"), .type = 25, .modifier = -1},
        {.name = VIEW("n"), .type = 1700, .modifier = -1},
        {.name = VIEW("t"), .type = 1184, .modifier = -1},
        {.name = VIEW("l"), .type = 1009, .modifier = -1},
    };
    struct relation relation = {.identity = 'd',
                                .version = 1,
                                .schema = VIEW("public"),
                                .name = VIEW("t"),
                                .columns = columns,
                                .count = COUNT(columns)};

    return relation_new(&relation);
}

static void show_and_write(struct arena *arena, const struct change *change)
{
    struct envelope_options options = {
        .source = VIEW("s"), .database = VIEW("d"), .tombstones = true};
    struct envelope_out out = {.arena = arena};
    struct envelope_source source = {.now_ms = 1};
    struct change_origin origin = {.source = VIEW("s"), .topic = VIEW("s.public.t")};
    struct writer text = {0};
    struct json_writer j = json_to(&text);
    struct json *parsed;

    change_to_json(change, &origin, &j);
    assert(json_parse(arena, writer_view(&text), &parsed) == OK);
    envelope_write(&options, &source, change, &out);
    envelope_out_fini(&out);
    writer_fini(&text);
}

/* Input: the header's length in two bytes, the header, the value. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct change change;
    bool is_change;

    if (size < 2) {
        return 0;
    }
    size_t head = MIN((size_t)get_u16(data), size - 2);
    struct header header = {VIEW(ENVELOPE_HEADER), {data + 2, head}};
    struct record record = {
        .value = {data + 2 + head, size - 2 - head}, .headers = &header, .header_count = 1};
    struct relation *relation = relation_made();
    struct relation_finder finder = {find_only, relation};
    if (envelope_read(&arena, &record, &finder, &change, &is_change) == OK && is_change) {
        show_and_write(&arena, &change);
    }
    relation_drop(relation);
    arena_fini(&arena);
    return 0;
}
