/* pgwire_fuzz.c - any bytes as frames, and any text as SQL: all of it is read, nothing is
 * believed. SPDX-License-Identifier: Apache-2.0 */
#include "cli/pgwire.h"
#include "cli/sql.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static void as_frames(view bytes)
{
    struct pgwire_frame f;
    struct writer out = {0};
    bool first = true;

    while (pgwire_frame(bytes, first, &f) == PGWIRE_WHOLE) {
        struct pgwire_start start;
        struct pgwire_prepare prepare;
        struct pgwire_bind bind;
        bool read = pgwire_start(f.body, &start) == OK;
        read |= pgwire_prepare(f.body, &prepare) == OK;
        read |= pgwire_bind(f.body, &bind) == OK;
        (void)read;
        (void)pgwire_tag_rows(f.body);
        writer_reset(&out);
        pgwire_error_hint(&out, f.body, "hint");
        bytes = view_from(bytes, f.all.len);
        first = false;
    }
    writer_fini(&out);
}

/* Statements are pieces of the text, in order, and each ends before what follows it. */
static void as_sql(struct sql_rules rules, view text)
{
    struct arena arena = {0};
    struct writer out = {0};
    view rest = text, statement;

    while (sql_next(rules, &rest, &statement)) {
        assert(statement.at + statement.len <= rest.at || !rest.len);
        enum sql_kind kind = sql_kind(rules, statement);
        assert(kind <= SQL_LOCK);
        (void)sql_allows_writes(rules, statement);
        (void)sql_reason(&arena, rules, statement);
        writer_reset(&out);
        sql_without_secrets(rules, statement, &out);
    }
    writer_fini(&out);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    view bytes = {at, len};

    as_frames(bytes);
    as_sql((struct sql_rules){.backslashes = len % 2}, bytes);
    return 0;
}
