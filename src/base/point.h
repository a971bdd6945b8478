/* point.h - points in time or in a log, as people write them: everywhere the same words.
 *
 *   now  earliest  latest  -15m  2026-01-31T12:00:00Z  2026-01-31  offset:1042
 *   lsn:SOURCE/0/16B3748   a captured database's own log position
 *
 * mark: and commit: are points too, of doors that this program may lack: UNSUPPORTED. Who takes
 * points refuses the kinds that mean nothing where he stands. */
#ifndef TIDEMARK_BASE_POINT_H
#define TIDEMARK_BASE_POINT_H

#include "base/view.h"

#define POINT_WORDS "now, earliest, latest, -15m, 2026-01-31T12:00:00Z or offset:N"
#define POINT_WORDS_DATABASE                                                                   \
    "now, earliest, latest, -15m, 2026-01-31T12:00:00Z or lsn:SOURCE/0/16B3748"

enum point_kind { POINT_EARLIEST, POINT_LATEST, POINT_TIME, POINT_OFFSET, POINT_LSN };

struct point {
    enum point_kind kind;
    int64_t value; /* TIME: ms since 1970 UTC; OFFSET: the offset; LSN: its 64 bits */
    view source;   /* LSN: borrowed from the text */
};

/* now_ms is what "now" and "-15m" count from. INVALID says which forms there are. */
MUST_CHECK err point_parse(view text, int64_t now_ms, struct point *out);

#define POINT_TIME_BYTES 32
/* "2026-01-31T12:00:00.000Z"; milliseconds outside of the years 0 to 9999 give the number. */
void point_time_text(int64_t ms, char out[POINT_TIME_BYTES]);

#endif
