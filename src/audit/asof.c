/* asof.c - folding a table's topic into its rows at a moment.
 *
 *   partition 0 ──┐
 *   partition 1 ──┼─ merge by (commit LSN, seq) ─> apply ─> rows(key, version, image)
 *   partition 2 ──┘                                          about(name, value)
 *
 * An image is kept under the version of the relation that it came with, so that a table which
 * was altered needs no rewriting. SPDX-License-Identifier: Apache-2.0 */
#include "audit/asof.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/inside.h"
#include "audit/records.h"
#include "audit/sqlite.h"

#define ASOF_VERSION 1
#define CACHE_BYTES (16u << 20)
#define OID_INT8 20
#define OID_INT2 21
#define OID_INT4 23

struct asof {
    struct source *source; /* borrowed: the caller holds it */
    struct sqlite *db;
    struct asof_about about;
    struct relation *relation; /* borrowed from the ledger; NULL: there was no change */
};

struct head { /* of one partition */
    struct records_walk walk;
    struct arena arena; /* of the change */
    struct change change;
    bool more;
};

struct fold {
    const struct asof_query *query;
    struct asof *asof;
    struct relation_finder finder;
    struct head *heads;
    int32_t head_count;
    struct sqlite_statement *get, *put, *remove, *remove_one;
    struct row_image image;
    struct writer key, key_before, bytes;
    int64_t copies; /* of keyless rows */
};

/* --- keys --- */

bool asof_is_keyless(const struct relation *relation)
{
    int keys = 0;

    for (int i = 0; i < relation->count; i++) {
        keys += relation->columns[i].key;
    }
    return keys == 0 || (relation->identity == 'f' && keys == relation->count);
}

static bool is_integer(const struct column *column)
{
    return column->type == OID_INT8 || column->type == OID_INT2 || column->type == OID_INT4;
}

/* A text ends with a NUL, which no text of PostgreSQL has in it; NULL is before all texts. */
static void write_key_part(const struct column *column, struct value value, struct writer *out)
{
    int64_t number;

    if (value.kind != VALUE_TEXT) {
        write_u8(out, value.kind == VALUE_NULL ? 0 : 1);
    } else if (is_integer(column) && view_to_int(value.text, &number) == OK) {
        write_u8(out, 2);
        write_u64(out, (uint64_t)number ^ UINT64_C(1) << 63);
    } else {
        write_u8(out, 3);
        write_view(out, value.text);
        write_u8(out, '\0');
    }
}

void asof_key(const struct relation *relation, const struct value *values, struct writer *out)
{
    bool keyless = asof_is_keyless(relation);

    for (int i = 0; i < relation->count; i++) {
        if (keyless || relation->columns[i].key) {
            write_key_part(&relation->columns[i], values[i], out);
        }
    }
}

/* --- applying changes --- */

static err read_image(struct fold *f, view key, bool *found)
{
    bool row = false;

    sqlite_bind_blob(f->get, 1, key);
    err e = sqlite_step(f->get, &row);
    *found = row;
    if (!e && row) {
        struct relation *relation =
            f->finder.find(f->finder.self, (uint32_t)sqlite_int(f->get, 0));
        e = relation ? row_image_decode(&f->image, relation, sqlite_bytes(f->get, 1))
                     : fault(ERR_CORRUPT, "a kept row names an unknown relation");
    }
    sqlite_reset(f->get);
    return e;
}

static err put_image(struct fold *f)
{
    writer_reset(&f->bytes);
    row_image_encode(&f->image, &f->bytes);
    sqlite_bind_blob(f->put, 1, writer_view(&f->key));
    sqlite_bind_int(f->put, 2, f->image.relation->version);
    sqlite_bind_blob(f->put, 3, writer_view(&f->bytes));
    sqlite_bind_int(f->put, 4, (int64_t)f->asof->about.last_lsn);
    return sqlite_done(f->put);
}

static err remove_key(struct fold *f, view key)
{
    sqlite_bind_blob(f->remove, 1, key);
    return sqlite_done(f->remove);
}

/* One of the rows with these values: their numbers follow in eight bytes. */
static err remove_copy(struct fold *f)
{
    static const uint8_t above[] = {255, 255, 255, 255, 255, 255, 255, 255};

    writer_reset(&f->bytes);
    write_view(&f->bytes, writer_view(&f->key));
    write_bytes(&f->bytes, above, sizeof(above));
    sqlite_bind_blob(f->remove_one, 1, writer_view(&f->key));
    sqlite_bind_blob(f->remove_one, 2, writer_view(&f->bytes));
    return sqlite_done(f->remove_one);
}

