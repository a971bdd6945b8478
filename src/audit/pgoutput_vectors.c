/* pgoutput_vectors.c - runs recorded streams against the decoder and the stitcher.
 *
 *   pgoutput_vectors FILE       a JSON array of cases; prints what differs, then the sums
 *
 * Of a case pgoutput_messages are decoded and compared with "decoded", then stitched under both
 * rules for context and compared with "expected_changes": once in memory, once with everything
 * in spool files. A stream whose messages leave a doubt is fed again from "plain_messages", the
 * same transactions not streamed, or else taken as it is. SPDX-License-Identifier: Apache-2.0
 */
#include "audit/stitch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MOST (1 << 30)
#define EPOCH_US INT64_C(946684800000000)
#define MEMORY_AMPLE (64 << 20)

struct run { /* one case under one rule */
    struct arena *arena;
    struct stitch_transaction open;
    bool in_transaction;
    struct change **changes;
    size_t count, room;
};

static bool differs(const char *what, const struct json *expected)
{
    view text = expected ? expected->text : VIEW("nothing");

    text = expected && expected->kind >= JSON_ARRAY ? VIEW("another one") : text;
    printf("  %s differs; expected %.*s\n", what, VIEW_ARG(text));
    return false;
}

static bool json_is(const struct json *a, const struct json *b);

/* Every member of a is one of b; of members with one name the last counts. */
static bool members_in(const struct json *a, const struct json *b)
{
    bool same = true;

    for (const struct json *one = a->inside; same && one; one = one->next) {
        char *name = text_of(one->name);
        const struct json *other = json_get(b, name);
        same = other && json_is(json_get(a, name), other);
        free(name);
    }
    return same;
}

/* Recordings have passed through a library that may write 1e2 as 100.0. */
static bool numbers_are(view a, view b)
{
    char *one = text_of(a), *other = text_of(b);
    double x = strtod(one, NULL), y = strtod(other, NULL);
    bool same = view_is(a, b) || (strpbrk(one, ".eE") && memcmp(&x, &y, sizeof(x)) == 0);

    free(one);
    free(other);
    return same;
}

static bool items_are(const struct json *a, const struct json *b)
{
    const struct json *x = a->inside, *y = b->inside;

    for (; x && y; x = x->next, y = y->next) {
        if (!json_is(x, y)) {
            return false;
        }
    }
    return !x && !y;
}

static bool json_is(const struct json *a, const struct json *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case JSON_BOOL:
        return a->truth == b->truth;
    case JSON_TEXT:
        return view_is(a->text, b->text);
    case JSON_NUMBER:
        return numbers_are(a->text, b->text);
    case JSON_ARRAY:
        return items_are(a, b);
    case JSON_OBJECT:
        return members_in(a, b) && members_in(b, a);
    default:
        return true;
    }
}

static bool text_is(const struct json *expected, const char *name, view actual)
{
    const struct json *one = json_get(expected, name);

    return !one || (one->kind == JSON_TEXT && view_is(one->text, actual)) || differs(name, one);
}

static bool int_is(const struct json *expected, const char *name, int64_t actual)
{
    const struct json *one = json_get(expected, name);
    int64_t value;

    return !one ||
           (one->kind == JSON_NUMBER && view_to_int(one->text, &value) == OK &&
            value == actual) ||
           differs(name, one);
}

static bool bool_is(const struct json *expected, const char *name, bool actual)
{
    const struct json *one = json_get(expected, name);

    return !one || (one->kind == JSON_BOOL && one->truth == actual) || differs(name, one);
}

static bool lsn_is(const struct json *expected, const char *name, uint64_t actual)
{
    char text[LSN_TEXT_BYTES];

    lsn_text(actual, text);
    return text_is(expected, name, view_text(text));
}

/* The recordings name the schema of builtins as it is sent. */
static view schema_as_sent(const struct json *expected, view schema)
{
    const struct json *one = json_get(expected, "schema");
    bool builtin = one && one->text.len == 0 && view_is_text(schema, "pg_catalog");

    return builtin ? VIEW("") : schema;
}

