/* config.c - the server's option table. Names that Kafka has are Kafka's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VARIABLE_PREFIX "TIDEMARK_"
#define SHARDS_MOST 16
#define CONFIG_BYTES_MAX (1 << 20)
#define OPTIONS_MAX 128
#define TOPIC_PREFIX "topic."
#define TOPIC_NAME_BYTES 64

#define ROW(name_, kind_, field_, preset_, help_)                                              \
    .name = (name_), .kind = OPTION_##kind_, .offset = offsetof(struct config, field_),        \
    .preset = (preset_), .help = (help_)

static const char *const levels[] = {"error", "warn", "info", "debug", NULL};

static const struct option server_options[] = {
    {ROW("data", TEXT, data, "tidemark-data", "the data folder; made when missing")},
    {ROW("kafka.listen", TEXT, broker.listen, "127.0.0.1:9092",
         "address of the Kafka protocol; port 0 picks a free one"),
     .flag = "kafka"},
    {ROW("http.listen", TEXT, http_listen, "127.0.0.1:8080",
         "address of the HTTP API; port 0 picks a free one"),
     .flag = "http"},
    {ROW("insecure.listen", BOOL, insecure_listen, "false",
         "permit addresses that other machines can reach, without authentication")},
    {ROW("kafka.advertised", TEXT, broker.advertised, "",
         "HOST or HOST:PORT that Kafka clients are told to connect to; empty: the address "
         "listened on")},
    {ROW("log.level", CHOICE, log_level, "info", "how much to say on standard error"),
     .choices = levels},
    {ROW("log.json", BOOL, log_json, "false", "log lines as JSON objects")},

    {ROW("num.network.threads", COUNT, broker.net_threads, "1",
         "threads that serve Kafka connections"),
     .least = 1, .most = 64},
    {ROW("connections.max", COUNT, broker.connections_max, "10000",
         "Kafka connections beyond it are refused"),
     .least = 1, .most = 1000000},
    {ROW("connections.max.idle.ms", MILLIS, broker.idle_ms_max, "10m",
         "close Kafka connections that are idle so long"),
     .least = 100, .most = INT32_MAX},
    {ROW("socket.request.max.bytes", BYTES, broker.request_bytes_max, "100MiB",
         "largest Kafka request taken"),
     .least = 1024, .most = 1 << 30},
    {ROW("queued.max.request.bytes", BYTES, broker.queued_bytes_max, "48MiB",
         "memory of requests under way; over it, connections wait unread"),
     .least = 1 << 20},
    {ROW("connection.requests.max", COUNT, broker.in_flight_max, "256",
         "requests of one connection under way; over it, it waits unread"),
     .least = 1, .most = 1 << 20},
    {ROW("shutdown.drain.ms", MILLIS, broker.drain_ms, "5s",
         "how long a stop waits for requests under way"),
     .most = 600000},
    {ROW("auto.create.topics.enable", BOOL, broker.auto_create_topics, "true",
         "create topics that clients ask about")},
    {ROW("num.partitions", COUNT, broker.num_partitions, "1",
         "of topics created without a number"),
     .least = 1, .most = PARTITIONS_MAX},
    {ROW("fetch.max.bytes", BYTES, broker.fetch_bytes_max, "55MiB",
         "most that one answer to a fetch holds"),
     .least = 1024, .most = 1 << 30},
    {ROW("quota.produce.bytes.per.second", BYTES, broker.produce_rate, "0",
         "what one client id may produce; 0: no limit")},
    {ROW("quota.fetch.bytes.per.second", BYTES, broker.fetch_rate, "0",
         "what one client id may fetch; 0: no limit")},

    {ROW("group.initial.rebalance.delay.ms", MILLIS, coord.initial_rebalance_ms, "500ms",
         "how long a new group waits for more members"),
     .most = 300000},
    {ROW("group.min.session.timeout.ms", MILLIS, coord.session_ms_min, "6s",
         "shortest session timeout of a member"),
     .least = 1, .most = INT32_MAX},
    {ROW("group.max.session.timeout.ms", MILLIS, coord.session_ms_max, "30m",
         "longest session timeout of a member"),
     .least = 1, .most = INT32_MAX},
    {ROW("group.max.size", COUNT, coord.members_max, "10000", "members of one group"),
     .least = 1, .most = INT32_MAX},
    {ROW("groups.max", COUNT, coord.groups_max, "100000", "groups"), .least = 1,
     .most = INT32_MAX},
    {ROW("offset.metadata.max.bytes", BYTES, coord.metadata_bytes_max, "4096",
         "metadata of one committed offset"),
     .most = INT16_MAX},
    {ROW("offsets.retention.ms", MILLIS, coord.offsets_retention_ms, "7d",
         "keep offsets so long after their group became empty"),
     .least = 1},
    {ROW("offsets.retention.check.interval.ms", MILLIS, coord.expiry_check_ms, "10m",
         "how often to look for what is to be forgotten"),
     .least = 1, .most = INT32_MAX},
    {ROW("offsets.topic.num.partitions", COUNT, offsets_partitions, "50",
         "of __consumer_offsets, when it is made"),
     .least = 1, .most = 1000},
    {ROW("transaction.max.timeout.ms", MILLIS, coord.txn_timeout_ms_max, "15m",
         "longest timeout of a transaction"),
     .least = 1, .most = INT32_MAX},
    {ROW("transactional.id.expiration.ms", MILLIS, coord.txn_id_expiry_ms, "7d",
         "forget transactional ids unused so long"),
     .least = 1},
    {ROW("transactional.ids.max", COUNT, coord.txn_ids_max, "100000", "transactional ids"),
     .least = 1, .most = INT32_MAX},
    {ROW("transaction.state.log.num.partitions", COUNT, txn_partitions, "50",
         "of __transaction_state, when it is made"),
     .least = 1, .most = 1000},

    {ROW("log.shards", COUNT, shards, "0", "threads that write partitions; 0: by the cores"),
     .most = SHARDS_MOST},
    {ROW("log.readers", COUNT, readers, "4", "threads that read what is not in memory"),
     .least = 1, .most = 16},
    {ROW("log.journal.max.bytes", BYTES, log.journal_bytes_max, "256MiB",
         "how far the shared journal may grow; also what a restart after a crash reads at "
         "most"),
     .least = 16 << 20},
    {ROW("log.round.max.bytes", BYTES, log.round_bytes_max, "4MiB", "of one group commit"),
     .least = 64 << 10, .most = 64 << 20},
    {ROW("log.unsynced.max.bytes", BYTES, log.unsynced_bytes_max, "64MiB",
         "flush.policy=os: this much is synced in the background at the latest"),
     .least = 1 << 20},
    {ROW("log.unsynced.max.ms", MILLIS, log.unsynced_ms_max, "5s",
         "flush.policy=os: synced in the background after this long at the latest"),
     .least = 100},
    {ROW("log.files.max", COUNT, log.files_max, "4096", "descriptors kept open for segments"),
     .least = 16, .most = 1 << 20},
    {ROW("log.index.cache.bytes", BYTES, log.index_cache_bytes, "8MiB",
         "memory for indexes of older segments"),
     .least = 64 << 10},
    {ROW("log.disk.percent.max", COUNT, log.disk_percent_max, "95",
         "share of the file system that all topics together may take before their oldest "
         "segments go; 100: no limit"),
     .least = 1, .most = 100},
    {ROW("log.reserve.bytes", BYTES, log.reserve_bytes, "64MiB",
         "set aside for the broker's own topics when the disk is full")},
    {ROW("log.retention.check.interval.ms", MILLIS, log.retention_check_ms, "30s",
         "how often retention looks at everything; it also acts as data arrives"),
     .least = 10},
    {ROW("log.cleaner.dedupe.buffer.size", BYTES, log.compaction_memory_bytes, "16MiB",
         "memory of a compaction run"),
     .least = 1 << 20},
    {ROW("log.producer.ids.max", COUNT, log.producers_max, "100000",
         "producer ids remembered by a partition"),
     .least = 1},
    {ROW("producer.id.expiration.ms", MILLIS, log.producer_expiry_ms, "1d",
         "forget producer ids unused so long"),
     .least = 1},

    {ROW("audit.capture.memory.bytes", BYTES, audit.capture_memory_bytes, "32MiB",
         "of one source's open transactions, in memory; what is more goes to files"),
     .least = 1 << 20},
    {ROW("audit.trail.memory.bytes", BYTES, audit.trail_memory_bytes, "32MiB",
         "of the view of one source's changes"),
     .least = 4 << 20},
};

/* The rows above, and one for each setting of topics: its default, as topic.NAME. */
struct table {
    struct option rows[OPTIONS_MAX];
    char names[OPTIONS_MAX][TOPIC_NAME_BYTES];
    size_t count;
};

