/* types_number.c - numbers and money: exact decimals as Connect has them.
 *
 * A decimal is its digits without point as a two's complement number of as few bytes as hold
 * it, big endian, in base64; its scale is the column's, or stands beside it. Up to 18 digits go
 * through a machine word; longer ones (PostgreSQL has up to 147455) through limbs of 32 bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/types_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/scan.h"

#define WORD_DIGITS 18
#define LIMB_DIGITS 9
#define LIMB_BASE 1000000000u

bool float_to(view text, struct writer *out)
{
    if (!scan_is_number(text)) {
        bool special = view_is_text(text, "NaN") || view_is_text(text, "Infinity") ||
                       view_is_text(text, "-Infinity");
        return special ? scan_quote(text, out) : false;
    }
    write_view(out, text);
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '.' || (text.at[i] | 0x20) == 'e') {
            return true;
        }
    }
    write_view(out, VIEW(".0"));
    return true;
}

bool float_from(struct arena *arena, view json, view *text)
{
    if (json.len && json.at[0] == '"') {
        return scan_text(arena, json, text);
    }
    bool whole = json.len > 2 && view_is(view_from(json, json.len - 2), VIEW(".0"));
    *text = view_upto(json, json.len - (whole ? 2 : 0));
    return scan_is_number(json);
}

struct decimal { /* views of the digits around the point */
    bool minus;
    view whole, fraction;
};

static bool all_digits(view v)
{
    for (size_t i = 0; i < v.len; i++) {
        if (v.at[i] < '0' || v.at[i] > '9') {
            return false;
        }
    }
    return true;
}

static bool only_zeros(view text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] > '0') {
            return false;
        }
    }
    return true;
}

/* As the server writes one: no sign but -, that not before 0, no zero in
 * front but the only one. */
static bool decimal_read(view text, struct decimal *out)
{
    *out = (struct decimal){.minus = text.len && text.at[0] == '-'};
    bool point =
        view_cut(view_from(text, out->minus ? 1 : 0), '.', &out->whole, &out->fraction);

    if (!point) {
        out->fraction = (view){0};
    }
    return out->whole.len && (!out->minus || !only_zeros(text)) && all_digits(out->whole) &&
           all_digits(out->fraction) && (!point || out->fraction.len) &&
           (out->whole.len == 1 || out->whole.at[0] != '0');
}

/* limbs of 32 bits, least first: n = n * by + plus */
static size_t limbs_grow(uint32_t *limbs, size_t count, uint32_t by, uint32_t plus)
{
    uint64_t carry = plus;

    for (size_t i = 0; i < count; i++) {
        carry += (uint64_t)limbs[i] * by;
        limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry) {
        limbs[count++] = (uint32_t)carry;
    }
    return count;
}

/* The digits as a two's complement number, big endian, as short as it goes. */
static void unscaled_bytes(bool minus, view digits, struct writer *out)
{
    uint32_t *limbs = xcalloc(digits.len / LIMB_DIGITS + 2, sizeof(*limbs));
    size_t count = 0;

    for (size_t at = 0; at < digits.len;) {
        uint32_t chunk = 0, by = 1;
        for (size_t i = 0; i < LIMB_DIGITS && at < digits.len; i++, at++, by *= 10) {
            chunk = chunk * 10 + digits.at[at] - '0';
        }
        count = limbs_grow(limbs, count, by, chunk);
    }
    size_t len = count * 4 + 1; /* with room for the sign */
    uint8_t *bytes = write_space(out, len);
    unsigned carry = minus ? 1 : 0;
    for (size_t i = 0; i < len; i++) {
        uint32_t limb = i / 4 < count ? limbs[i / 4] : 0;
        uint8_t byte = (uint8_t)(limb >> i % 4 * 8);
        unsigned sum = (minus ? (uint8_t)~byte : byte) + carry;
        carry = sum >> 8;
        bytes[len - 1 - i] = (uint8_t)sum;
    }
    size_t spare = 0; /* leading bytes that only repeat the sign */
    while (spare + 1 < len && (bytes[spare] == 0 || bytes[spare] == 0xff) &&
           (bytes[spare] ^ bytes[spare + 1]) < 0x80) {
        spare++;
    }
    memmove(bytes, bytes + spare, len - spare);
    out->len -= spare;
    free(limbs);
}

static void word_to(int64_t value, struct writer *out)
{
    uint8_t bytes[8];
    size_t spare = 0;

    put_u64(bytes, (uint64_t)value);
    while (spare < 7 && (bytes[spare] == 0 || bytes[spare] == 0xff) &&
           (bytes[spare] ^ bytes[spare + 1]) < 0x80) {
        spare++;
    }
    base64_to((view){bytes + spare, 8 - spare}, out);
}

