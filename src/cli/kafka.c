/* kafka.c - loading librdkafka, opening a client, its failures in words.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/kafka.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>

#define KAFKA_LIBRARY "librdkafka.so.1"
#define ASK_MS 10000 /* for a first answer */
#define PROGRESS_NS INT64_C(200000000)

static err load(struct kafka *k)
{
    const struct {
        const char *name;
        void *at; /* of the function pointer to fill */
    } calls[] = {
#define X(name) {"rd_kafka_" #name, &k->name},
        KAFKA_CALLS(X)
#undef X
    };

    k->library = dlopen(KAFKA_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!k->library) {
        return fault(ERR_IO, "produce and consume need %s (Debian: librdkafka1): %s",
                     KAFKA_LIBRARY, dlerror());
    }
    for (size_t i = 0; i < COUNT(calls); i++) {
        void *found = dlsym(k->library, calls[i].name);
        if (!found) {
            return fault(ERR_IO, "%s lacks %s: it is too old", KAFKA_LIBRARY, calls[i].name);
        }
        memcpy(calls[i].at, &found, sizeof(found));
    }
    return OK;
}

/* It would write its own lines to standard error; what matters of them is said once, by us. */
static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    (void)client;
    (void)level;
    (void)facility;
    (void)text;
}

static void on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct kafka *k = opaque;

    (void)client;
    (void)code;
    snprintf(k->down, sizeof(k->down), "%s", reason);
}

err kafka_set(struct kafka *k, const char *name, const char *value)
{
    char why[256] = "";

    if (k->conf_set(k->conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK) {
        return fault(ERR_INVALID, "%s=%s: %s", name, value, why);
    }
    return OK;
}

err kafka_prepare(struct kafka *k, const struct common *common)
{
    err e = load(k);

    if (e) {
        return e;
    }
    k->conf = k->conf_new();
    k->conf_set_opaque(k->conf, k);
    k->conf_set_error_cb(k->conf, on_error);
    k->conf_set_log_cb(k->conf, on_log);
    e = kafka_set(k, "bootstrap.servers", common->kafka);
    e = e ? e : kafka_set(k, "client.id", "tidemark");
    return e ? e : kafka_set(k, "broker.address.family", "any");
}

const char *kafka_fix(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
        return "is the server running? start it with `tidemark server`, or name its address "
               "with --kafka";
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        return "`tidemark topic ls` lists the topics, `tidemark topic create` makes one";
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return "`tidemark topic show` lists the partitions";
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return "send smaller records, or raise the topic's max.message.bytes with `tidemark "
               "topic edit`";
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
        return "look at the server's log and its disk; `tidemark doctor` helps";
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
        return "the topic's message.timestamp.before.max.ms and after.max.ms set the bounds";
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        return "a compacted topic wants a key: --key, or --format key-value";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        return "topics whose names begin with __ are the program's own";
    default:
        return "";
    }
}

err kafka_fault(const struct kafka *k, rd_kafka_resp_err_t code, const char *what)
{
    const char *fix = kafka_fix(code);
    err kind = code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                       code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
                       code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
                   ? ERR_NOT_FOUND
               : code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ? ERR_DENIED
                                                                      : ERR_IO;

    return fault(kind, "%s: %s%s%s%s", what, k->err2str(code), fix[0] ? " (" : "", fix,
                 fix[0] ? ")" : "");
}

static bool is_unreachable(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
           code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__RESOLVE;
}

/* A topic that the question itself made may need another one until it has a leader. */
static err ask_topic(struct kafka *k, struct cli *cli, const char *topic, int32_t *partitions)
{
    const struct common *common = cli->options;
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_topic_t *handle = k->topic_new(k->client, topic, NULL);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__INVALID_ARG;

    for (int round = 0; handle && round < 20; round++) {
        code = k->metadata(k->client, 0, handle, &found, ASK_MS);
        if (!code) {
            code = found->topic_cnt == 1 ? found->topics[0].err
                                         : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
            *partitions = code ? 0 : found->topics[0].partition_cnt;
            k->metadata_destroy(found);
        }
        if (code != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
            break;
        }
        k->poll(k->client, 50);
    }
    if (handle) {
        k->topic_destroy(handle);
    }
    cli->unreachable = is_unreachable(code);
    if (cli->unreachable) {
        return fault(ERR_CLOSED, "no Kafka server answers at %s (%s): %s", common->kafka,
                     k->down[0] ? k->down : k->err2str(code), kafka_fix(code));
    }
    return code ? kafka_fault(k, code, topic) : OK;
}

err kafka_open(struct kafka *k, struct cli *cli, rd_kafka_type_t type, const char *topic,
               int32_t *partitions)
{
    char why[256] = "";

    k->client = k->new (type, k->conf, why, sizeof(why));
    if (!k->client) {
        return fault(ERR_IO, "the Kafka client does not start: %s", why);
    }
    k->conf = NULL; /* the client's */
    return ask_topic(k, cli, topic, partitions);
}

void kafka_close(struct kafka *k)
{
    if (k->client) {
        k->destroy(k->client);
    }
    if (k->conf) {
        k->conf_destroy(k->conf);
    }
    k->client = NULL;
    k->conf = NULL;
}

void progress_show(int64_t *due_ns, int64_t count, const char *done, bool last)
{
    struct os *os = os_real();
    int64_t now = os->tick_ns(os);

    if (last || now > *due_ns) {
        *due_ns = now + PROGRESS_NS;
        fprintf(stderr, "\r%lld %s%s", (long long)count, done, last ? "\n" : "");
    }
}

static volatile sig_atomic_t stop_asked; /* a handler can reach nothing else */

static void on_signal(int number)
{
    stop_asked = 1;
    signal(number, SIG_DFL); /* the second one means it */
}

/* Without SA_RESTART, so that a read that waits for a line comes back. */
void stop_on_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe shows when writing */
}

bool stop_was_asked(void)
{
    return stop_asked != 0;
}
