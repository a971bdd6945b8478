/* stitch_test.c - streams made by hand, and what is given for them, line by line.
 *
 * begin XID LSN / KIND TABLE BEFORE:AFTER CONTEXT #SEQ / end XID END-LSN. In an image ~ is
 * NULL, ? unknown, _ absent; - is no image, no context. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/stitch.h"

#define TABLE 16385
#define OTHER 16390

struct scene {
    char folder[32];
    struct stitch *stitch;
    struct writer given;
    struct relation *last;
    uint32_t stream; /* xid of what is being streamed, 0: nothing is */
    err answer;      /* of the target to a change */
};

static err on_begin(void *self, const struct stitch_transaction *t)
{
    struct scene *s = self;

    write_format(&s->given, "begin %" PRIu32 " %" PRIX64 "\n", t->xid, t->commit_lsn);
    return OK;
}

static err on_end(void *self, const struct stitch_transaction *t)
{
    struct scene *s = self;

    write_format(&s->given, "end %" PRIu32 " %" PRIX64 "\n", t->xid, t->end_lsn);
    return OK;
}

static void write_image(struct writer *out, const struct value *image, int count)
{
    if (!image) {
        write_u8(out, '-');
    }
    for (int i = 0; image && i < count; i++) {
        static const char marks[] = {
            [VALUE_ABSENT] = '_', [VALUE_NULL] = '~', [VALUE_UNKNOWN] = '?'};
        if (i) {
            write_u8(out, ',');
        }
        if (image[i].kind == VALUE_TEXT) {
            write_view(out, image[i].text);
        } else {
            write_u8(out, (uint8_t)marks[image[i].kind]);
        }
    }
}

static err on_change(void *self, const struct change *change)
{
    struct scene *s = self;
    const struct relation *relation = change->relation;
    view name = relation ? relation->name : change->prefix;

    s->last = change->relation;
    write_format(&s->given, "%s %.*s ", change_kind_name(change->kind), VIEW_ARG(name));
    if (change->kind == CHANGE_MESSAGE) {
        write_view(&s->given, change->content);
    } else {
        write_image(&s->given, change->before, relation->count);
        write_u8(&s->given, ':');
        write_image(&s->given, change->after, relation->count);
    }
    write_format(&s->given, " %.*s #%d\n",
                 VIEW_ARG(change->context.at ? change->context : VIEW("-")),
                 (int)change->place.seq);
    return s->answer;
}

static err on_message(void *self, const struct change *message)
{
    struct scene *s = self;

    write_format(&s->given, "outside %.*s %" PRIX64 "\n", VIEW_ARG(message->prefix),
                 message->place.lsn);
    return OK;
}

static void open_scene(struct scene *s, enum context_rule rule, size_t memory_bytes)
{
    struct stitch_target target = {on_begin, on_change, on_end, on_message, s};

    *s = (struct scene){.folder = "/tmp/stitch-test-XXXXXX"};
    assert_non_null(mkdtemp(s->folder));
    struct stitch_config config = {os_real(), s->folder, memory_bytes, rule, false};
    assert_int_equal(stitch_new(&config, &target, &s->stitch), OK);
}

static void close_scene(struct scene *s)
{
    stitch_free(s->stitch);
    writer_fini(&s->given);
    assert_int_equal(rmdir(s->folder), 0); /* the spool leaves nothing behind */
}

static void assert_given(struct scene *s, const char *expected)
{
    write_u8(&s->given, '\0');
    assert_string_equal((const char *)s->given.at, expected);
    writer_reset(&s->given);
}

static err feed(struct scene *s, struct writer *message)
{
    err e = stitch_feed(s->stitch, 0x99, writer_view(message));

    writer_fini(message);
    return e;
}

static struct writer head(const struct scene *s, char kind, uint32_t xid)
{
    struct writer w = {0};

    write_u8(&w, (uint8_t)kind);
    if (s->stream) {
        write_u32(&w, xid ? xid : s->stream);
    }
    return w;
}

