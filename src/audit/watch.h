/* watch.h - looks after the slots of all sources, also of those that stand still; internal.
 *
 * Every few seconds: how much WAL does each slot hold back? Past slot.warn.bytes a line says
 * so; past slot.max.bytes, with slot.guard=database, the slot is dropped before it fills the
 * server's disk, and the source fails with the gap in words. */
#ifndef TIDEMARK_AUDIT_WATCH_H
#define TIDEMARK_AUDIT_WATCH_H

#include "audit/inside.h"

MUST_CHECK err watch_start(struct audit *audit, struct watch **out);
void watch_stop(struct watch *watch); /* accepts NULL */

#endif