static struct table *table_new(void)
{
    struct table *t = xcalloc(1, sizeof(*t));

    assert(COUNT(server_options) + topic_option_count <= OPTIONS_MAX);
    for (; t->count < COUNT(server_options); t->count++) {
        t->rows[t->count] = server_options[t->count];
    }
    for (size_t i = 0; i < topic_option_count; i++, t->count++) {
        char *name = t->names[t->count];
        snprintf(name, TOPIC_NAME_BYTES, TOPIC_PREFIX "%s", topic_options[i].name);
        t->rows[t->count] = topic_options[i];
        t->rows[t->count].name = name;
        t->rows[t->count].offset += offsetof(struct config, log.defaults);
    }
    return t;
}

/* --config FILE, --config=FILE, else TIDEMARK_CONFIG; taken out of argv. NULL: none. */
static const char *take_path(int *argc, char **argv)
{
    const char *path = getenv(VARIABLE_PREFIX "CONFIG");

    for (int i = 1; i < *argc; i++) {
        bool apart = !strcmp(argv[i], "--config") && i + 1 < *argc;
        if (!apart && strncmp(argv[i], "--config=", strlen("--config="))) {
            continue;
        }
        path = apart ? argv[i + 1] : argv[i] + strlen("--config=");
        int used = apart ? 2 : 1;
        memmove(&argv[i], &argv[i + used], (size_t)(*argc - i - used + 1) * sizeof(*argv));
        *argc -= used;
        i--;
    }
    return path && *path ? path : NULL;
}

