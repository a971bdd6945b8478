/* configs.h - topic settings as Kafka's messages carry them; internal to the broker. */
#ifndef TIDEMARK_BROKER_CONFIGS_H
#define TIDEMARK_BROKER_CONFIGS_H

#include "broker/request.h"

enum config_source { /* of a value, Kafka's numbers */
                     CONFIG_FROM_TOPIC = 1,
                     CONFIG_FROM_BROKER_FILE = 4,
                     CONFIG_FROM_DEFAULT = 5,
};

struct config_ask {   /* as a request gives one */
    view name, value; /* null value: not given */
};

struct config_view {
    const char *name;
    const char *value;
    enum config_source source;
    const struct option *row; /* NULL: kept for tools, without effect */
};

/* Overrides for log_change, in the request's arena. KAFKA_INVALID_CONFIG and *words when one
 * has no value. */
int16_t configs_read(struct request *r, const struct config_ask *asked, size_t count,
                     const struct setting **out, const char **words);
/* All settings of a topic: its overrides, and what holds otherwise; in the arena. */
struct config_view *configs_of_topic(struct topic *topic, struct arena *arena, size_t *count);
/* The Configs field of CreateTopics; topic NULL: nothing was created. */
void configs_write_created(struct request *r, struct topic *topic);

#endif
