/* batch_fuzz.c - any bytes as a record batch: checks, the walk, markers. The first byte says
 * how much of the head is made to fit, so that what lies behind the checksum is reached; what
 * is found sound must survive being built again. SPDX-License-Identifier: Apache-2.0 */
#include "log/batch.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

#define RECORDS_MAX 256

enum fit { FIT_NOTHING, FIT_HEAD, FIT_CHECKSUM, FIT_KINDS };

static void make_fit(uint8_t *batch, size_t len, enum fit fit)
{
    if (len < BATCH_HEAD_BYTES || fit == FIT_NOTHING) {
        return;
    }
    batch[16] = 2;
    put_u32(batch + BATCH_LENGTH_AT, (uint32_t)len - 12);
    if (fit == FIT_CHECKSUM) {
        put_u32(batch + 17, crc32c(0, (view){batch + 21, len - 21}));
    }
}

static void assert_same_records(view a, view b)
{
    struct batch_walk x, y;
    struct record one, other;
    bool more, more_too;

    batch_walk_init(&x, a);
    batch_walk_init(&y, b);
    do {
        err e = batch_walk_next(&x, &one, &more), f = batch_walk_next(&y, &other, &more_too);
        assert(e == OK);
        assert(f == OK);
        assert(more == more_too);
        if (more) {
            assert(one.offset == other.offset);
            assert(one.timestamp_ms == other.timestamp_ms);
            assert(!one.key.at == !other.key.at);
            assert(view_is(one.key, other.key));
            assert(!one.value.at == !other.value.at);
            assert(view_is(one.value, other.value));
            assert(one.header_count == other.header_count);
        }
    } while (more);
    batch_walk_fini(&x);
    batch_walk_fini(&y);
}

/* Walks to the end; gives a copy of the same records in a new batch, NULL when not whole. */
static struct buf *rebuild(view batch, view *out)
{
    struct batch_walk walk;
    struct arena arena = {0};
    struct record *records = arena_take(&arena, RECORDS_MAX * sizeof(*records));
    size_t count = 0;
    bool more = true;
    struct buf *built = NULL;

    batch_walk_init(&walk, batch);
    while (more && count < RECORDS_MAX) {
        struct record *r = &records[count];
        if (batch_walk_next(&walk, r, &more) != OK) {
            goto done;
        }
        if (more) {
            struct header *headers = arena_take(&arena, r->header_count * sizeof(*headers));
            for (size_t i = 0; i < r->header_count; i++) {
                headers[i] = r->headers[i];
            }
            r->headers = headers;
            count++;
        }
    }
    if (!more && count > 0) { /* the walk is still open: views are valid */
        built = batch_new(
            &(struct batch_build){.records = records, .count = count, .producer_id = -1}, out);
    }
done:
    batch_walk_fini(&walk);
    arena_fini(&arena);
    return built;
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct batch_info info;
    bool commit;
    int32_t epoch;
    view again;

    if (len < 1) {
        return 0;
    }
    enum fit fit = (enum fit)(at[0] % FIT_KINDS);
    uint8_t *copy = xmalloc(len - 1);
    memcpy(copy, at + 1, len - 1);
    make_fit(copy, len - 1, fit);
    view batch = {copy, len - 1};
    bool fine = batch_check(batch, &info) == BATCH_FINE;
    bool sound = batch_check_records(batch, false) == BATCH_FINE;
    (void)batch_check_records(batch, true);
    (void)batch_marker_read(batch, &commit, &epoch);
    if (fine) {
        batch_patch(copy, 0, 1);
    }
    struct buf *built = rebuild(batch, &again);
    if (fine && sound && !(info.attributes & BATCH_APPEND_TIME) &&
        info.record_count < RECORDS_MAX) {
        assert(built);
        assert_same_records(batch, again);
        batch_stamp(copy, 1);
        assert(batch_check_stored(batch, &info) == BATCH_FINE);
    }
    buf_drop(built);
    free(copy);
    return 0;
}