/* Rows without a key are told apart by all their values and a number. */
static err apply_keyless(struct fold *f, const struct change *change)
{
    struct relation *relation = change->relation;
    err e = OK;

    if (change->before) {
        writer_reset(&f->key);
        asof_key(relation, change->before, &f->key);
        e = remove_copy(f);
    }
    if (!e && change->after) {
        row_image_forget(&f->image);
        row_image_take(&f->image, change);
        writer_reset(&f->key);
        asof_key(relation, f->image.values, &f->key);
        write_u64(&f->key, (uint64_t)++f->copies);
        e = put_image(f);
    }
    return e;
}

static bool lacks_values(const struct change *change)
{
    for (int i = 0; i < change->relation->count; i++) {
        if (change->after[i].kind == VALUE_UNKNOWN) {
            return true;
        }
    }
    return false;
}

static err apply_keyed(struct fold *f, const struct change *change)
{
    const struct value *old = change->before ? change->before : change->after;
    bool found = false;
    err e = OK;

    writer_reset(&f->key_before);
    asof_key(change->relation, old, &f->key_before);
    if (!change->after) {
        return remove_key(f, writer_view(&f->key_before));
    }
    writer_reset(&f->key);
    asof_key(change->relation, change->after, &f->key);
    bool moved = !view_is(writer_view(&f->key), writer_view(&f->key_before));
    row_image_forget(&f->image);
    if (lacks_values(change)) {
        e = read_image(f, writer_view(&f->key_before), &found);
    }
    if (!e && moved) {
        e = remove_key(f, writer_view(&f->key_before));
    }
    if (!e) {
        row_image_take(&f->image, change);
        e = put_image(f);
    }
    return e;
}

/* Does a row have the same key under both descriptions? */
static bool same_key(const struct relation *a, const struct relation *b)
{
    bool same = asof_is_keyless(a) == asof_is_keyless(b);

    for (int i = 0; same && i < a->count; i++) {
        int at = relation_column(b, a->columns[i].name);
        same = at >= 0 ? a->columns[i].key == b->columns[at].key &&
                             is_integer(&a->columns[i]) == is_integer(&b->columns[at])
                       : !a->columns[i].key;
    }
    return same && (!asof_is_keyless(a) || a->count == b->count);
}

/* The row that get gives, under the key it has by the new description. */
static err put_anew(struct fold *f, struct sqlite_statement *get, struct sqlite_statement *put,
                    const struct relation *relation, struct value *values)
{
    struct relation *kept = f->finder.find(f->finder.self, (uint32_t)sqlite_int(get, 0));

    if (!kept) {
        return fault(ERR_CORRUPT, "a kept row names an unknown relation");
    }
    err e = row_image_decode(&f->image, kept, sqlite_bytes(get, 1));
    for (int i = 0; i < relation->count && !e; i++) {
        values[i] = row_image_value(&f->image, relation, i);
    }
    if (e) {
        return e;
    }
    writer_reset(&f->key);
    asof_key(relation, values, &f->key);
    if (asof_is_keyless(relation)) {
        write_u64(&f->key, (uint64_t)++f->copies);
    }
    sqlite_bind_blob(put, 1, writer_view(&f->key));
    sqlite_bind_int(put, 2, sqlite_int(get, 0));
    sqlite_bind_blob(put, 3, sqlite_bytes(get, 1));
    sqlite_bind_int(put, 4, sqlite_int(get, 2));
    return sqlite_done(put);
}

/* The table got another key: all rows that are kept get theirs. */
static err rekey(struct fold *f, const struct relation *relation)
{
    struct sqlite *db = f->asof->db;
    struct sqlite_statement *get = NULL, *put = NULL;
    struct value *values = xcalloc((size_t)relation->count + 1, sizeof(*values));
    bool row = true;
    err e = sqlite_run(
        db, "CREATE TABLE keyed(key BLOB PRIMARY KEY, version INTEGER, image BLOB, lsn INTEGER)"
            " WITHOUT ROWID");

    e = e ? e : sqlite_prepare(db, "SELECT version, image, lsn FROM rows ORDER BY key", &get);
    e = e ? e : sqlite_prepare(db, "INSERT OR REPLACE INTO keyed VALUES (?, ?, ?, ?)", &put);
    while (!e && row) {
        e = sqlite_step(get, &row);
        e = e || !row ? e : put_anew(f, get, put, relation, values);
    }
    sqlite_finish(get);
    sqlite_finish(put);
    free(values);
    return e ? e
             : sqlite_run(db, "DELETE FROM rows; INSERT INTO rows SELECT * FROM keyed;"
                              "DROP TABLE keyed");
}

