/* undo_find.h - the changes that a reference names, as undo wants them; internal to audit/.
 *
 *   tx:      all of the transaction
 *   session: all that a person changed in a session
 *   row:     its last change; with a point: all after that point, under whatever key
 *   topic:   that one change
 * What the database did not send of a row as it was is filled from the trail. May block. */
#ifndef TIDEMARK_AUDIT_UNDO_FIND_H
#define TIDEMARK_AUDIT_UNDO_FIND_H

#include "audit/ref.h"
#include "audit/source.h"
#include "audit/undo.h"

struct undo_selection {
    struct arena arena;
    const struct change **changes; /* in the order of commits */
    size_t count, room;
    struct relation **relations; /* held; each once */
    size_t relation_count, relation_room;
};
/* to: a point, for a row; null: none. NOT_FOUND: no such change was captured. */
MUST_CHECK err undo_select(struct source *source, const struct ref *ref, view to,
                           int64_t now_ms, struct undo_selection *out);
void undo_selection_fini(struct undo_selection *selection);

/* Marks the columns that the source's rules do not store as they are. */
MUST_CHECK err undo_find_masked(struct source *source, struct catalog *catalog);
/* Who is behind a conflict: the last change of its row after those selected. */
MUST_CHECK err undo_tell_since(struct source *source, const struct undo_selection *selection,
                               struct undo_plan *plan);

#endif
