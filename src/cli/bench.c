/* bench.c - `tidemark bench VERB`: options, verbs, report. SPDX-License-Identifier: Apache-2.0
 *
 * Raw protocol over plain sockets, so that one small client measures any Kafka broker alike;
 * what a run does is in bench_load.h, what it sends in bench_produce.c and its neighbours. */
#include "cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/bench_load.h"
#include "cli/cli.h"

#define MS(ns) ((double)(ns) / 1e6)

static const char *const acks_choices[] = {"all", "1", NULL};

#define ROW(name_, kind_, field, preset_, least_, most_, help_)                                \
    {                                                                                          \
        .name = name_, .kind = OPTION_##kind_, .offset = offsetof(struct bench_plan, field),   \
        .preset = preset_, .help = help_, .least = least_, .most = most_                       \
    }
static const struct option plan_options[] = {
    ROW("kafka", TEXT, kafka, "127.0.0.1:9092", 0, 0, "HOST:PORT of the one broker"),
    ROW("topic", TEXT, topic, "bench", 0, 0, "its name; made when missing"),
    ROW("config", TEXT, config, "", 0, 0, "of the topic when made: name=value,..."),
    ROW("group", TEXT, group, "bench", 0, 0, "front of the names of groups and transactions"),
    ROW("topics", COUNT, topics, "1", 1, 1000000, "create: how many, TOPIC-0, TOPIC-1, ..."),
    ROW("partitions", COUNT, partitions, "16", 1, 1000000, "of a topic"),
    ROW("connections", COUNT, connections, "16", 1, 20000, "partitions are dealt out to them"),
    ROW("threads", COUNT, threads, "1", 1, 64, "connections are dealt out to them"),
    ROW("depth", COUNT, depth, "5", 1, 10000, "requests under way on a connection"),
    ROW("bundle", COUNT, bundle, "1", 1, BENCH_PARTS_MAX / 2, "partitions in a request"),
    {.name = "acks",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct bench_plan, acks),
     .preset = "all",
     .help = "when a produce is answered",
     .choices = acks_choices},
    ROW("record-bytes", BYTES, record_bytes, "1024", 0, 64 << 20, "value of a record"),
    ROW("key-bytes", BYTES, key_bytes, "0", 0, 1 << 20, "key of a record; 0: none"),
    ROW("batch-bytes", BYTES, batch_bytes, "16KiB", 1, 64 << 20, "at least one record fits"),
    ROW("producers", COUNT, producers, "0", 0, 1000000,
        "idempotent producers on a connection; 0: not idempotent"),
    ROW("duration", MILLIS, duration_ms, "10s", 0, 0, "measured time; 0: to the end"),
    ROW("warmup", MILLIS, warmup_ms, "0", 0, 0, "before it"),
    ROW("records", COUNT, records, "0", 0, 0, "produce: stop after so many; 0: endless"),
    ROW("rate", COUNT, rate, "0", 0, 100000000,
        "records (else requests) a second on a fixed schedule; 0: as answers come"),
    ROW("fetch-bytes", BYTES, fetch_bytes, "1MiB", 1, 1 << 30, "of a partition in an answer"),
    ROW("answer-bytes", BYTES, answer_bytes, "16MiB", 1, 1 << 30, "of an answer to Fetch"),
    ROW("least-bytes", BYTES, least_bytes, "1", 0, 1 << 30, "a fetch waits for so many"),
    ROW("wait", MILLIS, wait_ms, "500ms", 0, 0, "but not longer"),
    ROW("pause", MILLIS, pause_ms, "0", 0, 0, "between two fetches of a connection"),
    ROW("latest", BOOL, latest, "false", 0, 0, "consume: from the end on"),
    ROW("repeat", BOOL, repeat, "false", 0, 0, "consume: begin again at the end"),
    ROW("check", BOOL, check, "false", 0, 0, "consume: verify checksums and offsets"),
    ROW("json", BOOL, json, "false", 0, 0, "print one JSON object"),
};

struct verb {
    const char *name, *help, *unit;
    const struct bench_load *load;   /* NULL: the topics alone */
    const char *const (*presets)[2]; /* other than the table's; ends with NULL */
};

