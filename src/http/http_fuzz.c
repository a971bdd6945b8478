/* http_fuzz.c - what strangers write: request targets, authorities, event streams. The first
 * byte says which. SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"
#include "http/sse.h"
#include "http/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void fuzz_target(view text)
{
    static const char *const patterns[] = {"/", "/api/v1/topics/{name}", "/{a}/{b}/{c}"};
    struct arena arena = {0};
    struct target t;

    if (target_parse(&arena, text, &t) == OK) {
        for (size_t i = 0; i < COUNT(patterns); i++) {
            bool matches = target_matches(&t, patterns[i]);
            const char *under = target_under(&arena, &t, patterns[i]);
            assert(!matches || under); /* what matches has as many parts */
            (void)target_part(&t, patterns[i], "name");
        }
        for (size_t i = 0; i < t.part_count; i++) {
            assert(t.parts[i].len <= t.path.len);
        }
        (void)target_query(&t, "limit");
    }
    arena_fini(&arena);
}

static void fuzz_authority(view text)
{
    view host;
    int port;

    if (authority_parse(text, &host, &port) == OK) {
        assert(host.len > 0 && port >= -1 && port <= 65535);
        (void)authority_is_loopback(host);
    }
}

static err ignore(void *self, view event, view data)
{
    *(size_t *)self += event.len + data.len;
    return OK;
}

static void fuzz_events(view text, size_t some)
{
    size_t bytes = 0;
    struct sse_reader reader = {.each = ignore, .self = &bytes};

    for (size_t i = 0; i < text.len; i += some) {
        if (sse_feed(&reader, view_upto(view_from(text, i), some)) != OK) {
            break;
        }
    }
    assert(bytes <= text.len);
    sse_fini(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    if (len > 0) {
        view text = {at + 1, len - 1};
        switch (at[0] % 4) {
        case 0:
            fuzz_target(text);
            break;
        case 1:
            fuzz_authority(text);
            break;
        case 2:
            fuzz_events(text, at[0] / 4u + 1);
            break;
        default: {
            struct writer out = {0};
            http_sample_int(&out, "m", &(struct http_label){"l", text}, 1, 1);
            http_escape(&out, text);
            writer_fini(&out);
        }
        }
    }
    return 0;
}
