/* producers_test.c - sequences, transactions and snapshots of one partition's producers.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/producers.h"

#define PRODUCERS_MAX 100
#define EXPIRY_MS 1000

struct fixture {
    struct producers *p;
    int64_t end, now_ms;
    int64_t old_base, old_last;
};

static int begin(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    f->p = producers_new(PRODUCERS_MAX, EXPIRY_MS);
    *state = f;
    return 0;
}

static int finish(void **state)
{
    struct fixture *f = *state;

    producers_free(f->p);
    free(f);
    return 0;
}

static struct batch_info data(int64_t id, int16_t epoch, int32_t sequence, int32_t count,
                              uint16_t attributes)
{
    return (struct batch_info){.attributes = attributes,
                               .last_offset_delta = count - 1,
                               .max_timestamp = 5,
                               .producer_id = id,
                               .producer_epoch = epoch,
                               .base_sequence = sequence,
                               .record_count = count};
}

static enum log_append_status send_as(struct fixture *f, struct batch_info info, unsigned flags)
{
    enum log_append_status status =
        producers_check(f->p, &info, (view){0}, flags, &f->old_base, &f->old_last);

    if (status == LOG_APPEND_OK) {
        producers_apply(f->p, &info, (view){0}, f->end, false, f->now_ms);
        f->end += info.last_offset_delta + 1;
    }
    return status;
}

static enum log_append_status send(struct fixture *f, int64_t id, int16_t epoch,
                                   int32_t sequence, int32_t count)
{
    return send_as(f, data(id, epoch, sequence, count, 0), 0);
}

static enum log_append_status send_txn(struct fixture *f, int64_t id, int16_t epoch,
                                       int32_t sequence, unsigned flags)
{
    return send_as(f, data(id, epoch, sequence, 1, BATCH_TRANSACTIONAL), flags);
}

static enum log_append_status mark(struct fixture *f, int64_t id, int16_t epoch, bool commit,
                                   int32_t coordinator_epoch, unsigned flags)
{
    struct batch_info info;
    view batch;
    struct buf *b = batch_marker(commit, id, epoch, coordinator_epoch, 5, &batch);

    assert_int_equal(batch_peek(batch, &info), BATCH_FINE);
    enum log_append_status status = producers_check(
        f->p, &info, batch, flags | LOG_APPEND_INTERNAL, &f->old_base, &f->old_last);
    if (status == LOG_APPEND_OK) {
        producers_apply(f->p, &info, batch, f->end, flags & LOG_APPEND_HOLD, f->now_ms);
        f->end++;
    }
    buf_drop(b);
    return status;
}

static void sequences_must_follow_one_another(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send(f, 1, 0, 0, 10), LOG_APPEND_OK);
    assert_int_equal(send(f, 1, 0, 10, 1), LOG_APPEND_OK);
    assert_int_equal(send(f, 1, 0, 12, 1), LOG_APPEND_OUT_OF_ORDER);
    assert_int_equal(send(f, 1, 0, 5, 3), LOG_APPEND_OUT_OF_ORDER);
    assert_int_equal(send(f, 1, 0, 11, 1), LOG_APPEND_OK);
    assert_int_equal(send(f, 2, 0, 77, 1), LOG_APPEND_OK); /* unknown: may have expired */
    assert_int_equal(send(f, -1, -1, -1, 1), LOG_APPEND_OK);
    assert_int_equal(producers_count(f->p), 2);
}

static void a_repeat_of_the_last_five_has_its_old_offsets(void **state)
{
    struct fixture *f = *state;

    for (int32_t i = 0; i < 7; i++) {
        assert_int_equal(send(f, 1, 0, i * 10, 10), LOG_APPEND_OK);
    }
    for (int32_t i = 0; i < 7; i++) {
        bool kept = i >= 2;
        assert_int_equal(send(f, 1, 0, i * 10, 10),
                         kept ? LOG_APPEND_DUPLICATE : LOG_APPEND_OUT_OF_ORDER);
        if (kept) {
            assert_int_equal(f->old_base, i * 10);
            assert_int_equal(f->old_last, i * 10 + 9);
        }
    }
    assert_int_equal(f->end, 70);
}

