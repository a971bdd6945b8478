/* consume.c - `tidemark consume`: records as lines on standard output.
 *
 * Alone it reads partitions from a point to their present ends (or on, with --follow); with
 * --group it is a member like any other: the group's offsets move, and only past what has been
 * written out. Records of open and aborted transactions are not shown.
 *
 * Ends well when the reader of the pipe is gone, and on the first SIGINT.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/kafka.h"
#include "cli/line.h"

#define ASK_MS 10000
#define POLL_MS 100
#define COMMIT_NS INT64_C(1000000000)
#define OUTPUT_BYTES (256u << 10)
/* Read ahead of the output. The library pauses for a second whenever either limit is reached,
 * so they hold about a second's worth, and one fetch must not fill them at once. */
#define QUEUE_KBYTES "65536"
#define QUEUE_RECORDS "300000"
#define FETCH_BYTES "262144"
#define NO_END INT64_MAX

struct consume_options {
    struct common common;
    int64_t format, count, partition;
    char *from, *to, *group, *separator;
    bool follow;
};

struct part {           /* a partition on its way */
    int64_t start, end; /* end: the offset not read any more */
    bool done;
};

struct consuming {
    struct kafka kafka; /* first: callbacks get it */
    struct cli *cli;
    const struct consume_options *o;
    const char *topic;
    struct part *parts;
    int32_t count;
    int32_t mine; /* partitions this member has; -1: not joined yet */
    int64_t shown;
    struct writer out;
    struct arena arena; /* of one record */
    bool pipe_closed, progress;
    int64_t committed_ns, progress_ns;
};

static err point_offset(struct consuming *c, const struct point *point, int32_t partition,
                        int64_t *out)
{
    struct kafka *k = &c->kafka;
    int64_t low = 0, high = 0;
    rd_kafka_resp_err_t code =
        k->query_watermark_offsets(k->client, c->topic, partition, &low, &high, ASK_MS);

    if (code) {
        return kafka_fault(k, code, c->topic);
    }
    if (point->kind == POINT_OFFSET && (point->value < low || point->value > high)) {
        return fault(ERR_OUT_OF_RANGE, "%s/%d has the offsets %lld to %lld, not %lld", c->topic,
                     partition, (long long)low, (long long)high, (long long)point->value);
    }
    *out = point->kind == POINT_EARLIEST ? low
           : point->kind == POINT_OFFSET ? point->value
                                         : high;
    if (point->kind == POINT_TIME) {
        rd_kafka_topic_partition_list_t *ask = k->topic_partition_list_new(1);
        k->topic_partition_list_add(ask, c->topic, partition)->offset = point->value;
        code = k->offsets_for_times(k->client, ask, ASK_MS);
        *out = ask->elems[0].offset < 0 ? high : ask->elems[0].offset;
        k->topic_partition_list_destroy(ask);
    }
    return code ? kafka_fault(k, code, c->topic) : OK;
}

static err read_point(const char *text, const char *preset, struct point *out)
{
    struct os *os = os_real();

    err e = point_parse(view_text(text ? text : preset), os->now_ms(os), out);

    if (!e && out->kind == POINT_LSN) {
        e = fault(ERR_INVALID, "a database's position means nothing in a topic: use %s",
                  POINT_WORDS);
    }
    return e;
}

/* Where every partition begins and ends. */
static err plan(struct consuming *c)
{
    struct point from, to;
    err e = read_point(c->o->from, "earliest", &from);

    e = e ? e : read_point(c->o->to, "latest", &to);
    for (int32_t i = 0; i < c->count && !e; i++) {
        struct part *part = &c->parts[i];
        if (c->o->partition >= 0 && c->o->partition != i) {
            part->done = true;
            continue;
        }
        e = point_offset(c, &from, i, &part->start);
        part->end = NO_END;
        if (!e && (c->o->to || !c->o->follow)) {
            e = point_offset(c, &to, i, &part->end);
        }
        part->done = part->start >= part->end;
    }
    return e;
}

static err assign_alone(struct consuming *c)
{
    struct kafka *k = &c->kafka;
    rd_kafka_topic_partition_list_t *list = k->topic_partition_list_new(c->count);
    err e = plan(c);

    c->mine = 0;
    for (int32_t i = 0; i < c->count; i++) {
        if (!c->parts[i].done) {
            k->topic_partition_list_add(list, c->topic, i)->offset = c->parts[i].start;
            c->mine++;
        }
    }
    rd_kafka_resp_err_t code = e ? 0 : k->assign(k->client, list);
    k->topic_partition_list_destroy(list);
    return e || !code ? e : kafka_fault(k, code, c->topic);
}

