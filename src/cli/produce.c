/* produce.c - `tidemark produce`: a record for each line of standard input.
 *
 * acks=all and idempotence: a record is reported as written only when it is durable, and a
 * retry writes none twice. The first failures are named with their lines and what to do; none
 * is silent. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/kafka.h"
#include "cli/line.h"

#define FAILURES_SAID 10
#define VALUES_MAX 8 /* of one produceva */
#define LINGER_MS "5"
#define TIMEOUT_MS "60000"
#define QUEUE_KBYTES "65536"      /* lines read ahead of the server */
#define MESSAGE_BYTES "104857600" /* the server decides what is too large */

struct produce_options {
    struct common common;
    int64_t format;
    char *key, *separator;
    int64_t partition;
};

struct producing {
    struct kafka kafka; /* first: callbacks get it */
    struct cli *cli;
    const char *topic;
    int64_t lines, written, failed;
    bool progress;
    int64_t progress_ns;
};

static void say_failure(struct producing *p, int64_t line, const char *why, const char *fix)
{
    p->failed++;
    if (p->failed <= FAILURES_SAID) {
        fprintf(stderr, "line %lld: %s%s%s%s\n", (long long)line, why, fix[0] ? " (" : "", fix,
                fix[0] ? ")" : "");
    }
}

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct producing *p = opaque;

    (void)client;
    if (message->err) {
        say_failure(p, (int64_t)(intptr_t)message->_private, p->kafka.err2str(message->err),
                    kafka_fix(message->err));
    } else {
        p->written++;
    }
}

static void show_progress(struct producing *p, bool last)
{
    if (p->progress) {
        progress_show(&p->progress_ns, p->written, "written", last);
    }
}

static rd_kafka_vu_t bytes_value(rd_kafka_vtype_t type, view bytes)
{
    rd_kafka_vu_t value = {.vtype = type};

    value.u.mem.ptr = (void *)(uintptr_t)bytes.at;
    value.u.mem.size = bytes.len;
    return value;
}

static rd_kafka_headers_t *headers_of(struct kafka *k, const struct line_record *record)
{
    rd_kafka_headers_t *headers =
        record->header_count ? k->headers_new(record->header_count) : NULL;

    for (size_t i = 0; i < record->header_count; i++) {
        const struct line_header *h = &record->headers[i];
        k->header_add(headers, (const char *)h->name.at, (ssize_t)h->name.len, h->value.at,
                      (ssize_t)h->value.len);
    }
    return headers;
}

static rd_kafka_resp_err_t try_send(struct producing *p, const struct line_record *record,
                                    rd_kafka_headers_t *headers)
{
    rd_kafka_vu_t values[VALUES_MAX];
    size_t count = 0;

    values[count] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TOPIC};
    values[count++].u.cstr = p->topic;
    values[count] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_OPAQUE};
    values[count++].u.ptr = (void *)(intptr_t)p->lines;
    values[count] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS};
    values[count++].u.i = RD_KAFKA_MSG_F_COPY;
    values[count] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_PARTITION};
    values[count++].u.i32 = record->partition;
    values[count++] = bytes_value(RD_KAFKA_VTYPE_KEY, record->key);
    values[count++] = bytes_value(RD_KAFKA_VTYPE_VALUE, record->value);
    if (record->timestamp_ms >= 0) {
        values[count] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TIMESTAMP};
        values[count++].u.i64 = record->timestamp_ms;
    }
    if (headers) {
        values[count] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS};
        values[count++].u.headers = headers;
    }
    rd_kafka_error_t *error = p->kafka.produceva(p->kafka.client, values, count);
    rd_kafka_resp_err_t code = error ? p->kafka.error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (error) {
        p->kafka.error_destroy(error);
    }
    return code;
}

static void send_record(struct producing *p, const struct line_record *record)
{
    struct kafka *k = &p->kafka;
    rd_kafka_headers_t *headers = headers_of(k, record);
    rd_kafka_resp_err_t code = try_send(p, record, headers);

    while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL && !stop_was_asked()) {
        k->poll(k->client, 100);
        show_progress(p, false);
        code = try_send(p, record, headers);
    }
    if (code && headers) {
        k->headers_destroy(headers); /* else the message's */
    }
    if (code) {
        say_failure(p, p->lines, k->err2str(code), kafka_fix(code));
    }
    k->poll(k->client, 0);
    show_progress(p, false);
}

