/* check.c - connects, has the parts look, and puts the findings in order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/check_inside.h"

static const char *const severities[] = {
    [FINDING_FINE] = "fine", [FINDING_WARNS] = "warns", [FINDING_BLOCKS] = "blocks"};

const char *finding_severity_name(enum finding_severity severity)
{
    assert((size_t)severity < COUNT(severities));
    return severities[severity];
}

struct finding *check_add(struct checking *c, enum finding_severity severity, const char *what,
                          const char *why, const char *now, ...)
{
    struct check *check = c->check;
    char *words = NULL;
    va_list arguments;

    if (check->count == check->room) {
        size_t room = check->room ? check->room * 2 : 32;
        struct finding *more = arena_take(c->arena, room * sizeof(*more));
        if (check->count) {
            memcpy(more, check->findings, check->count * sizeof(*more));
        }
        check->findings = more;
        check->room = room;
    }
    va_start(arguments, now);
    int len = vasprintf(&words, now, arguments);
    va_end(arguments);
    struct finding *made = &check->findings[check->count++];
    *made = (struct finding){.what = arena_text(c->arena, view_text(what)),
                             .severity = severity,
                             .now = len < 0 ? "" : arena_text(c->arena, view_text(words)),
                             .why = why};
    free(len < 0 ? NULL : words);
    check->blocks += severity == FINDING_BLOCKS;
    check->warns += severity == FINDING_WARNS;
    return made;
}

err check_ask_row(struct checking *c, const char *sql, const char **values, int count)
{
    struct pg_rows *rows = NULL;
    err e = pg_query(c->pg, sql, NULL, 0, &rows);

    if (e) {
        return e;
    }
    for (int i = 0; i < count; i++) {
        view value = pg_row_count(rows) ? pg_value(rows, 0, i) : (view){0};
        values[i] = value.at ? arena_text(c->arena, value) : NULL;
    }
    pg_rows_free(rows);
    return OK;
}

err check_ask_number(struct checking *c, const char *sql, int64_t *out)
{
    const char *text = NULL;
    err e = check_ask_row(c, sql, &text, 1);

    *out = 0;
    return e || !text ? e : view_to_int(view_text(text), out);
}

err check_setting(struct checking *c, const char *name, const char **out)
{
    char sql[160];

    snprintf(sql, sizeof(sql), "SELECT setting FROM pg_catalog.pg_settings WHERE name = '%s'",
             name);
    err e = check_ask_row(c, sql, out, 1);
    *out = *out ? *out : "";
    return e;
}

/* What to do when there is no connection at all. */
static const char *connection_fix(err kind, const char *words)
{
    if (kind == ERR_UNSUPPORTED && strstr(words, "startup parameter")) {
        return "give the address of the server itself, not of its pooler";
    }
    if (strstr(words, "pg_hba.conf")) {
        return "a line for this client in pg_hba.conf, then SELECT pg_reload_conf(): "
               "host DATABASE USER ADDRESS/32 scram-sha-256";
    }
    switch (kind) {
    case ERR_DENIED:
        return "look at user and password: postgres://USER:PASSWORD@HOST:PORT/DATABASE, "
               "PGPASSWORD or ~/.pgpass";
    case ERR_NOT_FOUND:
        return "psql -l lists a server's databases, \\du its roles";
    case ERR_INVALID:
        return "postgres://USER@HOST:PORT/DATABASE";
    case ERR_BUSY:
        return "try again when the server takes connections";
    case ERR_UNSUPPORTED:
        return "apt-get install libpq5";
    default:
        return "is the server running, and does it listen there? listen_addresses and port in "
               "postgresql.conf say where; a firewall may be between";
    }
}

static void not_connected(struct checking *c, err kind)
{
    struct finding *f =
        check_add(c, FINDING_BLOCKS, "connection", "without one nothing else can be looked at",
                  "%s", fault_here.text);

    f->fix = connection_fix(kind, f->now);
}

