/* ledger_prove.c - is the trail whole? Answered from the log alone.
 *
 * Goes over the ledger from its first record: every seal's own hash and the hash it names as
 * previous, the records between two seals, WAL from end to end, each partition's ranges from
 * end to end, and the digest of every range's batches as they are in the log now.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/ledger_inside.h"
#include "audit/records.h"

#define FETCH_BYTES (1 << 20)

struct proving {
    struct ledger *ledger;
    struct ledger_proof proof;
    struct seal_digest *between, *range;
    struct map places;             /* struct ledger_place: where each partition's next begins */
    uint8_t last[SEAL_HASH_BYTES]; /* hash of the seal before */
    struct ledger_entry entry;
    bool begun;
};

static err broken(const struct proving *p, const char *why)
{
    return fault(ERR_CORRUPT, "the trail of %s is broken at seal %lld (ledger record %lld): %s",
                 p->ledger->source, (long long)p->entry.seal.number, (long long)p->entry.offset,
                 why);
}

static err range_broken(const struct proving *p, const struct seal_range *r, const char *why)
{
    return fault(ERR_CORRUPT,
                 "the trail of %s is broken at seal %lld: %.*s/%d, offsets %lld to %lld: %s",
                 p->ledger->source, (long long)p->entry.seal.number, VIEW_ARG(r->topic),
                 (int)r->partition, (long long)r->from, (long long)r->to - 1, why);
}

static int64_t *place_of(struct proving *p, const struct seal_range *r)
{
    struct writer key = {0};

    write_view(&key, r->topic);
    write_u8(&key, 0);
    write_i32(&key, r->partition);
    struct ledger_place *place = map_get(&p->places, writer_view(&key));
    if (place) {
        writer_fini(&key);
        return &place->offset;
    }
    place = xcalloc(1, sizeof(*place));
    place->key = (char *)key.at;
    place->key_len = key.len;
    map_put(&p->places, writer_view(&key), place);
    return &place->offset;
}

/* Every batch of one stretch that log_fetch gave. */
static err digest_batches(struct proving *p, const struct seal_range *r, view batches,
                          int64_t *at)
{
    struct batch_info info;

    while (batches.len) {
        if (batch_check_stored(batches, &info) != BATCH_FINE) {
            return range_broken(p, r, "a batch does not match its checksum");
        }
        int64_t end = info.base_offset + info.last_offset_delta + 1;
        if (info.base_offset != *at || end > r->to) {
            return *at >= r->to ? OK
                                : range_broken(p, r, "batches are missing, or not as sealed");
        }
        seal_digest_add(p->range, view_upto(batches, info.bytes));
        p->proof.records += info.record_count;
        batches = view_from(batches, info.bytes);
        *at = end;
        if (*at == r->to) {
            return OK;
        }
    }
    return OK;
}

static err prove_batches(struct proving *p, const struct seal_range *r,
                         struct partition *partition)
{
    uint8_t hash[SEAL_HASH_BYTES];
    int64_t at = r->from;
    err e = OK;

    while (!e && at < r->to) {
        struct buf *bytes = NULL;
        e = log_fetch(p->ledger->log, partition, at, FETCH_BYTES, false, &bytes);
        if (e || !bytes) {
            buf_drop(bytes);
            return range_broken(p, r, e ? "it cannot be read" : "records are missing");
        }
        int64_t before = at;
        e = digest_batches(p, r, (view){bytes->bytes, bytes->len}, &at);
        buf_drop(bytes);
        if (!e && at == before) {
            e = range_broken(p, r, "batches are missing, or not as sealed");
        }
    }
    seal_digest_end(p->range, hash); /* also after an error: ready for the next */
    if (!e && memcmp(hash, r->hash, sizeof(hash))) {
        e = range_broken(p, r, "the records are not those that were sealed");
    }
    return e;
}

static err prove_range(struct proving *p, const struct seal_range *r)
{
    struct topic *topic = log_topic(p->ledger->log, r->topic);
    struct partition *partition = topic ? topic_partition(topic, r->partition) : NULL;
    int64_t *place = place_of(p, r);
    struct partition_ends ends;
    err e = OK;

    if (r->from != *place) {
        e = range_broken(p, r, "it does not begin where the seal before it ended");
    } else if (!partition) {
        e = range_broken(p, r, "the topic is gone");
    } else {
        *place = r->to;
        partition_ends(partition, &ends);
        if (r->from < ends.start) { /* retention took its bytes, the seal stands */
            p->proof.trimmed_records += MIN(r->to, ends.start) - r->from;
        } else {
            e = prove_batches(p, r, partition);
        }
    }
    topic_drop(topic);
    return e;
}

