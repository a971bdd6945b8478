/* source_options.c - the rows of a source's options, and their record on __sources.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/source_inside.h"

#include <stdlib.h>
#include <string.h>

#include "audit/retention.h"

#define ROW(name_, kind_, field_, preset_, help_)                                              \
    .name = (name_), .kind = OPTION_##kind_,                                                   \
    .offset = offsetof(struct source_options, field_), .preset = (preset_), .help = (help_)

static const char *const keyless_choices[] = {"skip", "full", "insert-only", NULL};
static const char *const decimal_choices[] = {"precise", "string", "double", NULL};
static const char *const binary_choices[] = {"bytes", "base64", "hex", "base64-url-safe", NULL};
static const char *const interval_choices[] = {"numeric", "string", NULL};
static const char *const hstore_choices[] = {"map", "json", NULL};
static const char *const time_choices[] = {"adaptive", "adaptive_time_microseconds", "connect",
                                           NULL};
static const char *const rule_choices[] = {"nearest", "first", NULL};
static const char *const guard_choices[] = {"database", "trail", NULL};

const struct option source_option_rows[] = {
    {ROW("url", TEXT, url, "", "postgres://USER@HOST/DATABASE")},
    {ROW("slot", TEXT, slot, "", "replication slot; preset: tidemark_NAME")},
    {ROW("publication", TEXT, publication, "", "publication; preset: tidemark_NAME")},
    {ROW("tables", TEXT, tables, "",
         "patterns schema.table, by commas, with * and ?; empty: all")},
    {ROW("without", TEXT, without, "", "patterns of tables that are left out")},
    {ROW("keyless", CHOICE, keyless, "skip",
         "tables without key: skip them, full (replica identity full), or insert-only"),
     .choices = keyless_choices},
    {ROW("snapshot", BOOL, snapshot, "true", "rows there are at the start come first")},
    {ROW("snapshot.workers", COUNT, snapshot_workers, "2", "connections that read them"),
     .least = 1, .most = 16},
    {ROW("snapshot.chunk.rows", COUNT, snapshot_chunk_rows, "100000",
         "rows read in one piece, about")},
    {ROW("snapshot.rate", BYTES, snapshot_rate, "0", "bytes a second at most; 0: no limit")},
    {ROW("partitions", COUNT, partitions, "1", "of each table's topic"), .least = 1,
     .most = 1000},
    {ROW("schemas", BOOL, schemas, "false", "Debezium's {schema, payload} around everything")},
    {ROW("tombstones", BOOL, tombstones, "true", "a record without value after each delete")},
    {ROW("transactions", BOOL, transactions, "false",
         "Debezium's transaction metadata, on topic NAME.transaction")},
    {ROW("truncates", BOOL, truncates, "true", "truncates are changes")},
    {ROW("messages", BOOL, messages, "false",
         "logical messages of the application, on topic NAME.message")},
    {ROW("decimals", CHOICE, decimals, "precise", "how numeric values are written"),
     .choices = decimal_choices},
    {ROW("binaries", CHOICE, binaries, "bytes", "how bytea values are written"),
     .choices = binary_choices},
    {ROW("intervals", CHOICE, intervals, "numeric",
         "how intervals are written: microseconds, or ISO 8601"),
     .choices = interval_choices},
    {ROW("hstores", CHOICE, hstores, "map", "how hstore values are written"),
     .choices = hstore_choices},
    {ROW("times", CHOICE, times, "adaptive",
         "how dates and times are counted; connect: in Kafka Connect's own types"),
     .choices = time_choices},
    {ROW("heartbeat.ms", MILLIS, heartbeat_ms, "0", "between heartbeat records; 0: none")},
    {ROW("context.rule", CHOICE, context_rule, "nearest",
         "which context a change takes: the nearest before it, or as Bemi the first of its "
         "transaction"),
     .choices = rule_choices},
    {ROW("ignore", TEXT, ignore, "", "columns whose change alone makes no record")},
    {ROW("mask", TEXT, mask, "", "COLUMN=drop, COLUMN=hash or COLUMN=truncate:N, by commas")},
    {ROW("labels", TEXT, labels, "", "file with the words of the business")},
    {ROW("sink", TEXT, sink, "",
         "URL of a PostgreSQL that keeps a changes table as Bemi's packages read it")},
    {ROW("shell.ticket", BOOL, shell_ticket, "false", "a shell on it wants a ticket")},
    {ROW("slot.guard", CHOICE, slot_guard, "trail",
         "past slot.max.bytes: protect the database (drop the slot) or the trail (only warn)"),
     .choices = guard_choices},
    {ROW("slot.warn.bytes", BYTES, slot_warn_bytes, "1GiB", "WAL held back that is warned of")},
    {ROW("slot.max.bytes", BYTES, slot_max_bytes, "16GiB",
         "WAL held back at which the guard acts")},
    {ROW("hot.ms", MILLIS, hot_ms, "-1", "how long changes stay in the index; -1: for ever"),
     .least = -1},
    {ROW("keep.ms", MILLIS, keep_ms, "-1", "how long changes stay in the topics; -1: for ever"),
     .least = -1},
    {ROW("keep", TEXT, keep, "",
         "tables kept otherwise than keep.ms, SCHEMA.TABLE=TIME by commas, with * and ?")},
};
const size_t source_option_count = COUNT(source_option_rows);

void source_options_fini(struct source_options *options)
{
    options_fini(source_option_rows, source_option_count, options);
}

err source_options_set(struct source_options *options, view name, view value)
{
    return option_set(source_option_rows, source_option_count, options, name, value,
                      "the source's options");
}

err source_options_preset(struct source_options *options)
{
    *options = (struct source_options){0};
    return options_preset(source_option_rows, source_option_count, options);
}

void source_options_to_json(const struct source_options *options, struct json_writer *j)
{
    struct writer text = {0};

    json_object(j);
    for (size_t i = 0; i < source_option_count; i++) {
        const struct option *row = &source_option_rows[i];
        json_name(j, row->name);
        if (row->kind == OPTION_TEXT) {
            const char *value =
                *(char *const *)(const void *)((const char *)options + row->offset);
            json_text(j, value ? value : "");
            continue;
        }
        writer_reset(&text);
        option_print(row, options, &text);
        json_view(j, text.len ? writer_view(&text) : VIEW(""));
    }
    json_end_object(j);
    writer_fini(&text);
}

err source_options_from_json(const struct json *json, struct source_options *options)
{
    err e = source_options_preset(options);

    for (const struct json *m = json ? json->inside : NULL; m && !e; m = m->next) {
        e = source_options_set(options, m->name, m->text);
    }
    if (e) {
        source_options_fini(options);
    }
    return e;
}

/* Slot names are of lower-case letters, digits and underscores. */
static char *name_in_database(const char *source)
{
    char *name = text_format("tidemark_%s", source);

    for (char *at = name; *at; at++) {
        *at = *at == '-' ? '_' : *at;
    }
    return name;
}

err source_options_complete(struct source_options *options, const char *name)
{
    char **const names[] = {&options->slot, &options->publication};

    for (size_t i = 0; i < COUNT(names); i++) {
        if (!*names[i] || !**names[i]) {
            free(*names[i]);
            *names[i] = name_in_database(name);
        }
    }
    if (!options->url || (strncmp(options->url, "postgres://", 11) &&
                          strncmp(options->url, "postgresql://", 13))) {
        return fault(ERR_INVALID,
                     "where is the database? A URL such as postgres://USER@HOST/DATABASE");
    }
    return retention_check(options->keep);
}