static const struct {
    const char *role;
    enum check_host host;
    const char *name;
} hosts[] = {
    {"rdsadmin", HOST_RDS, "Amazon RDS or Aurora"},
    {"cloudsqladmin", HOST_CLOUD_SQL, "Google Cloud SQL"},
    {"azure_pg_admin", HOST_AZURE, "Azure Database"},
    {"supabase_admin", HOST_SUPABASE, "Supabase"},
    {"neon_superuser", HOST_NEON, "Neon"},
};

static err recognise(struct checking *c)
{
    for (size_t i = 0; i < COUNT(hosts); i++) {
        char sql[128];
        const char *found = NULL;
        snprintf(sql, sizeof(sql), "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = '%s'",
                 hosts[i].role);
        err e = check_ask_row(c, sql, &found, 1);
        if (e) {
            return e;
        }
        if (found) {
            c->host = hosts[i].host;
            c->check->host = hosts[i].name;
        }
    }
    return OK;
}

static err introduce(struct checking *c)
{
    const char *v[7];
    struct writer role = {0};
    err e = check_ask_row(c,
                          "SELECT current_user, current_database(), host(inet_client_addr()), "
                          "r.rolsuper, pg_catalog.pg_is_in_recovery(), "
                          "current_setting('server_version') FROM pg_catalog.pg_roles r WHERE "
                          "r.rolname = current_user",
                          v, 6);

    if (e) {
        return e;
    }
    pg_quote_name(&role, view_text(v[0]));
    c->role = arena_text(c->arena, writer_view(&role));
    writer_fini(&role);
    c->role_name = v[0] ? v[0] : "";
    c->database = v[1] ? v[1] : "";
    c->address = v[2];
    c->is_super = v[3] && v[3][0] == 't';
    c->is_standby = v[4] && v[4][0] == 't';
    e = recognise(c);
    c->check->server = arena_format(
        c->arena, "PostgreSQL %s%s%s%s", v[5] ? v[5] : "", c->check->host ? " (" : "",
        c->check->host ? c->check->host : "", c->check->host ? ")" : "");
    return e;
}

static void sort_worst_first(struct check *check)
{
    for (size_t i = 1; i < check->count; i++) { /* few, and in order mostly */
        struct finding moved = check->findings[i];
        size_t at = i;
        for (; at && check->findings[at - 1].severity < moved.severity; at--) {
            check->findings[at] = check->findings[at - 1];
        }
        check->findings[at] = moved;
    }
}

err check_run(struct arena *arena, const struct check_ask *ask, struct check *out)
{
    struct checking c = {.check = out, .ask = ask, .arena = arena};
    struct pg_target target = ask->database;
    char *clean = NULL, *password = NULL;

    *out = (struct check){.arena = arena};
    pg_url_split(arena, view_text(target.url), &clean, &password);
    out->url = clean;
    target.application = "tidemark check";
    target.replication = false;
    err e = pg_open(&target, &c.pg);
    if (e) {
        not_connected(&c, e);
        return OK;
    }
    e = introduce(&c);
    e = e ? e : check_server(&c);
    e = e ? e : check_replication(&c);
    e = e ? e : check_tables(&c);
    if (e && !pg_is_alive(c.pg)) {
        not_connected(&c, e);
        e = OK;
    }
    pg_close(c.pg);
    sort_worst_first(out);
    return e;
}

void check_to_json(const struct check *check, struct json_writer *j)
{
    json_object(j);
    json_name(j, "ok");
    json_bool(j, !check->blocks);
    json_name(j, "server");
    json_text(j, check->server);
    json_name(j, "url");
    json_text(j, check->url);
    json_name(j, "tables");
    json_int(j, (int64_t)check->tables);
    json_name(j, "blocks");
    json_int(j, check->blocks);
    json_name(j, "warns");
    json_int(j, check->warns);
    json_name(j, "findings");
    json_array(j);
    for (size_t i = 0; i < check->count; i++) {
        const struct finding *f = &check->findings[i];
        json_object(j);
        json_name(j, "what");
        json_text(j, f->what);
        json_name(j, "severity");
        json_text(j, finding_severity_name(f->severity));
        json_name(j, "now");
        json_text(j, f->now);
        json_name(j, "fix");
        json_text(j, f->fix);
        json_name(j, "why");
        json_text(j, f->why);
        json_end_object(j);
    }
    json_end_array(j);
    json_end_object(j);
}
