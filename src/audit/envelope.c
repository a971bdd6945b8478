/* envelope.c - changes as records: keys, values, and the header that makes them exact.
 *
 *   create, read      one record
 *   update            one record; of a changed key: delete, tombstone, create
 *   delete            the delete and its tombstone
 *   truncate, message one record
 *
 * All is written into buffers that are kept from change to change and copied to the arena when
 * it is whole. SPDX-License-Identifier: Apache-2.0 */
#include "audit/envelope_inside.h"

#include "audit/scan.h"
#include "audit/types_parts.h"

void envelope_topic(const struct envelope_options *options, const struct relation *relation,
                    struct writer *out)
{
    size_t start = out->len, kept = start;

    write_view(out, options->source);
    if (relation) {
        write_u8(out, '.');
        write_view(out, relation->schema);
        write_u8(out, '.');
        write_view(out, relation->name);
    } else {
        write_view(out, VIEW(".message"));
    }
    for (size_t i = start; i < out->len; i++) {
        uint8_t c = out->at[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
        if ((c & 0xc0) != 0x80) { /* one _ for one character */
            out->at[kept++] = fine ? c : '_';
        }
    }
    out->len = kept;
}

void times_write(int64_t micros, struct writer *out)
{
    int64_t millis = micros / 1000 - (micros % 1000 < 0 ? 1 : 0), nanos;

    write_view(out, VIEW("\"ts_ms\":"));
    scan_digits(millis, out);
    write_view(out, VIEW(",\"ts_us\":"));
    scan_digits(micros, out);
    write_view(out, VIEW(",\"ts_ns\":"));
    scan_digits(__builtin_mul_overflow(micros, 1000, &nanos) ? 0 : nanos, out);
}

/* The source block up to its first LSN: the same for all changes of a transaction. */
static void source_prepare(struct envelope_plans *plans, const struct envelope_source *source,
                           const struct change_place *place)
{
    struct writer *out = &plans->source;

    plans->source_us = place->committed_us;
    plans->source_commit = source->last_commit;
    plans->source_snapshot = source->snapshot;
    writer_reset(out);
    write_view(out, plans->source_head);
    times_write(place->committed_us, out);
    write_view(out, VIEW(",\"snapshot\":\""));
    write_view(out, source->snapshot ? view_text(source->snapshot) : VIEW("false"));
    write_view(out, plans->source_db);
    if (source->last_commit) {
        write_view(out, VIEW("\\\""));
        scan_digits_unsigned(source->last_commit, out);
        write_view(out, VIEW("\\\",\\\""));
    } else {
        write_view(out, VIEW("null,\\\""));
    }
}

/* What stands between its two LSNs. */
static void block_prepare(struct plan *plan, const struct change_place *place)
{
    struct writer *out = &plan->block;

    plan->block_xid = place->xid;
    writer_reset(out);
    write_view(out, VIEW("\\\"]\""));
    write_view(out, plan->table);
    if (place->xid) {
        scan_digits(place->xid, out);
    } else {
        write_view(out, VIEW("null"));
    }
    write_view(out, VIEW(",\"lsn\":"));
}

void source_write(struct envelope_plans *plans, struct plan *plan,
                  const struct envelope_source *source, const struct change_place *place,
                  struct writer *out)
{
    char lsn[SCAN_DIGITS_MAX];
    size_t lsn_bytes = scan_digits_into(place->lsn, lsn);

    if (!plans->source.len || plans->source_us != place->committed_us ||
        plans->source_commit != source->last_commit ||
        plans->source_snapshot != source->snapshot) {
        source_prepare(plans, source, place);
    }
    if (!plan->block.len || plan->block_xid != place->xid) {
        block_prepare(plan, place);
    }
    write_view(out, writer_view(&plans->source));
    write_bytes(out, lsn, lsn_bytes);
    write_view(out, writer_view(&plan->block));
    write_bytes(out, lsn, lsn_bytes);
    write_view(out, VIEW(",\"xmin\":null}"));
}

/* When it was processed, in three units. */
static void now_write(struct envelope_plans *plans, int64_t now_ms, struct writer *out)
{
    if (!plans->now.len || plans->now_ms != now_ms) {
        plans->now_ms = now_ms;
        writer_reset(&plans->now);
        times_write(now_ms * 1000, &plans->now);
    }
    write_view(out, writer_view(&plans->now));
}

struct record *record_add(struct envelope_out *out, int64_t now_ms, view key, view value)
{
    assert(out->count < ENVELOPE_RECORDS_MAX);
    struct record *record = &out->records[out->count++];