static void send_line(struct producing *p, view line, struct arena *arena)
{
    const struct produce_options *o = p->cli->options;
    struct line_record record;

    arena_reset(arena);
    p->lines++;
    if (line_read((enum line_format)o->format, o->separator ? o->separator : LINE_SEPARATOR,
                  line, arena, &record)) {
        say_failure(p, p->lines, fault_here.text, "");
        return;
    }
    if (o->key && !record.key.at) {
        record.key = view_text(o->key);
    }
    if (o->partition >= 0) {
        record.partition = (int32_t)o->partition;
    }
    send_record(p, &record);
}

static err send_input(struct producing *p)
{
    struct arena arena = {0};
    char *line = NULL;
    size_t room = 0;
    ssize_t len = 0;

    while (!stop_was_asked() && (len = getline(&line, &room, stdin)) > 0) {
        view text = {(const uint8_t *)line, (size_t)len};
        if (line[len - 1] == '\n') {
            text.len--;
        }
        send_line(p, text, &arena);
    }
    err e = !stop_was_asked() && ferror(stdin) ? fault_errno("reading standard input") : OK;
    free(line);
    arena_fini(&arena);
    return e;
}

/* All that was handed over is written or has failed when this returns. */
static void settle(struct producing *p)
{
    struct kafka *k = &p->kafka;

    while (k->outq_len(k->client) > 0) {
        k->flush(k->client, 200);
        show_progress(p, false);
    }
}

static err configure(struct producing *p)
{
    static const char *const settings[][2] = {
        {"acks", "all"},
        {"enable.idempotence", "true"},
        {"linger.ms", LINGER_MS},
        {"message.timeout.ms", TIMEOUT_MS},
        {"queue.buffering.max.kbytes", QUEUE_KBYTES},
        {"message.max.bytes", MESSAGE_BYTES},
        {"compression.type", "lz4"},
    };
    err e = kafka_prepare(&p->kafka, p->cli->options);

    for (size_t i = 0; i < COUNT(settings) && !e; i++) {
        e = kafka_set(&p->kafka, settings[i][0], settings[i][1]);
    }
    if (!e) {
        p->kafka.conf_set_dr_msg_cb(p->kafka.conf, on_delivery);
    }
    return e;
}

static void report(struct producing *p)
{
    const struct common *common = p->cli->options;

    show_progress(p, true);
    if (p->failed > FAILURES_SAID) {
        fprintf(stderr, "... and %lld more\n", (long long)(p->failed - FAILURES_SAID));
    }
    if (common->json) {
        struct writer out = {0};
        struct json_writer j = json_to(&out);
        json_object(&j);
        json_name(&j, "topic");
        json_text(&j, p->topic);
        json_name(&j, "written");
        json_int(&j, p->written);
        json_name(&j, "failed");
        json_int(&j, p->failed);
        json_end_object(&j);
        printf("%.*s\n", VIEW_ARG(writer_view(&out)));
        writer_fini(&out);
    }
}

static err run(struct cli *cli)
{
    struct producing p = {.cli = cli, .topic = cli->words[0]};
    int32_t partitions = 0;

    p.progress = isatty(STDERR_FILENO) && !isatty(STDIN_FILENO);
    stop_on_signals();
    err e = configure(&p);
    e = e ? e : kafka_open(&p.kafka, cli, RD_KAFKA_PRODUCER, p.topic, &partitions);
    if (!e) {
        e = send_input(&p);
        settle(&p);
        report(&p);
    }
    kafka_close(&p.kafka);
    if (!e && p.failed) {
        e = fault(ERR_IO, "%lld of %lld records were not written", (long long)p.failed,
                  (long long)p.lines);
    }
    return e;
}

static const struct option options[] = {
    {CLI_OPTION(produce_options, format, "format", CHOICE, "value",
                "what a line is: the value; key, separator, value; a JSON object as consume "
                "writes it; key and value in hex"),
     .choices = line_formats},
    {CLI_OPTION(produce_options, key, "key", TEXT, "", "of records whose line says none")},
    {CLI_OPTION(produce_options, separator, "separator", TEXT, "",
                "between key and value; a tab if not given")},
    {CLI_OPTION(produce_options, partition, "partition", INT, "-1",
                "write to this one; -1: by the key, else any"),
     .least = -1, .most = INT32_MAX},
};
const struct command produce = {
    .noun = "produce",
    .words = "TOPIC",
    .help = "write standard input, a record for each line",
    .more =
        "It ends when all is durable; lines that failed are named, and the exit code is 1.\n"
        "  seq 1000 | tidemark produce numbers\n"
        "  tidemark consume orders --format json | tidemark produce copy --format json",
    .run = run,
    .options = options,
    .option_count = COUNT(options),
    .self_bytes = sizeof(struct produce_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_KAFKA | COMMAND_JSON | COMMAND_TOPICS,
};
