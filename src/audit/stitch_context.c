/* stitch_context.c - what applications send as context, made an object whatever it is: a bad
 * one must cost neither the row nor the stream. SPDX-License-Identifier: Apache-2.0 */
#include "audit/stitch_inside.h"

static void wrap(struct writer *out, const char *name, view text)
{
    struct json_writer j = json_to(out);

    json_object(&j);
    json_name(&j, name);
    json_view(&j, text.at ? text : VIEW(""));
    json_end_object(&j);
}

bool context_to_object(struct arena *arena, view content, struct writer *out)
{
    struct json *json;

    writer_reset(out);
    if (content.len > CONTEXT_BYTES_MAX) {
        write_format(out, "{\"$too_large\":%zu}", content.len);
        return false;
    }
    if (json_parse(arena, content, &json) != OK) {
        wrap(out, "$raw", content);
        return false;
    }
    if (json->kind == JSON_OBJECT) {
        write_view(out, view_trim(content));
    } else if (json->kind == JSON_NULL) {
        write_view(out, VIEW("{}"));
    } else {
        write_format(out, "{\"$value\":%.*s}", VIEW_ARG(view_trim(content)));
    }
    return true;
}
