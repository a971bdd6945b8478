/* codec.c - the four codecs of record batches, whole buffers, output bounded.
 *
 * Formats as Kafka's clients write them: gzip (RFC 1952, one member or several), snappy (raw,
 * or xerial framing: an 8-byte magic, two i32 versions, then {i32 length, raw block}...), LZ4
 * frames, zstd frames with or without a content size. Invariant: never more than limit bytes
 * are added, and memory follows what was really inflated, not what a header claims.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/batch.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define OUT_FIRST_BYTES 4096
#define OUT_STEP_MAX (64 << 20)      /* most that is asked of a codec in one call */
#define GZIP_WINDOW (MAX_WBITS + 16) /* + 16: gzip heads, not zlib's */
#define GZIP_MEMORY_LEVEL 8
#define XERIAL_HEAD_BYTES 16
#define XERIAL_BLOCK_BYTES 32768
#define SNAPPY_RATIO_MAX 22 /* a copy of 64 bytes takes 3 */

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

struct sink { /* where inflated bytes go */
    struct writer *out;
    size_t end; /* out->len may not pass it */
};

static err too_large(const struct sink *sink)
{
    return fault(ERR_TOO_LARGE, "inflates to more than the limit, %zu bytes in all", sink->end);
}

static err broken(const char *codec)
{
    return fault(ERR_CORRUPT, "the %s data is broken", codec);
}

/* Free room at the end of out, unlike write_space not cleared first: 0 when at the limit. */
static size_t sink_room(struct sink *sink)
{
    struct writer *out = sink->out;

    if (out->len == out->room && out->len < sink->end) {
        out->room = MIN(sink->end, MAX(out->room * 2, (size_t)OUT_FIRST_BYTES));
        out->at = xrealloc(out->at, out->room);
    }
    size_t room = MIN(sink->end, out->room) - out->len;
    return MIN(room, (size_t)OUT_STEP_MAX);
}

static void reserve(struct writer *out, size_t bytes)
{
    if (out->room - out->len < bytes) {
        out->room = out->len + bytes;
        out->at = xrealloc(out->at, out->room);
    }
}

/* One member after another; Z_STREAM_END with input left means that another one begins. */
static err gunzip_all(z_stream *z, struct sink *sink)
{
    int code = Z_OK;

    while (code != Z_STREAM_END || z->avail_in > 0) {
        if (code == Z_STREAM_END && inflateReset(z) != Z_OK) {
            return broken("gzip");
        }
        uint8_t probe;
        size_t room = sink_room(sink);
        z->next_out = room ? sink->out->at + sink->out->len : &probe;
        z->avail_out = room ? (uInt)room : 1;
        code = inflate(z, Z_NO_FLUSH);
        if (code != Z_OK && code != Z_STREAM_END) { /* Z_BUF_ERROR: the input is cut short */
            return broken("gzip");
        }
        if (room == 0 && z->avail_out == 0) {
            return too_large(sink);
        }
        sink->out->len += room ? room - z->avail_out : 0;
    }
    return OK;
}

static err gzip_inflate(view in, struct sink *sink)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)in.at, .avail_in = (uInt)in.len};
    int code = inflateInit2(&z, GZIP_WINDOW);

    assert(code == Z_OK);
    err e = gunzip_all(&z, sink);
    inflateEnd(&z);
    return e;
}

static err gzip_deflate(view in, struct writer *out)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)in.at, .avail_in = (uInt)in.len};
    int code = deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW,
                            GZIP_MEMORY_LEVEL, Z_DEFAULT_STRATEGY);

    assert(code == Z_OK);
    reserve(out, deflateBound(&z, (uLong)in.len));
    z.next_out = out->at + out->len;
    z.avail_out = (uInt)(out->room - out->len);
    code = deflate(&z, Z_FINISH);
    assert(code == Z_STREAM_END);
    out->len = out->room - z.avail_out;
    deflateEnd(&z);
    return OK;
}

static err snappy_block(view in, struct sink *sink)
{
    const char *at = (const char *)in.at;
    size_t bytes;

    if (snappy_uncompressed_length(at, in.len, &bytes) != SNAPPY_OK ||
        bytes / SNAPPY_RATIO_MAX > in.len) {
        return broken("snappy");
    }
    if (bytes > sink->end - sink->out->len) {
        return too_large(sink);
    }
    reserve(sink->out, MAX(bytes, (size_t)1));
    if (snappy_uncompress(at, in.len, (char *)sink->out->at + sink->out->len, &bytes) !=
        SNAPPY_OK) {
        return broken("snappy");
    }
    sink->out->len += bytes;
    return OK;
}

static err snappy_inflate(view in, struct sink *sink)
{
    struct reader r = {.rest = view_from(in, XERIAL_HEAD_BYTES)};

    if (!view_starts(in, (view){xerial_magic, sizeof(xerial_magic)})) {
        return snappy_block(in, sink);
    }
    if (in.len < XERIAL_HEAD_BYTES) {
        return broken("snappy");
    }
    while (r.rest.len > 0) {
        view block = read_bytes(&r, read_u32(&r));
        if (r.bad) {
            return broken("snappy");
        }
        err e = snappy_block(block, sink);
        if (e) {
            return e;
        }
    }
    return OK;
}

