/* quota.h - byte rates per client id: how long to hold a connection back; internal.
 *
 * A client may use its rate over a sliding window; what it used beyond is paid back by waiting
 * (KIP-219: answer first, with the time in it, then stop reading). Clients are told apart by
 * client id, as many as QUOTA_CLIENTS_MAX; those idle longest are forgotten. Any thread. */
#ifndef TIDEMARK_BROKER_QUOTA_H
#define TIDEMARK_BROKER_QUOTA_H

#include "base/base.h"

#define QUOTA_CLIENTS_MAX 10000
#define QUOTA_WAIT_MS_MAX 30000 /* of one answer */

enum quota_kind { QUOTA_PRODUCE, QUOTA_FETCH, QUOTA_KINDS };

struct quotas;

/* Rates in bytes per second; 0: none. */
struct quotas *quotas_new(struct os *os, int64_t produce_rate, int64_t fetch_rate);
void quotas_free(struct quotas *quotas);
/* Notes that the client moved bytes; milliseconds it has to wait for that, mostly 0. */
int32_t quota_use(struct quotas *quotas, enum quota_kind kind, view client_id, int64_t bytes);

#endif