static void sequences_wrap_to_zero(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send(f, 1, 0, INT32_MAX - 4, 8), LOG_APPEND_OK); /* last is 2 */
    assert_int_equal(send(f, 1, 0, 3, 1), LOG_APPEND_OK);
    assert_int_equal(send(f, 1, 0, INT32_MAX - 4, 8), LOG_APPEND_DUPLICATE);
    assert_int_equal(send(f, 2, 0, INT32_MAX, 1), LOG_APPEND_OK);
    assert_int_equal(send(f, 2, 0, 0, 1), LOG_APPEND_OK);
}

static void a_new_epoch_starts_at_zero_and_ends_the_old(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send(f, 1, 4, 0, 1), LOG_APPEND_OK);
    assert_int_equal(send(f, 1, 5, 1, 1), LOG_APPEND_OUT_OF_ORDER);
    assert_int_equal(send(f, 1, 5, 0, 1), LOG_APPEND_OK);
    assert_int_equal(send(f, 1, 4, 1, 1), LOG_APPEND_OLD_EPOCH);
    assert_int_equal(send(f, 1, 4, 0, 1), LOG_APPEND_OLD_EPOCH);
}

static void a_transaction_must_be_verified_before_it_opens(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send_txn(f, 1, 0, 0, 0), LOG_APPEND_TXN_STATE);
    assert_int_equal(producers_first_open(f->p), INT64_MAX);
    f->end = 40;
    assert_int_equal(send_txn(f, 1, 0, 0, LOG_APPEND_VERIFIED), LOG_APPEND_OK);
    assert_int_equal(producers_first_open(f->p), 40);
    assert_int_equal(send_txn(f, 1, 0, 1, 0), LOG_APPEND_OK); /* is open */
    assert_int_equal(send(f, 1, 0, 2, 1), LOG_APPEND_TXN_STATE);
    assert_int_equal(send_txn(f, 1, 1, 0, 0), LOG_APPEND_TXN_STATE); /* other epoch's */
    assert_int_equal(mark(f, 1, 0, true, 3, 0), LOG_APPEND_OK);
    assert_int_equal(producers_first_open(f->p), INT64_MAX);
    assert_int_equal(send_txn(f, 1, 0, 2, 0), LOG_APPEND_TXN_STATE);
    assert_int_equal(send(f, 1, 0, 2, 1), LOG_APPEND_OK); /* the sequence goes on */
}

static void the_oldest_open_transaction_holds_the_stable_offset(void **state)
{
    struct fixture *f = *state;

    for (int64_t id = 1; id <= 3; id++) {
        assert_int_equal(send_txn(f, id, 0, 0, LOG_APPEND_VERIFIED), LOG_APPEND_OK);
    }
    assert_int_equal(mark(f, 2, 0, true, 0, 0), LOG_APPEND_OK);
    assert_int_equal(producers_first_open(f->p), 0);
    assert_int_equal(mark(f, 1, 0, true, 0, LOG_APPEND_HOLD), LOG_APPEND_OK);
    assert_int_equal(producers_first_open(f->p), 0);
    producers_release(f->p, 3); /* not held */
    assert_int_equal(producers_first_open(f->p), 0);
    producers_release(f->p, 1);
    assert_int_equal(producers_first_open(f->p), 2);
    assert_int_equal(mark(f, 3, 0, false, 0, 0), LOG_APPEND_OK);
    assert_int_equal(producers_first_open(f->p), INT64_MAX);
}

static void markers_of_old_coordinators_and_epochs_are_refused(void **state)
{
    struct fixture *f = *state;
    struct batch_info info = data(1, 0, -1, 1, BATCH_CONTROL);

    assert_int_equal(send_txn(f, 1, 3, 0, LOG_APPEND_VERIFIED), LOG_APPEND_OK);
    assert_int_equal(mark(f, 1, 2, true, 7, 0), LOG_APPEND_OLD_EPOCH);
    assert_int_equal(mark(f, 1, 3, true, 7, 0), LOG_APPEND_OK);
    assert_int_equal(mark(f, 1, 3, true, 6, 0), LOG_APPEND_TXN_MARKER_OLD);
    assert_int_equal(mark(f, 1, 3, true, 7, 0), LOG_APPEND_OK); /* repeated */
    assert_int_equal(send_as(f, info, LOG_APPEND_INTERNAL), LOG_APPEND_INVALID_RECORD);
}

