/* capture_inside.h - what capture*.c call of one another; the struct is in capture_state.h.
 *
 *   capture.c           thread, sessions, the loop over the stream
 *   capture_begin.c     connecting, the slot's and database's checks, publication and slot
 *   capture_tables.c    what is known of a table and its types; its lanes
 *   capture_change.c    a change on its way from stitch to its lane
 *   capture_seal.c      cuts, seals, and what the server is told
 *   capture_snapshot.c  rows that were there before
 */
#ifndef TIDEMARK_AUDIT_CAPTURE_INSIDE_H
#define TIDEMARK_AUDIT_CAPTURE_INSIDE_H

#include "audit/capture_state.h"

/* In which ends and reports are looked for while something blocks. */
#define CAPTURE_WAIT_MS 50

/* capture.c */
bool capture_is_ending(const struct capture *c);
void capture_wake(void *self); /* any thread */
/* Until woken, or socket: until the stream has something; or the time is over. */
void capture_sleep(struct capture *c, int64_t wait_ms, bool socket);
MUST_CHECK err capture_writers_open(struct capture *c); /* lanes, rules; what a session needs */
void capture_writers_close(struct capture *c);
MUST_CHECK err capture_wait(void *self); /* a moment: reports, seals, ends */
void capture_say(struct capture *c, const char *words);

/* capture_begin.c */
MUST_CHECK err capture_prepare(struct capture *c); /* CREATING: publication, slot, snapshot */
MUST_CHECK err capture_connect(struct capture *c); /* to a stream that has begun */
void capture_disconnect(struct capture *c);
MUST_CHECK err capture_control(struct capture *c); /* an ordinary connection in c->control */
MUST_CHECK err capture_accept_gap(struct capture *c);

/* capture_tables.c */
MUST_CHECK err capture_table(struct capture *c, struct relation *relation, struct table **out);
void capture_tables_clear(struct capture *c);
bool capture_type(void *self, uint32_t oid, struct type_facts *out);
int32_t capture_partition(const struct capture *c, const struct record *record);

/* capture_change.c */
MUST_CHECK err capture_begin(void *self, const struct stitch_transaction *transaction);
MUST_CHECK err capture_change(void *self, const struct change *change);
MUST_CHECK err capture_end(void *self, const struct stitch_transaction *transaction);
MUST_CHECK err capture_message(void *self, const struct change *message);
/* Writes a row of a snapshot with this writer. */
MUST_CHECK err capture_row(struct capture *c, struct lane_writer *writer,
                           struct envelope_out *out, const char *word,
                           const struct change *change);
MUST_CHECK err capture_heartbeat(struct capture *c);

/* capture_seal.c */
MUST_CHECK err capture_cut(struct capture *c, bool now); /* when due, or now if possible */
MUST_CHECK err capture_step(struct capture *c);          /* what was stored or sealed goes on */
MUST_CHECK err capture_drain(struct capture *c); /* cuts, and waits until it is sealed */
MUST_CHECK err capture_report(struct capture *c, bool now);
int64_t capture_due_ns(const struct capture *c); /* when step or cut have something to do */
void capture_seal_end(struct capture *c);        /* waits for the sealer; gives the cut up */

/* capture_snapshot.c */
MUST_CHECK err capture_snapshot_exported(struct capture *c, const struct setup_slot *slot);
MUST_CHECK err capture_snapshot_resume(struct capture *c); /* one that is not done, or asked */
MUST_CHECK err capture_snapshot_step(struct capture *c);   /* is it done? */
void capture_snapshot_end(struct capture *c, bool sealed);

#endif
