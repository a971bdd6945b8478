/* source.c - sources: their records, states, starting and stopping.
 *
 * source->life is held over everything that changes what a source is; source->lock over its
 * status alone. SPDX-License-Identifier: Apache-2.0 */
#include "audit/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/capture.h"
#include "audit/ledger.h"
#include "audit/pg.h"
#include "audit/records.h"
#include "audit/retention.h"
#include "audit/secrets.h"
#include "audit/setup.h"
#include "audit/source_inside.h"
#include "audit/source_sink.h"
#include "audit/trail.h"

#define NAME_BYTES_MAX 40

const char *source_state_name(enum source_state state)
{
    static const char *const names[SOURCE_STATES] = {"creating", "running", "paused", "failed"};

    return names[state];
}

struct source *source_hold(struct source *source)
{
    atomic_fetch_add(&source->holders, 1);
    return source;
}

void source_drop(struct source *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) > 1) {
        return;
    }
    assert(!s->capture);
    assert(!s->sink);
    trail_close(s->trail);
    ledger_close(s->ledger);
    source_options_fini(&s->options);
    if (s->password) {
        explicit_bzero(s->password, strlen(s->password));
    }
    free(s->password);
    pthread_mutex_destroy(&s->life);
    pthread_mutex_destroy(&s->lock);
    free(s->name);
    free(s);
}

struct source *source_find(struct audit *audit, view name)
{
    pthread_mutex_lock(&audit->lock);
    struct source *found = map_get(&audit->sources, name);
    if (found) {
        source_hold(found);
    }
    pthread_mutex_unlock(&audit->lock);
    return found;
}

