/* api_fuzz.c - every decoder of requests over arbitrary bytes: byte 0 picks the API, byte 1 the
 * version, the rest is the body. What a body claims must stay in proportion to what it is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#define BYTES_PER_BYTE_MAX 400 /* of memory for one byte of a body */
#define BYTES_ANYWAY (64 << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct broker broker = {.frames = {.name = "fuzz", .limit_bytes = SIZE_MAX / 2}};
    struct request r = {.broker = &broker};

    if (size < 2) {
        return 0;
    }
    r.api = &apis[data[0] % api_count];
    int versions = r.api->newest - r.api->oldest + 1;
    r.version = (int16_t)(r.api->oldest + data[1] % versions);
    r.flexible = r.version >= r.api->flexible_from;
    r.body = (struct reader){.rest = {data + 2, size - 2}};
    r.api->read(&r);
    assert(r.arena.bytes <= BYTES_ANYWAY + size * BYTES_PER_BYTE_MAX);
    pool_refund(&broker.frames, r.charged);
    arena_fini(&r.arena);
    return 0;
}
