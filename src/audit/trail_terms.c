/* trail_terms.c - from a change to its terms. Pure but for the reuse of the last context.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/trail_terms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/envelope.h"

#define VALUE_BYTES_MAX 4096 /* of a value are hashed, with its length */
#define CONTEXT_TERMS_MAX 1024
#define DOCUMENT_TERMS_MAX 256 /* of all documents of a change */
#define PATH_BYTES_MAX 256
#define OID_JSON 114
#define OID_JSONB 3802
#define MIX_A UINT64_C(0x9e3779b97f4a7c15)
#define MIX_B UINT64_C(0xbf58476d1ce4e5b9)

static uint64_t mix(uint64_t h)
{
    h = (h ^ (h >> 32)) * MIX_B;
    return h ^ (h >> 29);
}

static uint64_t mix_bytes(uint64_t h, view v)
{
    uint64_t word = 0;

    h = mix(h ^ (v.len * MIX_A));
    while (v.len >= sizeof(word)) {
        memcpy(&word, v.at, sizeof(word)); /* little endian, as all we run on */
        h = mix(h ^ word);
        v = view_from(v, sizeof(word));
    }
    if (v.len) {
        word = 0;
        memcpy(&word, v.at, v.len);
        h = mix(h ^ word);
    }
    return h;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

struct number { /* being read */
    char digits[NUMBER_TEXT_MAX];
    size_t count;     /* of them, without zeros in front */
    int64_t exponent; /* of the last one */
};

/* Digits, a point, digits: false when there is none. */
static bool number_digits(view *rest, struct number *n)
{
    bool seen = false, point = false;

    for (; rest->len; *rest = view_from(*rest, 1)) {
        uint8_t c = rest->at[0];
        if (c == '.' && !point) {
            point = true;
        } else if (is_digit(c)) {
            seen = true;
            n->exponent -= point ? 1 : 0;
            if (n->count || c != '0') {
                n->digits[n->count++] = (char)c;
            }
        } else {
            break;
        }
    }
    return seen;
}

static bool number_exponent(view rest, struct number *n)
{
    int64_t value;

    if (rest.len == 0) {
        return true;
    }
    if (rest.len < 2 || rest.len > 8 || (rest.at[0] | 0x20) != 'e') {
        return false;
    }
    rest = view_from(rest, rest.at[1] == '+' ? 2 : 1);
    if (rest.len == 0 || view_to_int(rest, &value)) {
        return false;
    }
    n->exponent += value;
    return true;
}

bool number_plain(view text, char out[NUMBER_TEXT_MAX + 16], size_t *len)
{
    struct number n = {.count = 0};
    bool minus = text.len && text.at[0] == '-';

    if (text.len == 0 || text.len > NUMBER_TEXT_MAX ||
        (text.at[0] > '9' || (!minus && text.at[0] < '.'))) {
        return false;
    }
    text = view_from(text, minus ? 1 : 0);
    if (!number_digits(&text, &n) || !number_exponent(text, &n)) {
        return false;
    }
    while (n.count && n.digits[n.count - 1] == '0') {
        n.count--;
        n.exponent++;
    }
    if (n.count == 0) {
        n.digits[n.count++] = '0';
        n.exponent = 0;
        minus = false;
    }
    out[0] = '-';
    memcpy(out + minus, n.digits, n.count);
    out[minus + n.count] = 'e';
    memcpy(out + minus + n.count + 1, &n.exponent, sizeof(n.exponent));
    *len = minus + n.count + 1 + sizeof(n.exponent);
    return true;
}

uint32_t term_hash(enum term_kind kind, view name, view value)
{
    char number[NUMBER_TEXT_MAX + 16];
    size_t len;
    uint64_t h = mix_bytes((uint64_t)kind * MIX_A, name);

    if (view_is_text(value, "true") || view_is_text(value, "false")) {
        value = view_upto(value, 1);
    } else if (number_plain(value, number, &len)) {
        value = (view){(const uint8_t *)number, len};
    }
    h = mix_bytes(h ^ value.len, view_upto(value, VALUE_BYTES_MAX));
    return (uint32_t)(h >> 32);
}

bool is_document(const struct column *column)
{
    return column->type == OID_JSON || column->type == OID_JSONB;
}

static void add(struct terms *t, enum term_kind kind, view name, view value)
{
    t->at = array_room(t->at, t->count, &t->room, sizeof(*t->at));
    t->at[t->count++] = term_hash(kind, name, value);
}

struct fields { /* a walk through a document */
    struct terms *terms;
    enum term_kind kind;
    size_t left; /* terms that may still be added */
    bool paths;  /* CONTEXT_PATH of everything too */
    bool wide;
    char path[PATH_BYTES_MAX];
};

static void add_field(struct fields *f, enum term_kind kind, size_t path_len, view value)
{
    if (f->left == 0) {
        f->wide = true;
        return;
    }
    f->left--;
    add(f->terms, kind, (view){(const uint8_t *)f->path, path_len}, value);
}

static view scalar_text(const struct json *json)
{
    switch (json->kind) {
    case JSON_NULL:
        return TERM_NULL;
    case JSON_BOOL:
        return json->truth ? VIEW("t") : VIEW("f");
    default:
        return json->text;
    }
}

static void walk_fields(struct fields *f, const struct json *json, size_t path_len)
{
    bool inner = json->kind == JSON_OBJECT || json->kind == JSON_ARRAY;

    if (!inner) {
        add_field(f, f->kind, path_len, scalar_text(json));
        return;
    }
    for (const struct json *in = json->inside; in && !f->wide; in = in->next) {
        size_t len = path_len;
        if (json->kind == JSON_OBJECT) {
            if (path_len + 1 + in->name.len >= sizeof(f->path)) {
                f->wide = true;
                return;
            }
            if (path_len) {
                f->path[len++] = '.';
            }
            memcpy(f->path + len, in->name.at, in->name.len);
            len += in->name.len;
            if (f->paths) {
                add_field(f, TERM_CONTEXT_PATH, len, VIEW(""));
            }
        }
        walk_fields(f, in, len);
    }
}

static void parse_context(struct terms *t, view context)
{
    struct fields f = {
        .terms = t, .kind = TERM_CONTEXT, .left = CONTEXT_TERMS_MAX, .paths = true};
    struct json *json = NULL;

    if (json_parse(&t->arena, context, &json)) {
        f.wide = true;
    } else {
        walk_fields(&f, json, 0);
        view actor = change_actor(&t->arena, context);
        if (actor.at) {
            add(t, TERM_ACTOR, VIEW(""), actor);
        }
    }
    t->context.wide = f.wide;
}

static void context_terms(struct terms *t, view context)
{
    bool same = t->context.known && view_is(writer_view(&t->context.text), context);

    if (!same) {
        size_t from = t->count;
        parse_context(t, context);
        size_t count = t->count - from;
        t->count = from;
        if (count > t->context.room) {
            t->context.room = count;
            t->context.at = xrealloc(t->context.at, count * sizeof(*t->context.at));
        }
        if (count) {
            memcpy(t->context.at, t->at + from, count * sizeof(*t->at));
        }
        t->context.count = count;
        t->context.known = true;
        writer_reset(&t->context.text);
        write_view(&t->context.text, context);
    }
    for (size_t i = 0; i < t->context.count; i++) {
        t->at = array_room(t->at, t->count, &t->room, sizeof(*t->at));
        t->at[t->count++] = t->context.at[i];
    }
}

static void document_terms(struct fields *f, const struct column *column, view text)
{
    struct json *json = NULL;
    size_t len = MIN(column->name.len, sizeof(f->path) - 1);

    if (json_parse(&f->terms->arena, text, &json)) {
        f->wide = true;
        return;
    }
    memcpy(f->path, column->name.at, len);
    walk_fields(f, json, len);
}

static void image_terms(struct fields *f, const struct relation *relation,
                        const struct value *image)
{
    for (int i = 0; image && i < relation->count; i++) {
        const struct column *column = &relation->columns[i];
        if (image[i].kind == VALUE_TEXT) {
            add(f->terms, f->kind, column->name, image[i].text);
            if (is_document(column)) {
                document_terms(f, column, image[i].text);
            }
        } else if (image[i].kind == VALUE_NULL) {
            add(f->terms, f->kind, column->name, TERM_NULL);
        }
    }
}

static void key_terms(struct terms *t, const struct change *change)
{
    struct change old = *change;
    struct writer key = {0};

    change_key_text(change, &key);
    add(t, TERM_KEY, VIEW(""), writer_view(&key));
    if (change->before && change->after) { /* a changed key is found by both */
        old.after = NULL;
        writer_reset(&key);
        change_key_text(&old, &key);
        add(t, TERM_KEY, VIEW(""), writer_view(&key));
    }
    writer_fini(&key);
}

static void row_terms(struct terms *t, const struct change *change)
{
    const struct relation *relation = change->relation;
    struct fields f = {.terms = t, .kind = TERM_BEFORE, .left = DOCUMENT_TERMS_MAX};

    add(t, TERM_TABLE, relation->name, VIEW(""));
    if (change->before || change->after) {
        key_terms(t, change);
    }
    for (int i = 0; i < relation->count && change->before && change->after; i++) {
        if (change_is_changed(change, i)) {
            add(t, TERM_CHANGED, relation->columns[i].name, VIEW(""));
        }
    }
    if (change_lacks_before(change)) {
        add(t, TERM_CHANGED, VIEW(""), VIEW("")); /* which is found out when somebody asks */
    }
    image_terms(&f, relation, change->before);
    f.kind = TERM_AFTER;
    image_terms(&f, relation, change->after);
    if (f.wide) {
        add(t, TERM_WIDE, VIEW(""), VIEW(""));
    }
}

void terms_of(const struct change *change, struct terms *terms)
{
    char xid[16];

    arena_reset(&terms->arena);
    terms->count = 0;
    add(terms, TERM_OPERATION, VIEW(""), view_text(change_kind_name(change->kind)));
    snprintf(xid, sizeof(xid), "%u", change->place.xid);
    add(terms, TERM_TX, VIEW(""), view_text(xid));
    if (change->context.len) {
        context_terms(terms, change->context);
        if (terms->context.wide) {
            add(terms, TERM_WIDE, VIEW(""), VIEW(""));
        }
    }
    if (change->relation) {
        row_terms(terms, change);
    }
}

void terms_fini(struct terms *terms)
{
    free(terms->at);
    free(terms->context.at);
    writer_fini(&terms->context.text);
    arena_fini(&terms->arena);
    *terms = (struct terms){0};
}
