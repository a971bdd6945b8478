/* source_inside.h - what source*.c share: options as JSON, records on __sources; internal. */
#ifndef TIDEMARK_AUDIT_SOURCE_INSIDE_H
#define TIDEMARK_AUDIT_SOURCE_INSIDE_H

#include "audit/inside.h"
#include "audit/source.h"

#define SOURCES_TOPIC "__sources"

MUST_CHECK err source_options_preset(struct source_options *options);
MUST_CHECK err source_options_set(struct source_options *options, view name, view value);
void source_options_fini(struct source_options *options);
void source_options_to_json(const struct source_options *options, struct json_writer *j);
MUST_CHECK err source_options_from_json(const struct json *json,
                                        struct source_options *options);
/* Names of slot and publication where none is given; INVALID without a URL. */
MUST_CHECK err source_options_complete(struct source_options *options, const char *name);

/* All of __sources into audit->sources, and those started that ran. */
MUST_CHECK err sources_open(struct audit *audit);
void sources_close(struct audit *audit);
/* What it is doing, while its state stays; the capture's thread. */
void source_status_words(struct source *source, const char *words);
/* To another state, recorded. Any thread. */
MUST_CHECK err source_move(struct source *source, enum source_state state, const char *words);
/* One record; without a value when the source is gone. */
MUST_CHECK err source_record(struct source *source, bool gone);

/* Tables that its patterns mean and that were made since. Its life is locked; may block. */
MUST_CHECK err source_take_tables(struct source *source, struct pg *pg);

#endif
