/* api_describe_configs.c - DescribeConfigs (32): settings of topics and of the server; KIP-133,
 * KIP-226 (sources, synonyms), KIP-569 (types, documentation). Keys nobody knows are left out,
 * as in Kafka: user interfaces ask for those of every release.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#include <inttypes.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/configs.h"

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };

enum config_type { /* Kafka's numbers */
                   TYPE_BOOLEAN = 1,
                   TYPE_STRING = 2,
                   TYPE_INT = 3,
                   TYPE_LONG = 5,
                   TYPE_DOUBLE = 6,
                   TYPE_LIST = 7,
};

struct resource {
    int8_t type;
    view name;
    bool all; /* no keys given: every setting */
    view *keys;
    size_t key_count;
    struct map wanted;   /* the keys */
    struct topic *topic; /* held */
    bool is_repeat;
};

struct ask {
    struct resource *resources;
    size_t count;
    bool synonyms, documentation;
    struct topic_settings presets;
};

void describe_configs_read(struct request *r)
{
    struct reader *in = &r->body;
    struct ask *ask = r->ask = arena_take(&r->arena, sizeof(*ask));

    ask->resources =
        request_items(r, r->flexible ? 4 : 7, sizeof(*ask->resources), &ask->count, NULL);
    for (size_t i = 0; i < ask->count; i++) {
        struct resource *resource = &ask->resources[i];
        resource->type = read_i8(in);
        resource->name = read_text(in, r->flexible);
        resource->keys = request_items(r, r->flexible ? 1 : 2, sizeof(*resource->keys),
                                       &resource->key_count, &resource->all);
        for (size_t j = 0; j < resource->key_count; j++) {
            resource->keys[j] = read_text(in, r->flexible);
        }
        read_tags(in, r->flexible);
    }
    ask->synonyms = r->version >= 1 && read_bool(in);
    ask->documentation = r->version >= 3 && read_bool(in);
    read_tags(in, r->flexible);
}

static bool is_wanted(const struct resource *resource, const char *name)
{
    return resource->all || map_get(&resource->wanted, view_text(name));
}

static enum config_type type_of(const struct option *row)
{
    if (!row) {
        return TYPE_STRING;
    }
    switch (row->kind) {
    case OPTION_BOOL:
        return TYPE_BOOLEAN;
    case OPTION_COUNT:
    case OPTION_INT:
        return strcmp(row->name, "min.cleanable.dirty.ratio") ? TYPE_INT : TYPE_DOUBLE;
    case OPTION_BYTES:
    case OPTION_MILLIS:
        return TYPE_LONG;
    case OPTION_CHOICE:
        return strcmp(row->name, "cleanup.policy") ? TYPE_STRING : TYPE_LIST;
    default:
        return TYPE_STRING;
    }
}

struct shown { /* one setting in the answer */
    const char *name, *value;
    enum config_source source;
    bool read_only;
    const char *fallback; /* what holds when the topic does not say; NULL: no synonyms */
    enum config_source fallback_source;
    const struct option *row;
};

/* Settings made elsewhere may be longer than a classic text. */
static void write_value(struct request *r, const char *value)
{
    write_text_or_null(&r->answer, r->flexible, view_upto(view_text(value), INT16_MAX));
}

static void write_synonym(struct request *r, const char *name, const char *value,
                          enum config_source source)
{
    struct writer *w = &r->answer;

    write_text(w, r->flexible, view_text(name));
    write_value(r, value);
    write_i8(w, (int8_t)source);
    write_no_tags(w, r->flexible);
}

/* The values that hold, by precedence, the present one first. */
static void write_synonyms(struct request *r, const struct shown *s)
{
    bool wanted = ((const struct ask *)r->ask)->synonyms;
    bool overrides = s->source == CONFIG_FROM_TOPIC;

    write_count(&r->answer, r->flexible,
                !wanted ? 0 : (overrides ? 1u : 0u) + (s->fallback ? 1u : 0u));
    if (wanted && overrides) {
        write_synonym(r, s->name, s->value, s->source);
    }
    if (wanted && s->fallback) {
        write_synonym(r, s->name, s->fallback, s->fallback_source);
    }
}

