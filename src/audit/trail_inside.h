/* trail_inside.h - what the parts of the trail share; internal to it. */
#ifndef TIDEMARK_AUDIT_TRAIL_INSIDE_H
#define TIDEMARK_AUDIT_TRAIL_INSIDE_H

#include "audit/trail.h"
#include "audit/trail_index.h"
#include "audit/trail_read.h"
#include "audit/trail_terms.h"

struct trail {
    struct trail_config config; /* source and path are ours */
    char *source, *path;
    struct trail_index *index;
    struct worker worker;
    struct worker teller;             /* of followers */
    struct trail_follower *followers; /* the teller's */
    struct terms terms;               /* the worker's */
    struct trail_reader *reader;      /* the worker's */
    struct trail_position at;         /* the worker's: behind the last change that is in */
    int64_t seal_in;                  /* the worker's: number of the last seal that is in */
    uint64_t lsn_in;                  /* the worker's: where that one ends */
    int64_t committed_us;             /* the worker's: of the last change */
    int64_t cooled_ms;                /* the worker's: when old blocks were last looked for */
    pthread_mutex_t lock;             /* all below */
    pthread_cond_t news;
    struct trail_state state;
    int64_t seal; /* seal_in, as others may know it */
    bool ends;
};

int64_t trail_teller_turn(struct worker *worker, struct job *jobs);
void trail_teller_end(struct trail *trail); /* the teller has stopped */

/* Nothing counts as taken in from now on, so that who waits for it waits for the mending. */
void trail_note_damage(struct trail *trail);

#endif