static err snappy_deflate(view in, struct writer *out)
{
    write_bytes(out, xerial_magic, sizeof(xerial_magic));
    write_u32(out, 1); /* version */
    write_u32(out, 1); /* oldest version that can read it */
    for (; in.len; in = view_from(in, XERIAL_BLOCK_BYTES)) {
        view block = view_upto(in, XERIAL_BLOCK_BYTES);
        size_t bytes = snappy_max_compressed_length(block.len);
        reserve(out, 4 + bytes);
        snappy_status status = snappy_compress((const char *)block.at, block.len,
                                               (char *)out->at + out->len + 4, &bytes);
        assert(status == SNAPPY_OK);
        put_u32(out->at + out->len, (uint32_t)bytes);
        out->len += 4 + bytes;
    }
    return OK;
}

static err lz4_frames(LZ4F_dctx *context, view in, struct sink *sink)
{
    size_t hint = 1; /* 0: at the end of a frame */

    while (in.len > 0 || hint != 0) {
        uint8_t probe;
        size_t room = sink_room(sink), got = room ? room : 1, taken = in.len;
        uint8_t *to = room ? sink->out->at + sink->out->len : &probe;
        hint = LZ4F_decompress(context, to, &got, in.at, &taken, NULL);
        if (LZ4F_isError(hint) || (taken == 0 && got == 0)) {
            return broken("lz4");
        }
        if (room == 0 && got > 0) {
            return too_large(sink);
        }
        sink->out->len += room ? got : 0;
        in = view_from(in, taken);
    }
    return OK;
}

static err lz4_inflate(view in, struct sink *sink)
{
    LZ4F_dctx *context = NULL;
    size_t code = LZ4F_createDecompressionContext(&context, LZ4F_VERSION);

    assert(!LZ4F_isError(code));
    err e = lz4_frames(context, in, sink);
    LZ4F_freeDecompressionContext(context);
    return e;
}

static err lz4_deflate(view in, struct writer *out)
{
    LZ4F_preferences_t wanted = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};

    reserve(out, LZ4F_compressFrameBound(in.len, &wanted));
    size_t bytes =
        LZ4F_compressFrame(out->at + out->len, out->room - out->len, in.at, in.len, &wanted);
    assert(!LZ4F_isError(bytes));
    out->len += bytes;
    return OK;
}

static err zstd_frames(ZSTD_DStream *stream, view in, struct sink *sink)
{
    ZSTD_inBuffer from = {.src = in.at, .size = in.len};
    size_t hint = 1; /* 0: at the end of a frame */

    while (from.pos < from.size || hint != 0) {
        uint8_t probe;
        size_t room = sink_room(sink), before = from.pos;
        ZSTD_outBuffer to = {.dst = room ? sink->out->at + sink->out->len : &probe,
                             .size = room ? room : 1};
        hint = ZSTD_decompressStream(stream, &to, &from);
        if (ZSTD_isError(hint) || (from.pos == before && to.pos == 0)) {
            return broken("zstd");
        }
        if (room == 0 && to.pos > 0) {
            return too_large(sink);
        }
        sink->out->len += room ? to.pos : 0;
    }
    return OK;
}

static err zstd_inflate(view in, struct sink *sink)
{
    ZSTD_DStream *stream = ZSTD_createDStream();

    assert(stream);
    err e = zstd_frames(stream, in, sink);
    ZSTD_freeDStream(stream);
    return e;
}

static err zstd_deflate(view in, struct writer *out)
{
    reserve(out, ZSTD_compressBound(in.len));
    size_t bytes = ZSTD_compress(out->at + out->len, out->room - out->len, in.at, in.len,
                                 ZSTD_CLEVEL_DEFAULT);
    assert(!ZSTD_isError(bytes));
    out->len += bytes;
    return OK;
}

static err copy_inflate(view in, struct sink *sink)
{
    if (in.len > sink->end - sink->out->len) {
        return too_large(sink);
    }
    write_view(sink->out, in);
    return OK;
}

static err copy_deflate(view in, struct writer *out)
{
    write_view(out, in);
    return OK;
}

static const struct {
    const char *name;
    err (*inflate)(view in, struct sink *sink);
    err (*deflate)(view in, struct writer *out);
} codecs[CODEC_COUNT] = {
    [CODEC_NONE] = {"none", copy_inflate, copy_deflate},
    [CODEC_GZIP] = {"gzip", gzip_inflate, gzip_deflate},
    [CODEC_SNAPPY] = {"snappy", snappy_inflate, snappy_deflate},
    [CODEC_LZ4] = {"lz4", lz4_inflate, lz4_deflate},
    [CODEC_ZSTD] = {"zstd", zstd_inflate, zstd_deflate},
};

err codec_inflate(enum codec codec, view in, size_t limit, struct writer *out)
{
    struct sink sink = {out, out->len + limit};

    assert(codec < CODEC_COUNT);
    assert(in.len <= INT32_MAX);
    return codecs[codec].inflate(in, &sink);
}

err codec_deflate(enum codec codec, view in, struct writer *out)
{
    assert(codec < CODEC_COUNT);
    assert(in.len <= INT32_MAX);
    return codecs[codec].deflate(in, out);
}

const char *codec_name(enum codec codec)
{
    assert(codec < CODEC_COUNT);
    return codecs[codec].name;
}
