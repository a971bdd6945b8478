/* json.c - the JSON writer and the arena reader.
 *
 * The reader goes down the text by recursion, at most JSON_DEPTH_MAX levels; a text without
 * escapes stays a view of its source. What RFC 8259 leaves open: half a surrogate pair and text
 * that is not UTF-8 are refused, of members with one name the last counts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes of the well-formed UTF-8 character v starts with; 0: it starts with none. */
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
    if (len < 3) {
        return len;
    }
    bool overlong = (first == 0xe0 && v.at[1] < 0xa0) || (first == 0xf0 && v.at[1] < 0x90);
    bool surrogate = first == 0xed && v.at[1] > 0x9f;
    bool past_end = first == 0xf4 && v.at[1] > 0x8f;
    return overlong || surrogate || past_end ? 0 : len;
}

struct json_writer json_to(struct writer *out)
{
    return (struct json_writer){.out = out};
}

/* The comma before a name or a value, where one is due. */
static void begin(struct json_writer *j)
{
    if (j->after_name) {
        j->after_name = false;
        return;
    }
    if (j->depth == 0) {
        return;
    }
    if (!j->first[j->depth - 1]) {
        write_u8(j->out, ',');
    }
    j->first[j->depth - 1] = false;
}

static void open_level(struct json_writer *j, char bracket)
{
    assert(j->depth < JSON_DEPTH_MAX);
    begin(j);
    j->first[j->depth++] = true;
    write_u8(j->out, (uint8_t)bracket);
}

static void close_level(struct json_writer *j, char bracket)
{
    assert(j->depth > 0);
    assert(!j->after_name);
    j->depth--;
    write_u8(j->out, (uint8_t)bracket);
}

void json_object(struct json_writer *j)
{
    open_level(j, '{');
}

void json_end_object(struct json_writer *j)
{
    close_level(j, '}');
}

void json_array(struct json_writer *j)
{
    open_level(j, '[');
}

void json_end_array(struct json_writer *j)
{
    close_level(j, ']');
}

static void write_escaped(struct writer *out, uint8_t c)
{
    static const char letters[] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r',
                                   ['\t'] = 't', ['"'] = '"',  ['\\'] = '\\'};

    if (c < sizeof(letters) && letters[c]) {
        write_u8(out, '\\');
        write_u8(out, (uint8_t)letters[c]);
    } else {
        write_format(out, "\\u%04x", c);
    }
}

static void write_quoted(struct writer *out, view text)
{
    write_u8(out, '"');
    for (size_t plain = 0; text.len; text = view_from(text, MAX(plain, (size_t)1))) {
        plain = 0;
        for (size_t len = 1; len && plain < text.len; plain += len) {
            uint8_t c = text.at[plain];
            len = c < 0x20 || c == '"' || c == '\\' ? 0 : utf8_bytes(view_from(text, plain));
        }
        write_view(out, view_upto(text, plain));
        if (plain) {
            continue;
        }
        if (text.at[0] < 0x80) {
            write_escaped(out, text.at[0]);
        } else {
            write_view(out, VIEW(REPLACEMENT));
        }
    }
    write_u8(out, '"');
}

void json_name_view(struct json_writer *j, view name)
{
    assert(!j->after_name);
    assert(j->depth > 0);
    begin(j);
    write_quoted(j->out, name);
    write_u8(j->out, ':');
    j->after_name = true;
}

void json_name(struct json_writer *j, const char *name)
{
    json_name_view(j, view_text(name));
}

void json_view(struct json_writer *j, view text)
{
    if (!text.at) {
        json_null(j);
        return;
    }
    begin(j);
    write_quoted(j->out, text);
}

void json_text(struct json_writer *j, const char *text)
{
    json_view(j, view_text(text));
}

void json_textf(struct json_writer *j, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    json_text(j, len < 0 ? NULL : text);
    if (len >= 0) {
        free(text);
    }
}

void json_int(struct json_writer *j, int64_t value)
{
    begin(j);
    write_format(j->out, "%lld", (long long)value);
}

void json_number(struct json_writer *j, double value)
{
    char text[40];

    if (!isfinite(value)) {
        json_null(j);
        return;
    }
    begin(j);
    for (int digits = 15; digits <= 17; digits++) { /* the shortest that reads back the same */
        snprintf(text, sizeof(text), "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (memcmp(&back, &value, sizeof(value)) == 0) {
            break;
        }
    }
    write_view(j->out, view_text(text));
}

void json_bool(struct json_writer *j, bool value)
{
    json_raw(j, value ? VIEW("true") : VIEW("false"));
}

void json_null(struct json_writer *j)
{
    json_raw(j, VIEW("null"));
}

void json_raw(struct json_writer *j, view json)
{
    begin(j);
    write_view(j->out, json);
}

struct parser {
    struct arena *arena;
    view whole, rest;
    unsigned depth;
};

