/* setup_slot.c - replication slots: made, looked at, dropped.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit/setup_inside.h"

#define DROP_ROUNDS 50 /* of a tenth of a second, until its user has left */

static void copy_word(char *out, size_t room, view text)
{
    text = view_upto(text, room - 1);
    if (text.len) {
        memcpy(out, text.at, text.len);
    }
    out[text.len] = 0;
}

err setup_slot(struct pg *replication, const char *slot, struct setup_slot *out)
{
    struct writer sql = {0};
    struct pg_rows *rows = NULL;
    bool options = pg_version(replication) >= 150000;

    write_format(&sql, "CREATE_REPLICATION_SLOT ");
    pg_quote_name(&sql, view_text(slot));
    write_format(&sql, " LOGICAL pgoutput %s",
                 options ? "(SNAPSHOT 'export')" : "EXPORT_SNAPSHOT");
    write_u8(&sql, 0);
    err e = pg_query(replication, (const char *)sql.at, NULL, 0, &rows);
    writer_fini(&sql);
    if (e) {
        return fault_prefix("making the slot %s: ", slot);
    }
    memset(out, 0, sizeof(*out));
    if (pg_row_count(rows) != 1 || pg_column_count(rows) < 3 || !pg_value(rows, 0, 2).at) {
        e = fault(ERR_UNSUPPORTED, "the server made the slot %s without a snapshot", slot);
    } else {
        copy_word(out->snapshot, sizeof(out->snapshot), pg_value(rows, 0, 2));
        e = lsn_parse(pg_value(rows, 0, 1), &out->consistent_lsn);
    }
    pg_rows_free(rows);
    return e;
}

static int64_t number_or(view text, int64_t otherwise)
{
    int64_t value = otherwise;

    return text.at && !view_to_int(text, &value) ? value : otherwise;
}

static uint64_t place_or_zero(view text)
{
    uint64_t lsn = 0;

    return text.at && !lsn_parse(text, &lsn) ? lsn : 0;
}

static void read_state(const struct pg_rows *rows, struct setup_slot_state *out)
{
    *out = (struct setup_slot_state){
        .active = view_is_text(pg_value(rows, 0, 0), "t"),
        .active_pid = number_or(pg_value(rows, 0, 1), 0),
        .confirmed_lsn = place_or_zero(pg_value(rows, 0, 2)),
        .restart_lsn = place_or_zero(pg_value(rows, 0, 3)),
        .held_bytes = number_or(pg_value(rows, 0, 4), -1),
        .safe_bytes = number_or(pg_value(rows, 0, 5), -1),
        .is_lost = view_is_text(pg_value(rows, 0, 6), "lost"),
    };
    copy_word(out->status, sizeof(out->status), pg_value(rows, 0, 6));
    copy_word(out->plugin, sizeof(out->plugin), pg_value(rows, 0, 7));
    copy_word(out->database, sizeof(out->database), pg_value(rows, 0, 8));
}

err setup_slot_state(struct pg *pg, const char *slot, struct setup_slot_state *out)
{
    struct writer sql = {0};
    struct pg_rows *rows = NULL;

    write_format(&sql, "SELECT active, active_pid, confirmed_flush_lsn, restart_lsn,"
                       " pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery()"
                       " THEN pg_catalog.pg_last_wal_receive_lsn()"
                       " ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)::bigint,"
                       " safe_wal_size, wal_status, plugin, database"
                       " FROM pg_catalog.pg_replication_slots WHERE slot_name = ");
    pg_quote_text(&sql, view_text(slot));
    write_u8(&sql, 0);
    err e = pg_query(pg, (const char *)sql.at, NULL, 0, &rows);
    writer_fini(&sql);
    if (e) {
        return e;
    }
    if (pg_row_count(rows)) {
        read_state(rows, out);
    } else {
        e = fault(ERR_NOT_FOUND, "there is no slot %s", slot);
    }
    pg_rows_free(rows);
    return e;
}

err setup_slot_drop(struct pg *pg, const char *slot)
{
    struct setup_slot_state state;
    struct writer sql = {0};
    err e = OK;

    write_format(&sql, "SELECT pg_catalog.pg_drop_replication_slot(");
    pg_quote_text(&sql, view_text(slot));
    write_format(&sql, ")");
    write_u8(&sql, 0);
    for (int round = 0; round < DROP_ROUNDS; round++) {
        e = setup_slot_state(pg, slot, &state);
        if (!e && state.active_pid) {
            e = pg_run(pg, "SELECT pg_catalog.pg_terminate_backend(%" PRId64 ")",
                       state.active_pid);
        }
        e = e ? e : pg_query(pg, (const char *)sql.at, NULL, 0, NULL);
        if (e != ERR_BUSY) {
            break;
        }
        e = pg_run(pg, "SELECT pg_catalog.pg_sleep(0.1)");
        e = e ? e : fault(ERR_BUSY, "the slot %s is in use and its user does not leave", slot);
    }
    writer_fini(&sql);
    return e == ERR_NOT_FOUND ? OK : e;
}
