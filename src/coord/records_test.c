/* records_test.c - the records that Kafka's tools read, byte by byte, and back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "coord/journal.h"

static struct arena arena;
static struct writer scratch;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    writer_fini(&scratch);
    return 0;
}

static void same_bytes(view got, const char *want, size_t len)
{
    assert_int_equal(got.len, len);
    assert_memory_equal(got.at, want, len);
}

#define SAME(got, literal) same_bytes(got, literal, sizeof(literal) - 1)

static void keys_are_kafkas(void **state)
{
    (void)state;
    SAME(offset_key_write(&arena, &scratch, VIEW("grp"), VIEW("top"), 258),
         "\0\1\0\3grp\0\3top\0\0\1\2");
    SAME(group_key_write(&arena, &scratch, VIEW("grp")), "\0\2\0\3grp");
    SAME(txn_key_write(&arena, &scratch, VIEW("tx")), "\0\0\0\2tx");
    struct offset_key key = offset_key_read(VIEW("\0\0\0\3grp\0\3top\0\0\1\2"));
    assert_int_equal(key.kind, RECORD_OFFSET); /* version 0 is the same */
    assert_true(view_is(key.group, VIEW("grp")) && view_is(key.topic, VIEW("top")));
    assert_int_equal(key.partition, 258);
    key = offset_key_read(VIEW("\0\2\0\3grp"));
    assert_int_equal(key.kind, RECORD_GROUP);
    assert_int_equal(offset_key_read(VIEW("\0\5\0\3grp")).kind, RECORD_OTHER);
    assert_int_equal(offset_key_read(VIEW("\0\1\0\3gr")).kind, RECORD_OTHER);
}

static void an_offset_is_written_in_version_three_and_read_in_all(void **state)
{
    struct offset_value value = {
        .offset = 513, .leader_epoch = 7, .metadata = VIEW("m"), .commit_ms = 255};
    struct offset_value back;

    (void)state;
    view bytes = offset_value_write(&arena, &scratch, &value);
    SAME(bytes, "\0\3\0\0\0\0\0\0\2\1\0\0\0\7\0\1m\0\0\0\0\0\0\0\xff");
    assert_true(offset_value_read(bytes, &back));
    assert_int_equal(back.offset, 513);
    assert_int_equal(back.leader_epoch, 7);
    assert_int_equal(back.commit_ms, 255);
    /* version 1 has an expiry and no epoch */
    assert_true(offset_value_read(
        VIEW("\0\1\0\0\0\0\0\0\2\1\0\1m\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\1"), &back));
    assert_int_equal(back.leader_epoch, -1);
    assert_int_equal(back.commit_ms, 255);
    /* version 4 is flexible and may carry the topic's id */
    assert_true(
        offset_value_read(VIEW("\0\4\0\0\0\0\0\0\2\1\0\0\0\7\2m\0\0\0\0\0\0\0\xff\1\0\x10"
                               "0123456789abcdef"),
                          &back));
    assert_int_equal(back.topic_id.bytes[15], 'f');
    assert_false(offset_value_read(VIEW("\0\5\0\0\0\0\0\0\2\1\0\0\0\7\2m"), &back));
    assert_false(offset_value_read(VIEW("\0\3\0\0"), &back));
}

static void a_group_survives_the_way_through_its_record(void **state)
{
    struct coord_member_value member = {
        .member = VIEW("m-1"),
        .instance = {0},
        .client_id = VIEW("c"),
        .client_host = VIEW("/h"),
        .subscription = VIEW("sub"),
        .assignment = VIEW(""),
        .rebalance_ms = 300000,
        .session_ms = 10000,
    };
    struct group_value value = {
        .protocol_type = VIEW("consumer"),
        .protocol = VIEW("range"),
        .leader = VIEW("m-1"),
        .generation = 5,
        .state_ms = 99,
        .members = &member,
        .member_count = 1,
    };
    struct group_value back;

    (void)state;
    view bytes = group_value_write(&arena, &scratch, &value);
    SAME(bytes, "\0\3\0\10consumer\0\0\0\5\0\5range\0\3m-1\0\0\0\0\0\0\0\x63\0\0\0\1"
                "\0\3m-1\xff\xff\0\1c\0\2/h\0\4\x93\xe0\0\0\x27\x10\0\0\0\3sub\0\0\0\0");
    assert_true(group_value_read(bytes, &arena, &back));
    assert_int_equal(back.member_count, 1);
    assert_null(back.members[0].instance.at);
    assert_true(view_is(back.members[0].subscription, VIEW("sub")));
    assert_int_equal(back.members[0].rebalance_ms, 300000);
    value.protocol = value.leader = (view){0};
    value.member_count = 0;
    assert_true(group_value_read(group_value_write(&arena, &scratch, &value), &arena, &back));
    assert_null(back.protocol.at);
    assert_false(group_value_read(view_upto(bytes, bytes.len - 1), &arena, &back));
}

