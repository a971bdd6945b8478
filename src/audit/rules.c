/* rules.c - ignoring and masking columns. SPDX-License-Identifier: Apache-2.0 */
#include "audit/rules.h"

#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_TEXT 25
#define HASH_TEXT_BYTES 32 /* hex digits kept: 128 bits */
#define PARTS_MAX 3

enum action { KEEP, DROP, HASH, TRUNCATE };

struct pattern {
    view parts[PARTS_MAX]; /* column first, then table, schema */
    int count;
    enum action action; /* KEEP: of the ignore rules */
    int64_t characters; /* TRUNCATE */
};

struct rules {
    char *ignore_text, *mask_text; /* own the patterns' bytes */
    struct pattern *ignore, *mask;
    size_t ignore_count, mask_count;
    size_t ignore_room, mask_room;
    uint8_t key[RULES_KEY_BYTES];
};

struct column_rule {
    bool ignored;
    enum action action;
    int64_t characters;
};

struct rules_table {
    const struct rules *rules;
    struct relation *relation; /* as the database has it; held */
    struct column_rule *columns;
    int kept;          /* columns that are not dropped */
    bool ignores, any; /* some column is ignored; is masked */
};

static bool matches(view text, view pattern)
{
    while (pattern.len) {
        if (pattern.at[0] == '*') {
            for (size_t i = 0; i <= text.len; i++) {
                if (matches(view_from(text, i), view_from(pattern, 1))) {
                    return true;
                }
            }
            return false;
        }
        if (!text.len || (pattern.at[0] != '?' && pattern.at[0] != text.at[0])) {
            return false;
        }
        text = view_from(text, 1);
        pattern = view_from(pattern, 1);
    }
    return text.len == 0;
}

static bool pattern_fits(const struct pattern *p, const struct relation *relation, view column)
{
    const view names[PARTS_MAX] = {column, relation->name, relation->schema};

    for (int i = 0; i < p->count; i++) {
        if (!matches(names[i], p->parts[i])) {
            return false;
        }
    }
    return true;
}

static err read_parts(view text, struct pattern *out)
{
    view rest = text;

    while (out->count < PARTS_MAX) {
        size_t start = rest.len;
        while (start && rest.at[start - 1] != '.') {
            start--;
        }
        out->parts[out->count++] = view_from(rest, start);
        if (!start) {
            return rest.len ? OK : fault(ERR_INVALID, "a rule without a column");
        }
        rest = view_upto(rest, start - 1);
    }
    return fault(ERR_INVALID, "\"%.*s\" has too many dots: SCHEMA.TABLE.COLUMN",
                 VIEW_ARG(text));
}

static err read_action(view rule, view text, struct pattern *out)
{
    view name, tail;
    bool more = view_cut(text, ':', &name, &tail);

    if (view_is_text(name, "drop") && !more) {
        out->action = DROP;
        return OK;
    }
    if (view_is_text(name, "hash") && !more) {
        out->action = HASH;
        return OK;
    }
    if (view_is_text(name, "truncate") && more && !view_to_int(tail, &out->characters) &&
        out->characters >= 0) {
        out->action = TRUNCATE;
        return OK;
    }
    return fault(ERR_INVALID, "\"%.*s\": say COLUMN=drop, =hash or =truncate:CHARACTERS",
                 VIEW_ARG(rule));
}

static err read_rule(view rule, bool masks, struct pattern *out)
{
    view name = rule, action = {0};

    if (masks && !view_cut(rule, '=', &name, &action)) {
        return read_action(rule, (view){0}, out);
    }
    err e = read_parts(view_trim(name), out);
    return e || !masks ? e : read_action(rule, view_trim(action), out);
}

static err read_rules(const char *text, bool masks, struct pattern **list, size_t *count,
                      size_t *room)
{
    view rest = view_text(text), rule;
    err e = OK;

    while (!e && rest.len) {
        struct pattern pattern = {0};
        if (!view_cut(rest, ',', &rule, &rest)) {
            rest = (view){0};
        }
        rule = view_trim(rule);
        if (!rule.len) {
            continue;
        }
        e = read_rule(rule, masks, &pattern);
        if (!e) {
            *list = array_room(*list, *count, room, sizeof(**list));
            (*list)[(*count)++] = pattern;
        }
    }
    return e ? fault_prefix("%s: ", masks ? "mask" : "ignore") : OK;
}

err rules_new(const char *ignore, const char *mask, const uint8_t key[RULES_KEY_BYTES],
              struct rules **out)
{
    struct rules *r = xcalloc(1, sizeof(*r));

    r->ignore_text = xstrdup(ignore ? ignore : "");
    r->mask_text = xstrdup(mask ? mask : "");
    memcpy(r->key, key, sizeof(r->key));
    err e = read_rules(r->ignore_text, false, &r->ignore, &r->ignore_count, &r->ignore_room);
    e = e ? e : read_rules(r->mask_text, true, &r->mask, &r->mask_count, &r->mask_room);
    if (e) {
        rules_free(r);
        return e;
    }
    *out = r;
    return OK;
}

