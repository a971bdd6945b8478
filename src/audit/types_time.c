/* types_time.c - dates, times, timestamps and intervals: ISO text to counts, and back.
 *
 * The server writes "2016-11-04 13:51:30.123456+00 BC": years of at least four digits, never 0,
 * the era behind all. Here a year is astronomical (1 BC is 0) and days count from 1970-01-01 in
 * the proleptic Gregorian calendar, as both sides have it. What a form loses (an offset, a
 * month's length) is found by writing the text back and comparing (types.c does).
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/types_parts.h"

#include "audit/scan.h"

#define MICROS INT64_C(1000000)
#define DAY_SECONDS INT64_C(86400)
#define MONTH_SECONDS INT64_C(2629800) /* 30.4375 days */
#define DATE_YEAR_MAX 5874897          /* PostgreSQL's own */
#define TIMESTAMP_YEAR_MAX 294276

/* What Debezium has for the infinities. */
#define TIMESTAMP_LATEST INT64_C(9223372036825200000)
#define TIMESTAMP_EARLIEST (-INT64_C(9223372036832400000))
#define DATE_LATEST INT32_MAX
#define DATE_EARLIEST INT32_MIN

struct moment {
    int64_t year; /* astronomical */
    int month, day;
    int64_t seconds; /* in the day, up to 24:00:00 */
    int64_t micros;  /* beyond */
    int64_t offset;  /* seconds east */
    bool usual;      /* written as the server would, so that it leads back */
};

static int64_t days_of(int64_t year, int month, int day)
{
    year -= month <= 2 ? 1 : 0;
    int64_t era = (year >= 0 ? year : year - 399) / 400, in_era = year - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t in_era_days = in_era * 365 + in_era / 4 - in_era / 100 + in_year;
    return era * 146097 + in_era_days - 719468;
}

static void date_of(int64_t days, struct moment *out)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, in_era = days - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153;
    out->day = (int)(in_year - (153 * month + 2) / 5 + 1);
    out->month = (int)(month + (month < 10 ? 3 : -9));
    out->year = year + era * 400 + (out->month <= 2 ? 1 : 0);
}

static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0 ? 1 : 0);
}

/* Between least and most digits, into *value. */
static bool take_number(view *rest, size_t least, size_t most, int64_t *value)
{
    size_t len = 0;

    for (*value = 0; len < most && len < rest->len; len++) {
        unsigned digit = (unsigned)rest->at[len] - '0';
        if (digit > 9) {
            break;
        }
        *value = *value * 10 + digit;
    }
    *rest = view_from(*rest, len);
    return len >= least;
}

static bool take_char(view *rest, char c)
{
    bool is = rest->len && rest->at[0] == (uint8_t)c;

    *rest = view_from(*rest, is ? 1 : 0);
    return is;
}

static bool take_date(view *rest, struct moment *m)
{
    static const uint8_t lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t month, day;
    view start = *rest;
    bool fine = take_number(rest, 4, 7, &m->year) && take_char(rest, '-') &&
                take_number(rest, 2, 2, &month) && take_char(rest, '-') &&
                take_number(rest, 2, 2, &day);

    if (!fine || month < 1 || month > 12 || day < 1 || day > lengths[month - 1]) {
        return false;
    }
    m->month = (int)month;
    m->day = (int)day;
    m->usual = start.len - rest->len == 10 || start.at[0] != '0';
    return m->year <= DATE_YEAR_MAX;
}

static bool take_fraction(view *rest, int64_t *micros)
{
    view start = *rest;

    *micros = 0;
    if (!take_char(rest, '.')) {
        return true;
    }
    if (!take_number(rest, 1, 6, micros)) {
        return false;
    }
    for (size_t digits = start.len - rest->len - 1; digits < 6; digits++) {
        *micros *= 10;
    }
    return true;
}