PRINTF_LIKE(2, 3) static err wrong(const struct parser *p, const char *format, ...)
{
    char text[128];
    size_t line = 1, column = 1;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (const uint8_t *c = p->whole.at; c != p->rest.at; c++) {
        line += *c == '\n' ? 1 : 0;
        column = *c == '\n' ? 1 : column + ((*c & 0xc0) != 0x80 ? 1 : 0);
    }
    return fault(ERR_INVALID, "line %zu, column %zu: %s", line, column, text);
}

static void skip_space(struct parser *p)
{
    while (p->rest.len && strchr(" \t\n\r", p->rest.at[0]) && p->rest.at[0]) {
        p->rest = view_from(p->rest, 1);
    }
}

/* What comes next, 0 at the end (a NUL in the text is as wrong as the end). */
static uint8_t ahead(const struct parser *p)
{
    return p->rest.len ? p->rest.at[0] : 0;
}

static bool take(struct parser *p, char c)
{
    if (ahead(p) != (uint8_t)c) {
        return false;
    }
    p->rest = view_from(p->rest, 1);
    return true;
}

static err take_hex4(struct parser *p, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = ahead(p);
        if (!isxdigit(c)) {
            return wrong(p, "\\u wants four hex digits");
        }
        *out = *out << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        p->rest = view_from(p->rest, 1);
    }
    return OK;
}

static size_t utf8_put(uint8_t *to, uint32_t point)
{
    if (point < 0x80) {
        to[0] = (uint8_t)point;
        return 1;
    }
    size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--, point >>= 6) {
        to[i] = (uint8_t)(0x80 | (point & 0x3f));
    }
    to[0] = (uint8_t)(leads[len] | point);
    return len;
}

static err take_unicode(struct parser *p, uint8_t *to, size_t *used)
{
    uint32_t point, low;
    err e = take_hex4(p, &point);

    if (e) {
        return e;
    }
    if (point >= 0xd800 && point < 0xe000) {
        if (point >= 0xdc00 || !take(p, '\\') || !take(p, 'u')) {
            return wrong(p, "half of a surrogate pair");
        }
        e = take_hex4(p, &low);
        if (e) {
            return e;
        }
        if (low < 0xdc00 || low > 0xdfff) {
            return wrong(p, "half of a surrogate pair");
        }
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    *used += utf8_put(to + *used, point);
    return OK;
}

static err take_escape(struct parser *p, uint8_t *to, size_t *used)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *found = ahead(p) ? strchr(names, ahead(p)) : NULL;

    if (take(p, 'u')) {
        return take_unicode(p, to, used);
    }
    if (!found) {
        return wrong(p, "no such escape");
    }
    p->rest = view_from(p->rest, 1);
    to[(*used)++] = (uint8_t)values[found - names];
    return OK;
}

/* Checks the text after its opening quote up to the closing one, without taking it. */
static err measure_text(struct parser *p, size_t *len, bool *escaped)
{
    struct parser look = *p;

    *escaped = false;
    for (size_t step; ahead(&look) != '"'; look.rest = view_from(look.rest, step)) {
        if (look.rest.len == 0) {
            return wrong(&look, "the text is not closed");
        }
        if (look.rest.at[0] < 0x20) {
            return wrong(&look, "a control character inside a text");
        }
        bool escape = look.rest.at[0] == '\\' && look.rest.len > 1;
        step = utf8_bytes(look.rest);
        if (!step) {
            return wrong(&look, "not UTF-8");
        }
        step += escape && look.rest.at[1] < 0x80 ? 1 : 0;
        *escaped = *escaped || escape;
    }
    *len = p->rest.len - look.rest.len;
    return OK;
}

static err take_text(struct parser *p, view *out)
{
    size_t len = 0, used = 0;
    bool escaped = false;
    err e = take(p, '"') ? measure_text(p, &len, &escaped) : wrong(p, "a text is expected");

    if (e) {
        return e;
    }
    *out = view_upto(p->rest, len);
    if (!escaped) {
        p->rest = view_from(p->rest, len + 1);
        return OK;
    }
    uint8_t *to = arena_take(p->arena, len);
    while (!take(p, '"')) {
        if (take(p, '\\')) {
            e = take_escape(p, to, &used);
            if (e) {
                return e;
            }
            continue;
        }
        to[used++] = p->rest.at[0];
        p->rest = view_from(p->rest, 1);
    }
    assert(used <= len);
    *out = (view){to, used};
    return OK;
}

static size_t take_digits(struct parser *p)
{
    size_t count = 0;

    for (; isdigit(ahead(p)); count++) {
        p->rest = view_from(p->rest, 1);
    }
    return count;
}

