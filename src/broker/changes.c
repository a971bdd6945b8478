/* changes.c - a request's changes to topics. SPDX-License-Identifier: Apache-2.0 */
#include "broker/changes.h"

#include <stdlib.h>

struct changes *changes_new(struct request *r, size_t count)
{
    struct changes *changes =
        arena_take(&r->arena, sizeof(*changes) + count * sizeof(changes->items[0]));

    changes->request = r;
    changes->count = count;
    for (size_t i = 0; i < count; i++) {
        changes->items[i].all = changes;
    }
    return changes;
}

static void done(struct log_change *change)
{
    struct changes *all = ((struct change_item *)change)->all;

    if (atomic_fetch_sub(&all->left, 1) == 1) {
        request_post(all->request, all->next);
    }
}

void changes_run(struct changes *changes, void (*next)(struct request *r))
{
    struct log_change *first = NULL, **at = &first;
    size_t left = 0;

    changes->next = next;
    for (size_t i = 0; i < changes->count; i++) {
        struct change_item *item = &changes->items[i];
        if (!item->skip) {
            item->change.done = done;
            *at = &item->change;
            at = &item->change.next;
            left++;
        }
    }
    *at = NULL;
    changes->left = left;
    if (first) {
        log_change(changes->request->broker->log, first);
    } else {
        next(changes->request);
    }
}

void changes_fini(struct changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        struct log_change *change = &changes->items[i].change;
        topic_drop(change->topic);
        free(change->fault);
        change->topic = NULL;
        change->fault = NULL;
    }
}

const char *change_words(const struct change_item *item)
{
    const struct fault *fault = item->change.fault;

    if (!fault) {
        return NULL;
    }
    return fault->text[0] ? fault->text : err_text(fault->code);
}