/* A member's partitions changed: what it has now has no end yet but the one it meets. */
static void on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct consuming *c = opaque;
    bool given = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;

    for (int32_t i = 0; i < c->count; i++) {
        c->parts[i].done = true;
    }
    for (int i = 0; given && i < list->cnt; i++) {
        if (list->elems[i].partition < c->count) {
            c->parts[list->elems[i].partition] = (struct part){.end = NO_END};
        }
    }
    c->mine = given ? list->cnt : -1;
    c->kafka.assign(client, given ? list : NULL);
}

static err join(struct consuming *c)
{
    struct kafka *k = &c->kafka;
    rd_kafka_topic_partition_list_t *list = k->topic_partition_list_new(1);

    c->mine = -1;
    k->topic_partition_list_add(list, c->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = k->subscribe(k->client, list);
    k->topic_partition_list_destroy(list);
    return code ? kafka_fault(k, code, c->topic) : OK;
}

static err flush_out(struct consuming *c)
{
    view rest = writer_view(&c->out);

    while (rest.len) {
        ssize_t wrote = write(STDOUT_FILENO, rest.at, rest.len);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote < 0) {
            c->pipe_closed = errno == EPIPE;
            return c->pipe_closed ? OK : fault_errno("writing to standard output");
        }
        rest = view_from(rest, (size_t)wrote);
    }
    writer_reset(&c->out);
    return OK;
}

/* The group moves on past what is written out, now and then and at the end. */
static void commit(struct consuming *c, bool last)
{
    struct os *os = os_real();
    int64_t now = os->tick_ns(os);

    if (c->o->group && !c->out.len && (last || now - c->committed_ns > COMMIT_NS)) {
        c->committed_ns = now;
        c->kafka.commit(c->kafka.client, NULL, !last);
    }
}

static void take_headers(struct consuming *c, const rd_kafka_message_t *message,
                         struct line_record *record)
{
    struct kafka *k = &c->kafka;
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t count = 0, len;

    if (k->message_headers(message, &headers)) {
        return;
    }
    while (!k->header_get_all(headers, count, &name, &value, &len)) {
        count++;
    }
    record->headers = arena_take(&c->arena, (count + 1) * sizeof(*record->headers));
    for (size_t i = 0; i < count; i++) {
        k->header_get_all(headers, i, &name, &value, &len);
        record->headers[i] = (struct line_header){view_text(name), {value, len}};
    }
    record->header_count = count;
}

static void show(struct consuming *c, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    struct line_record record = {
        .topic = view_text(c->topic),
        .partition = message->partition,
        .offset = message->offset,
        .key = {message->key, message->key_len},
        .value = {message->payload, message->len},
    };
    struct part *part = &c->parts[message->partition];

    if (message->offset >= part->end) {
        part->done = true;
        return;
    }
    arena_reset(&c->arena);
    record.timestamp_ms = c->kafka.message_timestamp(message, &type);
    take_headers(c, message, &record);
    line_write((enum line_format)c->o->format,
               c->o->separator ? c->o->separator : LINE_SEPARATOR, &record, &c->out);
    if (c->o->group) {
        c->kafka.offset_store(message->rkt, message->partition, message->offset);
    }
    c->shown++;
    part->done = message->offset + 1 >= part->end;
}

static err take(struct consuming *c, const rd_kafka_message_t *message)
{
    bool known = message->partition >= 0 && message->partition < c->count;

    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (known && !c->o->follow) {
            c->parts[message->partition].done = true;
        }
        return OK;
    }
    if (message->err) {
        return kafka_fault(&c->kafka, message->err, c->topic);
    }
    if (known) {
        show(c, message);
    }
    return OK;
}

static bool all_done(const struct consuming *c)
{
    bool done = c->mine >= 0 && !(c->o->follow && !c->o->to);

    for (int32_t i = 0; i < c->count; i++) {
        done = done && c->parts[i].done;
    }
    return done || (c->o->count && c->shown >= c->o->count);
}

static err read_all(struct consuming *c)
{
    struct kafka *k = &c->kafka;
    err e = OK;

    while (!e && !c->pipe_closed && !stop_was_asked() && !all_done(c)) {
        rd_kafka_message_t *message = k->consumer_poll(k->client, c->out.len ? 0 : POLL_MS);
        if (message) {
            e = take(c, message);
            k->message_destroy(message);
        }
        if (!e && (!message || c->out.len >= OUTPUT_BYTES)) {
            e = flush_out(c);
            commit(c, false);
            if (c->progress) {
                progress_show(&c->progress_ns, c->shown, "read", false);
            }
        }
    }
    err written = flush_out(c);
    e = e ? e : written;
    commit(c, true);
    if (c->progress) {
        progress_show(&c->progress_ns, c->shown, "read", true);
    }
    return e;
}

