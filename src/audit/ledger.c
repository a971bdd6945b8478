/* ledger.c - opening a ledger, what it knows, and writing to it.
 *
 * Everything known is the fold of the topic's records (apply); what is written is folded in the
 * same way once it is durable. SPDX-License-Identifier: Apache-2.0 */
#include "audit/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/ledger_inside.h"
#include "audit/records.h"

static const struct setting ledger_settings[] = {
    {(char *)"cleanup.policy", (char *)"delete"},
    {(char *)"retention.ms", (char *)"-1"},
    {(char *)"retention.bytes", (char *)"-1"},
    {(char *)"retention.protect", (char *)"true"},
    {(char *)"max.message.bytes", (char *)"104857600"},
};

/* schema, a NUL, table: names hold no NUL. */
static void table_key(view schema, view name, struct writer *out)
{
    write_view(out, schema);
    write_u8(out, 0);
    write_view(out, name);
}

static void place_key(view topic, int32_t partition, struct writer *out)
{
    write_view(out, topic);
    write_u8(out, 0);
    write_i32(out, partition);
}

static void keep_table(struct ledger *l, struct relation *relation)
{
    struct writer key = {0};

    if (l->version_count < relation->version) {
        size_t room = l->version_room;
        while (room < relation->version) {
            room = room ? 2 * room : 16;
        }
        l->versions = xrealloc(l->versions, room * sizeof(struct relation *));
        memset(l->versions + l->version_count, 0,
               (room - l->version_count) * sizeof(struct relation *));
        l->version_room = room;
        l->version_count = relation->version;
    }
    relation_drop(l->versions[relation->version - 1]);
    l->versions[relation->version - 1] = relation;
    table_key(relation->schema, relation->name, &key);
    struct ledger_table_slot *slot = map_get(&l->tables, writer_view(&key));
    if (slot) {
        slot->relation = relation;
        writer_fini(&key);
        return;
    }
    slot = xcalloc(1, sizeof(*slot));
    *slot = (struct ledger_table_slot){(char *)key.at, key.len, relation};
    map_put(&l->tables, writer_view(&key), slot);
}

static void keep_place(struct ledger *l, const struct seal_range *range)
{
    struct writer key = {0};

    place_key(range->topic, range->partition, &key);
    struct ledger_place *place = map_get(&l->places, writer_view(&key));
    if (place) {
        writer_fini(&key);
    } else {
        place = xcalloc(1, sizeof(*place));
        place->key = (char *)key.at;
        place->key_len = key.len;
        map_put(&l->places, writer_view(&key), place);
    }
    place->offset = range->to;
}

/* A snapshot that names tables makes up for those alone. */
static void heal_gaps(struct ledger *l)
{
    static const char whole[] = "\"tables\":\"\"";
    view about = l->snapshot.about;
    bool all = about.len && memmem(about.at, about.len, whole, sizeof(whole) - 1);

    for (size_t i = 0; all && i < l->gap_count; i++) {
        l->gaps[i].healed = l->gaps[i].healed ? l->gaps[i].healed : l->end.to;
    }
}

size_t ledger_gaps(struct ledger *l, struct ledger_gap_span **out)
{
    pthread_mutex_lock(&l->lock);
    size_t count = l->gap_count;
    *out = xcalloc(count + 1, sizeof(**out));
    if (count) {
        memcpy(*out, l->gaps, count * sizeof(**out));
    }
    pthread_mutex_unlock(&l->lock);
    return count;
}

/* Their "text" is JSON of snapshot.c's and capture's own. */
static void keep_snapshot(struct ledger *l, view note, const struct json *about)
{
    struct ledger_snapshot *s = &l->snapshot;
    view text = VIEW("{}");

    if (json_get_text(about, "text", &text)) {
        text = VIEW("{}");
    }
    if (view_is_text(note, "chunk") && s->about.at) {
        s->chunks = array_room(s->chunks, s->count, &l->snapshot_room, sizeof(view));
        s->chunks[s->count++] = arena_copy(&l->snapshot_arena, text);
        return;
    }
    bool begins = view_is_text(note, "snapshot");
    if (!begins && view_is_text(note, "snapshot done")) {
        heal_gaps(l);
    }
    if (begins || view_is_text(note, "snapshot done")) {
        arena_reset(&l->snapshot_arena);
        s->count = 0;
        s->about = begins ? arena_copy(&l->snapshot_arena, text) : (view){0};
    }
}

