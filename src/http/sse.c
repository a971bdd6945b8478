/* sse.c - the reader of event streams.
 *
 *   event: NAME        lines end in LF, CR or both; an empty one ends the event
 *   data: FIRST LINE   one blank after the colon is dropped; data lines are joined by LF
 *   : comment          ignored, as are unknown fields
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/sse.h"

static err end_event(struct sse_reader *r)
{
    err e = OK;

    if (r->has_data) {
        e = r->each(r->self, writer_view(&r->event), writer_view(&r->data));
    }
    writer_reset(&r->event);
    writer_reset(&r->data);
    r->has_data = false;
    return e;
}

static err end_line(struct sse_reader *r)
{
    view line = writer_view(&r->line), name, value;
    err e = OK;

    if (line.len == 0) {
        return end_event(r);
    }
    (void)view_cut(line, ':', &name, &value);
    if (value.len > 0 && value.at[0] == ' ') {
        value = view_from(value, 1);
    }
    if (view_is_text(name, "event")) {
        writer_reset(&r->event);
        write_view(&r->event, value);
    } else if (view_is_text(name, "data")) {
        if (r->has_data) {
            write_u8(&r->data, '\n');
        }
        write_view(&r->data, value);
        r->has_data = true;
    }
    writer_reset(&r->line);
    return e;
}

err sse_feed(struct sse_reader *r, view piece)
{
    for (size_t i = 0; i < piece.len; i++) {
        uint8_t c = piece.at[i];
        bool second = c == '\n' && r->after_cr;
        r->after_cr = c == '\r';
        if (second) {
            continue;
        }
        if (c == '\n' || c == '\r') {
            err e = end_line(r);
            if (e) {
                return e;
            }
            continue;
        }
        if (r->line.len + r->data.len >= SSE_EVENT_BYTES_MAX) {
            return fault(ERR_TOO_LARGE, "an event has more than %u bytes", SSE_EVENT_BYTES_MAX);
        }
        write_u8(&r->line, c);
    }
    return OK;
}

void sse_fini(struct sse_reader *r)
{
    writer_fini(&r->line);
    writer_fini(&r->event);
    writer_fini(&r->data);
}
