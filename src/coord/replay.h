/* replay.h - folding the two topics into the coordinator's state, at its opening. */
#ifndef TIDEMARK_COORD_REPLAY_H
#define TIDEMARK_COORD_REPLAY_H

#include "coord/state.h"

MUST_CHECK err replay_offsets(struct coord *c);
MUST_CHECK err replay_txns(struct coord *c);
/* On the worker's thread: sessions run, timeouts run, prepared transactions are finished. */
void replay_resume(struct coord *c);

#endif
