/* types_bytes.c - bytes, bits, and shapes: what Debezium writes in base64.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/types_parts.h"

#include <stdlib.h>
#include <string.h>

#include "audit/scan.h"

static const char base64_letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_to(view bytes, struct writer *out)
{
    write_u8(out, '"');
    for (size_t at = 0; at < bytes.len; at += 3) {
        size_t left = MIN(bytes.len - at, (size_t)3);
        uint32_t bits = (uint32_t)bytes.at[at] << 16 |
                        (left > 1 ? (uint32_t)bytes.at[at + 1] << 8 : 0) |
                        (left > 2 ? bytes.at[at + 2] : 0);
        char four[4] = {base64_letters[bits >> 18], base64_letters[bits >> 12 & 63],
                        left > 1 ? base64_letters[bits >> 6 & 63] : '=',
                        left > 2 ? base64_letters[bits & 63] : '='};
        write_bytes(out, four, 4);
    }
    write_u8(out, '"');
}

static int base64_value(uint8_t c)
{
    c = c == '-' ? '+' : c == '_' ? '/' : c; /* the alphabet for URLs is read too */
    const char *found = c ? strchr(base64_letters, c) : NULL;

    return found ? (int)(found - base64_letters) : -1;
}

bool base64_from(struct arena *arena, view json, view *bytes)
{
    view text;

    if (!scan_text(arena, json, &text) || text.len % 4) {
        return false;
    }
    uint8_t *to = arena_take(arena, text.len / 4 * 3 + 1);
    size_t used = 0;
    for (size_t at = 0; at < text.len; at += 4) {
        bool last = at + 4 == text.len;
        size_t pad = last && text.at[at + 3] == '=' ? (text.at[at + 2] == '=' ? 2 : 1) : 0;
        uint32_t bits = 0;
        for (size_t i = 0; i < 4 - pad; i++) {
            int value = base64_value(text.at[at + i]);
            if (value < 0) {
                return false;
            }
            bits |= (uint32_t)value << (18 - 6 * i);
        }
        for (size_t i = 0; i < 3 - pad; i++) {
            to[used++] = (uint8_t)(bits >> (16 - 8 * i));
        }
    }
    *bytes = (view){to, used};
    return true;
}

static int hex_value(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool hex_read(view hex, struct writer *bytes)
{
    if (hex.len % 2) {
        return false;
    }
    for (size_t i = 0; i < hex.len; i += 2) {
        int high = hex_value(hex.at[i]), low = hex_value(hex.at[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        write_u8(bytes, (uint8_t)(high << 4 | low));
    }
    return true;
}

void hex_write(view bytes, bool upper, struct writer *out)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";

    for (size_t i = 0; i < bytes.len; i++) {
        write_bytes(out, (char[]){digits[bytes.at[i] >> 4], digits[bytes.at[i] & 15]}, 2);
    }
}

/* As bytea_output = hex has it. */
static bool is_lower(view hex)
{
    for (size_t i = 0; i < hex.len; i++) {
        if (hex.at[i] >= 'A' && hex.at[i] <= 'F') {
            return false;
        }
    }
    return true;
}

bool bytes_to(struct type_modes modes, view text, struct writer *out, bool *surely)
{
    view hex = view_from(text, 2);
    struct writer bytes = {0};

    if (!view_starts(text, VIEW("\\x")) || !hex_read(hex, &bytes)) {
        writer_fini(&bytes);
        return false;
    }
    *surely = is_lower(hex);
    if (modes.binaries == BINARY_HEX) {
        write_u8(out, '"');
        hex_write(writer_view(&bytes), false, out);
        write_u8(out, '"');
    } else {
        size_t start = out->len;
        base64_to(writer_view(&bytes), out);
        for (size_t i = start; modes.binaries == BINARY_BASE64_URL && i < out->len; i++) {
            uint8_t c = out->at[i];
            out->at[i] = c == '+' ? '-' : c == '/' ? '_' : c;
        }
    }
    writer_fini(&bytes);
    return true;
}

bool bytes_from(struct arena *arena, struct type_modes modes, view json, view *text)
{
    struct writer made = {0};
    view bytes;

    write_view(&made, VIEW("\\x"));
    bool fine = modes.binaries == BINARY_HEX ? scan_text(arena, json, &bytes)
                                             : base64_from(arena, json, &bytes);
    if (fine && modes.binaries == BINARY_HEX) {
        write_view(&made, bytes);
    } else if (fine) {
        hex_write(bytes, false, &made);
    }
    *text = fine ? arena_copy(arena, writer_view(&made)) : (view){0};
    writer_fini(&made);
    return fine;
}

/* The bits as a number, least byte first, without the bytes that are zero at its end. */
bool bits_to(const struct type *type, view text, struct writer *out)
{
    struct writer bytes = {0};

    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] != '0' && text.at[i] != '1') {
            return false;
        }
    }
    if (type->bits == 1) {
        write_view(out, text.len && text.at[0] == '1' ? VIEW("true") : VIEW("false"));
        return true;
    }
    uint8_t *at = write_space(&bytes, text.len / 8 + 1);
    size_t used = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[text.len - 1 - i] == '1') {
            at[i / 8] = (uint8_t)(at[i / 8] | 1u << i % 8);
            used = i / 8 + 1;
        }
    }
    base64_to((view){at, used}, out);
    writer_fini(&bytes);
    return true;
}

