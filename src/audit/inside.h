/* inside.h - the door's own struct; internal to audit/.
 *
 * Locks: audit->lock guards the map of sources alone and is a leaf; each source has its own.
 * Life: the log outlives the door; sources are closed before the map goes. */
#ifndef TIDEMARK_AUDIT_INSIDE_H
#define TIDEMARK_AUDIT_INSIDE_H

#include <pthread.h>

#include "audit/audit.h"
#include "audit/source.h"
#include "log/log.h"

struct sessions;
struct watch;

struct audit {
    struct os *os;
    struct audit_config config; /* data_folder: a copy of ours */
    struct log *log;
    struct topic *registry;    /* __sources, held */
    struct watch *watch;       /* looks after slots; NULL: none */
    struct sessions *sessions; /* people on the databases */
    pthread_mutex_t lock;
    struct map sources; /* name -> struct source, held */
};

/* A path below the data folder, its folders made; heap, the caller's. */
MUST_CHECK err audit_path(struct audit *audit, const char *folder, const char *name,
                          char **out);

#endif
