/* batch_walk.c - from whole batches to records, one at a time.
 *
 * A batch is entered (CRC checked, inflated when compressed), then its records are handed out;
 * views point into the batch or into walk->inflated. SPDX-License-Identifier: Apache-2.0 */
#include "log/batch.h"

#include <inttypes.h>

#include "log/record.h"

void batch_walk_init(struct batch_walk *walk, view batches)
{
    *walk = (struct batch_walk){.rest = batches};
}

static err broken(const struct batch_walk *walk, const char *what)
{
    return fault(ERR_CORRUPT, "batch at offset %" PRId64 ": %s", walk->info.base_offset, what);
}

static err enter(struct batch_walk *walk)
{
    enum batch_fault fault = batch_check_stored(walk->rest, &walk->info);
    view records;

    if (fault) {
        return broken(walk, batch_fault_text(fault));
    }
    view batch = view_upto(walk->rest, walk->info.bytes);
    walk->rest = view_from(walk->rest, walk->info.bytes);
    walk->left = 0;
    if (walk->skip_control && walk->info.attributes & BATCH_CONTROL) {
        return OK;
    }
    if (batch_records(batch, &walk->info, &walk->inflated, &records) != OK) {
        return fault_prefix("batch at offset %" PRId64 ": ", walk->info.base_offset);
    }
    walk->records = (struct reader){.rest = records};
    walk->left = walk->info.record_count;
    return OK;
}

/* The record was parsed before, so its headers are known to be whole. */
static struct header *headers_of(struct arena *arena, const struct record_head *head)
{
    struct reader r = {.rest = head->headers};
    struct header *headers;

    arena_reset(arena);
    headers = arena_take(arena, (size_t)head->header_count * sizeof(*headers));
    for (int32_t i = 0; i < head->header_count; i++) {
        int32_t len = read_varint(&r);
        headers[i].key = read_bytes(&r, (size_t)len);
        len = read_varint(&r);
        headers[i].value = len < 0 ? (view){0} : read_bytes(&r, (size_t)len);
    }
    assert(!r.bad);
    return headers;
}

err batch_walk_next(struct batch_walk *walk, struct record *out, bool *more)
{
    struct record_head head;

    *more = false;
    while (walk->left == 0) {
        if (walk->rest.len == 0) {
            return OK;
        }
        err e = enter(walk);
        if (e) {
            return e;
        }
    }
    const uint8_t *end = walk->records.rest.at + walk->records.rest.len;
    const uint8_t *next = record_parse(walk->records.rest.at, end, &head);
    if (!next || head.offset_delta < 0 || head.offset_delta > walk->info.last_offset_delta) {
        return broken(walk, batch_fault_text(BATCH_BAD_RECORDS));
    }
    walk->records.rest = (view){next, (size_t)(end - next)};
    walk->left--;
    *out = (struct record){
        .offset = walk->info.base_offset + head.offset_delta,
        .timestamp_ms = record_timestamp(&walk->info, head.timestamp_delta),
        .key = head.key,
        .value = head.value,
        .headers = head.header_count ? headers_of(&walk->arena, &head) : NULL,
        .header_count = (size_t)head.header_count,
    };
    *more = true;
    return OK;
}

void batch_walk_fini(struct batch_walk *walk)
{
    writer_fini(&walk->inflated);
    arena_fini(&walk->arena);
    *walk = (struct batch_walk){0};
}
