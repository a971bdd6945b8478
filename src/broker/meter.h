/* meter.h - how many requests of each API, and how long they took; internal to the broker.
 *
 * One struct meter per API and loop, written by the loop alone; metrics sum them up. */
#ifndef TIDEMARK_BROKER_METER_H
#define TIDEMARK_BROKER_METER_H

#include "broker/loop.h"

#define METER_BOUNDS 13

struct request;

struct meter {
    _Atomic int64_t count, took_ns;
    _Atomic int64_t within[METER_BOUNDS]; /* of each bound and not of the one before */
};

struct meter *meters_new(void); /* one for each row of apis[] */
void meter_ended(const struct request *r);
/* All loops' together, as Prometheus histograms by API. */
void meters_write(const struct loop *loops, int loop_count, struct writer *out);

#endif
