/* envelope_plan.c - tables prepared: column names, types, and Connect schemas as bytes.
 *
 * With schemas on, key and value are {"schema":{...},"payload":...}: what stands before the
 * payload is the same for each row, so it is written once. SPDX-License-Identifier: Apache-2.0
 */
#include "audit/envelope_inside.h"

#include <stdlib.h>
#include <string.h>

#include "audit/scan.h"

#define PLANS_MAX 4096 /* tables remembered; past it all are forgotten */

static const struct schema_field source_fields[] = {
    {"version", "string", false}, {"connector", "string", false}, {"name", "string", false},
    {"ts_ms", "int64", false},    {"ts_us", "int64", true},       {"ts_ns", "int64", true},
    {"snapshot", "string", true}, {"db", "string", false},        {"sequence", "string", true},
    {"schema", "string", false},  {"table", "string", false},     {"txId", "int64", true},
    {"lsn", "int64", true},       {"xmin", "int64", true},
};
static const struct schema_field block_fields[] = {
    {"id", "string", false},
    {"total_order", "int64", false},
    {"data_collection_order", "int64", false},
};
static const struct schema_field tail_fields[] = {
    {"op", "string", false},
    {"ts_ms", "int64", true},
    {"ts_us", "int64", true},
    {"ts_ns", "int64", true},
};
static const struct schema_field message_key_fields[] = {{"prefix", "string", true}};
static const struct schema_field message_fields[] = {{"prefix", "string", true},
                                                     {"content", "bytes", true}};

static const char *const decimal_names[] = {"precise", "string", "double"};
static const char *const binary_names[] = {"bytes", "base64", "hex", "base64-url-safe"};
static const char *const interval_names[] = {"numeric", "string"};
static const char *const hstore_names[] = {"map", "json"};
static const char *const time_names[] = {"adaptive", "adaptive_time_microseconds", "connect"};

#define MODE(field, names)                                                                     \
    {                                                                                          \
#field, names, COUNT(names), offsetof(struct type_modes, field)                        \
    }
const struct mode_row mode_rows[MODE_ROWS] = {
    MODE(decimals, decimal_names),   MODE(binaries, binary_names),
    MODE(intervals, interval_names), MODE(hstores, hstore_names),
    MODE(times, time_names),
};

unsigned mode_get(const struct type_modes *modes, const struct mode_row *row)
{
    unsigned value;

    static_assert(sizeof(enum time_mode) == sizeof(value), "enums are words");
    memcpy(&value, (const uint8_t *)modes + row->offset, sizeof(value));
    assert(value < row->count);
    return value;
}

bool mode_set(struct type_modes *modes, const struct mode_row *row, view json_text)
{
    view name = view_upto(view_from(json_text, 1), json_text.len > 2 ? json_text.len - 2 : 0);

    for (unsigned i = 0; i < row->count; i++) {
        if (view_is_text(name, row->choices[i])) {
            memcpy((uint8_t *)modes + row->offset, &i, sizeof(i));
            return true;
        }
    }
    return false;
}

static void simple_fields(struct json_writer *j, const struct schema_field *fields,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_object(j);
        json_name(j, "type");
        json_text(j, fields[i].type);
        json_name(j, "optional");
        json_bool(j, fields[i].optional);
        json_name(j, "field");
        json_text(j, fields[i].name);
        json_end_object(j);
    }
}

static void open_struct(struct json_writer *j)
{
    json_object(j);
    json_name(j, "type");
    json_text(j, "struct");
    json_name(j, "fields");
    json_array(j);
}

/* field NULL: none. version 0: none. */
static void close_struct(struct json_writer *j, bool optional, const char *name, int version,
                         const char *field)
{
    json_end_array(j);
    json_name(j, "optional");
    json_bool(j, optional);
    if (name) {
        json_name(j, "name");
        json_text(j, name);
    }
    if (version) {
        json_name(j, "version");
        json_int(j, version);
    }
    if (field) {
        json_name(j, "field");
        json_text(j, field);
    }
    json_end_object(j);
}

