/* asof_format.c - rows of a table as CSV (RFC 4180), JSON lines and SQL.
 *
 * In CSV nothing is NULL and "" is an empty text. What is not known is never made null: CSV has
 * the word that change records have for it, JSON lists the columns under "$unknown", and an
 * INSERT leaves the column out. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "audit/asof.h"
#include "audit/pg.h"
#include "audit/types.h"

#define OID_BOOL 16
#define OID_INT8 20
#define OID_INT2 21
#define OID_INT4 23

err asof_format_parse(view text, enum asof_format *out)
{
    static const char *const names[] = {
        [ASOF_CSV] = "csv", [ASOF_JSON] = "json", [ASOF_SQL] = "sql"};

    for (size_t i = 0; i < COUNT(names); i++) {
        if (view_is_text(text, names[i])) {
            *out = (enum asof_format)i;
            return OK;
        }
    }
    return fault(ERR_INVALID, "\"%.*s\" is no format: there are csv, json and sql",
                 VIEW_ARG(view_upto(text, 40)));
}

static bool wants_quotes(view text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (memchr(",\"\r\n", text.at[i], 4)) {
            return true;
        }
    }
    return text.len == 0 || text.at[0] == ' ' || text.at[text.len - 1] == ' ';
}

static void csv_text(view text, struct writer *out)
{
    if (!wants_quotes(text)) {
        write_view(out, text);
        return;
    }
    write_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '"') {
            write_u8(out, '"');
        }
        write_u8(out, text.at[i]);
    }
    write_u8(out, '"');
}

static void csv_row(const struct relation *relation, const struct value *values,
                    struct writer *out)
{
    for (int i = 0; i < relation->count; i++) {
        if (i) {
            write_u8(out, ',');
        }
        if (values[i].kind == VALUE_TEXT) {
            csv_text(values[i].text, out);
        } else if (values[i].kind == VALUE_UNKNOWN) {
            write_view(out, VIEW(ENVELOPE_UNAVAILABLE));
        }
    }
    write_view(out, VIEW("\r\n"));
}

static void json_row(const struct relation *relation, const struct value *values,
                     struct writer *out)
{
    struct json_writer j = json_to(out);
    int unknown = 0;

    json_object(&j);
    for (int i = 0; i < relation->count; i++) {
        if (values[i].kind == VALUE_UNKNOWN) {
            unknown++;
            continue;
        }
        json_name_view(&j, relation->columns[i].name);
        if (values[i].kind == VALUE_TEXT) {
            type_to_plain(&relation->columns[i], values[i].text, &j);
        } else {
            json_null(&j);
        }
    }
    if (unknown) {
        json_name(&j, "$unknown");
        json_array(&j);
        for (int i = 0; i < relation->count; i++) {
            if (values[i].kind == VALUE_UNKNOWN) {
                json_view(&j, relation->columns[i].name);
            }
        }
        json_end_array(&j);
    }
    json_end_object(&j);
    write_u8(out, '\n');
}

static void sql_value(const struct column *column, struct value value, struct writer *out)
{
    bool bare =
        column->type == OID_INT8 || column->type == OID_INT2 || column->type == OID_INT4;

    if (value.kind != VALUE_TEXT) {
        write_view(out, VIEW("NULL"));
    } else if (bare) {
        write_view(out, value.text);
    } else if (column->type == OID_BOOL) {
        write_view(out, view_is_text(value.text, "t") ? VIEW("true") : VIEW("false"));
    } else {
        pg_quote_text(out, value.text);
    }
}

/* Identity columns take the values they had. */
static void sql_row(const struct relation *relation, const struct value *values,
                    struct writer *out)
{
    const char *between = "";

    write_view(out, VIEW("INSERT INTO "));
    pg_quote_name(out, relation->schema);
    write_u8(out, '.');
    pg_quote_name(out, relation->name);
    write_view(out, VIEW(" ("));
    for (int i = 0; i < relation->count; i++) {
        if (values[i].kind != VALUE_UNKNOWN) {
            write_format(out, "%s", between);
            pg_quote_name(out, relation->columns[i].name);
            between = ", ";
        }
    }
    write_view(out, VIEW(") OVERRIDING SYSTEM VALUE VALUES ("));
    between = "";
    for (int i = 0; i < relation->count; i++) {
        if (values[i].kind != VALUE_UNKNOWN) {
            write_format(out, "%s", between);
            sql_value(&relation->columns[i], values[i], out);
            between = ", ";
        }
    }
    write_view(out, VIEW(");\n"));
}

void asof_write_head(enum asof_format format, const struct relation *relation,
                     struct writer *out)
{
    if (format == ASOF_SQL) { /* a file that was cut short changes nothing */
        write_view(out, VIEW("BEGIN;\n"));
    }
    for (int i = 0; format == ASOF_CSV && i < relation->count; i++) {
        write_view(out, i ? VIEW(",") : VIEW(""));
        csv_text(relation->columns[i].name, out);
    }
    if (format == ASOF_CSV) {
        write_view(out, VIEW("\r\n"));
    }
}

void asof_write_row(enum asof_format format, const struct relation *relation,
                    const struct value *values, struct writer *out)
{
    switch (format) {
    case ASOF_CSV:
        csv_row(relation, values, out);
        break;
    case ASOF_JSON:
        json_row(relation, values, out);
        break;
    case ASOF_SQL:
        sql_row(relation, values, out);
        break;
    }
}

void asof_write_end(enum asof_format format, struct writer *out)
{
    if (format == ASOF_SQL) {
        write_view(out, VIEW("COMMIT;\n"));
    }
}
