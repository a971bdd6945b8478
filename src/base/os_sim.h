/* os_sim.h - a machine in memory that a seed drives: the same seed, the same run.
 *
 * Files: what was written is seen at once, but is on disk only after file_sync (contents and
 * size), folder_sync (names in that folder) or file_sync_all (everything). os_sim_crash() is a
 * power loss: of unsynced bytes each 512-byte sector may be old or new, of unsynced names each
 * folder keeps some first part of its changes, a rename is there whole or not at all, unsynced
 * sizes end anywhere between. Sectors may also reach the disk early, so that versions in
 * between are possible. O_DIRECT wants its alignment and is no more durable than the rest.
 * After a failed sync the bytes stay readable (but not by O_DIRECT), are not on disk, and no
 * later sync writes them.
 *
 * Workers: one thread. os_sim_step() gives a turn to one of those that have mail or are due;
 * time moves only by steps and calls, and jumps to the next due time when all sleep. Now and
 * then a worker gets a turn without cause, as threads do.
 *
 * Crash: all workers are forgotten with their mail, all files closed, all locks released, and
 * nothing is called back. The objects of the run that ended stay the caller's: it keeps them in
 * an arena or on a list of its own and frees them, or leaks them, but calls no close or stop of
 * theirs. To crash in the middle of a turn: os_sim_kill_after(); from then on every call fails
 * without effect until os_sim_crash(). */
#ifndef TIDEMARK_BASE_OS_SIM_H
#define TIDEMARK_BASE_OS_SIM_H

#include "base/base.h"

struct os_sim;

struct os_sim *os_sim_new(uint64_t seed); /* an empty disk with a root folder */
struct os *os_sim_os(struct os_sim *sim);
void os_sim_free(struct os_sim *sim); /* accepts NULL; workers must be stopped or crashed */
uint64_t os_sim_below(struct os_sim *sim, uint64_t limit); /* the test's own dice, 0..limit-1 */

/* false: dead, or nobody has mail and nobody is due. */
bool os_sim_step(struct os_sim *sim);
/* Steps until done() or os_sim_step() is false or a million steps are over; what done() says.
 */
bool os_sim_run_until(struct os_sim *sim, bool (*done)(void *self), void *self);
void os_sim_advance(struct os_sim *sim, int64_t ns); /* time passes, nobody runs */

void os_sim_crash(struct os_sim *sim); /* power loss; not within a turn */
/* kill -9: as a crash, but the disk loses nothing. */
void os_sim_end_process(struct os_sim *sim);
/* The call after this many more calls ends half way, all later ones at once. */
void os_sim_kill_after(struct os_sim *sim, uint64_t calls);
bool os_sim_is_dead(const struct os_sim *sim);

enum os_sim_call {
    OS_SIM_OPEN,
    OS_SIM_READ,
    OS_SIM_WRITE, /* a part of it may have been written */
    OS_SIM_TRUNCATE,
    OS_SIM_ALLOCATE,
    OS_SIM_SYNC,     /* file_sync */
    OS_SIM_SYNC_ALL, /* file_sync_all */
    OS_SIM_FOLDER_MAKE,
    OS_SIM_FOLDER_SYNC,
    OS_SIM_FOLDER_LIST,
    OS_SIM_RENAME,
    OS_SIM_REMOVE,
    OS_SIM_LOCK,
    OS_SIM_WORKER_START,
    OS_SIM_CALLS,
};

struct os_sim_fault {
    uint64_t nth;    /* the nth call from now fails, 1 is the next; 0: none */
    uint32_t one_in; /* each call fails with this chance; 0: none */
    int number;      /* errno; 0: EIO */
};

/* Faults stay planned over crashes, until the next call for the same kind. */
void os_sim_plan(struct os_sim *sim, enum os_sim_call call, struct os_sim_fault fault);
uint64_t os_sim_count(const struct os_sim *sim, enum os_sim_call call); /* so far */
void os_sim_cold_reads(struct os_sim *sim, uint32_t one_in); /* file_read_cached; 0: never */
void os_sim_disk_bytes(struct os_sim *sim, int64_t total);   /* 1 TiB at first */

#endif
