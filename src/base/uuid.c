/* uuid.c - random ids and their base64url text. SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

uuid uuid_new(struct os *os)
{
    uuid id;
    char text[UUID_TEXT_BYTES];

    do {
        os->random(os, id.bytes, sizeof(id.bytes));
        id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
        id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
        uuid_text(id, text);
    } while (text[0] == '-');
    return id;
}

bool uuid_is(uuid a, uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

bool uuid_is_zero(uuid id)
{
    return uuid_is(id, (uuid){{0}});
}

void uuid_text(uuid id, char out[UUID_TEXT_BYTES])
{
    uint32_t bits = 0;
    int held = 0;
    size_t used = 0;

    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        bits = bits << 8 | id.bytes[i];
        for (held += 8; held >= 6; held -= 6) {
            out[used++] = digits[bits >> (held - 6) & 63];
        }
    }
    out[used++] = digits[bits << (6 - held) & 63];
    assert(used == UUID_TEXT_BYTES - 1);
    out[used] = '\0';
}

err uuid_parse(view text, uuid *out)
{
    uint32_t bits = 0;
    int held = 0;
    size_t used = 0;

    for (size_t i = 0; text.len == UUID_TEXT_BYTES - 1 && i < text.len; i++) {
        const char *digit = text.at[i] ? strchr(digits, text.at[i]) : NULL;
        if (!digit) {
            break;
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        held += 6;
        if (held >= 8) {
            held -= 8;
            out->bytes[used++] = (uint8_t)(bits >> held);
        }
    }
    return used == sizeof(out->bytes)
               ? OK
               : fault(ERR_INVALID, "\"%.*s\" is not an id", VIEW_ARG(view_upto(text, 40)));
}
