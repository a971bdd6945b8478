/* check_server.c - the server: its version, what kind it is, its settings, who holds it up.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/check_inside.h"

#define VERSION_LEAST 130000
#define VERSION_MESSAGES 140000
#define VERSION_TESTED 180000 /* below it */
#define CLOCK_MS_MOST 2000
#define KEEP_MB_LEAST 1024 /* max_slot_wal_keep_size: less is gone in minutes */

static void check_version(struct checking *c)
{
    int version = pg_version(c->pg);
    struct finding *f = NULL;

    if (version < VERSION_LEAST) {
        f = check_add(c, FINDING_BLOCKS, "version", NULL, "%s", c->check->server);
        f->fix = "PostgreSQL 13 or later; 14 or later for context";
    } else if (version < VERSION_MESSAGES) {
        f = check_add(c, FINDING_WARNS, "version",
                      "13 does not stream logical messages: changes come without who and why, "
                      "and large transactions only when they are whole",
                      "%s", c->check->server);
        f->fix = "PostgreSQL 14 or later";
    } else if (version >= VERSION_TESTED) {
        (void)check_add(c, FINDING_WARNS, "version",
                        "newer than what this program was tested with", "%s", c->check->server);
    } else {
        (void)check_add(c, FINDING_FINE, "version", NULL, "%s", c->check->server);
    }
}

static void check_standby(struct checking *c)
{
    if (c->is_standby) {
        struct finding *f = check_add(c, FINDING_BLOCKS, "standby",
                                      "slot, publication and messages are the primary's", "%s",
                                      "this server is a standby");
        f->fix = "give the primary's address";
    }
}

/* Behind a pooler the process that answers is not the one that the connection began with. */
static err check_pooler(struct checking *c)
{
    int64_t pid = 0;
    const char *url = c->check->url;
    err e = check_ask_number(c, "SELECT pg_catalog.pg_backend_pid()", &pid);
    bool by_name = strstr(url, "pooler.supabase.com") || strstr(url, "-pooler.");

    if (!e && (by_name || pid != pg_backend_pid(c->pg))) {
        struct finding *f =
            check_add(c, by_name ? FINDING_BLOCKS : FINDING_WARNS, "pooler",
                      "poolers carry no replication, or only in their session mode",
                      "something between here and the server shares its connections");
        f->fix = c->host == HOST_SUPABASE ? "the direct host db.PROJECT.supabase.co (IPv6, "
                                            "unless the project has the IPv4 add-on)"
                 : c->host == HOST_NEON   ? "the same host without \"-pooler\" in its name"
                                          : "the server's own address and port";
    }
    return e;
}

static const char *wal_level_fix(const struct checking *c)
{
    switch (c->host) {
    case HOST_RDS:
        return "rds.logical_replication = 1 in the parameter group, then reboot the instance";
    case HOST_CLOUD_SQL:
        return "the flag cloudsql.logical_decoding = on; the instance restarts";
    case HOST_AZURE:
        return "the server parameter wal_level = LOGICAL; the server restarts";
    case HOST_NEON:
        return "Settings, Logical replication, Enable in the console (it stays on for good)";
    default:
        return "ALTER SYSTEM SET wal_level = 'logical'; then restart the server: the setting "
               "is "
               "read at its start alone";
    }
}

static err check_wal_level(struct checking *c)
{
    const char *level = NULL;
    err e = check_setting(c, "wal_level", &level);

    if (!e && strcmp(level, "logical")) {
        struct finding *f = check_add(
            c, FINDING_BLOCKS, "wal_level",
            "the server's log says what happened to rows only at this level", "%s", level);
        f->fix = wal_level_fix(c);
    } else if (!e) {
        (void)check_add(c, FINDING_FINE, "wal_level", NULL, "logical");
    }
    return e;
}

static const char *raise_fix(struct checking *c, const char *name, int64_t now)
{
    if (c->host == HOST_OWN) {
        return arena_format(c->arena,
                            "ALTER SYSTEM SET %s = %" PRId64 "; then restart the server", name,
                            now + 4);
    }
    return arena_format(c->arena, "%s = %" PRId64 " in the service's settings; it restarts",
                        name, now + 4);
}