bool bits_from(struct arena *arena, const struct type *type, view json, view *text)
{
    view bytes;

    if (type->bits == 1) {
        *text = view_is_text(json, "true") ? VIEW("1") : VIEW("0");
        return view_is_text(json, "true") || view_is_text(json, "false");
    }
    if (!base64_from(arena, json, &bytes) || type->bits < 0) {
        return false;
    }
    /* A varying one's own length is not in there: its declared one is the best guess. */
    size_t len = MIN((size_t)type->bits, bytes.len * 8 + 8);
    len = type->bits <= 4096 ? (size_t)type->bits : len;
    uint8_t *to = arena_take(arena, len + 1);
    for (size_t i = 0; i < len; i++) {
        bool set = i / 8 < bytes.len && bytes.at[i / 8] & 1u << i % 8;
        to[len - 1 - i] = set ? '1' : '0';
    }
    *text = (view){to, len};
    return true;
}

#define WKB_LITTLE 1
#define WKB_POINT 1
#define EWKB_HAS_SRID 0x20000000u

static void write_le(uint64_t bits, size_t len, struct writer *out)
{
    for (size_t i = 0; i < len; i++) {
        write_u8(out, (uint8_t)(bits >> 8 * i));
    }
}

static bool write_double(view text, struct writer *out)
{
    char number[64];
    uint64_t bits;

    if (text.len >= sizeof(number)) {
        return false;
    }
    memcpy(number, text.at, text.len);
    number[text.len] = 0;
    char *end;
    double value = strtod(number, &end);
    memcpy(&bits, &value, sizeof(bits));
    write_le(bits, sizeof(bits), out);
    return end == number + text.len && text.len;
}

/* "(1,2.5)" */
bool point_to(view text, struct writer *out)
{
    struct writer wkb = {0}, made = {0};
    view x, y;
    bool fine = text.len > 2 && text.at[0] == '(' && text.at[text.len - 1] == ')' &&
                view_cut(view_upto(view_from(text, 1), text.len - 2), ',', &x, &y);

    write_u8(&wkb, WKB_LITTLE);
    write_le(WKB_POINT, 4, &wkb);
    fine = fine && write_double(x, &wkb) && write_double(y, &wkb);
    write_view(&made, VIEW("{\"x\":"));
    fine = fine && float_to(x, &made);
    write_view(&made, VIEW(",\"y\":"));
    fine = fine && float_to(y, &made);
    if (fine) {
        write_view(out, writer_view(&made));
        write_view(out, VIEW(",\"wkb\":"));
        base64_to(writer_view(&wkb), out);
        write_view(out, VIEW(",\"srid\":null}"));
    }
    writer_fini(&wkb);
    writer_fini(&made);
    return fine;
}

bool point_from(struct arena *arena, view json, view *text)
{
    struct scan s = scan_of(json);
    view x = {0}, y = {0};

    scan_open(&s, '{');
    while (scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s);
        bool fine = view_is_text(name, "x")   ? float_from(arena, value, &x)
                    : view_is_text(name, "y") ? float_from(arena, value, &y)
                                              : true;
        if (!fine) {
            return false;
        }
    }
    *text = view_text(arena_format(arena, "(%.*s,%.*s)", VIEW_ARG(x), VIEW_ARG(y)));
    return scan_end(&s) && x.at && y.at;
}

/* The reference system that stands in an EWKB; false: none does. */
static bool ewkb_srid(view ewkb, uint32_t *srid)
{
    if (ewkb.len < 9) {
        return false;
    }
    uint32_t kind = get_u32(ewkb.at + 1), id = get_u32(ewkb.at + 5);
    if (ewkb.at[0] == WKB_LITTLE) {
        kind = __builtin_bswap32(kind);
        id = __builtin_bswap32(id);
    }
    *srid = id;
    return kind & EWKB_HAS_SRID;
}

bool geometry_to(view text, struct writer *out)
{
    struct writer ewkb = {0};
    uint32_t srid;
    bool fine = hex_read(text, &ewkb) && ewkb.len;

    if (fine) {
        write_view(out, VIEW("{\"wkb\":"));
        base64_to(writer_view(&ewkb), out);
        if (ewkb_srid(writer_view(&ewkb), &srid)) {
            write_format(out, ",\"srid\":%u}", srid);
        } else {
            write_view(out, VIEW(",\"srid\":null}"));
        }
    }
    writer_fini(&ewkb);
    return fine;
}

bool geometry_from(struct arena *arena, view json, view *text)
{
    struct scan s = scan_of(json);
    struct writer hex = {0};
    view ewkb = {0};

    scan_open(&s, '{');
    while (scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s);
        if (view_is_text(name, "wkb") && !base64_from(arena, value, &ewkb)) {
            return false;
        }
    }
    if (!scan_end(&s) || !ewkb.at) {
        return false;
    }
    hex_write(ewkb, true, &hex);
    *text = arena_copy(arena, writer_view(&hex));
    writer_fini(&hex);
    return true;
}