void struct_schema(struct json_writer *j, const struct schema_field *fields, size_t count)
{
    open_struct(j);
    simple_fields(j, fields, count);
    close_struct(j, false, NULL, 0, NULL);
}

static void row_schema(struct json_writer *j, const struct plan *plan, struct type_modes modes,
                       bool key_only)
{
    const struct relation *relation = plan->relation;

    for (int i = 0; i < relation->count; i++) {
        const struct column *column = &relation->columns[i];
        if (column->key || !key_only) {
            bool optional = !(column->key && plan->keyed);
            type_to_schema(modes, &plan->types[i], optional, column->name, j);
        }
    }
}

static void source_schema(struct json_writer *j)
{
    open_struct(j);
    simple_fields(j, source_fields, COUNT(source_fields));
    close_struct(j, false, "io.debezium.connector.postgresql.Source", 1, "source");
}

static void envelope_schema(struct json_writer *j, const struct plan *plan,
                            struct type_modes modes, const char *prefix)
{
    char *row = text_format("%s.Value", prefix), *all = text_format("%s.Envelope", prefix);
    const char *images[] = {"before", "after"};

    open_struct(j);
    for (size_t i = 0; i < COUNT(images); i++) {
        open_struct(j);
        row_schema(j, plan, modes, false);
        close_struct(j, true, row, 0, images[i]);
    }
    source_schema(j);
    open_struct(j);
    simple_fields(j, block_fields, COUNT(block_fields));
    close_struct(j, true, "event.block", 1, "transaction");
    simple_fields(j, tail_fields, COUNT(tail_fields));
    close_struct(j, false, all, 2, NULL);
    free(row);
    free(all);
}

static void message_schema(struct json_writer *j)
{
    open_struct(j);
    simple_fields(j, tail_fields, COUNT(tail_fields));
    source_schema(j);
    open_struct(j);
    simple_fields(j, message_fields, COUNT(message_fields));
    close_struct(j, false, "io.debezium.connector.postgresql.Message", 1, "message");
    close_struct(j, false, "io.debezium.connector.postgresql.MessageValue", 1, NULL);
}

/* What comes before a payload whose schema was written to w. */
static view schema_prefix(struct arena *arena, struct writer *w)
{
    struct writer all = {0};

    write_view(&all, VIEW("{\"schema\":"));
    write_view(&all, writer_view(w));
    write_view(&all, VIEW(",\"payload\":"));
    view out = arena_copy(arena, writer_view(&all));
    writer_fini(&all);
    writer_reset(w);
    return out;
}

static void plan_schemas(struct plan *plan, const struct envelope_options *options,
                         struct type_modes modes)
{
    struct writer w = {0}, topic = {0};
    struct json_writer j = json_to(&w);

    envelope_topic(options, plan->relation, &topic);
    char *prefix = text_of(writer_view(&topic)), *key = text_format("%s.Key", prefix);
    open_struct(&j);
    if (plan->relation) {
        row_schema(&j, plan, modes, true);
        close_struct(&j, false, key, 0, NULL);
    } else {
        simple_fields(&j, message_key_fields, COUNT(message_key_fields));
        close_struct(&j, false, "io.debezium.connector.postgresql.MessageKey", 1, NULL);
    }
    plan->key_schema = schema_prefix(&plan->arena, &w);
    j = json_to(&w);
    if (plan->relation) {
        envelope_schema(&j, plan, modes, prefix);
    } else {
        message_schema(&j);
    }
    plan->value_schema = schema_prefix(&plan->arena, &w);
    free(prefix);
    free(key);
    writer_fini(&topic);
    writer_fini(&w);
}

static view quoted(struct arena *arena, const char *before, view text, const char *behind)
{
    struct writer w = {0};

    write_view(&w, view_text(before));
    (void)scan_quote(text, &w);
    write_view(&w, view_text(behind));
    view out = arena_copy(arena, writer_view(&w));
    writer_fini(&w);
    return out;
}

/* Identity full flags every column: when it is left so, nobody knew a key. */
static bool has_key(const struct relation *relation)
{
    int keys = 0;

    for (int i = 0; i < relation->count; i++) {
        keys += relation->columns[i].key ? 1 : 0;
    }
    return keys > 0 && (relation->identity != 'f' || keys < relation->count);
}

