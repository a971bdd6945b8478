/* retention.c - how long changes are kept. SPDX-License-Identifier: Apache-2.0 */
#include "audit/retention.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "audit/inside.h"
#include "audit/ledger.h"
#include "audit/records.h"

static err set_retention(struct log *log, struct topic *topic, int64_t ms)
{
    char text[24];
    struct setting setting = {(char *)"retention.ms", text};
    struct log_change change = {.kind = LOG_TOPIC_SETTINGS,
                                .topic = topic,
                                .settings = &setting,
                                .setting_count = 1,
                                .merge = true};

    snprintf(text, sizeof(text), "%" PRId64, ms);
    return records_change(log, &change);
}

static err change_table(struct source *source, const struct relation *relation, int64_t from_ms,
                        int64_t to_ms)
{
    struct envelope_options options = {.source = view_text(source->name)};
    struct log *log = source->audit->log;
    struct topic_settings settings;
    struct writer name = {0};
    err e = OK;

    envelope_topic(&options, relation, &name);
    struct topic *topic = log_topic(log, writer_view(&name));
    if (topic) {
        topic_settings_get(topic, &settings);
        e = settings.retention_ms == from_ms ? set_retention(log, topic, to_ms) : OK;
    }
    topic_drop(topic);
    writer_fini(&name);
    return e;
}

err retention_change(struct source *source, int64_t from_ms, int64_t to_ms)
{
    struct relation **tables = NULL;
    size_t count = ledger_tables(source->ledger, &tables);
    err e = OK;

    for (size_t i = 0; i < count; i++) {
        e = e || from_ms == to_ms ? e : change_table(source, tables[i], from_ms, to_ms);
        relation_drop(tables[i]);
    }
    free(tables);
    return e;
}