void ledger_snapshot(struct ledger *l, struct arena *arena, struct ledger_snapshot *out)
{
    pthread_mutex_lock(&l->lock);
    *out = (struct ledger_snapshot){.count = l->snapshot.count};
    out->about = l->snapshot.about.at ? arena_copy(arena, l->snapshot.about) : (view){0};
    out->chunks = arena_take(arena, (out->count + 1) * sizeof(view));
    for (size_t i = 0; i < out->count; i++) {
        out->chunks[i] = arena_copy(arena, l->snapshot.chunks[i]);
    }
    pthread_mutex_unlock(&l->lock);
}

static err keep_note(struct ledger *l, const struct ledger_entry *entry, struct arena *arena)
{
    struct json *json = NULL;
    int64_t timeline = 0;
    view text;
    err e = json_parse(arena, entry->json, &json);
    const struct json *about = e ? NULL : json_get(json, "about");

    if (e || !about) {
        return e;
    }
    keep_snapshot(l, entry->words, about);
    if (view_is_text(entry->words, "begin")) {
        e = json_get_text(about, "lsn", &text);
        return e ? e : lsn_parse(text, &l->end.to);
    }
    if (view_is_text(entry->words, "system")) {
        e = json_get_text(about, "system_id", &text);
        e = e ? e : json_get_int(about, "timeline", &timeline);
        if (!e) {
            snprintf(l->end.system_id, sizeof(l->end.system_id), "%.*s", VIEW_ARG(text));
            l->end.timeline = (int32_t)timeline;
        }
    }
    return e;
}

/* One entry into the state; takes the table. */
static err apply(struct ledger *l, const struct ledger_entry *entry,
                 struct relation *take_table, struct arena *arena)
{
    err e = OK;

    pthread_mutex_lock(&l->lock);
    switch (entry->kind) {
    case LEDGER_TABLE:
        if (!take_table->version || take_table->version > l->version_count + 1) {
            e = fault(ERR_CORRUPT, "the ledger of %s skips a table's version", l->source);
            relation_drop(take_table);
        } else {
            keep_table(l, take_table);
        }
        break;
    case LEDGER_SEAL:
        l->end.to = entry->seal.to;
        l->end.seals = entry->seal.number;
        memcpy(l->end.hash, entry->seal.hash, SEAL_HASH_BYTES);
        for (size_t i = 0; i < entry->seal.range_count; i++) {
            keep_place(l, &entry->seal.ranges[i]);
        }
        break;
    case LEDGER_GAP:
        l->end.to = entry->to;
        l->gaps = array_room(l->gaps, l->gap_count, &l->gap_room, sizeof(*l->gaps));
        l->gaps[l->gap_count++] = (struct ledger_gap_span){entry->from, entry->to, 0};
        break;
    case LEDGER_NOTE:
        e = keep_note(l, entry, arena);
        break;
    }
    pthread_mutex_unlock(&l->lock);
    return e;
}

static err apply_record(struct ledger *l, const struct record *record, struct arena *arena)
{
    struct ledger_entry entry;
    struct relation *table = NULL;
    err e = ledger_entry_read(arena, record, &entry, &table);

    if (e) {
        return e;
    }
    e = apply(l, &entry, table, arena);
    if (entry.kind == LEDGER_SEAL) {
        uint8_t before[SEAL_HASH_BYTES]; /* ends what was between, begins anew */
        seal_digest_end(l->between, before);
    }
    ledger_between_add(l->between, record->value);
    return e;
}

static err read_back(struct ledger *l)
{
    struct records_walk walk;
    struct arena arena = {0};
    struct record record;
    bool more = true;

    records_walk_init(&walk, l->log, l->partition, 0, -1);
    err e = records_walk_next(&walk, &record, &more);
    while (!e && more) {
        e = apply_record(l, &record, &arena);
        arena_reset(&arena);
        e = e ? e : records_walk_next(&walk, &record, &more);
    }
    records_walk_fini(&walk);
    arena_fini(&arena);
    return e;
}

