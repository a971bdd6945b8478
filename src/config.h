/* config.h - the server's options: one table for file, environment, flags, help and docs. */
#ifndef TIDEMARK_CONFIG_H
#define TIDEMARK_CONFIG_H

#include "audit/audit.h"
#include "base/base.h"
#include "broker/broker.h"
#include "coord/coord.h"
#include "log/log.h"

struct config {
    char *data;
    char *http_listen;
    int64_t log_level;
    bool log_json;
    int64_t shards, readers, offsets_partitions, txn_partitions; /* ints in their modules */
    bool insecure_listen;
    struct broker_config broker;
    struct coord_config coord;
    struct audit_config audit; /* data_folder is not an option: data */
    struct log_config log;     /* folder is not an option: data/log */
    struct table *table;       /* the rows, for the broker to show */
};

/* Presets, then --config FILE or TIDEMARK_CONFIG, then TIDEMARK_*, then flags. Words that are
 * no options are refused. *help: --help was among them and nothing else counts. */
MUST_CHECK err config_read(struct config *config, int argc, char **argv, bool *help);
void config_fini(struct config *config);
void config_help(struct writer *out);
void config_reference(struct writer *out); /* docs, Markdown */
void config_flags(struct writer *out);     /* "--data --kafka ...": for completion */
void config_to_json(const struct config *config, struct json_writer *j); /* an object */
void config_print(const struct config *config, struct writer *out); /* as a file would say it */

#endif
