/* ask.c - asking the HTTP API, and JSON on its way through.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

#define PAGE_ITEMS 1000 /* the most the API gives at once */

static err ask_bytes(struct cli *cli, const char *method, const char *path, view body,
                     struct writer *answer)
{
    const struct common *common = cli->options;
    unsigned status = 0;
    err e = cli->client ? OK : http_client_open(common->http, NULL, &cli->client);

    if (e) {
        return e;
    }
    if (cli->patience_ms) {
        http_client_patience(cli->client, cli->patience_ms);
    }
    e = http_ask(cli->client, method, path, body, &status, answer);
    cli->unreachable = e != OK;
    return e ? e : http_answer_check(status, writer_view(answer));
}

err cli_ask(struct cli *cli, const char *method, const char *path, view body,
            struct json **answer)
{
    struct writer bytes = {0};
    err e = ask_bytes(cli, method, path, body, &bytes);

    *answer = NULL;
    if (!e && bytes.len) {
        view kept = arena_copy(&cli->arena, writer_view(&bytes));
        if (json_parse(&cli->arena, kept, answer)) {
            e = fault_prefix("that is no Tidemark at --http: ");
        }
    }
    writer_fini(&bytes);
    return e;
}

char *cli_path(struct cli *cli, const char *format, ...)
{
    char *made = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&made, format, args);
    va_end(args);
    assert(len >= 0);
    char *path = arena_text(&cli->arena, view_text(made));
    free(made);
    return path;
}

char *cli_escaped(struct cli *cli, const char *name)
{
    struct writer out = {0};

    http_escape(&out, view_text(name));
    char *escaped = arena_text(&cli->arena, writer_view(&out));
    writer_fini(&out);
    return escaped;
}

err cli_each(struct cli *cli, const char *path, const char *query, const char *member,
             err (*each)(void *self, const struct json *item), void *self)
{
    char *cursor = arena_text(&cli->arena, VIEW(""));
    struct json *page = NULL;
    err e = OK;

    do {
        e = cli_ask(cli, "GET",
                    cli_path(cli, "%s?limit=%d%s%s%s", path, PAGE_ITEMS, query,
                             cursor[0] ? "&cursor=" : "", cli_escaped(cli, cursor)),
                    (view){0}, &page);
        const struct json *list = e ? NULL : json_get(page, member);
        for (const struct json *item = list ? list->inside : NULL; item && !e;
             item = item->next) {
            e = each(self, item);
        }
        cursor = e ? cursor : arena_text(&cli->arena, json_word(page, "next"));
    } while (!e && cursor[0]);
    return e;
}

void json_again(struct json_writer *j, const struct json *json)
{
    const struct json *in = json->inside;

    switch (json->kind) {
    case JSON_NULL:
        json_null(j);
        break;
    case JSON_BOOL:
        json_bool(j, json->truth);
        break;
    case JSON_NUMBER:
        json_raw(j, json->text);
        break;
    case JSON_TEXT:
        json_view(j, json->text);
        break;
    case JSON_ARRAY:
        json_array(j);
        for (; in; in = in->next) {
            json_again(j, in);
        }
        json_end_array(j);
        break;
    case JSON_OBJECT:
        json_object(j);
        for (; in; in = in->next) {
            json_name_view(j, in->name);
            json_again(j, in);
        }
        json_end_object(j);
        break;
    }
}

void print_json(const struct json *json)
{
    struct writer out = {0};
    struct json_writer j = json_to(&out);

    json_again(&j, json);
    printf("%.*s\n", VIEW_ARG(writer_view(&out)));
    writer_fini(&out);
}

void print_text(const struct writer *text, FILE *out)
{
    if (text->len) {
        fwrite(text->at, 1, text->len, out);
    }
}

view json_word(const struct json *object, const char *name)
{
    const struct json *member = json_get(object, name);
    bool is_word = member && (member->kind == JSON_TEXT || member->kind == JSON_NUMBER);

    return is_word ? member->text : VIEW("");
}

int64_t json_amount(const struct json *object, const char *name)
{
    int64_t value;

    return json_get_int(object, name, &value) == OK ? value : 0;
}
