/* point.c - points as people write them. Dates are RFC 3339, read strictly.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define YEAR_9999_END_MS INT64_C(253402300799999)
#define YEAR_0_MS INT64_C(-62167219200000)

struct digits { /* a cursor over fixed-width numbers; the first mistake sticks */
    view rest;
    bool bad;
};

static int number(struct digits *d, size_t width, int least, int most)
{
    int value = 0;

    for (size_t i = 0; i < width; i++) {
        bool fits = !d->bad && d->rest.len > 0 && d->rest.at[0] >= '0' && d->rest.at[0] <= '9';
        if (!fits) {
            d->bad = true;
            return least;
        }
        value = value * 10 + (d->rest.at[0] - '0');
        d->rest = view_from(d->rest, 1);
    }
    d->bad = d->bad || value < least || value > most;
    return value;
}

static bool take(struct digits *d, char c)
{
    if (d->bad || d->rest.len == 0 || d->rest.at[0] != (uint8_t)c) {
        return false;
    }
    d->rest = view_from(d->rest, 1);
    return true;
}

static void demand(struct digits *d, char c)
{
    d->bad = !take(d, c) || d->bad;
}

/* Milliseconds of ".5", ".123456": what is finer is cut off. */
static int fraction(struct digits *d)
{
    int value = 0, scale = 100, seen = 0;

    while (!d->bad && d->rest.len > 0 && d->rest.at[0] >= '0' && d->rest.at[0] <= '9') {
        value += scale * number(d, 1, 0, 9);
        scale /= 10;
        seen++;
    }
    d->bad = d->bad || seen == 0;
    return value;
}

static int zone_minutes(struct digits *d)
{
    int sign = 1;

    if (take(d, 'Z')) {
        return 0;
    }
    if (take(d, '-')) {
        sign = -1;
    } else {
        demand(d, '+');
    }
    int hours = number(d, 2, 0, 23);
    demand(d, ':');
    return sign * (hours * 60 + number(d, 2, 0, 59));
}

static bool date_parse(view text, int64_t *ms)
{
    struct digits d = {.rest = text};
    struct tm when = {0};
    int millis = 0, zone = 0;

    when.tm_year = number(&d, 4, 0, 9999) - 1900;
    demand(&d, '-');
    when.tm_mon = number(&d, 2, 1, 12) - 1;
    demand(&d, '-');
    int day = when.tm_mday = number(&d, 2, 1, 31);
    if (!d.bad && d.rest.len > 0) {
        demand(&d, 'T');
        when.tm_hour = number(&d, 2, 0, 23);
        demand(&d, ':');
        when.tm_min = number(&d, 2, 0, 59);
        demand(&d, ':');
        when.tm_sec = number(&d, 2, 0, 59);
        millis = take(&d, '.') ? fraction(&d) : 0;
        zone = zone_minutes(&d);
    }
    if (d.bad || d.rest.len > 0) {
        return false;
    }
    *ms = ((int64_t)timegm(&when) - zone * 60) * 1000 + millis;
    return when.tm_mday == day; /* timegm makes March 2 of February 30 */
}

static err of_other_door(view text)
{
    static const char *const kinds[] = {"mark:", "commit:"};

    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (view_starts(text, view_text(kinds[i]))) {
            return fault(ERR_UNSUPPORTED,
                         "%.*s: points of the kind %s are not known to this version; use %s",
                         VIEW_ARG(view_upto(text, 80)), kinds[i], POINT_WORDS);
        }
    }
    return OK;
}

static err not_a_point(view text)
{
    return fault(ERR_INVALID, "\"%.*s\" is not a point in time: use %s",
                 VIEW_ARG(view_upto(text, 80)), POINT_WORDS);
}

static err ago(view text, int64_t now_ms, struct point *out)
{
    int64_t back;
    uint8_t last = text.at[text.len - 1];

    if (last < 'a' || last > 'z' || view_to_millis(view_from(text, 1), &back) || back < 0) {
        return not_a_point(text); /* a bare number would be milliseconds: nobody means that */
    }
    out->kind = POINT_TIME;
    out->value = now_ms - back;
    return OK;
}

/* Up to 8 hex digits in front; false: none, or more. */
static bool hex_half(view *rest, uint64_t *out)
{
    size_t len = 0;

    for (*out = 0; len < rest->len && len < 9; len++) {
        uint8_t c = rest->at[len], low = c | 0x20;
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && (low < 'a' || low > 'f')) {
            break;
        }
        *out = *out << 4 | (uint64_t)(is_digit ? c - '0' : low - 'a' + 10);
    }
    *rest = view_from(*rest, len);
    return len > 0 && len <= 8;
}

/* SOURCE/0/16B3748, as PostgreSQL writes positions. */
static bool lsn_read(view text, struct point *out)
{
    uint64_t high = 0, low = 0;
    view rest;

    out->kind = POINT_LSN;
    if (!view_cut(text, '/', &out->source, &rest) || !out->source.len ||
        !hex_half(&rest, &high) || !rest.len || rest.at[0] != '/') {
        return false;
    }
    rest = view_from(rest, 1);
    bool whole = hex_half(&rest, &low) && rest.len == 0;
    out->value = (int64_t)(high << 32 | low);
    return whole;
}

err point_parse(view text, int64_t now_ms, struct point *out)
{
    static const view offset = {(const uint8_t *)"offset:", 7};
    static const view lsn = {(const uint8_t *)"lsn:", 4};
    err e = of_other_door(text);

    *out = (struct point){0};
    if (e || text.len == 0) {
        return e ? e : not_a_point(text);
    }
    if (view_is_text(text, "earliest")) {
        out->kind = POINT_EARLIEST;
    } else if (view_is_text(text, "latest")) {
        out->kind = POINT_LATEST;
    } else if (view_is_text(text, "now")) {
        *out = (struct point){.kind = POINT_TIME, .value = now_ms};
    } else if (view_starts(text, lsn)) {
        if (!lsn_read(view_from(text, lsn.len), out)) {
            return fault(ERR_INVALID,
                         "\"%.*s\" is no position of a database: it would be "
                         "lsn:SOURCE/0/16B3748",
                         VIEW_ARG(view_upto(text, 80)));
        }
    } else if (view_starts(text, offset)) {
        out->kind = POINT_OFFSET;
        if (view_to_int(view_from(text, offset.len), &out->value) || out->value < 0) {
            return not_a_point(text);
        }
    } else if (text.at[0] == '-') {
        return ago(text, now_ms, out);
    } else if (date_parse(text, &out->value)) {
        out->kind = POINT_TIME;
    } else {
        return not_a_point(text);
    }
    return OK;
}

void point_time_text(int64_t ms, char out[POINT_TIME_BYTES])
{
    if (ms < YEAR_0_MS || ms > YEAR_9999_END_MS) {
        snprintf(out, POINT_TIME_BYTES, "%lld", (long long)ms);
        return;
    }
    int64_t millis = ((ms % 1000) + 1000) % 1000;
    time_t seconds = (time_t)((ms - millis) / 1000);
    struct tm when;
    gmtime_r(&seconds, &when);
    snprintf(out, POINT_TIME_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
             (when.tm_year + 1900) % 10000, (when.tm_mon + 1) % 100, when.tm_mday % 100,
             when.tm_hour % 100, when.tm_min % 100, when.tm_sec % 100, (int)millis);
}
