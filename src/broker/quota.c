/* quota.c - byte rates per client id, as buckets that refill.
 *
 * A bucket holds at most one second of its rate and may go below zero; the wait is the time
 * until it is at zero again. SPDX-License-Identifier: Apache-2.0 */
#include "broker/quota.h"

#include <pthread.h>
#include <stdlib.h>

struct client {
    char *name; /* any bytes: the client's own words */
    size_t name_bytes;
    double credit[QUOTA_KINDS]; /* bytes; negative: owed */
    int64_t filled_ns;          /* when credit was last brought up to date */
};

struct quotas {
    struct os *os;
    double rate[QUOTA_KINDS]; /* bytes per second */
    pthread_mutex_t lock;
    struct map clients; /* name -> struct client */
};

struct quotas *quotas_new(struct os *os, int64_t produce_rate, int64_t fetch_rate)
{
    struct quotas *q = xcalloc(1, sizeof(*q));

    q->os = os;
    q->rate[QUOTA_PRODUCE] = (double)produce_rate;
    q->rate[QUOTA_FETCH] = (double)fetch_rate;
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

static void client_free(struct client *client)
{
    free(client->name);
    free(client);
}

void quotas_free(struct quotas *quotas)
{
    size_t at = 0;
    struct client *client;

    if (!quotas) {
        return;
    }
    while ((client = map_next(&quotas->clients, &at))) {
        client_free(client);
    }
    map_fini(&quotas->clients);
    pthread_mutex_destroy(&quotas->lock);
    free(quotas);
}

static void forget_longest_idle(struct quotas *q)
{
    struct client *client, *oldest = NULL;

    for (size_t at = 0; (client = map_next(&q->clients, &at));) {
        if (!oldest || client->filled_ns < oldest->filled_ns) {
            oldest = client;
        }
    }
    map_remove(&q->clients, (view){(const uint8_t *)oldest->name, oldest->name_bytes});
    client_free(oldest);
}

static struct client *client_of(struct quotas *q, view name, int64_t now_ns)
{
    struct client *client = map_get(&q->clients, name);

    if (client) {
        return client;
    }
    if (q->clients.count >= QUOTA_CLIENTS_MAX) {
        forget_longest_idle(q);
    }
    client = xcalloc(1, sizeof(*client));
    client->name = text_of(name);
    client->name_bytes = name.len;
    client->filled_ns = now_ns;
    for (int kind = 0; kind < QUOTA_KINDS; kind++) {
        client->credit[kind] = q->rate[kind];
    }
    map_put(&q->clients, (view){(const uint8_t *)client->name, name.len}, client);
    return client;
}

static void refill(const struct quotas *q, struct client *client, int64_t now_ns)
{
    double seconds = (double)(now_ns - client->filled_ns) / 1e9;

    client->filled_ns = now_ns;
    for (int kind = 0; kind < QUOTA_KINDS; kind++) {
        double credit = client->credit[kind] + seconds * q->rate[kind];
        client->credit[kind] = MIN(credit, q->rate[kind]);
    }
}

int32_t quota_use(struct quotas *quotas, enum quota_kind kind, view client_id, int64_t bytes)
{
    double wait_ms = 0;

    if (quotas->rate[kind] <= 0) {
        return 0;
    }
    int64_t now_ns = quotas->os->tick_ns(quotas->os);
    pthread_mutex_lock(&quotas->lock);
    struct client *client = client_of(quotas, client_id, now_ns);
    refill(quotas, client, now_ns);
    client->credit[kind] -= (double)bytes;
    if (client->credit[kind] < 0) {
        wait_ms = -client->credit[kind] / quotas->rate[kind] * 1000;
    }
    pthread_mutex_unlock(&quotas->lock);
    return (int32_t)MIN(wait_ms, QUOTA_WAIT_MS_MAX);
}
