/* pg_words.c - PostgreSQL's codes, quotes and URLs; pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "audit/pg_inside.h"

const char pg_session_sql[] =
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; "
    "SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'; "
    "SET client_encoding = 'UTF8'";

/* Whole codes first, then classes: the first row whose letters begin the code. */
static const struct {
    const char *code;
    err kind;
} kinds[] = {
    {"08", ERR_CLOSED},          /* connection */
    {"0A", ERR_UNSUPPORTED},     /* feature_not_supported */
    {"23505", ERR_EXISTS},       /* unique_violation */
    {"23", ERR_CONFLICT},        /* integrity constraints */
    {"25", ERR_CONFLICT},        /* invalid transaction state, read only ones too */
    {"28", ERR_DENIED},          /* invalid authorization */
    {"3D000", ERR_NOT_FOUND},    /* database */
    {"3F000", ERR_NOT_FOUND},    /* schema */
    {"40", ERR_CONFLICT},        /* rolled back: serialization, deadlock */
    {"42501", ERR_DENIED},       /* insufficient_privilege */
    {"42704", ERR_NOT_FOUND},    /* undefined object, slot, publication */
    {"42P01", ERR_NOT_FOUND},    /* undefined_table */
    {"42703", ERR_NOT_FOUND},    /* undefined_column */
    {"42883", ERR_NOT_FOUND},    /* undefined_function */
    {"42710", ERR_EXISTS},       /* duplicate object, slot, publication */
    {"42P04", ERR_EXISTS},       /* duplicate_database */
    {"42P06", ERR_EXISTS},       /* duplicate_schema */
    {"42P07", ERR_EXISTS},       /* duplicate_table */
    {"42723", ERR_EXISTS},       /* duplicate_function */
    {"22", ERR_INVALID},         /* data exceptions */
    {"42", ERR_INVALID},         /* syntax, types */
    {"53100", ERR_FULL},         /* disk_full */
    {"53", ERR_BUSY},            /* too many connections, out of memory, of slots */
    {"54", ERR_TOO_LARGE},       /* program limits */
    {"55006", ERR_BUSY},         /* object_in_use: a slot that somebody reads */
    {"55P03", ERR_BUSY},         /* lock_not_available */
    {"55", ERR_CONFLICT},        /* not in prerequisite state: wal_level, a lost slot */
    {"57014", ERR_CANCELLED},    /* query_canceled */
    {"57P03", ERR_BUSY},         /* cannot_connect_now: starting, recovering */
    {"57P0", ERR_CLOSED},        /* shut down, crashed, database dropped */
    {"58P01", ERR_OUT_OF_RANGE}, /* undefined_file: WAL that is gone */
    {"XX001", ERR_CORRUPT},      /* data_corrupted */
    {"XX002", ERR_CORRUPT},      /* index_corrupted */
};

err pg_kind(const char *sqlstate)
{
    if (!sqlstate || !sqlstate[0]) {
        return ERR_CLOSED;
    }
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (!strncmp(sqlstate, kinds[i].code, strlen(kinds[i].code))) {
            return kinds[i].kind;
        }
    }
    return ERR_IO;
}

void pg_one_line(char *text)
{
    for (char *at = text; *at; at++) {
        if (*at == '\n' || *at == '\t') {
            *at = ' ';
        }
    }
    for (size_t end = strlen(text); end && text[end - 1] == ' ';) {
        text[--end] = 0;
    }
}

void pg_quote_name(struct writer *out, view name)
{
    write_u8(out, '"');
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] == '"') {
            write_u8(out, '"');
        }
        write_u8(out, name.at[i]);
    }
    write_u8(out, '"');
}

/* A backslash means itself or not by the server's standard_conforming_strings, unless the text
 * says E''. */
void pg_quote_text(struct writer *out, view text)
{
    bool escapes = text.len && memchr(text.at, '\\', text.len);

    write_format(out, escapes ? "E'" : "'");
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '\'' || text.at[i] == '\\') {
            write_u8(out, text.at[i]);
        }
        write_u8(out, text.at[i]);
    }
    write_u8(out, '\'');
}