/* The number with scale digits behind its point, as Connect's bytes. Digits beyond are cut. */
static void unscaled_to(const struct decimal *number, int scale, struct writer *out)
{
    struct writer digits = {0}, bytes = {0};
    int64_t value = 0;

    size_t dropped = scale < 0 ? (size_t)-scale : 0;
    write_view(&digits,
               view_upto(number->whole,
                         number->whole.len > dropped ? number->whole.len - dropped : 0));
    view behind = view_upto(number->fraction, scale > 0 ? (size_t)scale : 0);
    write_view(&digits, behind);
    for (size_t i = behind.len; scale > 0 && i < (size_t)scale; i++) {
        write_u8(&digits, '0');
    }
    if (digits.len <= WORD_DIGITS) {
        for (size_t i = 0; i < digits.len; i++) {
            value = value * 10 + digits.at[i] - '0';
        }
        word_to(number->minus ? -value : value, out);
    } else {
        unscaled_bytes(number->minus, writer_view(&digits), &bytes);
        base64_to(writer_view(&bytes), out);
    }
    writer_fini(&digits);
    writer_fini(&bytes);
}

/* The magnitude's decimal digits, at least one. Four bytes a step: limb << 32 stays in 64 bits.
 */
static void magnitude_digits(const uint8_t *bytes, size_t len, struct writer *out)
{
    size_t count = len / 3 + 2, used = 0; /* of limbs of nine digits, least first */
    uint32_t *limbs = xcalloc(count, sizeof(*limbs));

    for (size_t i = 0, step; i < len; i += step) {
        uint64_t carry = 0;
        step = (len - i) % 4 ? (len - i) % 4 : 4;
        for (size_t k = 0; k < step; k++) {
            carry = carry << 8 | bytes[i + k];
        }
        for (size_t k = 0; k < used; k++) {
            carry += (uint64_t)limbs[k] << 8 * step;
            limbs[k] = (uint32_t)(carry % LIMB_BASE);
            carry /= LIMB_BASE;
        }
        for (; carry; carry /= LIMB_BASE) {
            limbs[used++] = (uint32_t)(carry % LIMB_BASE);
        }
    }
    write_format(out, "%" PRIu32, used ? limbs[used - 1] : 0);
    for (size_t k = used; k > 1; k--) {
        write_format(out, "%09" PRIu32, limbs[k - 2]);
    }
    free(limbs);
}

#define SCALE_MAX 16383 /* PostgreSQL's own limit of digits behind the point */
#define UNSCALED_MAX                                                                           \
    (62 << 10) /* bytes that all its digits need: others are no number of it                   \
                */

static view unscaled_text(struct arena *arena, view bytes, int64_t scale)
{
    bool minus = bytes.len && bytes.at[0] & 0x80;
    uint8_t *magnitude = arena_take(arena, bytes.len + 1);
    struct writer digits = {0}, text = {0};
    unsigned carry = minus ? 1 : 0;

    for (size_t i = bytes.len; i > 0; i--) {
        unsigned sum = (minus ? (uint8_t)~bytes.at[i - 1] : bytes.at[i - 1]) + carry;
        carry = sum >> 8;
        magnitude[i - 1] = (uint8_t)sum;
    }
    magnitude_digits(magnitude, bytes.len, &digits);
    bool zero = digits.len == 1 && digits.at[0] == '0';
    for (int64_t i = scale; i < 0 && !zero; i++) {
        write_u8(&digits, '0');
    }
    size_t behind = scale > 0 ? (size_t)scale : 0;
    write_view(&text, minus ? VIEW("-") : VIEW(""));
    for (size_t i = digits.len; i <= behind; i++) { /* 5 with two behind the point is 0.05 */
        write_u8(&text, '0');
    }
    write_view(&text, writer_view(&digits));
    view out = writer_view(&text);
    if (behind) {
        size_t point = out.len - behind;
        char *at = arena_take(arena, out.len + 2);
        memcpy(at, out.at, point);
        at[point] = '.';
        memcpy(at + point + 1, out.at + point, behind);
        out = (view){(const uint8_t *)at, out.len + 1};
    } else {
        out = arena_copy(arena, out);
    }
    writer_fini(&digits);
    writer_fini(&text);
    return out;
}

static bool is_fixed(const struct type *type)
{
    return type->precision > 0;
}

/* Any scale: {"scale", "value"}, without the zeros at the end that say nothing. */
static void variable_to(struct decimal *number, struct writer *out)
{
    while (number->fraction.len && number->fraction.at[number->fraction.len - 1] == '0') {
        number->fraction.len--;
    }
    write_format(out, "{\"scale\":%zu,\"value\":", number->fraction.len);
    unscaled_to(number, (int)number->fraction.len, out);
    write_u8(out, '}');
}

