/* routes_tables.c - /api/v1/tables: a table as it was, page by page or into a database.
 *
 * The first page folds the table into a file, and the pages after it are read from that, so
 * that all of them are of one moment; the last one removes it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/asof.h"
#include "audit/routes.h"
#include "audit/row_json.h"

#define CATCH_UP_MS 5000
#define PAGE_BYTES_MAX (8u << 20) /* of an export's text in one answer, about */
#define PAGE_ROWS 20000
#define EXPORTS "views/audit/exports"
#define EXPORT_KEPT_MS (2 * 3600 * 1000) /* pages may be asked for so long */
#define EXPORT_ID_BYTES 48
#define EXPORTS_MAX 32 /* that wait for their next page */

struct export
{
    struct http_call *call;
    struct source *source; /* held */
    struct ref table;
    struct asof *asof;
    char id[EXPORT_ID_BYTES]; /* of the file, in cursors: milliseconds of its making, chance */
    char *path;
    enum asof_format format;
    struct writer text, key;
    int64_t limit, rows;
};

static bool open_table(struct http_call *call, struct export *x)
{
    *x = (struct export){.call = call};
    if (ref_parse_table(&call->arena, http_part(call, "table"), &x->table)) {
        http_reply_fault(call);
        return false;
    }
    x->source = route_source(call, x->table.source);
    return x->source != NULL;
}

static void close_table(struct export *x)
{
    asof_close(x->asof);
    source_drop(x->source);
    free(x->path);
    writer_fini(&x->text);
    writer_fini(&x->key);
}

/* Files of exports that nobody asks for any more go when the next one begins. */
struct sweep {
    struct os *os;
    const char *folder;
    int64_t before_ms;
    int kept;
};

static err sweep_one(void *self, const char *name)
{
    struct sweep *s = self;
    view stamp, rest;
    int64_t made_ms;

    (void)view_cut(view_text(name), '-', &stamp, &rest);
    s->kept++;
    if (view_to_int(stamp, &made_ms) == OK && made_ms < s->before_ms) {
        char *path = text_format("%s/%s", s->folder, name);
        err e = s->os->path_remove(s->os, path);
        if (e) {
            trace_warn("audit", "an old export stays: %s", fault_here.text);
        } else {
            s->kept--;
        }
        free(path);
    }
    return OK;
}

static err new_file(struct export *x)
{
    struct audit *audit = x->call->self;
    struct os *os = audit->os;
    int64_t now_ms = os->now_ms(os);
    uint64_t chance;
    char *folder = NULL;

    os->random(os, &chance, sizeof(chance));
    snprintf(x->id, sizeof(x->id), "%" PRId64 "-%016" PRIx64, now_ms, chance);
    err e = audit_path(audit, EXPORTS, x->id, &x->path);
    if (!e) {
        folder = text_of(view_upto(view_text(x->path), strlen(x->path) - strlen(x->id) - 1));
        struct sweep s = {.os = os, .folder = folder, .before_ms = now_ms - EXPORT_KEPT_MS};
        e = os->folder_list(os, folder, sweep_one, &s);
        if (!e && s.kept >= EXPORTS_MAX) {
            e = fault(ERR_BUSY,
                      "%d exports wait for their next page: fetch them to their ends, "
                      "or try again in two hours",
                      s.kept);
        }
    }
    free(folder);
    return e;
}

