/* capture_change.c - a change on its way from stitch to its lane.
 *
 * What a lane has already, because a connection broke in the middle, passes by; it counts all
 * the same, since its seal is still to come. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "audit/capture_inside.h"
#include "audit/records.h"

#define VALUE_BYTES_MAX (16 << 20) /* larger ones are not stored when a row is too large */
#define ROW_BYTES_MAX (48 << 20)   /* of both images: a batch must stay under its limit */

static struct envelope_source source_of(const struct capture *c, const struct table *t)
{
    bool ordered = t && c->source->options.transactions;

    return (struct envelope_source){
        .now_ms = c->os->now_ms(c->os),
        .last_commit = c->last_commit,
        .total_order = ordered ? c->total_order : 0,
        .collection_order = ordered ? t->transaction_changes : 0,
    };
}

static err messages_lane(struct capture *c, struct lane **lane)
{
    struct writer topic = {0};
    err e = OK;

    if (!c->messages) {
        envelope_topic(&c->envelope, NULL, &topic);
        e = lanes_open(c->lanes, writer_view(&topic), 0, 1, true, &c->messages);
        writer_fini(&topic);
    }
    *lane = c->messages;
    return e;
}

/* Which transaction the topic's newest record ends: its id is "XID:LSN of the commit". A BEGIN
 * without its END is written again, as the END is. */
static err read_last_end(struct capture *c, view topic_name)
{
    struct topic *topic = log_topic(c->log, topic_name);
    int64_t end = lane_end(c->transactions), lsn = 0;
    struct records_walk walk;
    struct arena arena = {0};
    struct json *json = NULL;
    struct record record;
    view status = {0}, id = {0}, xid, tail;
    bool more = false;

    c->transactions_last = 0;
    if (!topic || end == 0) {
        topic_drop(topic);
        return OK;
    }
    records_walk_init(&walk, c->log, topic_partition(topic, 0), end - 1, end);
    err e = records_walk_next(&walk, &record, &more);
    if (!e && more && !json_parse(&arena, record.value, &json)) {
        const struct json *payload = json_get(json, "payload");
        const struct json *event = payload ? payload : json;
        if (!json_get_text(event, "status", &status) && !json_get_text(event, "id", &id) &&
            view_cut(id, ':', &xid, &tail) && !view_to_int(tail, &lsn) && lsn > 0) {
            c->transactions_last = (uint64_t)lsn - !view_is_text(status, "END");
        }
    }
    records_walk_fini(&walk);
    arena_fini(&arena);
    topic_drop(topic);
    return e;
}

static err transactions_lane(struct capture *c, struct lane **lane)
{
    struct writer topic = {0};
    err e = OK;

    if (!c->transactions) {
        envelope_transaction_topic(&c->envelope, &topic);
        e = lanes_open(c->lanes, writer_view(&topic), 0, 1, false, &c->transactions);
        e = e ? e : read_last_end(c, writer_view(&topic));
        writer_fini(&topic);
    }
    *lane = c->transactions;
    return e;
}

static struct change_place place_of(const struct stitch_transaction *t)
{
    return (struct change_place){.xid = t->xid,
                                 .lsn = t->commit_lsn,
                                 .commit_lsn = t->commit_lsn,
                                 .end_lsn = t->end_lsn,
                                 .committed_us = t->committed_us};
}

static err put_out(struct capture *c, struct lane *lane, const struct change_place *place)
{
    return c->out.count ? lane_add(c->writer, lane, c->out.records, c->out.count, place) : OK;
}

err capture_begin(void *self, const struct stitch_transaction *t)
{
    struct capture *c = self;

    c->in_transaction = true;
    c->transaction = *t;
    c->total_order = 0;
    return OK;
}

/* Transaction metadata is written when its first change is, so that transactions of tables that
 * are not captured leave no trace. */
static err write_begin(struct capture *c)
{
    struct change_place place = place_of(&c->transaction);
    struct lane *lane = NULL;
    err e = transactions_lane(c, &lane);
    struct envelope_source source = source_of(c, NULL);

    if (e || c->transaction.commit_lsn <= c->transactions_last) {
        return e;
    }
    c->out.arena = lane_writer_arena(c->writer);
    envelope_begin(&c->envelope, &source, &place, &c->out);
    return put_out(c, lane, NULL);
}

