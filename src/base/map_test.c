/* map_test.c - the hash map against the simplest model.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/base.h"

#define KEYS 700

struct item {
    uint32_t key;
    bool there, walked;
};

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void assert_agrees(struct map *m, struct item *items)
{
    size_t there = 0, walked = 0;
    struct item *item;

    for (size_t i = 0; i < KEYS; i++) {
        assert_ptr_equal(map_get(m, VIEW_OF(items[i].key)), items[i].there ? &items[i] : NULL);
        there += items[i].there ? 1 : 0;
        items[i].walked = false;
    }
    for (size_t at = 0; (item = map_next(m, &at)); walked++) {
        assert_true(item->there && !item->walked);
        item->walked = true;
    }
    assert_int_equal(m->count, there);
    assert_int_equal(walked, there);
}

static void random_operations_agree_with_an_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static struct item items[KEYS];
        struct map m = {0};
        uint64_t dice = seed;
        print_message("seed %d\n", (int)seed);
        for (uint32_t i = 0; i < KEYS; i++) {
            items[i] = (struct item){.key = i * (uint32_t)seed};
        }
        for (int i = 0; i < 20000; i++) {
            /* grow in the first half, shrink in the second */
            bool put = next(&dice) % 10 < (i < 10000 ? 6u : 4u);
            struct item *item = &items[next(&dice) % KEYS];
            void *before = item->there ? item : NULL;
            assert_ptr_equal(put ? map_put(&m, VIEW_OF(item->key), item)
                                 : map_remove(&m, VIEW_OF(item->key)),
                             before);
            item->there = put;
            if (i % 1000 == 0) {
                assert_agrees(&m, items);
            }
        }
        assert_agrees(&m, items);
        map_fini(&m);
    }
}

static void an_empty_map_knows_nothing(void **state)
{
    struct map m = {0};
    size_t at = 0;

    (void)state;
    assert_null(map_get(&m, VIEW("x")));
    assert_null(map_remove(&m, VIEW("x")));
    assert_null(map_next(&m, &at));
    map_fini(&m);
}

static void a_replaced_value_brings_its_own_key(void **state)
{
    struct map m = {0};
    char *first = xstrdup("key"), *second = xstrdup("key");

    (void)state;
    assert_null(map_put(&m, view_text(first), first));
    assert_ptr_equal(map_put(&m, view_text(second), second), first);
    free(first); /* nothing may point into it now */
    assert_ptr_equal(map_get(&m, VIEW("key")), second);
    assert_null(map_get(&m, VIEW("ke")));
    assert_int_equal(m.count, 1);
    map_fini(&m);
    free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_an_array),
        cmocka_unit_test(an_empty_map_knows_nothing),
        cmocka_unit_test(a_replaced_value_brings_its_own_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
