/* ref_fuzz.c - arbitrary text as a reference; what is read is written so that it reads the
 * same. SPDX-License-Identifier: Apache-2.0 */
#include "audit/ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct arena arena = {0};
    struct writer out = {0}, again = {0};
    struct ref ref, same;

    if (ref_parse(&arena, (view){at, len}, &ref) == OK) {
        ref_print(&ref, &out);
        assert(ref_parse(&arena, writer_view(&out), &same) == OK);
        ref_print(&same, &again);
        assert(same.kind == ref.kind);
        assert(view_is(writer_view(&out), writer_view(&again)));
        assert(view_is(same.key, ref.key));
        assert(view_is(same.table, ref.table));
    }
    writer_fini(&out);
    writer_fini(&again);
    arena_fini(&arena);
    return 0;
}
