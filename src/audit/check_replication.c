/* check_replication.c - may we replicate: the role, a connection really opened, slot,
 * publication. SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/check_inside.h"

static err check_role(struct checking *c)
{
    const char *may = NULL;
    err e = check_ask_row(
        c,
        "SELECT r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_roles s "
        "WHERE s.rolname = 'rds_replication' AND pg_catalog.pg_has_role(s.oid, 'USAGE')) FROM "
        "pg_catalog.pg_roles r WHERE r.rolname = current_user",
        &may, 1);

    if (!e && may && may[0] == 't') {
        (void)check_add(c, FINDING_FINE, "role", NULL, "%s may replicate", c->role_name);
    } else if (!e) {
        struct finding *f = check_add(c, FINDING_BLOCKS, "role",
                                      "slots and streams are for roles with this right",
                                      "%s may not replicate", c->role_name);
        f->fix = c->host == HOST_RDS
                     ? arena_format(c->arena, "GRANT rds_replication TO %s;", c->role)
                     : arena_format(c->arena, "ALTER ROLE %s REPLICATION;", c->role);
    }
    return e;
}

static const char *hba_line(struct checking *c)
{
    if (!c->address) {
        return arena_format(c->arena,
                            "in pg_hba.conf: local  %s  %s  peer (or scram-sha-256), then "
                            "SELECT pg_reload_conf();",
                            c->database, c->role_name);
    }
    return arena_format(c->arena,
                        "in pg_hba.conf, above what refuses it: host  %s  %s  %s/%d  "
                        "scram-sha-256, then SELECT pg_reload_conf();",
                        c->database, c->role_name, c->address,
                        strchr(c->address, ':') ? 128 : 32);
}

static const char *stream_fix(struct checking *c, const char *words)
{
    if (strstr(words, "pg_hba")) {
        return hba_line(c);
    }
    if (strstr(words, "startup parameter") || strstr(words, "replication parameter")) {
        return "the server's own address, not that of a pooler";
    }
    if (strstr(words, "requested standby connections") || strstr(words, "max_wal_senders")) {
        return "raise max_wal_senders, then restart the server";
    }
    if (strstr(words, "replication role") || strstr(words, "permission denied")) {
        return c->host == HOST_RDS
                   ? arena_format(c->arena, "GRANT rds_replication TO %s;", c->role)
                   : arena_format(c->arena, "ALTER ROLE %s REPLICATION;", c->role);
    }
    return NULL;
}

/* Opened for real: pg_hba.conf and poolers treat it otherwise than an ordinary one. */
static void check_stream(struct checking *c)
{
    struct pg_target target = c->ask->database;
    struct pg *pg = NULL;
    struct pg_system system;

    target.application = "tidemark check";
    target.replication = true;
    err e = pg_open(&target, &pg);
    e = e ? e : pg_identify(pg, &system);
    if (e) {
        struct finding *f =
            check_add(c, FINDING_BLOCKS, "replication connection",
                      "the changes come over one of this kind", "%s", fault_here.text);
        f->fix = stream_fix(c, f->now);
    } else {
        (void)check_add(c, FINDING_FINE, "replication connection", NULL,
                        "opened; system %s, timeline %" PRId32, system.system_id,
                        system.timeline);
    }
    pg_close(pg);
}

static void check_slot_there(struct checking *c, const struct setup_slot_state *state)
{
    const char *slot = c->ask->setup.slot;
    bool fits = !strcmp(state->plugin, "pgoutput") && !strcmp(state->database, c->database);

    if (state->is_lost) {
        struct finding *f =
            check_add(c, FINDING_BLOCKS, "slot",
                      "the server dropped log that was not captured: those changes are gone",
                      "%s is lost", slot);
        f->fix = "`tidemark source resume SOURCE --accept-gap` makes it anew and marks the gap";
    } else if (!fits) {
        struct finding *f = check_add(c, FINDING_BLOCKS, "slot", "another program's",
                                      "%s is there, with plugin %s in %s", slot,
                                      state->plugin[0] ? state->plugin : "none",
                                      state->database[0] ? state->database : "no database");
        f->fix = "choose another name with --slot";
    } else if (state->active && !c->ask->exists) {
        struct finding *f =
            check_add(c, FINDING_BLOCKS, "slot", "a slot has one reader",
                      "%s is there and in use by process %" PRId64, slot, state->active_pid);
        f->fix = "choose another name with --slot";
    } else {
        (void)check_add(c, FINDING_FINE, "slot", NULL,
                        "%s is there, %s, holds back %" PRId64 " MiB", slot, state->status,
                        state->held_bytes < 0 ? 0 : state->held_bytes >> 20);
    }
}

static err check_slot(struct checking *c)
{
    struct setup_slot_state state;
    err e = OK;

    if (!c->ask->setup.slot) {
        return OK;
    }
    e = setup_slot_state(c->pg, c->ask->setup.slot, &state);
    if (!e) {
        check_slot_there(c, &state);
    } else if (e == ERR_NOT_FOUND && c->ask->exists) {
        struct finding *f = check_add(c, FINDING_BLOCKS, "slot",
                                      "what was committed since it went is not captured",
                                      "%s is gone", c->ask->setup.slot);
        f->fix = "`tidemark source resume SOURCE --accept-gap` makes it anew and marks the gap";
    }
    return e == ERR_NOT_FOUND ? OK : e;
}

/* The server's own words for who may make publications: CREATE on the database. */
static err check_create(struct checking *c)
{
    const char *may = NULL;
    err e = check_ask_row(
        c, "SELECT pg_catalog.has_database_privilege(current_database(), 'CREATE')", &may, 1);

    if (!e && may && may[0] != 't' && !c->ask->exists) {
        struct writer name = {0};
        pg_quote_name(&name, view_text(c->database));
        struct finding *f = check_add(
            c, FINDING_BLOCKS, "privilege to publish",
            "the publication is made in the database; --by-hand lets somebody else make it",
            "%s may not create in %s", c->role_name, c->database);
        f->fix = arena_format(c->arena, "GRANT CREATE ON DATABASE %.*s TO %s;",
                              VIEW_ARG(writer_view(&name)), c->role);
        writer_fini(&name);
    }
    return e;
}

err check_replication(struct checking *c)
{
    err e = check_role(c);

    if (!e) {
        check_stream(c);
    }
    e = e ? e : check_slot(c);
    return e ? e : check_create(c);
}