err ledger_open(struct log *log, view source, struct ledger **out)
{
    struct ledger *l = xcalloc(1, sizeof(*l));

    l->log = log;
    l->source = text_of(source);
    l->between = seal_digest_new();
    pthread_mutex_init(&l->writer, NULL);
    pthread_mutex_init(&l->lock, NULL);
    char *name = text_format(LEDGER_TOPIC_PREFIX "%s", l->source);
    err e = records_topic(log, view_text(name), 1, ledger_settings, COUNT(ledger_settings),
                          &l->topic);
    free(name);
    if (!e) {
        l->partition = topic_partition(l->topic, 0);
        e = read_back(l);
    }
    if (e) {
        ledger_close(l);
        return e;
    }
    *out = l;
    return OK;
}

void ledger_close(struct ledger *l)
{
    struct ledger_table_slot *table;
    struct ledger_place *place;

    if (!l) {
        return;
    }
    for (size_t at = 0; (table = map_next(&l->tables, &at));) {
        free(table->name);
        free(table);
    }
    for (size_t at = 0; (place = map_next(&l->places, &at));) {
        free(place->key);
        free(place);
    }
    for (size_t i = 0; i < l->version_count; i++) {
        relation_drop(l->versions[i]);
    }
    map_fini(&l->tables);
    map_fini(&l->places);
    free(l->versions);
    free(l->snapshot.chunks);
    free(l->gaps);
    arena_fini(&l->snapshot_arena);
    seal_digest_free(l->between);
    topic_drop(l->topic);
    pthread_mutex_destroy(&l->writer);
    pthread_mutex_destroy(&l->lock);
    free(l->source);
    free(l);
}

struct relation *ledger_relation(struct ledger *l, uint32_t version)
{
    pthread_mutex_lock(&l->lock);
    struct relation *found =
        version && version <= l->version_count ? l->versions[version - 1] : NULL;
    pthread_mutex_unlock(&l->lock);
    return found;
}

struct relation *ledger_table(struct ledger *l, view schema, view name)
{
    struct writer key = {0};

    table_key(schema, name, &key);
    pthread_mutex_lock(&l->lock);
    struct ledger_table_slot *slot = map_get(&l->tables, writer_view(&key));
    struct relation *found = slot ? relation_hold(slot->relation) : NULL;
    pthread_mutex_unlock(&l->lock);
    writer_fini(&key);
    return found;
}

size_t ledger_tables(struct ledger *l, struct relation ***out)
{
    struct ledger_table_slot *slot;
    size_t count = 0;

    pthread_mutex_lock(&l->lock);
    struct relation **all = xcalloc(l->tables.count + 1, sizeof(struct relation *));
    for (size_t at = 0; (slot = map_next(&l->tables, &at));) {
        all[count++] = relation_hold(slot->relation);
    }
    pthread_mutex_unlock(&l->lock);
    *out = all;
    return count;
}

void ledger_end(struct ledger *l, struct ledger_end *out)
{
    pthread_mutex_lock(&l->lock);
    *out = l->end;
    pthread_mutex_unlock(&l->lock);
}

int64_t ledger_sealed(struct ledger *l, view topic, int32_t partition)
{
    struct writer key = {0};

    place_key(topic, partition, &key);
    pthread_mutex_lock(&l->lock);
    const struct ledger_place *place = map_get(&l->places, writer_view(&key));
    int64_t offset = place ? place->offset : 0;
    pthread_mutex_unlock(&l->lock);
    writer_fini(&key);
    return offset;
}

/* One record, durable and folded; under the writer's lock. */
static err put(struct ledger *l, view json)
{
    struct os *os = log_os(l->log);
    struct arena arena = {0};
    struct record record = {.timestamp_ms = os->now_ms(os), .value = json};
    err e = records_append(l->log, l->partition, &record, 1, &record.offset);

    e = e ? e : apply_record(l, &record, &arena);
    arena_fini(&arena);
    return e;
}