static void the_second_version_raises_the_epoch_with_each_end(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send_txn(f, 1, 3, 0, LOG_APPEND_VERIFIED), LOG_APPEND_OK);
    assert_int_equal(mark(f, 1, 3, true, 0, LOG_APPEND_TXN_V2), LOG_APPEND_OLD_EPOCH);
    assert_int_equal(mark(f, 1, 4, true, 0, LOG_APPEND_TXN_V2), LOG_APPEND_OK);
    assert_int_equal(mark(f, 1, 4, true, 0, LOG_APPEND_TXN_V2), LOG_APPEND_OK); /* a retry */
    assert_int_equal(send_txn(f, 1, 3, 1, LOG_APPEND_VERIFIED), LOG_APPEND_OLD_EPOCH);
    assert_int_equal(send_txn(f, 1, 4, 1, LOG_APPEND_VERIFIED), LOG_APPEND_OUT_OF_ORDER);
    assert_int_equal(send_txn(f, 1, 4, 0, LOG_APPEND_VERIFIED), LOG_APPEND_OK);
    assert_int_equal(send_txn(f, 9, 0, 5, LOG_APPEND_VERIFIED | LOG_APPEND_TXN_V2),
                     LOG_APPEND_OUT_OF_ORDER);
}

static void a_coordinator_writes_without_sequence(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(send_txn(f, 1, 0, -1, LOG_APPEND_INTERNAL | LOG_APPEND_VERIFIED),
                         LOG_APPEND_OK);
    }
    assert_int_equal(mark(f, 1, 0, true, 0, 0), LOG_APPEND_OK);
}

static void assert_aborted(struct fixture *f, int64_t from, int64_t to, const int64_t *ids,
                           size_t count)
{
    struct log_aborted *list;

    assert_int_equal(producers_aborted(f->p, from, to, &list), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].producer_id, ids[i]);
    }
    free(list);
}

static void aborted_transactions_are_listed_where_they_overlap(void **state)
{
    struct fixture *f = *state;

    send_txn(f, 1, 0, 0, LOG_APPEND_VERIFIED); /* 0 */
    send_txn(f, 2, 0, 0, LOG_APPEND_VERIFIED); /* 1 */
    mark(f, 2, 0, false, 0, 0);                /* 2 */
    send_txn(f, 3, 0, 0, LOG_APPEND_VERIFIED); /* 3 */
    mark(f, 3, 0, true, 0, 0);                 /* 4 */
    mark(f, 1, 0, false, 0, 0);                /* 5 */
    assert_aborted(f, 0, 1, (int64_t[]){1}, 1);
    assert_aborted(f, 0, 6, (int64_t[]){2, 1}, 2);
    assert_aborted(f, 2, 3, (int64_t[]){2, 1}, 2);
    assert_aborted(f, 3, 6, (int64_t[]){1}, 1);
    assert_aborted(f, 6, 9, NULL, 0);
    producers_trim(f->p, 5);
    assert_aborted(f, 0, 6, (int64_t[]){1}, 1);
}

static void idle_producers_expire_but_not_in_a_transaction(void **state)
{
    struct fixture *f = *state;

    send(f, 1, 0, 0, 1);
    send_txn(f, 2, 0, 0, LOG_APPEND_VERIFIED);
    f->now_ms = 600;
    send(f, 3, 0, 0, 1);
    producers_expire(f->p, EXPIRY_MS);
    assert_int_equal(producers_count(f->p), 3);
    producers_expire(f->p, EXPIRY_MS + 1);
    assert_int_equal(producers_count(f->p), 2);
    producers_expire(f->p, 10 * EXPIRY_MS);
    assert_int_equal(producers_count(f->p), 1);
    assert_int_equal(producers_first_open(f->p), 1);
}

static void too_many_producers_push_out_the_longest_idle(void **state)
{
    struct fixture *f = *state;

    send_txn(f, 5000, 0, 0, LOG_APPEND_VERIFIED);
    for (int64_t id = 0; id < PRODUCERS_MAX; id++) {
        assert_int_equal(send(f, id, 0, 0, 1), LOG_APPEND_OK);
    }
    assert_int_equal(producers_count(f->p), PRODUCERS_MAX);
    assert_int_equal(send(f, 0, 0, 9, 1), LOG_APPEND_OK); /* was forgotten */
    assert_int_equal(send(f, 2, 0, 9, 1), LOG_APPEND_OUT_OF_ORDER);
    assert_int_equal(send(f, 5000, 0, 1, 1), LOG_APPEND_TXN_STATE); /* was not */
}

