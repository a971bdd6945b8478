/* option.c - option rows: finding, setting, printing, variables and flags.
 *
 * A number that must be given holds OPTION_UNSET until it is; a text holds NULL.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_MOST (INT64_C(1) << 53) /* amounts with units are read as doubles */
#define OPTION_UNSET INT64_MIN
#define VARIABLE_PREFIX "TIDEMARK_"

static char **text_at(const struct option *row, const void *self)
{
    return (char **)((uintptr_t)self + row->offset);
}

static int64_t *number_at(const struct option *row, const void *self)
{
    return (int64_t *)((uintptr_t)self + row->offset);
}

static bool *bool_at(const struct option *row, const void *self)
{
    return (bool *)((uintptr_t)self + row->offset);
}

const struct option *option_find(const struct option *rows, size_t count, view name)
{
    for (size_t i = 0; i < count; i++) {
        if (view_is_text(name, rows[i].name)) {
            return &rows[i];
        }
    }
    return NULL;
}

static err unknown(const struct option *rows, size_t count, view name, const char *where)
{
    const char **names = xcalloc(count, sizeof(*names));

    for (size_t i = 0; i < count; i++) {
        names[i] = rows[i].name;
    }
    const char *near = nearest_name(name, names, count);
    err e =
        fault(ERR_INVALID, "%s: no option \"%.*s\"%s%s%s", where, VIEW_ARG(view_upto(name, 80)),
              near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    free(names);
    return e;
}

static err parse_bool(view value, bool *out)
{
    static const struct {
        const char *word;
        bool is;
    } words[] = {{"true", true}, {"false", false}, {"yes", true}, {"no", false},
                 {"on", true},   {"off", false},   {"1", true},   {"0", false}};

    for (size_t i = 0; i < COUNT(words); i++) {
        if (view_is_text(value, words[i].word)) {
            *out = words[i].is;
            return OK;
        }
    }
    return fault(ERR_INVALID, "\"%.*s\" is neither true nor false",
                 VIEW_ARG(view_upto(value, 40)));
}

static err parse_choice(const struct option *row, view value, int64_t *out)
{
    struct writer list = {0};
    size_t count = 0;

    for (; row->choices[count]; count++) {
        if (view_is_text(value, row->choices[count])) {
            *out = (int64_t)count;
            writer_fini(&list);
            return OK;
        }
        write_format(&list, "%s%s", count ? ", " : "", row->choices[count]);
    }
    const char *near = nearest_name(value, row->choices, count);
    err e = fault(ERR_INVALID, "\"%.*s\" is not one of %.*s%s%s%s",
                  VIEW_ARG(view_upto(value, 40)), VIEW_ARG(writer_view(&list)),
                  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    writer_fini(&list);
    return e;
}

/* The largest unit that divides the number: what is printed reads back the same. */
static void print_amount(enum option_kind kind, int64_t value, struct writer *out)
{
    static const struct {
        enum option_kind kind;
        int64_t factor;
        const char *name;
    } units[] = {
        {OPTION_BYTES, INT64_C(1) << 40, "TiB"},
        {OPTION_BYTES, 1 << 30, "GiB"},
        {OPTION_BYTES, 1 << 20, "MiB"},
        {OPTION_BYTES, 1 << 10, "KiB"},
        {OPTION_MILLIS, 86400000, "d"},
        {OPTION_MILLIS, 3600000, "h"},
        {OPTION_MILLIS, 60000, "m"},
        {OPTION_MILLIS, 1000, "s"},
        {OPTION_MILLIS, 1, "ms"},
    };

    for (size_t i = 0; value > 0 && value <= WHOLE_MOST && i < COUNT(units); i++) {
        if (units[i].kind == kind && value % units[i].factor == 0) {
            write_format(out, "%lld%s", (long long)(value / units[i].factor), units[i].name);
            return;
        }
    }
    write_format(out, "%lld", (long long)value);
}

static err check_bounds(const struct option *row, int64_t value)
{
    bool unbound = row->least == 0 && row->most == 0;
    int64_t least = unbound && row->kind == OPTION_INT ? OPTION_UNSET + 1 : row->least;
    int64_t most = row->most ? row->most : INT64_MAX;
    struct writer text = {0};

    if (value >= least && value <= most) {
        return OK;
    }
    print_amount(row->kind, value, &text);
    write_format(&text, value < least ? " is less than " : " is more than ");
    print_amount(row->kind, value < least ? least : most, &text);
    err e = fault(ERR_INVALID, "%.*s", VIEW_ARG(writer_view(&text)));
    writer_fini(&text);
    return e;
}

static err set_number(const struct option *row, void *self, view value)
{
    int64_t number = 0;
    err e;

    if (row->kind == OPTION_BYTES) {
        e = view_to_bytes(value, &number);
    } else if (row->kind == OPTION_MILLIS) {
        e = view_to_millis(value, &number);
    } else {
        e = view_to_int(value, &number);
    }
    e = e ? e : check_bounds(row, number);
    if (!e) {
        *number_at(row, self) = number;
    }
    return e;
}

static err set_text(const struct option *row, void *self, view value)
{
    if (value.len && memchr(value.at, '\0', value.len)) {
        return fault(ERR_INVALID, "a text with a NUL in it");
    }
    free(*text_at(row, self));
    *text_at(row, self) = value.len ? text_of(value) : NULL;
    return OK;
}

static err set_row(const struct option *row, void *self, view value)
{
    switch (row->kind) {
    case OPTION_TEXT:
        return set_text(row, self, value);
    case OPTION_BOOL:
        return parse_bool(value, bool_at(row, self));
    case OPTION_CHOICE:
        return parse_choice(row, value, number_at(row, self));
    default:
        return set_number(row, self, value);
    }
}

err options_preset(const struct option *rows, size_t count, void *self)
{
    for (size_t i = 0; i < count; i++) { /* all first, so that a failure leaves no pointer */
        if (rows[i].kind == OPTION_TEXT) {
            *text_at(&rows[i], self) = NULL;
        } else if (rows[i].kind == OPTION_BOOL) {
            assert(rows[i].preset);
            *bool_at(&rows[i], self) = false;
        } else {
            *number_at(&rows[i], self) = OPTION_UNSET;
        }
    }
    for (size_t i = 0; i < count; i++) {
        view preset = view_text(rows[i].preset);
        if (preset.at && set_row(&rows[i], self, preset) != OK) {
            return fault_prefix("preset of %s: ", rows[i].name);
        }
    }
    return OK;
}

err option_set(const struct option *rows, size_t count, void *self, view name, view value,
               const char *where)
{
    const struct option *row = option_find(rows, count, name);

    if (!row) {
        return unknown(rows, count, name, where);
    }
    return set_row(row, self, value) == OK ? OK : fault_prefix("%s: %s: ", where, row->name);
}

/* A name as flag or variable: dots, underscores and dashes become joint. */
static const char *spell(const char *name, char joint, bool upper, char out[OPTION_NAME_BYTES])
{
    size_t len = strlen(name);

    assert(len < OPTION_NAME_BYTES);
    for (size_t i = 0; i <= len; i++) {
        char c = name[i] && strchr("._-", name[i]) ? joint : name[i];
        out[i] = upper ? (char)toupper((unsigned char)c) : c;
    }
    return out;
}

void option_flag(const struct option *row, char out[OPTION_NAME_BYTES])
{
    spell(row->name, '-', false, out);
}

void option_variable(const struct option *row, char out[OPTION_NAME_BYTES])
{
    spell(row->name, '_', true, out);
}

/* The row whose name or other flag is spelled so. */
static const struct option *find_spelled(const struct option *rows, size_t count, view given,
                                         char joint, bool upper)
{
    char name[OPTION_NAME_BYTES];

    for (size_t i = 0; i < count; i++) {
        if (view_is_text(given, spell(rows[i].name, joint, upper, name)) ||
            (rows[i].flag && view_is_text(given, spell(rows[i].flag, joint, upper, name)))) {
            return &rows[i];
        }
    }
    return NULL;
}

/* A variable or flag nobody knows; every row is a candidate under both of its names. */
static err unknown_spelling(const struct option *rows, size_t count, const char *prefix,
                            view given, char joint, bool upper)
{
    char(*names)[OPTION_NAME_BYTES] = xcalloc(2 * count, sizeof(*names));
    const char **list = xcalloc(2 * count, sizeof(*list));
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        list[used] = spell(rows[i].name, joint, upper, names[used]);
        used++;
        if (rows[i].flag) {
            list[used] = spell(rows[i].flag, joint, upper, names[used]);
            used++;
        }
    }
    const char *near = nearest_name(given, list, used);
    err e = fault(ERR_INVALID, "no option %s%.*s%s%s%s%s", prefix,
                  VIEW_ARG(view_upto(given, 80)), near ? "; did you mean " : "",
                  near ? prefix : "", near ? near : "", near ? "?" : "");
    free(list);
    free(names);
    return e;
}

err options_from_environment(const struct option *rows, size_t count, void *self,
                             char *const *environment)
{
    bool *seen = xcalloc(count, sizeof(*seen));
    err e = OK;

    for (; !e && *environment; environment++) {
        view name, value;
        if (!view_cut(view_text(*environment), '=', &name, &value) ||
            !view_starts(name, VIEW(VARIABLE_PREFIX))) {
            continue;
        }
        name = view_from(name, strlen(VARIABLE_PREFIX));
        const struct option *row = find_spelled(rows, count, name, '_', true);
        if (!row) {
            e = unknown_spelling(rows, count, VARIABLE_PREFIX, name, '_', true);
        } else if (seen[row - rows]) { /* the order of variables means nothing */
            e = fault(ERR_INVALID, VARIABLE_PREFIX "%.*s: %s is given by another variable too",
                      VIEW_ARG(name), row->name);
        } else if (set_row(row, self, value) != OK) {
            e = fault_prefix(VARIABLE_PREFIX "%.*s: ", VIEW_ARG(name));
        } else {
            seen[row - rows] = true;
        }
    }
    free(seen);
    return e;
}

/* A word that starts with a dash and is no flag: "-" itself, and negative points such as -15m.
 */
static bool is_word(const char *arg)
{
    return arg[0] != '-' || arg[1] == '\0' || isdigit((unsigned char)arg[1]);
}

/* Sets what the flag argv[*at] says; moves *at to its last argument. */
static err take_flag(const struct option *rows, size_t count, void *self, int argc, char **argv,
                     int *at)
{
    const char *dashes = argv[*at][1] == '-' ? "--" : "-";
    char spelled[OPTION_NAME_BYTES], *full = NULL;
    view name, value;
    bool joined = view_cut(view_text(argv[*at] + strlen(dashes)), '=', &name, &value);
    const struct option *row = NULL;
    err e = OK;

    if (name.len < OPTION_NAME_BYTES) {
        full = text_of(name);
        row =
            find_spelled(rows, count, view_text(spell(full, '-', false, spelled)), '-', false);
        free(full);
    }
    if (!row || (dashes[1] == '\0') != (name.len == 1)) {
        return unknown_spelling(rows, count, "--", name, '-', false);
    }
    if (!joined && row->kind == OPTION_BOOL) {
        value = VIEW("true");
    } else if (!joined && (*at + 1 == argc || strncmp(argv[*at + 1], "--", 2) == 0)) {
        return fault(ERR_INVALID, "%s%.*s wants a value: %s%.*s=VALUE", dashes, VIEW_ARG(name),
                     dashes, VIEW_ARG(name));
    } else if (!joined) {
        value = view_text(argv[++*at]);
    }
    e = set_row(row, self, value);
    return e ? fault_prefix("%s%.*s: ", dashes, VIEW_ARG(name)) : OK;
}

err options_from_flags(const struct option *rows, size_t count, void *self, int *argc,
                       char **argv)
{
    bool words_only = false;
    int kept = 0;
    err e = OK;

    for (int i = 0; !e && i < *argc; i++) {
        if (!words_only && strcmp(argv[i], "--") == 0) {
            words_only = true;
        } else if (words_only || is_word(argv[i])) {
            argv[kept++] = argv[i];
        } else {
            e = take_flag(rows, count, self, *argc, argv, &i);
        }
    }
    if (!e && kept < *argc) {
        argv[kept] = NULL;
        *argc = kept;
    }
    return e;
}

err options_complete(const struct option *rows, size_t count, const void *self)
{
    char flag[OPTION_NAME_BYTES], variable[OPTION_NAME_BYTES];

    for (size_t i = 0; i < count; i++) {
        bool missing = rows[i].kind == OPTION_TEXT ? !*text_at(&rows[i], self)
                       : rows[i].kind == OPTION_BOOL
                           ? false
                           : *number_at(&rows[i], self) == OPTION_UNSET;
        if (missing && !rows[i].preset) {
            option_flag(&rows[i], flag);
            option_variable(&rows[i], variable);
            return fault(ERR_INVALID,
                         "%s must be given (%s): --%s, " VARIABLE_PREFIX "%s or %s in the file",
                         rows[i].name, rows[i].help, flag, variable, rows[i].name);
        }
    }
    return OK;
}

/* Whether YAML reads the text back as itself without quotes. */
static bool is_plain(view text)
{
    static const char inside[] = "_./:@+,%=-";

    if (text.len == 0 || view_is_text(text, "null") || view_is_text(text, "~")) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        bool edge = i == 0 || i + 1 == text.len;
        if (!isalnum(text.at[i]) && (!text.at[i] || !strchr(edge ? "/" : inside, text.at[i]))) {
            return false;
        }
    }
    return true;
}

void option_print(const struct option *row, const void *self, struct writer *out)
{
    if (row->kind == OPTION_BOOL) {
        write_view(out, view_text(*bool_at(row, self) ? "true" : "false"));
    } else if (row->kind == OPTION_TEXT) {
        view text = view_text(*text_at(row, self) ? *text_at(row, self) : "");
        struct json_writer quoted = json_to(out); /* a JSON text is a YAML text too */
        if (is_plain(text)) {
            write_view(out, text);
        } else {
            json_view(&quoted, text);
        }
    } else if (*number_at(row, self) == OPTION_UNSET) {
        write_view(out, VIEW("\"\""));
    } else if (row->kind == OPTION_CHOICE) {
        write_view(out, view_text(row->choices[*number_at(row, self)]));
    } else {
        print_amount(row->kind, *number_at(row, self), out);
    }
}

void options_fini(const struct option *rows, size_t count, void *self)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == OPTION_TEXT) {
            free(*text_at(&rows[i], self));
            *text_at(&rows[i], self) = NULL;
        }
    }
}
