/* pgoutput_fuzz.c - any bytes as one message: decoded inside and outside of a stream; whatever
 * is taken for sound must lie within the bytes. SPDX-License-Identifier: Apache-2.0 */
#include "audit/pgoutput.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void assert_inside(view whole, view part)
{
    if (part.len) {
        assert(part.at >= whole.at);
        assert(part.at + part.len <= whole.at + whole.len);
    }
}

static void check_tuple(view whole, const struct pgoutput_tuple *tuple)
{
    for (int i = 0; i < tuple->count; i++) {
        assert(tuple->values[i].kind != VALUE_ABSENT);
        assert_inside(whole, tuple->values[i].text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct arena arena = {0};
    view whole = {at, len};

    for (int in_stream = 0; in_stream < 2; in_stream++) {
        struct pgoutput_message m;
        if (pgoutput_decode(&arena, whole, in_stream, &m) != OK) {
            continue;
        }
        check_tuple(whole, &m.old);
        check_tuple(whole, &m.new);
        assert_inside(whole, m.content);
        assert_inside(whole, m.prefix);
        for (int i = 0; i < m.relation.count; i++) {
            assert_inside(whole, m.relation.columns[i].name);
        }
        if (m.kind == PGOUTPUT_RELATION) {
            struct relation *copy = relation_new(&m.relation);
            assert(relation_is(copy, &m.relation));
            relation_drop(copy);
        }
    }
    arena_fini(&arena);
    return 0;
}
