/* capture_state.h - a capture's struct; internal to capture*.c.
 *
 * Everything belongs to the capture's thread but where it says otherwise. */
#ifndef TIDEMARK_AUDIT_CAPTURE_STATE_H
#define TIDEMARK_AUDIT_CAPTURE_STATE_H

#include "audit/capture.h"
#include "audit/envelope.h"
#include "audit/inside.h"
#include "audit/lanes.h"
#include "audit/ledger.h"
#include "audit/pg.h"
#include "audit/rules.h"
#include "audit/setup.h"
#include "audit/snapshot.h"
#include "audit/source_inside.h"
#include "audit/stitch.h"

struct table {               /* a relation as the stream or a snapshot describes it */
    struct relation *key;    /* held: its address is the map's key */
    struct relation *stored; /* as the ledger has it; the ledger's */
    struct rules_table *rules;
    struct lane **lanes; /* partition_count of them */
    int64_t transaction_changes;
    uint64_t transaction; /* commit LSN that transaction_changes are of */
};

struct type_slot { /* what the catalog says of a type that is not builtin */
    uint32_t oid;
    bool known;
    struct type_facts facts; /* labels heap */
};

struct chunk_notes { /* chunks whose rows are on their way; any thread, under a lock */
    view *texts;     /* heap */
    size_t count, room;
};

struct round { /* what one seal will cover */
    uint64_t to;
    int64_t changes, transactions;
    int64_t committed_us; /* of its last transaction */
};

struct sealing { /* the sealer's thread has it while it works */
    struct job job;
    struct capture *capture;
    struct seal seal;
    struct chunk_notes notes;
    bool ends_snapshot;
    struct arena arena;
    err result;
    struct fault fault;
    _Atomic bool done;
};

enum cut_state { CUT_NONE, CUT_STORING, CUT_SEALING };

struct capture {
    struct source *source;
    struct audit *audit;
    struct os *os;
    struct log *log;
    struct ledger *ledger;
    struct worker worker, sealer;
    struct job run;
    bool accept_gap; /* a lost slot is repaired first */
    int wake_fd;     /* eventfd: something was stored, sealed, asked, or is to end */
    _Atomic bool stopping;

    bool fatal; /* the error at hand waits for a person */
    struct pg *stream, *control;
    bool streams; /* stream is in its copy: reports may go out */
    struct pg_system system;
    struct stitch *stitch;
    bool plain; /* this connection does not stream, or the next: see wants_plain() */
    struct lanes *lanes;
    struct lane_writer *writer;
    struct rules *rules;
    struct envelope_options envelope;
    char *database; /* its name, for envelopes */
    struct envelope_out out;
    struct arena scratch;     /* of one change, until it is an envelope */
    struct map tables, types; /* struct table by address; struct type_slot by OID */
    struct table *newest;     /* the table asked for last */

    bool in_transaction;
    struct stitch_transaction transaction;
    uint64_t last_commit;                              /* LSN of the commit before this one */
    int64_t total_order;                               /* of this transaction's changes */
    struct lane *messages, *transactions, *heartbeats; /* opened when first needed */
    uint64_t transactions_last; /* commit LSN of the newest END on the transaction topic */

    struct round open;    /* being filled */
    struct round closed;  /* being stored and sealed */
    uint64_t sealed_from; /* where the next seal begins */
    enum cut_state cut;
    uint64_t generation; /* of the closed round's batches */
    struct sealing sealing;
    int64_t cut_ns;         /* when the last cut was made */
    uint64_t keepalive_lsn; /* everything before it has been read */
    uint64_t asked_lsn;     /* the server wants to hear that this is flushed */
    uint64_t received_lsn, flushed_lsn;
    int64_t report_due_ns, heartbeat_due_ns, publish_due_ns;

    struct snapshot *snapshot;
    bool snapshot_done; /* all rows were given: the next cut ends it */
    bool exported;      /* its rows come on its own threads */
    int64_t snapshot_us;
    struct lane_writer **snapshot_writers; /* exported: one a worker */
    struct envelope_out *snapshot_outs;
    int snapshot_workers;
    struct relation **snapshot_relations; /* held; of the tables read */
    size_t snapshot_table_count;
    pthread_mutex_t notes_lock;
    struct chunk_notes notes;
    _Atomic bool snapshot_asked; /* ask_tables is set, under source->lock */
    char *ask_tables;
};

#endif
