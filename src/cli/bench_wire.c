/* bench_wire.c - requests for set-up and the batch that is sent.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_wire.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (64 << 20) /* of one set-up answer */
#define READY_NS_MAX 120000000000   /* for a topic to get its leaders */
#define CREATE_PARTITIONS_MAX 1000  /* asked for in one request, unless one topic has more */
#define ASK_AGAIN_NS 2000000        /* between two looks at the metadata */

const struct bench_api_row bench_apis[BENCH_APIS] = {
    [BENCH_PRODUCE] = {0, 7, "Produce"},
    [BENCH_FETCH] = {1, 11, "Fetch"},
    [BENCH_LIST_OFFSETS] = {2, 1, "ListOffsets"},
    [BENCH_METADATA] = {3, 4, "Metadata"},
    [BENCH_OFFSET_COMMIT] = {8, 6, "OffsetCommit"},
    [BENCH_FIND_COORDINATOR] = {10, 2, "FindCoordinator"},
    [BENCH_API_VERSIONS] = {18, 0, "ApiVersions"},
    [BENCH_CREATE_TOPICS] = {19, 2, "CreateTopics"},
    [BENCH_INIT_PRODUCER_ID] = {22, 1, "InitProducerId"},
    [BENCH_ADD_PARTITIONS] = {24, 2, "AddPartitionsToTxn"},
    [BENCH_END_TXN] = {26, 1, "EndTxn"},
};

void bench_text(struct writer *w, view text)
{
    write_i16(w, text.at ? (int16_t)text.len : (int16_t)-1);
    write_view(w, text);
}

view bench_read_text(struct reader *r)
{
    int16_t len = read_i16(r);

    return len < 0 ? (view){0} : read_bytes(r, (size_t)len);
}

void bench_head(struct writer *w, enum bench_api api, int32_t correlation)
{
    assert(api < BENCH_APIS);
    write_u32(w, 0); /* the length, by bench_seal */
    write_i16(w, bench_apis[api].key);
    write_i16(w, bench_apis[api].version);
    write_i32(w, correlation);
    bench_text(w, VIEW("tidemark-bench"));
}

void bench_seal(struct writer *w, size_t start, size_t more)
{
    assert(w->len >= start + 4);
    put_u32(w->at + start, (uint32_t)(w->len - start - 4 + more));
}

static err connect_one(const struct addrinfo *to, int *out)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0) {
        return fault_errno("socket");
    }
    if (connect(fd, to->ai_addr, to->ai_addrlen)) {
        err e = fault_errno("connect");
        close(fd);
        return e;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *out = fd;
    return OK;
}

err bench_connect(const char *address, int *out)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const char *colon = strrchr(address, ':');

    if (!colon) {
        return fault(ERR_INVALID, "%s is not HOST:PORT", address);
    }
    char *host = text_format("%.*s", (int)(colon - address), address);
    int failed = getaddrinfo(host, colon + 1, &hints, &found);
    free(host);
    if (failed) {
        return fault(ERR_NOT_FOUND, "%s: %s", address, gai_strerror(failed));
    }
    err e = ERR_NOT_FOUND;
    for (const struct addrinfo *at = found; at && e; at = at->ai_next) {
        e = connect_one(at, out);
    }
    freeaddrinfo(found);
    return e ? fault_prefix("%s: ", address) : OK;
}

static err send_all(int fd, view bytes)
{
    while (bytes.len) {
        ssize_t sent = send(fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return fault_errno("send");
        }
        bytes = view_from(bytes, (size_t)sent);
    }
    return OK;
}

static err receive_all(int fd, uint8_t *at, size_t len)
{
    while (len) {
        ssize_t got = recv(fd, at, len, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fault_errno("receive");
        }
        if (got == 0) {
            return fault(ERR_CLOSED, "the broker closed the connection");
        }
        at += got;
        len -= (size_t)got;
    }
    return OK;
}

