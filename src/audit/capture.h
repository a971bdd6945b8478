/* capture.h - the thread that captures one source; internal to audit/.
 *
 *   creating: publication, slot, snapshot     then, and after every restart:
 *   connect -> checks -> stream -> stitch -> rules -> envelope -> lanes -> seal -> `flushed`
 *
 * A connection that breaks is opened again, later and later; what only a person can mend fails
 * the source. What the server is told as flushed is always covered by a seal. */
#ifndef TIDEMARK_AUDIT_CAPTURE_H
#define TIDEMARK_AUDIT_CAPTURE_H

#include "audit/source.h"

struct capture;

/* The source's state must be CREATING or RUNNING. gap: a lost slot is repaired first. */
MUST_CHECK err capture_start(struct source *source, bool accept_gap, struct capture **out);
/* What is on its way is stored; accepts NULL. May block. */
void capture_stop(struct capture *capture);
/* Tables (patterns by commas; NULL: all) are read anew while the stream goes on. */
MUST_CHECK err capture_ask_snapshot(struct capture *capture, const char *tables);

#endif
