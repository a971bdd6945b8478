/* trail_terms.h - what the index knows of a change: a set of hashed terms; internal to the
 * trail.
 *
 * A term is a kind, a name and a value, as 32 bits that are kept on disk: the hash must never
 * change without TRAIL_VERSION. Different terms may share a hash, so a term only proposes a
 * change; trail_match.c decides. What equals in a search must share its term: numbers are
 * hashed by their value (5.00 is 5), truths as t and f. A change whose context or documents
 * have too many fields has the term WIDE instead of the rest, and every search for such a field
 * looks there too. */
#ifndef TIDEMARK_AUDIT_TRAIL_TERMS_H
#define TIDEMARK_AUDIT_TRAIL_TERMS_H

#include "audit/change.h"

enum term_kind {
    TERM_TABLE = 1,    /* name: the table's, without its schema */
    TERM_KEY,          /* value: the row's key as text, old and new */
    TERM_OPERATION,    /* value: its name */
    TERM_CHANGED,      /* name: column */
    TERM_BEFORE,       /* name: column, or column.path inside a document */
    TERM_AFTER,        /* the same of the new image */
    TERM_CONTEXT,      /* name: path, value */
    TERM_CONTEXT_PATH, /* name: path */
    TERM_ACTOR,        /* value */
    TERM_TX,           /* value: xid in decimal */
    TERM_WIDE,         /* there were more than fit */
};

#define TERM_NULL VIEW("null") /* the value of a NULL, in SQL and in JSON */

uint32_t term_hash(enum term_kind kind, view name, view value);

struct terms { /* zeroed = empty */
    uint32_t *at;
    size_t count, room;
    struct arena arena; /* of one change's parsing */
    struct {            /* rows of a transaction share theirs: it is parsed once */
        struct writer text;
        uint32_t *at;
        size_t count, room;
        bool wide, known;
    } context;
};

/* Replaces what terms held by the terms of the change; may hold some twice. */
void terms_of(const struct change *change, struct terms *terms);
void terms_fini(struct terms *terms);

/* Sign, digits and exponent, equal bytes for equal numbers: false when text is none, or one of
 * more than NUMBER_TEXT_MAX bytes. */
#define NUMBER_TEXT_MAX 64
bool number_plain(view text, char out[NUMBER_TEXT_MAX + 16], size_t *len);
bool is_document(const struct column *column); /* json and jsonb */

#endif