bool decimal_to(struct type_modes modes, const struct type *type, view text, struct writer *out)
{
    struct decimal number;

    if (modes.decimals == DECIMAL_STRING) {
        return scan_quote(text, out);
    }
    if (modes.decimals == DECIMAL_DOUBLE) {
        if (scan_is_number(text)) {
            write_view(out, text);
            return true;
        }
        return float_to(text, out) || (write_view(out, VIEW("null")), false);
    }
    if (!decimal_read(text, &number)) {
        write_view(out, VIEW("null")); /* NaN and Infinity have no bytes; they travel beside */
        return false;
    }
    if (is_fixed(type)) {
        unscaled_to(&number, type->scale, out);
        return number.fraction.len == (size_t)MAX(type->scale, 0) && type->scale >= 0;
    }
    size_t digits = number.fraction.len;
    variable_to(&number, out);
    return number.fraction.len == digits;
}

bool decimal_from(struct arena *arena, struct type_modes modes, const struct type *type,
                  view json, view *text)
{
    struct scan s = scan_of(json);
    view bytes = {0};
    int64_t scale = is_fixed(type) ? type->scale : 0;

    if (modes.decimals == DECIMAL_STRING ||
        (modes.decimals == DECIMAL_DOUBLE && json.len && json.at[0] == '"')) {
        return scan_text(arena, json, text);
    }
    if (modes.decimals == DECIMAL_DOUBLE) {
        *text = json;
        return scan_is_number(json);
    }
    if (is_fixed(type)) {
        bool fine = base64_from(arena, json, &bytes) && bytes.len <= UNSCALED_MAX;
        *text = fine ? unscaled_text(arena, bytes, scale) : (view){0};
        return fine;
    }
    scan_open(&s, '{');
    while (scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s);
        bool fine = view_is_text(name, "scale")   ? scan_int(value, &scale)
                    : view_is_text(name, "value") ? base64_from(arena, value, &bytes)
                                                  : false;
        if (!fine) {
            return false;
        }
    }
    if (!scan_end(&s) || !bytes.at || bytes.len > UNSCALED_MAX || scale < -SCALE_MAX ||
        scale > SCALE_MAX) {
        return false;
    }
    *text = unscaled_text(arena, bytes, scale);
    return true;
}

#define MONEY_SCALE 2

static const struct type money_type = {
    .kind = TYPE_NUMERIC, .precision = WORD_DIGITS + 1, .scale = MONEY_SCALE};

/* "-$1,234.11", "1.234,11 EUR", "(5 kr)": digits, of which two stand behind the last mark. */
static bool money_read(view text, struct writer *plain)
{
    size_t digits = 0, behind = 0;
    bool marked = false, minus = false;

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        minus = minus || c == '-' || c == '(';
        marked = marked || ((c == '.' || c == ',') && digits);
        behind = c == '.' || c == ',' ? 0 : behind + (c >= '0' && c <= '9' ? 1 : 0);
        digits += c >= '0' && c <= '9' ? 1 : 0;
    }
    if (!digits) {
        return false;
    }
    size_t whole = marked && behind == MONEY_SCALE ? digits - behind : digits;
    write_view(plain, minus ? VIEW("-") : VIEW(""));
    for (size_t i = 0, seen = 0; i < text.len; i++) {
        if (text.at[i] >= '0' && text.at[i] <= '9') {
            if (seen++ == whole) {
                write_u8(plain, '.');
            }
            write_u8(plain, text.at[i]);
        }
    }
    if (whole == digits) {
        write_view(plain, VIEW(".00"));
    }
    return true;
}

bool money_to(struct type_modes modes, view text, struct writer *out)
{
    struct writer plain = {0};
    bool fine = money_read(text, &plain);

    if (fine) {
        (void)decimal_to(modes, &money_type, writer_view(&plain), out);
    }
    writer_fini(&plain);
    return fine;
}

/* As it is with lc_monetary en_US: other ones travel beside. */
bool money_from(struct arena *arena, struct type_modes modes, view json, view *text)
{
    struct writer made = {0};
    struct decimal number;
    view plain;

    if (!decimal_from(arena, modes, &money_type, json, &plain) ||
        !decimal_read(plain, &number)) {
        return false;
    }
    write_view(&made, number.minus ? VIEW("-$") : VIEW("$"));
    for (size_t i = 0; i < number.whole.len; i++) {
        if (i && (number.whole.len - i) % 3 == 0) {
            write_u8(&made, ',');
        }
        write_u8(&made, number.whole.at[i]);
    }
    write_format(&made, ".%.*s", VIEW_ARG(number.fraction));
    *text = arena_copy(arena, writer_view(&made));
    writer_fini(&made);
    return true;
}