static struct plan *plan_new(struct envelope_plans *plans,
                             const struct envelope_options *options, struct relation *relation)
{
    struct plan *plan = xcalloc(1, sizeof(*plan));
    int count = relation ? relation->count : 0;

    plan->types = arena_take(&plan->arena, (size_t)count * sizeof(*plan->types));
    plan->names = arena_take(&plan->arena, (size_t)count * sizeof(*plan->names));
    for (int i = 0; i < count; i++) {
        plan->types[i] = type_of(&options->types, &relation->columns[i]);
        type_set_times(&plan->types[i], plans->modes.times);
        plan->names[i] = quoted(&plan->arena, "", relation->columns[i].name, ":");
    }
    if (relation) {
        plan->relation = relation_hold(relation);
        plan->keyed = has_key(relation);
    }
    view schema = quoted(&plan->arena, ",\"schema\":", relation ? relation->schema : VIEW(""),
                         ",\"table\":");
    view table = quoted(&plan->arena, "", relation ? relation->name : VIEW(""), ",\"txId\":");
    plan->table =
        view_text(arena_format(&plan->arena, "%.*s%.*s", VIEW_ARG(schema), VIEW_ARG(table)));
    if (options->schemas) {
        plan_schemas(plan, options, plans->modes);
    }
    return plan;
}

static void plan_free(struct plan *plan)
{
    if (plan) {
        relation_drop(plan->relation);
        writer_fini(&plan->block);
        arena_fini(&plan->arena);
        free(plan);
    }
}

static void forget(struct envelope_plans *plans)
{
    struct plan *plan;

    for (size_t at = 0; (plan = map_next(&plans->by_relation, &at));) {
        plan_free(plan);
    }
    map_fini(&plans->by_relation);
    plans->by_relation = (struct map){0};
}

static struct envelope_plans *plans_new(const struct envelope_options *options)
{
    struct envelope_plans *plans = xcalloc(1, sizeof(*plans));

    plans->modes = (struct type_modes){.decimals = options->decimals,
                                       .binaries = options->binaries,
                                       .intervals = options->intervals,
                                       .hstores = options->hstores,
                                       .times = options->times};
    plans->source_head = quoted(&plans->arena,
                                "\"source\":{\"version\":\"" TIDEMARK_VERSION
                                "\",\"connector\":\"" CONNECTOR "\",\"name\":",
                                options->source, ",");
    plans->source_db =
        quoted(&plans->arena, "\",\"db\":", options->database, ",\"sequence\":\"[");
    return plans;
}

struct plan *plan_of(struct envelope_out *out, const struct envelope_options *options,
                     struct relation *relation)
{
    if (!out->plans) {
        out->plans = plans_new(options);
    }
    struct envelope_plans *plans = out->plans;
    struct plan *plan =
        relation ? map_get(&plans->by_relation, VIEW_OF(relation)) : plans->messages;
    if (plan) {
        return plan;
    }
    if (plans->by_relation.count >= PLANS_MAX) {
        forget(plans);
    }
    plan = plan_new(plans, options, relation);
    if (relation) {
        map_put(&plans->by_relation, VIEW_OF(plan->relation), plan);
    } else {
        plans->messages = plan;
    }
    return plan;
}

void envelope_out_fini(struct envelope_out *out)
{
    struct envelope_plans *plans = out->plans;

    if (!plans) {
        return;
    }
    struct writer *writers[] = {
        &plans->key,
        &plans->old_key,
        &plans->value,
        &plans->header,
        &plans->exact_before,
        &plans->exact_after,
        &plans->unknown_before,
        &plans->unknown_after,
        &plans->source,
        &plans->ends,
        &plans->now,
    };
    for (size_t i = 0; i < COUNT(writers); i++) {
        writer_fini(writers[i]);
    }
    forget(plans);
    plan_free(plans->messages);
    arena_fini(&plans->arena);
    free(plans);
    out->plans = NULL;
}