static bool value_is(const struct json *expected, const struct value *value)
{
    switch (value->kind) {
    case VALUE_NULL:
        return expected->kind == JSON_NULL;
    case VALUE_TEXT:
        return expected->kind == JSON_TEXT && view_is(expected->text, value->text);
    case VALUE_UNKNOWN:
        return json_get(expected, "$unchanged_toast") != NULL;
    default:
        return false;
    }
}

/* image NULL: an object without members is expected, or none. */
static bool image_is(const struct json *expected, const char *name,
                     const struct relation *relation, const struct value *image)
{
    const struct json *object = json_get(expected, name);
    int members = 0, values = 0;

    if (!object) {
        return !image || differs(name, object);
    }
    for (const struct json *one = object->inside; one; one = one->next, members++) {
        int column = image ? relation_column(relation, one->name) : -1;
        if (column < 0 || !value_is(one, &image[column])) {
            printf("  %s.%.*s differs\n", name, VIEW_ARG(one->name));
            return false;
        }
    }
    for (int i = 0; image && i < relation->count; i++) {
        values += image[i].kind != VALUE_ABSENT ? 1 : 0;
    }
    return members == values || differs(name, object);
}

static bool columns_are(const struct json *expected, const struct relation *relation)
{
    const struct json *list = json_get(expected, "columns");
    const struct json *one = list ? list->inside : NULL;
    bool same = true;

    for (int i = 0; list && same && i < relation->count; i++) {
        const struct column *column = &relation->columns[i];
        if (!one) {
            return differs("columns", list);
        }
        same = text_is(one, "name", column->name) && bool_is(one, "key", column->key) &&
               int_is(one, "type_oid", column->type) && int_is(one, "typmod", column->modifier);
        one = one->next;
    }
    return same && (!one || differs("columns", list));
}

/* schema.name, or NULL when it was not described. */
static bool table_is(const struct json *name, const struct relation *relation)
{
    char *text = relation ? text_format("%.*s.%.*s", VIEW_ARG(relation->schema),
                                        VIEW_ARG(relation->name))
                          : xstrdup("");
    bool same = name && view_is_text(name->text, text);

    free(text);
    return same || differs("table", name);
}

struct decoding { /* of one case */
    struct arena *arena;
    struct map relations;
    bool in_stream;
};

static bool tables_are(const struct json *expected, const struct decoding *d,
                       const struct pgoutput_message *m)
{
    const struct json *list = json_get(expected, "tables");
    const struct json *one = list ? list->inside : NULL;

    for (int i = 0; list && i < m->oid_count; i++) {
        if (!one || !table_is(one, map_get(&d->relations, VIEW_OF(m->oids[i])))) {
            return differs("tables", list);
        }
        one = one->next;
    }
    return !one || differs("tables", list);
}

static bool row_is(const struct json *expected, const struct decoding *d,
                   const struct pgoutput_message *m)
{
    const struct relation *relation = map_get(&d->relations, VIEW_OF(m->oid));
    struct value *key = m->old_is_key ? m->old.values : NULL;
    struct value *old = m->old_is_key ? NULL : m->old.values;

    return table_is(json_get(expected, "table"), relation) &&
           image_is(expected, "key", relation, key) &&
           image_is(expected, "old", relation, old) &&
           image_is(expected, "new", relation, m->new.values);
}

