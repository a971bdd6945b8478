/* sink_rows.c - Bemi's table, and its values from ours. SPDX-License-Identifier: Apache-2.0 */
#include "audit/sink_rows.h"

#include <openssl/evp.h>
#include <string.h>

#include "audit/types.h"

#define UNAVAILABLE "__bemi_unavailable_value"
#define KEY_COLUMN "id"
#define TEXT_MAX 255 /* varchar(255) */

/* uuid_generate_v4() is an extension's; where it may not be made, the server's own does. */
const struct sink_statement sink_setup[] = {
    {"CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\"", true},
    {"CREATE TABLE IF NOT EXISTS changes ("
     "id uuid NOT NULL DEFAULT gen_random_uuid(), "
     "created_at timestamptz NOT NULL, "
     "database varchar(255) NOT NULL, "
     "schema varchar(255) NOT NULL, "
     "\"table\" varchar(255) NOT NULL, "
     "operation text NOT NULL "
     "CHECK (operation IN ('CREATE', 'UPDATE', 'DELETE', 'TRUNCATE', 'MESSAGE')), "
     "before jsonb NOT NULL DEFAULT '{}', "
     "after jsonb NOT NULL DEFAULT '{}', "
     "context jsonb NOT NULL DEFAULT '{}', "
     "committed_at timestamptz NOT NULL, "
     "queued_at timestamptz NOT NULL, "
     "transaction_id bigint NOT NULL, "
     "position bigint NOT NULL, "
     "primary_key varchar(255) NULL, "
     "CONSTRAINT changes_pkey PRIMARY KEY (id))",
     false},
    {"ALTER TABLE changes ALTER COLUMN id SET DEFAULT uuid_generate_v4()", true},
    /* Rows of one COPY share a position: as a unique key it would lose them. */
    {"ALTER TABLE changes DROP CONSTRAINT IF EXISTS "
     "changes_position_table_schema_database_operation_unique",
     true},
    {"CREATE INDEX IF NOT EXISTS changes_committed_at_index ON changes (committed_at)", false},
    {"CREATE INDEX IF NOT EXISTS changes_table_index ON changes (\"table\")", false},
    {"CREATE INDEX IF NOT EXISTS changes_primary_key_index ON changes (primary_key)", false},
    {"CREATE INDEX IF NOT EXISTS changes_operation_index ON changes (operation)", false},
    {"CREATE INDEX IF NOT EXISTS changes_context_index ON changes "
     "USING gin (context jsonb_path_ops)",
     false},
    {"CREATE INDEX IF NOT EXISTS changes_before_index ON changes "
     "USING gin (before jsonb_path_ops)",
     false},
    {"CREATE INDEX IF NOT EXISTS changes_after_index ON changes "
     "USING gin (after jsonb_path_ops)",
     false},
    {"CREATE INDEX IF NOT EXISTS changes_position_table_schema_database_operation_index "
     "ON changes (position, \"table\", schema, database, operation)",
     false},
    {"CREATE TABLE IF NOT EXISTS tidemark_sink ("
     "source text PRIMARY KEY, system_id text NOT NULL, commit_lsn pg_lsn NOT NULL, "
     "seq bigint NOT NULL, updated_at timestamptz NOT NULL)",
     false},
};
const size_t sink_setup_count = COUNT(sink_setup);

const char sink_insert_sql[] =
    "INSERT INTO changes (id, created_at, database, schema, \"table\", operation, before, "
    "after, context, committed_at, queued_at, transaction_id, position, primary_key) "
    "SELECT (r->>'id')::uuid, now(), r->>'database', r->>'schema', r->>'table', "
    "r->>'operation', r->'before', r->'after', r->'context', "
    "timestamptz 'epoch' + (r->>'committed_us')::bigint * interval '1 microsecond', "
    "timestamptz 'epoch' + (r->>'queued_us')::bigint * interval '1 microsecond', "
    "(r->>'transaction_id')::bigint, (r->>'position')::bigint, r->>'primary_key' "
    "FROM jsonb_array_elements($1::jsonb) r ON CONFLICT (id) DO NOTHING";

static const char *operation_of(enum change_kind kind)
{
    switch (kind) {
    case CHANGE_CREATE:
        return "CREATE";
    case CHANGE_UPDATE:
        return "UPDATE";
    case CHANGE_DELETE:
        return "DELETE";
    case CHANGE_TRUNCATE:
        return "TRUNCATE";
    default:
        return NULL;
    }
}

