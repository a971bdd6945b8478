/* routes.c - the door's rows, and what their handlers share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/routes.h"

#include <stdlib.h>

#define API "/api/v1"

static const struct http_route rows[] = {
    {"GET", API "/sources", sources_route_list, HTTP_BLOCKS},
    {"POST", API "/sources", sources_route_create, HTTP_BLOCKS},
    {"POST", API "/sources/check", sources_route_check_url, HTTP_BLOCKS},
    {"POST", API "/sources/{name}/check", sources_route_check, HTTP_BLOCKS},
    {"GET", API "/sources/{name}", sources_route_show, HTTP_BLOCKS},
    {"PATCH", API "/sources/{name}", sources_route_edit, HTTP_BLOCKS},
    {"DELETE", API "/sources/{name}", sources_route_delete, HTTP_BLOCKS},
    {"POST", API "/sources/{name}/pause", sources_route_pause, HTTP_BLOCKS},
    {"POST", API "/sources/{name}/resume", sources_route_resume, HTTP_BLOCKS},
    {"POST", API "/sources/{name}/snapshot", sources_route_snapshot, HTTP_BLOCKS},
    {"GET", API "/sources/{name}/trail", sources_route_trail, HTTP_BLOCKS},
    {"GET", API "/sources/{name}/tables", sources_route_tables, HTTP_BLOCKS},
    {"GET", API "/changes", changes_route_list, HTTP_BLOCKS},
    {"GET", API "/changes/follow", changes_route_follow, HTTP_BLOCKS},
    {"GET", API "/changes/stats", changes_route_stats, HTTP_BLOCKS},
    {"GET", API "/changes/{ref}", changes_route_show, HTTP_BLOCKS},
    {"GET", API "/rows/{ref}", rows_route_show, HTTP_BLOCKS},
    {"GET", API "/rows/{ref}/diff", rows_route_diff, HTTP_BLOCKS},
    {"GET", API "/tables/{table}/export", tables_route_export, HTTP_BLOCKS},
    {"POST", API "/tables/{table}/export", tables_route_into, HTTP_BLOCKS},
    {"GET", API "/trace/{ref}", trace_route_show, HTTP_BLOCKS},
    {"POST", API "/undo", undo_route_run, HTTP_BLOCKS},
    {"GET", API "/sources/{name}/shell", sessions_route_rules, HTTP_BLOCKS},
    {"GET", API "/sessions", sessions_route_list, HTTP_BLOCKS},
    {"POST", API "/sessions", sessions_route_create, HTTP_BLOCKS},
    {"GET", API "/sessions/{id}", sessions_route_show, HTTP_BLOCKS},
    {"GET", API "/sessions/{id}/records", sessions_route_records, HTTP_BLOCKS},
    {"POST", API "/sessions/{id}/records", sessions_route_add, HTTP_BLOCKS},
    {"POST", API "/sessions/{id}/review", sessions_route_review, HTTP_BLOCKS},
    {"GET", API "/sessions/{id}/live", sessions_route_live, HTTP_NEEDS_TOKEN},
};

static void metrics(void *self, struct writer *out)
{
    audit_metrics(self, out);
}

struct http_door audit_door(struct audit *audit)
{
    return (struct http_door){
        .routes = rows, .route_count = COUNT(rows), .self = audit, .metrics = metrics};
}

struct source *route_source(struct http_call *call, view name)
{
    struct audit *audit = call->self;
    struct source *found = source_find(audit, name);
    struct source **all = NULL;

    if (found) {
        return found;
    }
    size_t count = sources_list(audit, &all);
    const char **names = xcalloc(count + 1, sizeof(*names));
    for (size_t i = 0; i < count; i++) {
        names[i] = all[i]->name;
    }
    const char *near = nearest_name(name, names, count);
    err e = near ? fault(ERR_NOT_FOUND, "there is no source %.*s; did you mean %s?",
                         VIEW_ARG(name), near)
                 : fault(ERR_NOT_FOUND, "there is no source %.*s", VIEW_ARG(name));
    (void)e;
    http_fix(call, "`tidemark source ls` lists the sources");
    http_reply_fault(call);
    for (size_t i = 0; i < count; i++) {
        source_drop(all[i]);
    }
    free(names);
    free(all);
    return NULL;
}

view body_text(const struct json *object, const char *name)
{
    const struct json *member = object ? json_get(object, name) : NULL;

    if (!member || member->kind == JSON_NULL) {
        return (view){0};
    }
    if (member->kind == JSON_BOOL) {
        return member->truth ? VIEW("true") : VIEW("false");
    }
    return member->text;
}
