/* stitch_fuzz.c - any bytes as a stream of messages, some of them well made: few transactions,
 * tables and savepoints, so that they meet. What is given must be whole: begin, changes in
 * order, end. The first byte says the rule and whether everything goes through spool files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/stitch.h"

#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

#define MESSAGES_MOST 400

struct seen {
    bool open;
    int64_t changes, messages;
    uint64_t commit_lsn;
};

static err on_begin(void *self, const struct stitch_transaction *transaction)
{
    struct seen *seen = self;

    assert(!seen->open);
    *seen = (struct seen){.open = true, .commit_lsn = transaction->commit_lsn};
    return OK;
}

static err on_change(void *self, const struct change *change)
{
    struct seen *seen = self;
    int64_t *next = change->kind == CHANGE_MESSAGE ? &seen->messages : &seen->changes;
    struct writer key = {0};
    struct arena arena = {0};
    struct json *context;

    assert(seen->open);
    assert(change->place.seq == (*next)++);
    assert(change->place.commit_lsn == seen->commit_lsn);
    assert((change->relation == NULL) == (change->kind == CHANGE_MESSAGE));
    change_key_text(change, &key); /* reads what it points to */
    (void)change_copy(&arena, change);
    if (change->context.at) {
        assert(json_parse(&arena, change->context, &context) == OK);
        assert(context->kind == JSON_OBJECT);
    }
    arena_fini(&arena);
    writer_fini(&key);
    return OK;
}

static err on_end(void *self, const struct stitch_transaction *transaction)
{
    struct seen *seen = self;

    assert(seen->open);
    assert(transaction->commit_lsn == seen->commit_lsn);
    seen->open = false;
    return OK;
}

static err on_message(void *self, const struct change *change)
{
    (void)self;
    assert(change->kind == CHANGE_MESSAGE);
    return OK;
}

static void write_text(struct writer *w, view text)
{
    write_view(w, text);
    write_u8(w, 0);
}

static void write_row(struct writer *w, struct reader *in, uint8_t mark)
{
    uint8_t bits = read_u8(in);

    write_u8(w, mark);
    write_u16(w, 2);
    for (int i = 0; i < 2; i++, bits >>= 2) {
        write_u8(w, (uint8_t)("nutt"[bits & 3]));
        if (bits & 2) {
            write_u32(w, 1);
            write_u8(w, bits);
        }
    }
}

static void write_relation(struct writer *w, struct reader *in)
{
    uint8_t bits = read_u8(in);

    write_text(w, VIEW("public"));
    write_text(w, VIEW("t"));
    write_u8(w, (uint8_t)("dnfi"[bits & 3]));
    write_u16(w, 2);
    for (int i = 0; i < 2; i++) {
        write_u8(w, bits >> (2 + i) & 1);
        write_text(w, bits >> (4 + i) & 1 ? VIEW("a") : VIEW("b"));
        write_u32(w, 23);
        write_i32(w, -1);
    }
}

static void write_inside(struct writer *w, struct reader *in, uint8_t kind)
{
    static const char *const contents[] = {"{\"a\":1}", "null", "{", "[1]"};
    uint8_t bits = read_u8(in);

    if (kind == 'M') {
        write_u8(w, bits & 1);
        write_u64(w, bits);
        write_text(w, bits & 2 ? VIEW("other") : VIEW(CONTEXT_PREFIX));
        view content = view_text(contents[bits >> 2 & 3]);
        write_u32(w, (uint32_t)content.len);
        write_view(w, content);
        return;
    }
    write_u32(w, 16384u + (bits & 1));
    if (kind == 'R') {
        write_relation(w, in);
        return;
    }
    if (kind != 'I' && bits & 6) {
        write_row(w, in, bits & 2 ? 'K' : 'O');
    }
    if (kind != 'D') {
        write_row(w, in, 'N');
    }
}

/* Beginnings and ends; few xids. */
static void write_frame(struct writer *w, uint8_t kind, uint32_t xid, uint32_t subxid)
{
    if (kind == 'S' || kind == 'A' || kind == 'c') {
        write_u32(w, xid);
    }
    if (kind == 'S') {
        write_u8(w, subxid & 1);
    } else if (kind == 'A') {
        write_u32(w, subxid);
    } else if (kind != 'E') {
        if (kind != 'B' && kind != 'b') {
            write_u8(w, 0);
        }
        write_u64(w, 9);
        write_u64(w, 10);
        if (kind != 'B') {
            write_u64(w, 11);
        }
        if (kind == 'r') {
            write_u64(w, 12);
        }
        if (kind != 'C' && kind != 'c') {
            write_u32(w, xid);
        }
        if (kind != 'B' && kind != 'C' && kind != 'c') {
            write_text(w, VIEW("gid"));
        }
    }
}

static void write_message(struct writer *w, struct reader *in, bool *in_stream)
{
    static const char kinds[] = "RIUDMMIIBCSEcAbPKrp";
    uint8_t dice = read_u8(in), xids = read_u8(in);
    uint32_t xid = 1u + (xids & 1), subxid = 1u + (xids >> 1 & 3);

    if (dice == UINT8_MAX) { /* bytes as they are */
        write_view(w, read_bytes(in, MIN((size_t)xids, in->rest.len)));
        return;
    }
    uint8_t kind = (uint8_t)kinds[dice % (sizeof(kinds) - 1)];
    write_u8(w, kind);
    if (dice % (sizeof(kinds) - 1) >= 8) {
        write_frame(w, kind, xid, subxid);
        *in_stream = kind == 'S' || (*in_stream && kind != 'E');
        return;
    }
    if (*in_stream) {
        write_u32(w, subxid);
    }
    write_inside(w, in, kind);
}

static char folder[] = "/tmp/stitch-fuzz-XXXXXX";
static bool made;

static void remove_folder(void)
{
    (void)rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct reader in = {.rest = {at, len}};
    uint8_t how = read_u8(&in);
    struct seen seen = {0};
    struct stitch_target target = {on_begin, on_change, on_end, on_message, &seen};
    struct stitch *stitch;
    bool in_stream = false;
    err e = OK;

    if (!made) {
        assert(mkdtemp(folder));
        made = true;
        atexit(remove_folder);
    }
    struct stitch_config config = {os_real(), folder, how % 8 == 1 ? 0 : 1 << 20,
                                   how & 2 ? CONTEXT_FIRST : CONTEXT_NEAREST, how & 4};
    assert(stitch_new(&config, &target, &stitch) == OK);
    for (int i = 0; !e && in.rest.len && i < MESSAGES_MOST; i++) {
        struct writer message = {0};
        write_message(&message, &in, &in_stream);
        e = stitch_feed(stitch, (uint64_t)i, writer_view(&message));
        writer_fini(&message);
    }
    stitch_free(stitch);
    return 0;
}