static const char *const produce_presets[][2] = {{NULL, NULL}};
static const char *const latency_presets[][2] = {
    {"rate", "5000"}, {"batch-bytes", "1"}, {"depth", "1000"}, {NULL, NULL}};
static const char *const one_presets[][2] = {{"depth", "1"}, {"duration", "10s"}, {NULL, NULL}};
static const char *const idle_presets[][2] = {
    {"depth", "1"}, {"connections", "1000"}, {NULL, NULL}};

static const struct verb verbs[] = {
    {"produce", "write as fast as answers come", "records", &bench_load_produce,
     produce_presets},
    {"latency", "write single records on a schedule", "records", &bench_load_produce,
     latency_presets},
    {"consume", "read from the start", "records", &bench_load_consume, one_presets},
    {"commit", "commit offsets", "commits", &bench_load_commit, one_presets},
    {"transact", "write in transactions", "transactions", &bench_load_transact, one_presets},
    {"idle", "hold connections open", "records", &bench_load_idle, idle_presets},
    {"create", "create topics and wait for their leaders", "records", NULL, one_presets},
};

static void usage(FILE *to)
{
    struct writer help = {0};

    fprintf(to, "usage: tidemark bench VERB [--option VALUE ...]\n\n");
    for (size_t i = 0; i < COUNT(verbs); i++) {
        fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
    }
    options_help(plan_options, COUNT(plan_options), &help);
    fprintf(to, "\n%.*s", VIEW_ARG(writer_view(&help)));
    writer_fini(&help);
}

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < COUNT(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

static err plan_fill(struct bench_plan *plan, const struct verb *verb, int *argc, char **argv)
{
    const size_t count = COUNT(plan_options);
    const char *kafka = getenv("TIDEMARK_KAFKA");
    err e = options_preset(plan_options, count, plan);

    for (const char *const(*row)[2] = verb->presets; (*row)[0] && !e; row++) {
        e = option_set(plan_options, count, plan, view_text((*row)[0]), view_text((*row)[1]),
                       verb->name);
    }
    if (kafka && !e) {
        e = option_set(plan_options, count, plan, VIEW("kafka"), view_text(kafka),
                       "TIDEMARK_KAFKA");
    }
    if (!e) {
        e = options_from_flags(plan_options, count, plan, argc, argv);
    }
    if (!e && *argc > 1) {
        e = fault(ERR_INVALID, "%s: not an option", argv[1]);
    }
    if (!e && plan->threads > plan->connections) {
        plan->threads = plan->connections;
    }
    return e;
}

static void open_files_allow(void)
{
    struct rlimit limit;

    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max; /* thousands of connections */
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static err topics_prepare(const struct bench_plan *plan, int64_t *created_ns, bool *reached)
{
    const struct bench_topics topics = {.name = plan->topic,
                                        .config = plan->config,
                                        .count = plan->topics,
                                        .partitions = plan->partitions};
    int fd;
    err e = bench_connect(plan->kafka, &fd);

    *reached = !e;
    if (e) {
        return e;
    }
    e = bench_check_versions(fd);
    if (!e) {
        e = bench_topics_ready(fd, &topics, created_ns);
    }
    close(fd);
    return e;
}

struct report {
    const struct verb *verb;
    const struct bench_run *run;
    const struct bench_counts *counts;
    int64_t created_ns;
};

static void json_latency(struct json_writer *j, const struct bench_histogram *h)
{
    json_name(j, "latency_ms");
    json_object(j);
    json_name(j, "p50");
    json_number(j, MS(bench_histogram_at(h, 0.5)));
    json_name(j, "p90");
    json_number(j, MS(bench_histogram_at(h, 0.9)));
    json_name(j, "p99");
    json_number(j, MS(bench_histogram_at(h, 0.99)));
    json_name(j, "p999");
    json_number(j, MS(bench_histogram_at(h, 0.999)));
    json_name(j, "max");
    json_number(j, MS(h->most));
    json_name(j, "mean");
    json_number(j, h->count ? MS(h->sum) / (double)h->count : 0);
    json_end_object(j);
}

static void report_json(const struct report *report)
{
    const struct bench_counts *c = report->counts;
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"seconds", report->run->seconds},
        {"records", (double)c->records},
        {"bytes", (double)c->bytes},
        {"requests", (double)c->requests},
        {"records_per_s", (double)c->records / report->run->seconds},
        {"mb_per_s", (double)c->bytes / report->run->seconds / 1e6},
        {"requests_per_s", (double)c->requests / report->run->seconds},
        {"all_records", (double)c->all_records},
        {"all_bytes", (double)c->all_bytes},
        {"errors", (double)c->errors},
        {"first_error", c->first_error},
        {"client_cpu_s", report->run->client_cpu_s},
    };

    json_object(&j);
    json_name(&j, "verb");
    json_text(&j, report->verb->name);
    for (size_t i = 0; i < COUNT(numbers); i++) {
        json_name(&j, numbers[i].name);
        json_number(&j, numbers[i].value);
    }
    json_name(&j, "created_ms"); /* null: all topics were there */
    json_number(&j, report->created_ns < 0 ? (double)NAN : MS(report->created_ns));
    json_latency(&j, &c->latency);
    json_end_object(&j);
    printf("%.*s\n", VIEW_ARG(writer_view(&out)));
    writer_fini(&out);
}

