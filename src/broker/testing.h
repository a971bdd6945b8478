/* testing.h - what the broker's tests share: a broker in a folder of its own, and a client that
 * speaks the wire by hand over loopback. */
#ifndef TIDEMARK_BROKER_TESTING_H
#define TIDEMARK_BROKER_TESTING_H

#include "broker/broker.h"
#include "broker/request.h"
#include "coord/coord.h"

struct trial {
    char folder[64];
    struct broker_config config; /* preset by trial_init; may be changed before trial_open */
    struct log *log;
    struct coord *coord;
    struct broker *broker;
};

void trial_init(struct trial *t);
void trial_open(struct trial *t);
void trial_close(struct trial *t); /* also removes the folder */
void trial_topic(struct trial *t, const char *name, int32_t partitions);
void trial_delete(struct trial *t, const char *name);

/* A client's socket; receives fail the test after ten seconds. */
int trial_connect(struct trial *t);
void trial_send(int fd, view bytes);
/* Begins a request frame: length to be patched, header. flexible: header version 2. */
void trial_request(struct writer *w, int16_t key, int16_t version, int32_t correlation,
                   bool flexible);
void trial_send_request(int fd, struct writer *w); /* patches the length; resets w */
/* One answer without its length; the reader is after the correlation id, which is given back.
 */
int32_t trial_receive(int fd, struct writer *answer, struct reader *body);
bool trial_is_closed(int fd); /* waits for the end of the stream */

/* A Produce body (version 7) of one record for one partition, and a Fetch body (version 11). */
void trial_produce(struct writer *w, int32_t correlation, const char *topic, int32_t partition,
                   int16_t acks, view value);
void trial_fetch(struct writer *w, int32_t correlation, const char *topic, int64_t offset,
                 int32_t wait_ms, int32_t bytes_min);

#endif
