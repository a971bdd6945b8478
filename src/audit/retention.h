/* retention.h - how long changes are kept; internal to audit/.
 *
 * Three ages: hot (in the index of the trail: hot_ms), cold (in the topic alone: searches read
 * through it and say so), gone (the topic's retention.ms took it; its seals stand, so the proof
 * still holds). Tables may differ: keep rules are SCHEMA.TABLE=TIME by commas, with * and ?,
 * and the first that fits counts, else keep_ms.
 *
 *   public.logs=30d, audit.*=-1        (-1: for ever) */
#ifndef TIDEMARK_AUDIT_RETENTION_H
#define TIDEMARK_AUDIT_RETENTION_H

#include "audit/source.h"

/* ERR_INVALID names the rule that makes no sense. rules may be NULL. */
MUST_CHECK err retention_check(const char *rules);
/* What holds for one table, in milliseconds; rules as checked. */
int64_t retention_of(const char *rules, int64_t keep_ms, view schema, view table);
/* Topics of captured tables whose retention.ms is another get what holds. May block. */
MUST_CHECK err retention_apply(struct source *source, const char *rules, int64_t keep_ms);

#endif