err bench_call(int fd, const struct writer *request, struct writer *in, view *body)
{
    uint8_t length[4];
    err e = send_all(fd, writer_view(request));

    assert(request->len >= 12);
    if (e || (e = receive_all(fd, length, sizeof(length)))) {
        return e;
    }
    size_t len = get_u32(length);
    if (len < 4 || len > ANSWER_BYTES_MAX) {
        return fault(ERR_CORRUPT, "an answer of %zu bytes", len);
    }
    writer_reset(in);
    if ((e = receive_all(fd, write_space(in, len), len))) {
        return e;
    }
    if (get_u32(in->at) != get_u32(request->at + 8)) {
        return fault(ERR_CORRUPT, "an answer with another request's correlation id");
    }
    *body = view_from(writer_view(in), 4);
    return OK;
}

err bench_take_versions(view body)
{
    struct reader r = {.rest = body};
    bool covered[BENCH_APIS] = {false};

    int16_t code = read_i16(&r);
    int32_t count = read_i32(&r);
    for (int32_t i = 0; i < count && !r.bad; i++) {
        int16_t key = read_i16(&r), oldest = read_i16(&r), newest = read_i16(&r);
        for (size_t api = 0; api < BENCH_APIS; api++) {
            const struct bench_api_row *row = &bench_apis[api];
            covered[api] |= key == row->key && oldest <= row->version && newest >= row->version;
        }
    }
    if (r.bad || code) {
        return fault(ERR_CORRUPT, "ApiVersions answered with error %d", code);
    }
    for (size_t api = 0; api <= BENCH_METADATA; api++) {
        if (!covered[api]) {
            return fault(ERR_UNSUPPORTED, "the broker has no %s v%d", bench_apis[api].name,
                         bench_apis[api].version);
        }
    }
    return OK;
}

err bench_check_versions(int fd)
{
    struct writer out = {0}, in = {0};
    view body;

    bench_head(&out, BENCH_API_VERSIONS, 1);
    bench_seal(&out, 0, 0);
    err e = bench_call(fd, &out, &in, &body);
    if (!e) {
        e = bench_take_versions(body);
    }
    writer_fini(&out);
    writer_fini(&in);
    return e;
}

static char *topic_name(struct arena *arena, const struct bench_topics *topics, int64_t i)
{
    return topics->count == 1 ? arena_format(arena, "%s", topics->name)
                              : arena_format(arena, "%s-%lld", topics->name, (long long)i);
}

static void write_config(struct writer *w, view config)
{
    size_t place = w->len;
    int32_t count = 0;

    write_i32(w, 0);
    while (config.len) {
        view row, name, value;
        view_cut(config, ',', &row, &config);
        view_cut(row, '=', &name, &value);
        bench_text(w, name);
        bench_text(w, value);
        count++;
    }
    put_u32(w->at + place, (uint32_t)count);
}

err bench_take_created(view body, bool *all_there)
{
    struct reader r = {.rest = body};

    read_i32(&r); /* throttle time */
    int32_t count = read_i32(&r);
    for (int32_t i = 0; i < count && !r.bad; i++) {
        view name = bench_read_text(&r);
        int16_t code = read_i16(&r);
        view text = bench_read_text(&r);
        *all_there = *all_there && code == BENCH_CODE_EXISTS;
        if (code && code != BENCH_CODE_EXISTS) {
            return fault(ERR_INVALID, "creating %.*s: error %d %.*s", VIEW_ARG(name), code,
                         VIEW_ARG(text));
        }
    }
    return r.bad ? fault(ERR_CORRUPT, "the answer to CreateTopics is cut short") : OK;
}

static err create_some(int fd, const struct bench_topics *topics, int64_t first, int64_t count,
                       bool *all_there)
{
    struct writer out = {0}, in = {0};
    struct arena arena = {0};
    view body;

    bench_head(&out, BENCH_CREATE_TOPICS, 1);
    write_i32(&out, (int32_t)count);
    for (int64_t i = first; i < first + count; i++) {
        bench_text(&out, view_text(topic_name(&arena, topics, i)));
        write_i32(&out, (int32_t)topics->partitions);
        write_i16(&out, 1);
        write_i32(&out, 0);
        write_config(&out, view_text(topics->config));
    }
    write_i32(&out, 60000); /* ms the broker may take */
    write_bool(&out, false);
    bench_seal(&out, 0, 0);
    err e = bench_call(fd, &out, &in, &body);
    if (!e) {
        e = bench_take_created(body, all_there);
    }
    arena_fini(&arena);
    writer_fini(&out);
    writer_fini(&in);
    return e;
}

