/* journal.c - group commit of the coordinator's records.
 *
 *   submit, submit, submit      flush under way      submit ...
 *   [ waiting ------------- ] -> runs of one producer each -> store.append -> done, done, done
 *
 * A run is cut where the producer changes (a transaction's offsets travel in batches of its
 * producer) and at RUN_BYTES_MAX. SPDX-License-Identifier: Apache-2.0 */
#include "coord/journal.h"

#include <stdlib.h>

#include "coord/state.h"

#define RUN_BYTES_MAX (512 << 10)
#define RECORD_HEAD_BYTES 32 /* a guess, for the limit only */

struct journal {
    struct coord *coord;
    enum store_topic topic;
    int32_t partition;
    struct journal_write *first, *last; /* waiting */
    size_t under_way;                   /* runs at the store */
};

struct run {
    struct store_append append; /* first */
    struct journal *journal;
    struct journal_write *writes;
    struct record *records;
};

/* The code units of UTF-16, as Java has them; bytes that are no UTF-8 count as they are. */
static uint32_t java_hash(view text)
{
    uint32_t hash = 0;

    for (size_t i = 0; i < text.len;) {
        uint32_t c = text.at[i];
        size_t more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
        if (more > text.len - i - 1) {
            more = 0;
        }
        c = more ? c & (0x3Fu >> more) : c;
        for (size_t k = 1; k <= more; k++) {
            c = c << 6 | (text.at[i + k] & 0x3Fu);
        }
        i += more + 1;
        if (c >= 0x10000) {
            hash = hash * 31 + (0xD800 + ((c - 0x10000) >> 10));
            c = 0xDC00 + ((c - 0x10000) & 0x3FF);
        }
        hash = hash * 31 + c;
    }
    return hash;
}

int32_t java_partition(view text, int32_t count)
{
    int32_t hash = (int32_t)java_hash(text);

    hash = hash == INT32_MIN ? 0 : hash < 0 ? -hash : hash; /* Kafka's Utils.abs */
    return hash % count;
}

int32_t journal_partition(const struct coord *c, enum store_topic topic, view key)
{
    return java_partition(key, c->journal_count[topic]);
}

static size_t write_bytes_guess(const struct journal_write *write)
{
    size_t bytes = 0;

    for (size_t i = 0; i < write->count; i++) {
        bytes += write->records[i].key.len + write->records[i].value.len + RECORD_HEAD_BYTES;
    }
    return bytes;
}

static void flush(struct journal *j);

static void run_finish(struct job *job)
{
    struct run *run = (struct run *)(void *)job;
    struct journal *j = run->journal;
    int64_t offset = run->append.base_offset;

    j->coord->store_calls--;
    for (struct journal_write *write = run->writes, *next; write; write = next) {
        next = write->next; /* done() may free the write or submit it again */
        write->ok = run->append.ok;
        write->base_offset = offset;
        offset += (int64_t)write->count;
        write->done(write);
    }
    free(run->records);
    free(run);
    if (--j->under_way == 0) {
        flush(j);
    }
}

static void run_stored(struct store_append *append)
{
    struct run *run = (struct run *)(void *)append;

    append->job.work = run_finish;
    worker_post(&run->journal->coord->worker, &append->job);
}

/* Takes writes of one producer off the front. */
static struct run *run_take(struct journal *j)
{
    struct run *run = xcalloc(1, sizeof(*run));
    struct journal_write *last = j->first;
    size_t bytes = write_bytes_guess(last), count = last->count, at = 0;

    for (struct journal_write *next = last->next;
         next && next->producer_id == last->producer_id &&
         next->producer_epoch == last->producer_epoch &&
         (bytes += write_bytes_guess(next)) <= RUN_BYTES_MAX;
         next = next->next) {
        count += next->count;
        last = next;
    }
    run->journal = j;
    run->writes = j->first;
    j->first = last->next;
    last->next = NULL;
    run->records = xcalloc(count, sizeof(struct record));
    for (const struct journal_write *write = run->writes; write; write = write->next) {
        for (size_t i = 0; i < write->count; i++) {
            run->records[at++] = write->records[i];
        }
    }
    run->append = (struct store_append){
        .topic = j->topic,
        .partition = j->partition,
        .records = run->records,
        .count = count,
        .producer_id = last->producer_id,
        .producer_epoch = last->producer_epoch,
        .done = run_stored,
    };
    return run;
}

static void flush(struct journal *j)
{
    struct coord *c = j->coord;

    while (j->first) {
        struct run *run = run_take(j);
        j->under_way++;
        c->store_calls++;
        c->store->append(c->store, &run->append);
    }
    j->last = NULL;
}

void journal_submit(struct coord *c, enum store_topic topic, view key,
                    struct journal_write *write)
{
    struct journal *j = &c->journals[topic][journal_partition(c, topic, key)];

    assert(write->count > 0);
    write->next = NULL;
    if (j->first) {
        j->last->next = write;
    } else {
        j->first = write;
    }
    j->last = write;
    if (!j->under_way) {
        flush(j);
    }
}

void journals_init(struct coord *c)
{
    for (size_t topic = 0; topic < STORE_TOPICS; topic++) {
        int32_t count = c->store->partitions(c->store, (enum store_topic)topic);
        c->journal_count[topic] = count;
        c->journals[topic] = xcalloc((size_t)count, sizeof(struct journal));
        for (int32_t i = 0; i < count; i++) {
            c->journals[topic][i] =
                (struct journal){.coord = c, .topic = (enum store_topic)topic, .partition = i};
        }
    }
}

void journals_fini(struct coord *c)
{
    for (size_t topic = 0; topic < STORE_TOPICS; topic++) {
        free(c->journals[topic]);
        c->journals[topic] = NULL;
    }
}
