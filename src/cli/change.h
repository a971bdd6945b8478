/* change.h - asking for changes and printing them; shared by the verbs of `change`. */
#ifndef TIDEMARK_CLI_CHANGE_H
#define TIDEMARK_CLI_CHANGE_H

#include "cli/command.h"
#include "cli/story.h"

/* The words of a search as the API's filter=, from the given one on; from and to may be NULL.
 */
char *change_filter(struct cli *cli, int first, const char *from, const char *to);
/* "?labels=true&source=..&filter=.." of a search; without labels with --json. */
char *change_query(struct cli *cli, const char *source, const char *filter);

/* One change as one line of a table; with full as many as it takes. */
void change_head(struct story *story);
void change_line(struct story *story, struct cli *cli, const struct json *change);
/* All there is of one change. */
void change_tell(struct story *story, struct cli *cli, const struct json *change);

#endif
