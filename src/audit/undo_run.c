/* undo_run.c - a plan against a live database, in one transaction.
 *
 *   begin -> context -> lock and compare all -> steps -> constraints -> look -> commit
 *                              |                  |          |                   |
 *                              `-- conflicts -----`----------`--> rollback <-----` none asked
 * for
 *
 * The rehearsal of a plan is the same with a rollback at its end: what the database would say
 * is said by the database. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/pg.h"
#include "audit/undo_inside.h"

#define LOCK_MS 5000
#define STATEMENT_MS 60000

static err begin(struct undo_running *run)
{
    const struct undo_how *how = run->how;
    /* Values are compared with those captured, so they must have the same form. */
    err e = pg_run(run->pg,
                   "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
                   "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; "
                   "SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 3; "
                   "SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; "
                   "SET LOCAL standard_conforming_strings = on; "
                   "SET LOCAL lock_timeout = %lld; SET LOCAL statement_timeout = %lld; "
                   "SET CONSTRAINTS ALL DEFERRED",
                   (long long)(how->lock_ms ? how->lock_ms : LOCK_MS),
                   (long long)(how->statement_ms ? how->statement_ms : STATEMENT_MS));

    if (!e && how->without_triggers) {
        e = pg_run(run->pg, "SET LOCAL session_replication_role = replica");
    }
    if (!e && how->context.at) {
        view parameters[] = {VIEW("_bemi"), how->context};
        e = pg_query(run->pg, "SELECT pg_logical_emit_message(true, $1, $2)", parameters, 2,
                     NULL);
    }
    return e;
}

/* The database's answer is no trouble of ours: a conflict, by its code. */
static bool is_verdict(const char *state, enum undo_note_kind *kind)
{
    static const struct {
        const char *state;
        enum undo_note_kind kind;
    } rows[] = {
        {"23505", UNDO_UNIQUE_VIOLATION},
        {"23P01", UNDO_UNIQUE_VIOLATION},
        {"23503", UNDO_FOREIGN_KEY_MISSING},
        {"23001", UNDO_FOREIGN_KEY_MISSING},
        {"23502", UNDO_NOT_NULL_ADDED},
        {"23514", UNDO_CHECK_FAILED},
        {"42501", UNDO_NOT_PERMITTED},
        {"44000", UNDO_CHECK_FAILED},
        {"22", UNDO_COLUMN_RETYPED},
        {"42804", UNDO_COLUMN_RETYPED},
        {"P0", UNDO_REFUSED},
        {"09", UNDO_REFUSED},
        {"27", UNDO_REFUSED},
        {"38", UNDO_REFUSED},
        {"428C9", UNDO_REFUSED},
        {"55000", UNDO_REFUSED},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!strncmp(state, rows[i].state, strlen(rows[i].state))) {
            *kind = rows[i].kind;
            return true;
        }
    }
    return false;
}

static err verdict(struct undo_running *run, const struct undo_row *row, err e)
{
    enum undo_note_kind kind;

    if (!is_verdict(pg_sqlstate(run->pg), &kind)) {
        bool is_locked =
            !strcmp(pg_sqlstate(run->pg), "55P03") || !strcmp(pg_sqlstate(run->pg), "40P01");
        return is_locked ? fault(ERR_BUSY, "others hold a row that is to be put back; nothing "
                                           "was changed, try again")
                         : e;
    }
    struct undo_note *note =
        undo_conflict(run->plan, kind, row, "%s%s%s",
                      row ? (const char *)undo_row_words(run->plan, row).at : "",
                      row ? ": " : "", fault_here.text);
    undo_note_fix(run->plan, note, "the database refused it; its words say why");
    return OK;
}