/* No zero ends a fraction, and no 24:00:00 is left. */
static bool is_usual_clock(view text, view rest, int64_t seconds, int64_t micros)
{
    size_t len = text.len - rest.len;

    return (len == 8 || (micros && text.at[len - 1] != '0')) && seconds < DAY_SECONDS;
}

static bool take_clock(view *rest, int64_t hours_max, size_t digits_max, int64_t *seconds,
                       int64_t *micros)
{
    int64_t hours, minutes, rest_seconds;
    bool fine = take_number(rest, 2, digits_max, &hours) && take_char(rest, ':') &&
                take_number(rest, 2, 2, &minutes) && take_char(rest, ':') &&
                take_number(rest, 2, 2, &rest_seconds) && take_fraction(rest, micros);

    if (!fine || hours > hours_max || minutes > 59 || rest_seconds > 59) {
        return false;
    }
    *seconds = hours * 3600 + minutes * 60 + rest_seconds;
    return true;
}

/* "+02", "-03:30", "+00:19:32" */
static bool take_offset(view *rest, int64_t *offset)
{
    bool minus = rest->len && rest->at[0] == '-';
    int64_t hours, minutes = 0, seconds = 0;

    if ((!take_char(rest, '+') && !take_char(rest, '-')) || !take_number(rest, 2, 2, &hours)) {
        return false;
    }
    if (take_char(rest, ':') && !take_number(rest, 2, 2, &minutes)) {
        return false;
    }
    if (take_char(rest, ':') && !take_number(rest, 2, 2, &seconds)) {
        return false;
    }
    *offset = (hours * 3600 + minutes * 60 + seconds) * (minus ? -1 : 1);
    return true;
}

/* The era, if there is one, and nothing behind; only now the year is known to have the day. */
static bool take_era(view *rest, struct moment *m)
{
    bool before = view_is(*rest, VIEW(" BC"));
    int64_t year = before ? 1 - m->year : m->year;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    if (m->year == 0 || (!before && rest->len) || (m->month == 2 && m->day == 29 && !leap)) {
        return false;
    }
    m->year = year;
    return true;
}

static bool timestamp_read(view text, bool zoned, struct moment *m)
{
    *m = (struct moment){0};
    if (!take_date(&text, m) || !take_char(&text, ' ')) {
        return false;
    }
    view clock = text;
    if (!take_clock(&text, 24, 2, &m->seconds, &m->micros)) {
        return false;
    }
    view offset = text;
    m->usual = m->usual && is_usual_clock(clock, text, m->seconds, m->micros);
    if (zoned && !take_offset(&text, &m->offset)) {
        return false;
    }
    m->usual =
        m->usual && (!zoned || view_is(view_upto(offset, offset.len - text.len), VIEW("+00")));
    return take_era(&text, m) && m->year <= TIMESTAMP_YEAR_MAX;
}

/* False: the server's last timestamps are beyond what 64 bits count from 1970. */
static bool moment_micros(const struct moment *m, int64_t *out)
{
    int64_t seconds = days_of(m->year, m->month, m->day) * DAY_SECONDS + m->seconds - m->offset;

    return !__builtin_mul_overflow(seconds, MICROS, out) &&
           !__builtin_add_overflow(*out, m->micros, out);
}

static void moment_of(int64_t micros, struct moment *out)
{
    int64_t seconds = floor_div(micros, MICROS), days = floor_div(seconds, DAY_SECONDS);

    *out = (struct moment){.seconds = seconds - days * DAY_SECONDS,
                           .micros = micros - seconds * MICROS};
    date_of(days, out);
}

static void two(struct writer *out, int64_t value)
{
    write_bytes(out, (char[]){(char)('0' + value / 10 % 10), (char)('0' + value % 10)}, 2);
}

static void write_date(const struct moment *m, int64_t year, struct writer *out)
{
    if (year > 9999) {
        scan_digits(year, out);
    } else {
        two(out, year / 100);
        two(out, year % 100);
    }
    write_u8(out, '-');
    two(out, m->month);
    write_u8(out, '-');
    two(out, m->day);
}

