/* pg_words_fuzz.c - any text as a database's URL: what is left without its password has none.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "audit/pg_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    char *clean = NULL, *again = NULL, *password = NULL;
    view url = {data, size};

    if (!size || memchr(data, 0, size)) { /* it came as text */
        return 0;
    }
    pg_url_split(&arena, url, &clean, &password);
    assert(strlen(clean) <= size);
    pg_url_split(&arena, view_text(clean), &again, &password);
    assert(!password);
    arena_fini(&arena);
    return 0;
}