static int64_t read_partitions(struct reader *r)
{
    int64_t led = 0;
    int32_t count = read_i32(r);

    for (int32_t i = 0; i < count && !r->bad; i++) {
        int16_t code = read_i16(r);
        read_i32(r); /* index */
        led += read_i32(r) >= 0 && code == 0;
        for (int list = 0; list < 2; list++) { /* replicas, then those in sync */
            int32_t nodes = read_i32(r);
            read_bytes(r, (size_t)MAX(nodes, 0) * 4);
        }
    }
    return led;
}

err bench_take_led(view body, int64_t *led)
{
    struct reader r = {.rest = body};

    read_i32(&r); /* throttle time */
    int32_t brokers = read_i32(&r);
    for (int32_t i = 0; i < brokers && !r.bad; i++) {
        read_i32(&r);
        bench_read_text(&r);
        read_i32(&r);
        bench_read_text(&r);
    }
    if (brokers > 1) {
        return fault(ERR_UNSUPPORTED, "the cluster has %d nodes; this measures one", brokers);
    }
    bench_read_text(&r); /* cluster id */
    read_i32(&r);        /* controller */
    int32_t count = read_i32(&r);
    *led = 0;
    for (int32_t i = 0; i < count && !r.bad; i++) {
        read_i16(&r);
        bench_read_text(&r);
        read_bool(&r);
        *led += read_partitions(&r);
    }
    return r.bad ? fault(ERR_CORRUPT, "the answer to Metadata is cut short") : OK;
}

static err ask_led(int fd, const struct bench_topics *topics, struct writer *in, int64_t *led)
{
    struct writer out = {0};
    struct arena arena = {0};
    view body;

    bench_head(&out, BENCH_METADATA, 1);
    write_i32(&out, (int32_t)topics->count);
    for (int64_t i = 0; i < topics->count; i++) {
        bench_text(&out, view_text(topic_name(&arena, topics, i)));
    }
    write_bool(&out, false);
    bench_seal(&out, 0, 0);
    err e = bench_call(fd, &out, in, &body);
    if (!e) {
        e = bench_take_led(body, led);
    }
    arena_fini(&arena);
    writer_fini(&out);
    return e;
}

err bench_take_offsets(view body, int64_t partitions, int64_t *at)
{
    struct reader r = {.rest = body};

    for (int32_t topics = read_i32(&r); topics > 0 && !r.bad; topics--) {
        bench_read_text(&r);
        for (int32_t count = read_i32(&r); count > 0 && !r.bad; count--) {
            int32_t index = read_i32(&r);
            int16_t code = read_i16(&r);
            read_i64(&r); /* timestamp */
            int64_t offset = read_i64(&r);
            if (code) {
                return fault(ERR_INVALID, "offsets of partition %d: error %d", index, code);
            }
            if (index >= 0 && index < partitions) {
                at[index] = offset;
            }
        }
    }
    return r.bad ? fault(ERR_CORRUPT, "the answer to ListOffsets is cut short") : OK;
}

err bench_list_offsets(int fd, const char *topic, int64_t partitions, int64_t timestamp,
                       int64_t *at)
{
    struct writer out = {0}, in = {0};
    view body;

    bench_head(&out, BENCH_LIST_OFFSETS, 1);
    write_i32(&out, -1); /* not a replica */
    write_i32(&out, 1);
    bench_text(&out, view_text(topic));
    write_i32(&out, (int32_t)partitions);
    for (int32_t i = 0; i < partitions; i++) {
        write_i32(&out, i);
        write_i64(&out, timestamp);
    }
    bench_seal(&out, 0, 0);
    err e = bench_call(fd, &out, &in, &body);
    if (!e) {
        e = bench_take_offsets(body, partitions, at);
    }
    writer_fini(&out);
    writer_fini(&in);
    return e;
}

