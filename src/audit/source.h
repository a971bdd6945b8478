/* source.h - a captured database: its definition, its life, its ledger.
 *
 * Definitions are records on the compacted internal topic __sources (key: name, value: JSON of
 * the options below, without password: that is in a file only the server's user reads, below
 * secrets/ in the data folder). A source runs one thread (capture.c) while it is running.
 *
 *   creating --> running <--> paused        failed: an error that waits for a person
 *        \          |  \________/
 *         `--------> failed --resume--> running
 *
 * Threads: all calls from any thread; "may block" ones not from loops. */
#ifndef TIDEMARK_AUDIT_SOURCE_H
#define TIDEMARK_AUDIT_SOURCE_H

#include "audit/envelope.h"
#include "audit/stitch.h"
#include "log/log.h"

struct audit;
struct ledger;
struct sink;
struct trail;

enum source_state {
    SOURCE_CREATING, /* slot, publication, snapshot */
    SOURCE_RUNNING,
    SOURCE_PAUSED,
    SOURCE_FAILED,
    SOURCE_STATES,
};
const char *source_state_name(enum source_state state);

enum slot_guard { SLOT_PROTECT_DATABASE, SLOT_PROTECT_TRAIL };

struct source_options {       /* rows in source_options_table; texts heap */
    char *url;                /* as given, without its password */
    char *slot, *publication; /* preset tidemark_<name> */
    char *tables;    /* patterns schema.table, by commas, * and ?; empty: all with identity */
    char *without;   /* patterns left out */
    int64_t keyless; /* choice: skip, full, insert-only: tables without identity */
    bool snapshot;   /* rows there are at the start come first */
    int64_t snapshot_workers, snapshot_chunk_rows, snapshot_rate; /* bytes/s, 0: no limit */
    int64_t partitions;                                           /* of each table's topic */
    bool schemas, tombstones, transactions, truncates, messages;  /* Debezium's options */
    int64_t decimals, binaries;        /* enum decimal_mode, binary_mode */
    int64_t intervals, hstores, times; /* enum interval_mode, hstore_mode, time_mode */
    int64_t heartbeat_ms;              /* 0: none */
    int64_t context_rule;              /* enum context_rule */
    char *ignore, *mask;               /* rules.h */
    char *labels;                      /* a file's path: labels.h */
    char *sink;                        /* sink.h: a URL, without its password; NULL: none */
    bool shell_ticket;                 /* a session on it wants a ticket */
    int64_t slot_guard;                /* enum slot_guard */
    int64_t slot_warn_bytes, slot_max_bytes; /* of WAL the slot holds back */
    int64_t hot_ms, keep_ms;                 /* in the view; in the topics; -1: for ever */
    char *keep;                              /* tables that differ: retention.h */
};
extern const struct option source_option_rows[];
extern const size_t source_option_count;

struct source_status { /* a copy */
    enum source_state state;
    char words[FAULT_TEXT_MAX]; /* why failed, or what it is doing */
    struct {
        char system_id[24];
        int32_t timeline;
    } database;
    uint64_t durable_lsn; /* everything committed before it is in the topics and sealed */
    uint64_t server_lsn;  /* the newest the server told */
    int64_t committed_us; /* of the last change; 0: none yet */
    int64_t lag_ms;       /* between commit and sealed, of the last one */
    int64_t slot_bytes;   /* WAL held back; -1: not known */
    int64_t changes, transactions, malformed_contexts, spooled_bytes;
    int64_t snapshot_rows, snapshot_rows_estimate; /* 0: none under way */
    char snapshot_table[130];
};

struct source {
    char *name;
    struct source_options options; /* changed only while the thread is stopped */
    struct audit *audit;
    struct ledger *ledger;
    struct trail *trail;
    char *password;                      /* from its file; NULL: the URL's user needs none */
    struct capture *capture;             /* NULL: no thread */
    struct sink *sink;                   /* NULL: none; under lock */
    char *sink_password, *sink_database; /* heap, while there is one */
    pthread_mutex_t life;                /* over create, edit, pause, resume, remove */
    pthread_mutex_t lock;                /* status */
    struct source_status status;
    _Atomic uint64_t wanted_lsn; /* somebody waits for durable_lsn to get there */
    _Atomic uint32_t holders;
};

struct source *source_find(struct audit *audit, view name); /* held; NULL: none */
struct source *source_hold(struct source *source);
void source_drop(struct source *source);
size_t sources_list(struct audit *audit, struct source ***out); /* by name, held; heap */
void source_status_get(struct source *source, struct source_status *out);
/* May block. */
MUST_CHECK err source_create(struct audit *audit, view name,
                             struct source_options *take_options, const char *password,
                             struct source **out);
MUST_CHECK err source_edit(struct source *source, const struct setting *edits, size_t count);
MUST_CHECK err source_pause(struct source *source);
MUST_CHECK err source_resume(struct source *source, bool accept_gap); /* a lost slot's repair */
MUST_CHECK err source_remove(struct source *source, bool keep_slot);
/* A connection to the source's database. may block */
struct pg;
MUST_CHECK err source_connect(struct source *source, const char *application, struct pg **out);

#endif