static void text(struct writer *w, const char *value)
{
    write_bytes(w, value, strlen(value) + 1);
}

static void begin(struct scene *s, uint32_t xid)
{
    struct writer w = head(s, 'B', 0);

    write_u64(&w, 0x1000 + xid);
    write_u64(&w, 0);
    write_u32(&w, xid);
    assert_int_equal(feed(s, &w), OK);
}

/* C, or with an xid c: the end of a transaction. */
static err commit(struct scene *s, char kind, uint32_t xid)
{
    struct writer w = head(s, kind, 0);

    if (kind == 'c') {
        write_u32(&w, xid);
    }
    write_u8(&w, 0);
    write_u64(&w, 0x1000 + xid);
    write_u64(&w, 0x2000 + xid);
    write_u64(&w, 0);
    if (kind == 'K' || kind == 'P' || kind == 'p') {
        write_u32(&w, xid);
        text(&w, "gid");
    }
    return feed(s, &w);
}

static void stream(struct scene *s, uint32_t xid, bool first)
{
    struct writer w = {0};

    write_u8(&w, 'S');
    write_u32(&w, xid);
    write_u8(&w, first);
    assert_int_equal(feed(s, &w), OK);
    s->stream = xid;
}

static void stop(struct scene *s)
{
    struct writer w = {0};

    write_u8(&w, 'E');
    s->stream = 0;
    assert_int_equal(feed(s, &w), OK);
}

static void give_up(struct scene *s, uint32_t xid, uint32_t subxid)
{
    struct writer w = {0};

    write_u8(&w, 'A');
    write_u32(&w, xid);
    write_u32(&w, subxid);
    assert_int_equal(feed(s, &w), OK);
}

/* names: one letter a column, a capital one is of the identity. */
static void describe(struct scene *s, uint32_t xid, uint32_t oid, char identity,
                     const char *name, const char *names)
{
    struct writer w = head(s, 'R', xid);

    write_u32(&w, oid);
    text(&w, "public");
    text(&w, name);
    write_u8(&w, (uint8_t)identity);
    write_u16(&w, (uint16_t)strlen(names));
    for (const char *c = names; *c; c++) {
        write_u8(&w, *c < 'a' ? 1 : 0);
        write_u8(&w, (uint8_t)*c);
        write_u8(&w, 0);
        write_u32(&w, 25);
        write_i32(&w, -1);
    }
    assert_int_equal(feed(s, &w), OK);
}

/* One letter a value: ~ NULL, ? unchanged, else text. */
static void tuple(struct writer *w, char mark, const char *values)
{
    write_u8(w, (uint8_t)mark);
    write_u16(w, (uint16_t)strlen(values));
    for (const char *c = values; *c; c++) {
        write_u8(w, *c == '~' ? 'n' : *c == '?' ? 'u' : 't');
        if (*c != '~' && *c != '?') {
            write_u32(w, 1);
            write_u8(w, (uint8_t)*c);
        }
    }
}

static err insert(struct scene *s, uint32_t xid, uint32_t oid, const char *values)
{
    struct writer w = head(s, 'I', xid);

    write_u32(&w, oid);
    tuple(&w, 'N', values);
    return feed(s, &w);
}

static void update(struct scene *s, char mark, const char *old, const char *new)
{
    struct writer w = head(s, 'U', 0);

    write_u32(&w, TABLE);
    if (mark) {
        tuple(&w, mark, old);
    }
    tuple(&w, 'N', new);
    assert_int_equal(feed(s, &w), OK);
}

static void say(struct scene *s, uint32_t xid, bool transactional, const char *prefix,
                const char *content)
{
    struct writer w = head(s, 'M', xid);

    write_u8(&w, transactional);
    write_u64(&w, 0x77);
    text(&w, prefix);
    write_u32(&w, (uint32_t)strlen(content));
    write_bytes(&w, content, strlen(content));
    assert_int_equal(feed(s, &w), OK);
}