static err fold(struct export *x, view at)
{
    struct audit *audit = x->call->self;
    struct asof_query query = {
        .source = x->source, .table = &x->table, .path = x->path ? x->path : ""};
    bool timeless = !at.len || view_is_text(at, "now") || view_is_text(at, "latest") ||
                    view_starts(at, VIEW("lsn:"));
    err e = timeless ? OK : trail_catch_up(x->source->trail, CATCH_UP_MS);

    e = e ? e
          : moment_parse(x->source->trail, x->table.source, at, audit->os->now_ms(audit->os),
                         &query.until);
    return e ? e : asof_fold(&query, &x->asof);
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ID.KEY, the key in hex. */
static err open_cursor(struct export *x, view cursor)
{
    view id, hex;
    bool good = view_cut(cursor, '.', &id, &hex) && id.len < sizeof(x->id) && hex.len % 2 == 0;

    for (size_t i = 0; good && i < id.len; i++) {
        good = hex_digit(id.at[i]) >= 0 || id.at[i] == '-';
    }
    for (size_t i = 0; good && i < hex.len; i += 2) {
        int high = hex_digit(hex.at[i]), low = hex_digit(hex.at[i + 1]);
        good = high >= 0 && low >= 0;
        write_u8(&x->key, (uint8_t)(high << 4 | low));
    }
    if (!good) {
        return fault(ERR_INVALID, "that is no cursor of an export");
    }
    snprintf(x->id, sizeof(x->id), "%.*s", VIEW_ARG(id));
    err e = audit_path(x->call->self, EXPORTS, x->id, &x->path);
    e = e ? e : asof_open(x->source, x->path, &x->asof);
    return e == ERR_NOT_FOUND
               ? fault(ERR_NOT_FOUND, "the export was not asked on for too long: begin again")
               : e;
}

static err export_row(void *self, view key, const struct value *values)
{
    struct export *x = self;

    if (x->rows == x->limit || x->text.len > PAGE_BYTES_MAX) {
        return ERR_CANCELLED; /* there is more, behind the key of the row before */
    }
    x->rows++;
    writer_reset(&x->key);
    write_view(&x->key, key);
    asof_write_row(x->format, asof_relation(x->asof), values, &x->text);
    return OK;
}

static void json_about(const struct export *x, struct json_writer *j)
{
    struct asof_about about;

    asof_about(x->asof, &about);
    json_name(j, "table");
    struct writer name = {0};
    ref_print_table(&x->table, &name);
    json_view(j, writer_view(&name));
    writer_fini(&name);
    json_name(j, "lsn");
    json_lsn(j, about.lsn);
    json_name(j, "rows");
    json_int(j, about.rows);
    json_name(j, "unknown");
    json_int(j, about.unknown);
    json_name(j, "changes");
    json_int(j, about.changes);
    json_name(j, "last_change");
    json_time_us(j, about.last_us);
    json_name(j, "begins");
    json_time_us(j, about.begins_us);
    json_name(j, "snapshot");
    json_bool(j, about.snapshot);
    json_name(j, "trimmed");
    json_bool(j, about.trimmed);
    json_name(j, "gap");
    if (about.gap_to) {
        json_object(j);
        json_name(j, "from");
        json_lsn(j, about.gap_from);
        json_name(j, "to");
        json_lsn(j, about.gap_to);
        json_end_object(j);
    } else {
        json_null(j);
    }
}

static void json_cursor(const struct export *x, bool more, struct json_writer *j)
{
    struct writer cursor = {0};

    if (more) {
        write_format(&cursor, "%s.", x->id);
        for (size_t i = 0; i < x->key.len; i++) {
            write_format(&cursor, "%02x", x->key.at[i]);
        }
    }
    json_name(j, "next");
    json_view(j, cursor.at ? writer_view(&cursor) : VIEW(""));
    writer_fini(&cursor);
}

static err export_page(struct export *x, struct json_writer *j)
{
    struct audit *audit = x->call->self;
    view format = http_query(x->call, "format"), cursor = http_query(x->call, "cursor");
    err e = asof_format_parse(format.at ? format : VIEW("json"), &x->format);

    e = e ? e : http_query_int(x->call, "limit", PAGE_ROWS, 1, PAGE_ROWS, &x->limit);
    if (!e && cursor.len) {
        e = open_cursor(x, cursor);
    } else if (!e) {
        e = new_file(x);
        e = e ? e : fold(x, http_query(x->call, "at"));
        if (!e) {
            asof_write_head(x->format, asof_relation(x->asof), &x->text);
        }
    }
    if (e) {
        return e;
    }
    struct writer behind = {0};
    write_view(&behind, writer_view(&x->key));
    e = asof_rows(x->asof, writer_view(&behind), export_row, x);
    writer_fini(&behind);
    bool more = e == ERR_CANCELLED;
    if (e && !more) {
        return e;
    }
    if (!more) {
        asof_write_end(x->format, &x->text);
    }
    json_object(j);
    json_about(x, j);
    json_name(j, "text");
    json_view(j, x->text.at ? writer_view(&x->text) : VIEW(""));
    json_cursor(x, more, j);
    json_end_object(j);
    return more ? OK : audit->os->path_remove(audit->os, x->path);
}

void tables_route_export(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct export x;

    if (!open_table(call, &x)) {
        return;
    }
    if (export_page(&x, &j)) {
        writer_reset(&call->out);
        http_reply_fault(call);
    } else {
        http_reply_json(call, 200);
    }
    close_table(&x);
}

/* {"at", "into", "password"}: straight into a database. */
static err export_into(struct export *x, struct json_writer *j)
{
    struct json *body = NULL;
    view into, at, password;
    err e = http_body_json(x->call, &body);

    if (e) {
        return e;
    }
    into = body_text(body, "into");
    at = body_text(body, "at");
    password = body_text(body, "password");
    if (!into.len) {
        return fault(ERR_INVALID, "the body lacks \"into\": postgres://HOST/DATABASE");
    }
    e = fold(x, at);
    e = e ? e
          : asof_into(x->asof, arena_text(&x->call->arena, into),
                      password.at ? arena_text(&x->call->arena, password) : NULL);
    if (!e) {
        json_object(j);
        json_about(x, j);
        json_end_object(j);
    }
    return e;
}

void tables_route_into(struct http_call *call)
{
    struct json_writer j = json_to(&call->out);
    struct export x;

    if (!open_table(call, &x)) {
        return;
    }
    if (export_into(&x, &j)) {
        writer_reset(&call->out);
        http_reply_fault(call);
    } else {
        http_reply_json(call, 200);
    }
    close_table(&x);
}
