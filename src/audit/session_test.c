/* session_test.c - sessions over a real log in a temporary folder.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "audit/records.h"
#include "base/base.h"

struct world {
    char folder[64];
    struct log_config config;
    struct log *log;
    struct sessions *sessions;
    struct arena arena;
    struct writer out;
};

static void open_all(struct world *w)
{
    log_config_preset(&w->config);
    w->config.folder = w->folder;
    w->config.journal_bytes_max = 16 << 20;
    assert_int_equal(log_open(os_real(), &w->config, &w->log), OK);
    assert_int_equal(sessions_open(w->log, &w->sessions), OK);
}

static void close_all(struct world *w)
{
    sessions_close(w->sessions);
    log_close(w->log);
    free(w->config.defaults.compression_type);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    snprintf(w->folder, sizeof(w->folder), "/tmp/session-test-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    open_all(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    close_all(w);
    assert_int_equal(os_remove_tree(os_real(), w->folder), OK);
    arena_fini(&w->arena);
    writer_fini(&w->out);
    free(w);
    return 0;
}

static view begin(struct world *w, const char *person)
{
    const struct session_asked asked = {
        .source = VIEW("shop"), .person = view_text(person), .reason = VIEW("why")};
    view id = {0};

    assert_int_equal(session_begin(w->sessions, &w->arena, &asked, &id), OK);
    return id;
}

static err add(struct world *w, view id, const char *record)
{
    struct json *json = NULL;

    assert_int_equal(json_parse(&w->arena, view_text(record), &json), OK);
    return session_add(w->sessions, id, json);
}

/* A member of the session as JSON text; "a.b" goes inside. */
static view member(struct world *w, view id, const char *name)
{
    struct json_writer j = json_to(&w->out);
    struct json *json = NULL;

    writer_reset(&w->out);
    assert_int_equal(session_to_json(w->sessions, id, &j), OK);
    view text = arena_copy(&w->arena, writer_view(&w->out));
    assert_int_equal(json_parse(&w->arena, text, &json), OK);
    const struct json *found = json_get(json, name);
    assert_non_null(found);
    return found->text;
}

static void statements_and_their_results_are_counted(void **state)
{
    struct world *w = *state;
    view id = begin(w, "ann");

    assert_int_equal(add(w, id, "{\"kind\":\"statement\",\"n\":1,\"text\":\"x\"}"), OK);
    assert_int_equal(add(w, id, "{\"kind\":\"result\",\"n\":1,\"rows\":3,\"xid\":7}"), OK);
    assert_int_equal(add(w, id, "{\"kind\":\"statement\",\"n\":2,\"text\":\"y\"}"), OK);
    assert_int_equal(
        add(w, id, "{\"kind\":\"result\",\"n\":2,\"rows\":null,\"error\":{\"code\":\"1\"}}"),
        OK);
    assert_true(view_is_text(member(w, id, "statements"), "2"));
    assert_true(view_is_text(member(w, id, "errors"), "1"));
    assert_true(view_is_text(member(w, id, "writes"), "1"));
    assert_true(view_is_text(member(w, id, "rows"), "3"));
    assert_true(view_is_text(member(w, id, "state"), "running"));
}

static void nothing_is_added_to_what_has_ended(void **state)
{
    struct world *w = *state;
    view id = begin(w, "ann");

    assert_int_equal(add(w, id, "{\"kind\":\"end\",\"how\":\"normal\",\"at_ms\":5}"), OK);
    assert_int_equal(add(w, id, "{\"kind\":\"statement\",\"n\":1}"), ERR_CONFLICT);
    assert_true(view_is_text(member(w, id, "state"), "done"));
    assert_int_equal(session_judge(w->sessions, id, VIEW("approved"), VIEW("ok"), VIEW("zoe")),
                     OK);
}

static void records_cannot_speak_for_other_sessions(void **state)
{
    struct world *w = *state;
    view id = begin(w, "ann"), other = begin(w, "bob");
    int64_t next = -1;

    assert_int_equal(add(w, id, "{\"kind\":\"open\"}"), ERR_INVALID);
    assert_int_equal(add(w, id, "{\"kind\":\"review\"}"), ERR_INVALID);
    assert_int_equal(add(w, id, "{}"), ERR_NOT_FOUND);
    char *forged = text_format("{\"kind\":\"statement\",\"session\":\"%.*s\",\"source\":\"x\"}",
                               VIEW_ARG(other));
    assert_int_equal(add(w, id, forged), OK);
    free(forged);
    assert_true(view_is_text(member(w, id, "statements"), "1"));
    assert_true(view_is_text(member(w, other, "statements"), "0"));
    struct json_writer j = json_to(&w->out);
    writer_reset(&w->out);
    json_array(&j);
    assert_int_equal(session_records(w->sessions, other, 0, 10, &j, &next), OK);
    json_end_array(&j);
    assert_int_equal(next, -1);
    assert_null(memmem(w->out.at, w->out.len, "statement", 9));
}

static void a_session_is_found_by_the_beginning_of_its_id(void **state)
{
    struct world *w = *state;
    view id = begin(w, "ann"), found = {0};

    assert_int_equal(session_find(w->sessions, &w->arena, view_upto(id, 6), &found), OK);
    assert_true(view_is(found, id));
    assert_int_equal(session_find(w->sessions, &w->arena, VIEW("zz"), &found), ERR_NOT_FOUND);
    assert_int_equal(session_find(w->sessions, &w->arena, VIEW(""), &found), ERR_NOT_FOUND);
}

static void what_was_cut_off_is_lost_after_a_restart(void **state)
{
    struct world *w = *state;
    view id = begin(w, "ann"), done = begin(w, "bob");

    assert_int_equal(add(w, done, "{\"kind\":\"end\",\"how\":\"normal\",\"at_ms\":5}"), OK);
    assert_int_equal(session_judge(w->sessions, done, VIEW("flagged"), VIEW("hm"), VIEW("zoe")),
                     OK);
    for (int turn = 0; turn < 2; turn++) { /* the second finds it ended already */
        close_all(w);
        open_all(w);
        assert_true(view_is_text(member(w, id, "how"), "lost"));
        assert_true(view_is_text(member(w, done, "how"), "normal"));
        assert_true(view_is_text(member(w, done, "person"), "bob"));
    }
}

static void lists_are_newest_first_and_go_on_from_a_cursor(void **state)
{
    struct world *w = *state;
    const struct session_filter none = {0}, ann = {.person = VIEW("ann")};
    struct json_writer j = json_to(&w->out);
    view first = begin(w, "ann"), last = begin(w, "bob"), next = {0};

    writer_reset(&w->out);
    json_array(&j);
    sessions_to_json(w->sessions, &w->arena, &none, (view){0}, 1, &j, &next);
    assert_true(view_is(next, last));
    assert_non_null(memmem(w->out.at, w->out.len, "bob", 3));
    assert_null(memmem(w->out.at, w->out.len, "ann", 3));
    sessions_to_json(w->sessions, &w->arena, &none, next, 1, &j, &next);
    assert_null(next.at);
    assert_non_null(memmem(w->out.at, w->out.len, first.at, first.len));
    writer_reset(&w->out);
    sessions_to_json(w->sessions, &w->arena, &ann, (view){0}, 10, &j, &next);
    json_end_array(&j);
    assert_null(memmem(w->out.at, w->out.len, "bob", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(statements_and_their_results_are_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nothing_is_added_to_what_has_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(records_cannot_speak_for_other_sessions, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_session_is_found_by_the_beginning_of_its_id, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_cut_off_is_lost_after_a_restart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(lists_are_newest_first_and_go_on_from_a_cursor, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
