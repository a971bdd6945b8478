/* uuid.h - 16-byte ids of topics and clusters: random (RFC 9562 version 4), base64url in text.
 *
 * The text form is Kafka's: 22 characters of URL-safe base64 without padding, never starting
 * with a dash, so that it is a safe flag value and file name. */
#ifndef TIDEMARK_BASE_UUID_H
#define TIDEMARK_BASE_UUID_H

#include "base/view.h"

#define UUID_TEXT_BYTES 23 /* with its NUL */

struct os;

typedef struct uuid {
    uint8_t bytes[16];
} uuid;

uuid uuid_new(struct os *os);
bool uuid_is(uuid a, uuid b);
bool uuid_is_zero(uuid id);
void uuid_text(uuid id, char out[UUID_TEXT_BYTES]);
MUST_CHECK err uuid_parse(view text, uuid *out);

#endif