/* A broker may name a leader that refuses requests for a moment longer. */
static err wait_usable(int fd, const struct bench_topics *topics, int64_t start)
{
    int64_t *at = xcalloc((size_t)topics->partitions, sizeof(*at));
    struct os *os = os_real();
    err e = bench_list_offsets(fd, topics->name, topics->partitions, -1, at);

    while (e == ERR_INVALID && os->tick_ns(os) - start < READY_NS_MAX) {
        usleep(ASK_AGAIN_NS / 1000);
        e = bench_list_offsets(fd, topics->name, topics->partitions, -1, at);
    }
    free(at);
    return e;
}

err bench_topics_ready(int fd, const struct bench_topics *topics, int64_t *created_ns)
{
    struct os *os = os_real();
    struct writer in = {0};
    int64_t start = os->tick_ns(os), led = 0, wanted = topics->count * topics->partitions;
    int64_t step = MAX(CREATE_PARTITIONS_MAX / topics->partitions, 1);
    bool all_there = true;
    err e = OK;

    for (int64_t i = 0; i < topics->count && !e; i += step) {
        e = create_some(fd, topics, i, MIN(topics->count - i, step), &all_there);
    }
    while (!e && led < wanted) {
        e = ask_led(fd, topics, &in, &led);
        if (!e && led < wanted && os->tick_ns(os) - start > READY_NS_MAX) {
            e = fault(ERR_TIMEOUT, "%s: %lld of %lld partitions have a leader", topics->name,
                      (long long)led, (long long)wanted);
        } else if (!e && led < wanted) {
            usleep(ASK_AGAIN_NS / 1000);
        }
    }
    writer_fini(&in);
    if (!e && topics->count == 1) {
        e = wait_usable(fd, topics, start);
    }
    *created_ns = all_there ? -1 : os->tick_ns(os) - start;
    return e;
}

static void write_record(struct writer *w, int32_t index, view key, view value)
{
    struct writer record = {0};

    write_u8(&record, 0);         /* attributes */
    write_varlong(&record, 0);    /* timestamp delta */
    write_varint(&record, index); /* offset delta */
    write_varint(&record, key.len ? (int32_t)key.len : -1);
    write_view(&record, key);
    write_varint(&record, (int32_t)value.len);
    write_view(&record, value);
    write_varint(&record, 0); /* no headers */
    write_varint(w, (int32_t)record.len);
    write_view(w, writer_view(&record));
    writer_fini(&record);
}

/* Random bytes, so that nothing on the way can shrink them. */
static void write_records(struct writer *w, const struct bench_records *records)
{
    struct os *os = os_real();
    size_t key = (size_t)records->key_bytes, value = (size_t)records->value_bytes;
    uint8_t *bytes = xmalloc(key + value + 1);

    for (int32_t i = 0; i < records->count; i++) {
        os->random(os, bytes, key + value);
        write_record(w, i, (view){bytes, key}, (view){bytes + key, value});
    }
    free(bytes);
}

void bench_batch(struct writer *w, const struct bench_records *records, int64_t now_ms)
{
    size_t start = w->len;

    assert(records->count > 0);
    write_i64(w, 0);  /* base offset */
    write_i32(w, 0);  /* length, below */
    write_i32(w, -1); /* leader epoch */
    write_i8(w, 2);   /* magic */
    write_u32(w, 0);  /* checksum, below */
    write_i16(w, 0);  /* attributes */
    write_i32(w, records->count - 1);
    write_i64(w, now_ms);
    write_i64(w, now_ms);
    write_i64(w, -1); /* producer */
    write_i16(w, -1); /* its epoch */
    write_i32(w, -1); /* its sequence */
    write_i32(w, records->count);
    assert(w->len - start == BENCH_HEAD_BYTES);
    write_records(w, records);
    uint8_t *batch = w->at + start;
    put_u32(batch + 8, (uint32_t)(w->len - start - 12));
    put_u32(batch + 17,
            crc32c(0, (view){batch + BENCH_CRC_START, w->len - start - BENCH_CRC_START}));
}
