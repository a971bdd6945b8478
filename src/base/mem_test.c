/* mem_test.c - arenas, counted buffers, pools.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static void an_arena_gives_aligned_zeroed_memory_apart(void **state)
{
    struct arena a = {0};

    (void)state;
    for (int round = 0; round < 3; round++) {
        uint8_t *before = NULL;
        for (size_t len = 1; len < 3000; len += 97) {
            uint8_t *at = arena_take(&a, len);
            assert_int_equal((uintptr_t)at % _Alignof(max_align_t), 0);
            for (size_t i = 0; i < len; i++) {
                assert_int_equal(at[i], 0);
            }
            memset(at, 0xff, len);
            assert_true(!before || before[0] == 0xff);
            before = at;
        }
        assert_true(a.bytes > 0);
        arena_reset(&a);
        assert_int_equal(a.bytes, 0);
    }
    assert_non_null(arena_take(&a, 1 << 20)); /* larger than any block */
    arena_fini(&a);
}

static void texts_in_an_arena_are_copies(void **state)
{
    struct arena a = {0};
    char source[] = "source";

    (void)state;
    view copy = arena_copy(&a, view_text(source));
    char *text = arena_text(&a, view_upto(view_text(source), 3));
    source[0] = 'X';
    assert_true(view_is_text(copy, "source"));
    assert_string_equal(text, "sou");
    assert_string_equal(arena_text(&a, (view){0}), "");
    assert_string_equal(arena_format(&a, "%d-%s", 7, "x"), "7-x");
    arena_fini(&a);
}

static void heap_texts_have_their_end(void **state)
{
    char *a = text_of(view_upto(VIEW("hello"), 2)), *b = text_format("%05d", 42);
    char *c = xstrdup("x");

    (void)state;
    assert_string_equal(a, "he");
    assert_string_equal(b, "00042");
    assert_string_equal(c, "x");
    free(a);
    free(b);
    free(c);
}

static void an_array_grows_and_keeps_its_items(void **state)
{
    size_t room = 0;
    int *items = NULL;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        items = array_room(items, (size_t)i, &room, sizeof(*items));
        items[i] = i;
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(items[i], i);
    }
    free(items);
}

static void a_pool_says_no_and_gets_back_what_buffers_took(void **state)
{
    struct pool pool = {.name = "test", .limit_bytes = 1000};
    struct buf *a = buf_new_in(&pool, 600);

    (void)state;
    assert_non_null(a);
    assert_null(buf_new_in(&pool, 401));
    struct buf *b = buf_new_in(&pool, 400);
    assert_non_null(b);
    assert_int_equal(pool.used_bytes, 1000);
    assert_ptr_equal(buf_hold(a), a);
    buf_drop(a);
    assert_int_equal(pool.used_bytes, 1000); /* one holder is left */
    buf_drop(a);
    assert_int_equal(pool.used_bytes, 400);
    buf_drop(b);
    buf_drop(NULL);
    assert_int_equal(pool.used_bytes, 0);
    assert_false(pool_charge(&pool, SIZE_MAX));
    assert_int_equal(pool.used_bytes, 0);
}

static void *charge_and_refund(void *arg)
{
    struct pool *pool = arg;
    size_t got = 0;

    for (int i = 0; i < 20000; i++) {
        if (pool_charge(pool, 10)) {
            got++;
            assert_true(atomic_load(&pool->used_bytes) <= pool->limit_bytes);
            pool_refund(pool, 10);
        }
    }
    return (void *)got;
}

static void a_pool_may_be_used_by_many_threads(void **state)
{
    struct pool pool = {.name = "test", .limit_bytes = 40};
    pthread_t threads[4];
    void *got;

    (void)state;
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, charge_and_refund, &pool), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &got), 0);
        assert_int_equal((size_t)got, 20000); /* there is room for all four */
    }
    assert_int_equal(pool.used_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_gives_aligned_zeroed_memory_apart),
        cmocka_unit_test(texts_in_an_arena_are_copies),
        cmocka_unit_test(heap_texts_have_their_end),
        cmocka_unit_test(an_array_grows_and_keeps_its_items),
        cmocka_unit_test(a_pool_says_no_and_gets_back_what_buffers_took),
        cmocka_unit_test(a_pool_may_be_used_by_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