err ledger_describe(struct ledger *l, const struct relation *relation,
                    struct relation **recorded)
{
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    err e = OK;

    pthread_mutex_lock(&l->writer);
    struct relation *known = ledger_table(l, relation->schema, relation->name);
    relation_drop(known); /* its version holds it */
    if (!known || !relation_is(known, relation)) {
        struct relation *next = relation_new(relation);
        next->version = (uint32_t)l->version_count + 1;
        json_object(&j);
        json_name(&j, "kind");
        json_text(&j, "table");
        json_name(&j, "v");
        json_int(&j, 1);
        json_name(&j, "table");
        relation_to_json(next, &j);
        json_end_object(&j);
        e = put(l, writer_view(&out));
        known = e ? NULL : ledger_relation(l, next->version);
        relation_drop(next);
    }
    pthread_mutex_unlock(&l->writer);
    *recorded = known;
    writer_fini(&out);
    return e;
}

/* Does it go on where the last one ended? */
static err check_seal(struct ledger *l, const struct seal *seal)
{
    if (seal->from != l->end.to || seal->to < seal->from) {
        return fault(ERR_INVALID, "a seal of %s does not begin where the last one ended",
                     l->source);
    }
    for (size_t i = 0; i < seal->range_count; i++) {
        const struct seal_range *r = &seal->ranges[i];
        int64_t sealed = ledger_sealed(l, r->topic, r->partition);
        if (r->from != sealed || r->to < r->from) {
            return fault(ERR_INVALID,
                         "a seal of %s covers %.*s/%d from %lld, it was sealed up to %lld",
                         l->source, VIEW_ARG(r->topic), (int)r->partition, (long long)r->from,
                         (long long)sealed);
        }
    }
    return OK;
}

err ledger_seal(struct ledger *l, struct seal *seal)
{
    struct os *os = log_os(l->log);
    struct writer out = {0};
    uint8_t between[SEAL_HASH_BYTES];

    pthread_mutex_lock(&l->writer);
    err e = check_seal(l, seal);
    if (!e) {
        seal->number = l->end.seals + 1;
        seal->at_ms = os->now_ms(os);
        memcpy(seal->previous, l->end.hash, SEAL_HASH_BYTES);
        seal_digest_peek(l->between, between);
        ledger_seal_write(seal, between, &out);
        e = put(l, writer_view(&out));
    }
    pthread_mutex_unlock(&l->writer);
    writer_fini(&out);
    return e;
}

err ledger_gap(struct ledger *l, uint64_t from, uint64_t to, const char *why)
{
    char from_text[LSN_TEXT_BYTES], to_text[LSN_TEXT_BYTES];
    struct writer out = {0};
    struct json_writer j = json_to(&out);
    const char *const members[][2] = {
        {"kind", "gap"}, {"from", from_text}, {"to", to_text}, {"why", why}};
    err e = OK;

    lsn_text(from, from_text);
    lsn_text(to, to_text);
    json_object(&j);
    for (size_t i = 0; i < COUNT(members); i++) {
        json_name(&j, members[i][0]);
        json_text(&j, members[i][1]);
    }
    json_end_object(&j);
    pthread_mutex_lock(&l->writer);
    if (from != l->end.to || to < from) {
        e = fault(ERR_INVALID, "a gap of %s does not begin where the last seal ended",
                  l->source);
    }
    e = e ? e : put(l, writer_view(&out));
    pthread_mutex_unlock(&l->writer);
    writer_fini(&out);
    return e;
}

err ledger_note(struct ledger *l, const char *kind, view json)
{
    struct writer out = {0};
    struct json_writer j = json_to(&out);

    json_object(&j);
    json_name(&j, "kind");
    json_text(&j, "note");
    json_name(&j, "note");
    json_text(&j, kind);
    json_name(&j, "about");
    json_raw(&j, json.len ? json : VIEW("{}"));
    json_end_object(&j);
    pthread_mutex_lock(&l->writer);
    err e = put(l, writer_view(&out));
    pthread_mutex_unlock(&l->writer);
    writer_fini(&out);
    return e;
}
