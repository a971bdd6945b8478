/* target.h - what stands in a request line: the path in parts, the query in pairs, and how both
 * meet the patterns of the rows. All functions are pure; views live in the arena or in the
 * text. */
#ifndef TIDEMARK_HTTP_TARGET_H
#define TIDEMARK_HTTP_TARGET_H

#include "base/base.h"

#define TARGET_PARTS_MAX 16 /* of a path */
#define TARGET_QUERY_MAX 32 /* pairs of a query */

struct target {
    view path;                    /* as sent, without the query */
    view parts[TARGET_PARTS_MAX]; /* between the slashes, decoded */
    size_t part_count;
    struct {
        view name, value;
    } query[TARGET_QUERY_MAX]; /* decoded; of one name the first counts */
    size_t query_count;
};

/* INVALID: no path, bad escape, NUL, too many parts. */
MUST_CHECK err target_parse(struct arena *arena, view text, struct target *out);
bool target_matches(const struct target *target, const char *pattern);
view target_part(const struct target *target, const char *pattern, const char *name);
view target_query(const struct target *target, const char *name);
/* The target as it would be under this pattern, for "did you mean"; NULL: other length. */
const char *target_under(struct arena *arena, const struct target *target, const char *pattern);

/* "HOST:PORT", "HOST", "[V6]:PORT", "[V6]" (brackets are dropped); port is -1 when absent. */
MUST_CHECK err authority_parse(view text, view *host, int *port);
bool authority_is_loopback(view host); /* localhost, 127.0.0.0/8, ::1 */

#endif