static void write_setting(struct request *r, const struct shown *s)
{
    struct writer *w = &r->answer;
    bool documented = ((const struct ask *)r->ask)->documentation;

    write_text(w, r->flexible, view_text(s->name));
    write_value(r, s->value);
    write_bool(w, s->read_only);
    if (r->version == 0) {
        write_bool(w, s->source == CONFIG_FROM_DEFAULT);
    } else {
        write_i8(w, (int8_t)s->source);
    }
    write_bool(w, false); /* sensitive */
    if (r->version >= 1) {
        write_synonyms(r, s);
    }
    if (r->version >= 3) {
        write_i8(w, (int8_t)type_of(s->row));
        write_chars(w, r->flexible,
                    !documented ? NULL
                    : s->row    ? s->row->help
                                : "kept for tools that set it; without effect here");
    }
    write_no_tags(w, r->flexible);
}

static const char *setting_text(struct request *r, const struct option *row,
                                const struct topic_settings *settings)
{
    struct writer text = {0};

    topic_setting_print(row, settings, &text);
    const char *copy = text.len ? arena_text(&r->arena, writer_view(&text)) : row->preset;
    writer_fini(&text);
    return copy;
}

static void show_topic_setting(struct request *r, const struct topic *topic,
                               const struct config_view *setting)
{
    const struct ask *ask = r->ask;
    const struct topic_settings *defaults = r->broker->config->topic_defaults;
    struct shown s = {.name = setting->name,
                      .value = setting->value,
                      .source = setting->source,
                      .read_only = topic->internal,
                      .row = setting->row};

    if (s.row) {
        const char *preset = setting_text(r, s.row, &ask->presets);
        s.fallback = defaults ? setting_text(r, s.row, defaults) : preset;
        s.fallback_source =
            strcmp(s.fallback, preset) ? CONFIG_FROM_BROKER_FILE : CONFIG_FROM_DEFAULT;
        s.source = s.source == CONFIG_FROM_TOPIC ? s.source : s.fallback_source;
    }
    write_setting(r, &s);
}

static void write_topic(struct request *r, const struct resource *resource)
{
    size_t count = 0, wanted = 0;
    const struct config_view *views = configs_of_topic(resource->topic, &r->arena, &count);

    for (size_t i = 0; i < count; i++) {
        wanted += is_wanted(resource, views[i].name) ? 1 : 0;
    }
    write_count(&r->answer, r->flexible, wanted);
    for (size_t i = 0; i < count; i++) {
        if (is_wanted(resource, views[i].name)) {
            show_topic_setting(r, resource->topic, &views[i]);
        }
    }
}

/* Numbers without units, as tools expect them. */
static const char *option_text(struct request *r, const struct option *row, const void *values)
{
    struct writer text = {0};
    int64_t number = 0;

    if (row->kind == OPTION_BYTES || row->kind == OPTION_MILLIS) {
        memcpy(&number, (const uint8_t *)values + row->offset, sizeof(number));
        return arena_format(&r->arena, "%" PRId64, number);
    }
    option_print(row, values, &text);
    view value = writer_view(&text);
    const char *copy = arena_text(&r->arena, view_is_text(value, "\"\"") ? VIEW("") : value);
    writer_fini(&text);
    return copy;
}

static bool is_preset(const struct option *row, const void *values)
{
    struct writer text = {0};

    option_print(row, values, &text);
    view value = writer_view(&text);
    bool same = row->preset && (view_is_text(value, row->preset) ||
                                (!*row->preset && view_is_text(value, "\"\"")));
    writer_fini(&text);
    return same;
}