/* What messages other than those of rows have. */
static bool fields_are(const struct json *expected, const struct pgoutput_message *m)
{
    const struct relation *relation = &m->relation;
    bool named = m->kind == PGOUTPUT_RELATION || m->kind == PGOUTPUT_TYPE;
    view identity = {(const uint8_t *)&relation->identity, 1};
    int options = (m->cascade ? 1 : 0) | (m->restart_identity ? 2 : 0);

    return lsn_is(expected, "final_lsn", m->lsn) && lsn_is(expected, "commit_lsn", m->lsn) &&
           lsn_is(expected, "message_lsn", m->lsn) && lsn_is(expected, "end_lsn", m->end_lsn) &&
           int_is(expected, "commit_ts_us", m->time_us - EPOCH_US) &&
           int_is(expected, "xid_in_message", m->xid) &&
           int_is(expected, "subxid", m->subxid) && bool_is(expected, "first", m->first) &&
           int_is(expected, "flags", m->transactional ? 1 : 0) &&
           text_is(expected, "prefix", m->prefix) && text_is(expected, "content", m->content) &&
           text_is(expected, "gid", m->name) && int_is(expected, "options", options) &&
           (!named ||
            (int_is(expected, "oid", relation->oid) &&
             text_is(expected, "schema", schema_as_sent(expected, relation->schema)) &&
             text_is(expected, m->kind == PGOUTPUT_TYPE ? "name" : "table", relation->name))) &&
           (m->kind != PGOUTPUT_RELATION ||
            (text_is(expected, "replident", identity) && columns_are(expected, relation)));
}

static bool message_is(const struct json *expected, const struct decoding *d,
                       const struct pgoutput_message *m)
{
    char kind = (char)m->kind;

    if (!text_is(expected, "t", (view){(const uint8_t *)&kind, 1})) {
        return false;
    }
    if (m->kind == PGOUTPUT_INSERT || m->kind == PGOUTPUT_UPDATE ||
        m->kind == PGOUTPUT_DELETE) {
        return row_is(expected, d, m);
    }
    return fields_are(expected, m) &&
           (m->kind != PGOUTPUT_TRUNCATE || tables_are(expected, d, m));
}

