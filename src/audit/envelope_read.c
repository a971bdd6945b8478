/* envelope_read.c - records back as changes.
 *
 * What a record says may come from anybody who can write to the topic: all of it is checked,
 * and a record that does not fit its relation is ERR_CORRUPT with the member in the words. The
 * header says what the value cannot; where both speak of a column the header is right.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/envelope_inside.h"

#include "audit/scan.h"
#include "audit/types_parts.h"

struct sides { /* of a member that has a before and an after; null views where there is none */
    view before, after;
};

struct told { /* by the header */
    int64_t version;
    uint32_t table;
    bool moved;
    struct type_modes modes;
    struct sides exact, unknown;
};

struct body { /* what a value is read into, in one pass */
    struct arena *arena;
    const struct told *told;
    struct change *out;
    view message;
    uint8_t op;
    bool fits; /* its images fit the relation */
};

static err corrupt(const char *what)
{
    return fault(ERR_CORRUPT, "a change record whose %s is not as it should be", what);
}

static const struct header *find_header(const struct record *record, const char *name)
{
    for (size_t i = 0; i < record->header_count; i++) {
        if (view_is_text(record->headers[i].key, name)) {
            return &record->headers[i];
        }
    }
    return NULL;
}

static bool read_sides(struct arena *arena, view json, struct sides *out)
{
    struct scan s = scan_of(json);

    scan_open(&s, '{');
    while (scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s);
        view *side = SCAN_IS(name, "before") ? &out->before : &out->after;
        *side = value;
    }
    return scan_end(&s);
}

static bool scan_u32(view value, uint32_t *out)
{
    uint64_t wide;
    bool fine = scan_lsn(value, &wide) && wide <= UINT32_MAX;

    *out = fine ? (uint32_t)wide : 0;
    return fine;
}

static bool is_true(view value)
{
    return SCAN_IS(value, "true");
}

/* One member of the header; false: it is not what it must be. Unknown ones are left alone. */
static bool read_member(struct arena *arena, view name, view value, struct told *told,
                        struct change *out)
{
    struct change_place *place = &out->place;

    if (SCAN_IS(name, "v")) {
        return scan_int(value, &told->version);
    }
    if (SCAN_IS(name, "table")) {
        return scan_u32(value, &told->table);
    }
    if (SCAN_IS(name, "seq")) {
        return scan_int(value, &place->seq);
    }
    if (SCAN_IS(name, "commit")) {
        return scan_lsn(value, &place->commit_lsn);
    }
    if (SCAN_IS(name, "end")) {
        return scan_lsn(value, &place->end_lsn);
    }
    if (SCAN_IS(name, "exact")) {
        return read_sides(arena, value, &told->exact);
    }
    if (SCAN_IS(name, "unknown")) {
        return read_sides(arena, value, &told->unknown);
    }
    if (SCAN_IS(name, "context")) {
        out->context = value;
        return value.len && value.at[0] == '{';
    }
    if (SCAN_IS(name, "op")) {
        told->moved = SCAN_IS(value, "\"u\"");
    } else if (SCAN_IS(name, "cascade")) {
        out->cascade = is_true(value);
    } else if (SCAN_IS(name, "restart")) {
        out->restart_identity = is_true(value);
    }
    for (size_t i = 0; i < MODE_ROWS; i++) {
        if (view_is_text(name, mode_rows[i].name)) {
            return mode_set(&told->modes, &mode_rows[i], value);
        }
    }
    return true;
}

MUST_CHECK static err read_header(struct arena *arena, view json, struct told *told,
                                  struct change *out)
{
    struct scan s = scan_of(json);

    scan_open(&s, '{');
    while (scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s);
        if (!s.bad && !read_member(arena, name, value, told, out)) {
            return fault(ERR_CORRUPT, "a change record whose header has a bad \"%.*s\"",
                         (int)MIN(name.len, (size_t)40), (const char *)name.at);
        }
    }
    return scan_end(&s) && told->version == 1 ? OK : corrupt("header");
}

/* {"schema":..,"payload":..} or the payload itself. */
static view payload_of(struct arena *arena, view value)
{
    struct scan s = scan_of(value);

    scan_open(&s, '{');
    if (!scan_more(&s, '}') || !view_is_text(scan_name(&s, arena), "schema")) {
        return value;
    }
    (void)scan_value(&s);
    bool payload = scan_more(&s, '}') && view_is_text(scan_name(&s, arena), "payload");
    return payload ? scan_value(&s) : value;
}