static void none_affected(struct undo_running *run, const struct undo_step *step, int64_t count)
{
    struct undo_plan *plan = run->plan;
    const struct catalog_table *table = step->row->table;
    bool has_triggers = table->triggers.len > 0;
    enum undo_note_kind kind = has_triggers ? UNDO_TRIGGER_ALTERED_RESULT
                               : table->key ? UNDO_CHANGED_SINCE
                                            : UNDO_ROW_MISSING;
    struct undo_note *note = undo_conflict(
        plan, kind, step->row, "%.*s: %s affected %lld rows where one was meant%s%.*s",
        VIEW_ARG(undo_row_words(plan, step->row)), undo_kind_name(step->kind), (long long)count,
        has_triggers ? "; triggers: " : "", VIEW_ARG(table->triggers));

    undo_note_fix(plan, note, "%s",
                  has_triggers ? "--without-triggers keeps triggers from it, where the role "
                                 "may set session_replication_role"
                               : "no row like it is left");
}

static err execute(struct undo_running *run)
{
    struct undo_plan *plan = run->plan;
    err e = OK;

    for (size_t i = 0; !e && !plan->conflict_count && i < plan->step_count; i++) {
        const struct undo_step *step = &plan->steps[i];
        struct pg_rows *rows = NULL;
        /* Copies in arenas end with a NUL. */
        e = pg_query(run->pg, (const char *)step->sql.at, NULL, 0, &rows);
        if (e) {
            e = verdict(run, step->row, e);
        } else if (pg_affected(rows) != 1) {
            none_affected(run, step, pg_affected(rows));
        }
        pg_rows_free(rows);
    }
    if (!e && !plan->conflict_count) {
        e = pg_run(run->pg, "SET CONSTRAINTS ALL IMMEDIATE");
        e = e ? verdict(run, NULL, e) : OK;
    }
    return e;
}

static err find_xid(struct undo_running *run, uint32_t *xid)
{
    struct pg_rows *rows = NULL;
    int64_t value = 0;
    err e = pg_query(run->pg, "SELECT pg_current_xact_id()::text::bigint", NULL, 0, &rows);

    e = e ? e : view_to_int(pg_value(rows, 0, 0), &value);
    *xid = (uint32_t)((uint64_t)value & UINT32_MAX);
    pg_rows_free(rows);
    return e;
}

static err attempt(struct undo_running *run, struct undo_outcome *out)
{
    struct undo_plan *plan = run->plan;
    err e = begin(run);

    if (!e) {
        e = undo_check(run);
        e = e ? verdict(run, NULL, e) : OK;
    }
    if (!e && run->adjusted && !plan->conflict_count) {
        undo_sql(plan);
    }
    e = e || plan->conflict_count ? e : execute(run);
    if (!e && !plan->conflict_count) {
        e = undo_check_result(run);
    }
    if (!e && !plan->conflict_count && run->how->commit && plan->step_count) {
        e = find_xid(run, &out->xid);
        if (!e && pg_run(run->pg, "COMMIT")) {
            return pg_is_alive(run->pg)
                       ? fault_prefix("nothing was changed: ")
                       : fault(ERR_CLOSED,
                               "the connection broke at the commit: whether transaction %u "
                               "was committed is in the trail",
                               out->xid);
        }
        out->committed = !e;
    }
    return e;
}

err undo_run(struct pg *pg, struct undo_plan *plan, const struct undo_how *how,
             struct undo_outcome *out)
{
    struct undo_running run = {.pg = pg, .plan = plan, .how = how};
    size_t foreigns = plan->catalog->foreign_count;

    *out = (struct undo_outcome){0};
    run.provided = xcalloc(foreigns + 1, sizeof(*run.provided));
    err e = attempt(&run, out);
    if (!out->committed && pg_is_alive(pg)) { /* keeps the words of e */
        struct fault kept = fault_here;
        err ignored = pg_run(pg, "ROLLBACK");
        (void)ignored; /* the connection ends; the server then does it */
        fault_here = kept;
    }
    for (size_t i = 0; i < foreigns; i++) {
        map_fini(&run.provided[i]);
    }
    free(run.provided);
    map_fini(&run.rows);
    return e;
}
