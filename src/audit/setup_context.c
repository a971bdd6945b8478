/* setup_context.c - the schema tidemark in a captured database: who says who they are.
 *
 * tidemark.context(json) sends what the packages of others send, a transactional message with
 * the prefix _bemi, with the database's own knowledge of the session under it: what the caller
 * gives wins. Plain SQL with a fixed search path; anybody may call it, nobody gains a right.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "audit/setup_inside.h"

static const struct setup_step install_steps[] = {
    {"CREATE SCHEMA IF NOT EXISTS " SETUP_SCHEMA, "a place of its own for the function"},
    {"CREATE OR REPLACE FUNCTION " SETUP_SCHEMA ".context(given json) RETURNS void\n"
     "LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $context$\n"
     "DECLARE\n"
     "  own jsonb := jsonb_strip_nulls(jsonb_build_object(\n"
     "    'application_name', nullif(current_setting('application_name', true), ''),\n"
     "    'database_user', session_user,\n"
     "    'client_address', host(inet_client_addr())));\n"
     "BEGIN\n"
     "  IF json_typeof(given) IS DISTINCT FROM 'object' THEN\n"
     "    RAISE EXCEPTION 'a context is a JSON object, such as {\"user\": \"ann\"}'\n"
     "      USING ERRCODE = 'invalid_parameter_value';\n"
     "  END IF;\n"
     "  PERFORM pg_logical_emit_message(true, '_bemi', (own || given::jsonb)::text);\n"
     "END $context$",
     "says who does what follows in the transaction: select tidemark.context('{\"user\": "
     "\"ann\"}')"},
    {"COMMENT ON FUNCTION " SETUP_SCHEMA ".context(json) IS\n"
     "'Who and why, for the row changes of this transaction that follow.'",
     "so that it is known for what it is"},
    {"GRANT USAGE ON SCHEMA " SETUP_SCHEMA " TO PUBLIC", "every application says its own"},
    {"GRANT EXECUTE ON FUNCTION " SETUP_SCHEMA ".context(json) TO PUBLIC",
     "every application says its own"},
};

static const struct setup_step remove_steps[] = {
    {"DROP FUNCTION IF EXISTS " SETUP_SCHEMA ".context(json)",
     "applications that still call it get an error"},
    {"DROP SCHEMA " SETUP_SCHEMA, "nothing else is in it"},
};

/* What else is in the schema: then it stays. */
static const char others_sql[] =
    "SELECT (SELECT count(*) FROM pg_catalog.pg_depend d WHERE d.refobjid = n.oid"
    "  AND d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass"
    "  AND d.objid IS DISTINCT FROM"
    "   pg_catalog.to_regprocedure('" SETUP_SCHEMA ".context(json)')::oid)"
    " FROM pg_catalog.pg_namespace n WHERE n.nspname = '" SETUP_SCHEMA "'";

err setup_context_plan(struct pg *pg, bool remove, struct arena *arena, struct setup_plan *out)
{
    struct pg_rows *rows = NULL;
    const struct setup_step *steps = remove ? remove_steps : install_steps;
    size_t count = remove ? COUNT(remove_steps) : COUNT(install_steps);
    err e = pg_query(pg, others_sql, NULL, 0, &rows);

    *out = (struct setup_plan){0};
    if (e) {
        return e;
    }
    if (remove && !pg_row_count(rows)) {
        count = 0;
    } else if (remove && !view_is_text(pg_value(rows, 0, 0), "0")) {
        count--;
    }
    pg_rows_free(rows);
    out->steps = arena_take(arena, COUNT(install_steps) * sizeof(*steps));
    memcpy(out->steps, steps, count * sizeof(*steps));
    out->count = count;
    return OK;
}
