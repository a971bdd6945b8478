/* codec_fuzz.h - what the fuzzers of all codecs do; each includes it with FUZZED_CODEC set. */
#ifndef TIDEMARK_LOG_CODEC_FUZZ_H
#define TIDEMARK_LOG_CODEC_FUZZ_H

#include "log/batch.h"

#include <string.h>

#define LIMIT_BYTES 100000
#define DAMAGES_MAX 12 /* bytes of input that say where */

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void inflate_any(view in, size_t limit)
{
    struct writer out = {0};
    err e = codec_inflate(FUZZED_CODEC, in, limit, &out);

    assert(e == OK || e == ERR_CORRUPT || e == ERR_TOO_LARGE);
    assert(out.len <= limit);
    assert(out.room <= limit || limit == 0);
    writer_fini(&out);
}

/* Bytes as they come; what we write of them, whole, then damaged where the input says. */
int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct writer packed = {0}, out = {0};
    view in = {at, len};

    inflate_any(in, LIMIT_BYTES);
    err e = codec_deflate(FUZZED_CODEC, in, &packed);
    assert(e == OK);
    e = codec_inflate(FUZZED_CODEC, writer_view(&packed), len, &out);
    assert(e == OK);
    assert(view_is(writer_view(&out), in));
    for (size_t i = 0; i + 2 < len && i < DAMAGES_MAX; i += 3) {
        size_t place = (size_t)(at[i] << 8 | at[i + 1]);
        packed.at[place % packed.len] ^= at[i + 2];
    }
    inflate_any(writer_view(&packed), LIMIT_BYTES);
    inflate_any(view_upto(writer_view(&packed), len ? at[0] : 0), LIMIT_BYTES);
    writer_fini(&packed);
    writer_fini(&out);
    return 0;
}

#endif
