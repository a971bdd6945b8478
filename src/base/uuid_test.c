/* uuid_test.c - ids and their text.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/base.h"

static void text_and_id_are_each_others_inverse(void **state)
{
    char text[UUID_TEXT_BYTES];
    uuid back;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uuid id = uuid_new(os_real());
        uuid_text(id, text);
        assert_int_equal(strlen(text), UUID_TEXT_BYTES - 1);
        assert_true(text[0] != '-');
        assert_int_equal(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789-_"),
                         UUID_TEXT_BYTES - 1);
        assert_int_equal(uuid_parse(view_text(text), &back), OK);
        assert_true(uuid_is(id, back));
        assert_int_equal(id.bytes[6] >> 4, 4); /* version */
        assert_int_equal(id.bytes[8] >> 6, 2); /* variant */
        assert_false(uuid_is_zero(id));
    }
}

static void the_text_is_url_safe_base64(void **state)
{
    uuid id = {{0xfb, 0xff, 0xbf}};
    char text[UUID_TEXT_BYTES];

    (void)state;
    uuid_text(id, text);
    assert_string_equal(text, "-_-_AAAAAAAAAAAAAAAAAA");
    assert_true(uuid_is_zero((uuid){{0}}));
}

static void what_is_no_id_is_refused(void **state)
{
    uuid id;

    (void)state;
    assert_int_equal(uuid_parse(VIEW(""), &id), ERR_INVALID);
    assert_int_equal(uuid_parse(VIEW("AAAAAAAAAAAAAAAAAAAAA"), &id), ERR_INVALID);
    assert_int_equal(uuid_parse(VIEW("AAAAAAAAAAAAAAAAAAAAAAA"), &id), ERR_INVALID);
    assert_int_equal(uuid_parse(VIEW("AAAAAAAAAA+AAAAAAAAAAA"), &id), ERR_INVALID);
    assert_int_equal(uuid_parse(VIEW("AAAAAAAAAA\0AAAAAAAAAAA"), &id), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_id_are_each_others_inverse),
        cmocka_unit_test(the_text_is_url_safe_base64),
        cmocka_unit_test(what_is_no_id_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
