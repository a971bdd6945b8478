/* target_test.c - paths, queries, patterns, authorities, events and metrics as pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "http/http.h"

#define PATTERN "/api/v1/topics/{name}/records/{offset}"

static struct arena arena;

static int reset(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void a_path_is_cut_before_it_is_decoded(void **state)
{
    struct target t;

    (void)state;
    assert_int_equal(target_parse(&arena, VIEW("/api/v1/topics/a%2Fb/records/7?x=1"), &t), OK);
    assert_int_equal(t.part_count, 6);
    assert_true(view_is_text(t.path, "/api/v1/topics/a%2Fb/records/7"));
    assert_true(target_matches(&t, PATTERN));
    assert_true(view_is_text(target_part(&t, PATTERN, "name"), "a/b"));
    assert_true(view_is_text(target_part(&t, PATTERN, "offset"), "7"));
    assert_null(target_part(&t, PATTERN, "nam").at);
    assert_true(view_is_text(target_query(&t, "x"), "1"));
    assert_null(target_query(&t, "y").at);
}

static void a_pattern_matches_whole_paths_only(void **state)
{
    static const struct {
        const char *text, *pattern;
        bool matches;
    } cases[] = {
        {"/", "/", true},          {"/a", "/", false},         {"/", "/a", false},
        {"/a", "/a", true},        {"/a/", "/a", false},       {"//a", "/a", false},
        {"/a/b", "/a", false},     {"/a", "/a/{b}", false},    {"/a/", "/a/{b}", false},
        {"/a/x", "/a/{b}", true},  {"/%61/x", "/a/{b}", true}, {"/a/{b}", "/a/{b}", true},
        {"/A/x", "/a/{b}", false},
    };
    struct target t;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(target_parse(&arena, view_text(cases[i].text), &t), OK);
        if (target_matches(&t, cases[i].pattern) != cases[i].matches) {
            fail_msg("%s against %s", cases[i].text, cases[i].pattern);
        }
    }
}

static void a_plus_is_a_blank_in_queries_alone(void **state)
{
    struct target t;

    (void)state;
    assert_int_equal(target_parse(&arena, VIEW("/a+b?c+d=e+f%2B&&g&h==&g=2"), &t), OK);
    assert_true(view_is_text(t.parts[0], "a+b"));
    assert_true(view_is_text(target_query(&t, "c d"), "e f+"));
    assert_true(view_is_text(target_query(&t, "h"), "="));
    assert_non_null(target_query(&t, "g").at); /* there, though without a value; first counts */
    assert_int_equal(target_query(&t, "g").len, 0);
}

static void what_cannot_be_decoded_is_invalid(void **state)
{
    static const char *const texts[] = {
        "",
        "a",
        "*",
        "http://x/",
        "/%",
        "/a%2",
        "/%g0",
        "/%00",
        "/?%",
        "/?a=%1",
        "/?%00",
        "/?a=b%0",
        "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
    };
    struct target t;
    struct writer many = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        if (target_parse(&arena, view_text(texts[i]), &t) != ERR_INVALID) {
            fail_msg("\"%s\" was taken", texts[i]);
        }
    }
    write_format(&many, "/?");
    for (int i = 0; i <= TARGET_QUERY_MAX; i++) {
        write_format(&many, "a=%d&", i);
    }
    assert_int_equal(target_parse(&arena, writer_view(&many), &t), ERR_INVALID);
    writer_fini(&many);
}

static void a_target_can_be_put_under_a_pattern(void **state)
{
    struct target t;

    (void)state;
    assert_int_equal(target_parse(&arena, VIEW("/ap/v1/topic/x/y/z"), &t), OK);
    assert_string_equal(target_under(&arena, &t, PATTERN), "/api/v1/topics/x/records/z");
    assert_null(target_under(&arena, &t, "/api"));
}