/* width digits of the fraction; -1: as many as there are. */
static void write_clock(int64_t seconds, int64_t micros, int width, struct writer *out)
{
    char digits[16];
    int len = 6;

    if (seconds >= 360000) {
        scan_digits(seconds / 3600, out);
    } else {
        two(out, seconds / 3600);
    }
    write_u8(out, ':');
    two(out, seconds / 60 % 60);
    write_u8(out, ':');
    two(out, seconds % 60);
    for (int i = 5; i >= 0; i--, micros /= 10) {
        digits[i] = (char)('0' + micros % 10);
    }
    while (width < 0 && len > 0 && digits[len - 1] == '0') {
        len--;
    }
    len = width >= 0 ? MIN(width, 6) : len;
    if (len) {
        write_u8(out, '.');
        write_bytes(out, digits, (size_t)len);
    }
}

static void write_server(const struct moment *m, bool zoned, struct writer *out)
{
    write_date(m, m->year > 0 ? m->year : 1 - m->year, out);
    write_u8(out, ' ');
    write_clock(m->seconds, m->micros, -1, out);
    write_view(out, zoned ? VIEW("+00") : VIEW(""));
    write_view(out, m->year > 0 ? VIEW("") : VIEW(" BC"));
}

static void write_iso(const struct moment *m, int width, struct writer *out)
{
    write_view(out, m->year > 9999 ? VIEW("\"+") : m->year < 0 ? VIEW("\"-") : VIEW("\""));
    write_date(m, m->year < 0 ? -m->year : m->year, out);
    write_u8(out, 'T');
    write_clock(m->seconds, m->micros, width, out);
    write_view(out, VIEW("Z\""));
}

static int infinity_sign(view text)
{
    return view_is_text(text, "infinity") ? 1 : view_is_text(text, "-infinity") ? -1 : 0;
}

static bool date_to(view text, struct writer *out, bool *surely)
{
    int sign = infinity_sign(text);
    struct moment m = {0};

    if (sign) {
        scan_digits(sign > 0 ? DATE_LATEST : DATE_EARLIEST, out);
        *surely = true;
        return true;
    }
    if (!take_date(&text, &m) || !take_era(&text, &m)) {
        return false;
    }
    scan_digits(days_of(m.year, m.month, m.day), out);
    *surely = m.usual;
    return true;
}

static bool timestamp_to(const struct type *type, view text, struct writer *out, bool *surely)
{
    int sign = infinity_sign(text);
    int64_t micros = sign > 0 ? TIMESTAMP_LATEST : TIMESTAMP_EARLIEST;
    struct moment m = {.usual = true};

    if (!sign && (!timestamp_read(text, false, &m) || !moment_micros(&m, &micros))) {
        return false;
    }
    scan_digits(type->millis ? floor_div(micros, 1000) : micros, out);
    bool whole = !type->millis || micros % 1000 == 0;
    /* Some real time of the year 294247 is what Debezium has for the infinite one. */
    *surely = m.usual && whole && (sign || m.year < TIMESTAMP_YEAR_MAX - 100);
    return true;
}

static bool zoned_to(const struct type *type, view text, struct writer *out, bool *surely)
{
    struct moment m, utc;
    int64_t micros;

    if (infinity_sign(text)) {
        *surely = true;
        return scan_quote(text, out);
    }
    if (!timestamp_read(text, true, &m) || !moment_micros(&m, &micros)) {
        return false;
    }
    if (m.offset || m.seconds == DAY_SECONDS) {
        moment_of(micros, &utc);
    } else {
        utc = m;
    }
    int width = type->precision < 0 ? 6 : type->precision == 0 ? -1 : type->precision;
    write_iso(&utc, width, out);
    *surely = m.usual && width == 6;
    return true;
}

