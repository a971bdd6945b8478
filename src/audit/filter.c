/* filter.c - from words to filters.
 *
 *   filter  := [not] ( KEY=VALUE | KEY!=VALUE | phrase )
 *   phrase  := table NAME | key KEY | row TABLE/KEY | tx XID | by WHO | operation NAME
 *            | created | updated | deleted | truncated | since POINT | until POINT
 *            | context.PATH [is VALUE] | (context | before | after) contains JSON
 *            | changed COLUMN | COLUMN changed [from VALUE] [to VALUE]
 *            | COLUMN (is | was) [not] VALUE
 *
 * All filters must hold. Words that only make it read well (and, where, with ...) are passed
 * over where a filter may begin. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "audit/ref.h"
#include "audit/trail.h"

#define FILTER_WORDS                                                                           \
    "table NAME, key KEY, row TABLE/KEY, tx XID, by WHO, created, updated, deleted, since "    \
    "POINT, until POINT, context.PATH is VALUE, context contains JSON, COLUMN is VALUE, "      \
    "COLUMN was VALUE, COLUMN changed to VALUE, or COLUMN=VALUE"

struct phrases { /* being read */
    struct arena *arena;
    const view *words;
    size_t count, at;
    int64_t now_ms;
    struct filter *filters;
    size_t filter_count;
    bool is_not; /* of the filter being read */
};

static err wrong(view word, const char *why, const char *fix)
{
    return fault(ERR_INVALID, "\"%.*s\": %s: %s", VIEW_ARG(view_upto(word, 80)), why, fix);
}

static struct filter *put(struct phrases *p, enum filter_kind kind, view name, view value)
{
    struct filter *f = &p->filters[p->filter_count++];

    *f = (struct filter){.kind = kind, .is_not = p->is_not, .name = name, .value = value};
    return f;
}

static bool next_is(const struct phrases *p, const char *word)
{
    return p->at < p->count && view_is_text(p->words[p->at], word);
}

static bool accept(struct phrases *p, const char *word)
{
    bool is = next_is(p, word);

    p->at += is ? 1 : 0;
    return is;
}

/* What must follow the word just read. */
static err operand(struct phrases *p, const char *what, view *out)
{
    if (p->at >= p->count) {
        return wrong(p->words[p->at - 1], "what follows is missing", what);
    }
    *out = p->words[p->at++];
    return OK;
}

/* A bare null is SQL's. */
static view value_of(view word)
{
    return view_is_text(word, "null") ? (view){0} : word;
}

static const char *operation_of(view word)
{
    static const char *const names[][2] = {
        {"create", "create"},      {"created", "create"}, {"insert", "create"},
        {"inserted", "create"},    {"update", "update"},  {"updated", "update"},
        {"delete", "delete"},      {"deleted", "delete"}, {"truncate", "truncate"},
        {"truncated", "truncate"}, {"read", "read"},      {"snapshot", "read"},
        {"message", "message"},
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        if (view_is_text(word, names[i][0])) {
            return names[i][1];
        }
    }
    return NULL;
}

static err put_operation(struct phrases *p, view word)
{
    const char *name = operation_of(word);

    if (!name) {
        return wrong(word, "no such operation",
                     "create, update, delete, truncate, read or message");
    }
    put(p, FILTER_OPERATION, (view){0}, view_text(name));
    return OK;
}

/* "lsn:0/16B3", "lsn:shop/0/16B3". */
static err lsn_of(view text, uint64_t *out)
{
    view head, tail, rest = text;
    size_t slashes = 0;

    for (size_t i = 0; i < text.len; i++) {
        slashes += text.at[i] == '/' ? 1 : 0;
    }
    if (slashes > 1 && view_cut(text, '/', &head, &tail)) {
        rest = tail;
    }
    return lsn_parse(rest, out);
}

static err put_time(struct phrases *p, bool since, view word)
{
    struct point point = {0};
    uint64_t lsn = 0;

    if (view_starts(word, VIEW("lsn:"))) {
        err e = lsn_of(view_from(word, 4), &lsn);
        if (!e) {
            put(p, since ? FILTER_AFTER_LSN : FILTER_UNTIL_LSN, (view){0}, word)->number =
                (int64_t)lsn;
        }
        return e;
    }
    err e = point_parse(word, p->now_ms, &point);
    if (e) {
        return e;
    }
    if (point.kind == POINT_OFFSET) {
        return wrong(word, "a point in time is wanted",
                     "-15m, 2026-01-31T12:00:00Z or lsn:0/16B3748");
    }
    int64_t us = point.kind == POINT_TIME         ? point.value * 1000
                 : (point.kind == POINT_EARLIEST) ? INT64_MIN
                                                  : INT64_MAX;
    put(p, since ? FILTER_SINCE : FILTER_UNTIL, (view){0}, word)->number = us;
    return OK;
}

