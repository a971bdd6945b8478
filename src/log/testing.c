/* testing.c - drivers for tests; linked into nothing else. SPDX-License-Identifier: Apache-2.0
 */
#include "log/testing.h"

#include <stdlib.h>
#include <string.h>

static bool is_set(void *flag)
{
    return *(const bool *)flag;
}

void testing_until(struct os_sim *sim, const bool *flag)
{
    bool came = os_sim_run_until(sim, is_set, (void *)(uintptr_t)flag);

    assert(came);
}

struct log_config testing_config(void)
{
    struct log_config config;

    log_config_preset(&config);
    config.folder = "data";
    config.readers = 1;
    config.reserve_bytes = 1 << 20;
    config.journal_bytes_max = 16 << 20;
    return config;
}

struct log *testing_open(struct os_sim *sim, const struct log_config *config)
{
    struct log *log = NULL;
    err e = log_open(os_sim_os(sim), config, &log);

    if (e) {
        trace_error("test", "%s", fault_here.text);
    }
    assert(e == OK);
    return log;
}

struct pending_change {
    struct log_change change;
    struct log_change *original;
    bool done;
};

static void change_done(struct log_change *change)
{
    ((struct pending_change *)change)->done = true;
}

err testing_change(struct os_sim *sim, struct log *log, struct log_change *change)
{
    struct pending_change pending = {.change = *change};
    err e = OK;

    pending.change.done = change_done;
    log_change(log, &pending.change);
    testing_until(sim, &pending.done);
    *change = pending.change;
    if (change->fault) {
        e = fault(change->fault->code, "%s", change->fault->text);
        free(change->fault);
    }
    return e;
}

struct topic *testing_topic(struct os_sim *sim, struct log *log, const char *name,
                            int32_t partitions, const struct setting *settings, size_t count)
{
    struct log_change change = {
        .kind = LOG_TOPIC_CREATE,
        .name = view_text(name),
        .partition_count = partitions,
        .settings = settings,
        .setting_count = count,
    };
    err e = testing_change(sim, log, &change);

    if (e) {
        trace_error("test", "%s", fault_here.text);
    }
    assert(e == OK);
    return change.topic;
}

struct pending_append {
    struct log_append append;
    bool done;
};

static void append_done(struct log_append *a)
{
    ((struct pending_append *)a)->done = true;
}

int64_t testing_append(struct os_sim *sim, struct log *log, struct partition *p,
                       const struct testing_record *records, size_t count,
                       const struct batch_build *head, enum log_append_status *status)
{
    static const struct batch_build plain = {.producer_id = -1};
    struct batch_build build = head ? *head : plain;
    struct record *list = xcalloc(count, sizeof(*list));
    struct pending_append pending = {.append = {.partition = p,
                                                .acks = LOG_ACKS_DURABLE,
                                                .done = append_done,
                                                .flags = LOG_APPEND_VERIFIED}};

    for (size_t i = 0; i < count; i++) {
        list[i] = (struct record){.timestamp_ms = records[i].timestamp,
                                  .key = view_text(records[i].key),
                                  .value = view_text(records[i].value)};
    }
    build.records = list;
    build.count = count;
    pending.append.hold = batch_new(&build, &pending.append.batch);
    enum batch_fault bad = batch_check(pending.append.batch, &pending.append.info);
    assert(bad == BATCH_FINE);
    log_append(log, &pending.append);
    testing_until(sim, &pending.done);
    buf_drop(pending.append.hold);
    free(list);
    if (status) {
        *status = pending.append.status;
    }
    return pending.append.base_offset;
}

int64_t testing_put(struct os_sim *sim, struct log *log, struct partition *p, const char *value)
{
    struct os *os = os_sim_os(sim);
    struct testing_record record = {"key", value, os->now_ms(os)};
    enum log_append_status status;
    int64_t offset = testing_append(sim, log, p, &record, 1, NULL, &status);

    assert(status == LOG_APPEND_OK);
    return offset;
}

char *testing_get(struct log *log, struct partition *p, int64_t offset, bool committed)
{
    struct buf *bytes = NULL;
    struct batch_walk walk;
    struct record record;
    char *found = NULL;
    bool more = true;

    if (log_fetch(log, p, offset, 1 << 20, committed, &bytes) || !bytes) {
        return NULL;
    }
    batch_walk_init(&walk, (view){bytes->bytes, bytes->len});
    while (!found && batch_walk_next(&walk, &record, &more) == OK && more) {
        found = record.offset == offset ? text_of(record.value) : NULL;
    }
    batch_walk_fini(&walk);
    buf_drop(bytes);
    return found;
}
