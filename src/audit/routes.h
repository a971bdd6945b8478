/* routes.h - the door's rows of the HTTP API; internal to audit/.
 *
 * call->self is the struct audit. Rows that touch files, views or a database are HTTP_BLOCKS.
 * Shapes: docs/http.md. */
#ifndef TIDEMARK_AUDIT_ROUTES_H
#define TIDEMARK_AUDIT_ROUTES_H

#include "audit/inside.h"
#include "http/http.h"

/* The source of that name, held; NULL: the call is answered, with the nearest name. */
struct source *route_source(struct http_call *call, view name);
/* One of the body's members as text, whatever its kind; a null view when it is not there. */
view body_text(const struct json *object, const char *name);

/* routes_sources.c */
void sources_route_list(struct http_call *call);
void sources_route_create(struct http_call *call);
void sources_route_show(struct http_call *call);
void sources_route_edit(struct http_call *call);
void sources_route_delete(struct http_call *call);
void sources_route_pause(struct http_call *call);
void sources_route_resume(struct http_call *call);
void sources_route_snapshot(struct http_call *call);
void sources_route_trail(struct http_call *call);
void sources_route_tables(struct http_call *call);

/* routes_check.c */
void sources_route_check_url(struct http_call *call);
void sources_route_check(struct http_call *call);

/* routes_rows.c */
void rows_route_show(struct http_call *call);
void rows_route_diff(struct http_call *call);

/* routes_tables.c */
void tables_route_export(struct http_call *call);
void tables_route_into(struct http_call *call);

/* routes_trace.c */
void trace_route_show(struct http_call *call);

/* routes_undo.c */
void undo_route_run(struct http_call *call);

/* routes_changes.c */
void changes_route_list(struct http_call *call);
void changes_route_follow(struct http_call *call);
void changes_route_stats(struct http_call *call);
void changes_route_show(struct http_call *call);

/* routes_sessions.c */
void sessions_route_rules(struct http_call *call);
void sessions_route_list(struct http_call *call);
void sessions_route_create(struct http_call *call);
void sessions_route_show(struct http_call *call);
void sessions_route_records(struct http_call *call);
void sessions_route_add(struct http_call *call);
void sessions_route_review(struct http_call *call);
void sessions_route_live(struct http_call *call);

#endif