static view hex_bytes(struct arena *arena, view hex)
{
    uint8_t *bytes = arena_take(arena, hex.len / 2 + 1);

    for (size_t i = 0; i < hex.len / 2; i++) {
        char digits[3] = {(char)hex.at[2 * i], (char)hex.at[2 * i + 1], '\0'};
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return (view){bytes, hex.len / 2};
}

static bool decode_one(struct decoding *d, view bytes, const struct json *expected)
{
    struct pgoutput_message m;
    err e = pgoutput_decode(d->arena, bytes, d->in_stream, &m);

    if (e) {
        printf("  does not decode: %s\n", fault_here.text);
        return false;
    }
    d->in_stream =
        m.kind == PGOUTPUT_STREAM_START || (d->in_stream && m.kind != PGOUTPUT_STREAM_STOP);
    if (m.kind == PGOUTPUT_RELATION) {
        struct relation *relation = arena_take(d->arena, sizeof(*relation));
        memcpy(relation, &m.relation, sizeof(*relation));
        (void)map_put(&d->relations, VIEW_OF(relation->oid), relation);
    }
    return !expected || message_is(expected, d, &m);
}

static bool decoded_are(struct arena *arena, const struct json *one)
{
    struct decoding d = {.arena = arena};
    const struct json *messages = json_get(one, "pgoutput_messages");
    const struct json *decoded = json_get(one, "decoded");
    const struct json *expected = decoded ? decoded->inside : NULL;
    bool same = true, compared = expected != NULL;
    int number = 0;

    for (const struct json *m = messages ? messages->inside : NULL; same && m; m = m->next) {
        view hex = VIEW("");
        same = json_get_text(m, "hex", &hex) == OK && (!compared || expected) &&
               decode_one(&d, hex_bytes(arena, hex), expected);
        expected = expected ? expected->next : NULL;
        number++;
    }
    if (same && expected) {
        same = differs("the number of messages", NULL);
    } else if (!same) {
        printf("  message %d\n", number);
    }
    map_fini(&d.relations);
    return same;
}

static err run_begin(void *self, const struct stitch_transaction *transaction)
{
    struct run *run = self;

    assert(!run->in_transaction);
    run->in_transaction = true;
    run->open = *transaction;
    return OK;
}

static err run_change(void *self, const struct change *change)
{
    struct run *run = self;

    assert(run->in_transaction);
    assert(change->place.commit_lsn == run->open.commit_lsn);
    if (change->kind == CHANGE_MESSAGE) {
        return OK;
    }
    run->changes = array_room(run->changes, run->count, &run->room, sizeof(struct change *));
    run->changes[run->count] = change_copy(run->arena, change);
    (void)relation_hold(run->changes[run->count++]->relation);
    return OK;
}

static err run_end(void *self, const struct stitch_transaction *transaction)
{
    struct run *run = self;

    assert(run->in_transaction);
    assert(transaction->xid == run->open.xid);
    run->in_transaction = false;
    return OK;
}

/* What is no object travels inside of one, but was recorded as it came. */
static bool context_is(struct arena *arena, const struct json *expected, const char *name,
                       view context)
{
    const struct json *one = json_get(expected, name), *bare;
    struct json *actual;

    if (!one) {
        return true;
    }
    if (json_parse(arena, context.at ? context : VIEW("{}"), &actual) != OK) {
        return differs(name, one);
    }
    bare = one->kind == JSON_OBJECT ? NULL : json_get(actual, "$value");
    return json_is(bare ? bare : actual, one) || differs(name, one);
}

static bool identity_is(const struct json *expected, const struct relation *relation)
{
    const struct json *list = json_get(expected, "identity_columns");
    const struct json *one = list ? list->inside : NULL;

    for (int i = 0; list && i < relation->count; i++) {
        if (!relation->columns[i].key) {
            continue;
        }
        if (!one || !view_is(one->text, relation->columns[i].name)) {
            return differs("identity_columns", list);
        }
        one = one->next;
    }
    return !one || differs("identity_columns", list);
}

static bool change_is(struct arena *arena, const struct json *expected,
                      const struct change *change, const char *context)
{
    static const char *const operations[] = {
        [CHANGE_CREATE] = "CREATE",
        [CHANGE_UPDATE] = "UPDATE",
        [CHANGE_DELETE] = "DELETE",
        [CHANGE_TRUNCATE] = "TRUNCATE",
    };
    const struct relation *relation = change->relation;
    view identity = {(const uint8_t *)&relation->identity, 1};

    return text_is(expected, "operation", view_text(operations[change->kind])) &&
           text_is(expected, "schema", relation->schema) &&
           text_is(expected, "table", relation->name) &&
           image_is(expected, "before", relation, change->before) &&
           image_is(expected, "after", relation, change->after) &&
           text_is(expected, "replident", identity) && identity_is(expected, relation) &&
           lsn_is(expected, "lsn", change->place.lsn) &&
           int_is(expected, "tx_seq", change->place.seq) &&
           context_is(arena, expected, context, change->context);
}

/* tx1, tx2 ... stand for the transactions in the order of their commits. */
static bool same_transactions(const struct json *before, const struct json *now,
                              const struct change *change_before, const struct change *change)
{
    const struct json *a = before ? json_get(before, "tx") : NULL, *b = json_get(now, "tx");

    if (!a || !b) {
        return true;
    }
    bool together = change_before->place.commit_lsn == change->place.commit_lsn;
    bool forward = change_before->place.commit_lsn <= change->place.commit_lsn;
    return (forward && view_is(a->text, b->text) == together) || differs("tx", b);
}

static bool changes_are(struct arena *arena, const struct json *one, const struct run *run,
                        const char *context)
{
    const struct json *list = json_get(one, "expected_changes"), *before = NULL;
    const struct json *expected = list ? list->inside : NULL;

    for (size_t i = 0; i < run->count; i++) {
        if (!expected || !change_is(arena, expected, run->changes[i], context) ||
            !same_transactions(before, expected, i ? run->changes[i - 1] : NULL,
                               run->changes[i])) {
            printf("  change %zu under %s%s\n", i, context, expected ? "" : ": not expected");
            return false;
        }
        before = expected;
        expected = expected->next;
    }
    if (expected) {
        printf("  %zu changes under %s, more were expected\n", run->count, context);
    }
    return !expected;
}

static err feed_all(struct stitch *stitch, struct arena *arena, const struct json *messages)
{
    err e = OK;

    for (const struct json *m = messages ? messages->inside : NULL; !e && m; m = m->next) {
        view hex = VIEW(""), place = VIEW("");
        uint64_t lsn = 0;
        e = json_get_text(m, "hex", &hex);
        e = e ? e : json_get_text(m, "lsn", &place);
        e = e ? e : lsn_parse(place, &lsn);
        e = e ? e : stitch_feed(stitch, lsn, hex_bytes(arena, hex));
    }
    return e;
}

static void run_reset(struct run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        relation_drop(run->changes[i]->relation);
    }
    free(run->changes);
    *run = (struct run){.arena = run->arena};
}

