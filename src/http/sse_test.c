/* sse_test.c - event streams, however the network cuts them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

static err collect(void *self, view event, view data)
{
    write_format(self, "[%.*s|%.*s]", VIEW_ARG(event), VIEW_ARG(data));
    return view_is_text(event, "stop") ? fault(ERR_CANCELLED, "enough") : OK;
}

/* Feeds text in pieces of some bytes. */
static err feed(view text, size_t some, struct writer *out)
{
    struct sse_reader reader = {.each = collect, .self = out};
    err e = OK;

    for (size_t at = 0; !e && at < text.len; at += some) {
        e = sse_feed(&reader, view_upto(view_from(text, at), some));
    }
    sse_fini(&reader);
    return e;
}

static void expect(const char *text, const char *events)
{
    view all = view_text(text);

    for (size_t some = 1; some <= all.len; some++) {
        struct writer out = {0};
        assert_int_equal(feed(all, some, &out), OK);
        if (!view_is_text(writer_view(&out), events)) {
            fail_msg("pieces of %zu: %.*s", some, VIEW_ARG(writer_view(&out)));
        }
        writer_fini(&out);
    }
}

static void events_are_the_same_in_any_pieces(void **state)
{
    (void)state;
    expect("data: a\n\n", "[|a]");
    expect("event: e\ndata: a\ndata:b\n\n", "[e|a\nb]");
    expect("event: e\r\ndata: a\r\n\r\ndata: b\r\r", "[e|a][|b]");
    expect("data\n\n", "[|]");
    expect("data:  two blanks\n\n", "[| two blanks]");
    expect("data: a:b\n\n", "[|a:b]");
}

static void what_is_no_event_gives_none(void **state)
{
    (void)state;
    expect(":\n\n", "");
    expect(": comment\nid: 4\nretry: 9\nevent: lost\n\n", "");
    expect("event: e\n\ndata: a\n\n", "[|a]");
    expect("data: never ended\n", "");
    expect("\n\n\n", "");
}

static void a_reader_may_stop(void **state)
{
    struct writer out = {0};

    (void)state;
    assert_int_equal(feed(VIEW("event: stop\ndata: 1\n\ndata: 2\n\n"), 100, &out),
                     ERR_CANCELLED);
    assert_true(view_is_text(writer_view(&out), "[stop|1]"));
    writer_fini(&out);
}

static void an_event_without_end_is_too_large(void **state)
{
    size_t len = 2 * SSE_EVENT_BYTES_MAX;
    char *text = xmalloc(len);
    struct writer out = {0};

    (void)state;
    memset(text, 'x', len);
    assert_int_equal(feed((view){(uint8_t *)text, len}, 65536, &out), ERR_TOO_LARGE);
    for (size_t i = 0; i + 64 <= len; i += 64) { /* the same in many short lines */
        memcpy(text + i, "\ndata: ", 7);
    }
    assert_int_equal(feed((view){(uint8_t *)text, len}, 65536, &out), ERR_TOO_LARGE);
    writer_fini(&out);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_in_any_pieces),
        cmocka_unit_test(what_is_no_event_gives_none),
        cmocka_unit_test(a_reader_may_stop),
        cmocka_unit_test(an_event_without_end_is_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
