/* ref_test.c - references. SPDX-License-Identifier: Apache-2.0 */
#include "audit/ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

static struct arena arena;

static struct ref parsed(const char *text)
{
    struct ref ref;

    assert_int_equal(ref_parse(&arena, view_text(text), &ref), OK);
    return ref;
}

static void expect_printed(const struct ref *ref, const char *text)
{
    struct writer out = {0};

    ref_print(ref, &out);
    assert_true(view_is_text(writer_view(&out), text));
    writer_fini(&out);
}

static void each_form_is_read_and_written_back(void **state)
{
    static const char *const forms[] = {
        "row:shop.public.orders/42",
        "row:shop.public.orders/1,b",
        "row:shop.public.orders/a\\,b,c\\\\d",
        "row:shop.public.orders/a/b.c:d@e",
        "row:shop.my\\.schema.a\\/table\\\\x/\\N",
        "tx:shop/7812",
        "tx:shop/7812@0/16B3748",
        "tx:shop/4294967295",
        "topic:shop.public.orders/3@1042",
        "session:2026-11-20-7f3a",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(forms); i++) {
        struct ref ref = parsed(forms[i]);
        expect_printed(&ref, forms[i]);
    }
}

static void a_row_is_taken_apart(void **state)
{
    struct ref ref = parsed("row:shop.my\\.schema.a\\/b/1,x\\,y/z");

    (void)state;
    assert_int_equal(ref.kind, REF_ROW);
    assert_true(view_is_text(ref.source, "shop"));
    assert_true(view_is_text(ref.schema, "my.schema"));
    assert_true(view_is_text(ref.table, "a/b"));
    assert_true(view_is_text(ref.key, "1,x\\,y/z"));
}

static void a_transaction_may_name_its_commit(void **state)
{
    (void)state;
    assert_int_equal(parsed("tx:shop/7").commit_lsn, 0);
    assert_int_equal(parsed("tx:shop/7@1/2").commit_lsn, (UINT64_C(1) << 32) + 2);
}

static void what_is_no_reference_is_refused_with_the_forms(void **state)
{
    static const char *const wrong[] = {
        "",
        "42",
        "row",
        "row:",
        "row:shop",
        "row:shop.public",
        "row:shop.public.orders",
        "row:shop.public.orders/",
        "row:.public.orders/1",
        "row:shop..orders/1",
        "row:shop.public./1",
        "row:sh/op.public.orders/1",
        "row:shop.public.orders\\",
        "tx:shop",
        "tx:/7",
        "tx:shop/",
        "tx:shop/0",
        "tx:shop/x",
        "tx:shop/4294967296",
        "topic:orders",
        "topic:orders/3",
        "topic:orders/3@",
        "topic:orders/-1@5",
        "topic:/3@5",
        "session:",
        "file:a@b:/c",
    };
    struct ref ref;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(ref_parse(&arena, view_text(wrong[i]), &ref), ERR_INVALID);
        assert_non_null(strstr(fault_here.text, "row:SOURCE.SCHEMA.TABLE/KEY"));
    }
}

static void a_table_stands_alone_too(void **state)
{
    struct writer out = {0};
    struct ref ref;

    (void)state;
    assert_int_equal(ref_parse_table(&arena, VIEW("shop.a\\.b.orders"), &ref), OK);
    assert_true(view_is_text(ref.schema, "a.b"));
    assert_true(view_is_text(ref.table, "orders"));
    ref_print_table(&ref, &out);
    assert_true(view_is_text(writer_view(&out), "shop.a\\.b.orders"));
    assert_int_equal(ref_parse_table(&arena, VIEW("shop.orders"), &ref), ERR_INVALID);
    assert_int_equal(ref_parse_table(&arena, VIEW("shop.a.b\0c"), &ref), ERR_INVALID);
    writer_fini(&out);
}

static int forget(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_read_and_written_back),
        cmocka_unit_test(a_row_is_taken_apart),
        cmocka_unit_test(a_transaction_may_name_its_commit),
        cmocka_unit_test(what_is_no_reference_is_refused_with_the_forms),
        cmocka_unit_test(a_table_stands_alone_too),
    };

    return cmocka_run_group_tests(tests, NULL, forget);
}
