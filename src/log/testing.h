/* testing.h - small drivers for tests of the log over a simulated machine. */
#ifndef TIDEMARK_LOG_TESTING_H
#define TIDEMARK_LOG_TESTING_H

#include "base/os_sim.h"
#include "log/log.h"

/* Runs the simulation until *flag; asserts that it came. */
void testing_until(struct os_sim *sim, const bool *flag);
struct log *testing_open(struct os_sim *sim, const struct log_config *config);
struct log_config testing_config(void); /* small, folder "data" */
struct topic *testing_topic(struct os_sim *sim, struct log *log, const char *name,
                            int32_t partitions, const struct setting *settings, size_t count);
err testing_change(struct os_sim *sim, struct log *log, struct log_change *change);

struct testing_record {
    const char *key, *value; /* NULL: null */
    int64_t timestamp;
};

/* One batch; gives its base offset, -1 with *status set when refused. */
int64_t testing_append(struct os_sim *sim, struct log *log, struct partition *p,
                       const struct testing_record *records, size_t count,
                       const struct batch_build *head, enum log_append_status *status);
int64_t testing_put(struct os_sim *sim, struct log *log, struct partition *p,
                    const char *value);
/* The value at an offset as heap text, NULL when there is none (now). */
char *testing_get(struct log *log, struct partition *p, int64_t offset, bool committed);

#endif