static enum change_kind kind_of(uint8_t op, bool moved, bool *known)
{
    static const struct {
        uint8_t op;
        enum change_kind kind;
    } kinds[] = {{'c', CHANGE_CREATE},   {'u', CHANGE_UPDATE}, {'d', CHANGE_DELETE},
                 {'t', CHANGE_TRUNCATE}, {'r', CHANGE_READ},   {'m', CHANGE_MESSAGE}};

    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (kinds[i].op == op) {
            *known = true;
            return moved && op == 'c' ? CHANGE_UPDATE : kinds[i].kind;
        }
    }
    *known = false;
    return CHANGE_CREATE;
}

/* The column of a member: most often the one after the last. -1: none of that name. */
static int column_of(const struct relation *relation, view name, int *next)
{
    if (*next < relation->count && view_is(relation->columns[*next].name, name)) {
        return (*next)++;
    }
    int found = relation_column(relation, name);
    *next = found < 0 ? *next : found + 1;
    return found;
}

static bool read_exact_value(struct arena *arena, view json, struct value *out)
{
    struct scan s = scan_of(json);
    struct writer bytes = {0};
    view hex;

    if (scan_is_null(json)) {
        out->kind = VALUE_NULL;
        return true;
    }
    out->kind = VALUE_TEXT;
    if (scan_text(arena, json, &out->text)) {
        return true;
    }
    scan_open(&s, '{');
    bool fine = scan_more(&s, '}') && view_is_text(scan_name(&s, arena), "hex") &&
                scan_text(arena, scan_value(&s), &hex) && hex_read(hex, &bytes);
    out->text = fine ? arena_copy(arena, writer_view(&bytes)) : (view){0};
    writer_fini(&bytes);
    return fine && !scan_more(&s, '}') && scan_end(&s);
}

static bool read_form(struct arena *arena, struct type_modes modes, const struct column *column,
                      view json, struct value *out)
{
    struct type type = type_of(NULL, column);

    type_set_times(&type, modes.times);
    if (scan_is_null(json)) {
        out->kind = VALUE_NULL;
        return true;
    }
    out->kind = VALUE_TEXT;
    return type_from_debezium(arena, modes, &type, json, &out->text) == OK;
}

/* Members of the image, or of its exact part, into values; the cursor stands before them. */
static bool read_members(struct arena *arena, struct type_modes modes,
                         const struct relation *relation, struct scan *s, bool exact,
                         struct value *values)
{
    int next = 0;

    scan_open(s, '{');
    while (scan_more(s, '}')) {
        view name = scan_name(s, arena), value = scan_value(s);
        int i = s->bad ? -1 : column_of(relation, name, &next);
        if (i < 0) {
            return false;
        }
        bool settled = !exact && values[i].kind != VALUE_ABSENT;
        if (!settled &&
            !(exact ? read_exact_value(arena, value, &values[i])
                    : read_form(arena, modes, &relation->columns[i], value, &values[i]))) {
            return false;
        }
    }
    return !s->bad;
}

static bool read_unknown(struct arena *arena, const struct relation *relation, view json,
                         struct value *values)
{
    struct scan s = scan_of(json);
    int next = 0;
    view name;

    scan_open(&s, '[');
    while (scan_more(&s, ']')) {
        int i = scan_text(arena, scan_value(&s), &name) ? column_of(relation, name, &next) : -1;
        if (i < 0) {
            return false;
        }
        values[i] = (struct value){.kind = VALUE_UNKNOWN};
    }
    return scan_end(&s);
}

/* What the header tells of an image, before the value does: NULL when nothing. */
static bool told_image(struct arena *arena, const struct told *told,
                       const struct relation *relation, view exact, view unknown,
                       struct value **out)
{
    struct scan s = scan_of(exact);

    if (!exact.at && !unknown.at) {
        return true;
    }
    *out = arena_take(arena, (size_t)relation->count * sizeof(**out));
    return (!exact.at ||
            (read_members(arena, told->modes, relation, &s, true, *out) && scan_end(&s))) &&
           (!unknown.at || read_unknown(arena, relation, unknown, *out));
}

static void read_image(struct body *body, struct scan *s, struct value **image)
{
    const struct relation *relation = body->out->relation;

    if (!relation || !scan_is_ahead(s, '{')) {
        (void)scan_value(s); /* null, or a table that is not known */
        return;
    }
    if (!*image) {
        *image = arena_take(body->arena, (size_t)relation->count * sizeof(**image));
    }
    body->fits =
        body->fits && read_members(body->arena, body->told->modes, relation, s, false, *image);
}