    *record = (struct record){
        .timestamp_ms = now_ms,
        .key = key.at ? arena_copy(out->arena, key) : key,
        .value = value.at ? arena_copy(out->arena, value) : value,
    };
    return record;
}

static void add_header(struct envelope_out *out, struct record *record, const char *name,
                       view value)
{
    if (!record->headers) {
        record->headers = arena_take(out->arena, 2 * sizeof(*record->headers));
    }
    assert(record->header_count < 2);
    record->headers[record->header_count++] =
        (struct header){view_text(name), arena_copy(out->arena, value)};
}

/* A member of "exact": the text, or its bytes when they are not UTF-8. */
static void write_exact(view name, view text, struct writer *out)
{
    size_t start;

    if (out->len) {
        write_u8(out, ',');
    }
    write_view(out, name);
    start = out->len;
    if (!scan_quote(text, out)) {
        out->len = start;
        write_view(out, VIEW("{\"hex\":\""));
        for (size_t i = 0; i < text.len; i++) {
            write_format(out, "%02x", text.at[i]);
        }
        write_view(out, VIEW("\"}"));
    }
}

static void write_unknown(view name, struct writer *out)
{
    if (out->len) {
        write_u8(out, ',');
    }
    write_view(out, view_upto(name, name.len - 1)); /* without its colon */
}

static void write_image(struct envelope_plans *plans, const struct plan *plan,
                        const struct value *values, struct writer *exact,
                        struct writer *unknown)
{
    struct writer *out = &plans->value;
    bool first = true;

