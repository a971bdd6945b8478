/* sql.c - tokens, statements, kinds. SPDX-License-Identifier: Apache-2.0 */
#include "cli/sql.h"

#include <string.h>
#include <strings.h>

enum token_kind {
    TOKEN_END,
    TOKEN_WORD,   /* keyword or name, as written */
    TOKEN_QUOTED, /* "name" */
    TOKEN_TEXT,   /* 'text' in any of its forms */
    TOKEN_SEMICOLON,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_OTHER,
};

struct token {
    enum token_kind kind;
    view text;  /* as written */
    view value; /* TEXT: between the quotes, still escaped */
    bool odd;   /* unicode escapes: what it names is not what it says */
};

struct scan {
    struct sql_rules rules;
    view text;
    size_t at;
};

static uint8_t peek(const struct scan *s, size_t ahead)
{
    return s->at + ahead < s->text.len ? s->text.at[s->at + ahead] : 0;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word_start(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool is_word(uint8_t c)
{
    return is_word_start(c) || (c >= '0' && c <= '9') || c == '$';
}

/* They nest. */
static void skip_block_comment(struct scan *s)
{
    size_t depth = 0;

    do {
        if (peek(s, 0) == '/' && peek(s, 1) == '*') {
            depth++;
            s->at += 2;
        } else if (peek(s, 0) == '*' && peek(s, 1) == '/') {
            depth--;
            s->at += 2;
        } else {
            s->at++;
        }
    } while (depth && s->at < s->text.len);
}

static void skip_space(struct scan *s)
{
    while (s->at < s->text.len) {
        if (is_space(peek(s, 0))) {
            s->at++;
        } else if (peek(s, 0) == '-' && peek(s, 1) == '-') {
            while (s->at < s->text.len && peek(s, 0) != '\n' && peek(s, 0) != '\r') {
                s->at++;
            }
        } else if (peek(s, 0) == '/' && peek(s, 1) == '*') {
            skip_block_comment(s);
        } else {
            return;
        }
    }
}

/* s->at is at the opening quote. */
static view quoted(struct scan *s, uint8_t quote, bool backslashes)
{
    size_t start = ++s->at;

    while (s->at < s->text.len) {
        if (backslashes && peek(s, 0) == '\\') {
            s->at += 2;
        } else if (peek(s, 0) != quote) {
            s->at++;
        } else if (peek(s, 1) == quote) {
            s->at += 2;
        } else {
            break;
        }
    }
    s->at = MIN(s->at, s->text.len);
    view inside = {s->text.at + start, s->at - start};
    s->at = MIN(s->at + 1, s->text.len);
    return inside;
}

/* $tag$ ... $tag$; false: it is none. */
static bool dollar_quoted(struct scan *s, view *inside)
{
    size_t tag = 1;

    while (is_word(peek(s, tag)) && peek(s, tag) != '$') {
        tag++;
    }
    if (peek(s, tag) != '$' || (peek(s, 1) >= '0' && peek(s, 1) <= '9')) {
        return false;
    }
    view mark = {s->text.at + s->at, tag + 1};
    view rest = view_from(s->text, s->at + mark.len);
    const uint8_t *end = rest.len ? memmem(rest.at, rest.len, mark.at, mark.len) : NULL;
    *inside = end ? view_upto(rest, (size_t)(end - rest.at)) : rest;
    s->at = end ? s->at + 2 * mark.len + inside->len : s->text.len;
    return true;
}

/* A quote, perhaps behind a prefix: E'', B'', X'', N'', U&'', U&"". */
static bool token_quoted(struct scan *s, struct token *t)
{
    uint8_t c = peek(s, 0) | 0x20;
    bool unicode = c == 'u' && peek(s, 1) == '&';
    size_t prefix = unicode ? 2 : (c == 'e' || c == 'b' || c == 'x' || c == 'n') ? 1 : 0;
    uint8_t quote = peek(s, prefix);

    if (quote == '"' && (!prefix || unicode)) {
        s->at += prefix;
        t->value = quoted(s, '"', false);
        t->kind = TOKEN_QUOTED;
        t->odd = unicode;
        return true;
    }
    if (quote != '\'') {
        return false;
    }
    s->at += prefix;
    t->value = quoted(s, '\'', prefix && c == 'e' ? true : s->rules.backslashes && !unicode);
    t->kind = TOKEN_TEXT;
    return true;
}

static struct token next_token(struct scan *s)
{
    struct token t = {.kind = TOKEN_END};

    skip_space(s);
    size_t start = s->at;
    uint8_t c = peek(s, 0);
    if (start >= s->text.len) {
        return t;
    }
    if (token_quoted(s, &t)) {
        /* done */
    } else if (c == '$' && dollar_quoted(s, &t.value)) {
        t.kind = TOKEN_TEXT;
    } else if (is_word_start(c)) {
        t.kind = TOKEN_WORD;
        while (is_word(peek(s, 0)) && s->at < s->text.len) {
            s->at++;
        }
    } else {
        t.kind = c == ';'   ? TOKEN_SEMICOLON
                 : c == '(' ? TOKEN_OPEN
                 : c == ')' ? TOKEN_CLOSE
                            : TOKEN_OTHER;
        s->at++;
    }
    t.text = (view){s->text.at + start, s->at - start};
    return t;
}

static bool says(const struct token *t, const char *word)
{
    return t->kind == TOKEN_WORD && t->text.len == strlen(word) &&
           !strncasecmp((const char *)t->text.at, word, t->text.len);
}

/* Inside the body of CREATE FUNCTION ... BEGIN ATOMIC ... END semicolons end nothing. */
struct body {
    unsigned words;   /* seen so far */
    bool create;      /* the first one was CREATE */
    bool routine;     /* ... OR REPLACE, FUNCTION or PROCEDURE follow it */
    unsigned nesting; /* of BEGIN and CASE */
};

static void body_follow(struct body *b, const struct token *t)
{
    if (t->kind != TOKEN_WORD) {
        return;
    }
    b->words++;
    if (b->words == 1) {
        b->create = says(t, "create");
    } else if (b->create && (b->words == 2 || b->words == 4)) {
        b->routine |= says(t, "function") || says(t, "procedure");
    }
    if (!b->routine) {
        return;
    }
    if (says(t, "begin") || (b->nesting && says(t, "case"))) {
        b->nesting++;
    } else if (b->nesting && says(t, "end")) {
        b->nesting--;
    }
}

bool sql_next(struct sql_rules rules, view *rest, view *statement)
{
    struct scan s = {.rules = rules, .text = *rest};
    struct body body = {0};
    size_t depth = 0;

    if (!view_trim(*rest).len) {
        return false;
    }
    for (;;) {
        struct token t = next_token(&s);
        bool ends = t.kind == TOKEN_SEMICOLON && !depth && !body.nesting;
        if (t.kind == TOKEN_END || ends) {
            *statement = view_trim(view_upto(s.text, s.at - (ends ? 1 : 0)));
            *rest = view_from(s.text, s.at);
            return true;
        }
        body_follow(&body, &t);
        depth += t.kind == TOKEN_OPEN;
        depth -= t.kind == TOKEN_CLOSE && depth;
    }
}

static const struct {
    const char *word;
    enum sql_kind kind;
} first_words[] = {{"select", SQL_READ},     {"table", SQL_READ},   {"values", SQL_READ},
                   {"show", SQL_READ},       {"fetch", SQL_READ},   {"move", SQL_READ},
                   {"close", SQL_READ},      {"listen", SQL_READ},  {"unlisten", SQL_READ},
                   {"notify", SQL_READ},     {"discard", SQL_READ}, {"deallocate", SQL_READ},
                   {"checkpoint", SQL_READ}, {"load", SQL_READ},    {"set", SQL_SETTING},
                   {"reset", SQL_SETTING},   {"declare", SQL_BARE}, {"begin", SQL_BEGIN},
                   {"start", SQL_BEGIN},     {"end", SQL_END},      {"abort", SQL_END},
                   {"savepoint", SQL_POINT}, {"release", SQL_POINT}};

/* WITH, EXPLAIN and PREPARE change rows when a word in them says so. */
static bool has_write(struct scan s)
{
    static const char *const words[] = {"insert",  "update", "delete", "merge",
                                        "execute", "into",   "call",   "copy"};

    for (;;) {
        struct token t = next_token(&s);
        if (t.kind == TOKEN_END) {
            return false;
        }
        for (size_t i = 0; i < COUNT(words); i++) {
            if (says(&t, words[i])) {
                return true;
            }
        }
    }
}

/* COMMIT and ROLLBACK, the rest of which is in s. */
static enum sql_kind kind_of_end(struct scan s, bool back)
{
    struct token t = next_token(&s);

    if (says(&t, "prepared")) {
        return SQL_PREPARED;
    }
    if (says(&t, "work") || says(&t, "transaction")) {
        t = next_token(&s);
    }
    return back && says(&t, "to") ? SQL_BACK : SQL_END;
}

enum sql_kind sql_kind(struct sql_rules rules, view statement)
{
    struct scan s = {.rules = rules, .text = statement};
    struct token t = next_token(&s);

    while (t.kind == TOKEN_OPEN) { /* (SELECT ...) */
        t = next_token(&s);
    }
    if (t.kind == TOKEN_END) {
        return SQL_EMPTY;
    }
    struct scan behind = s;
    struct token second = next_token(&behind);
    if (says(&t, "commit") || says(&t, "rollback")) {
        return kind_of_end(s, says(&t, "rollback"));
    }
    if (says(&t, "prepare")) {
        return says(&second, "transaction") ? SQL_END : SQL_READ;
    }
    if (says(&t, "lock")) {
        bool is_ours = says(&second, "session") && next_token(&behind).kind == TOKEN_END;
        return is_ours ? SQL_LOCK : SQL_BARE;
    }
    if (says(&t, "unlock")) {
        return SQL_UNLOCK;
    }
    if (says(&t, "with") || says(&t, "explain") || says(&t, "select")) {
        return has_write(s) ? SQL_WRITE : SQL_READ;
    }
    for (size_t i = 0; i < COUNT(first_words); i++) {
        if (says(&t, first_words[i].word)) {
            return first_words[i].kind;
        }
    }
    return SQL_WRITE;
}

bool sql_is_control(enum sql_kind kind)
{
    return kind >= SQL_BARE;
}

static bool contains(view text, const char *what)
{
    for (size_t at = 0, len = strlen(what); at + len <= text.len; at++) {
        if (!strncasecmp((const char *)text.at + at, what, len)) {
            return true;
        }
    }
    return false;
}

bool sql_allows_writes(struct sql_rules rules, view statement)
{
    struct scan s = {.rules = rules, .text = statement};

    for (bool after_read = false;;) {
        struct token t = next_token(&s);
        if (t.kind == TOKEN_END) {
            return false;
        }
        bool names_it = (t.kind == TOKEN_WORD || t.kind == TOKEN_QUOTED) &&
                        (t.odd || contains(t.text, "read_only"));
        if (names_it || (after_read && says(&t, "write"))) {
            return true;
        }
        after_read = says(&t, "read");
    }
}

view sql_reason(struct arena *arena, struct sql_rules rules, view statement)
{
    struct scan s = {.rules = rules, .text = statement};
    struct writer out = {0};

    (void)next_token(&s);
    struct token t = next_token(&s);
    if (t.kind != TOKEN_TEXT || next_token(&s).kind != TOKEN_END) {
        return (view){0};
    }
    for (size_t i = 0; i < t.value.len; i++) {
        write_u8(&out, t.value.at[i]);
        i += t.value.at[i] == '\'' && i + 1 < t.value.len && t.value.at[i + 1] == '\'';
    }
    view reason = arena_copy(arena, view_trim(writer_view(&out)));
    writer_fini(&out);
    return reason.len ? reason : (view){0};
}

void sql_without_secrets(struct sql_rules rules, view statement, struct writer *out)
{
    struct scan s = {.rules = rules, .text = statement};
    size_t kept = 0;

    for (bool after_password = false;;) {
        struct token t = next_token(&s);
        if (t.kind == TOKEN_END) {
            break;
        }
        if (t.kind == TOKEN_TEXT && (after_password || contains(t.value, "password="))) {
            size_t start = (size_t)(t.text.at - statement.at);
            write_bytes(out, statement.at + kept, start - kept);
            write_view(out, VIEW("'***'"));
            kept = start + t.text.len;
        }
        after_password = says(&t, "password") || (after_password && t.kind == TOKEN_OTHER);
    }
    write_view(out, view_from(statement, kept));
}

void sql_quote(struct writer *out, view text)
{
    write_view(out, VIEW(" E'"));
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '\'' || text.at[i] == '\\') {
            write_u8(out, text.at[i]);
        }
        if (text.at[i]) {
            write_u8(out, text.at[i]);
        }
    }
    write_u8(out, '\'');
}