static void an_evicted_transaction_still_ends(void **state)
{
    struct fixture *f = *state;

    for (int64_t id = 0; id < PRODUCERS_MAX + 20; id++) {
        assert_int_equal(send_txn(f, id, 0, 0, LOG_APPEND_VERIFIED), LOG_APPEND_OK);
    }
    assert_int_equal(producers_count(f->p), PRODUCERS_MAX);
    assert_int_equal(producers_first_open(f->p), 0);
    for (int64_t id = 0; id < PRODUCERS_MAX + 20; id++) {
        assert_int_equal(producers_first_open(f->p), id);
        assert_int_equal(mark(f, id, 0, id % 2 != 0, 0, 0), LOG_APPEND_OK);
    }
    assert_int_equal(producers_first_open(f->p), INT64_MAX);
    assert_aborted(f, 0, 1, (int64_t[]){0}, 1);
}

static void a_snapshot_brings_everything_back(void **state)
{
    struct fixture *f = *state;
    struct writer before = {0}, after = {0};
    int64_t offset = 0;

    for (int32_t i = 0; i < 7; i++) {
        send(f, 1, 2, i, 1);
    }
    send_txn(f, 2, 0, 0, LOG_APPEND_VERIFIED);
    mark(f, 2, 0, false, 8, 0);
    send_txn(f, 3, 0, 0, LOG_APPEND_VERIFIED);
    producers_save(f->p, 4711, &before);
    assert_int_equal(producers_load(f->p, writer_view(&before), &offset), OK);
    assert_int_equal(offset, 4711);
    producers_save(f->p, 4711, &after);
    assert_true(view_is(writer_view(&before), writer_view(&after)));
    assert_int_equal(producers_first_open(f->p), 9);
    assert_int_equal(send(f, 1, 2, 4, 1), LOG_APPEND_DUPLICATE);
    assert_int_equal(send(f, 1, 2, 7, 1), LOG_APPEND_OK);
    assert_int_equal(mark(f, 2, 0, false, 7, 0), LOG_APPEND_TXN_MARKER_OLD);
    assert_aborted(f, 0, 9, (int64_t[]){2}, 1);
    for (size_t len = 0; len < before.len; len++) {
        assert_int_equal(producers_load(f->p, view_upto(writer_view(&before), len), &offset),
                         ERR_CORRUPT);
    }
    before.at[before.len - 1] ^= 1;
    assert_int_equal(producers_load(f->p, writer_view(&before), &offset), ERR_CORRUPT);
    assert_int_equal(producers_count(f->p), 0);
    writer_fini(&before);
    writer_fini(&after);
}

static void views_tell_what_is_known(void **state)
{
    struct fixture *f = *state;
    struct producer_view *views;

    send_txn(f, 3, 6, 0, LOG_APPEND_VERIFIED);
    send_txn(f, 3, 6, 1, 0);
    assert_int_equal(producers_views(f->p, &views), 1);
    assert_int_equal(views[0].producer_id, 3);
    assert_int_equal(views[0].epoch, 6);
    assert_int_equal(views[0].last_sequence, 1);
    assert_int_equal(views[0].txn_first_offset, 0);
    assert_int_equal(views[0].coordinator_epoch, -1);
    assert_int_equal(views[0].last_timestamp, 5);
    free(views);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sequences_must_follow_one_another),
        TEST(a_repeat_of_the_last_five_has_its_old_offsets),
        TEST(sequences_wrap_to_zero),
        TEST(a_new_epoch_starts_at_zero_and_ends_the_old),
        TEST(a_transaction_must_be_verified_before_it_opens),
        TEST(the_oldest_open_transaction_holds_the_stable_offset),
        TEST(markers_of_old_coordinators_and_epochs_are_refused),
        TEST(the_second_version_raises_the_epoch_with_each_end),
        TEST(a_coordinator_writes_without_sequence),
        TEST(aborted_transactions_are_listed_where_they_overlap),
        TEST(idle_producers_expire_but_not_in_a_transaction),
        TEST(too_many_producers_push_out_the_longest_idle),
        TEST(an_evicted_transaction_still_ends),
        TEST(a_snapshot_brings_everything_back),
        TEST(views_tell_what_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