static bool read_source(struct arena *arena, struct scan *s, struct change_place *out)
{
    bool fine = true;

    scan_open(s, '{');
    while (fine && scan_more(s, '}')) {
        view name = scan_name(s, arena), value = scan_value(s);
        if (SCAN_IS(name, "ts_us")) {
            fine = scan_int(value, &out->committed_us);
        } else if (SCAN_IS(name, "txId") && !scan_is_null(value)) {
            fine = scan_u32(value, &out->xid);
        } else if (SCAN_IS(name, "lsn")) {
            fine = scan_lsn(value, &out->lsn);
        }
    }
    return fine && !s->bad;
}

MUST_CHECK static err read_body(struct body *body, view value)
{
    struct arena *arena = body->arena;
    struct scan s = scan_of(payload_of(arena, value));
    bool sourced = false;
    view op;

    scan_open(&s, '{');
    while (body->fits && scan_more(&s, '}')) {
        view name = scan_name(&s, arena);
        if (SCAN_IS(name, "before")) {
            read_image(body, &s, &body->out->before);
        } else if (SCAN_IS(name, "after")) {
            read_image(body, &s, &body->out->after);
        } else if (SCAN_IS(name, "source")) {
            sourced = read_source(arena, &s, &body->out->place);
            if (!sourced) {
                break;
            }
        } else if (SCAN_IS(name, "message")) {
            body->message = scan_value(&s);
        } else if (SCAN_IS(name, "op")) {
            body->op = scan_text(arena, scan_value(&s), &op) && op.len == 1 ? op.at[0] : 0;
        } else {
            (void)scan_value(&s);
        }
    }
    if (!body->fits && !s.bad) {
        return fault(ERR_CORRUPT, "a change record that does not fit its table %.*s.%.*s",
                     VIEW_ARG(body->out->relation->schema),
                     VIEW_ARG(body->out->relation->name));
    }
    return !sourced ? corrupt("source block") : scan_end(&s) ? OK : corrupt("value");
}

MUST_CHECK static err read_message(struct arena *arena, view json, struct change *out)
{
    struct scan s = scan_of(json);
    bool fine = true;

    scan_open(&s, '{');
    while (fine && scan_more(&s, '}')) {
        view name = scan_name(&s, arena), value = scan_value(&s);
        if (SCAN_IS(name, "prefix")) {
            fine = scan_text(arena, value, &out->prefix);
        } else if (SCAN_IS(name, "content")) {
            fine = base64_from(arena, value, &out->content);
        }
    }
    return fine && scan_end(&s) && out->prefix.at && out->content.at ? OK : corrupt("message");
}

/* What everybody may rely on: a row that is there has an image. */
static bool has_its_images(const struct change *change)
{
    switch (change->kind) {
    case CHANGE_TRUNCATE:
        return !change->before && !change->after;
    case CHANGE_DELETE:
        return change->before && !change->after;
    default:
        return change->after != NULL;
    }
}

MUST_CHECK static err read_change(struct arena *arena, const struct record *record,
                                  const struct told *told,
                                  const struct relation_finder *relations, struct change *out)
{
    struct body body = {.arena = arena, .told = told, .out = out};
    bool known;

    out->relation = relations->find(relations->self, told->table);
    body.fits = !out->relation || (told_image(arena, told, out->relation, told->exact.before,
                                              told->unknown.before, &out->before) &&
                                   told_image(arena, told, out->relation, told->exact.after,
                                              told->unknown.after, &out->after));
    err e = read_body(&body, record->value);
    if (e) {
        return e;
    }
    out->kind = kind_of(body.op, told->moved, &known);
    if (!known) {
        return corrupt("op");
    }
    if (out->kind == CHANGE_MESSAGE) {
        out->relation = NULL;
        out->before = out->after = NULL;
        return read_message(arena, body.message, out);
    }
    if (!out->relation) {
        return fault(ERR_NOT_FOUND, "a change record of table version %u, which is not known",
                     told->table);
    }
    return has_its_images(out) ? OK : corrupt("row");
}

err envelope_read(struct arena *arena, const struct record *record,
                  const struct relation_finder *relations, struct change *out, bool *is_change)
{
    const struct header *header = find_header(record, ENVELOPE_HEADER);
    struct told told = {0};

    *out = (struct change){.place.seq = -1};
    *is_change = false;
    if (!header || !header->value.at) {
        return record->value.at ? corrupt("header is missing or") : OK;
    }
    err e = read_header(arena, header->value, &told, out);
    if (e || !record->value.at || find_header(record, HEADER_NEW_KEY)) {
        return e;
    }
    e = read_change(arena, record, &told, relations, out);
    *is_change = e == OK;
    return e;
}
