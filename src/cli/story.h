/* story.h - what happened to rows, told to people: `row` and `trace`; internal to cli/.
 *
 * Text comes from databases, so control characters never reach the terminal. Lines are as wide
 * as the terminal, 80 where there is none; a value too long for its line is cut with an
 * ellipsis, unless full is asked for. Bold and dim on a terminal only, never with NO_COLOR. */
#ifndef TIDEMARK_CLI_STORY_H
#define TIDEMARK_CLI_STORY_H

#include "cli/command.h"

struct story {
    struct writer out;
    size_t width;
    bool full, colour;
};

struct story story_begin(bool full);
void story_print(struct story *story); /* to standard output, and empty again */
void story_end(struct story *story);   /* print, and free */

enum story_look { STORY_PLAIN, STORY_BOLD, STORY_DIM };
/* At most columns wide, cut when longer (0: as it is); returns the columns it took. */
size_t story_text(struct story *story, enum story_look look, view text, size_t columns);
PRINTF_LIKE(3, 4)
void story_line(struct story *story, enum story_look look, const char *format, ...);
void story_blank(struct story *story, size_t columns);

size_t text_columns(view text); /* code points */
/* "2026-11-20 14:02:11.123Z" of a time of the API. */
view story_time(struct cli *cli, const struct json *object, const char *name);
/* A JSON value as people read it: texts bare, documents as JSON. In cli's arena. */
view story_value(struct cli *cli, const struct json *value);
/* "status  pending -> shipped" for each of an array of {name, old, new, unknown}; with the
 * business's words where label, old_label, new_label are there. */
void story_fields(struct story *story, struct cli *cli, const struct json *fields,
                  size_t indent);
/* "column  value" for each member; unknown: names of columns whose value is not known. */
void story_row(struct story *story, struct cli *cli, const struct json *row,
               const struct json *unknown, size_t indent);
/* The same of an answer's {row, unknown, labels}. */
void story_answer(struct story *story, struct cli *cli, const struct json *answer,
                  size_t indent);
/* "reason=late  request_id=r-17" over a few lines, without what names the actor. rest: without
 * what was said by itself too (request, traceparent, application, session). */
void story_context(struct story *story, struct cli *cli, const struct json *change, bool rest,
                   size_t indent);
/* The actor, or that nobody was named. */
view story_actor(struct cli *cli, const struct json *change);

#endif
