/* audit.c - opening and closing the Audit door, and its metrics.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/audit.h"

#include <stdlib.h>
#include <string.h>

#include "audit/inside.h"
#include "audit/session.h"
#include "audit/source_inside.h"
#include "audit/source_sink.h"
#include "audit/trail.h"
#include "audit/watch.h"

void audit_config_preset(struct audit_config *config)
{
    *config = (struct audit_config){
        .capture_memory_bytes = 32 << 20,
        .trail_memory_bytes = 32 << 20,
    };
}

err audit_path(struct audit *audit, const char *folder, const char *name, char **out)
{
    struct writer path = {0};
    view rest = view_text(folder), part;
    bool more = true;
    err e = OK;

    write_view(&path, view_text(audit->config.data_folder));
    while (!e && more) {
        more = view_cut(rest, '/', &part, &rest);
        write_u8(&path, '/');
        write_view(&path, part);
        char *made = text_of(writer_view(&path));
        e = os_make_folder(audit->os, made);
        free(made);
    }
    write_u8(&path, '/');
    write_view(&path, view_text(name));
    *out = e ? NULL : text_of(writer_view(&path));
    writer_fini(&path);
    return e;
}

err audit_open(struct os *os, const struct audit_config *config, struct log *log,
               struct audit **out)
{
    struct audit *a = xcalloc(1, sizeof(*a));

    a->os = os;
    a->config = *config;
    a->config.data_folder = xstrdup(config->data_folder);
    a->log = log;
    pthread_mutex_init(&a->lock, NULL);
    err e = sources_open(a);
    e = e ? e : sessions_open(log, &a->sessions);
    e = e ? e : watch_start(a, &a->watch);
    if (e) {
        audit_close(a);
        return e;
    }
    *out = a;
    return OK;
}

void audit_close(struct audit *a)
{
    if (!a) {
        return;
    }
    watch_stop(a->watch);
    sources_close(a);
    sessions_close(a->sessions);
    pthread_mutex_destroy(&a->lock);
    free((void *)(uintptr_t)a->config.data_folder);
    free(a);
}

struct metric {
    const char *name, *type, *help;
    int64_t (*value)(const struct source_status *status);
};

static int64_t is_running(const struct source_status *s)
{
    return s->state == SOURCE_RUNNING;
}
static int64_t is_failed(const struct source_status *s)
{
    return s->state == SOURCE_FAILED;
}
static int64_t changes(const struct source_status *s)
{
    return s->changes;
}
static int64_t transactions(const struct source_status *s)
{
    return s->transactions;
}
static int64_t malformed(const struct source_status *s)
{
    return s->malformed_contexts;
}
static int64_t lag_bytes(const struct source_status *s)
{
    return s->server_lsn > s->durable_lsn ? (int64_t)(s->server_lsn - s->durable_lsn) : 0;
}
static int64_t lag_ms(const struct source_status *s)
{
    return s->lag_ms;
}
static int64_t slot_bytes(const struct source_status *s)
{
    return MAX(s->slot_bytes, 0);
}
static int64_t spooled(const struct source_status *s)
{
    return s->spooled_bytes;
}
static int64_t durable(const struct source_status *s)
{
    return (int64_t)s->durable_lsn;
}

static void sink_metrics(struct source **all, size_t count, struct writer *out)
{
    static const char *const names[] = {"tidemark_source_sink_rows_total",
                                        "tidemark_source_sink_waits"};

    for (size_t i = 0; i < COUNT(names) && count; i++) {
        http_metric(out, names[i], i ? "gauge" : "counter",
                    i ? "1 while the changes table cannot be written."
                      : "Rows brought to the changes table since the start.");
        for (size_t s = 0; s < count; s++) {
            const struct http_label label = {"source", view_text(all[s]->name)};
            struct sink_state state;
            if (source_sink_state(all[s], &state)) {
                http_sample_int(out, names[i], &label, 1, i ? state.words[0] != 0 : state.rows);
            }
        }
    }
}

void audit_metrics(struct audit *audit, struct writer *out)
{
    static const struct metric metrics[] = {
        {"tidemark_source_running", "gauge", "1 while the source is captured.", is_running},
        {"tidemark_source_failed", "gauge", "1 when the source waits for a person.", is_failed},
        {"tidemark_source_changes_total", "counter", "Changes sealed since the start.",
         changes},
        {"tidemark_source_transactions_total", "counter",
         "Transactions sealed since the start.", transactions},
        {"tidemark_source_malformed_contexts_total", "counter",
         "Contexts kept as they are because they are no JSON object.", malformed},
        {"tidemark_source_lag_bytes", "gauge", "WAL of the server that is not sealed yet.",
         lag_bytes},
        {"tidemark_source_lag_milliseconds", "gauge",
         "Between the last change's commit and its seal.", lag_ms},
        {"tidemark_source_slot_bytes", "gauge", "WAL that the slot holds back on the server.",
         slot_bytes},
        {"tidemark_source_spooled_bytes", "gauge", "Of open transactions, in files.", spooled},
        {"tidemark_source_durable_lsn", "gauge", "Everything committed before it is sealed.",
         durable},
    };
    struct source **all = NULL;
    size_t count = sources_list(audit, &all);

    for (size_t i = 0; i < COUNT(metrics) && count; i++) {
        http_metric(out, metrics[i].name, metrics[i].type, metrics[i].help);
        for (size_t s = 0; s < count; s++) {
            struct source_status status;
            const struct http_label label = {"source", view_text(all[s]->name)};
            source_status_get(all[s], &status);
            http_sample_int(out, metrics[i].name, &label, 1, metrics[i].value(&status));
        }
    }
    sink_metrics(all, count, out);
    trail_metrics(all, count, out);
    for (size_t s = 0; s < count; s++) {
        source_drop(all[s]);
    }
    free(all);
}