static int hex_digit(uint8_t c)
{
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

static char *unescaped(struct arena *arena, view text)
{
    char *out = arena_take(arena, text.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        bool is_escape = text.at[i] == '%' && i + 2 < text.len &&
                         hex_digit(text.at[i + 1]) >= 0 && hex_digit(text.at[i + 2]) >= 0;
        if (is_escape) {
            out[len++] = (char)(hex_digit(text.at[i + 1]) << 4 | hex_digit(text.at[i + 2]));
            i += 2;
        } else {
            out[len++] = (char)text.at[i];
        }
    }
    return out;
}

static view find_last(view text, uint8_t byte)
{
    for (size_t i = text.len; i; i--) {
        if (text.at[i - 1] == byte) {
            return view_from(text, i - 1);
        }
    }
    return (view){0};
}

/* host:5432 or [::1]:5432, or a login whose password goes on behind a ? that nobody escaped. */
static bool is_address(view before_query)
{
    view port = find_last(before_query, ':');

    if (!port.at || find_last(before_query, '/').at || find_last(before_query, ']').at) {
        return true;
    }
    for (size_t i = 1; i < port.len; i++) {
        if (!isdigit(port.at[i])) {
            return false;
        }
    }
    return true;
}

/* scheme://user:password@hosts/database?name=value&password=value */
static void split_uri(struct arena *arena, view uri, size_t scheme, struct writer *clean,
                      char **password)
{
    view rest = view_from(uri, scheme), query = {0};

    write_view(clean, view_upto(uri, scheme));
    view whole = rest;
    view_cut(whole, '?', &rest, &query);
    if (find_last(query, '@').at && !find_last(rest, '@').at && !is_address(rest)) {
        rest = whole;
        query = (view){0};
    }
    /* A password with a bare / in it puts the @ behind: still no part of it may be shown. */
    view at = find_last(rest, '@');
    if (at.at) {
        view user, secret, login = {rest.at, (size_t)(at.at - rest.at)};
        if (view_cut(login, ':', &user, &secret)) {
            *password = unescaped(arena, secret);
        }
        write_view(clean, user);
        rest = at;
    }
    write_view(clean, rest);
    for (char before = '?'; query.len;) {
        view pair, name, value;
        view_cut(query, '&', &pair, &query);
        if (view_cut(pair, '=', &name, &value) && view_is_text(name, "password")) {
            *password = unescaped(arena, value);
            continue;
        }
        write_format(clean, "%c%.*s", before, VIEW_ARG(pair));
        before = '&';
    }
}

/* One word of name=value: quoted by ' with backslashes, or up to white space. */
static size_t word_end(view text, size_t from)
{
    bool quoted = false;

    for (; from < text.len; from++) {
        if (text.at[from] == '\\' && from + 1 < text.len) {
            from++;
        } else if (text.at[from] == '\'') {
            quoted = !quoted;
        } else if (!quoted && isspace(text.at[from])) {
            break;
        }
    }
    return from;
}

static char *unquoted(struct arena *arena, view text)
{
    char *out = arena_take(arena, text.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '\\' && i + 1 < text.len) {
            out[len++] = (char)text.at[++i];
        } else if (text.at[i] != '\'') {
            out[len++] = (char)text.at[i];
        }
    }
    return out;
}

/* host=db user=ann password='it''s' : white space may stand around the equals sign */
static void split_pairs(struct arena *arena, view text, struct writer *clean, char **password)
{
    size_t at = 0;

    while (at < text.len) {
        size_t from = at, name_end, value;
        while (from < text.len && isspace(text.at[from])) {
            from++;
        }
        for (name_end = from;
             name_end < text.len && text.at[name_end] != '=' && !isspace(text.at[name_end]);) {
            name_end++;
        }
        for (value = name_end;
             value < text.len && (isspace(text.at[value]) || text.at[value] == '=');) {
            value++;
        }
        at = word_end(text, value);
        if (view_is_text((view){text.at + from, name_end - from}, "password")) {
            *password = unquoted(arena, (view){text.at + value, at - value});
        } else if (at > from) {
            write_format(clean, "%s%.*s", clean->len ? " " : "", (int)(at - from),
                         (const char *)text.at + from);
        }
    }
}

static void split(struct arena *arena, view url, char **clean, char **password)
{
    struct writer out = {0};

    *password = NULL;
    url = view_trim(url); /* a blank in front would make it no URL, and show all of it */
    if (view_starts(url, VIEW("postgres://"))) {
        split_uri(arena, url, sizeof("postgres://") - 1, &out, password);
    } else if (view_starts(url, VIEW("postgresql://"))) {
        split_uri(arena, url, sizeof("postgresql://") - 1, &out, password);
    } else {
        split_pairs(arena, url, &out, password);
    }
    *clean = arena_text(arena, writer_view(&out));
    writer_fini(&out);
}

/* What is neither form may be one when something is gone from it: until nothing more goes. */
void pg_url_split(struct arena *arena, view url, char **clean, char **password)
{
    char *more = NULL;

    split(arena, url, clean, password);
    for (more = *password; more;) {
        split(arena, view_text(*clean), clean, &more);
    }
}
