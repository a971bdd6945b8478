/* line.c - records as lines of text. SPDX-License-Identifier: Apache-2.0 */
#include "cli/line.h"

#include <string.h>

#define NULL_IN_HEX "-"

const char *const line_formats[] = {"value", "key-value", "json", "hex", NULL};

static int digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static err from_hex(view text, struct arena *arena, view *out)
{
    uint8_t *bytes = arena_take(arena, text.len / 2 + 1);

    for (size_t i = 0; i + 1 < text.len; i += 2) {
        int high = digit(text.at[i]), low = digit(text.at[i + 1]);
        if (high < 0 || low < 0) {
            return fault(ERR_INVALID, "\"%.*s\" is not hex", VIEW_ARG(view_upto(text, 40)));
        }
        bytes[i / 2] = (uint8_t)(high << 4 | low);
    }
    if (text.len % 2) {
        return fault(ERR_INVALID, "hex has two digits for each byte, here are %zu", text.len);
    }
    *out = (view){bytes, text.len / 2};
    return OK;
}

static void to_hex(view bytes, struct writer *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < bytes.len; i++) {
        write_u8(out, (uint8_t)digits[bytes.at[i] >> 4]);
        write_u8(out, (uint8_t)digits[bytes.at[i] & 15]);
    }
}

static err read_key_value(view line, const char *separator, struct line_record *out)
{
    size_t len = strlen(separator);
    const uint8_t *at = memmem(line.at, line.len, separator, len);

    if (!at) {
        return fault(ERR_INVALID,
                     "there is no separator between key and value: it is %s, --separator sets "
                     "another",
                     strcmp(separator, "\t") ? separator : "a tab");
    }
    out->key = (view){line.at, (size_t)(at - line.at)};
    out->value = view_from(line, out->key.len + len);
    return OK;
}

static err read_hex(view line, struct arena *arena, struct line_record *out)
{
    view key, value;

    if (!view_cut(line, ' ', &key, &value)) {
        return fault(ERR_INVALID, "a line is KEY VALUE in hex, with " NULL_IN_HEX " for null");
    }
    err e = view_is_text(key, NULL_IN_HEX) ? OK : from_hex(key, arena, &out->key);
    return e || view_is_text(value, NULL_IN_HEX) ? e : from_hex(value, arena, &out->value);
}

/* A text, null, or hex under NAME_hex; left null when neither is there. */
static err json_bytes(const struct json *object, const char *name, struct arena *arena,
                      view *out)
{
    char *hex = arena_format(arena, "%s_hex", name);
    const struct json *text = json_get(object, name), *coded = json_get(object, hex);

    if (text && coded) {
        return fault(ERR_INVALID, "%s and %s are both there", name, hex);
    }
    if (coded && coded->kind == JSON_TEXT) {
        return from_hex(coded->text, arena, out);
    }
    if (text && text->kind == JSON_TEXT) {
        *out = text->text;
        return OK;
    }
    if (coded || (text && text->kind != JSON_NULL)) {
        return fault(ERR_INVALID, "%s must be a text", coded ? hex : name);
    }
    return OK;
}

static err json_time(const struct json *object, struct line_record *out)
{
    const struct json *at = json_get(object, "timestamp");
    struct point point;

    if (!at || at->kind == JSON_NULL) {
        return OK;
    }
    if (at->kind == JSON_NUMBER) {
        return json_get_int(object, "timestamp", &out->timestamp_ms);
    }
    if (at->kind != JSON_TEXT || point_parse(at->text, 0, &point) || at->text.at[0] == '-' ||
        point.kind != POINT_TIME) {
        return fault(ERR_INVALID, "timestamp must be like 2026-01-31T12:00:00Z, or "
                                  "milliseconds since 1970");
    }
    out->timestamp_ms = point.value;
    return OK;
}

static err json_headers(const struct json *object, struct arena *arena, struct line_record *out)
{
    const struct json *list = json_get(object, "headers");
    size_t count = 0;
    err e = OK;

    if (list && list->kind != JSON_ARRAY) {
        return fault(ERR_INVALID, "headers must be a list of {\"name\", \"value\"}");
    }
    for (const struct json *h = list ? list->inside : NULL; h; h = h->next) {
        count++;
    }
    out->headers = arena_take(arena, (count + 1) * sizeof(*out->headers));
    for (const struct json *h = list ? list->inside : NULL; h && !e; h = h->next) {
        struct line_header *to = &out->headers[out->header_count++];
        e = h->kind == JSON_OBJECT ? json_get_text(h, "name", &to->name)
                                   : fault(ERR_INVALID, "a header is an object");
        e = e ? e : json_bytes(h, "value", arena, &to->value);
    }
    return e ? fault_prefix("headers: ") : OK;
}

