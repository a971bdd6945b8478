/* trail.h - finding changes: an index over a source's topics, in SQLite under views/audit/.
 *
 * A view: delete the file and it is built anew from the ledger and the topics. A thread of the
 * trail's own follows the ledger seal by seal and numbers changes in the order of commits.
 * Changes are indexed in blocks: for each block of BLOCK changes and each term (table, row,
 * operation, column changed, transaction, actor, path=value of context, column=value before
 * and after) a sorted list of the changes that have it, kept in the order (block, term), so
 * that building it is appending and a search is a few seeks a block. The newest block is in
 * memory. Values are read from the topics: the view holds only places. Any thread; calls may
 * block. */
#ifndef TIDEMARK_AUDIT_TRAIL_H
#define TIDEMARK_AUDIT_TRAIL_H

#include "audit/envelope.h"
#include "audit/ledger.h"

struct trail_config {
    struct os *os;
    struct log *log;
    struct ledger *ledger;
    view source;
    const char *path;       /* of the SQLite file */
    int64_t hot_ms;         /* older blocks leave the index; -1: never */
    size_t memory_bytes;    /* of SQLite's cache and the newest block */
    uint32_t block_changes; /* at most of a block; 0: as many as there can be */
};

struct trail;
MUST_CHECK err trail_open(const struct trail_config *config, struct trail **out);
void trail_close(struct trail *trail);

/* What to find: all of these. */
enum filter_kind {
    FILTER_TABLE,     /* value: table, or schema.table */
    FILTER_KEY,       /* value: the row's key text (change_key_text); with a TABLE */
    FILTER_OPERATION, /* value: create ... */
    FILTER_CHANGED,   /* name: column; value, when not null: what it became */
    FILTER_BEFORE,
    FILTER_AFTER,
    FILTER_VALUE,    /* name: column, value; VALUE: either side */
    FILTER_CONTEXT,  /* name: path a.b.c, value; value null: there is such a field */
    FILTER_CONTAINS, /* name: context, before or after; value: JSON it contains (jsonb @>) */
    FILTER_ACTOR,    /* value */
    FILTER_TX,       /* value: xid, or xid@LSN */
    FILTER_SINCE,
    FILTER_UNTIL, /* number: committed at it, after (before) it, in us */
    FILTER_AFTER_LSN,
    FILTER_UNTIL_LSN,
};
struct filter {
    enum filter_kind kind;
    bool is_not;
    view name, value;
    int64_t number;
};

/* "table orders status changed to shipped by ann since -1h", or table=orders ...
 * (docs/audit.md, "Finding"). Words as a shell gives them; ERR_INVALID says which word, and
 * what could stand there. */
MUST_CHECK err filter_parse(struct arena *arena, const view *words, size_t count,
                            int64_t now_ms, struct filter **out, size_t *filter_count);
/* One text as words: blanks part them, 'quotes' and "quotes" keep them together. */
MUST_CHECK err filter_words(struct arena *arena, view text, view **out, size_t *count);

struct trail_query {
    const struct filter *filters;
    size_t count;
    bool oldest_first;
    int64_t cursor; /* as found; 0: from the end it starts at */
    size_t limit;   /* 0: no limit */
    /* Updates of which the server sent no old values get them from the row's change before, at
     * the price of a search each. FILTER_CHANGED always looks there. */
    bool recall;
};
struct trail_found {
    size_t count;
    int64_t cursor;            /* goes on behind the last one given; 0: there is no more */
    int64_t from_us, until_us; /* commits that the search covered */
    int64_t numbered;          /* changes in the trail */
    bool cold;                 /* a part was searched without an index */
};
struct trail_hit {
    int64_t number;              /* in the trail */
    const struct change *change; /* valid during the call */
    struct change_origin origin;
};
/* each() gives an error to stop early: ERR_CANCELLED is no failure. */
MUST_CHECK err trail_find(struct trail *trail, const struct trail_query *query,
                          err (*each)(void *self, const struct trail_hit *hit), void *self,
                          struct trail_found *out);

/* The change of the same row before that number, copied into the arena; NULL: none is known. */
MUST_CHECK err trail_previous(struct trail *trail, const struct change *change, int64_t number,
                              struct arena *arena, struct change **out);
/* Gives an update the old values that the server did not send, from that change, where there is
 * one: sets recalled. */
MUST_CHECK err trail_recall(struct trail *trail, struct change *change, int64_t number,
                            struct arena *arena);

/* Every change behind query.cursor that is found, as it comes, oldest first, on a thread of the
 * trail's own. The caller's memory until done(), which runs once: is_gone() said so, each()
 * failed, or the trail closes. query.limit is not looked at. */
struct trail_follower {
    struct trail_query query;
    err (*each)(void *self, const struct trail_hit *hit);
    bool (*is_gone)(void *self); /* asked now and then */
    void (*done)(void *self);
    void *self;
    struct trail_follower *next; /* the trail's */
    struct trail *trail;         /* the trail's */
    struct job job;              /* the trail's */
};
void trail_follow(struct trail *trail, struct trail_follower *follower);

struct trail_state {
    int64_t changes; /* numbered so far */
    uint64_t lsn;    /* the last seal taken in */
    int64_t committed_us;
    int64_t behind_seals;
    int64_t bytes;              /* of the file */
    char words[FAULT_TEXT_MAX]; /* "" or why it stands still */
};
void trail_state(struct trail *trail, struct trail_state *out);
/* Waits until a change beyond number is there, or wait_ms are over. False: not yet. */
bool trail_wait(struct trail *trail, int64_t number, int64_t wait_ms);
/* Waits until all that is sealed is in. For tests and for answers that must be exact. */
MUST_CHECK err trail_catch_up(struct trail *trail, int64_t wait_ms);

struct trail_count { /* change stats: by table and operation */
    view schema, table;
    int64_t creates, updates, deletes, truncates, reads;
    int64_t first_us, last_us;
};
MUST_CHECK err trail_counts(struct trail *trail, struct arena *arena, struct trail_count **out,
                            size_t *count);

/* Prometheus samples of the sources' trails. */
struct source;
void trail_metrics(struct source *const *sources, size_t count, struct writer *out);

#endif