/* "orders/42", "public.orders/42", or a reference "row:shop.public.orders/42". */
static err put_row(struct phrases *p, view word)
{
    struct ref ref;
    view table, key;

    if (p->is_not) {
        return wrong(word, "a row cannot be left out in one word",
                     "not table NAME, not key KEY");
    }
    if (view_starts(word, VIEW("row:"))) {
        err e = ref_parse(p->arena, word, &ref);
        if (e) {
            return e;
        }
        char *name =
            arena_format(p->arena, "%.*s.%.*s", VIEW_ARG(ref.schema), VIEW_ARG(ref.table));
        put(p, FILTER_TABLE, (view){0}, view_text(name));
        put(p, FILTER_KEY, (view){0}, ref.key);
        return OK;
    }
    if (!view_cut(word, '/', &table, &key) || !table.len || !key.len) {
        return wrong(word, "a row is TABLE/KEY", "orders/42 or row:shop.public.orders/42");
    }
    put(p, FILTER_TABLE, (view){0}, table);
    put(p, FILTER_KEY, (view){0}, key);
    return OK;
}

/* "7812", "7812@0/16B3", or a reference "tx:shop/7812". */
static err put_tx(struct phrases *p, view word)
{
    struct ref ref;
    char lsn[LSN_TEXT_BYTES];
    char *text = arena_format(p->arena, "tx:x/%.*s", VIEW_ARG(word));
    bool is_ref = view_starts(word, VIEW("tx:"));
    err e = ref_parse(p->arena, is_ref ? word : view_text(text), &ref);

    if (e) {
        return wrong(word, "no number of a transaction",
                     "7812, 7812@0/16B3748 or tx:shop/7812");
    }
    char *value = arena_format(p->arena, "%u", ref.xid);
    if (ref.commit_lsn) {
        lsn_text(ref.commit_lsn, lsn);
        value = arena_format(p->arena, "%u@%s", ref.xid, lsn);
    }
    put(p, FILTER_TX, (view){0}, view_text(value));
    return OK;
}

static err put_contains(struct phrases *p, view side, view document)
{
    struct json *json = NULL;

    if (json_parse(p->arena, document, &json)) {
        return fault_prefix("\"%.*s\" is no JSON document: ",
                            VIEW_ARG(view_upto(document, 80)));
    }
    put(p, FILTER_CONTAINS, side, document);
    return OK;
}

static err put_path(struct phrases *p, view word, view path, view value)
{
    if (!path.len) {
        return wrong(word, "a path is missing", "context.PATH, such as context.user.id");
    }
    put(p, FILTER_CONTEXT, path, value);
    return OK;
}

static bool is_document_text(view value)
{
    return value.len && (value.at[0] == '{' || value.at[0] == '[');
}

static bool is_side(view word)
{
    return view_is_text(word, "context") || view_is_text(word, "before") ||
           view_is_text(word, "after");
}

/* KEY=VALUE. */
static err take_pair(struct phrases *p, view word, view key, view value)
{
    static const struct {
        const char *key;
        enum filter_kind kind;
    } plain[] = {{"table", FILTER_TABLE},
                 {"key", FILTER_KEY},
                 {"by", FILTER_ACTOR},
                 {"actor", FILTER_ACTOR},
                 {"changed", FILTER_CHANGED}};
    static const struct {
        const char *prefix;
        enum filter_kind kind;
    } sides[] = {
        {"before.", FILTER_BEFORE}, {"after.", FILTER_AFTER}, {"value.", FILTER_VALUE}};

    for (size_t i = 0; i < COUNT(plain); i++) {
        if (view_is_text(key, plain[i].key)) {
            bool names = plain[i].kind == FILTER_CHANGED;
            put(p, plain[i].kind, names ? value : (view){0}, names ? (view){0} : value);
            return OK;
        }
    }
    for (size_t i = 0; i < COUNT(sides); i++) {
        view prefix = view_text(sides[i].prefix);
        if (view_starts(key, prefix) && key.len > prefix.len) {
            put(p, sides[i].kind, view_from(key, prefix.len), value_of(value));
            return OK;
        }
    }
    if (view_is_text(key, "op") || view_is_text(key, "operation")) {
        return put_operation(p, value);
    }
    if (view_is_text(key, "row")) {
        return put_row(p, value);
    }
    if (view_is_text(key, "tx")) {
        return put_tx(p, value);
    }
    if (view_is_text(key, "since") || view_is_text(key, "until")) {
        return put_time(p, view_is_text(key, "since"), value);
    }
    if (view_starts(key, VIEW("context."))) {
        return put_path(p, word, view_from(key, 8), value);
    }
    if (is_side(key) && is_document_text(value)) {
        return put_contains(p, key, value);
    }
    put(p, FILTER_VALUE, key, value_of(value));
    return OK;
}

