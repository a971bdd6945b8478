/* asof.h - a whole table as it was at a moment, folded from its topic; internal to audit/.
 *
 * The partitions of the table's topic are merged in the order of commits (commit LSN, sequence)
 * and each change is applied to a table in a SQLite file: the newest image per key stays, a
 * deletion takes it away, a TRUNCATE all of them, a changed key moves. Memory is bounded
 * whatever the table's size. What no change ever told is unknown and is counted, never made
 * null. Only what is sealed is read. Calls may block; one thread per struct asof. */
#ifndef TIDEMARK_AUDIT_ASOF_H
#define TIDEMARK_AUDIT_ASOF_H

#include "audit/moment.h"
#include "audit/ref.h"
#include "audit/row_image.h"
#include "audit/source.h"

struct asof;

struct asof_query {
    struct source *source;
    const struct ref *table; /* schema and table of it */
    struct moment until;
    const char *path; /* of the file, made anew; "": a temporary one */
};

struct asof_about {
    int64_t rows;
    int64_t unknown;   /* values that no change told */
    int64_t changes;   /* applied */
    uint64_t lsn;      /* the moment; of "now": how far the trail was sealed */
    uint64_t last_lsn; /* commit of the newest change that counts; 0: none */
    int64_t last_us;
    int64_t begins_us; /* of the first change there is; 0: none */
    uint64_t begins_lsn;
    bool snapshot;             /* it began with the rows that there were */
    bool trimmed;              /* older records are gone by retention: rows may be missing */
    uint64_t gap_from, gap_to; /* the last gap that no snapshot made up for by then; 0: none */
    uint32_t version;          /* of the newest relation: the columns of the export */
};

/* NOT_FOUND: no such table. OUT_OF_RANGE: the moment is before the history. */
MUST_CHECK err asof_fold(const struct asof_query *query, struct asof **out);
/* A file that was folded before; NOT_FOUND when it is gone. */
MUST_CHECK err asof_open(struct source *source, const char *path, struct asof **out);
void asof_close(struct asof *asof); /* accepts NULL */
void asof_about(const struct asof *asof, struct asof_about *out);
struct relation *asof_relation(const struct asof *asof); /* borrowed; the columns */
/* Rows behind a key, in the order of keys; a null view: from the start. values: one for each
 * column; what is unknown is VALUE_UNKNOWN. each() gives an error to stop, which is passed on.
 */
MUST_CHECK err asof_rows(struct asof *asof, view behind,
                         err (*each)(void *self, view key, const struct value *values),
                         void *self);

/* The key of a row as bytes that sort as its values do: numbers by their value. Keyless: rows
 * that are told apart by all of their columns, and may be there more than once. */
bool asof_is_keyless(const struct relation *relation);
void asof_key(const struct relation *relation, const struct value *values, struct writer *out);

/* asof_format.c: rows as text. */
enum asof_format { ASOF_CSV, ASOF_JSON, ASOF_SQL };
MUST_CHECK err asof_format_parse(view text, enum asof_format *out);
void asof_write_head(enum asof_format format, const struct relation *relation,
                     struct writer *out);
void asof_write_row(enum asof_format format, const struct relation *relation,
                    const struct value *values, struct writer *out);
void asof_write_end(enum asof_format format, struct writer *out);

/* asof_into.c: into a table of a database, made when missing, else it must be empty; in one
 * transaction. url and password as in struct pg_target. UNSUPPORTED when values are unknown. */
MUST_CHECK err asof_into(struct asof *asof, const char *url, const char *password);

#endif