static err apply(struct fold *f, const struct change *change)
{
    struct asof_about *about = &f->asof->about;

    about->changes++;
    about->last_lsn = change->place.commit_lsn;
    about->last_us = change->place.committed_us;
    about->snapshot = about->snapshot || change->kind == CHANGE_READ;
    if (f->asof->relation != change->relation &&
        !same_key(f->asof->relation, change->relation)) {
        err e = rekey(f, change->relation);
        if (e) {
            return e;
        }
    }
    f->asof->relation = change->relation;
    if (change->kind == CHANGE_TRUNCATE) {
        return sqlite_run(f->asof->db, "DELETE FROM rows");
    }
    if (!change->before && !change->after) {
        return OK;
    }
    return asof_is_keyless(change->relation) ? apply_keyless(f, change)
                                             : apply_keyed(f, change);
}

/* --- reading in the order of commits --- */

static err head_next(struct fold *f, struct head *head)
{
    bool is_change = false;
    err e = OK;

    do {
        struct record record;
        arena_reset(&head->arena);
        e = records_walk_next(&head->walk, &record, &head->more);
        if (!e && head->more && record.value.at) {
            e = envelope_read(&head->arena, &record, &f->finder, &head->change, &is_change);
        }
    } while (!e && head->more && (!is_change || !head->change.relation));
    return e;
}

static struct head *earliest(struct fold *f)
{
    struct head *best = NULL;

    for (int32_t i = 0; i < f->head_count; i++) {
        struct head *head = &f->heads[i];
        const struct change_place *a = &head->change.place;
        const struct change_place *b = best ? &best->change.place : NULL;
        if (head->more && (!b || a->commit_lsn < b->commit_lsn ||
                           (a->commit_lsn == b->commit_lsn && a->seq < b->seq))) {
            best = head;
        }
    }
    return best;
}

static err open_heads(struct fold *f, struct topic *topic)
{
    struct ledger *ledger = f->query->source->ledger;
    struct asof_about *about = &f->asof->about;
    err e = OK;

    f->head_count = atomic_load(&topic->partition_count);
    f->heads = xcalloc((size_t)f->head_count, sizeof(*f->heads));
    for (int32_t i = 0; i < f->head_count && !e; i++) {
        struct partition *p = topic_partition(topic, i);
        struct partition_ends ends;
        partition_ends(p, &ends);
        about->trimmed = about->trimmed || ends.start > 0;
        records_walk_init(&f->heads[i].walk, topic->log, p, 0,
                          ledger_sealed(ledger, view_text(topic->name), i));
        e = head_next(f, &f->heads[i]);
    }
    return e;
}

static err before_history(const struct asof_about *about)
{
    char lsn[LSN_TEXT_BYTES], time[POINT_TIME_BYTES];

    lsn_text(about->begins_lsn, lsn);
    point_time_text(about->begins_us / 1000, time);
    return fault(ERR_OUT_OF_RANGE, "the history of this table begins at %s (lsn %s)%s", time,
                 lsn, about->trimmed ? ": what was before is gone by retention" : "");
}

static err apply_all(struct fold *f)
{
    struct asof_about *about = &f->asof->about;
    struct head *head = earliest(f);
    err e = OK;

    if (head) {
        about->begins_lsn = head->change.place.commit_lsn;
        about->begins_us = head->change.place.committed_us;
        if (about->begins_lsn > f->query->until.lsn) {
            return before_history(about);
        }
    }
    while (!e && head && head->change.place.commit_lsn <= f->query->until.lsn) {
        e = apply(f, &head->change);
        e = e ? e : head_next(f, head);
        head = earliest(f);
    }
    return e;
}

/* --- the file --- */

static struct relation *find_relation(void *self, uint32_t version)
{
    return ledger_relation(self, version);
}