/* A word with a = in it, before any quote of a document. */
static bool is_pair(view word, view *key, view *value, bool *not_equal)
{
    if (!view_cut(word, '=', key, value) || !key->len || is_document_text(word)) {
        return false;
    }
    *not_equal = key->at[key->len - 1] == '!';
    *key = view_upto(*key, key->len - (*not_equal ? 1 : 0));
    return key->len > 0;
}

/* COLUMN changed [from VALUE] [to VALUE]. */
static err take_changed(struct phrases *p, view column)
{
    view value;
    err e = OK;

    put(p, FILTER_CHANGED, column, (view){0});
    if (p->is_not && (next_is(p, "from") || next_is(p, "to"))) {
        return wrong(p->words[p->at], "not is of one condition alone",
                     "not COLUMN changed, or COLUMN is not VALUE");
    }
    if (accept(p, "from")) {
        e = operand(p, "a value", &value);
        if (!e) {
            put(p, FILTER_BEFORE, column, value_of(value));
        }
    }
    if (!e && accept(p, "to")) {
        e = operand(p, "a value", &value);
        if (!e) {
            put(p, FILTER_AFTER, column, value_of(value));
        }
    }
    return e;
}

static err take_column(struct phrases *p, view column)
{
    view value;
    bool was = next_is(p, "was"), is = next_is(p, "is") || next_is(p, "became");

    if (accept(p, "changed")) {
        return take_changed(p, column);
    }
    if (!was && !is) {
        return wrong(column,
                     "not a word that is known here, nor a column with what is to be "
                     "true of it",
                     FILTER_WORDS);
    }
    p->at++;
    p->is_not = accept(p, "not") ? !p->is_not : p->is_not;
    err e = operand(p, "a value", &value);
    if (!e) {
        put(p, was ? FILTER_BEFORE : FILTER_AFTER, column, value_of(value));
    }
    return e;
}

static err take_context(struct phrases *p, view word)
{
    view value = {0};
    err e = OK;

    if (accept(p, "is")) {
        p->is_not = accept(p, "not") ? !p->is_not : p->is_not;
        e = operand(p, "a value", &value);
    }
    return e ? e : put_path(p, word, view_from(word, 8), value);
}

/* Words with what must follow. *known false: it is none. */
static err take_keyword(struct phrases *p, view word, bool *known)
{
    static const struct {
        const char *word, *what;
        enum filter_kind kind;
    } plain[] = {
        {"table", "the name of a table: orders, public.orders", FILTER_TABLE},
        {"key", "the key of a row, such as 42", FILTER_KEY},
        {"by", "who: a name as in the context", FILTER_ACTOR},
        {"actor", "who: a name as in the context", FILTER_ACTOR},
    };
    view value;
    err e = OK;

    *known = true;
    for (size_t i = 0; i < COUNT(plain); i++) {
        if (view_is_text(word, plain[i].word)) {
            e = operand(p, plain[i].what, &value);
            if (!e) {
                put(p, plain[i].kind, (view){0}, value);
            }
            return e;
        }
    }
    if (view_is_text(word, "row")) {
        e = operand(p, "TABLE/KEY", &value);
        return e ? e : put_row(p, value);
    }
    if (view_is_text(word, "tx")) {
        e = operand(p, "the number of a transaction", &value);
        return e ? e : put_tx(p, value);
    }
    if (view_is_text(word, "operation")) {
        e = operand(p, "create, update, delete, truncate", &value);
        return e ? e : put_operation(p, value);
    }
    if (view_is_text(word, "since") || view_is_text(word, "until")) {
        e = operand(p, POINT_WORDS, &value);
        return e ? e : put_time(p, view_is_text(word, "since"), value);
    }
    if (view_is_text(word, "changed")) {
        e = operand(p, "the name of a column", &value);
        return e ? e : take_changed(p, value);
    }
    *known = false;
    return OK;
}