static void write_broker(struct request *r, const struct resource *resource)
{
    const struct broker_config *config = r->broker->config;
    size_t wanted = 0;

    for (size_t i = 0; i < config->option_count; i++) {
        wanted += is_wanted(resource, config->options[i].name) ? 1 : 0;
    }
    write_count(&r->answer, r->flexible, wanted);
    for (size_t i = 0; i < config->option_count; i++) {
        const struct option *row = &config->options[i];
        if (is_wanted(resource, row->name)) {
            struct shown s = {.name = row->name,
                              .value = option_text(r, row, config->option_values),
                              .source = is_preset(row, config->option_values)
                                            ? CONFIG_FROM_DEFAULT
                                            : CONFIG_FROM_BROKER_FILE,
                              .read_only = true,
                              .row = row};
            s.fallback = s.value;
            s.fallback_source = s.source;
            write_setting(r, &s);
        }
    }
}

static bool is_node(view name)
{
    int64_t id = 0;

    return view_to_int(name, &id) == OK && id == NODE_ID;
}

/* The settings of all brokers that can be changed while they run, asked for by an empty name:
 * there are none, which is no error. */
static bool is_every_node(const struct resource *resource)
{
    return resource->type == RESOURCE_BROKER && !resource->name.len;
}

static int16_t check(struct request *r, struct resource *resource, const char **words)
{
    if (resource->type == RESOURCE_BROKER) {
        bool known = is_every_node(resource) || is_node(resource->name);
        *words = known ? NULL : "there is one node: the name of a broker is \"1\"";
        return known ? KAFKA_NONE : KAFKA_INVALID_REQUEST;
    }
    if (resource->type != RESOURCE_TOPIC) {
        *words = "only topics and brokers have settings here";
        return KAFKA_INVALID_REQUEST;
    }
    if (topic_name_check(resource->name)) {
        *words = arena_format(&r->arena, "%s", fault_here.text);
        return KAFKA_INVALID_TOPIC;
    }
    resource->topic = log_topic(r->broker->log, resource->name);
    *words = resource->topic ? NULL : "no such topic";
    return resource->topic ? KAFKA_NONE : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
}

static void write_resource(struct request *r, struct resource *resource)
{
    struct writer *w = &r->answer;
    const char *words = NULL;
    int16_t error = check(r, resource, &words);

    for (size_t i = 0; i < resource->key_count; i++) {
        map_put(&resource->wanted, resource->keys[i], &resource->keys[i]);
    }
    write_i16(w, error);
    write_chars(w, r->flexible, words);
    write_i8(w, resource->type);
    write_text(w, r->flexible, resource->name);
    if (error || is_every_node(resource)) {
        write_count(w, r->flexible, 0);
    } else if (resource->type == RESOURCE_BROKER) {
        write_broker(r, resource);
    } else {
        write_topic(r, resource);
    }
    write_no_tags(w, r->flexible);
    map_fini(&resource->wanted);
    topic_drop(resource->topic);
}

/* Each resource once: repeats would make a small question a large answer. */
static size_t mark_repeats(struct request *r, struct ask *ask)
{
    struct map seen = {0};
    size_t kept = 0;

    for (size_t i = 0; i < ask->count; i++) {
        struct resource *resource = &ask->resources[i];
        view key = view_text(
            arena_format(&r->arena, "%d:%.*s", resource->type, VIEW_ARG(resource->name)));
        resource->is_repeat = map_put(&seen, key, resource) != NULL;
        kept += resource->is_repeat ? 0 : 1;
    }
    map_fini(&seen);
    return kept;
}

void describe_configs_handle(struct request *r)
{
    struct ask *ask = r->ask;
    err e = options_preset(topic_options, topic_option_count, &ask->presets);

    assert(e == OK); /* the presets are ours */
    write_i32(&r->answer, r->throttle_ms);
    write_count(&r->answer, r->flexible, mark_repeats(r, ask));
    for (size_t i = 0; i < ask->count; i++) {
        if (!ask->resources[i].is_repeat) {
            write_resource(r, &ask->resources[i]);
        }
    }
    write_no_tags(&r->answer, r->flexible);
    options_fini(topic_options, topic_option_count, &ask->presets);
    request_reply(r);
}