static err check_room(struct checking *c, const char *name, const char *used_sql,
                      const char *why, const char *other)
{
    const char *setting = NULL;
    int64_t most = 0, used = 0;
    err e = check_setting(c, name, &setting);

    e = e ? e : view_to_int(view_text(setting), &most);
    e = e ? e : check_ask_number(c, used_sql, &used);
    if (e) {
        return e;
    }
    bool full = used >= most && !c->ask->exists;
    struct finding *f =
        check_add(c, full ? FINDING_BLOCKS : FINDING_FINE, name, full ? why : NULL,
                  "%" PRId64 " of %" PRId64 " are in use", used, most);
    if (full) {
        f->fix = arena_format(c->arena, "%s%s", raise_fix(c, name, most), other);
    }
    return OK;
}

static err check_keep_size(struct checking *c)
{
    const char *setting = NULL;
    int64_t mb = 0;
    err e = check_setting(c, "max_slot_wal_keep_size", &setting);

    e = e ? e : view_to_int(view_text(setting), &mb);
    if (e) {
        return e;
    }
    if (mb < 0) {
        struct finding *f = check_add(
            c, FINDING_WARNS, "max_slot_wal_keep_size",
            "while nothing reads its slot the server keeps its log without limit, until its "
            "disk is full; slot_guard and slot_max_bytes of the source act earlier",
            "no limit");
        f->fix =
            c->host == HOST_OWN
                ? "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();"
                : "set it in the service's settings, to less than the free disk";
    } else if (mb < KEEP_MB_LEAST) {
        struct finding *f =
            check_add(c, FINDING_WARNS, "max_slot_wal_keep_size",
                      "a slot that falls behind by so little is lost: a gap in the trail",
                      "%" PRId64 " MB", mb);
        f->fix = "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf();";
    } else {
        (void)check_add(c, FINDING_FINE, "max_slot_wal_keep_size", NULL, "%" PRId64 " MB", mb);
    }
    return OK;
}

static err check_forms(struct checking *c)
{
    const char *v[3];
    err e = check_ask_row(c,
                          "SELECT current_setting('server_encoding'), reset_zone.setting, "
                          "style.setting FROM (SELECT reset_val AS setting FROM "
                          "pg_catalog.pg_settings WHERE name = 'TimeZone') reset_zone, (SELECT "
                          "reset_val AS setting FROM pg_catalog.pg_settings WHERE name = "
                          "'DateStyle') style",
                          v, 3);

    if (e) {
        return e;
    }
    if (v[0] && !strcmp(v[0], "SQL_ASCII")) {
        (void)check_add(c, FINDING_WARNS, "encoding",
                        "the server does not check texts: what is not UTF-8 is kept as bytes "
                        "and shown with replacement characters",
                        "SQL_ASCII");
    }
    (void)check_add(c, FINDING_FINE, "time zone and date style",
                    "each connection of ours sets UTC and ISO for itself", "%s, %s",
                    v[1] ? v[1] : "", v[2] ? v[2] : "");
    return OK;
}

static err check_clock(struct checking *c)
{
    struct os *os = os_real();
    int64_t theirs = 0;
    int64_t before = os->now_ms(os);
    err e = check_ask_number(c, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                             &theirs);
    int64_t after = os->now_ms(os);
    int64_t off = theirs < before ? before - theirs : theirs > after ? theirs - after : 0;

    if (!e && off > CLOCK_MS_MOST) {
        struct finding *f = check_add(
            c, FINDING_WARNS, "clock",
            "commits carry the server's time: searches by time and the lag shown are off by it",
            "the server's differs from this machine's by %" PRId64 " s", off / 1000);
        f->fix = "let both follow a time server (NTP)";
    }
    return e;
}