static void report_text(const struct report *report)
{
    const struct bench_counts *c = report->counts;
    const struct bench_histogram *h = &c->latency;
    double seconds = report->run->seconds;

    if (report->created_ns >= 0) {
        printf("created     %.1f ms\n", MS(report->created_ns));
    }
    if (!report->verb->load) {
        return;
    }
    printf("%-11s %llu in %.2f s, %.0f/s\n", report->verb->unit, (unsigned long long)c->records,
           seconds, (double)c->records / seconds);
    printf("bytes       %.1f MB, %.1f MB/s\n", (double)c->bytes / 1e6,
           (double)c->bytes / seconds / 1e6);
    printf("requests    %llu, %.0f/s\n", (unsigned long long)c->requests,
           (double)c->requests / seconds);
    printf("latency     p50 %.3f  p99 %.3f  p99.9 %.3f  max %.3f ms\n",
           MS(bench_histogram_at(h, 0.5)), MS(bench_histogram_at(h, 0.99)),
           MS(bench_histogram_at(h, 0.999)), MS(h->most));
    printf("client CPU  %.2f s\n", report->run->client_cpu_s);
    if (c->errors) {
        printf("errors      %llu, the first is Kafka's number %d\n",
               (unsigned long long)c->errors, c->first_error);
    }
}

static err bench_do(const struct verb *verb, struct bench_plan *plan, bool *reached)
{
    struct bench_run run = {.plan = plan, .load = verb->load, .seconds = 1};
    struct bench_counts *counts = xcalloc(1, sizeof(*counts));
    struct report report = {verb, &run, counts, -1};
    err e = topics_prepare(plan, &report.created_ns, reached);

    bench_batch_init(&run.batch, plan);
    if (!e && verb->load == &bench_load_produce && plan->rate) {
        plan->rate = MAX(plan->rate / run.batch.count / plan->bundle, 1);
    }
    if (!e && verb->load) {
        e = bench_load_run(&run, counts);
    }
    if (!e) {
        (plan->json ? report_json : report_text)(&report);
    }
    if (!e && counts->errors) {
        e = fault(ERR_CONFLICT, "%llu answers with errors, the first is Kafka's number %d",
                  (unsigned long long)counts->errors, counts->first_error);
    }
    writer_fini(&run.batch.bytes);
    free(counts);
    return e;
}

int cli_bench(int argc, char **argv)
{
    struct bench_plan plan = {0};
    const struct verb *verb = argc > 0 ? verb_find(argv[0]) : NULL;
    int code = CLI_USAGE;
    bool reached = false;

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return CLI_DONE;
        }
    }
    if (!verb) {
        usage(stderr);
        return CLI_USAGE;
    }
    open_files_allow();
    err e = plan_fill(&plan, verb, &argc, argv);
    if (!e) {
        e = bench_do(verb, &plan, &reached);
        code = !e ? CLI_DONE : reached ? CLI_FAILED : CLI_UNREACHABLE;
    }
    if (e) {
        fprintf(stderr, "tidemark bench %s: %s\n", verb->name, fault_here.text);
    }
    options_fini(plan_options, COUNT(plan_options), &plan);
    return code;
}
