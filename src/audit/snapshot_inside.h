/* snapshot_inside.h - chunks, windows and lines of a snapshot; internal to snapshot*.c. */
#ifndef TIDEMARK_AUDIT_SNAPSHOT_INSIDE_H
#define TIDEMARK_AUDIT_SNAPSHOT_INSIDE_H

#include <pthread.h>

#include "audit/snapshot.h"

/* snapshot_line.c: a line of COPY's text format (PostgreSQL, "COPY", text format). Values are
 * views of the line, or in the arena where something was escaped. CORRUPT: other columns. */
MUST_CHECK err line_parse(struct arena *arena, view line, struct value *values, int count);

#define CHUNK_TO_END (-1)

struct chunk {
    size_t table;     /* in snapshot.tables */
    uint32_t leaf;    /* the relation its pages are of */
    const char *name; /* of it, quoted, with its schema */
    int64_t file;     /* relfilenode: pages mean nothing after a rewrite */
    int64_t from, to; /* pages; to CHUNK_TO_END: all that are */
    int64_t pages;    /* of the relation, when it was planned */
};

struct table {
    uint32_t oid;
    struct relation *relation; /* held */
    const char *columns;       /* quoted, by commas, as the relation has them */
    int *key, key_count;       /* positions that tell rows apart; none: nothing does */
    int64_t rows;              /* estimate */
    size_t chunks_left;
};

/* snapshot_plan.c: looks at the tables and cuts them, less what is done. chunks is heap, the
 * rest in the arena. */
struct plan {
    struct arena *arena;
    struct table *tables;
    size_t table_count;
    struct chunk *chunks;
    size_t count, room;
};
MUST_CHECK err plan_make(struct pg *pg, const struct snapshot_config *config,
                         struct plan *plan);
void chunk_note(const struct chunk *chunk, const struct table *table, struct writer *out);
/* SELECT or table for COPY, with a NUL behind. */
void chunk_sql(const struct chunk *chunk, const struct table *table, struct writer *out);

/* snapshot_window.c: a chunk between its two messages, in watermark mode. */
enum window_state {
    WINDOW_NONE,   /* no chunk */
    WINDOW_ASKED,  /* its first message is under way */
    WINDOW_OPEN,   /* seen in the stream: what is touched is noted */
    WINDOW_CLOSED, /* the second was seen and the rows given */
    WINDOW_AGAIN,  /* the chunk must be read again */
};

struct window {
    enum window_state state;
    int64_t serial; /* tells its messages from those of others */
    const struct table *table;
    struct writer lines;         /* each: u32 length, bytes */
    bool truncated, unsure;      /* all rows are stale; a touched row's key was not told */
    struct arena arena;          /* of what is noted */
    struct map touched;          /* key bytes -> struct touch */
    struct noted *noted, **last; /* keyless: changes as they came */
    uint32_t xmax, *running;     /* the chunk's snapshot: what it sees */
    size_t running_count;
    size_t transactions; /* of the stream, when the first message came */
};
void window_begin(struct window *window, const struct table *table, int64_t serial);
void window_fini(struct window *window);
void window_line(struct window *window, view line);
/* pg_current_snapshot(): "xmin:xmax:a,b" */
MUST_CHECK err window_snapshot(struct window *window, view text);
bool window_sees(const struct window *window, uint32_t xid);
/* A change of its table while it is open. */
void window_touch(struct window *window, const struct change *change);
/* Each line that still holds, in turn. */
MUST_CHECK err window_give(struct window *window, err (*each)(void *self, struct value *values),
                           void *self);

#endif