static void a_members_count_that_lies_is_refused(void **state)
{
    struct group_value back;

    (void)state;
    assert_false(group_value_read(
        VIEW("\0\3\0\1c\0\0\0\5\xff\xff\xff\xff\0\0\0\0\0\0\0\0\x7f\xff\xff\xff"), &arena,
        &back));
}

static void a_transaction_survives_the_way_through_its_record(void **state)
{
    struct coord_txn_partition partitions[] = {{.topic = VIEW("a"), .partition = 1},
                                               {.topic = VIEW("a"), .partition = 2},
                                               {.topic = VIEW("b"), .partition = 0}};
    struct txn_value value = {
        .producer_id = 4000,
        .previous_id = -1,
        .next_id = 17,
        .producer_epoch = 3,
        .version = 2,
        .timeout_ms = 60000,
        .state = 1,
        .partitions = partitions,
        .partition_count = 3,
        .update_ms = 11,
        .start_ms = 10,
    };
    struct txn_value back;

    (void)state;
    view bytes = txn_value_write(&arena, &scratch, &value);
    SAME(bytes, "\0\1\0\0\0\0\0\0\x0f\xa0\0\3\0\0\xea\x60\1"
                "\3\2a\3\0\0\0\1\0\0\0\2\0\2b\2\0\0\0\0\0"
                "\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\0\x0a"
                "\2\1\x08\0\0\0\0\0\0\0\x11\2\2\0\2");
    assert_true(txn_value_read(bytes, &arena, &back));
    assert_int_equal(back.producer_id, 4000);
    assert_int_equal(back.next_id, 17);
    assert_int_equal(back.previous_id, -1);
    assert_int_equal(back.version, 2);
    assert_int_equal(back.partition_count, 3);
    assert_true(view_is(back.partitions[2].topic, VIEW("b")));
    assert_int_equal(back.partitions[1].partition, 2);
    assert_int_equal(back.start_ms, 10);
    assert_false(txn_value_read(view_upto(bytes, bytes.len - 1), &arena, &back));
    /* version 0: old lengths, null partitions, no tags */
    assert_true(txn_value_read(VIEW("\0\0\0\0\0\0\0\0\x0f\xa0\0\3\0\0\xea\x60\0\xff\xff\xff\xff"
                                    "\0\0\0\0\0\0\0\x0b\xff\xff\xff\xff\xff\xff\xff\xff"),
                               &arena, &back));
    assert_int_equal(back.partition_count, 0);
    assert_int_equal(back.start_ms, -1);
}

static void a_subscription_tells_its_topics(void **state)
{
    view metadata = VIEW("\0\1\0\0\0\2\0\2in\0\3out\xff\xff\xff\xff");

    (void)state;
    assert_true(subscription_has(metadata, VIEW("out")));
    assert_false(subscription_has(metadata, VIEW("ou")));
    assert_true(subscription_has(VIEW("garbage"), VIEW("any"))); /* it may */
}

/* Values of Java's String.hashCode, as anyone can look them up. */
static void a_groups_partition_is_where_javas_hash_says(void **state)
{
    (void)state;
    assert_int_equal(java_partition(VIEW(""), 50), 0);
    assert_int_equal(java_partition(VIEW("a"), 50), 97 % 50);
    assert_int_equal(java_partition(VIEW("hello"), 50), 99162322 % 50);
    assert_int_equal(java_partition(VIEW("hello world"), 50), 1794106052 % 50);
    /* polygenelubricants hashes to the least integer, whose absolute value Kafka calls 0 */
    assert_int_equal(java_partition(VIEW("polygenelubricants"), 50), 0);
    assert_int_equal(java_partition(VIEW("\xc3\xa4"), 1000), 0xe4);
    /* beyond 16 bits Java counts two units: d83d de00 */
    assert_int_equal(java_partition(VIEW("\xf0\x9f\x98\x80"), 1 << 30), 0xd83d * 31 + 0xde00);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_kafkas),
        cmocka_unit_test(an_offset_is_written_in_version_three_and_read_in_all),
        cmocka_unit_test(a_group_survives_the_way_through_its_record),
        cmocka_unit_test(a_members_count_that_lies_is_refused),
        cmocka_unit_test(a_transaction_survives_the_way_through_its_record),
        cmocka_unit_test(a_subscription_tells_its_topics),
        cmocka_unit_test(a_groups_partition_is_where_javas_hash_says),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