/* A new slot waits for every transaction that has written and is not over. */
static err check_transactions(struct checking *c)
{
    struct pg_rows *rows = NULL;
    err e = pg_query(c->pg,
                     "SELECT pid::text, usename, extract(epoch FROM clock_timestamp() - "
                     "xact_start)::bigint, state FROM pg_catalog.pg_stat_activity WHERE "
                     "backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid() AND "
                     "xact_start < clock_timestamp() - interval '3 s' ORDER BY xact_start "
                     "LIMIT 10",
                     NULL, 0, &rows);

    for (size_t i = 0; !e && i < pg_row_count(rows); i++) {
        struct finding *f =
            check_add(c, FINDING_WARNS, "open transaction",
                      "making the slot waits until it is over, and so does the snapshot",
                      "process %.*s of %.*s: %.*s since %.*s s", VIEW_ARG(pg_value(rows, i, 0)),
                      VIEW_ARG(pg_value(rows, i, 1)), VIEW_ARG(pg_value(rows, i, 3)),
                      VIEW_ARG(pg_value(rows, i, 2)));
        f->fix = arena_format(c->arena, "SELECT pg_terminate_backend(%.*s);",
                              VIEW_ARG(pg_value(rows, i, 0)));
    }
    pg_rows_free(rows);
    return e;
}

static err check_prepared(struct checking *c)
{
    struct pg_rows *rows = NULL;
    struct writer gid = {0};
    err e =
        pg_query(c->pg,
                 "SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::bigint FROM "
                 "pg_catalog.pg_prepared_xacts WHERE prepared < clock_timestamp() - "
                 "interval '3 s' ORDER BY prepared LIMIT 10",
                 NULL, 0, &rows);

    for (size_t i = 0; !e && i < pg_row_count(rows); i++) {
        struct finding *f =
            check_add(c, FINDING_WARNS, "prepared transaction",
                      "making the slot waits until somebody commits it or rolls it back",
                      "%.*s, since %.*s s", VIEW_ARG(pg_value(rows, i, 0)),
                      VIEW_ARG(pg_value(rows, i, 1)));
        writer_reset(&gid);
        pg_quote_text(&gid, pg_value(rows, i, 0));
        f->fix = arena_format(c->arena, "COMMIT PREPARED %.*s; or ROLLBACK PREPARED %.*s;",
                              VIEW_ARG(writer_view(&gid)), VIEW_ARG(writer_view(&gid)));
    }
    writer_fini(&gid);
    pg_rows_free(rows);
    return e;
}

static void check_service(struct checking *c)
{
    if (c->host == HOST_RDS) {
        (void)check_add(c, FINDING_FINE, "service",
                        "an idle instance writes its log by itself: the slot must be read "
                        "even when nothing changes, which a running source does",
                        "Amazon RDS or Aurora");
    } else if (c->host == HOST_NEON) {
        (void)check_add(c, FINDING_WARNS, "service",
                        "a connected reader keeps the compute awake; a slot that nobody reads "
                        "for about 40 hours is removed, and so is it by a restore",
                        "Neon");
    } else if (c->host == HOST_SUPABASE) {
        (void)check_add(c, FINDING_FINE, "service",
                        "small plans keep little log for a slot that falls behind", "Supabase");
    }
}

err check_server(struct checking *c)
{
    err e = OK;

    check_version(c);
    check_standby(c);
    check_service(c);
    e = check_pooler(c);
    e = e ? e : check_wal_level(c);
    e = e ? e
          : check_room(c, "max_replication_slots",
                       "SELECT count(*) FROM pg_catalog.pg_replication_slots",
                       "a source needs one",
                       "; or drop one that nobody reads: SELECT "
                       "pg_drop_replication_slot('NAME');");
    e = e ? e
          : check_room(c, "max_wal_senders",
                       "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = "
                       "'walsender'",
                       "the stream is one", "");
    e = e ? e : check_keep_size(c);
    e = e ? e : check_forms(c);
    e = e ? e : check_clock(c);
    e = e ? e : check_transactions(c);
    return e ? e : check_prepared(c);
}
