/* scan.c - finding a batch in a segment, and walking all of it.
 *
 * Finding reads heads only, in small steps from an index entry on. Walking is for recovery,
 * lost indexes and searches by time: it reads in blocks, checks each CRC, and stops at the
 * first batch that is torn, does not follow the one before, or falls back in epoch.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOCATE_STEP_BYTES 2048 /* a few heads of small batches in one read */
#define SCAN_BLOCK_BYTES (256 << 10)

enum os_read_status segment_locate(struct segment *s, int64_t offset, int64_t from, int64_t to,
                                   bool may_block, int64_t *position, struct batch_info *info,
                                   bool *found)
{
    uint8_t step[LOCATE_STEP_BYTES];
    size_t held = 0;     /* bytes in step */
    int64_t step_at = 0; /* their place in the file */

    *found = false;
    for (int64_t at = from; at + BATCH_HEAD_BYTES <= to;) {
        if (at < step_at || at + BATCH_HEAD_BYTES > step_at + (int64_t)held) {
            size_t want = (size_t)MIN((int64_t)sizeof(step), to - at);
            enum os_read_status status = segment_read(s, step, want, at, may_block, &held);
            if (status != OS_READ_DONE) {
                return status;
            }
            step_at = at;
        }
        view head = {step + (at - step_at), held - (size_t)(at - step_at)};
        if (batch_peek(head, info) != BATCH_FINE) {
            (void)fault(ERR_CORRUPT,
                        "segment %020" PRId64 " of %s-%d has no batch at position %" PRId64,
                        s->base, s->partition->topic->name, s->partition->index, at);
            return OS_READ_FAILED;
        }
        if (info->base_offset + info->last_offset_delta >= offset) {
            *position = at;
            *found = true;
            return OS_READ_DONE;
        }
        at += info->bytes;
    }
    return OS_READ_DONE;
}

struct scan_block {
    uint8_t *bytes;
    size_t held, room;
    int64_t at; /* place of bytes[0] in the file */
};

/* Makes [position, position + want) available, or as much as the file has. */
static err block_fill(struct segment *s, struct scan_block *block, int64_t position,
                      size_t want)
{
    size_t got = 0;

    if (position >= block->at && position + (int64_t)want <= block->at + (int64_t)block->held) {
        return OK;
    }
    if (block->room < want) {
        block->room = want;
        free(block->bytes);
        block->bytes = xmalloc(block->room);
    }
    block->held = 0;
    block->at = position;
    if (segment_read(s, block->bytes, block->room, position, true, &got) != OS_READ_DONE) {
        return fault_here.code;
    }
    block->held = got;
    return OK;
}

static view block_view(const struct scan_block *block, int64_t position)
{
    size_t skip = (size_t)(position - block->at);

    return (view){block->bytes + skip, block->held - MIN(skip, block->held)};
}

/* One batch at scan->position: OK with scan->fault BATCH_FINE and moved on, or why it ends
 * here. */
static err scan_step(struct segment_scan *scan, struct scan_block *block)
{
    struct batch_info info;
    err e = block_fill(scan->segment, block, scan->position, BATCH_HEAD_BYTES);

    if (e) {
        return e;
    }
    scan->fault = batch_peek(block_view(block, scan->position), &info);
    if (scan->fault) {
        return OK;
    }
    if (scan->position + info.bytes > scan->file_bytes) {
        scan->fault = BATCH_SHORT;
        return OK;
    }
    e = block_fill(scan->segment, block, scan->position, info.bytes);
    if (e) {
        return e;
    }
    view batch = view_upto(block_view(block, scan->position), info.bytes);
    scan->fault = batch_check_stored(batch, &info);
    if (!scan->fault && (info.base_offset < scan->next || info.leader_epoch < scan->epoch ||
                         info.base_offset - scan->segment->base > SEGMENT_OFFSETS_MAX)) {
        scan->fault = BATCH_BAD_COUNT;
    }
    if (scan->fault) {
        return OK;
    }
    e = scan->each ? scan->each(scan->self, &info, batch, scan->position) : OK;
    scan->position += info.bytes;
    scan->next = info.base_offset + info.last_offset_delta + 1;
    scan->epoch = info.leader_epoch;
    return e;
}

static err file_bytes(struct segment *s, int64_t *bytes)
{
    struct log *log = s->partition->topic->log;
    os_file file;
    err e = files_use(log->files, s, false, true, &file);

    if (e) {
        return e;
    }
    e = log->os->file_size(log->os, file, bytes);
    files_done(log->files, s);
    return e;
}

err segment_scan(struct segment_scan *scan)
{
    struct scan_block block = {.room = SCAN_BLOCK_BYTES};
    err e = file_bytes(scan->segment, &scan->file_bytes);

    if (e) {
        return e;
    }
    block.bytes = xmalloc(block.room);
    scan->fault = BATCH_FINE;
    while (!e && !scan->fault && scan->position < scan->file_bytes) {
        e = scan_step(scan, &block);
    }
    free(block.bytes);
    return e;
}
