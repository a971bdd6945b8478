/* source_sink.h - a source's sink in its life; internal. With source->life held. */
#ifndef TIDEMARK_AUDIT_SOURCE_SINK_H
#define TIDEMARK_AUDIT_SOURCE_SINK_H

#include "audit/inside.h"
#include "audit/sink.h"

/* Takes a password out of options->sink into a secret of its own. */
MUST_CHECK err source_sink_secret(struct audit *audit, const char *source,
                                  struct source_options *options);
void source_sink_forget(struct audit *audit, const char *source);
void source_sink_start(struct source *source); /* when there is to be one */
void source_sink_stop(struct source *source);
/* False: there is none. Any thread, without source->life. */
bool source_sink_state(struct source *source, struct sink_state *out);

#endif
