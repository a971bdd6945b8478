/* meta_test.c - changes that go together, and what a restart makes of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/inside.h"
#include "log/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"

#define CHAIN_MAX 4

struct world {
    struct os_sim *sim;
    struct log_config config;
    struct log *log;
};

struct step { /* a change and whether it is over */
    struct log_change change;
    bool done;
};

static int setup(void **state)
{
    static const char *const reserved[] = {"__meta", "__kept*", NULL};
    struct world *w = xcalloc(1, sizeof(*w));

    w->sim = os_sim_new(5);
    w->config = testing_config();
    w->config.reserved = reserved;
    w->log = testing_open(w->sim, &w->config);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    log_close(w->log);
    os_sim_free(w->sim);
    settings_fini(&w->config.defaults);
    free(w);
    return 0;
}

static void step_done(struct log_change *change)
{
    ((struct step *)change)->done = true;
}

static void submit(struct world *w, struct step *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        steps[i].change.next = i + 1 < count ? &steps[i + 1].change : NULL;
        steps[i].change.done = step_done;
        steps[i].done = false;
    }
    log_change(w->log, &steps[0].change);
}

static void finish(struct world *w, struct step *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        testing_until(w->sim, &steps[i].done);
        assert_null(steps[i].change.fault);
    }
}

static void restart(struct world *w)
{
    log_close(w->log);
    w->log = testing_open(w->sim, &w->config);
}

static err trim(struct world *w, struct topic *topic, int64_t offset)
{
    struct log_change change = {.kind = LOG_TRIM, .topic = topic, .offset = offset};

    return testing_change(w->sim, w->log, &change);
}

static void a_pin_moved_in_one_step_holds(void **state)
{
    struct world *w = *state;
    struct topic *topic = testing_topic(w->sim, w->log, "t", 1, NULL, 0);

    for (int i = 0; i < 10; i++) {
        testing_put(w->sim, w->log, topic_partition(topic, 0), "v");
    }
    struct log_change pin = {.kind = LOG_PIN, .topic = topic, .offset = 2, .owner = VIEW("me")};
    assert_int_equal(testing_change(w->sim, w->log, &pin), OK);
    struct step steps[] = {
        {.change = {.kind = LOG_UNPIN, .owner = VIEW("me")}},
        {.change = {.kind = LOG_PIN, .topic = topic, .offset = 5, .owner = VIEW("me")}},
    };
    submit(w, steps, COUNT(steps));
    finish(w, steps, COUNT(steps));
    assert_int_equal(trim(w, topic, 6), ERR_CONFLICT);
    topic_drop(topic);
    restart(w);
    topic = log_topic(w->log, VIEW("t"));
    assert_int_equal(trim(w, topic, 6), ERR_CONFLICT);
    assert_int_equal(trim(w, topic, 5), OK);
    topic_drop(topic);
}

static void a_pin_that_could_not_be_stored_leaves_the_older_one(void **state)
{
    struct world *w = *state;
    struct topic *topic = testing_topic(w->sim, w->log, "t", 1, NULL, 0);

    for (int i = 0; i < 10; i++) {
        testing_put(w->sim, w->log, topic_partition(topic, 0), "v");
    }
    struct log_change pin = {.kind = LOG_PIN, .topic = topic, .offset = 2, .owner = VIEW("me")};
    assert_int_equal(testing_change(w->sim, w->log, &pin), OK);
    os_sim_plan(w->sim, OS_SIM_SYNC, (struct os_sim_fault){.nth = 1});
    pin.offset = 7;
    assert_int_equal(testing_change(w->sim, w->log, &pin), ERR_IO);
    assert_int_equal(topic_partition(topic, 0)->pin, 2);
    topic_drop(topic);
}

static void two_chains_at_once_keep_their_own_links(void **state)
{
    struct world *w = *state;
    struct step first[2], second[2];
    static const char *const names[] = {"a", "b", "c", "d"};

    for (int i = 0; i < 2; i++) {
        first[i] = second[i] =
            (struct step){.change = {.kind = LOG_TOPIC_CREATE, .partition_count = 1}};
        first[i].change.name = view_text(names[i]);
        second[i].change.name = view_text(names[2 + i]);
    }
    submit(w, first, 2);
    submit(w, second, 2);
    finish(w, first, 2);
    finish(w, second, 2);
    assert_ptr_equal(first[0].change.next, &first[1].change);
    assert_null(first[1].change.next);
    assert_ptr_equal(second[0].change.next, &second[1].change);
    for (int i = 0; i < 2; i++) {
        topic_drop(first[i].change.topic);
        topic_drop(second[i].change.topic);
    }
}

static void a_topic_is_replaced_in_one_step(void **state)
{
    struct world *w = *state;
    struct topic *old = testing_topic(w->sim, w->log, "t", 1, NULL, 0);
    struct step steps[] = {
        {.change = {.kind = LOG_TOPIC_DELETE, .topic = old}},
        {.change = {.kind = LOG_TOPIC_CREATE, .name = VIEW("t"), .partition_count = 3}},
    };

    submit(w, steps, COUNT(steps));
    finish(w, steps, COUNT(steps));
    assert_true(atomic_load(&old->deleted));
    topic_drop(old);
    uuid id = steps[1].change.topic->id;
    topic_drop(steps[1].change.topic);
    restart(w);
    struct topic *fresh = log_topic(w->log, VIEW("t"));
    assert_true(uuid_is(fresh->id, id));
    assert_int_equal(atomic_load(&fresh->partition_count), 3);
    topic_drop(fresh);
}

static void only_reserved_names_are_closed_to_clients(void **state)
{
    struct world *w = *state;
    struct log_change change = {
        .kind = LOG_TOPIC_CREATE, .name = VIEW("__kept.shop"), .partition_count = 1};

    assert_int_equal(testing_change(w->sim, w->log, &change), ERR_DENIED);
    change.internal = true;
    assert_int_equal(testing_change(w->sim, w->log, &change), OK);
    assert_true(change.topic->internal);
    topic_drop(change.topic);
    topic_drop(testing_topic(w->sim, w->log, "__other", 1, NULL, 0));
    restart(w);
    struct topic *kept = log_topic(w->log, VIEW("__kept.shop"));
    struct topic *other = log_topic(w->log, VIEW("__other"));
    assert_true(kept->internal);
    assert_false(other->internal);
    testing_put(w->sim, w->log, topic_partition(other, 0), "v");
    topic_drop(kept);
    topic_drop(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pin_moved_in_one_step_holds),
        TEST(a_pin_that_could_not_be_stored_leaves_the_older_one),
        TEST(two_chains_at_once_keep_their_own_links),
        TEST(a_topic_is_replaced_in_one_step),
        TEST(only_reserved_names_are_closed_to_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