static err stitch_all(struct run *run, const struct stitch_config *config,
                      const struct json *messages, bool *wants_plain)
{
    struct stitch_target target = {run_begin, run_change, run_end, NULL, run};
    struct stitch *stitch = NULL;
    err e = stitch_new(config, &target, &stitch);

    e = e ? e : feed_all(stitch, run->arena, messages);
    if (!e && !stitch_is_between(stitch)) {
        e = fault(ERR_INVALID, "something is still under way at the end");
    }
    *wants_plain = stitch && stitch_wants_plain(stitch);
    stitch_free(stitch);
    return e;
}

static bool stitched_are(struct arena *arena, const struct json *one, const char *folder,
                         enum context_rule rule, size_t memory_bytes)
{
    struct run run = {.arena = arena};
    struct stitch_config config = {os_real(), folder, memory_bytes, rule, false};
    const struct json *messages = json_get(one, "pgoutput_messages");
    const struct json *plain = json_get(one, "plain_messages");
    bool wants_plain;
    err e = stitch_all(&run, &config, messages, &wants_plain);

    if (e && wants_plain) {
        run_reset(&run);
        config.gives_doubtful = true;
        e = stitch_all(&run, &config, plain ? plain : messages, &wants_plain);
    }
    if (e) {
        printf("  does not stitch: %s\n", fault_here.text);
    }
    const char *context = rule == CONTEXT_NEAREST ? "context" : "context_bemi_rule";
    bool same = !e && changes_are(arena, one, &run, context);
    run_reset(&run);
    return same;
}

static bool case_passes(const struct json *one, const char *folder)
{
    static const enum context_rule rules[] = {CONTEXT_NEAREST, CONTEXT_FIRST};
    static const size_t memories[] = {MEMORY_AMPLE, 0};
    struct arena arena = {0};
    bool passes = decoded_are(&arena, one);

    for (size_t i = 0; i < COUNT(rules) * COUNT(memories); i++) {
        passes = passes && stitched_are(&arena, one, folder, rules[i / 2], memories[i % 2]);
    }
    arena_fini(&arena);
    return passes;
}

static int run_cases(const struct json *cases, const char *folder)
{
    int passed = 0, failed = 0;

    for (const struct json *one = cases->inside; one; one = one->next) {
        if (case_passes(one, folder)) {
            passed++;
            continue;
        }
        const struct json *name = json_get(one, "name");
        printf("FAILED %.*s\n", VIEW_ARG(name ? name->text : VIEW("a case without name")));
        failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed ? 1 : 0;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/pgoutput-vectors-XXXXXX";
    struct arena arena = {0};
    struct buf *text = NULL;
    struct json *cases = NULL;
    int code = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: pgoutput_vectors FILE\n");
        return 2;
    }
    err e = os_read_file(os_real(), argv[1], FILE_BYTES_MOST, &text);
    e = e ? e : json_parse(&arena, (view){text->bytes, text->len}, &cases);
    if (e || cases->kind != JSON_ARRAY) {
        fprintf(stderr, "%s: %s\n", argv[1], e ? fault_here.text : "no array of cases");
    } else if (mkdtemp(folder)) {
        code = run_cases(cases, folder);
        e = os_remove_tree(os_real(), folder);
    }
    buf_drop(text);
    arena_fini(&arena);
    return code;
}
