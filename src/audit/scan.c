/* scan.c - the JSON cursor. A value is passed over in one loop that keeps its open brackets in
 * the bits of a word, so hostile nesting costs no stack. SPDX-License-Identifier: Apache-2.0 */
#include "audit/scan.h"

#include <string.h>

static_assert(JSON_DEPTH_MAX <= 64, "open brackets are the bits of one word");

/* Ends a run of plain text: control characters, quote, backslash, and what is not ASCII. */
static bool is_special(uint8_t c)
{
    return c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
}

/* Bytes of the well-formed UTF-8 character at v's start, 0: none. */
static size_t utf8_bytes(view v)
{
    uint8_t first = v.at[0];
    size_t len = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

    if (first > 0xf4 || len > v.len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((v.at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (first == 0xe0 && v.at[1] < 0xa0) || (first == 0xf0 && v.at[1] < 0x90);
    bool surrogate = first == 0xed && v.at[1] > 0x9f;
    bool past_end = first == 0xf4 && v.at[1] > 0x8f;
    return overlong || surrogate || past_end ? 0 : len;
}

struct scan scan_of(view json)
{
    return (struct scan){.rest = json, .depth_max = JSON_DEPTH_MAX};
}

static void skip(struct scan *s, size_t len)
{
    s->rest.at += len;
    s->rest.len -= len;
}

static uint8_t ahead(const struct scan *s)
{
    return s->rest.len ? s->rest.at[0] : 0;
}

static void skip_space(struct scan *s)
{
    if (ahead(s) > ' ') {
        return;
    }
    for (uint8_t c = ahead(s); c == ' ' || c == '\n' || c == '\t' || c == '\r'; c = ahead(s)) {
        skip(s, 1);
    }
}

static bool fail(struct scan *s)
{
    s->bad = true;
    s->rest.len = 0;
    return false;
}

static bool take(struct scan *s, char c)
{
    if (ahead(s) != (uint8_t)c) {
        return false;
    }
    skip(s, 1);
    return true;
}

void scan_open(struct scan *s, char bracket)
{
    skip_space(s);
    if (!take(s, bracket)) {
        fail(s);
    }
    s->fresh = true;
}

bool scan_more(struct scan *s, char bracket)
{
    skip_space(s);
    if (s->bad || take(s, bracket)) {
        s->fresh = false;
        return false;
    }
    if (!s->fresh && !take(s, ',')) {
        return fail(s);
    }
    s->fresh = false;
    return s->rest.len > 0 || fail(s);
}

static bool skip_escape(struct scan *s)
{
    uint8_t c = s->rest.len > 1 ? s->rest.at[1] : 0;

    if (c != 'u') {
        return c && strchr("\"\\/bfnrt", c) ? (skip(s, 2), true) : fail(s);
    }
    for (size_t i = 2; i < 6; i++) {
        uint8_t hex = i < s->rest.len ? s->rest.at[i] : 0;
        if (!((hex >= '0' && hex <= '9') || ((hex | 0x20) >= 'a' && (hex | 0x20) <= 'f'))) {
            return fail(s);
        }
    }
    skip(s, 6);
    return true;
}

/* How many bytes at v's start are plain, eight at a time: in a word, x - 1 borrows into the
 * high bit of a byte that is 0, and only bytes above the first special one can be mistaken. */
static size_t plain_bytes(view v)
{
    const uint64_t ones = 0x0101010101010101u, highs = ones << 7;
    size_t at = 0;

    for (; at + 8 <= v.len; at += 8) {
        uint64_t word;
        memcpy(&word, v.at + at, sizeof(word));
        uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
        uint64_t special = word | (word - ones * 0x20) | (quote - ones) | (slash - ones);
        if (special & highs) {
            break;
        }
    }
    while (at < v.len && !is_special(v.at[at])) {
        at++;
    }
    return at;
}

static bool skip_text(struct scan *s)
{
    if (!take(s, '"')) {
        return fail(s);
    }
    for (;;) {
        size_t len;
        skip(s, plain_bytes(s->rest));
        uint8_t c = ahead(s);
        if (c == '"') {
            skip(s, 1);
            return true;
        }
        if (c == '\\') {
            if (!skip_escape(s)) {
                return false;
            }
            continue;
        }
        len = c < 0x80 ? 0 : utf8_bytes(s->rest);
        if (!len) {
            return fail(s);
        }
        skip(s, len);
    }
}

static size_t skip_digits(struct scan *s)
{
    size_t count = 0;

    for (; ahead(s) >= '0' && ahead(s) <= '9'; count++) {
        skip(s, 1);
    }
    return count;
}

static bool skip_number(struct scan *s)
{
    (void)take(s, '-');
    if (!take(s, '0') && !skip_digits(s)) {
        return fail(s);
    }
    if (take(s, '.') && !skip_digits(s)) {
        return fail(s);
    }
    if (take(s, 'e') || take(s, 'E')) {
        (void)(take(s, '+') || take(s, '-'));
        return skip_digits(s) || fail(s);
    }
    return true;
}

static bool skip_word(struct scan *s)
{
    uint8_t c = ahead(s);
    view word = c == 'n' ? VIEW("null") : c == 't' ? VIEW("true") : VIEW("false");

    if (c != 'n' && c != 't' && c != 'f') {
        return skip_number(s);
    }
    if (s->rest.len < word.len || memcmp(s->rest.at, word.at, word.len) != 0) {
        return fail(s);
    }
    skip(s, word.len);
    return true;
}

struct brackets { /* open ones: bit set for an object, lowest is the innermost */
    uint64_t objects;
    unsigned depth;
};

static bool skip_name(struct scan *s)
{
    skip_space(s);
    if (!skip_text(s)) {
        return false;
    }
    skip_space(s);
    return take(s, ':') || fail(s);
}

/* A bracket was opened: its first name, or its end. *done: it was empty. */
static bool enter(struct scan *s, struct brackets *b, bool *done)
{
    bool object = take(s, '{');

    *done = false;
    if (b->depth == s->depth_max || (!object && !take(s, '['))) {
        return fail(s);
    }
    skip_space(s);
    if (take(s, object ? '}' : ']')) {
        *done = true;
        return true;
    }
    b->objects = b->objects << 1 | (object ? 1 : 0);
    b->depth++;
    return !object || skip_name(s);
}

/* Behind a value: closes brackets up to a comma. False: no value follows. */
static bool leave(struct scan *s, struct brackets *b)
{
    while (b->depth) {
        bool object = b->objects & 1;
        skip_space(s);
        if (take(s, ',')) {
            return !object || skip_name(s);
        }
        if (!take(s, object ? '}' : ']')) {
            return fail(s);
        }
        b->objects >>= 1;
        b->depth--;
    }
    return false;
}

view scan_value(struct scan *s)
{
    struct brackets open = {0};

    skip_space(s);
    view start = s->rest;
    bool done = true;
    do {
        skip_space(s);
        uint8_t c = ahead(s);
        if (c == '{' || c == '[') {
            if (!enter(s, &open, &done)) {
                break;
            }
            continue;
        }
        done = c == '"' ? skip_text(s) : skip_word(s);
    } while (!s->bad && (!done || leave(s, &open)));
    return s->bad ? (view){0} : view_upto(start, start.len - s->rest.len);
}

view scan_name(struct scan *s, struct arena *arena)
{
    view name = {0};

    skip_space(s);
    view start = s->rest;
    if (s->bad || !skip_text(s)) {
        return name;
    }
    start = view_upto(start, start.len - s->rest.len);
    skip_space(s);
    if (!take(s, ':') || !scan_text(arena, start, &name)) {
        fail(s);
    }
    return name;
}

bool scan_is_ahead(struct scan *s, char c)
{
    skip_space(s);
    return ahead(s) == (uint8_t)c;
}

bool scan_end(struct scan *s)
{
    skip_space(s);
    return !s->bad && s->rest.len == 0;
}

bool scan_is_null(view value)
{
    return value.len == 4 && value.at[0] == 'n';
}

/* A checked text with escapes. What has \\u in it is rare: the tree's reader knows that. */
static bool unescape(struct arena *arena, view value, view *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    view inside = {value.at + 1, value.len - 2};
    uint8_t *to = arena_take(arena, inside.len);
    size_t used = 0;
    struct json *text;

    for (size_t at = 0; at < inside.len; at++) {
        uint8_t c = inside.at[at];
        if (c == '\\' && at + 1 < inside.len) {
            const char *found = memchr(names, inside.at[++at], sizeof(names) - 1);
            if (!found) {
                bool fine = json_parse(arena, value, &text) == OK;
                *out = fine ? text->text : (view){0};
                return fine;
            }
            c = (uint8_t)values[found - names];
        }
        to[used++] = c;
    }
    *out = (view){to, used};
    return true;
}

bool scan_text(struct arena *arena, view value, view *out)
{
    if (value.len < 2 || value.at[0] != '"') {
        return false;
    }
    *out = (view){value.at + 1, value.len - 2};
    if (!memchr(out->at, '\\', out->len)) {
        return true;
    }
    return unescape(arena, value, out);
}

bool scan_int(view value, int64_t *out)
{
    bool minus = value.len && value.at[0] == '-';
    uint64_t magnitude;

    if (!scan_lsn(view_from(value, minus ? 1 : 0), &magnitude)) {
        return false;
    }
    if (magnitude > (uint64_t)INT64_MAX + (minus ? 1 : 0)) {
        return false;
    }
    *out = minus ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool scan_lsn(view value, uint64_t *out)
{
    uint64_t sum = 0;

    if (value.len == 0 || value.len > 20) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        unsigned digit = (unsigned)value.at[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(sum, 10u, &sum) ||
            __builtin_add_overflow(sum, digit, &sum)) {
            return false;
        }
    }
    *out = sum;
    return true;
}

bool scan_is_number(view text)
{
    struct scan s = scan_of(text);

    return text.len && skip_number(&s) && s.rest.len == 0;
}

bool scan_is_json(view text, unsigned depth_max)
{
    struct scan s = scan_of(text);

    assert(depth_max <= JSON_DEPTH_MAX);
    s.depth_max = depth_max;
    return scan_value(&s).at && scan_end(&s);
}

static void quote_special(uint8_t c, struct writer *out)
{
    static const char letters[] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r',
                                   ['\t'] = 't', ['"'] = '"',  ['\\'] = '\\'};
    const char *hex = "0123456789abcdef";

    if (c < sizeof(letters) && letters[c]) {
        write_bytes(out, (char[]){'\\', letters[c]}, 2);
    } else {
        write_bytes(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
}

bool scan_quote(view text, struct writer *out)
{
    bool whole = true;
    size_t at = 0, done = 0; /* done: bytes of text that are written */

    write_u8(out, '"');
    while ((at += plain_bytes(view_from(text, at))) < text.len) {
        uint8_t c = text.at[at];
        size_t len = c < 0x80 ? 0 : utf8_bytes(view_from(text, at));
        if (len) {
            at += len;
            continue;
        }
        write_bytes(out, text.at + done, at - done);
        if (c < 0x80) {
            quote_special(c, out);
        } else {
            write_view(out, VIEW("\xef\xbf\xbd"));
            whole = false;
        }
        done = ++at;
    }
    write_view(out, view_from(text, done));
    write_u8(out, '"');
    return whole;
}

size_t scan_digits_into(uint64_t value, char out[SCAN_DIGITS_MAX])
{
    char text[SCAN_DIGITS_MAX];
    size_t at = sizeof(text);

    while (value >= 100) { /* two by two: a division costs more than all the rest */
        uint64_t left = value / 100;
        unsigned pair = (unsigned)(value - left * 100);
        text[--at] = (char)('0' + pair % 10);
        text[--at] = (char)('0' + pair / 10);
        value = left;
    }
    text[--at] = (char)('0' + value % 10);
    if (value >= 10) {
        text[--at] = (char)('0' + value / 10);
    }
    memcpy(out, text + at, sizeof(text) - at);
    return sizeof(text) - at;
}

void scan_digits_unsigned(uint64_t value, struct writer *out)
{
    char text[SCAN_DIGITS_MAX];

    write_bytes(out, text, scan_digits_into(value, text));
}

void scan_digits(int64_t value, struct writer *out)
{
    if (value < 0) {
        write_u8(out, '-');
    }
    scan_digits_unsigned(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, out);
}
