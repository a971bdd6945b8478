/* producers_fuzz.c - any bytes as a snapshot of producers, with a fitting head; what loads must
 * save to bytes that load the same. SPDX-License-Identifier: Apache-2.0 */
#include "log/producers.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    static const uint8_t head[] = {'T', 'M', 'P', 'R', 0, 1, 0, 0};
    struct producers *p = producers_new(16, 1000);
    struct writer in = {0}, first = {0}, second = {0};
    struct log_aborted *aborted;
    int64_t offset;

    if (producers_load(p, (view){at, len}, &offset) != OK) {
        write_bytes(&in, head, sizeof(head));
        write_u32(&in, crc32c(0, (view){at, len}));
        write_bytes(&in, at, len);
        if (producers_load(p, writer_view(&in), &offset) == OK) {
            producers_save(p, offset, &first);
            err e = producers_load(p, writer_view(&first), &offset);
            assert(e == OK);
            producers_save(p, offset, &second);
            assert(view_is(writer_view(&first), writer_view(&second)));
            producers_aborted(p, 0, INT64_MAX, &aborted);
            free(aborted);
            producers_expire(p, INT64_MAX);
            producers_trim(p, INT64_MAX);
        }
    }
    writer_fini(&in);
    writer_fini(&first);
    writer_fini(&second);
    producers_free(p);
    return 0;
}
