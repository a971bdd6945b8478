/* retention.h - how long changes are kept; internal to audit/.
 *
 * Three ages: hot (in the index of the trail: hot_ms), cold (in the topic alone: searches read
 * through it and say so), gone (keep_ms: the topic's retention.ms took it; its seals stand, so
 * the proof still holds). A table may differ: retention.ms set on its topic by hand stays. */
#ifndef TIDEMARK_AUDIT_RETENTION_H
#define TIDEMARK_AUDIT_RETENTION_H

#include "audit/source.h"

/* keep_ms was changed: topics of captured tables that still had from_ms get to_ms (-1: for
 * ever). May block. */
MUST_CHECK err retention_change(struct source *source, int64_t from_ms, int64_t to_ms);

#endif
