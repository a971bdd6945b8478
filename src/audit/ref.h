/* ref.h - references: what names one thing everywhere, in tables, addresses and commands.
 *
 *   row:SOURCE.SCHEMA.TABLE/KEY   a row, by its key's text as change_key_text writes it
 *   tx:SOURCE/XID                 a transaction; tx:SOURCE/XID@0/16B3 says which one of that
 *                                 number, by its commit, as numbers come back after 4 billion
 *   topic:NAME/PARTITION@OFFSET   a record
 *   session:ID                    a person's session on a database
 *
 * SOURCE has no dot. In SCHEMA and TABLE a dot, a slash and a backslash are written behind a
 * backslash; KEY is everything behind the first slash that is not (its own commas and
 * backslashes stand behind a backslash). Pure functions, any thread. */
#ifndef TIDEMARK_AUDIT_REF_H
#define TIDEMARK_AUDIT_REF_H

#include "audit/change.h"

#define REF_WORDS                                                                              \
    "row:SOURCE.SCHEMA.TABLE/KEY, tx:SOURCE/XID, topic:NAME/PARTITION@OFFSET or session:ID"

enum ref_kind { REF_ROW, REF_TX, REF_TOPIC, REF_SESSION };

struct ref {
    enum ref_kind kind;
    view source;             /* ROW, TX */
    view schema, table, key; /* ROW; key as text, still escaped */
    uint32_t xid;            /* TX */
    uint64_t commit_lsn;     /* TX; 0: not said */
    view topic;              /* TOPIC */
    int32_t partition;
    int64_t offset;
    view session; /* SESSION: its ID */
};

/* Views live in the arena or in text. INVALID says what is wrong and which forms there are. */
MUST_CHECK err ref_parse(struct arena *arena, view text, struct ref *out);
void ref_print(const struct ref *ref, struct writer *out);
/* SOURCE.SCHEMA.TABLE, as in a row's reference. */
MUST_CHECK err ref_parse_table(struct arena *arena, view text, struct ref *out);
void ref_print_table(const struct ref *ref, struct writer *out);
/* The row a change is about, and its transaction. key: where the key's text is written to. */
struct ref ref_of_row(view source, const struct change *change, struct writer *key);
struct ref ref_of_tx(view source, const struct change_place *place);

#endif
