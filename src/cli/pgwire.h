/* pgwire.h - PostgreSQL's wire protocol 3.0: frames, what a relay reads of them, and what it
 * says itself; internal to cli/.
 *
 * A frame is a kind, a length (itself included) and a body; the first one of a connection has
 * no kind. Bytes are a stranger's: nothing here trusts a length or a missing NUL. Pure
 * functions, any thread. Source: PostgreSQL 55.7 "Message Formats", 55.8 "Error and Notice". */
#ifndef TIDEMARK_CLI_PGWIRE_H
#define TIDEMARK_CLI_PGWIRE_H

#include "base/base.h"

#define PGWIRE_VERSION 196608 /* 3.0, in the first frame */
#define PGWIRE_CANCEL 80877102
#define PGWIRE_TLS 80877103
#define PGWIRE_GSS 80877104
#define PGWIRE_FIRST_BYTES_MAX 10000
#define PGWIRE_BYTES_MAX (1u << 30) /* what the server itself can hold in one value */

enum pgwire_found { PGWIRE_MORE, PGWIRE_WHOLE, PGWIRE_BAD };

struct pgwire_frame {
    uint8_t kind; /* 0: a first frame */
    view body;
    view all; /* with kind and length, as it came */
};

/* The first frame of bytes. MORE: it is not whole yet. */
enum pgwire_found pgwire_frame(view bytes, bool first, struct pgwire_frame *out);

/* Text up to its NUL; what has none makes the reader bad. */
view pgwire_text(struct reader *r);

struct pgwire_start { /* a first frame that is none of the requests */
    view user, database, application, encoding;
    bool replication;
};
MUST_CHECK err pgwire_start(view body, struct pgwire_start *out);

struct pgwire_prepare { /* Parse: P */
    view name, text;
};
MUST_CHECK err pgwire_prepare(view body, struct pgwire_prepare *out);
struct pgwire_bind { /* Bind: B; its parameters are not looked at */
    view portal, name;
};
MUST_CHECK err pgwire_bind(view body, struct pgwire_bind *out);

/* A field of an error or a notice: 'C' its SQLSTATE, 'M' its message; a null view: none. */
view pgwire_field(view body, char field);
/* Rows of a command tag ("INSERT 0 5", "SELECT 3"); -1: it does not say. */
int64_t pgwire_tag_rows(view tag);

/* Frames. */
void pgwire_write(struct writer *out, char kind, view body);
void pgwire_query(struct writer *out, view sql);
/* kind 'E' or 'N'; fix may be NULL. */
void pgwire_notice(struct writer *out, char kind, const char *severity, const char *state,
                   const char *message, const char *fix);
/* The error again, with a hint when it has none. */
void pgwire_error_hint(struct writer *out, view body, const char *fix);
void pgwire_complete(struct writer *out, const char *tag);
void pgwire_parameter(struct writer *out, const char *name, const char *value);
void pgwire_ready(struct writer *out, char status);
/* The start of a session: accepted, and the key that cancels. */
void pgwire_accept(struct writer *out);
void pgwire_key(struct writer *out, uint32_t pid, uint32_t secret);

#endif