static err take_number(struct parser *p, struct json *j)
{
    view start = p->rest;

    j->kind = JSON_NUMBER;
    (void)take(p, '-');
    if (!take(p, '0') && !take_digits(p)) {
        return wrong(p, "a value is expected");
    }
    if (take(p, '.') && !take_digits(p)) {
        return wrong(p, "digits are expected after the point");
    }
    if (take(p, 'e') || take(p, 'E')) {
        (void)(take(p, '+') || take(p, '-'));
        if (!take_digits(p)) {
            return wrong(p, "digits are expected in the exponent");
        }
    }
    if (isalnum(ahead(p))) {
        return wrong(p, "not a number");
    }
    j->text = view_upto(start, start.len - p->rest.len);
    return OK;
}

static err take_word(struct parser *p, struct json *j)
{
    static const struct {
        const char *word;
        enum json_kind kind;
        bool truth;
    } words[] = {
        {"true", JSON_BOOL, true}, {"false", JSON_BOOL, false}, {"null", JSON_NULL, false}};

    for (size_t i = 0; i < COUNT(words); i++) {
        view word = view_text(words[i].word), after = view_from(p->rest, word.len);
        if (view_starts(p->rest, word) && !(after.len && isalnum(after.at[0]))) {
            j->kind = words[i].kind;
            j->truth = words[i].truth;
            p->rest = after;
            return OK;
        }
    }
    return wrong(p, "a value is expected");
}

static err take_value(struct parser *p, struct json *j);

/* Members or items after the opening bracket, through the closing one. */
static err take_inside(struct parser *p, struct json *j, char end)
{
    struct json **link = &j->inside;
    err e = OK;

    skip_space(p);
    if (take(p, end)) {
        return OK;
    }
    for (;;) {
        struct json *one = arena_take(p->arena, sizeof(*one));
        skip_space(p);
        if (j->kind == JSON_OBJECT) {
            e = take_text(p, &one->name);
            skip_space(p);
            if (!e && !take(p, ':')) {
                e = wrong(p, "a colon is expected after the name");
            }
        }
        e = e ? e : take_value(p, one);
        if (e) {
            return e;
        }
        *link = one;
        link = &one->next;
        skip_space(p);
        if (take(p, end)) {
            return OK;
        }
        if (!take(p, ',')) {
            return wrong(p, "a comma or '%c' is expected", end);
        }
    }
}

static err take_value(struct parser *p, struct json *j)
{
    err e;

    skip_space(p);
    if (ahead(p) == '{' || ahead(p) == '[') {
        if (p->depth == JSON_DEPTH_MAX) {
            return wrong(p, "nested deeper than %d levels", JSON_DEPTH_MAX);
        }
        p->depth++;
        j->kind = take(p, '{') ? JSON_OBJECT : JSON_ARRAY;
        (void)(j->kind == JSON_ARRAY && take(p, '['));
        e = take_inside(p, j, j->kind == JSON_OBJECT ? '}' : ']');
        p->depth--;
        return e;
    }
    if (ahead(p) == '"') {
        j->kind = JSON_TEXT;
        return take_text(p, &j->text);
    }
    return isalpha(ahead(p)) ? take_word(p, j) : take_number(p, j);
}

err json_parse(struct arena *arena, view text, struct json **out)
{
    struct parser p = {.arena = arena, .whole = text, .rest = text};
    struct json *root = arena_take(arena, sizeof(*root));
    err e = take_value(&p, root);

    if (e) {
        return e;
    }
    skip_space(&p);
    if (p.rest.len) {
        return wrong(&p, "something follows the end of the value");
    }
    *out = root;
    return OK;
}

const struct json *json_get(const struct json *object, const char *name)
{
    const struct json *found = NULL;

    if (!object || object->kind != JSON_OBJECT) {
        return NULL;
    }
    for (const struct json *one = object->inside; one; one = one->next) {
        found = view_is_text(one->name, name) ? one : found;
    }
    return found;
}

static err get_kind(const struct json *object, const char *name, enum json_kind kind,
                    const struct json **out)
{
    static const char *const kinds[] = {"null",   "true or false", "a number",
                                        "a text", "an array",      "an object"};

    *out = json_get(object, name);
    if (!*out) {
        return fault(ERR_NOT_FOUND, "\"%s\" is missing", name);
    }
    return (*out)->kind == kind ? OK
                                : fault(ERR_INVALID, "\"%s\" must be %s, it is %s", name,
                                        kinds[kind], kinds[(*out)->kind]);
}

err json_get_text(const struct json *object, const char *name, view *out)
{
    const struct json *found;
    err e = get_kind(object, name, JSON_TEXT, &found);

    if (!e) {
        *out = found->text;
    }
    return e;
}

err json_get_int(const struct json *object, const char *name, int64_t *out)
{
    const struct json *found;
    err e = get_kind(object, name, JSON_NUMBER, &found);

    if (e) {
        return e;
    }
    return view_to_int(found->text, out) == OK ? OK : fault_prefix("\"%s\": ", name);
}

err json_get_bool(const struct json *object, const char *name, bool *out)
{
    const struct json *found;
    err e = get_kind(object, name, JSON_BOOL, &found);

    if (!e) {
        *out = found->truth;
    }
    return e;
}
