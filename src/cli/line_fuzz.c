/* line_fuzz.c - any line in any format; what was read is written and read back the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "cli/line.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void assert_same(view a, view b)
{
    assert(!a.at == !b.at);
    assert(view_is(a, b));
}

static void there_and_back(enum line_format format, struct arena *arena, view line)
{
    struct line_record record, again;
    struct writer out = {0};

    if (line_read(format, LINE_SEPARATOR, line, arena, &record) == OK) {
        line_write(format, LINE_SEPARATOR, &record, &out);
        view written = view_upto(writer_view(&out), out.len - 1); /* its line break */
        err e = line_read(format, LINE_SEPARATOR, written, arena, &again);
        assert(e == OK);
        assert_same(record.key, again.key);
        assert_same(record.value, again.value);
        assert(record.timestamp_ms == again.timestamp_ms || record.timestamp_ms < 0);
        assert(record.header_count == again.header_count);
        for (size_t i = 0; i < record.header_count; i++) {
            assert_same(record.headers[i].name, again.headers[i].name);
            assert_same(record.headers[i].value, again.headers[i].value);
        }
    }
    writer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct arena arena = {0};

    if (len > 0) {
        there_and_back((enum line_format)(at[0] % 4), &arena, (view){at + 1, len - 1});
    }
    arena_fini(&arena);
    return 0;
}