static err check_members(const struct json *object)
{
    static const char *const names[] = {"ref", "topic",   "partition", "offset",    "timestamp",
                                        "key", "key_hex", "value",     "value_hex", "headers"};

    for (const struct json *member = object->inside; member; member = member->next) {
        bool known = false;
        for (size_t i = 0; i < COUNT(names); i++) {
            known = known || view_is_text(member->name, names[i]);
        }
        if (!known) {
            const char *near = nearest_name(member->name, names, COUNT(names));
            return fault(ERR_INVALID, "a record has no \"%.*s\"%s%s",
                         VIEW_ARG(view_upto(member->name, 80)), near ? "; did you mean " : "",
                         near ? near : "");
        }
    }
    return OK;
}

static err read_json(view line, struct arena *arena, struct line_record *out)
{
    struct json *object = NULL;
    err e = json_parse(arena, line, &object);

    if (!e && object->kind != JSON_OBJECT) {
        e = fault(ERR_INVALID, "a record is a JSON object");
    }
    e = e ? e : check_members(object);
    e = e ? e : json_bytes(object, "key", arena, &out->key);
    e = e ? e : json_bytes(object, "value", arena, &out->value);
    e = e ? e : json_time(object, out);
    return e ? e : json_headers(object, arena, out);
}

err line_read(enum line_format format, const char *separator, view line, struct arena *arena,
              struct line_record *out)
{
    *out = (struct line_record){.partition = -1, .offset = -1, .timestamp_ms = -1};
    switch (format) {
    case LINE_VALUE:
        out->value = line;
        return OK;
    case LINE_KEY_VALUE:
        return read_key_value(line, separator, out);
    case LINE_JSON:
        return read_json(line, arena, out);
    case LINE_HEX:
        return read_hex(line, arena, out);
    }
    return fault(ERR_INVALID, "no such format");
}

/* RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. */
static bool is_utf8(view v)
{
    for (size_t i = 0; i < v.len;) {
        uint8_t c = v.at[i];
        size_t more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : 3;
        if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || more >= v.len - i) {
            return false;
        }
        for (size_t k = 1; k <= more; k++) {
            if ((v.at[i + k] & 0xc0) != 0x80) {
                return false;
            }
        }
        uint8_t next = more ? v.at[i + 1] : 0;
        if ((c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) ||
            (c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f)) {
            return false;
        }
        i += more + 1;
    }
    return true;
}

static void bytes_to_json(struct json_writer *j, const char *name, const char *hex, view bytes)
{
    struct writer coded = {0};

    if (is_utf8(bytes)) {
        json_name(j, name);
        json_view(j, bytes);
        return;
    }
    to_hex(bytes, &coded);
    json_name(j, hex);
    json_view(j, writer_view(&coded));
    writer_fini(&coded);
}

static void headers_to_json(const struct line_record *r, struct json_writer *j)
{
    if (!r->header_count) {
        return;
    }
    json_name(j, "headers");
    json_array(j);
    for (size_t i = 0; i < r->header_count; i++) {
        json_object(j);
        json_name(j, "name");
        json_view(j, r->headers[i].name);
        bytes_to_json(j, "value", "value_hex", r->headers[i].value);
        json_end_object(j);
    }
    json_end_array(j);
}

static void write_json(const struct line_record *r, struct writer *out)
{
    struct json_writer j = json_to(out);
    char time[POINT_TIME_BYTES];

    json_object(&j);
    json_name(&j, "ref");
    json_textf(&j, "topic:%.*s/%d@%lld", VIEW_ARG(r->topic), r->partition,
               (long long)r->offset);
    json_name(&j, "topic");
    json_view(&j, r->topic);
    json_name(&j, "partition");
    json_int(&j, r->partition);
    json_name(&j, "offset");
    json_int(&j, r->offset);
    json_name(&j, "timestamp");
    if (r->timestamp_ms < 0) {
        json_null(&j);
    } else {
        point_time_text(r->timestamp_ms, time);
        if (time[4] == '-') {
            json_text(&j, time);
        } else {
            json_int(&j, r->timestamp_ms);
        }
    }
    bytes_to_json(&j, "key", "key_hex", r->key);
    bytes_to_json(&j, "value", "value_hex", r->value);
    headers_to_json(r, &j);
    json_end_object(&j);
}

static void write_hex(view bytes, struct writer *out)
{
    if (bytes.at) {
        to_hex(bytes, out);
    } else {
        write_view(out, VIEW(NULL_IN_HEX));
    }
}

void line_write(enum line_format format, const char *separator,
                const struct line_record *record, struct writer *out)
{
    switch (format) {
    case LINE_KEY_VALUE:
        write_view(out, record->key);
        write_view(out, view_text(separator));
        write_view(out, record->value);
        break;
    case LINE_JSON:
        write_json(record, out);
        break;
    case LINE_HEX:
        write_hex(record->key, out);
        write_u8(out, ' ');
        write_hex(record->value, out);
        break;
    case LINE_VALUE:
        write_view(out, record->value);
        break;
    }
    write_u8(out, '\n');
}
