/* rules.h - what of a table is not stored: columns to ignore, columns to mask; internal.
 *
 *   ignore  *.updated_at, public.orders.cached_total
 *   mask    users.email=hash, *.password=drop, public.notes.body=truncate:20
 *
 * A pattern is COLUMN, TABLE.COLUMN or SCHEMA.TABLE.COLUMN with * and ?. Ignored: an update
 * that changed nothing but ignored columns makes no record (which takes both images, so replica
 * identity full); otherwise they are stored as all others. Masked, before anything is stored:
 * drop leaves the column out of the table as the trail knows it; hash keeps HMAC-SHA256 with a
 * key of the source's own, so equal values stay equal; truncate keeps the first characters.
 * Hashed and truncated columns become text. A column of the key is never dropped but hashed.
 * One thread. */
#ifndef TIDEMARK_AUDIT_RULES_H
#define TIDEMARK_AUDIT_RULES_H

#include "audit/change.h"

#define RULES_KEY_BYTES 32

struct rules;
/* Texts may be NULL. ERR_INVALID names the rule that makes no sense. */
MUST_CHECK err rules_new(const char *ignore, const char *mask,
                         const uint8_t key[RULES_KEY_BYTES], struct rules **out);
void rules_free(struct rules *rules); /* accepts NULL */

/* The rules for one table. */
struct rules_table;
struct rules_table *rules_table_new(const struct rules *rules, const struct relation *relation);
void rules_table_free(struct rules_table *table); /* accepts NULL */
/* The table as the trail knows it; one holder, the caller's. */
struct relation *rules_relation(const struct rules_table *table);
/* The change as it is stored, of relation stored; values live in the arena or in the change.
 * False: nothing is to be stored. */
bool rules_apply(const struct rules_table *table, struct relation *stored, struct arena *arena,
                 const struct change *change, struct change *out);

#endif
