/* configs.c - topic settings in messages. SPDX-License-Identifier: Apache-2.0 */
#include "broker/configs.h"

#include <string.h>

int16_t configs_read(struct request *r, const struct config_ask *asked, size_t count,
                     const struct setting **out, const char **words)
{
    struct setting *settings = arena_take(&r->arena, count * sizeof(*settings));

    for (size_t i = 0; i < count; i++) {
        if (!asked[i].value.at) {
            *words = arena_format(&r->arena, "%.*s has no value",
                                  VIEW_ARG(view_upto(asked[i].name, 80)));
            return KAFKA_INVALID_CONFIG;
        }
        settings[i].name = arena_text(&r->arena, asked[i].name);
        settings[i].value = arena_text(&r->arena, asked[i].value);
    }
    *out = settings;
    return KAFKA_NONE;
}

static bool is_overridden(const struct option *row, const struct config_view *views,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(views[i].name, row->name)) {
            return true;
        }
    }
    return false;
}

static const struct option *row_of(const char *name)
{
    for (size_t i = 0; i < topic_option_count; i++) {
        if (!strcmp(topic_options[i].name, name)) {
            return &topic_options[i];
        }
    }
    return NULL;
}

struct config_view *configs_of_topic(struct topic *topic, struct arena *arena, size_t *count)
{
    struct setting *overrides = NULL;
    size_t override_count = topic_overrides(topic, &overrides), filled = 0;
    struct topic_settings settings;
    struct writer text = {0};
    struct config_view *views =
        arena_take(arena, (override_count + topic_option_count) * sizeof(*views));

    for (; filled < override_count; filled++) {
        views[filled] = (struct config_view){
            .name = arena_text(arena, view_text(overrides[filled].name)),
            .value = arena_text(arena, view_text(overrides[filled].value)),
            .source = CONFIG_FROM_TOPIC,
            .row = row_of(overrides[filled].name),
        };
    }
    topic_settings_get(topic, &settings);
    for (size_t i = 0; i < topic_option_count; i++) {
        const struct option *row = &topic_options[i];
        if (!is_overridden(row, views, override_count)) {
            writer_reset(&text);
            topic_setting_print(row, &settings, &text);
            views[filled++] = (struct config_view){
                .name = row->name,
                .value = row->kind != OPTION_TEXT ? arena_text(arena, writer_view(&text))
                                                  : row->preset, /* not in a copy */
                .source = CONFIG_FROM_DEFAULT,
                .row = row,
            };
        }
    }
    writer_fini(&text);
    settings_free(overrides, override_count);
    *count = filled;
    return views;
}

void configs_write_created(struct request *r, struct topic *topic)
{
    struct writer *w = &r->answer;
    size_t count = 0;
    struct config_view *views = topic ? configs_of_topic(topic, &r->arena, &count) : NULL;

    write_count(w, r->flexible, count);
    for (size_t i = 0; i < count; i++) {
        write_chars(w, r->flexible, views[i].name);
        write_chars(w, r->flexible, views[i].value);
        write_bool(w, false); /* read only */
        write_i8(w, (int8_t)views[i].source);
        write_bool(w, false); /* sensitive */
        write_no_tags(w, r->flexible);
    }
}