static err make_tables(struct sqlite *db)
{
    return sqlite_run(db, "CREATE TABLE rows(key BLOB PRIMARY KEY, version INTEGER NOT NULL, "
                          "image BLOB NOT NULL, lsn INTEGER NOT NULL) WITHOUT ROWID;"
                          "CREATE TABLE about(bytes BLOB NOT NULL);"
                          "BEGIN");
}

static err prepare(struct fold *f)
{
    struct sqlite *db = f->asof->db;
    err e = sqlite_prepare(db, "SELECT version, image FROM rows WHERE key = ?", &f->get);

    e = e ? e : sqlite_prepare(db, "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", &f->put);
    e = e ? e : sqlite_prepare(db, "DELETE FROM rows WHERE key = ?", &f->remove);
    return e ? e
             : sqlite_prepare(db,
                              "DELETE FROM rows WHERE key = (SELECT key FROM rows WHERE "
                              "key > ? AND key < ? ORDER BY key LIMIT 1)",
                              &f->remove_one);
}

static err count_unknown(void *self, view key, const struct value *values)
{
    struct asof *asof = self;

    (void)key;
    asof->about.rows++;
    for (int i = 0; i < asof->relation->count; i++) {
        asof->about.unknown += values[i].kind == VALUE_UNKNOWN;
    }
    return OK;
}

/* The file says itself what it holds: pages of an export may be asked for later. */
static err finish(struct fold *f)
{
    struct asof *asof = f->asof;
    struct sqlite_statement *put = NULL;
    err e = asof_rows(asof, (view){0}, count_unknown, asof);

    asof->about.version = asof->relation->version;
    e = e ? e : sqlite_prepare(asof->db, "INSERT INTO about VALUES (?)", &put);
    if (!e) {
        sqlite_bind_blob(put, 1, (view){(const uint8_t *)&asof->about, sizeof(asof->about)});
        e = sqlite_done(put);
    }
    sqlite_finish(put);
    e = e ? e : sqlite_runf(asof->db, "PRAGMA user_version = %d", ASOF_VERSION);
    return e ? e : sqlite_run(asof->db, "COMMIT");
}

static void fold_fini(struct fold *f)
{
    for (int32_t i = 0; i < f->head_count; i++) {
        records_walk_fini(&f->heads[i].walk);
        arena_fini(&f->heads[i].arena);
    }
    free(f->heads);
    sqlite_finish(f->get);
    sqlite_finish(f->put);
    sqlite_finish(f->remove);
    sqlite_finish(f->remove_one);
    row_image_fini(&f->image);
    writer_fini(&f->key);
    writer_fini(&f->key_before);
    writer_fini(&f->bytes);
}

/* What a snapshot after a gap did not see again was deleted in the gap. */
static err close_gaps(struct fold *f)
{
    struct ledger_gap_span *gaps = NULL;
    size_t count = ledger_gaps(f->query->source->ledger, &gaps);
    struct asof_about *about = &f->asof->about;
    err e = OK;

    for (size_t i = 0; i < count && !e; i++) {
        if (gaps[i].healed && gaps[i].healed <= about->lsn) {
            e = sqlite_runf(f->asof->db, "DELETE FROM rows WHERE lsn <= %" PRId64,
                            (int64_t)gaps[i].from);
        } else if (gaps[i].from < about->lsn) {
            about->gap_from = gaps[i].from;
            about->gap_to = gaps[i].to;
        }
    }
    free(gaps);
    return e;
}

static err fold_topic(struct fold *f, struct topic *topic)
{
    err e = make_tables(f->asof->db);

    e = e ? e : prepare(f);
    e = e ? e : open_heads(f, topic);
    e = e ? e : apply_all(f);
    e = e ? e : close_gaps(f);
    return e ? e : finish(f);
}

/* The table's newest description, held, and its topic. */
static err find_table(const struct asof_query *query, struct relation **relation,
                      struct topic **topic)
{
    struct source *source = query->source;
    struct envelope_options options = {.source = view_text(source->name)};
    struct writer name = {0};

    *topic = NULL;
    *relation = ledger_table(source->ledger, query->table->schema, query->table->table);
    if (*relation) {
        envelope_topic(&options, *relation, &name);
        *topic = log_topic(source->audit->log, writer_view(&name));
    }
    writer_fini(&name);
    if (!*topic) {
        relation_drop(*relation);
        return fault(ERR_NOT_FOUND, "no change of %s.%.*s.%.*s was ever captured", source->name,
                     VIEW_ARG(query->table->schema), VIEW_ARG(query->table->table));
    }
    return OK;
}

