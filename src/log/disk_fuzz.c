/* disk_fuzz.c - every file that a start reads, with arbitrary bytes: an error or an answer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/os_sim.h"
#include "log/inside.h"
#include "log/meta_records.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct log *bare_log(struct os *os)
{
    struct log *log = xcalloc(1, sizeof(*log));

    log->os = os;
    log_config_preset(&log->config);
    log->folder = xstrdup("data");
    log->files = files_new(os, 8);
    pthread_rwlock_init(&log->topics_lock, NULL);
    return log;
}

static void bare_free(struct log *log)
{
    settings_fini(&log->config.defaults);
    files_free(log->files);
    free(log->folder);
    free(log);
}

static void put_file(struct os *os, const char *path, view bytes)
{
    os_file file;

    if (os->file_open(os, path, OS_OPEN_WRITE | OS_OPEN_CREATE, &file) ||
        os_write_at(os, file, bytes, 0)) {
        abort();
    }
    os->file_close(os, file);
}

static err take_entry(void *self, const struct journal_entry *entry)
{
    *(size_t *)self += entry->batch.len;
    return OK;
}

static void try_journal(struct os *os, view bytes)
{
    uint64_t last;
    int64_t read = 0;
    size_t total = 0;

    put_file(os, "data/journal-0", bytes);
    if (journal_replay(os, "data", 0, take_entry, &total, &last, &read) == OK) {
        assert(total <= bytes.len);
    }
}

static void try_checkpoint(struct log *log, view bytes)
{
    struct checkpoint checkpoint;

    put_file(log->os, "data/checkpoint", bytes);
    if (checkpoint_read(log, &checkpoint) == OK) {
        free(checkpoint.partitions);
    }
}

/* Checksums would stop nearly every input at the door: they are made right. */
static void try_state(struct log *log, view bytes)
{
    uuid id = {{1}};
    struct topic *topic = topic_new(log, VIEW("t"), id, 1, false);
    struct partition *p = topic_partition(topic, 0);
    struct writer file = {0};

    write_u32(&file, 0x544d5354u);
    write_u32(&file, 1u << 16);
    write_u32(&file, crc32c(0, bytes));
    write_u32(&file, (uint32_t)bytes.len);
    write_view(&file, bytes);
    p->recovery.offset = bytes.len >= 8 ? (int64_t)get_u64(bytes.at) : 0;
    if (partition_state_read(p, writer_view(&file)) == OK) {
        struct writer again = {0};
        partition_state_write(p, &again);
        writer_fini(&again);
    }
    writer_fini(&file);
    topic_drop(topic);
}

static void try_index(struct log *log, view bytes)
{
    uuid id = {{1}};
    struct topic *topic = topic_new(log, VIEW("t"), id, 1, false);
    struct segment *s = segment_new(topic_partition(topic, 0), 0);
    char folder[PATH_BYTES], path[PATH_BYTES];

    partition_folder(s->partition, folder, sizeof(folder));
    if (log->os->folder_make(log->os, "data/p") || log->os->folder_make(log->os, folder)) {
        abort();
    }
    segment_path(s, ".index", path, sizeof(path));
    put_file(log->os, path, bytes);
    segment_path(s, ".log", path, sizeof(path));
    put_file(log->os, path, bytes); /* what a lost index is rebuilt from */
    s->bytes = (int64_t)bytes.len + 100000;
    s->index_loaded = false;
    if (segment_load_index(s) == OK) {
        for (size_t i = 1; i < s->index_count; i++) {
            assert(s->index[i].position > s->index[i - 1].position);
        }
    }
    segment_drop(s);
    topic_drop(topic);
}

static void try_meta(view bytes)
{
    struct meta_record record;
    view key = view_upto(bytes, 40), value = view_from(bytes, 40);

    if (meta_record_read(key, value, &record) == OK) {
        settings_free(record.settings, record.setting_count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    view bytes = view_from((view){data, size}, 1);
    struct os_sim *sim = os_sim_new(1);
    struct os *os = os_sim_os(sim);
    struct log *log = bare_log(os);

    if (os->folder_make(os, "data")) {
        abort();
    }
    switch (size ? data[0] % 5 : 0) {
    case 0:
        try_journal(os, bytes);
        break;
    case 1:
        try_checkpoint(log, bytes);
        break;
    case 2:
        try_state(log, bytes);
        break;
    case 3:
        try_index(log, bytes);
        break;
    default:
        try_meta(bytes);
    }
    bare_free(log);
    os_sim_free(sim);
    return 0;
}
