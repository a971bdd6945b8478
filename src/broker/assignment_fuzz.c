/* assignment_fuzz.c - any bytes as what a consumer was given: refused whole, or JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    struct arena arena = {0};
    struct json *parsed = NULL;

    if (assignment_to_json((view){at, len}, &j)) {
        err e = json_parse(&arena, writer_view(&out), &parsed);
        assert(e == OK);
        assert(parsed->kind == JSON_OBJECT);
    } else {
        assert(out.len == 0);
    }
    writer_fini(&out);
    arena_fini(&arena);
    return 0;
}
