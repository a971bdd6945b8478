/* types.h - PostgreSQL's types: their text output as Debezium's JSON, and back; internal.
 * Pure functions, any thread. */
#ifndef TIDEMARK_AUDIT_TYPES_H
#define TIDEMARK_AUDIT_TYPES_H

#include "audit/envelope.h"

/* The value's JSON in Debezium's form. False: that form does not lead back to this text, so it
 * must travel beside it. */
bool type_to_debezium(const struct envelope_options *options, const struct column *column,
                      view text, struct json_writer *j);
/* The server's text again, in the arena. ERR_CORRUPT when json is no such value. */
MUST_CHECK err type_from_debezium(struct arena *arena, const struct column *column,
                                  const struct json *json, view *text);
/* For people and searches: a number, truth, JSON or text. */
void type_to_plain(const struct column *column, view text, struct json_writer *j);
/* Connect schema of the column, as Debezium writes it with schemas on. */
void type_to_schema(const struct envelope_options *options, const struct column *column,
                    bool optional, struct json_writer *j);

#endif
