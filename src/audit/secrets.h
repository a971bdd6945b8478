/* secrets.h - what must not be read by others: below secrets/ in the data folder, files only
 * the server's user reads; internal. Texts never reach logs, topics or the API. May block. */
#ifndef TIDEMARK_AUDIT_SECRETS_H
#define TIDEMARK_AUDIT_SECRETS_H

#include "audit/inside.h"
#include "audit/rules.h"

/* The source's password; password NULL: there is none. */
MUST_CHECK err secrets_keep(struct audit *audit, const char *source, const char *password);
/* *out heap, NULL: there is none. */
MUST_CHECK err secrets_find(struct audit *audit, const char *source, char **out);
/* The key of hashed columns, made once. */
MUST_CHECK err secrets_mask_key(struct audit *audit, const char *source,
                                uint8_t out[RULES_KEY_BYTES]);
void secrets_forget(struct audit *audit, const char *source);

#endif
