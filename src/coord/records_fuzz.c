/* records_fuzz.c - arbitrary bytes as keys and values of the internal topics, read back into a
 * coordinator; what can be read is written and read again the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "coord/fake.h"
#include "coord/records.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_alone(view v)
{
    struct arena arena = {0};
    struct writer scratch = {0};
    struct offset_value offset;
    struct group_value group, group_again;
    struct txn_value txn, txn_again;
    view id;

    offset_key_read(v);
    offset_value_read(v, &offset);
    if (group_value_read(v, &arena, &group)) {
        view bytes = group_value_write(&arena, &scratch, &group);
        assert(group_value_read(bytes, &arena, &group_again));
        assert(group_again.member_count == group.member_count);
    }
    txn_key_read(v, &id);
    if (txn_value_read(v, &arena, &txn)) {
        view bytes = txn_value_write(&arena, &scratch, &txn);
        assert(txn_value_read(bytes, &arena, &txn_again));
        assert(txn_again.partition_count == txn.partition_count);
        assert(txn_again.start_ms == txn.start_ms);
    }
    subscription_has(v, VIEW("topic"));
    arena_fini(&arena);
    writer_fini(&scratch);
}

/* A log of records: {topic and kind u8, producer u8, key length u8, value length u8, bytes}. */
static void read_as_log(struct reader r)
{
    struct coord_config config;
    struct fake *f = fake_new();

    while (r.rest.len && !r.bad) {
        uint8_t kind = read_u8(&r), producer = read_u8(&r);
        uint8_t key_len = read_u8(&r), value_len = read_u8(&r);
        struct fake_record one = {
            .topic = kind & 1 ? STORE_TXNS : STORE_OFFSETS,
            .partition = kind >> 4,
            .offset = (int64_t)f->record_count,
            .key = read_bytes(&r, key_len),
            .value = read_bytes(&r, value_len),
            .producer_id = (int8_t)producer,
            .commit = kind & 2,
        };
        one.key = kind & 4 ? (view){0} : one.key;
        one.value = kind & 8 ? (view){0} : one.value;
        f->records =
            array_room(f->records, f->record_count, &f->record_room, sizeof(*f->records));
        f->records[f->record_count++] = one;
    }
    coord_config_preset(&config);
    fake_open(f, &config);
    fake_pass(f, 100000); /* sessions and transactions run out */
    fake_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    trace_setup((enum trace_level) - 1, false);
    read_alone((view){data, size});
    read_as_log((struct reader){.rest = {data, size}});
    return 0;
}