static bool time_of_day_to(const struct type *type, view text, struct writer *out, bool *surely)
{
    int64_t seconds, micros, offset = 0;
    view clock = text;
    bool zoned = type->kind == TYPE_TIMETZ;

    if (!take_clock(&text, 24, 2, &seconds, &micros) ||
        (zoned && !take_offset(&text, &offset)) || text.len) {
        return false;
    }
    if (!zoned) {
        int64_t all = seconds * MICROS + micros;
        scan_digits(type->millis ? all / 1000 : all, out);
        *surely =
            is_usual_clock(clock, text, seconds, micros) && (!type->millis || all % 1000 == 0);
        return true;
    }
    bool end_of_day = seconds == DAY_SECONDS && !offset;
    seconds =
        end_of_day ? seconds : ((seconds - offset) % DAY_SECONDS + DAY_SECONDS) % DAY_SECONDS;
    write_u8(out, '"');
    write_clock(seconds, micros, -1, out);
    write_view(out, VIEW("Z\""));
    return true;
}

struct interval { /* each part with its own sign */
    int64_t years, months, days, seconds, micros;
};

/* "1 year 2 mons -3 days +04:05:06.78": IntervalStyle postgres. */
static bool interval_read(view text, struct interval *out)
{
    *out = (struct interval){0};
    while (text.len) {
        int64_t value, seconds, micros;
        int sign = take_char(&text, '-') ? -1 : (take_char(&text, '+'), 1);
        view clock = text, unit, rest;
        if (take_clock(&clock, INT64_C(3000000000), 10, &seconds, &micros)) {
            out->seconds = sign * seconds;
            out->micros = sign * micros;
            return clock.len == 0;
        }
        if (!take_number(&text, 1, 10, &value) || !take_char(&text, ' ')) {
            return false;
        }
        (void)view_cut(text, ' ', &unit, &rest);
        text = view_from(text, unit.len + 1);
        int64_t *part = view_starts(unit, VIEW("year"))  ? &out->years
                        : view_starts(unit, VIEW("mon")) ? &out->months
                        : view_starts(unit, VIEW("day")) ? &out->days
                                                         : NULL;
        if (!part) {
            return false;
        }
        *part = sign * value;
    }
    return true;
}

static bool interval_to(view text, struct writer *out)
{
    struct interval i;
    int64_t micros;

    if (!text.len || !interval_read(text, &i)) {
        return false;
    }
    /* Ten digits a part: none of this overflows before the micros. */
    int64_t seconds =
        (i.years * 12 + i.months) * MONTH_SECONDS + i.days * DAY_SECONDS + i.seconds;
    if (__builtin_mul_overflow(seconds, MICROS, &micros) ||
        __builtin_add_overflow(micros, i.micros, &micros)) {
        return false;
    }
    scan_digits(micros, out);
    return true;
}

/* "P1Y2M3DT4H5M6.78S", all parts always there. */
bool interval_text_to(view text, struct writer *out)
{
    struct interval i;

    if (!text.len || !interval_read(text, &i)) {
        return false;
    }
    int64_t micros = i.micros < 0 ? -i.micros : i.micros, second = i.seconds % 60;
    write_format(out, "\"P%lldY%lldM%lldDT%lldH%lldM%s%lld", (long long)i.years,
                 (long long)i.months, (long long)i.days, (long long)(i.seconds / 3600),
                 (long long)(i.seconds / 60 % 60), i.micros < 0 && second == 0 ? "-" : "",
                 (long long)second);
    for (int64_t unit = 100000; micros; unit /= 10) {
        write_view(out, unit == 100000 ? VIEW(".") : VIEW(""));
        write_u8(out, (uint8_t)('0' + micros / unit));
        micros %= unit;
    }
    write_view(out, VIEW("S\""));
    return true;
}

bool time_to(const struct type *type, view text, struct writer *out, bool *surely)
{
    switch (type->kind) {
    case TYPE_DATE:
        return date_to(text, out, surely);
    case TYPE_TIMESTAMP:
        return timestamp_to(type, text, out, surely);
    case TYPE_TIMESTAMPTZ:
        return zoned_to(type, text, out, surely);
    case TYPE_INTERVAL:
        return interval_to(text, out);
    default:
        return time_of_day_to(type, text, out, surely);
    }
}

