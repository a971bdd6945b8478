/* view.c - borrowed bytes and the small things done with them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_COMPARED 64 /* longer names get no suggestion */

view view_text(const char *text)
{
    return (view){(const uint8_t *)text, text ? strlen(text) : 0};
}

view view_from(view v, size_t start)
{
    size_t skip = MIN(start, v.len);

    return v.at ? (view){v.at + skip, v.len - skip} : v;
}

view view_upto(view v, size_t len)
{
    return (view){v.at, MIN(len, v.len)};
}

view view_trim(view v)
{
    while (v.len && isspace(v.at[0])) {
        v = view_from(v, 1);
    }
    while (v.len && isspace(v.at[v.len - 1])) {
        v.len--;
    }
    return v;
}

bool view_is(view a, view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool view_is_text(view a, const char *text)
{
    return view_is(a, view_text(text));
}

int view_order(view a, view b)
{
    size_t shared = MIN(a.len, b.len);
    int order = shared ? memcmp(a.at, b.at, shared) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool view_starts(view v, view prefix)
{
    return view_is(view_upto(v, prefix.len), prefix);
}

bool view_cut(view v, char at, view *head, view *tail)
{
    const uint8_t *found = v.len ? memchr(v.at, at, v.len) : NULL;

    *head = found ? view_upto(v, (size_t)(found - v.at)) : v;
    *tail = found ? view_from(v, (size_t)(found - v.at) + 1) : (view){0};
    return found;
}

__extension__ typedef unsigned __int128 wide;

static uint64_t mix(uint64_t a, uint64_t b)
{
    wide product = (wide)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t view_hash(view v)
{
    uint64_t hash = 0x9e3779b97f4a7c15u ^ v.len;

    for (; v.len >= 8; v = view_from(v, 8)) {
        uint64_t word;
        memcpy(&word, v.at, 8);
        hash = mix(hash ^ word, 0xa0761d6478bd642fu);
    }
    uint64_t last = 0;
    if (v.len) {
        memcpy(&last, v.at, v.len);
    }
    return mix(hash ^ last, 0xe7037ed1a0b428dbu);
}

err view_to_int(view v, int64_t *out)
{
    char text[24], *end;

    if (v.len == 0 || v.len >= sizeof(text) || isspace(v.at[0])) {
        return fault(ERR_INVALID, "\"%.*s\" is not a whole number", VIEW_ARG(view_upto(v, 40)));
    }
    memcpy(text, v.at, v.len);
    text[v.len] = '\0';
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end != text + v.len || errno) {
        return fault(ERR_INVALID, "\"%s\" is not a whole number in range", text);
    }
    return OK;
}

struct unit {
    const char *name;
    double factor;
};

static err number_with_unit(view v, const struct unit *units, size_t count, const char *example,
                            int64_t *out)
{
    char text[40], *end;

    if (v.len && v.len < sizeof(text)) {
        memcpy(text, v.at, v.len);
        text[v.len] = '\0';
        if (view_to_int(v, out) == OK) {
            return OK;
        }
        size_t digits = strspn(text, "-.0123456789"); /* no hex, exponent, infinity, space */
        double number = strtod(text, &end);
        bool plain = digits > 0 && end == text + digits && strlen(text) == v.len;
        for (size_t i = 0; plain && i < count; i++) {
            double value = number * units[i].factor;
            if (strcasecmp(end, units[i].name) == 0 && isfinite(value) && fabs(value) < 9e18) {
                *out = (int64_t)llround(value);
                return OK;
            }
        }
    }
    return fault(ERR_INVALID, "\"%.*s\" is not an amount such as %s",
                 VIEW_ARG(view_upto(v, 40)), example);
}

err view_to_bytes(view v, int64_t *out)
{
    static const struct unit units[] = {
        {"B", 1},      {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
        {"kB", 1e3},   {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12},    {"K", 0x1p10},
        {"M", 0x1p20}, {"G", 0x1p30},   {"T", 0x1p40},
    };
    return number_with_unit(v, units, COUNT(units), "64KiB, 100MB or 1.5GiB", out);
}

err view_to_millis(view v, int64_t *out)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 36e5}, {"d", 864e5}, {"w", 6048e5},
    };
    return number_with_unit(v, units, COUNT(units), "250ms, 30s, 5m, 12h or 7d", out);
}

static size_t edit_distance(view a, view b)
{
    size_t row[NAME_MAX_COMPARED + 1];

    for (size_t j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = tolower(a.at[i - 1]) == tolower(b.at[j - 1]);
            size_t change = diagonal + (same ? 0 : 1);
            diagonal = row[j];
            row[j] = MIN(change, 1 + MIN(row[j], row[j - 1]));
        }
    }
    return row[b.len];
}

const char *nearest_name(view given, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t best_distance = given.len / 3 + 2;

    for (size_t i = 0; given.len <= NAME_MAX_COMPARED && i < count; i++) {
        view name = view_text(names[i]);
        if (name.len > NAME_MAX_COMPARED) {
            continue;
        }
        size_t distance = edit_distance(given, name);
        if (distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best;
}
