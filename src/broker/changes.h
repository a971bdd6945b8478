/* changes.h - a request's changes to topics, run as one chain; internal to the broker.
 *
 *   struct changes *c = changes_new(r, n);   fill c->items[i].change
 *   changes_run(c, next);                     next(r) on the loop thread when all are done
 *   changes_fini(c);                          frees faults, drops topics; then reply
 *
 * Items of kind LOG_TOPIC_CREATE get their topic from the log; the topics of others are held
 * by whoever fills the item and dropped by changes_fini. An item whose skip is set is left out:
 * it was found wrong before. */
#ifndef TIDEMARK_BROKER_CHANGES_H
#define TIDEMARK_BROKER_CHANGES_H

#include "broker/request.h"

struct changes;

struct change_item {
    struct log_change change; /* first: done() gets back from it to the item */
    struct changes *all;
    bool skip;
};

struct changes {
    struct request *request;
    void (*next)(struct request *r);
    _Atomic size_t left; /* not done yet */
    size_t count;
    struct change_item items[];
};

struct changes *changes_new(struct request *r, size_t count); /* in the request's arena */
void changes_run(struct changes *changes, void (*next)(struct request *r));
void changes_fini(struct changes *changes);
/* What a change ended with, for ErrorMessage fields: NULL when it went well. */
const char *change_words(const struct change_item *item);

#endif
