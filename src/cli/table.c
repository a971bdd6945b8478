/* table.c - aligned columns for people.
 *
 * Cells hold text from outside (names, client ids): control characters become "?", so that
 * nothing in them reaches the terminal as a command. Widths count code points. When a terminal
 * is too narrow the widest left-aligned columns give way, down to CELL_LEAST.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/command.h"

#define COLUMNS_MAX 16
#define CELL_LEAST 8
#define GAP 2
#define CUT_MARK "…"

struct table {
    const char *const *heads;
    size_t columns;
    struct arena arena;
    view *cells;
    size_t count, room;
};

struct table *table_new(const char *const *heads, size_t columns)
{
    struct table *t = xcalloc(1, sizeof(*t));

    assert(columns > 0 && columns <= COLUMNS_MAX);
    t->heads = heads;
    t->columns = columns;
    return t;
}

void table_view(struct table *t, view text)
{
    view cell = arena_copy(&t->arena, text);
    uint8_t *at = (uint8_t *)(uintptr_t)cell.at;

    for (size_t i = 0; i < cell.len; i++) {
        if (at[i] < ' ' || at[i] == 0x7f) {
            at[i] = '?';
        }
    }
    t->cells = array_room(t->cells, t->count, &t->room, sizeof(*t->cells));
    t->cells[t->count++] = cell;
}

void table_cell(struct table *t, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    assert(len >= 0);
    table_view(t, view_text(text));
    free(text);
}

size_t table_rows(const struct table *t)
{
    return t->count / t->columns;
}

static bool is_right(const struct table *t, size_t column)
{
    return t->heads[column][0] == '>';
}

static view head(const struct table *t, size_t column)
{
    return view_text(t->heads[column] + (is_right(t, column) ? 1 : 0));
}

static size_t width_of(view text)
{
    size_t width = 0;

    for (size_t i = 0; i < text.len; i++) {
        width += (text.at[i] & 0xc0) != 0x80; /* every byte that begins a code point */
    }
    return width;
}

static view first_points(view text, size_t points)
{
    size_t at = 0;

    while (at < text.len && points > 0) {
        at++;
        while (at < text.len && (text.at[at] & 0xc0) == 0x80) {
            at++;
        }
        points--;
    }
    return view_upto(text, at);
}

static size_t total(const struct table *t, const size_t *widths)
{
    size_t sum = GAP * (t->columns - 1);

    for (size_t i = 0; i < t->columns; i++) {
        sum += widths[i];
    }
    return sum;
}

static void measure(const struct table *t, size_t width, size_t *widths)
{
    for (size_t i = 0; i < t->columns; i++) {
        widths[i] = width_of(head(t, i));
    }
    for (size_t i = 0; i < t->count; i++) {
        widths[i % t->columns] = MAX(widths[i % t->columns], width_of(t->cells[i]));
    }
    while (width && total(t, widths) > width) {
        size_t widest = t->columns;
        for (size_t i = 0; i < t->columns; i++) {
            bool gives = !is_right(t, i) && widths[i] > CELL_LEAST;
            if (gives && (widest == t->columns || widths[i] > widths[widest])) {
                widest = i;
            }
        }
        if (widest == t->columns) {
            return;
        }
        widths[widest]--;
    }
}

static void write_cell(const struct table *t, size_t column, view text, const size_t *widths,
                       struct writer *out)
{
    size_t width = width_of(text), pad = widths[column] - MIN(width, widths[column]);
    bool is_last = column + 1 == t->columns;

    if (is_right(t, column)) {
        write_format(out, "%*s", (int)pad, "");
    }
    if (width > widths[column]) {
        write_view(out, first_points(text, widths[column] - 1));
        write_view(out, VIEW(CUT_MARK));
    } else {
        write_view(out, text);
    }
    if (!is_right(t, column) && !is_last) {
        write_format(out, "%*s", (int)pad, "");
    }
    write_format(out, "%*s", is_last ? 0 : GAP, "");
    while (is_last && out->len && out->at[out->len - 1] == ' ') {
        out->len--;
    }
    if (is_last) {
        write_u8(out, '\n');
    }
}

void table_write(const struct table *t, size_t width, struct writer *out)
{
    size_t widths[COLUMNS_MAX];

    assert(t->count % t->columns == 0);
    measure(t, width, widths);
    for (size_t i = 0; i < t->columns; i++) {
        write_cell(t, i, head(t, i), widths, out);
    }
    for (size_t i = 0; i < t->count; i++) {
        write_cell(t, i % t->columns, t->cells[i], widths, out);
    }
}

size_t terminal_width(FILE *file)
{
    struct winsize size = {0};

    if (!isatty(fileno(file)) || ioctl(fileno(file), TIOCGWINSZ, &size)) {
        return 0;
    }
    return size.ws_col;
}

void table_print(struct table *take_t)
{
    struct writer out = {0};

    table_write(take_t, terminal_width(stdout), &out);
    print_text(&out, stdout);
    writer_fini(&out);
    table_free(take_t);
}

void table_free(struct table *t)
{
    arena_fini(&t->arena);
    free(t->cells);
    free(t);
}

const char *bytes_text(int64_t bytes, char out[BYTES_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1023.95 && unit + 1 < COUNT(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(out, BYTES_TEXT, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}