static void an_authority_has_a_host_and_perhaps_a_port(void **state)
{
    static const struct {
        const char *text, *host;
        int port;
    } cases[] = {
        {"localhost", "localhost", -1},
        {"a:80", "a", 80},
        {"[::1]:9", "::1", 9},
        {"[::1]", "::1", -1},
        {"1.2.3.4:0", "1.2.3.4", 0},
        {"", NULL, 0},
        {":80", NULL, 0},
        {"a:", NULL, 0},
        {"a:65536", NULL, 0},
        {"a:-1", NULL, 0},
        {"[::1", NULL, 0},
        {"[::1]x", NULL, 0},
        {"[]:1", NULL, 0},
        {"a:b:1", NULL, 0},
        {"a: 1", NULL, 0},
        {"a:+1", NULL, 0},
    };
    view host;
    int port;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        bool taken = authority_parse(view_text(cases[i].text), &host, &port) == OK;
        if (taken != (cases[i].host != NULL) ||
            (taken && (!view_is_text(host, cases[i].host) || port != cases[i].port))) {
            fail_msg("\"%s\"", cases[i].text);
        }
    }
}

static void loopback_is_known_by_every_name(void **state)
{
    static const char *const ours[] = {"localhost",   "LocalHost", "127.0.0.1",
                                       "127.255.0.9", "::1",       "0:0:0:0:0:0:0:1"};
    static const char *const others[] = {"",        "localhost.x",     "128.0.0.1", "127.1",
                                         "0.0.0.0", "127.0.0.1.x.com", "::2",       "::"};

    (void)state;
    for (size_t i = 0; i < COUNT(ours); i++) {
        assert_true(authority_is_loopback(view_text(ours[i])));
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        assert_false(authority_is_loopback(view_text(others[i])));
    }
}

static void what_is_escaped_parses_back(void **state)
{
    static const uint8_t bytes[] = {'a', '/', '?', '&', '=', '%', '+', ' ', '~', 0xff, 1, '.'};
    struct writer text = {0};
    struct target t;

    (void)state;
    write_format(&text, "/p/");
    http_escape(&text, (view){bytes, sizeof(bytes)});
    write_format(&text, "?q=");
    http_escape(&text, (view){bytes, sizeof(bytes)});
    assert_int_equal(target_parse(&arena, writer_view(&text), &t), OK);
    assert_true(view_is(t.parts[1], (view){bytes, sizeof(bytes)}));
    assert_true(view_is(target_query(&t, "q"), (view){bytes, sizeof(bytes)}));
    writer_fini(&text);
}

static void metrics_are_escaped_by_their_place(void **state)
{
    struct http_label label = {"name", VIEW("q\"b\\n\nc\r")};
    struct writer text = {0};

    (void)state;
    http_metric(&text, "m", "gauge", "say \"a\\b\"\nmore");
    http_sample(&text, "m", &label, 1, 1.0 / 0.0);
    http_sample(&text, "m", NULL, 0, -0.25);
    http_sample_int(&text, "m", NULL, 0, INT64_MIN);
    assert_true(view_is_text(writer_view(&text), "# HELP m say \"a\\\\b\"\\nmore\n"
                                                 "# TYPE m gauge\n"
                                                 "m{name=\"q\\\"b\\\\n\\nc%0D\"} +Inf\n"
                                                 "m -0.25\n"
                                                 "m -9223372036854775808\n"));
    writer_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_path_is_cut_before_it_is_decoded, reset),
        cmocka_unit_test_teardown(a_pattern_matches_whole_paths_only, reset),
        cmocka_unit_test_teardown(a_plus_is_a_blank_in_queries_alone, reset),
        cmocka_unit_test_teardown(what_cannot_be_decoded_is_invalid, reset),
        cmocka_unit_test_teardown(a_target_can_be_put_under_a_pattern, reset),
        cmocka_unit_test(an_authority_has_a_host_and_perhaps_a_port),
        cmocka_unit_test(loopback_is_known_by_every_name),
        cmocka_unit_test_teardown(what_is_escaped_parses_back, reset),
        cmocka_unit_test(metrics_are_escaped_by_their_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