void rules_free(struct rules *r)
{
    if (r) {
        explicit_bzero(r->key, sizeof(r->key));
        free(r->ignore);
        free(r->mask);
        free(r->ignore_text);
        free(r->mask_text);
        free(r);
    }
}

static struct column_rule rule_of(const struct rules *r, const struct relation *relation,
                                  const struct column *column)
{
    struct column_rule rule = {0};

    for (size_t i = 0; i < r->ignore_count && !rule.ignored; i++) {
        rule.ignored = pattern_fits(&r->ignore[i], relation, column->name);
    }
    for (size_t i = 0; i < r->mask_count && rule.action == KEEP; i++) {
        if (pattern_fits(&r->mask[i], relation, column->name)) {
            rule.action = r->mask[i].action;
            rule.characters = r->mask[i].characters;
        }
    }
    if (rule.action == DROP && column->key && relation->identity != 'f') {
        rule.action = HASH; /* rows must stay apart */
    }
    return rule;
}

struct rules_table *rules_table_new(const struct rules *rules, const struct relation *relation)
{
    struct rules_table *t = xcalloc(1, sizeof(*t));

    t->rules = rules;
    t->relation = relation_new(relation);
    t->columns = xcalloc((size_t)relation->count + 1, sizeof(*t->columns));
    for (int i = 0; i < relation->count; i++) {
        t->columns[i] = rule_of(rules, relation, &relation->columns[i]);
        t->kept += t->columns[i].action != DROP;
        t->ignores = t->ignores || t->columns[i].ignored;
        t->any = t->any || t->columns[i].action != KEEP;
    }
    return t;
}

void rules_table_free(struct rules_table *t)
{
    if (t) {
        relation_drop(t->relation);
        free(t->columns);
        free(t);
    }
}

struct relation *rules_relation(const struct rules_table *t)
{
    struct relation shown = *t->relation;

    shown.columns = xcalloc((size_t)t->kept + 1, sizeof(*shown.columns));
    shown.count = 0;
    for (int i = 0; i < t->relation->count; i++) {
        struct column column = t->relation->columns[i];
        if (t->columns[i].action == DROP) {
            continue;
        }
        if (t->columns[i].action != KEEP) {
            column.type = TYPE_TEXT;
            column.modifier = -1;
            column.type_name = (view){0};
        }
        shown.columns[shown.count++] = column;
    }
    struct relation *made = relation_new(&shown);
    free(shown.columns);
    return made;
}

static view hashed(const struct rules *r, struct arena *arena, view text)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *out = arena_take(arena, HASH_TEXT_BYTES), mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    HMAC(EVP_sha256(), r->key, sizeof(r->key), text.at, text.len, mac, &len);
    assert(len >= HASH_TEXT_BYTES / 2);
    for (size_t i = 0; i < HASH_TEXT_BYTES / 2; i++) {
        out[2 * i] = (uint8_t)digits[mac[i] >> 4];
        out[2 * i + 1] = (uint8_t)digits[mac[i] & 15];
    }
    return (view){out, HASH_TEXT_BYTES};
}

/* The first characters of UTF-8: bytes that go on one are not counted. */
static view truncated(view text, int64_t characters)
{
    size_t at = 0;

    for (int64_t seen = 0; at < text.len; at++) {
        bool begins = (text.at[at] & 0xC0) != 0x80;
        if (begins && seen++ == characters) {
            break;
        }
    }
    return view_upto(text, at);
}

static struct value masked(const struct rules_table *t, int column, struct arena *arena,
                           struct value value)
{
    const struct column_rule *rule = &t->columns[column];

    if (value.kind == VALUE_TEXT && rule->action == HASH) {
        value.text = hashed(t->rules, arena, value.text);
    } else if (value.kind == VALUE_TEXT && rule->action == TRUNCATE) {
        value.text = truncated(value.text, rule->characters);
    }
    return value;
}

static struct value *image(const struct rules_table *t, struct arena *arena,
                           const struct value *values)
{
    struct value *out = values ? arena_take(arena, (size_t)(t->kept + 1) * sizeof(*out)) : NULL;
    int at = 0;

    for (int i = 0; out && i < t->relation->count; i++) {
        if (t->columns[i].action != DROP) {
            out[at++] = masked(t, i, arena, values[i]);
        }
    }
    return out;
}

/* True when something changed, and all that did is ignored. */
static bool only_ignored(const struct rules_table *t, const struct change *change)
{
    bool any = false;

    if (change->kind != CHANGE_UPDATE || !change->before || !change->after) {
        return false;
    }
    for (int i = 0; i < t->relation->count; i++) {
        if (change->before[i].kind == VALUE_ABSENT) {
            return false; /* the old image is but a key: what else changed is not known */
        }
        if (change_is_changed(change, i)) {
            any = true;
            if (!t->columns[i].ignored) {
                return false;
            }
        }
    }
    return any;
}

bool rules_apply(const struct rules_table *t, struct relation *stored, struct arena *arena,
                 const struct change *change, struct change *out)
{
    if (t->ignores && only_ignored(t, change)) {
        return false;
    }
    *out = *change;
    out->relation = stored;
    if (t->any) {
        out->before = image(t, arena, change->before);
        out->after = image(t, arena, change->after);
    }
    return true;
}