static err configure(struct consuming *c)
{
    const struct consume_options *o = c->o;
    const char *reset = o->from ? o->from : "earliest";
    const char *const settings[][2] = {
        {"group.id", o->group ? o->group : "tidemark-consume"}, /* never joined without one */
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", o->group ? reset : "earliest"},
        {"isolation.level", "read_committed"},
        {"allow.auto.create.topics", "false"},
        {"queued.max.messages.kbytes", QUEUE_KBYTES},
        {"fetch.wait.max.ms", "100"},
        {"max.partition.fetch.bytes", FETCH_BYTES},
        {"queued.min.messages", QUEUE_RECORDS},
    };
    err e = kafka_prepare(&c->kafka, &o->common);

    for (size_t i = 0; i < COUNT(settings) && !e; i++) {
        e = kafka_set(&c->kafka, settings[i][0], settings[i][1]);
    }
    if (!e && o->group) {
        c->kafka.conf_set_rebalance_cb(c->kafka.conf, on_rebalance);
    }
    return e;
}

static err check(const struct consume_options *o)
{
    bool plain = !o->from || !strcmp(o->from, "earliest") || !strcmp(o->from, "latest");

    if (o->group && (o->to || o->partition >= 0)) {
        return fault(ERR_INVALID, "a group shares out partitions and keeps its own offsets: "
                                  "--to and --partition do not go with --group");
    }
    if (o->group && !plain) {
        return fault(ERR_INVALID,
                     "with --group, --from is earliest or latest, for a group that is new; "
                     "`tidemark group edit` moves one to any point");
    }
    return OK;
}

static err begin(struct consuming *c)
{
    err e = kafka_open(&c->kafka, c->cli, RD_KAFKA_CONSUMER, c->topic, &c->count);

    if (e) {
        return e;
    }
    if (c->o->partition >= c->count) {
        return fault(ERR_NOT_FOUND, "%s has the partitions 0 to %d", c->topic, c->count - 1);
    }
    c->kafka.poll_set_consumer(c->kafka.client);
    c->parts = xcalloc((size_t)c->count, sizeof(*c->parts));
    return c->o->group ? join(c) : assign_alone(c);
}

static err run(struct cli *cli)
{
    struct consuming c = {.cli = cli, .o = cli->options, .topic = cli->words[0]};
    err e = check(c.o);

    if (e) {
        return e;
    }
    c.progress = isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO) && !c.o->follow;
    stop_on_signals();
    e = configure(&c);
    e = e ? e : begin(&c);
    e = e ? e : read_all(&c);
    if (c.kafka.client) {
        c.kafka.consumer_close(c.kafka.client);
    }
    kafka_close(&c.kafka);
    writer_fini(&c.out);
    arena_fini(&c.arena);
    free(c.parts);
    return e;
}

static const struct option options[] = {
    {CLI_OPTION(consume_options, from, "from", TEXT, "",
                "POINT to begin at, earliest if not given; " POINT_WORDS)},
    {CLI_OPTION(consume_options, to, "to", TEXT, "",
                "POINT to end before; the present end if not given")},
    {CLI_OPTION(consume_options, follow, "follow", BOOL, "false",
                "wait for more at the end, until interrupted"),
     .flag = "f"},
    {CLI_OPTION(consume_options, count, "count", COUNT, "0",
                "stop after so many; 0: no limit")},
    {CLI_OPTION(consume_options, group, "group", TEXT, "",
                "as a member of this group: from where it is, and it moves on")},
    {CLI_OPTION(consume_options, partition, "partition", INT, "-1", "only this one; -1: all"),
     .least = -1, .most = INT32_MAX},
    {CLI_OPTION(consume_options, format, "format", CHOICE, "value",
                "what a line is: the value; key, separator, value; all of the record as a JSON "
                "object; key and value in hex"),
     .choices = line_formats},
    {CLI_OPTION(consume_options, separator, "separator", TEXT, "",
                "between key and value; a tab if not given")},
};
const struct command consume = {
    .noun = "consume",
    .words = "TOPIC",
    .help = "read a topic, a line for each record",
    .more = "Without --follow it ends at the end that the topic has when it begins.\n"
            "  tidemark consume orders --from -15m --format json\n"
            "  tidemark consume orders --group billing --follow",
    .run = run,
    .options = options,
    .option_count = COUNT(options),
    .self_bytes = sizeof(struct consume_options),
    .words_least = 1,
    .words_most = 1,
    .flags = COMMAND_KAFKA | COMMAND_TOPICS,
};
