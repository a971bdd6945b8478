/* target.c - paths, queries and patterns.
 *
 * A path is cut at its slashes first and decoded part by part after, so that an escaped slash
 * stays inside its name: /api/v1/groups/a%2Fb has the group a/b. A plus sign is a blank in a
 * query (what browsers' forms write) and itself in a path.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/target.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define AUTHORITY_HOST_MAX 255 /* bytes of a DNS name */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static err decode(struct arena *arena, view text, bool plus_is_blank, view *out)
{
    uint8_t *at = arena_take(arena, text.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.at[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return fault(ERR_INVALID, "\"%.*s\": %% is not followed by two hex digits",
                             VIEW_ARG(text));
            }
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        if (c == '\0') {
            return fault(ERR_INVALID, "the address has a NUL in it");
        }
        at[len++] = c;
    }
    *out = (view){at, len};
    return OK;
}

static err parse_path(struct arena *arena, view path, struct target *out)
{
    view rest = view_from(path, 1), part;

    for (bool more = rest.len > 0; more;) {
        more = view_cut(rest, '/', &part, &rest);
        if (out->part_count == TARGET_PARTS_MAX) {
            return fault(ERR_INVALID, "the path has more than %d parts", TARGET_PARTS_MAX);
        }
        err e = decode(arena, part, false, &out->parts[out->part_count++]);
        if (e) {
            return e;
        }
    }
    return OK;
}

static err parse_query(struct arena *arena, view rest, struct target *out)
{
    view pair;

    for (bool more = rest.len > 0; more;) {
        more = view_cut(rest, '&', &pair, &rest);
        if (pair.len == 0) {
            continue;
        }
        if (out->query_count == TARGET_QUERY_MAX) {
            return fault(ERR_INVALID, "the query has more than %d pairs", TARGET_QUERY_MAX);
        }
        view name, value = VIEW("");
        (void)view_cut(pair, '=', &name, &value);
        size_t at = out->query_count++;
        err e = decode(arena, name, true, &out->query[at].name);
        e = e ? e : decode(arena, value, true, &out->query[at].value);
        if (e) {
            return e;
        }
    }
    return OK;
}

err target_parse(struct arena *arena, view text, struct target *out)
{
    view query = VIEW("");

    *out = (struct target){0};
    (void)view_cut(text, '?', &out->path, &query);
    if (out->path.len == 0 || out->path.at[0] != '/') {
        return fault(ERR_INVALID, "the request's path must start with /");
    }
    err e = parse_path(arena, out->path, out);
    return e ? e : parse_query(arena, query, out);
}

/* The next part of a pattern; false after the last. */
static bool pattern_next(view *rest, view *part)
{
    if (rest->len == 0) {
        return false;
    }
    view all = view_from(*rest, 1);
    if (!view_cut(all, '/', part, rest)) {
        *rest = (view){0};
        return part->len > 0;
    }
    rest->at--; /* keeps the slash, so that each step starts with one */
    rest->len++;
    return true;
}

static bool part_is_named(view part)
{
    return part.len > 2 && part.at[0] == '{';
}

static view part_name(view part)
{
    return (view){part.at + 1, part.len - 2};
}

bool target_matches(const struct target *target, const char *pattern)
{
    view rest = view_text(pattern), part;
    size_t at = 0;

    while (pattern_next(&rest, &part)) {
        if (at == target->part_count) {
            return false;
        }
        view given = target->parts[at++];
        if (part_is_named(part) ? given.len == 0 : !view_is(part, given)) {
            return false;
        }
    }
    return at == target->part_count;
}

view target_part(const struct target *target, const char *pattern, const char *name)
{
    view rest = view_text(pattern), part;

    for (size_t at = 0; at < target->part_count && pattern_next(&rest, &part); at++) {
        if (part_is_named(part) && view_is_text(part_name(part), name)) {
            return target->parts[at];
        }
    }
    return (view){0};
}

view target_query(const struct target *target, const char *name)
{
    for (size_t i = 0; i < target->query_count; i++) {
        if (view_is_text(target->query[i].name, name)) {
            return target->query[i].value;
        }
    }
    return (view){0};
}

const char *target_under(struct arena *arena, const struct target *target, const char *pattern)
{
    view rest = view_text(pattern), part;
    struct writer text = {0};
    size_t at = 0;

    while (pattern_next(&rest, &part)) {
        view given = at < target->part_count ? target->parts[at] : (view){0};
        at++;
        write_u8(&text, '/');
        write_view(&text, part_is_named(part) && given.len ? given : part);
    }
    const char *out = at == target->part_count ? arena_text(arena, writer_view(&text)) : NULL;
    writer_fini(&text);
    return out;
}

err authority_parse(view text, view *host, int *port)
{
    view digits = {0};
    int64_t number = -1;
    bool bracket = text.len > 0 && text.at[0] == '[';

    if (bracket) {
        view after = {0};
        if (!view_cut(view_from(text, 1), ']', host, &after) ||
            (after.len > 0 && after.at[0] != ':')) {
            return fault(ERR_INVALID, "\"%.*s\" is not [ADDRESS]:PORT", VIEW_ARG(text));
        }
        digits = after.len > 0 ? view_from(after, 1) : (view){0};
    } else if (!view_cut(text, ':', host, &digits)) {
        digits = (view){0};
    }
    if (host->len == 0 || host->len > AUTHORITY_HOST_MAX) {
        return fault(ERR_INVALID, "\"%.*s\" has no host in it", VIEW_ARG(view_upto(text, 80)));
    }
    bool signless = digits.len > 0 && digits.at[0] >= '0' && digits.at[0] <= '9';
    if (digits.at && (!signless || view_to_int(digits, &number) != OK || number > 65535)) {
        return fault(ERR_INVALID, "\"%.*s\": the port must be 0 to 65535",
                     VIEW_ARG(view_upto(text, 80)));
    }
    *port = (int)number;
    return OK;
}

bool authority_is_loopback(view host)
{
    char text[INET6_ADDRSTRLEN + 1];
    struct in_addr four;
    struct in6_addr six;

    if (host.len == 0 || host.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.at, host.len);
    text[host.len] = '\0';
    if (strcasecmp(text, "localhost") == 0) {
        return true;
    }
    if (inet_pton(AF_INET, text, &four) == 1) {
        return ntohl(four.s_addr) >> 24 == 127;
    }
    return inet_pton(AF_INET6, text, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}