static void context(struct scene *s, uint32_t xid, const char *content)
{
    say(s, xid, true, CONTEXT_PREFIX, content);
}

static void the_nearest_earlier_context_holds_else_the_first_later(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    begin(&s, 7);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    assert_int_equal(s.given.len, 0);
    context(&s, 0, "{\"n\":1}");
    assert_given(&s, "begin 7 1007\ncreate t -:1,a {\"n\":1} #0\n"); /* straight through */
    assert_int_equal(insert(&s, 0, TABLE, "2b"), OK);
    context(&s, 0, "{\"n\":2}");
    assert_int_equal(insert(&s, 0, TABLE, "3c"), OK);
    assert_int_equal(commit(&s, 'C', 7), OK);
    assert_given(&s, "create t -:2,b {\"n\":1} #1\ncreate t -:3,c {\"n\":2} #2\nend 7 2007\n");
    begin(&s, 8); /* nothing of it is left for the next transaction */
    assert_int_equal(insert(&s, 0, TABLE, "4d"), OK);
    assert_false(stitch_is_between(s.stitch));
    assert_int_equal(commit(&s, 'C', 8), OK);
    assert_given(&s, "begin 8 1008\ncreate t -:4,d - #0\nend 8 2008\n");
    assert_true(stitch_is_between(s.stitch));
    close_scene(&s);
}

static void the_rule_of_bemi_takes_the_first_for_all(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_FIRST, 1 << 20);
    begin(&s, 7);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    context(&s, 0, "{\"n\":1}");
    context(&s, 0, "{\"n\":2}");
    assert_int_equal(insert(&s, 0, TABLE, "2b"), OK);
    assert_int_equal(commit(&s, 'C', 7), OK);
    assert_given(&s, "begin 7 1007\ncreate t -:1,a {\"n\":1} #0\n"
                     "create t -:2,b {\"n\":1} #1\nend 7 2007\n");
    close_scene(&s);
}

static void any_context_becomes_an_object(void **state)
{
    (void)state;
    static const char *const contexts[][2] = {
        {" {\"a\": 1.50} ", "{\"a\": 1.50}"},      {"null", "{}"},
        {"[1, 2]", "{\"$value\":[1, 2]}"},         {"\"x\"", "{\"$value\":\"x\"}"},
        {"{\"a\":", "{\"$raw\":\"{\\\"a\\\":\"}"}, {"", "{\"$raw\":\"\"}"},
    };
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    begin(&s, 7);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    for (size_t i = 0; i < COUNT(contexts); i++) {
        char *expected = text_format("%screate t -:1,a %s #%zu\n",
                                     i == 0 ? "begin 7 1007\n" : "", contexts[i][1], i);
        context(&s, 0, contexts[i][0]);
        assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
        assert_given(&s, expected);
        free(expected);
    }
    assert_int_equal(stitch_malformed(s.stitch), 2);
    char *large = xcalloc(1, CONTEXT_BYTES_MAX + 2);
    memset(large, ' ', CONTEXT_BYTES_MAX + 1);
    context(&s, 0, large);
    free(large);
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    assert_given(&s, "create t -:1,a {\"$too_large\":1048577} #6\n");
    close_scene(&s);
}

static void messages_of_others_are_given_heartbeats_are_not(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    say(&s, 0, false, "wm", "low");
    say(&s, 0, false, CONTEXT_HEARTBEAT_PREFIX, "beat");
    begin(&s, 7);
    say(&s, 0, true, "wm", "high");
    say(&s, 0, true, CONTEXT_HEARTBEAT_PREFIX, "beat");
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    say(&s, 0, true, "wm", "more");
    assert_int_equal(commit(&s, 'C', 7), OK);
    assert_given(&s, "outside wm 77\nbegin 7 1007\nmessage wm high - #0\n"
                     "create t -:1,a - #0\nmessage wm more - #1\nend 7 2007\n");
    close_scene(&s);
}

