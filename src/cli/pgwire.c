/* pgwire.c - frames in and out. SPDX-License-Identifier: Apache-2.0 */
#include "cli/pgwire.h"

#include <string.h>

enum pgwire_found pgwire_frame(view bytes, bool first, struct pgwire_frame *out)
{
    size_t kind = first ? 0 : 1;
    size_t most = first ? PGWIRE_FIRST_BYTES_MAX : PGWIRE_BYTES_MAX;

    if (bytes.len < kind + 4) {
        return PGWIRE_MORE;
    }
    size_t len = get_u32(bytes.at + kind);
    if (len < 4 || len > most) {
        return PGWIRE_BAD;
    }
    if (bytes.len < kind + len) {
        return PGWIRE_MORE;
    }
    out->kind = first ? 0 : bytes.at[0];
    out->body = (view){bytes.at + kind + 4, len - 4};
    out->all = (view){bytes.at, kind + len};
    return PGWIRE_WHOLE;
}

view pgwire_text(struct reader *r)
{
    const uint8_t *end = r->rest.len ? memchr(r->rest.at, 0, r->rest.len) : NULL;

    if (r->bad || !end) {
        r->bad = true;
        return (view){0};
    }
    view text = read_bytes(r, (size_t)(end - r->rest.at));
    (void)read_u8(r);
    return text;
}

err pgwire_start(view body, struct pgwire_start *out)
{
    struct reader r = {.rest = body};
    const struct {
        const char *name;
        view *at;
    } wanted[] = {{"user", &out->user},
                  {"database", &out->database},
                  {"application_name", &out->application},
                  {"client_encoding", &out->encoding}};

    *out = (struct pgwire_start){0};
    if (read_u32(&r) != PGWIRE_VERSION) {
        return fault(ERR_UNSUPPORTED, "a client of another protocol than 3.0");
    }
    for (;;) {
        view name = pgwire_text(&r);
        if (r.bad || !name.len) {
            break;
        }
        view value = pgwire_text(&r);
        out->replication |= view_is_text(name, "replication");
        for (size_t i = 0; i < COUNT(wanted); i++) {
            if (view_is_text(name, wanted[i].name)) {
                *wanted[i].at = value;
            }
        }
    }
    return r.bad ? fault(ERR_CORRUPT, "a client's first message is cut short") : OK;
}

err pgwire_prepare(view body, struct pgwire_prepare *out)
{
    struct reader r = {.rest = body};

    out->name = pgwire_text(&r);
    out->text = pgwire_text(&r);
    return r.bad ? fault(ERR_CORRUPT, "a Parse message is cut short") : OK;
}

err pgwire_bind(view body, struct pgwire_bind *out)
{
    struct reader r = {.rest = body};

    out->portal = pgwire_text(&r);
    out->name = pgwire_text(&r);
    return r.bad ? fault(ERR_CORRUPT, "a Bind message is cut short") : OK;
}

view pgwire_field(view body, char field)
{
    struct reader r = {.rest = body};

    for (;;) {
        uint8_t kind = read_u8(&r);
        view text = kind ? pgwire_text(&r) : (view){0};
        if (r.bad || !kind) {
            return (view){0};
        }
        if (kind == (uint8_t)field) {
            return text;
        }
    }
}

int64_t pgwire_tag_rows(view tag)
{
    size_t at = tag.len;
    int64_t rows;

    while (at && tag.at[at - 1] >= '0' && tag.at[at - 1] <= '9') {
        at--;
    }
    bool counted = at && at < tag.len && tag.at[at - 1] == ' ';
    return counted && view_to_int(view_from(tag, at), &rows) == OK ? rows : -1;
}

void pgwire_write(struct writer *out, char kind, view body)
{
    assert(body.len < PGWIRE_BYTES_MAX);
    write_u8(out, (uint8_t)kind);
    write_u32(out, (uint32_t)body.len + 4);
    write_view(out, body);
}

void pgwire_query(struct writer *out, view sql)
{
    write_u8(out, 'Q');
    write_u32(out, (uint32_t)sql.len + 5);
    write_view(out, sql);
    write_u8(out, 0);
}

static void field(struct writer *out, char kind, const char *text)
{
    write_u8(out, (uint8_t)kind);
    write_bytes(out, text, strlen(text) + 1);
}

/* Lengths are known when the body is written. */
static size_t frame_open(struct writer *out, char kind)
{
    write_u8(out, (uint8_t)kind);
    write_u32(out, 0);
    return out->len;
}

static void frame_close(struct writer *out, size_t start)
{
    put_u32(out->at + start - 4, (uint32_t)(out->len - start + 4));
}

void pgwire_notice(struct writer *out, char kind, const char *severity, const char *state,
                   const char *message, const char *fix)
{
    size_t start = frame_open(out, kind);

    field(out, 'S', severity);
    field(out, 'V', severity);
    field(out, 'C', state);
    field(out, 'M', message);
    if (fix) {
        field(out, 'H', fix);
    }
    write_u8(out, 0);
    frame_close(out, start);
}

void pgwire_error_hint(struct writer *out, view body, const char *fix)
{
    size_t start = frame_open(out, 'E');
    bool ended = body.len && body.at[body.len - 1] == 0;

    write_view(out, view_upto(body, body.len - (ended ? 1 : 0)));
    if (!pgwire_field(body, 'H').at) {
        field(out, 'H', fix);
    }
    write_u8(out, 0);
    frame_close(out, start);
}

void pgwire_complete(struct writer *out, const char *tag)
{
    pgwire_write(out, 'C', (view){(const uint8_t *)tag, strlen(tag) + 1});
}

void pgwire_parameter(struct writer *out, const char *name, const char *value)
{
    size_t start = frame_open(out, 'S');

    write_bytes(out, name, strlen(name) + 1);
    write_bytes(out, value, strlen(value) + 1);
    frame_close(out, start);
}

void pgwire_ready(struct writer *out, char status)
{
    pgwire_write(out, 'Z', (view){(const uint8_t *)&status, 1});
}

void pgwire_accept(struct writer *out)
{
    pgwire_write(out, 'R', VIEW("\0\0\0\0"));
}

void pgwire_key(struct writer *out, uint32_t pid, uint32_t secret)
{
    size_t start = frame_open(out, 'K');

    write_u32(out, pid);
    write_u32(out, secret);
    frame_close(out, start);
}