static err prove_seal(struct proving *p)
{
    const struct seal *seal = &p->entry.seal;
    uint8_t between[SEAL_HASH_BYTES], said[SEAL_HASH_BYTES], hash[SEAL_HASH_BYTES];
    err e = ledger_seal_check(p->entry.json, said, hash);

    seal_digest_end(p->between, between);
    if (e) {
        return fault_prefix("seal %lld of %s: ", (long long)seal->number, p->ledger->source);
    }
    if (seal->number != p->proof.seals + 1) {
        return broken(p, "its number does not follow; seals are missing or out of order");
    }
    if (memcmp(hash, seal->hash, sizeof(hash))) {
        return broken(p, "its record was altered: it does not match its own hash");
    }
    if (memcmp(seal->previous, p->last, sizeof(p->last))) {
        return broken(p, "it does not name the seal before it; one was removed or replaced");
    }
    if (memcmp(between, said, sizeof(said))) {
        return broken(p, "the ledger's records before it were altered");
    }
    if (seal->from != p->proof.to) {
        return broken(p, "WAL positions between it and the seal before it are not covered");
    }
    for (size_t i = 0; i < seal->range_count && !e; i++) {
        e = prove_range(p, &seal->ranges[i]);
    }
    p->proof.seals++;
    p->proof.changes += seal->changes;
    p->proof.to = seal->to;
    memcpy(p->last, seal->hash, sizeof(p->last));
    return e;
}

static err prove_begin(struct proving *p)
{
    struct arena arena = {0};
    struct json *json = NULL;
    view lsn;
    err e = json_parse(&arena, p->entry.json, &json);

    const struct json *about = e ? NULL : json_get(json, "about");
    if (!e && !about) {
        e = broken(p, "the note of its beginning says nothing");
    }
    e = e ? e : json_get_text(about, "lsn", &lsn);
    e = e ? e : lsn_parse(lsn, &p->proof.to);
    if (!e && p->begun) {
        e = broken(p, "the ledger begins twice");
    }
    p->proof.from = p->proof.to;
    p->begun = true;
    arena_fini(&arena);
    return e;
}

static err prove_entry(struct proving *p)
{
    err e = OK;

    switch (p->entry.kind) {
    case LEDGER_SEAL:
        e = prove_seal(p);
        break;
    case LEDGER_GAP:
        if (p->entry.from != p->proof.to) {
            e = broken(p, "a gap does not begin where the seal before it ended");
        }
        p->proof.gaps++;
        p->proof.to = p->entry.to;
        break;
    case LEDGER_NOTE:
        e = view_is_text(p->entry.words, "begin") ? prove_begin(p) : OK;
        break;
    case LEDGER_TABLE:
        break;
    }
    ledger_between_add(p->between, p->entry.json);
    return e;
}

static err prove_all(struct proving *p, void (*progress)(void *self, int64_t done, int64_t all),
                     void *self)
{
    struct ledger_walk *walk = ledger_walk_new(p->ledger, 0);
    struct partition_ends ends;
    int64_t expected = 0;
    bool more = true;

    partition_ends(p->ledger->partition, &ends);
    err e = ledger_walk_next(walk, 0, &p->entry, &more);
    while (!e && more) {
        if (p->entry.offset != expected++) {
            e = broken(p, "records of the ledger itself are missing before it");
            break;
        }
        e = prove_entry(p);
        if (progress) {
            progress(self, p->entry.offset + 1, ends.high);
        }
        more = p->entry.offset + 1 < ends.high; /* what is sealed meanwhile is for next time */
        e = e || !more ? e : ledger_walk_next(walk, 0, &p->entry, &more);
    }
    ledger_walk_free(walk);
    return e;
}

err ledger_prove(struct ledger *ledger, void (*progress)(void *self, int64_t done, int64_t all),
                 void *self, struct ledger_proof *out)
{
    struct proving p = {
        .ledger = ledger, .between = seal_digest_new(), .range = seal_digest_new()};
    struct ledger_place *place;

    err e = prove_all(&p, progress, self);
    for (size_t at = 0; (place = map_next(&p.places, &at));) {
        free(place->key);
        free(place);
    }
    map_fini(&p.places);
    seal_digest_free(p.between);
    seal_digest_free(p.range);
    *out = p.proof;
    return e;
}