static void key_images_have_their_key_and_full_ones_fill_what_is_unknown(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    begin(&s, 7);
    context(&s, 0, "{}");
    describe(&s, 0, TABLE, 'd', "t", "Kvw");
    update(&s, 'K', "1~~", "2a?");
    update(&s, 0, NULL, "2b?");
    describe(&s, 0, TABLE, 'f', "t", "KVW");
    update(&s, 'O', "2b~", "2c?");
    update(&s, 'O', "2bx", "2c?");
    assert_given(&s, "begin 7 1007\nupdate t 1,_,_:2,a,? {} #0\nupdate t -:2,b,? {} #1\n"
                     "update t 2,b,~:2,c,~ {} #2\nupdate t 2,b,x:2,c,x {} #3\n");
    close_scene(&s);
}

static void a_truncate_is_a_change_of_each_table(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    begin(&s, 7);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    describe(&s, 0, OTHER, 'd', "u", "K");
    struct writer w = head(&s, 'T', 0);
    write_u32(&w, 2);
    write_u8(&w, 3);
    write_u32(&w, OTHER);
    write_u32(&w, TABLE);
    assert_int_equal(feed(&s, &w), OK);
    assert_int_equal(commit(&s, 'C', 7), OK);
    assert_given(&s, "begin 7 1007\ntruncate u -:- - #0\ntruncate t -:- - #1\nend 7 2007\n");
    close_scene(&s);
}

static void rows_that_wait_keep_the_description_they_came_with(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    begin(&s, 7);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    describe(&s, 0, TABLE, 'd', "t", "Kvw");
    assert_int_equal(insert(&s, 0, TABLE, "2bc"), OK);
    context(&s, 0, "{}");
    assert_given(&s, "begin 7 1007\ncreate t -:1,a {} #0\ncreate t -:2,b,c {} #1\n");
    close_scene(&s);
}

static void a_description_that_is_no_news_keeps_its_object(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    begin(&s, 7);
    context(&s, 0, "{}");
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    struct relation *before = s.last;
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    assert_ptr_equal(s.last, before);
    relation_hold(before);
    describe(&s, 0, TABLE, 'd', "t", "Kx");
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    assert_ptr_not_equal(s.last, before);
    relation_drop(before);
    close_scene(&s);
}

static void interleaved_streams_come_out_whole_and_without_what_was_taken_back(void **state)
{
    (void)state;
    for (size_t memory = 0; memory <= 1 << 20; memory += 1 << 20) {
        struct scene s;

        open_scene(&s, CONTEXT_NEAREST, memory);
        stream(&s, 10, true);
        describe(&s, 0, TABLE, 'd', "t", "Kv");
        assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
        context(&s, 11, "{\"sub\":11}");
        assert_int_equal(insert(&s, 11, TABLE, "2b"), OK);
        stop(&s);
        stream(&s, 20, true);
        describe(&s, 0, TABLE, 'd', "t", "Kv");
        assert_int_equal(insert(&s, 0, TABLE, "3c"), OK);
        stop(&s);
        begin(&s, 15);
        describe(&s, 0, TABLE, 'd', "t", "Kv");
        assert_int_equal(insert(&s, 0, TABLE, "4d"), OK);
        assert_int_equal(commit(&s, 'C', 15), OK);
        give_up(&s, 10, 11);
        give_up(&s, 99, 99); /* of which nothing came */
        stream(&s, 10, false);
        assert_int_equal(insert(&s, 12, TABLE, "5e"), OK);
        context(&s, 12, "{\"sub\":12}");
        assert_int_equal(insert(&s, 0, TABLE, "6f"), OK);
        stop(&s);
        assert_int_equal(stitch_spooled(s.stitch) > 0, memory == 0);
        assert_false(stitch_is_between(s.stitch));
        assert_int_equal(commit(&s, 'c', 10), OK);
        give_up(&s, 20, 20);
        assert_true(stitch_is_between(s.stitch));
        assert_int_equal(stitch_spooled(s.stitch), 0);
        assert_given(&s, "begin 15 100F\ncreate t -:4,d - #0\nend 15 200F\n"
                         "begin 10 100A\ncreate t -:1,a {\"sub\":12} #0\n"
                         "create t -:5,e {\"sub\":12} #1\ncreate t -:6,f {\"sub\":12} #2\n"
                         "end 10 200A\n");
        close_scene(&s);
    }
}