static int by_name(const void *a, const void *b)
{
    const struct source *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

size_t sources_list(struct audit *audit, struct source ***out)
{
    struct source *source;
    size_t count = 0;

    pthread_mutex_lock(&audit->lock);
    struct source **all = xcalloc(audit->sources.count + 1, sizeof(struct source *));
    for (size_t at = 0; (source = map_next(&audit->sources, &at));) {
        all[count++] = source_hold(source);
    }
    pthread_mutex_unlock(&audit->lock);
    qsort(all, count, sizeof(struct source *), by_name);
    *out = all;
    return count;
}

void source_status_get(struct source *source, struct source_status *out)
{
    pthread_mutex_lock(&source->lock);
    *out = source->status;
    pthread_mutex_unlock(&source->lock);
}

void source_status_words(struct source *source, const char *words)
{
    pthread_mutex_lock(&source->lock);
    snprintf(source->status.words, sizeof(source->status.words), "%s", words);
    pthread_mutex_unlock(&source->lock);
}

err source_record(struct source *source, bool gone)
{
    struct audit *audit = source->audit;
    struct source_status status;
    struct writer text = {0};
    struct json_writer j = json_to(&text);
    struct record record = {.timestamp_ms = audit->os->now_ms(audit->os),
                            .key = view_text(source->name)};

    source_status_get(source, &status);
    json_object(&j);
    json_name(&j, "v");
    json_int(&j, 1);
    json_name(&j, "state");
    json_text(&j, source_state_name(status.state));
    json_name(&j, "words");
    json_text(&j, status.state == SOURCE_FAILED ? status.words : "");
    json_name(&j, "options");
    source_options_to_json(&source->options, &j);
    json_end_object(&j);
    record.value = gone ? (view){0} : writer_view(&text);
    err e = records_append(audit->log, topic_partition(audit->registry, 0), &record, 1, NULL);
    writer_fini(&text);
    return e;
}

static const unsigned next_states[SOURCE_STATES] = {
#define TO(state) (1u << SOURCE_##state)
    [SOURCE_CREATING] = TO(CREATING) | TO(RUNNING) | TO(PAUSED) | TO(FAILED),
    [SOURCE_RUNNING] = TO(RUNNING) | TO(CREATING) | TO(PAUSED) | TO(FAILED),
    [SOURCE_PAUSED] = TO(PAUSED) | TO(RUNNING) | TO(CREATING),
    [SOURCE_FAILED] = TO(FAILED) | TO(RUNNING) | TO(CREATING) | TO(PAUSED),
#undef TO
};

err source_move(struct source *source, enum source_state state, const char *words)
{
    pthread_mutex_lock(&source->lock);
    enum source_state before = source->status.state;
    assert(next_states[before] & (1u << state));
    source->status.state = state;
    snprintf(source->status.words, sizeof(source->status.words), "%s", words);
    pthread_mutex_unlock(&source->lock);
    return state == before && state != SOURCE_FAILED ? OK : source_record(source, false);
}

err source_connect(struct source *source, const char *application, struct pg **out)
{
    const struct pg_target target = {
        .url = source->options.url, .password = source->password, .application = application};

    return pg_open(&target, out);
}

/* A source with its ledger and trail, without a thread. */
static err open_source(struct audit *audit, view name, struct source_options *take_options,
                       struct source **out)
{
    struct source *s = xcalloc(1, sizeof(*s));
    char *file = NULL, *path = NULL;

    s->name = text_of(name);
    s->options = *take_options;
    *take_options = (struct source_options){0};
    s->audit = audit;
    s->holders = 1;
    s->status.slot_bytes = -1;
    pthread_mutex_init(&s->life, NULL);
    pthread_mutex_init(&s->lock, NULL);
    err e = secrets_find(audit, s->name, &s->password);
    e = e ? e : ledger_open(audit->log, name, &s->ledger);
    file = text_format("%s.db", s->name);
    e = e ? e : audit_path(audit, "views/audit", file, &path);
    if (!e) {
        const struct trail_config config = {.os = audit->os,
                                            .log = audit->log,
                                            .ledger = s->ledger,
                                            .source = view_text(s->name),
                                            .path = path,
                                            .hot_ms = s->options.hot_ms,
                                            .memory_bytes =
                                                (size_t)audit->config.trail_memory_bytes};
        e = trail_open(&config, &s->trail);
    }
    free(file);
    free(path);
    if (e) {
        source_drop(s);
        return e;
    }
    *out = s;
    return OK;
}

static err check_name(view name)
{
    bool fine =
        name.len > 0 && name.len <= NAME_BYTES_MAX && name.at[0] >= 'a' && name.at[0] <= 'z';

    for (size_t i = 0; i < name.len && fine; i++) {
        uint8_t c = name.at[i];
        fine = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    }
    return fine ? OK
                : fault(ERR_INVALID,
                        "\"%.*s\" is no name for a source: small letters, digits, - and _, a "
                        "letter first, at most %d",
                        (int)MIN(name.len, (size_t)80), (const char *)name.at, NAME_BYTES_MAX);
}

/* The password may stand in the URL; it is kept apart from it. */
static err split_password(struct source_options *options, const char *password, char **out)
{
    struct arena arena = {0};
    char *clean = NULL, *inside = NULL;

    if (!options->url) {
        return fault(ERR_INVALID, "where is the database? Its URL is missing");
    }
    pg_url_split(&arena, view_text(options->url), &clean, &inside);
    explicit_bzero(options->url, strlen(options->url));
    free(options->url);
    options->url = xstrdup(clean);
    *out = password ? xstrdup(password) : inside ? xstrdup(inside) : NULL;
    arena_fini(&arena);
    return OK;
}

static err add(struct audit *audit, struct source *source)
{
    pthread_mutex_lock(&audit->lock);
    bool there = map_get(&audit->sources, view_text(source->name)) != NULL;
    if (!there) {
        map_put(&audit->sources, view_text(source->name), source_hold(source));
    }
    pthread_mutex_unlock(&audit->lock);
    return there ? fault(ERR_EXISTS, "there is a source %s already", source->name) : OK;
}

static void take_out(struct audit *audit, struct source *source)
{
    pthread_mutex_lock(&audit->lock);
    struct source *was = map_remove(&audit->sources, view_text(source->name));
    pthread_mutex_unlock(&audit->lock);
    source_drop(was);
}

/* Of a name that was captured before, the ledger goes on: what came between is a gap in it. */
static err begin_life(struct source *made)
{
    struct ledger_end end;

    ledger_end(made->ledger, &end);
    err e = source_record(made, false);
    e = e ? e : capture_start(made, end.to != 0, &made->capture);
    if (e) {
        take_out(made->audit, made);
    }
    return e;
}

err source_create(struct audit *audit, view name, struct source_options *take_options,
                  const char *password, struct source **out)
{
    struct source *there = source_find(audit, name), *made = NULL;
    char *secret = NULL, *name_text = text_of(name);
    err e = check_name(name);

    if (!e && there) {
        e = fault(ERR_EXISTS, "there is a source %.*s already", VIEW_ARG(name));
    }
    source_drop(there);
    e = e ? e : split_password(take_options, password, &secret);
    e = e ? e : source_options_complete(take_options, name_text);
    e = e ? e : source_sink_secret(audit, name_text, take_options);
    e = e ? e : secrets_keep(audit, name_text, secret);
    e = e ? e : open_source(audit, name, take_options, &made);
    source_options_fini(take_options);
    if (!e) {
        made->status.state = SOURCE_CREATING;
        e = add(audit, made);
        e = e ? e : begin_life(made);
        if (!e) {
            source_sink_start(made);
        }
    }
    if (secret) {
        explicit_bzero(secret, strlen(secret));
    }
    free(secret);
    free(name_text);
    if (e) {
        source_drop(made);
        return e;
    }
    *out = made;
    return OK;
}

static void stop(struct source *source)
{
    capture_stop(source->capture);
    source->capture = NULL;
}

/* CREATING until there is a beginning in the ledger. */
static err start(struct source *source, bool accept_gap)
{
    struct ledger_end end;

    ledger_end(source->ledger, &end);
    err e = source_move(source, end.to ? SOURCE_RUNNING : SOURCE_CREATING, "");
    return e ? e : capture_start(source, accept_gap, &source->capture);
}

static err apply_edits(struct source *source, const struct setting *edits, size_t count)
{
    struct source_options edited = {0};
    struct writer text = {0};
    struct json_writer j = json_to(&text);
    struct arena arena = {0};
    struct json *json = NULL;
    char *secret = NULL;

    source_options_to_json(&source->options, &j);
    err e = json_parse(&arena, writer_view(&text), &json);
    e = e ? e : source_options_from_json(json, &edited);
    for (size_t i = 0; i < count && !e; i++) {
        bool fixed = !strcmp(edits[i].name, "slot") || !strcmp(edits[i].name, "publication") ||
                     !strcmp(edits[i].name, "partitions");
        e = fixed ? fault(ERR_UNSUPPORTED, "%s of a source is for good; create a new one",
                          edits[i].name)
                  : source_options_set(&edited, view_text(edits[i].name),
                                       view_text(edits[i].value));
    }
    e = e ? e : split_password(&edited, NULL, &secret);
    e = e ? e : source_options_complete(&edited, source->name);
    e = e ? e : source_sink_secret(source->audit, source->name, &edited);
    if (!e && secret) {
        e = secrets_keep(source->audit, source->name, secret);
        free(source->password);
        source->password = secret;
        secret = NULL;
    }
    if (!e) {
        source_options_fini(&source->options);
        source->options = edited;
        e = source_record(source, false);
    } else {
        source_options_fini(&edited);
    }
    free(secret);
    arena_fini(&arena);
    writer_fini(&text);
    return e;
}

err source_edit(struct source *source, const struct setting *edits, size_t count)
{
    pthread_mutex_lock(&source->life);
    bool ran = source->capture != NULL && source->status.state != SOURCE_FAILED;
    stop(source);
    source_sink_stop(source);
    err e = apply_edits(source, edits, count);
    e = e ? e : retention_apply(source, source->options.keep, source->options.keep_ms);
    struct fault why = fault_here;
    if (ran) {
        err started = start(source, false);
        if (!e) {
            e = started;
            why = fault_here;
        }
    }
    source_sink_start(source);
    fault_here = why;
    pthread_mutex_unlock(&source->life);
    return e;
}

err source_pause(struct source *source)
{
    pthread_mutex_lock(&source->life);
    stop(source);
    err e = source_move(source, SOURCE_PAUSED, "");
    e = e ? e : ledger_note(source->ledger, "paused", VIEW("{}"));
    pthread_mutex_unlock(&source->life);
    return e;
}

err source_resume(struct source *source, bool accept_gap)
{
    err e = OK;

    pthread_mutex_lock(&source->life);
    if (source->capture && source->status.state != SOURCE_FAILED) {
        e = fault(ERR_CONFLICT, "%s is %s already", source->name,
                  source_state_name(source->status.state));
    } else {
        stop(source);
        e = ledger_note(source->ledger, "resumed",
                        accept_gap ? VIEW("{\"accept_gap\":true}") : VIEW("{}"));
        e = e ? e : start(source, accept_gap);
    }
    pthread_mutex_unlock(&source->life);
    return e;
}

/* What we made in the database goes; its topics stay, they are the trail. */
static err clean_database(struct source *source)
{
    const struct source_options *o = &source->options;
    const struct setup_ask ask = {.tables = o->tables,
                                  .without = o->without,
                                  .keyless = (enum setup_keyless)o->keyless,
                                  .slot = o->slot,
                                  .publication = o->publication};
    struct arena arena = {0};
    struct setup_plan plan = {0};
    struct pg *pg = NULL;
    err e = source_connect(source, "tidemark", &pg);

    e = e ? e : setup_slot_drop(pg, o->slot);
    e = e ? e : setup_drop_plan(pg, &ask, &arena, &plan);
    e = e ? e : setup_run(pg, &plan);
    pg_close(pg);
    arena_fini(&arena);
    return e;
}

err source_remove(struct source *source, bool keep_slot)
{
    pthread_mutex_lock(&source->life);
    bool ran = source->capture != NULL && source->status.state != SOURCE_FAILED;
    stop(source);
    err e = keep_slot ? OK : clean_database(source);
    if (e && ran) {
        struct fault why = fault_here;
        if (start(source, false)) {
            trace_warn("audit", "source %s: %s", source->name, fault_here.text);
        }
        fault_here = why;
    }
    e = e ? e : ledger_note(source->ledger, "removed", VIEW("{}"));
    e = e ? e : source_record(source, true);
    if (!e) {
        source_sink_stop(source);
        source_sink_forget(source->audit, source->name);
        secrets_forget(source->audit, source->name);
        take_out(source->audit, source);
    }
    pthread_mutex_unlock(&source->life);
    return e;
}

/* The newest record of each name, as they are on the topic. */
struct stored {
    view name;
    struct json *json;
};

static err restore(struct audit *audit, view name, const struct json *json)
{
    struct source_options options;
    struct source *source = NULL;
    view state = {0}, words = {0};
    err e = source_options_from_json(json_get(json, "options"), &options);

    e = e ? e : open_source(audit, name, &options, &source);
    if (e) {
        return e;
    }
    (void)!json_get_text(json, "state", &state);
    (void)!json_get_text(json, "words", &words);
    source->status.state = view_is_text(state, "paused")    ? SOURCE_PAUSED
                           : view_is_text(state, "failed")  ? SOURCE_FAILED
                           : view_is_text(state, "running") ? SOURCE_RUNNING
                                                            : SOURCE_CREATING;
    snprintf(source->status.words, sizeof(source->status.words), "%.*s", VIEW_ARG(words));
    e = add(audit, source);
    if (!e && source->status.state != SOURCE_PAUSED && source->status.state != SOURCE_FAILED) {
        e = capture_start(source, false, &source->capture);
    }
    if (!e) {
        source_sink_start(source);
    }
    source_drop(source);
    return e;
}

static err read_all(struct audit *audit, struct map *newest, struct arena *arena)
{
    struct records_walk walk;
    struct record record;
    bool more = true;

    records_walk_init(&walk, audit->log, topic_partition(audit->registry, 0), 0, -1);
    err e = records_walk_next(&walk, &record, &more);
    while (!e && more) {
        view name = arena_copy(arena, record.key);
        struct stored *stored = arena_take(arena, sizeof(*stored));
        stored->name = name;
        map_remove(newest, name);
        if (record.value.at) {
            e = json_parse(arena, arena_copy(arena, record.value), &stored->json);
            map_put(newest, stored->name, stored);
        }
        e = e ? e : records_walk_next(&walk, &record, &more);
    }
    records_walk_fini(&walk);
    return e;
}

err sources_open(struct audit *audit)
{
    static const struct setting settings[] = {{(char *)"cleanup.policy", (char *)"compact"}};
    struct arena arena = {0};
    struct map newest = {0};
    struct stored *stored;
    err e = records_topic(audit->log, VIEW(SOURCES_TOPIC), 1, settings, COUNT(settings),
                          &audit->registry);

    e = e ? e : read_all(audit, &newest, &arena);
    for (size_t at = 0; !e && (stored = map_next(&newest, &at));) {
        if (restore(audit, stored->name, stored->json)) {
            trace_error("audit", "source %.*s does not start: %s", VIEW_ARG(stored->name),
                        fault_here.text);
        }
    }
    map_fini(&newest);
    arena_fini(&arena);
    return e;
}

void sources_close(struct audit *audit)
{
    struct source **all = NULL;
    size_t count = sources_list(audit, &all);

    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&all[i]->life);
        stop(all[i]);
        source_sink_stop(all[i]);
        pthread_mutex_unlock(&all[i]->life);
        take_out(audit, all[i]);
        source_drop(all[i]);
    }
    free(all);
    map_fini(&audit->sources);
    topic_drop(audit->registry);
}
