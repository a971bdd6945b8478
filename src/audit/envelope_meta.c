/* envelope_meta.c - records beside the changes: where transactions begin and end, heartbeats.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/envelope_inside.h"

#include <stdio.h>

#define ID_FIELD                                                                               \
    {                                                                                          \
        "id", "string", false                                                                  \
    }

static const struct schema_field key_fields[] = {ID_FIELD};
static const struct schema_field heartbeat_key_fields[] = {{"serverName", "string", false}};
static const struct schema_field heartbeat_fields[] = {{"ts_ms", "int64", false}};

static void prefix_topic(const char *prefix, const struct envelope_options *options,
                         const char *suffix, struct writer *out)
{
    static const struct relation nothing = {0};
    struct writer name = {0};

    envelope_topic(options, &nothing, &name); /* "name..": of a table without names */
    write_view(out, view_text(prefix));
    write_view(out, view_upto(writer_view(&name), name.len - 2));
    write_view(out, view_text(suffix));
    writer_fini(&name);
}

void envelope_transaction_topic(const struct envelope_options *options, struct writer *out)
{
    prefix_topic("", options, ".transaction", out);
}

void envelope_heartbeat_topic(const struct envelope_options *options, struct writer *out)
{
    prefix_topic("__debezium-heartbeat.", options, "", out);
}

static void transaction_schema(struct json_writer *j)
{
    static const struct schema_field head[] = {{"status", "string", false},
                                               ID_FIELD,
                                               {"ts_ms", "int64", false},
                                               {"event_count", "int64", true}};
    static const struct schema_field item[] = {{"data_collection", "string", false},
                                               {"event_count", "int64", false}};

    json_object(j);
    json_name(j, "type");
    json_text(j, "struct");
    json_name(j, "fields");
    json_array(j);
    for (size_t i = 0; i < COUNT(head); i++) {
        json_object(j);
        json_name(j, "type");
        json_text(j, head[i].type);
        json_name(j, "optional");
        json_bool(j, head[i].optional);
        json_name(j, "field");
        json_text(j, head[i].name);
        json_end_object(j);
    }
    json_object(j);
    json_name(j, "type");
    json_text(j, "array");
    json_name(j, "items");
    struct_schema(j, item, COUNT(item));
    json_name(j, "optional");
    json_bool(j, true);
    json_name(j, "field");
    json_text(j, "data_collections");
    json_end_object(j);
    json_end_array(j);
    json_name(j, "optional");
    json_bool(j, false);
    json_name(j, "name");
    json_text(j, "io.debezium.connector.common.TransactionMetadataValue");
    json_end_object(j);
}

/* Opens {"schema":..,"payload": when schemas are on. */
static void open_payload(struct json_writer *j, const struct envelope_options *options,
                         const struct schema_field *fields, size_t count)
{
    if (options->schemas) {
        json_object(j);
        json_name(j, "schema");
        if (fields) {
            struct_schema(j, fields, count);
        } else {
            transaction_schema(j);
        }
        json_name(j, "payload");
    }
    json_object(j);
}

static void close_payload(struct json_writer *j, const struct envelope_options *options)
{
    json_end_object(j);
    if (options->schemas) {
        json_end_object(j);
    }
}

static void write_collections(struct json_writer *j, const struct envelope_collection *parts,
                              size_t count)
{
    json_array(j);
    for (size_t i = 0; i < count; i++) {
        json_object(j);
        json_name(j, "data_collection");
        json_textf(j, "%.*s.%.*s", VIEW_ARG(parts[i].schema), VIEW_ARG(parts[i].table));
        json_name(j, "event_count");
        json_int(j, parts[i].count);
        json_end_object(j);
    }
    json_end_array(j);
}

/* parts NULL: it begins. */
static void write_transaction(const struct envelope_options *options,
                              const struct envelope_source *source,
                              const struct change_place *place,
                              const struct envelope_collection *parts, size_t count,
                              struct envelope_out *out)
{
    struct writer key = {0}, value = {0};
    struct json_writer j = json_to(&key);
    int64_t all = 0;
    char id[48];

    for (size_t i = 0; i < count; i++) {
        all += parts[i].count;
    }
    snprintf(id, sizeof(id), "%u:%llu", place->xid, (unsigned long long)place->commit_lsn);
    open_payload(&j, options, key_fields, COUNT(key_fields));
    json_name(&j, "id");
    json_text(&j, id);
    close_payload(&j, options);
    j = json_to(&value);
    open_payload(&j, options, NULL, 0);
    json_name(&j, "status");
    json_text(&j, parts ? "END" : "BEGIN");
    json_name(&j, "id");
    json_text(&j, id);
    json_name(&j, "ts_ms");
    json_int(&j, place->committed_us / 1000);
    json_name(&j, "event_count");
    if (parts) {
        json_int(&j, all);
    } else {
        json_null(&j);
    }
    json_name(&j, "data_collections");
    if (parts) {
        write_collections(&j, parts, count);
    } else {
        json_null(&j);
    }
    close_payload(&j, options);
    out->count = 0;
    (void)record_add(out, source->now_ms, writer_view(&key), writer_view(&value));
    writer_fini(&key);
    writer_fini(&value);
}

void envelope_begin(const struct envelope_options *options,
                    const struct envelope_source *source, const struct change_place *place,
                    struct envelope_out *out)
{
    write_transaction(options, source, place, NULL, 0, out);
}

void envelope_end(const struct envelope_options *options, const struct envelope_source *source,
                  const struct change_place *place, const struct envelope_collection *parts,
                  size_t count, struct envelope_out *out)
{
    static const struct envelope_collection none;

    write_transaction(options, source, place, parts ? parts : &none, count, out);
}

void envelope_heartbeat(const struct envelope_options *options, int64_t now_ms,
                        struct envelope_out *out)
{
    struct writer key = {0}, value = {0};
    struct json_writer j = json_to(&key);

    open_payload(&j, options, heartbeat_key_fields, COUNT(heartbeat_key_fields));
    json_name(&j, "serverName");
    json_view(&j, options->source);
    close_payload(&j, options);
    j = json_to(&value);
    open_payload(&j, options, heartbeat_fields, COUNT(heartbeat_fields));
    json_name(&j, "ts_ms");
    json_int(&j, now_ms);
    close_payload(&j, options);
    out->count = 0;
    (void)record_add(out, now_ms, writer_view(&key), writer_view(&value));
    writer_fini(&key);
    writer_fini(&value);
}
