/* source_sink.c - a source's sink: started, stopped, its password kept apart.
 * SPDX-License-Identifier: Apache-2.0 */
#include "audit/source_sink.h"

#include <stdlib.h>
#include <string.h>

#include "audit/pg.h"
#include "audit/secrets.h"

static char *secret_name(const char *source)
{
    return text_format("%s.sink", source);
}

err source_sink_secret(struct audit *audit, const char *source, struct source_options *options)
{
    struct arena arena = {0};
    char *clean = NULL, *password = NULL, *name = secret_name(source);
    err e = OK;

    if (!options->sink) {
        e = secrets_keep(audit, name, NULL);
    } else {
        pg_url_split(&arena, view_text(options->sink), &clean, &password);
        if (password) {
            e = secrets_keep(audit, name, password);
            explicit_bzero(options->sink, strlen(options->sink));
            free(options->sink);
            options->sink = xstrdup(clean);
            explicit_bzero(password, strlen(password));
        }
    }
    free(name);
    arena_fini(&arena);
    return e;
}

void source_sink_forget(struct audit *audit, const char *source)
{
    char *name = secret_name(source);

    secrets_forget(audit, name);
    free(name);
}

/* The last part of postgres://host/database?more. */
static char *database_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;
    size_t len = path ? strcspn(path + 1, "?") : 0;

    return len ? text_of((view){(const uint8_t *)path + 1, len}) : xstrdup("postgres");
}

void source_sink_start(struct source *source)
{
    struct audit *audit = source->audit;
    char *name = secret_name(source->name);

    assert(!source->sink);
    if (source->options.sink) {
        source->sink_database = database_of(source->options.url);
        err e = secrets_find(audit, name, &source->sink_password);
        const struct sink_config config = {.os = audit->os,
                                           .ledger = source->ledger,
                                           .trail = source->trail,
                                           .source = source->name,
                                           .database = source->sink_database,
                                           .url = source->options.sink,
                                           .password = source->sink_password};
        struct sink *sink = NULL;
        e = e ? e : sink_open(&config, &sink);
        pthread_mutex_lock(&source->lock);
        source->sink = sink;
        pthread_mutex_unlock(&source->lock);
        if (e) {
            trace_error("audit", "source %s: its changes table: %s", source->name,
                        fault_here.text);
        }
    }
    free(name);
}

void source_sink_stop(struct source *source)
{
    pthread_mutex_lock(&source->lock);
    struct sink *sink = source->sink;
    source->sink = NULL;
    pthread_mutex_unlock(&source->lock);
    sink_close(sink);
    if (source->sink_password) {
        explicit_bzero(source->sink_password, strlen(source->sink_password));
    }
    free(source->sink_password);
    free(source->sink_database);
    source->sink_password = source->sink_database = NULL;
}

bool source_sink_state(struct source *source, struct sink_state *out)
{
    pthread_mutex_lock(&source->lock);
    bool is_there = source->sink != NULL;
    if (is_there) {
        sink_state(source->sink, out);
    }
    pthread_mutex_unlock(&source->lock);
    return is_there;
}