static bool date_from(int64_t days, struct writer *out)
{
    struct moment m = {0};

    if (days == DATE_LATEST || days == DATE_EARLIEST) {
        write_view(out, days == DATE_LATEST ? VIEW("infinity") : VIEW("-infinity"));
        return true;
    }
    if (days < INT32_MIN || days > INT32_MAX) {
        return false;
    }
    date_of(days, &m);
    write_date(&m, m.year > 0 ? m.year : 1 - m.year, out);
    write_view(out, m.year > 0 ? VIEW("") : VIEW(" BC"));
    return true;
}

static bool timestamp_from(const struct type *type, int64_t value, struct writer *out)
{
    int64_t unit = type->millis ? 1000 : 1;
    struct moment m;

    if (value == TIMESTAMP_LATEST / unit || value == floor_div(TIMESTAMP_EARLIEST, unit)) {
        write_view(out, value > 0 ? VIEW("infinity") : VIEW("-infinity"));
        return true;
    }
    if (__builtin_mul_overflow(value, unit, &value)) {
        return false;
    }
    moment_of(value, &m);
    write_server(&m, false, out);
    return true;
}

static bool zoned_from(view text, struct writer *out)
{
    struct moment m = {0};

    if (infinity_sign(text)) {
        write_view(out, text);
        return true;
    }
    bool minus = take_char(&text, '-');
    (void)(minus || take_char(&text, '+'));
    if (!take_date(&text, &m) || !take_char(&text, 'T') ||
        !take_clock(&text, 24, 2, &m.seconds, &m.micros) || !view_is(text, VIEW("Z"))) {
        return false;
    }
    m.year = minus ? -m.year : m.year;
    write_server(&m, true, out);
    return true;
}

static bool time_of_day_from(const struct type *type, view json, view text, struct writer *out)
{
    int64_t all, seconds, micros;

    if (type->kind == TYPE_TIMETZ) {
        if (!take_clock(&text, 24, 2, &seconds, &micros) || !view_is(text, VIEW("Z"))) {
            return false;
        }
        write_clock(seconds, micros, -1, out);
        write_view(out, VIEW("+00"));
        return true;
    }
    if (!scan_int(json, &all) || all < 0 || all > DAY_SECONDS * MICROS) {
        return false;
    }
    all *= type->millis ? 1000 : 1;
    write_clock(all / MICROS, all % MICROS, -1, out);
    return true;
}

static void interval_from(int64_t micros, struct writer *out)
{
    uint64_t size = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;

    write_view(out, micros < 0 ? VIEW("-") : VIEW(""));
    write_clock((int64_t)(size / MICROS), (int64_t)(size % MICROS), -1, out);
}

bool time_from(struct arena *arena, const struct type *type, view json, view *text)
{
    struct writer out = {0};
    view inside = {0};
    int64_t value = 0;
    bool zoned = type->kind == TYPE_TIMESTAMPTZ || type->kind == TYPE_TIMETZ;
    bool fine = zoned ? scan_text(arena, json, &inside) : scan_int(json, &value);

    if (fine && type->kind == TYPE_DATE) {
        fine = date_from(value, &out);
    } else if (fine && type->kind == TYPE_TIMESTAMP) {
        fine = timestamp_from(type, value, &out);
    } else if (fine && type->kind == TYPE_TIMESTAMPTZ) {
        fine = zoned_from(inside, &out);
    } else if (fine && type->kind == TYPE_INTERVAL) {
        interval_from(value, &out);
    } else if (fine) {
        fine = time_of_day_from(type, json, inside, &out);
    }
    *text = fine ? arena_copy(arena, writer_view(&out)) : (view){0};
    writer_fini(&out);
    return fine;
}
