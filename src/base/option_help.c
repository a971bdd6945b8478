/* option_help.c - the option rows as --help text and as a page of the documentation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <string.h>

#define HELP_WIDTH 96    /* columns of a line */
#define HELP_LEFT_MAX 36 /* a longer flag has its help start on the next line */

/* What stands for the value after a flag. */
static void write_kind(const struct option *row, struct writer *out)
{
    static const char *const words[] = {
        [OPTION_TEXT] = "TEXT",   [OPTION_COUNT] = "N",     [OPTION_INT] = "N",
        [OPTION_BYTES] = "BYTES", [OPTION_MILLIS] = "TIME", [OPTION_BOOL] = "true|false",
    };

    if (row->kind != OPTION_CHOICE) {
        write_view(out, view_text(words[row->kind]));
        return;
    }
    for (size_t i = 0; row->choices[i]; i++) {
        write_format(out, "%s%s", i ? "|" : "", row->choices[i]);
    }
}

static void write_left(const struct option *row, struct writer *out)
{
    char flag[OPTION_NAME_BYTES];

    option_flag(row, flag);
    write_view(out, VIEW("  "));
    if (row->flag) {
        write_format(out, "%s%s, ", row->flag[1] ? "--" : "-", row->flag);
    }
    write_format(out, "--%s", flag);
    if (row->kind != OPTION_BOOL) {
        write_u8(out, ' ');
        write_kind(row, out);
    }
}

static size_t left_width(const struct option *rows, size_t count)
{
    struct writer left = {0};
    size_t widest = 0;

    for (size_t i = 0; i < count; i++) {
        writer_reset(&left);
        write_left(&rows[i], &left);
        widest = left.len <= HELP_LEFT_MAX ? MAX(widest, left.len) : widest;
    }
    writer_fini(&left);
    return widest + 2;
}

static void write_spaces(struct writer *out, size_t count)
{
    memset(write_space(out, count), ' ', count);
}

/* Words from column on, lines broken before HELP_WIDTH. */
static void write_wrapped(struct writer *out, view text, size_t column)
{
    size_t at = column;

    while (text.len) {
        view word;
        view_cut(text, ' ', &word, &text);
        if (at > column && at + 1 + word.len > HELP_WIDTH) {
            write_u8(out, '\n');
            write_spaces(out, column);
            at = column;
        }
        if (at > column) {
            write_u8(out, ' ');
            at++;
        }
        write_view(out, word);
        at += word.len;
    }
    write_u8(out, '\n');
}

static void write_help_text(const struct option *row, struct writer *out)
{
    write_view(out, view_text(row->help));
    if (!row->preset) {
        write_view(out, VIEW(" (must be given)"));
    } else if (row->preset[0] && row->kind != OPTION_BOOL) {
        write_format(out, " (preset %s)", row->preset);
    }
}

void options_help(const struct option *rows, size_t count, struct writer *out)
{
    size_t column = left_width(rows, count);
    struct writer text = {0};

    for (size_t i = 0; i < count; i++) {
        size_t start = out->len;
        write_left(&rows[i], out);
        if (out->len - start + 2 > column) {
            write_u8(out, '\n');
            start = out->len;
        }
        write_spaces(out, column - (out->len - start));
        writer_reset(&text);
        write_help_text(&rows[i], &text);
        write_wrapped(out, writer_view(&text), column);
    }
    writer_fini(&text);
}

/* A table cell: a bar would end it. */
static void write_cell(struct writer *out, view text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '|') {
            write_u8(out, '\\');
        }
        write_u8(out, text.at[i]);
    }
    write_view(out, VIEW(" |"));
}

void options_reference(const struct option *rows, size_t count, struct writer *out)
{
    char flag[OPTION_NAME_BYTES], variable[OPTION_NAME_BYTES];
    struct writer kind = {0};

    write_view(out, VIEW("| option | flag, variable | value | preset | what it is |\n"
                         "|---|---|---|---|---|\n"));
    for (size_t i = 0; i < count; i++) {
        option_flag(&rows[i], flag);
        option_variable(&rows[i], variable);
        write_format(out, "| `%s` | ", rows[i].name);
        if (rows[i].flag) {
            write_format(out, "`%s%s`, ", rows[i].flag[1] ? "--" : "-", rows[i].flag);
        }
        write_format(out, "`--%s`, `TIDEMARK_%s` | ", flag, variable);
        writer_reset(&kind);
        write_kind(&rows[i], &kind);
        write_cell(out, writer_view(&kind));
        if (!rows[i].preset) {
            write_view(out, VIEW(" must be given | "));
        } else if (rows[i].preset[0]) {
            write_format(out, " `%s` | ", rows[i].preset);
        } else {
            write_view(out, VIEW(" | "));
        }
        write_cell(out, view_text(rows[i].help));
        write_u8(out, '\n');
    }
    writer_fini(&kind);
}