/* S(10), then what says tells: a letter is a row of that xid, * a message, ! the end of that
 * xid's subtransaction; a is 10, the others follow. */
static bool leaves_a_doubt(const char *what)
{
    struct scene s;
    bool doubt;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    stream(&s, 10, true);
    describe(&s, 0, TABLE, 'd', "t", "K");
    for (const char *c = what; *c; c++) {
        uint32_t xid = 10u + (uint32_t)(*c - 'a');
        if (*c == '*') {
            context(&s, 0, "{}"); /* always with the transaction's own xid */
        } else if (c[1] == '!') {
            stop(&s);
            give_up(&s, 10, xid);
            stream(&s, 10, false);
            c++;
        } else {
            assert_int_equal(insert(&s, xid, TABLE, "1"), OK);
        }
    }
    stop(&s);
    err e = commit(&s, 'c', 10);
    doubt = stitch_wants_plain(s.stitch);
    assert_int_equal(e, doubt ? ERR_CONFLICT : OK);
    close_scene(&s);
    return doubt;
}

static void a_message_that_may_be_of_an_aborted_savepoint_leaves_a_doubt(void **state)
{
    (void)state;
    static const char *const doubtful[] = {"*bb!", "b*b!",   "b*b!a",   "ab*b!",
                                           "*b!",  "bc*bb!", "a*bc!bb!"};
    static const char *const clear[] = {"b",      "bb!",   "*ab",       "*abb!",
                                        "*babb!", "bb!*a", "a*acb*aee!"};

    for (size_t i = 0; i < COUNT(doubtful); i++) {
        assert_true(leaves_a_doubt(doubtful[i]));
    }
    for (size_t i = 0; i < COUNT(clear); i++) {
        assert_false(leaves_a_doubt(clear[i]));
    }
}

static void descriptions_of_an_aborted_stream_are_not_believed(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    begin(&s, 7);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    assert_int_equal(commit(&s, 'C', 7), OK);
    stream(&s, 10, true);
    describe(&s, 0, TABLE, 'd', "t", "Kvw");
    assert_int_equal(insert(&s, 0, TABLE, "1ab"), OK);
    stop(&s);
    give_up(&s, 10, 10);
    begin(&s, 8);
    assert_int_equal(insert(&s, 0, TABLE, "2b"), OK);
    assert_int_equal(commit(&s, 'C', 8), OK);
    assert_given(&s, "begin 7 1007\ncreate t -:1,a - #0\nend 7 2007\n"
                     "begin 8 1008\ncreate t -:2,b - #0\nend 8 2008\n");
    close_scene(&s);
}

static void descriptions_of_a_committed_stream_are_but_never_before_newer_ones(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    stream(&s, 10, true);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    describe(&s, 11, OTHER, 'd', "u", "K"); /* told once a transaction: stands */
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    stop(&s);
    give_up(&s, 10, 11);
    begin(&s, 7);
    describe(&s, 0, TABLE, 'd', "t", "Kvw");
    assert_int_equal(commit(&s, 'C', 7), OK);
    stream(&s, 10, false);
    assert_int_equal(insert(&s, 0, OTHER, "9"), OK);
    stop(&s);
    assert_int_equal(commit(&s, 'c', 10), OK);
    begin(&s, 8);
    assert_int_equal(insert(&s, 0, TABLE, "2bc"), OK);
    assert_int_equal(insert(&s, 0, OTHER, "8"), OK);
    assert_int_equal(commit(&s, 'C', 8), OK);
    assert_given(&s, "begin 7 1007\nend 7 2007\n"
                     "begin 10 100A\ncreate t -:1,a - #0\ncreate u -:9 - #1\nend 10 200A\n"
                     "begin 8 1008\ncreate t -:2,b,c - #0\ncreate u -:8 - #1\nend 8 2008\n");
    close_scene(&s);
}