static err write_end(struct capture *c, const struct stitch_transaction *t)
{
    struct change_place place = place_of(t);
    struct envelope_collection *parts = NULL;
    struct arena *arena = lane_writer_arena(c->writer);
    struct lane *lane = NULL;
    struct table *table;
    size_t count = 0;
    err e = transactions_lane(c, &lane);

    if (e || t->commit_lsn <= c->transactions_last) {
        return e;
    }
    parts = arena_take(arena, (c->tables.count + 1) * sizeof(*parts));
    for (size_t at = 0; (table = map_next(&c->tables, &at));) {
        if (table->transaction == t->commit_lsn && table->transaction_changes) {
            parts[count++] = (struct envelope_collection){
                table->stored->schema, table->stored->name, table->transaction_changes};
        }
    }
    struct envelope_source source = source_of(c, NULL);
    source.total_order = c->total_order;
    c->out.arena = arena;
    envelope_end(&c->envelope, &source, &place, parts, count, &c->out);
    return put_out(c, lane, NULL);
}

static size_t image_bytes(const struct value *values, int count)
{
    size_t bytes = 0;

    for (int i = 0; values && i < count; i++) {
        bytes += values[i].kind == VALUE_TEXT ? values[i].text.len : 0;
    }
    return bytes;
}

static void leave_out(struct value *values, int count)
{
    for (int i = 0; values && i < count; i++) {
        if (values[i].kind == VALUE_TEXT && values[i].text.len > VALUE_BYTES_MAX) {
            values[i] = (struct value){.kind = VALUE_UNKNOWN};
        }
    }
}

/* A row that no batch could hold: its largest values become unknown, never null, and a line
 * says so. */
static void bound_row(const struct capture *c, struct arena *arena, struct change *change)
{
    int count = change->relation ? change->relation->count : 0;
    size_t bytes = image_bytes(change->before, count) + image_bytes(change->after, count);

    if (bytes <= ROW_BYTES_MAX) {
        return;
    }
    struct value **images[] = {&change->before, &change->after};
    for (size_t i = 0; i < COUNT(images); i++) {
        if (*images[i]) {
            struct value *copy = arena_take(arena, (size_t)count * sizeof(*copy));
            memcpy(copy, *images[i], (size_t)count * sizeof(*copy));
            leave_out(copy, count);
            *images[i] = copy;
        }
    }
    trace_warn("audit", "source %s: a row of %.*s has %zu bytes; values above %d are left out",
               c->source->name, VIEW_ARG(change->relation->name), bytes, VALUE_BYTES_MAX);
}

static struct lane *lane_of(const struct capture *c, const struct table *t,
                            const struct envelope_out *out)
{
    int32_t partition = out->count ? capture_partition(c, &out->records[out->count - 1]) : 0;

    return t->lanes[partition];
}

static err count_change(struct capture *c, struct table *t)
{
    bool first_of_all = c->total_order == 0;

    if (t->transaction != c->transaction.commit_lsn) {
        t->transaction = c->transaction.commit_lsn;
        t->transaction_changes = 0;
    }
    t->transaction_changes++;
    c->total_order++;
    c->open.changes++;
    return first_of_all && c->source->options.transactions ? write_begin(c) : OK;
}

static err write_row(struct capture *c, struct table *t, const struct change *change)
{
    struct change stored;

    arena_reset(&c->scratch);
    if (!rules_apply(t->rules, t->stored, &c->scratch, change, &stored)) {
        return OK;
    }
    err e = count_change(c, t);
    if (e) {
        return e;
    }
    bound_row(c, &c->scratch, &stored);
    struct envelope_source source = source_of(c, t);
    c->out.arena = lane_writer_arena(c->writer);
    envelope_write(&c->envelope, &source, &stored, &c->out);
    struct lane *lane = lane_of(c, t, &c->out);
    return lane_has(lane, &change->place) ? OK : put_out(c, lane, &change->place);
}