    if (!values) {
        write_view(out, VIEW("null"));
        return;
    }
    write_u8(out, '{');
    for (int i = 0; i < plan->relation->count; i++) {
        const struct value *value = &values[i];
        if (value->kind == VALUE_ABSENT) {
            continue;
        }
        if (!first) {
            write_u8(out, ',');
        }
        first = false;
        write_view(out, plan->names[i]);
        if (value->kind == VALUE_NULL) {
            write_view(out, VIEW("null"));
        } else if (value->kind == VALUE_UNKNOWN) {
            type_unavailable(plans->modes, &plan->types[i], out);
            write_unknown(plan->names[i], unknown);
        } else if (!type_to_debezium(plans->modes, &plan->types[i], value->text, out)) {
            write_exact(plan->names[i], value->text, exact);
        }
    }
    write_u8(out, '}');
}

/* The old image of a change whose key changed has no place in the create: all of it is beside.
 */
static void write_exact_image(const struct plan *plan, const struct value *values,
                              struct writer *exact, struct writer *unknown)
{
    for (int i = 0; i < plan->relation->count; i++) {
        if (values[i].kind == VALUE_TEXT) {
            write_exact(plan->names[i], values[i].text, exact);
        } else if (values[i].kind == VALUE_UNKNOWN) {
            write_unknown(plan->names[i], unknown);
        } else if (values[i].kind == VALUE_NULL) {
            write_view(exact, exact->len ? VIEW(",") : VIEW(""));
            write_view(exact, plan->names[i]);
            write_view(exact, VIEW("null"));
        }
    }
}

/* The key out of an image; other fills in what the server did not send. False: no key. */
static bool write_key(const struct envelope_plans *plans, const struct plan *plan,
                      const struct value *values, const struct value *other, struct writer *out)
{
    bool first = true;

    writer_reset(out);
    if (!plan->keyed || !values) {
        return false;
    }
    write_view(out, plan->key_schema);
    write_u8(out, '{');
    for (int i = 0; i < plan->relation->count; i++) {
        if (!plan->relation->columns[i].key) {
            continue;
        }
        const struct value *value = &values[i];
        value = value->kind != VALUE_TEXT && other && other[i].kind == VALUE_TEXT ? &other[i]
                                                                                  : value;
        write_view(out, first ? VIEW("") : VIEW(","));
        first = false;
        write_view(out, plan->names[i]);
        if (value->kind == VALUE_TEXT) {
            (void)type_to_debezium(plans->modes, &plan->types[i], value->text, out);
        } else {
            write_view(out, VIEW("null"));
        }
    }
    write_view(out, plan->key_schema.len ? VIEW("}}") : VIEW("}"));
    return true;
}

static void write_block(const struct envelope_source *source, const struct change_place *place,
                        struct writer *out)
{
    if (!source->total_order) {
        write_view(out, VIEW(",\"transaction\":null"));
        return;
    }
    write_view(out, VIEW(",\"transaction\":{\"id\":\""));
    scan_digits(place->xid, out);
    write_u8(out, ':');
    scan_digits_unsigned(place->commit_lsn, out);
    write_view(out, VIEW("\",\"total_order\":"));
    scan_digits(source->total_order, out);
    write_view(out, VIEW(",\"data_collection_order\":"));
    scan_digits(source->collection_order, out);
    write_u8(out, '}');
}

/* The value of one record; its exact and unknown parts are left in plans. */
static view write_value(struct envelope_plans *plans, struct plan *plan,
                        const struct envelope_source *source, const struct change *change,
                        char op, const struct value *before, const struct value *after)
{
    struct writer *out = &plans->value;

    writer_reset(out);
    write_view(out, plan->value_schema);
    write_view(out, VIEW("{\"before\":"));
    write_image(plans, plan, before, &plans->exact_before, &plans->unknown_before);
    write_view(out, VIEW(",\"after\":"));
    write_image(plans, plan, after, &plans->exact_after, &plans->unknown_after);
    write_u8(out, ',');
    source_write(plans, plan, source, &change->place, out);
    write_block(source, &change->place, out);
    write_view(out, VIEW(",\"op\":\""));
    write_u8(out, (uint8_t)op);
    write_view(out, VIEW("\","));
    now_write(plans, source->now_ms, out);
    write_view(out, plan->value_schema.len ? VIEW("}}") : VIEW("}"));
    return writer_view(out);
}

static void header_place(struct envelope_plans *plans, const struct change *change)
{
    struct writer *out = &plans->header;

    writer_reset(out);
    write_view(out, VIEW("{\"v\":1,\"table\":"));
    scan_digits(change->relation ? change->relation->version : 0, out);
    write_view(out, VIEW(",\"seq\":"));
    scan_digits(change->place.seq, out);
    if (!plans->ends.len || plans->ends_commit != change->place.commit_lsn ||
        plans->ends_end != change->place.end_lsn) {
        plans->ends_commit = change->place.commit_lsn;
        plans->ends_end = change->place.end_lsn;
        writer_reset(&plans->ends);
        write_view(&plans->ends, VIEW(",\"commit\":"));
        scan_digits_unsigned(plans->ends_commit, &plans->ends);
        write_view(&plans->ends, VIEW(",\"end\":"));
        scan_digits_unsigned(plans->ends_end, &plans->ends);
    }
    write_view(out, writer_view(&plans->ends));
}

/* "name":{"before":{..},"after":{..}}, of what there is; brackets are those of the sides. */
static void header_sides(struct writer *out, const char *name, const char brackets[2],
                         const struct writer *before, const struct writer *after)
{
    const struct writer *sides[] = {before, after};
    static const char *const names[] = {"\"before\":", "\"after\":"};
    bool first = true;

    if (!before->len && !after->len) {
        return;
    }
    write_format(out, ",\"%s\":{", name);
    for (size_t i = 0; i < COUNT(sides); i++) {
        if (sides[i]->len) {
            write_view(out, first ? VIEW("") : VIEW(","));
            first = false;
            write_view(out, view_text(names[i]));
            write_u8(out, (uint8_t)brackets[0]);
            write_view(out, writer_view(sides[i]));
            write_u8(out, (uint8_t)brackets[1]);
        }
    }
    write_u8(out, '}');
}

static view header_whole(struct envelope_plans *plans, const struct change *change, bool moved)
{
    struct writer *out = &plans->header;

    header_place(plans, change);
    write_view(out, moved ? VIEW(",\"op\":\"u\"") : VIEW(""));
    write_view(out, change->cascade ? VIEW(",\"cascade\":true") : VIEW(""));
    write_view(out, change->restart_identity ? VIEW(",\"restart\":true") : VIEW(""));
    for (size_t i = 0; i < MODE_ROWS; i++) {
        unsigned mode = mode_get(&plans->modes, &mode_rows[i]);
        if (mode) {
            write_format(out, ",\"%s\":\"%s\"", mode_rows[i].name, mode_rows[i].choices[mode]);
        }
    }
    header_sides(out, "exact", "{}", &plans->exact_before, &plans->exact_after);
    header_sides(out, "unknown", "[]", &plans->unknown_before, &plans->unknown_after);
    if (change->context.at) {
        write_view(out, VIEW(",\"context\":"));
        write_view(out, change->context);
    }
    write_u8(out, '}');
    return writer_view(out);
}

static view header_short(struct envelope_plans *plans, const struct change *change)
{
    header_place(plans, change);
    write_u8(&plans->header, '}');
    return writer_view(&plans->header);
}

static void forget_sides(struct envelope_plans *plans)
{
    writer_reset(&plans->exact_before);
    writer_reset(&plans->exact_after);
    writer_reset(&plans->unknown_before);
    writer_reset(&plans->unknown_after);
}

static view key_view(bool keyed, const struct writer *key)
{
    return keyed ? writer_view(key) : (view){0};
}

static bool key_moved(const struct plan *plan, const struct change *change)
{
    if (change->kind != CHANGE_UPDATE || !plan->keyed || !change->before || !change->after) {
        return false;
    }
    for (int i = 0; i < plan->relation->count; i++) {
        const struct value *a = &change->before[i], *b = &change->after[i];
        bool known = (a->kind == VALUE_TEXT || a->kind == VALUE_NULL) &&
                     (b->kind == VALUE_TEXT || b->kind == VALUE_NULL);
        if (plan->relation->columns[i].key && known &&
            (a->kind != b->kind || (a->kind == VALUE_TEXT && !view_is(a->text, b->text)))) {
            return true;
        }
    }
    return false;
}

static void tombstone(const struct envelope_options *options, struct envelope_out *out,
                      const struct envelope_source *source, const struct change *change,
                      view key)
{
    if (options->tombstones && key.at) {
        struct record *record = record_add(out, source->now_ms, key, (view){0});
        add_header(out, record, ENVELOPE_HEADER, header_short(out->plans, change));
    }
}

static void write_moved(const struct envelope_options *options,
                        const struct envelope_source *source, const struct change *change,
                        struct plan *plan, struct envelope_out *out)
{
    struct envelope_plans *plans = out->plans;

