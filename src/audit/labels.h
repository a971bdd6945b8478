/* labels.h - the words of the business for tables, columns and coded values; internal to
 * audit/.
 *
 *   public.orders:                     or orders, for a table of that name in any schema
 *     label: Order
 *     columns:
 *       status: {label: State, values: {n: new, s: "sent to the customer"}}
 *       total: Total
 *
 * A YAML file that people write; what has no label keeps its own name. Immutable, any thread.
 */
#ifndef TIDEMARK_AUDIT_LABELS_H
#define TIDEMARK_AUDIT_LABELS_H

#include "audit/change.h"

#define LABELS_BYTES_MAX (1 << 20) /* of the file */

struct labels;
/* INVALID names file, line and column of what makes no sense. */
MUST_CHECK err labels_parse(const char *path, view text, struct labels **out);
/* path NULL or "": no labels. May block. */
MUST_CHECK err labels_load(struct os *os, const char *path, struct labels **out);
void labels_free(struct labels *labels); /* accepts NULL */

/* Null views: it has none. labels may be NULL. */
view labels_table(const struct labels *labels, view schema, view table);
view labels_column(const struct labels *labels, view schema, view table, view column);
view labels_value(const struct labels *labels, view schema, view table, view column,
                  view value);
/* What of a change has other words: {table, columns: {name: label}, before: {name: words},
 * after: {name: words}}. */
void labels_to_json(const struct labels *labels, const struct change *change,
                    struct json_writer *j);

#endif
