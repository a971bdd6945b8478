/* sql.h - as much of SQL as a shell must see: where statements end, and what kind each is;
 * internal to cli/.
 *
 * The server decides what a statement means; this only tells how to send it. A wrong guess
 * costs an error message, never a write past the lock: a locked session's statements run in
 * read-only transactions whatever they say. Lexical rules: PostgreSQL 4.1. Pure functions, any
 * thread. */
#ifndef TIDEMARK_CLI_SQL_H
#define TIDEMARK_CLI_SQL_H

#include "base/base.h"

enum sql_kind {
    SQL_EMPTY,    /* white space and comments */
    SQL_READ,     /* not expected to change rows */
    SQL_WRITE,    /* all that is not known to be anything else */
    SQL_SETTING,  /* SET, RESET */
    SQL_BARE,     /* has a meaning of its own outside of a transaction block */
    SQL_BEGIN,    /* opens a transaction */
    SQL_END,      /* ends one */
    SQL_BACK,     /* ROLLBACK TO: undoes a part */
    SQL_POINT,    /* SAVEPOINT, RELEASE */
    SQL_PREPARED, /* COMMIT PREPARED, ROLLBACK PREPARED */
    SQL_UNLOCK,   /* UNLOCK 'reason': the shell's own */
    SQL_LOCK,     /* LOCK SESSION: the shell's own */
};

struct sql_rules {
    bool backslashes; /* standard_conforming_strings is off */
};

/* Cuts the next statement off *rest, without its semicolon; false: there is no more. */
bool sql_next(struct sql_rules rules, view *rest, view *statement);
enum sql_kind sql_kind(struct sql_rules rules, view statement);
bool sql_is_control(enum sql_kind kind); /* it must not stand inside a transaction of ours */
/* Would it, as SET or BEGIN, make a transaction one that writes? */
bool sql_allows_writes(struct sql_rules rules, view statement);
/* The text of the first literal: UNLOCK's reason; a null view: there is none, or more words. */
view sql_reason(struct arena *arena, struct sql_rules rules, view statement);
/* The statement as it may be kept: literals that are passwords become '***'. */
void sql_without_secrets(struct sql_rules rules, view statement, struct writer *out);
/* 'text', for a statement of our own whatever the rules are. */
void sql_quote(struct writer *out, view text);

#endif
