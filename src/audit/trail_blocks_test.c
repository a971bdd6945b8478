/* trail_blocks_test.c - blobs of blocks, there and back. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "audit/trail_blocks.h"

#define SEED 77
#define POSTINGS 200000

static uint64_t random_state = SEED;

static uint32_t chance(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % below;
}

/* Some hashes everywhere (bitmaps), some often (lists), most once; positions rise. */
static uint64_t random_posting(size_t at)
{
    uint32_t position = (uint32_t)(at * TRAIL_BLOCK_MAX / POSTINGS);
    uint32_t kind = chance(4);
    uint32_t hash = kind == 0   ? 0x80000000u + chance(3)
                    : kind == 1 ? 0x80400000u * (1 + chance(300))
                                : chance(UINT32_MAX);

    return POSTING(hash, position);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void check_hash(const uint64_t *sorted, size_t count, const struct writer *blobs,
                       uint32_t hash)
{
    uint64_t bits[TRAIL_BITS] = {0}, wanted[TRAIL_BITS] = {0};

    for (size_t i = 0; i < count; i++) {
        if (sorted[i] >> 16 == hash) {
            uint16_t position = (uint16_t)sorted[i];
            wanted[position / 64] |= UINT64_C(1) << position % 64;
        }
    }
    view blob = writer_view(&blobs[hash >> (32 - BUCKET_BITS)]);
    assert_int_equal(bucket_find(blob, hash, bits), OK);
    assert_memory_equal(bits, wanted, sizeof(bits));
}

static void terms_are_found_at_all_their_positions(void **state)
{
    uint64_t *postings = xcalloc(POSTINGS, sizeof(*postings));
    uint64_t *spare = xcalloc(POSTINGS, sizeof(*spare));
    struct writer *blobs = xcalloc(BUCKETS, sizeof(*blobs));
    size_t at = 0;

    (void)state;
    print_message("seed %d\n", SEED);
    for (size_t i = 0; i < POSTINGS; i++) {
        postings[i] = random_posting(i);
    }
    uint64_t *model = xcalloc(POSTINGS, sizeof(*model));
    memcpy(model, postings, POSTINGS * sizeof(*model));
    qsort(model, POSTINGS, sizeof(*model), by_value);
    postings_sort(postings, spare, POSTINGS);
    assert_memory_equal(postings, model, POSTINGS * sizeof(*model));
    for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
        at += bucket_write(postings + at, POSTINGS - at, bucket, &blobs[bucket]);
    }
    assert_int_equal(at, POSTINGS);
    for (uint32_t i = 0; i < 3; i++) {
        check_hash(model, POSTINGS, blobs, 0x80000000u + i);
        check_hash(model, POSTINGS, blobs, 0x80400000u * (1 + i));
    }
    for (int i = 0; i < 50; i++) {
        check_hash(model, POSTINGS, blobs, (uint32_t)(model[chance(POSTINGS)] >> 16));
        check_hash(model, POSTINGS, blobs, chance(UINT32_MAX));
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        writer_fini(&blobs[i]);
    }
    free(postings);
    free(spare);
    free(model);
    free(blobs);
}

static void places_come_back_as_they_were(void **state)
{
    struct trail_place places[CHUNK_PLACES], back[CHUNK_PLACES];
    struct writer blob = {0};
    size_t count = 0;

    (void)state;
    memset(places, 0, sizeof(places));
    for (size_t i = 0; i < CHUNK_PLACES; i++) {
        places[i] = (struct trail_place){
            .offset = chance(2) ? INT64_MAX - (int64_t)i : (int64_t)chance(1000),
            .seq = (int64_t)chance(10),
            .committed_us = chance(2) ? INT64_MIN / 2 : (int64_t)i,
            .lsn = chance(2) ? UINT64_MAX : i,
            .commit_lsn = chance(2) ? 0 : UINT64_C(1) << 63,
            .xid = chance(2) ? UINT32_MAX : 3,
            .table = chance(5),
            .partition = (int32_t)chance(100),
            .kind = (uint8_t)chance(6),
        };
    }
    for (size_t n = 0; n <= CHUNK_PLACES; n += 64) {
        writer_reset(&blob);
        chunk_write(places, n, &blob);
        assert_int_equal(chunk_read(writer_view(&blob), back, &count), OK);
        assert_int_equal(count, n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(back[i].offset, places[i].offset);
            assert_int_equal(back[i].seq, places[i].seq);
            assert_int_equal(back[i].committed_us, places[i].committed_us);
            assert_true(back[i].lsn == places[i].lsn);
            assert_true(back[i].commit_lsn == places[i].commit_lsn);
            assert_int_equal(back[i].xid, places[i].xid);
            assert_int_equal(back[i].table, places[i].table);
            assert_int_equal(back[i].partition, places[i].partition);
            assert_int_equal(back[i].kind, places[i].kind);
        }
    }
    writer_fini(&blob);
}

static void a_blob_with_one_bit_changed_is_corrupt(void **state)
{
    struct trail_place place = {.offset = 7}, back[CHUNK_PLACES];
    uint64_t posting = POSTING(0x12345678u, 9), bits[TRAIL_BITS] = {0};
    struct writer chunk = {0}, bucket = {0};
    size_t count;

    (void)state;
    chunk_write(&place, 1, &chunk);
    assert_int_equal(bucket_write(&posting, 1, 0x12345678u >> (32 - BUCKET_BITS), &bucket), 1);
    for (size_t i = 0; i < chunk.len * 8; i++) {
        chunk.at[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(chunk_read(writer_view(&chunk), back, &count), ERR_CORRUPT);
        chunk.at[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t i = 0; i < bucket.len * 8; i++) {
        bucket.at[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(bucket_find(writer_view(&bucket), 0x12345678u, bits), ERR_CORRUPT);
        bucket.at[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    assert_int_equal(chunk_read((view){0}, back, &count), ERR_CORRUPT);
    writer_fini(&chunk);
    writer_fini(&bucket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_are_found_at_all_their_positions),
        cmocka_unit_test(places_come_back_as_they_were),
        cmocka_unit_test(a_blob_with_one_bit_changed_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
