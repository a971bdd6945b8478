/* setup_inside.h - what setup*.c share; internal to them. */
#ifndef TIDEMARK_AUDIT_SETUP_INSIDE_H
#define TIDEMARK_AUDIT_SETUP_INSIDE_H

#include "audit/setup.h"

#define SETUP_SCHEMA "tidemark"     /* of context(); never captured */
#define SETUP_INSERTS_SUFFIX "_new" /* of the publication of tables without key */

/* schema.table by * and ?; a pattern without dot is a table's name in any schema. */
bool setup_pattern_matches(view pattern, view text);
bool setup_list_has(const char *patterns, view schema, view name);
/* The names of both publications as SQL texts with a NUL behind. */
void setup_quote_publications(const struct setup_ask *ask, struct writer *one,
                              struct writer *two);

#endif
