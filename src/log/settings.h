/* settings.h - topic settings: presets, overrides, copies; internal to log/.
 *
 * A topic's effective settings are the broker's defaults with the topic's overrides applied.
 * Overrides are kept as given; those of Kafka's that have no effect here are kept too, so that
 * tools that set and read them back work. */
#ifndef TIDEMARK_LOG_SETTINGS_H
#define TIDEMARK_LOG_SETTINGS_H

#include "log/topic.h"

void settings_defaults(struct topic_settings *out); /* Kafka's; then settings_fini */
/* Over what settings holds. ERR_INVALID names the setting, for an unknown one the nearest
 * known; then settings are partly changed and to be thrown away. */
MUST_CHECK err settings_apply(struct topic_settings *settings, const struct setting *overrides,
                              size_t count);
void settings_copy(struct topic_settings *to, const struct topic_settings *from);
void settings_fini(struct topic_settings *settings);

/* A heap copy of overrides; settings_free. */
struct setting *settings_dup(const struct setting *overrides, size_t count);

#endif
