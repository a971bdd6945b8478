/* retention.c - how long changes are kept. SPDX-License-Identifier: Apache-2.0 */
#include "audit/retention.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/inside.h"
#include "audit/ledger.h"
#include "audit/records.h"

/* The next rule of a list; false: there is no more. */
static bool next_rule(view *rest, view *pattern, view *time)
{
    view rule;

    while (rest->len) {
        (void)view_cut(*rest, ',', &rule, rest);
        rule = view_trim(rule);
        if (rule.len) {
            (void)view_cut(rule, '=', pattern, time);
            *pattern = view_trim(*pattern);
            *time = view_trim(*time);
            return true;
        }
    }
    return false;
}

static err read_time(view text, int64_t *ms)
{
    if (view_is_text(text, "-1")) {
        *ms = -1;
        return OK;
    }
    return view_to_millis(text, ms);
}

err retention_check(const char *rules)
{
    view rest = view_text(rules), pattern = {0}, time = {0};
    int64_t ms;

    while (next_rule(&rest, &pattern, &time)) {
        if (!pattern.len || !memchr(pattern.at, '.', pattern.len) || read_time(time, &ms)) {
            return fault(ERR_INVALID,
                         "keep rule \"%.*s\": it would be SCHEMA.TABLE=TIME, such as "
                         "public.logs=30d; -1 is for ever",
                         VIEW_ARG(view_upto(pattern, 80)));
        }
    }
    return OK;
}

int64_t retention_of(const char *rules, int64_t keep_ms, view schema, view table)
{
    char *name = text_format("%.*s.%.*s", VIEW_ARG(schema), VIEW_ARG(table));
    view rest = view_text(rules), pattern, time;
    bool found = false;

    while (!found && next_rule(&rest, &pattern, &time)) {
        char *glob = text_of(pattern);
        int64_t ms;
        found = fnmatch(glob, name, FNM_NOESCAPE) == 0 && read_time(time, &ms) == OK;
        keep_ms = found ? ms : keep_ms;
        free(glob);
    }
    free(name);
    return keep_ms;
}

static err set_retention(struct log *log, struct topic *topic, int64_t ms)
{
    char text[24];
    struct setting setting = {(char *)"retention.ms", text};
    struct log_change change = {.kind = LOG_TOPIC_SETTINGS,
                                .topic = topic,
                                .settings = &setting,
                                .setting_count = 1,
                                .merge = true,
                                .internal = true};

    snprintf(text, sizeof(text), "%" PRId64, ms);
    return records_change(log, &change);
}

static err apply_to_table(struct source *source, const struct relation *relation, int64_t ms)
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
        e = settings.retention_ms == ms ? OK : set_retention(log, topic, ms);
    }
    topic_drop(topic);
    writer_fini(&name);
    return e;
}

err retention_apply(struct source *source, const char *rules, int64_t keep_ms)
{
    struct relation **tables = NULL;
    size_t count = ledger_tables(source->ledger, &tables);
    err e = OK;

    for (size_t i = 0; i < count; i++) {
        int64_t ms = retention_of(rules, keep_ms, tables[i]->schema, tables[i]->name);
        e = e ? e : apply_to_table(source, tables[i], ms);
        relation_drop(tables[i]);
    }
    free(tables);
    return e;
}
