/* json_fuzz.c - any bytes through the JSON reader; what it accepts must survive being written
 * and read again. SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void write_back(struct json_writer *j, const struct json *value)
{
    switch (value->kind) {
    case JSON_NULL:
        json_null(j);
        break;
    case JSON_BOOL:
        json_bool(j, value->truth);
        break;
    case JSON_NUMBER:
        json_raw(j, value->text);
        break;
    case JSON_TEXT:
        json_view(j, value->text);
        break;
    case JSON_ARRAY:
        json_array(j);
        for (const struct json *one = value->inside; one; one = one->next) {
            write_back(j, one);
        }
        json_end_array(j);
        break;
    case JSON_OBJECT:
        json_object(j);
        for (const struct json *one = value->inside; one; one = one->next) {
            json_name_view(j, one->name);
            write_back(j, one);
        }
        json_end_object(j);
        break;
    }
}

static void assert_same(const struct json *a, const struct json *b)
{
    assert(a->kind == b->kind);
    assert(a->truth == b->truth);
    assert(view_is(a->name, b->name));
    assert(view_is(a->text, b->text));
    const struct json *x = a->inside, *y = b->inside;
    for (; x && y; x = x->next, y = y->next) {
        assert_same(x, y);
    }
    assert(!x && !y);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct arena arena = {0};
    struct writer w = {0};
    struct json *first, *again;

    if (json_parse(&arena, (view){at, len}, &first) == OK) {
        struct json_writer j = json_to(&w);
        write_back(&j, first);
        err e = json_parse(&arena, writer_view(&w), &again);
        assert(e == OK);
        assert_same(first, again);
    }
    writer_fini(&w);
    arena_fini(&arena);
    return 0;
}