static err take_filter(struct phrases *p)
{
    view word = p->words[p->at++], key, value;
    bool known = false, not_equal = false;

    if (is_pair(word, &key, &value, &not_equal)) {
        p->is_not = not_equal ? !p->is_not : p->is_not;
        return take_pair(p, word, key, value);
    }
    if (view_starts(word, VIEW("row:"))) {
        return put_row(p, word);
    }
    if (view_starts(word, VIEW("tx:"))) {
        return put_tx(p, word);
    }
    if (is_side(word) && accept(p, "contains")) {
        err e = operand(p, "a JSON document, such as {\"user\":\"ann\"}", &value);
        return e ? e : put_contains(p, word, value);
    }
    if (view_starts(word, VIEW("context."))) {
        return take_context(p, word);
    }
    bool verb =
        next_is(p, "is") || next_is(p, "was") || next_is(p, "became") || next_is(p, "changed");
    if (!verb && operation_of(word)) {
        return put_operation(p, word);
    }
    err e = take_keyword(p, word, &known);
    return e || known ? e : take_column(p, word);
}

static bool is_filler(view word)
{
    static const char *const words[] = {"and", "where", "with", "that", "the", "which", "in"};

    for (size_t i = 0; i < COUNT(words); i++) {
        if (view_is_text(word, words[i])) {
            return true;
        }
    }
    return false;
}

err filter_parse(struct arena *arena, const view *words, size_t count, int64_t now_ms,
                 struct filter **out, size_t *filter_count)
{
    struct phrases p = {.arena = arena, .words = words, .count = count, .now_ms = now_ms};
    err e = OK;

    /* No word makes more than three. */
    p.filters = arena_take(arena, (count * 3 + 1) * sizeof(*p.filters));
    while (!e && p.at < count) {
        p.is_not = false;
        while (p.at < count && is_filler(words[p.at])) {
            p.at++;
        }
        while (accept(&p, "not")) {
            p.is_not = !p.is_not;
        }
        if (p.at < count) {
            e = take_filter(&p);
        } else if (p.is_not) {
            e = wrong(words[count - 1], "what follows is missing", FILTER_WORDS);
        }
    }
    *out = p.filters;
    *filter_count = p.filter_count;
    return e;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct splitter {
    view text;
    size_t at;
    uint8_t *made; /* the words' bytes, without their quotes */
    size_t made_len;
};

static err unclosed(const struct splitter *s, uint8_t what)
{
    return fault(ERR_INVALID, "a %c is opened in %.*s and never closed", what,
                 VIEW_ARG(view_upto(s->text, 200)));
}

static void take_byte(struct splitter *s)
{
    s->made[s->made_len++] = s->text.at[s->at++];
}

static err take_quoted(struct splitter *s)
{
    uint8_t quote = s->text.at[s->at++];

    for (; s->at < s->text.len; take_byte(s)) {
        if (s->text.at[s->at] == quote) {
            s->at++;
            return OK;
        }
        if (quote == '"' && s->text.at[s->at] == '\\' && s->at + 1 < s->text.len) {
            s->at++;
        }
    }
    return unclosed(s, quote);
}

/* A document as it is, with its own quotes and blanks. */
static err take_document(struct splitter *s)
{
    uint8_t opened = s->text.at[s->at];
    size_t depth = 0;
    bool in_text = false;

    while (s->at < s->text.len) {
        uint8_t c = s->text.at[s->at];
        if (in_text && c == '\\' && s->at + 1 < s->text.len) {
            take_byte(s);
        } else if (c == '"') {
            in_text = !in_text;
        } else if (!in_text) {
            depth += c == '{' || c == '[' ? 1 : 0;
            depth -= c == '}' || c == ']' ? 1 : 0;
        }
        take_byte(s);
        if (depth == 0) {
            return OK;
        }
    }
    return unclosed(s, opened);
}

static err take_word(struct splitter *s)
{
    size_t from = s->made_len;
    err e = OK;

    while (!e && s->at < s->text.len && !is_blank(s->text.at[s->at])) {
        uint8_t c = s->text.at[s->at];
        bool begins = s->made_len == from || s->made[s->made_len - 1] == '=';
        if (c == '"' || c == '\'') {
            e = take_quoted(s);
        } else if (begins && (c == '{' || c == '[')) {
            e = take_document(s);
        } else {
            take_byte(s);
        }
    }
    return e;
}

err filter_words(struct arena *arena, view text, view **out, size_t *count)
{
    struct splitter s = {.text = text, .made = arena_take(arena, text.len + 1)};
    view *words = arena_take(arena, (text.len / 2 + 1) * sizeof(*words));
    size_t found = 0;
    err e = OK;

    while (!e) {
        while (s.at < text.len && is_blank(text.at[s.at])) {
            s.at++;
        }
        if (s.at == text.len) {
            break;
        }
        size_t from = s.made_len;
        e = take_word(&s);
        words[found++] = (view){s.made + from, s.made_len - from};
    }
    *out = words;
    *count = found;
    return e;
}