static void begin_prepare(struct scene *s, uint32_t xid)
{
    struct writer w = head(s, 'b', 0);

    write_u64(&w, 0x500);
    write_u64(&w, 0x600);
    write_u64(&w, 0);
    write_u32(&w, xid);
    text(&w, "gid");
    assert_int_equal(feed(s, &w), OK);
}

static void roll_back_prepared(struct scene *s, uint32_t xid)
{
    struct writer w = head(s, 'r', 0);

    write_u8(&w, 0);
    for (int i = 0; i < 4; i++) {
        write_u64(&w, 0x600);
    }
    write_u32(&w, xid);
    text(&w, "gid");
    assert_int_equal(feed(s, &w), OK);
}

static void prepared_transactions_wait_for_their_commit(void **state)
{
    (void)state;
    struct scene s;

    open_scene(&s, CONTEXT_NEAREST, 1 << 20);
    begin(&s, 6);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(commit(&s, 'C', 6), OK);
    begin_prepare(&s, 7);
    assert_int_equal(insert(&s, 0, TABLE, "1a"), OK);
    describe(&s, 0, OTHER, 'd', "u", "K");
    context(&s, 0, "{\"p\":1}");
    assert_int_equal(commit(&s, 'P', 7), OK);
    begin_prepare(&s, 8);
    assert_int_equal(insert(&s, 0, TABLE, "2b"), OK);
    assert_int_equal(commit(&s, 'P', 8), OK);
    begin(&s, 9); /* what was told in a prepared one holds, and it keeps what it was told */
    assert_int_equal(insert(&s, 0, OTHER, "3"), OK);
    describe(&s, 0, TABLE, 'd', "t", "Kvw");
    assert_int_equal(commit(&s, 'C', 9), OK);
    roll_back_prepared(&s, 8);
    assert_int_equal(commit(&s, 'K', 7), OK);
    stream(&s, 10, true);
    describe(&s, 0, TABLE, 'd', "t", "Kv");
    assert_int_equal(insert(&s, 0, TABLE, "4d"), OK);
    stop(&s);
    assert_int_equal(commit(&s, 'p', 10), OK);
    assert_int_equal(commit(&s, 'K', 10), OK);
    assert_true(stitch_is_between(s.stitch));
    assert_given(&s, "begin 6 1006\nend 6 2006\n"
                     "begin 9 1009\ncreate u -:3 - #0\nend 9 2009\n"
                     "begin 7 1007\ncreate t -:1,a {\"p\":1} #0\nend 7 2007\n"
                     "begin 10 100A\ncreate t -:4,d - #0\nend 10 200A\n");
    close_scene(&s);
}

static void what_is_out_of_place_is_corrupt_and_ends_it(void **state)
{
    (void)state;
    static const char *const streams[] = {"C",  "I",  "E",  "P",  "BB", "BS",
                                          "BE", "SB", "SS", "SC", "Z",  ""};

    for (size_t i = 0; i < COUNT(streams); i++) {
        struct scene s;
        err e = OK;
        open_scene(&s, CONTEXT_NEAREST, 1 << 20);
        const char *kinds = streams[i];
        do {
            struct writer w = {0};
            if (*kinds) {
                write_u8(&w, (uint8_t)*kinds);
            }
            if (*kinds == 'S') {
                write_bytes(&w, "\0\0\0\7\1", 5);
            }
            write_space(&w, *kinds == 'B' ? 20 : 0);
            e = feed(&s, &w);
        } while (!e && *kinds && *++kinds);
        assert_int_equal(e, ERR_CORRUPT);
        struct writer sound = {0};
        assert_int_equal(feed(&s, &sound), ERR_CONFLICT);
        close_scene(&s);
    }
}