    (void)write_key(plans, plan, change->before, change->after, &plans->old_key);
    (void)write_key(plans, plan, change->after, change->before, &plans->key);
    view old_key = writer_view(&plans->old_key), key = writer_view(&plans->key);
    view gone = write_value(plans, plan, source, change, 'd', change->before, NULL);
    struct record *record = record_add(out, source->now_ms, old_key, gone);
    add_header(out, record, ENVELOPE_HEADER, header_short(plans, change));
    add_header(out, record, HEADER_NEW_KEY, key);
    tombstone(options, out, source, change, old_key);
    forget_sides(plans);
    view made = write_value(plans, plan, source, change, 'c', NULL, change->after);
    record = record_add(out, source->now_ms, key, made);
    write_exact_image(plan, change->before, &plans->exact_before, &plans->unknown_before);
    add_header(out, record, ENVELOPE_HEADER, header_whole(plans, change, true));
    add_header(out, record, HEADER_OLD_KEY, old_key);
}

static void write_message(const struct envelope_source *source, const struct change *change,
                          struct plan *plan, struct envelope_out *out)
{
    struct envelope_plans *plans = out->plans;
    struct writer *value = &plans->value, *key = &plans->key;

    writer_reset(key);
    write_view(key, plan->key_schema);
    write_view(key, VIEW("{\"prefix\":"));
    (void)scan_quote(change->prefix, key);
    write_view(key, plan->key_schema.len ? VIEW("}}") : VIEW("}"));
    writer_reset(value);
    write_view(value, plan->value_schema);
    write_view(value, VIEW("{\"op\":\"m\","));
    now_write(plans, source->now_ms, value);
    write_u8(value, ',');
    source_write(plans, plan, source, &change->place, value);
    write_view(value, VIEW(",\"message\":{\"prefix\":"));
    (void)scan_quote(change->prefix, value);
    write_view(value, VIEW(",\"content\":"));
    base64_to(change->content, value);
    write_view(value, plan->value_schema.len ? VIEW("}}}") : VIEW("}}"));
    struct record *record =
        record_add(out, source->now_ms, writer_view(key), writer_view(value));
    add_header(out, record, ENVELOPE_HEADER, header_whole(plans, change, false));
}

void envelope_write(const struct envelope_options *options,
                    const struct envelope_source *source, const struct change *change,
                    struct envelope_out *out)
{
    static const char ops[] = {[CHANGE_CREATE] = 'c',
                               [CHANGE_UPDATE] = 'u',
                               [CHANGE_DELETE] = 'd',
                               [CHANGE_TRUNCATE] = 't',
                               [CHANGE_READ] = 'r'};

    assert(out->arena);
    assert((change->kind == CHANGE_MESSAGE) == (change->relation == NULL));
    struct plan *plan = plan_of(out, options, change->relation);
    struct envelope_plans *plans = out->plans;
    out->count = 0;
    forget_sides(plans);
    if (change->kind == CHANGE_MESSAGE) {
        write_message(source, change, plan, out);
        return;
    }
    if (key_moved(plan, change)) {
        write_moved(options, source, change, plan, out);
        return;
    }
    bool gone = change->kind == CHANGE_DELETE;
    const struct value *image = gone ? change->before : change->after;
    bool keyed = write_key(plans, plan, image, gone ? NULL : change->before, &plans->key);
    view value = write_value(plans, plan, source, change, ops[change->kind], change->before,
                             change->after);
    view key = key_view(keyed, &plans->key);
    struct record *record = record_add(out, source->now_ms, key, value);
    add_header(out, record, ENVELOPE_HEADER, header_whole(plans, change, false));
    if (gone) {
        tombstone(options, out, source, change, key);
    }
}
