/* trail_blocks_fuzz.c - any bytes as the blobs of a block, with a checksum that fits.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "audit/trail_blocks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trail_place places[CHUNK_PLACES];
    uint64_t bits[TRAIL_BITS] = {0};
    struct writer blob = {0};
    size_t count = 0;

    write_bytes(&blob, data, size);
    if (size > 4 && data[0] & 1) {
        write_u32(&blob, crc32c(0, writer_view(&blob)));
    }
    (void)bucket_find(writer_view(&blob), size > 3 ? get_u32(data) : 0, bits);
    if (chunk_read(writer_view(&blob), places, &count) == OK) {
        assert(count <= CHUNK_PLACES);
    }
    writer_fini(&blob);
    return 0;
}