static err read_file(const struct table *t, struct config *config, const char *path)
{
    struct buf *text = NULL;
    err e = os_read_file(os_real(), path, CONFIG_BYTES_MAX, &text);

    if (!e) {
        e = options_from_yaml(t->rows, t->count, config, path, (view){text->bytes, text->len});
    }
    buf_drop(text);
    return e;
}

/* Variables that are ours but no options of the server are left out. */
static err read_environment(const struct table *t, struct config *config)
{
    static const char *const others[] = {VARIABLE_PREFIX "CONFIG=", VARIABLE_PREFIX "TOKEN="};
    size_t count = 0, kept = 0;

    while (environ[count]) {
        count++;
    }
    char **variables = xcalloc(count + 1, sizeof(*variables));
    for (size_t i = 0; i < count; i++) {
        bool other = false;
        for (size_t j = 0; j < COUNT(others); j++) {
            other = other || !strncmp(environ[i], others[j], strlen(others[j]));
        }
        if (!other) {
            variables[kept++] = environ[i];
        }
    }
    err e = options_from_environment(t->rows, t->count, config, variables);
    free(variables);
    return e;
}

static bool take_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            return true;
        }
    }
    return false;
}

/* What rows cannot say. */
static err complete(struct config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (config->coord.session_ms_min > config->coord.session_ms_max) {
        return fault(ERR_INVALID, "group.min.session.timeout.ms is above "
                                  "group.max.session.timeout.ms");
    }
    if (!config->shards) {
        config->shards = MAX(1, MIN(cores / 2, SHARDS_MOST));
    }
    config->log.shards = (int)config->shards;
    config->log.readers = (int)config->readers;
    config->coord.offsets_partitions = (int32_t)config->offsets_partitions;
    config->coord.txn_partitions = (int32_t)config->txn_partitions;
    config->broker.insecure_listen = config->insecure_listen;
    return OK;
}

err config_read(struct config *config, int argc, char **argv, bool *help)
{
    struct table *t = table_new();

    *config = (struct config){0};
    coord_config_preset(&config->coord);
    *help = take_help(argc, argv);
    const char *path = take_path(&argc, argv);
    err e = options_preset(t->rows, t->count, config);
    if (!e && !*help && path) {
        e = read_file(t, config, path);
    }
    if (!e && !*help) {
        e = read_environment(t, config);
    }
    if (!e && !*help) {
        e = options_from_flags(t->rows, t->count, config, &argc, argv);
    }
    if (!e && !*help && argc > 1) {
        e = fault(ERR_INVALID, "what is \"%s\"? A server takes options alone; see --help",
                  argv[1]);
    }
    if (!e) {
        e = options_complete(t->rows, t->count, config);
    }
    config->table = t;
    config->broker.options = t->rows;
    config->broker.option_count = t->count;
    config->broker.option_values = config;
    config->broker.topic_defaults = &config->log.defaults;
    config->broker.folder = config->data;
    return e ? e : complete(config);
}

void config_fini(struct config *config)
{
    options_fini(config->table->rows, config->table->count, config);
    free(config->table);
    config->table = NULL;
}

void config_help(struct writer *out)
{
    struct table *t = table_new();

    write_format(out, "tidemark server [--config FILE] [OPTION VALUE]...\n\n");
    options_help(t->rows, t->count, out);
    free(t);
}

void config_reference(struct writer *out)
{
    struct table *t = table_new();

    options_reference(t->rows, t->count, out);
    free(t);
}

void config_flags(struct writer *out)
{
    struct table *t = table_new();
    char flag[OPTION_NAME_BYTES];

    for (size_t i = 0; i < t->count; i++) {
        option_flag(&t->rows[i], flag);
        write_format(out, "--%s ", t->rows[i].flag ? t->rows[i].flag : flag);
    }
    write_format(out, "--config");
    free(t);
}

void config_print(const struct config *config, struct writer *out)
{
    struct table *t = table_new();

    for (size_t i = 0; i < t->count; i++) {
        write_format(out, "%s: ", t->rows[i].name);
        option_print(&t->rows[i], config, out);
        write_u8(out, '\n');
    }
    free(t);
}

void config_to_json(const struct config *config, struct json_writer *j)
{
    struct table *t = table_new();
    struct writer value = {0};

    json_object(j);
    for (size_t i = 0; i < t->count; i++) {
        writer_reset(&value);
        option_print(&t->rows[i], config, &value);
        json_name(j, t->rows[i].name);
        json_view(j,
                  view_is_text(writer_view(&value), "\"\"") ? VIEW("") : writer_view(&value));
    }
    json_end_object(j);
    writer_fini(&value);
    free(t);
}