err asof_fold(const struct asof_query *query, struct asof **out)
{
    struct relation *relation = NULL;
    struct topic *topic = NULL;
    struct asof *asof = xcalloc(1, sizeof(*asof));
    struct fold f = {.query = query, .asof = asof};
    struct ledger_end end;
    err e = find_table(query, &relation, &topic);

    if (e) {
        free(asof);
        return e;
    }
    f.finder = (struct relation_finder){find_relation, query->source->ledger};
    asof->source = query->source;
    asof->relation = ledger_relation(query->source->ledger, relation->version);
    asof->relation = asof->relation ? asof->relation : relation;
    ledger_end(query->source->ledger, &end);
    asof->about.lsn = MIN(query->until.lsn, end.to);
    asof->about.snapshot =
        query->source->options.snapshot; /* of an empty table there is no row */
    e = sqlite_open(query->path, SQLITE_FORGETFUL, CACHE_BYTES, &asof->db);
    e = e ? e : fold_topic(&f, topic);
    fold_fini(&f);
    topic_drop(topic);
    relation_drop(relation);
    if (e) {
        asof_close(asof);
        return e;
    }
    *out = asof;
    return OK;
}

err asof_open(struct source *source, const char *path, struct asof **out)
{
    struct asof *asof = xcalloc(1, sizeof(*asof));
    struct sqlite_statement *get = NULL;
    bool row = false;
    err e = sqlite_open(path, SQLITE_READ_ONLY, CACHE_BYTES, &asof->db);

    asof->source = source;
    e = e ? e : sqlite_prepare(asof->db, "SELECT bytes FROM about", &get);
    e = e ? e : sqlite_step(get, &row);
    if (!e) {
        view bytes = row ? sqlite_bytes(get, 0) : VIEW("");
        if (bytes.len == sizeof(asof->about)) {
            memcpy(&asof->about, bytes.at, sizeof(asof->about));
            asof->relation = ledger_relation(source->ledger, asof->about.version);
        }
        e = asof->relation ? OK : fault(ERR_CORRUPT, "%s: no rows of a table", path);
    }
    sqlite_finish(get);
    if (e) {
        asof_close(asof);
        return e;
    }
    *out = asof;
    return OK;
}

void asof_close(struct asof *asof)
{
    if (asof) {
        sqlite_close(asof->db);
        free(asof);
    }
}

void asof_about(const struct asof *asof, struct asof_about *out)
{
    *out = asof->about;
}

struct relation *asof_relation(const struct asof *asof)
{
    return asof->relation;
}

/* One row of the file, by the columns of the export. */
static err show_row(struct asof *asof, struct sqlite_statement *get, struct row_image *image,
                    struct value *values,
                    err (*each)(void *self, view key, const struct value *values), void *self)
{
    struct relation *kept = ledger_relation(asof->source->ledger, (uint32_t)sqlite_int(get, 1));

    if (!kept) {
        return fault(ERR_CORRUPT, "a kept row names an unknown relation");
    }
    err e = row_image_decode(image, kept, sqlite_bytes(get, 2));
    if (e) {
        return e;
    }
    for (int i = 0; i < asof->relation->count; i++) {
        values[i] = row_image_value(image, asof->relation, i);
        if (values[i].kind == VALUE_ABSENT) {
            values[i].kind = VALUE_UNKNOWN; /* added since: its default was not told */
        }
    }
    return each(self, sqlite_bytes(get, 0), values);
}

err asof_rows(struct asof *asof, view behind,
              err (*each)(void *self, view key, const struct value *values), void *self)
{
    struct sqlite_statement *get = NULL;
    struct row_image image = {0};
    bool row = true;
    size_t count = asof->relation ? (size_t)asof->relation->count : 0;
    struct value *values = xcalloc(count + 1, sizeof(*values));
    err e = sqlite_prepare(
        asof->db, "SELECT key, version, image FROM rows WHERE key > ? ORDER BY key", &get);

    if (!e) {
        sqlite_bind_blob(get, 1, behind.at ? behind : VIEW(""));
    }
    while (!e && row) {
        e = sqlite_step(get, &row);
        if (!e && row) {
            e = show_row(asof, get, &image, values, each, self);
        }
    }
    sqlite_finish(get);
    row_image_fini(&image);
    free(values);
    return e;
}