static void rows_that_were_not_described_so_are_corrupt(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct scene s;
        open_scene(&s, CONTEXT_NEAREST, 1 << 20);
        begin(&s, 7);
        context(&s, 0, "{}");
        describe(&s, 0, TABLE, 'd', "t", "Kv");
        s.answer = i == 2 ? ERR_FULL : OK; /* what the target says comes back */
        err e = insert(&s, 0, i == 0 ? OTHER : TABLE, i == 1 ? "1" : "1a");
        assert_int_equal(e, i == 2 ? ERR_FULL : ERR_CORRUPT);
        close_scene(&s);
    }
}

static void a_large_transaction_stays_within_its_memory(void **state)
{
    (void)state;
    struct scene s;
    const size_t limit = 256 << 10;
    char values[1024];
    size_t rows = 0;

    open_scene(&s, CONTEXT_NEAREST, limit);
    memset(values, 'x', sizeof(values));
    values[1023] = '\0';
    begin(&s, 7);
    char names[1024];
    memset(names, 'v', sizeof(names));
    names[1023] = '\0';
    describe(&s, 0, TABLE, 'n', "t", names);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(insert(&s, 0, TABLE, values), OK);
        assert_in_range(stitch_memory(s.stitch), 0, limit);
    }
    assert_true(stitch_spooled(s.stitch) > 8 << 20);
    context(&s, 0, "{}");
    assert_int_equal(commit(&s, 'C', 7), OK);
    for (size_t i = 0; i < s.given.len; i++) {
        rows += s.given.at[i] == '#' ? 1 : 0;
    }
    assert_int_equal(rows, 2000);
    assert_int_equal(stitch_spooled(s.stitch), 0);
    close_scene(&s);
}

static void a_new_connection_begins_with_an_empty_spool(void **state)
{
    (void)state;
    struct scene s;
    struct stitch *second;
    struct stitch_target target = {on_begin, on_change, on_end, on_message, &s};

    open_scene(&s, CONTEXT_NEAREST, 0);
    char *left = text_format("%s/12", s.folder);
    assert_int_equal(os_replace_file(os_real(), s.folder, "12", VIEW("left behind")), OK);
    struct stitch_config config = {os_real(), s.folder, 0, CONTEXT_NEAREST, false};
    assert_int_equal(stitch_new(&config, &target, &second), OK);
    assert_int_not_equal(access(left, F_OK), 0);
    stitch_free(second);
    free(left);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_earlier_context_holds_else_the_first_later),
        cmocka_unit_test(the_rule_of_bemi_takes_the_first_for_all),
        cmocka_unit_test(any_context_becomes_an_object),
        cmocka_unit_test(messages_of_others_are_given_heartbeats_are_not),
        cmocka_unit_test(key_images_have_their_key_and_full_ones_fill_what_is_unknown),
        cmocka_unit_test(a_truncate_is_a_change_of_each_table),
        cmocka_unit_test(rows_that_wait_keep_the_description_they_came_with),
        cmocka_unit_test(a_description_that_is_no_news_keeps_its_object),
        cmocka_unit_test(interleaved_streams_come_out_whole_and_without_what_was_taken_back),
        cmocka_unit_test(a_message_that_may_be_of_an_aborted_savepoint_leaves_a_doubt),
        cmocka_unit_test(descriptions_of_an_aborted_stream_are_not_believed),
        cmocka_unit_test(descriptions_of_a_committed_stream_are_but_never_before_newer_ones),
        cmocka_unit_test(prepared_transactions_wait_for_their_commit),
        cmocka_unit_test(what_is_out_of_place_is_corrupt_and_ends_it),
        cmocka_unit_test(rows_that_were_not_described_so_are_corrupt),
        cmocka_unit_test(a_large_transaction_stays_within_its_memory),
        cmocka_unit_test(a_new_connection_begins_with_an_empty_spool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