bool sink_takes(const struct change *change)
{
    const struct relation *r = change->relation;

    return operation_of(change->kind) && r &&
           !(view_is(r->schema, VIEW("public")) &&
             (view_is(r->name, VIEW("changes")) || view_is(r->name, VIEW("tidemark_sink"))));
}

/* A row's id follows from its place, in the form of a name-based uuid. */
static void row_id(const struct sink_names *names, const struct change_place *place,
                   struct json_writer *j)
{
    struct writer name = {0};
    uint8_t hash[EVP_MAX_MD_SIZE];

    write_format(&name, "tidemark/%s/%s/%llx/%lld", names->system_id, names->source,
                 (unsigned long long)place->commit_lsn, (long long)place->seq);
    int done = EVP_Digest(name.at, name.len, hash, NULL, EVP_sha1(), NULL);
    assert(done);
    writer_fini(&name);
    hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x50);
    hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80);
    json_textf(j, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
               hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7], hash[8],
               hash[9], hash[10], hash[11], hash[12], hash[13], hash[14], hash[15]);
}

static void write_value(const struct column *column, const struct value *value,
                        struct json_writer *j)
{
    static const struct type_modes modes = {.decimals = DECIMAL_DOUBLE,
                                            .binaries = BINARY_BYTES};
    struct type type = type_of(NULL, column);
    struct writer json = {0};

    if (value->kind == VALUE_NULL) {
        json_null(j);
    } else if (value->kind == VALUE_UNKNOWN && type.array) {
        json_array(j);
        json_text(j, UNAVAILABLE);
        json_end_array(j);
    } else if (value->kind == VALUE_UNKNOWN) {
        json_text(j, UNAVAILABLE);
    } else {
        (void)type_to_debezium(modes, &type, value->text, &json);
        json_raw(j, writer_view(&json));
    }
    writer_fini(&json);
}

/* other: the image that may know what this one does not. */
static void write_image(const struct change *change, const char *name,
                        const struct value *values, const struct value *other,
                        struct json_writer *j)
{
    json_name(j, name);
    json_object(j);
    for (int i = 0; values && i < change->relation->count; i++) {
        const struct value *value = &values[i];
        bool is_there = other && other[i].kind == VALUE_TEXT;
        if (value->kind == VALUE_UNKNOWN && is_there) {
            value = &other[i];
        }
        if (value->kind != VALUE_ABSENT) {
            json_name_view(j, change->relation->columns[i].name);
            write_value(&change->relation->columns[i], value, j);
        }
    }
    json_end_object(j);
}

static void write_key(const struct change *change, struct json_writer *j)
{
    const struct value *values = change->kind == CHANGE_DELETE ? change->before : change->after;
    int at = relation_column(change->relation, VIEW(KEY_COLUMN));
    bool has_one = at >= 0 && values && values[at].kind == VALUE_TEXT;

    json_name(j, "primary_key");
    json_view(j, has_one ? view_upto(values[at].text, TEXT_MAX) : (view){0});
}

static void write_context(view context, bool plain, struct json_writer *j)
{
    json_name(j, "context");
    if (!context.at) {
        json_object(j);
        json_end_object(j);
    } else if (plain) {
        json_object(j);
        json_name(j, "$raw");
        json_view(j, context);
        json_end_object(j);
    } else {
        json_raw(j, context);
    }
}

void sink_row(const struct sink_names *names, const struct change *change, int64_t queued_us,
              bool plain, struct writer *out)
{
    struct json_writer j = json_to(out);

    json_object(&j);
    json_name(&j, "id");
    row_id(names, &change->place, &j);
    json_name(&j, "database");
    json_view(&j, view_upto(view_text(names->database), TEXT_MAX));
    json_name(&j, "schema");
    json_view(&j, change->relation->schema);
    json_name(&j, "table");
    json_view(&j, change->relation->name);
    json_name(&j, "operation");
    json_text(&j, operation_of(change->kind));
    write_image(change, "before", change->before, NULL, &j);
    write_image(change, "after", change->after, change->before, &j);
    write_context(change->context, plain, &j);
    json_name(&j, "committed_us");
    json_int(&j, change->place.committed_us);
    json_name(&j, "queued_us");
    json_int(&j, queued_us);
    json_name(&j, "transaction_id");
    json_int(&j, (int64_t)change->place.xid);
    json_name(&j, "position");
    json_int(&j, (int64_t)change->place.lsn);
    write_key(change, &j);
    json_end_object(&j);
}
