/* row_json.h - what rows and traces say in JSON: who and when, fields old and new; internal.
 * Members are written into an object that the caller has open. Shapes: docs/http.md. */
#ifndef TIDEMARK_AUDIT_ROW_JSON_H
#define TIDEMARK_AUDIT_ROW_JSON_H

#include "audit/labels.h"
#include "audit/row.h"

#define TIME_US_BYTES 40
/* "2026-01-31T12:00:00.123456Z" */
void time_us_text(int64_t us, char out[TIME_US_BYTES]);
void json_time_us(struct json_writer *j, int64_t us); /* null when 0 */
void json_lsn(struct json_writer *j, uint64_t lsn);   /* null when 0 */
void json_ref(struct json_writer *j, const struct ref *ref);

/* committed_at, tx, commit_lsn, actor, session, request, traceparent, application, context */
void json_who(struct arena *arena, view source, const struct change *change,
              struct json_writer *j);
/* "row": {column: value}, "unknown": [columns] and, where there are words of the business,
 * "labels": {column: {label, value}}; null and [] of no relation. labels may be NULL here and
 * below. */
void json_row(const struct labels *labels, const struct relation *relation,
              const struct value *values, struct json_writer *j);
/* An object: {ref, step, operation, life, fields, ...}. */
void json_entry(struct arena *arena, view source, const struct labels *labels,
                const struct row_entry *entry, struct json_writer *j);
/* An array of {name, old, new, unknown, label, old_label, new_label}: the columns in which the
 * images differ. all: those too that do not. old NULL: there was none. */
void json_fields(const struct labels *labels, const struct relation *relation,
                 const struct value *old, const struct value *new, bool all,
                 struct json_writer *j);
/* A text of the context by one of several names (a.b goes into objects); null view: none. */
view context_word(struct arena *arena, view context, const char *const *names, size_t count);
/* What the request was called, and its trace, whatever the application calls them. */
view context_request(struct arena *arena, view context);
view context_traceparent(struct arena *arena, view context);
view context_session(struct arena *arena, view context);
view context_application(struct arena *arena, view context);

#endif