/* A truncate has no key: it goes to every partition, so that none keeps rows from before. */
static err write_truncate(struct capture *c, struct table *t, const struct change *change)
{
    struct change stored = *change;

    if (!c->source->options.truncates) {
        return OK;
    }
    stored.relation = t->stored;
    err e = count_change(c, t);
    struct envelope_source source = source_of(c, t);
    for (int64_t i = 0; i < c->source->options.partitions && !e; i++) {
        if (lane_has(t->lanes[i], &change->place)) {
            continue;
        }
        c->out.arena = lane_writer_arena(c->writer);
        envelope_write(&c->envelope, &source, &stored, &c->out);
        e = put_out(c, t->lanes[i], &change->place);
    }
    return e;
}

static err write_message(struct capture *c, const struct change *change)
{
    struct envelope_source source = source_of(c, NULL);
    struct lane *lane = NULL;

    if (!c->source->options.messages || view_is_text(change->prefix, SNAPSHOT_MESSAGE_PREFIX)) {
        return OK;
    }
    err e = messages_lane(c, &lane);
    if (e || lane_has(lane, &change->place)) {
        return e;
    }
    c->open.changes++;
    c->out.arena = lane_writer_arena(c->writer);
    envelope_write(&c->envelope, &source, change, &c->out);
    return put_out(c, lane, &change->place);
}

err capture_change(void *self, const struct change *change)
{
    struct capture *c = self;
    struct table *table = NULL;
    err e = OK;

    if (change->kind == CHANGE_MESSAGE) {
        e = write_message(c, change);
    } else {
        e = capture_table(c, change->relation, &table);
        if (!e) {
            e = change->kind == CHANGE_TRUNCATE ? write_truncate(c, table, change)
                                                : write_row(c, table, change);
        }
    }
    if (!e && c->snapshot && !c->exported) {
        e = snapshot_follow(c->snapshot, change);
    }
    return e;
}

err capture_end(void *self, const struct stitch_transaction *t)
{
    struct capture *c = self;
    err e = c->total_order && c->source->options.transactions ? write_end(c, t) : OK;

    if (e) {
        return e;
    }
    c->in_transaction = false;
    c->last_commit = t->commit_lsn;
    c->open.to = MAX(c->open.to, t->end_lsn);
    c->open.transactions += c->total_order > 0;
    c->open.committed_us = c->total_order ? t->committed_us : c->open.committed_us;
    return OK;
}

err capture_message(void *self, const struct change *message)
{
    struct capture *c = self;
    err e = write_message(c, message);

    if (!e && c->snapshot && !c->exported) {
        e = snapshot_follow(c->snapshot, message);
    }
    return e;
}

err capture_row(struct capture *c, struct lane_writer *writer, struct envelope_out *out,
                const char *word, const struct change *change)
{
    struct table *t = map_get(&c->tables, VIEW_OF(change->relation));
    struct arena *arena = lane_writer_arena(writer);
    struct envelope_source source = {
        .now_ms = c->os->now_ms(c->os), .last_commit = c->last_commit, .snapshot = word};
    struct change stored;

    assert(t);
    if (!rules_apply(t->rules, t->stored, arena, change, &stored)) {
        return OK;
    }
    bound_row(c, arena, &stored);
    out->arena = arena;
    envelope_write(&c->envelope, &source, &stored, out);
    return lane_add(writer, lane_of(c, t, out), out->records, out->count, NULL);
}

err capture_heartbeat(struct capture *c)
{
    struct writer topic = {0};
    err e = OK;

    if (!c->heartbeats) {
        envelope_heartbeat_topic(&c->envelope, &topic);
        e = lanes_open(c->lanes, writer_view(&topic), 0, 1, false, &c->heartbeats);
        writer_fini(&topic);
    }
    if (e) {
        return e;
    }
    c->out.arena = lane_writer_arena(c->writer);
    envelope_heartbeat(&c->envelope, c->os->now_ms(c->os), &c->out);
    e = put_out(c, c->heartbeats, NULL);
    return e ? e : lane_flush(c->writer);
}
