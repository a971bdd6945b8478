/* meta_pins.c - pins (what cleaning may not pass) and notes (small named facts).
 * SPDX-License-Identifier: Apache-2.0 */
#include "log/meta_state.h"

#include <stdlib.h>

static void pins_refresh(struct meta_state *m, uuid id, int32_t partition)
{
    struct topic *topic = log_topic_by_id(m->log, id);
    struct partition *p = topic ? topic_partition(topic, partition) : NULL;
    int64_t least = INT64_MAX;

    for (struct pin *pin = m->pins; pin; pin = pin->next) {
        if (uuid_is(pin->id, id) && pin->partition == partition) {
            least = MIN(least, pin->offset);
        }
    }
    if (p) {
        pthread_mutex_lock(&p->lock);
        p->pin = least;
        pthread_mutex_unlock(&p->lock);
    }
    topic_drop(topic);
}

void meta_pin_add(struct meta_state *m, const struct log_change *by, view owner, uuid id,
                  int32_t partition, int64_t offset)
{
    struct pin *pin = xmalloc(sizeof(*pin));

    *pin = (struct pin){text_of(owner), id, partition, offset, by, NULL};
    pthread_mutex_lock(&m->lock);
    pin->next = m->pins;
    m->pins = pin;
    pins_refresh(m, id, partition);
    pthread_mutex_unlock(&m->lock);
}

struct pin_match {
    view owner;
    const uuid *id; /* NULL: of any partition */
    int32_t partition;
    const struct log_change *by;
};

static bool is_match(const struct pin *pin, const struct pin_match *match)
{
    return pin->by == match->by && view_is_text(match->owner, pin->owner) &&
           (!match->id || (uuid_is(*match->id, pin->id) && match->partition == pin->partition));
}

/* Under the lock. */
static void remove_matching(struct meta_state *m, const struct pin_match *match)
{
    for (struct pin **at = &m->pins; *at;) {
        struct pin *pin = *at;
        if (!is_match(pin, match)) {
            at = &pin->next;
            continue;
        }
        *at = pin->next;
        pins_refresh(m, pin->id, pin->partition);
        free(pin->owner);
        free(pin);
    }
}

void meta_pins_remove(struct meta_state *m, view owner, const uuid *id, int32_t partition)
{
    const struct pin_match match = {owner, id, partition, NULL};

    pthread_mutex_lock(&m->lock);
    remove_matching(m, &match);
    pthread_mutex_unlock(&m->lock);
}

void meta_pin_settle(struct meta_state *m, const struct log_change *by, bool durable)
{
    struct pin_match match = {by->owner, &by->topic->id, by->partition, durable ? NULL : by};

    pthread_mutex_lock(&m->lock);
    remove_matching(m, &match);
    for (struct pin *pin = m->pins; pin; pin = pin->next) {
        if (pin->by == by) {
            pin->by = NULL;
            pins_refresh(m, pin->id, pin->partition);
        }
    }
    pthread_mutex_unlock(&m->lock);
}

void meta_note_set(struct meta_state *m, view owner, view value)
{
    pthread_mutex_lock(&m->lock);
    struct note *note = map_remove(&m->notes, owner);
    if (note) {
        free(note->owner);
        writer_fini(&note->value);
        free(note);
    }
    if (value.len) {
        note = xcalloc(1, sizeof(*note));
        note->owner = text_of(owner);
        write_view(&note->value, value);
        map_put(&m->notes, view_text(note->owner), note);
    }
    pthread_mutex_unlock(&m->lock);
}

bool log_note(struct log *log, view owner, struct writer *out)
{
    pthread_mutex_lock(&log->meta_state->lock);
    struct note *note = map_get(&log->meta_state->notes, owner);
    if (note) {
        write_view(out, writer_view(&note->value));
    }
    pthread_mutex_unlock(&log->meta_state->lock);
    return note != NULL;
}

void meta_pins_free(struct meta_state *m)
{
    struct note *note;
    size_t at = 0;

    while (m->pins) {
        struct pin *pin = m->pins;
        m->pins = pin->next;
        free(pin->owner);
        free(pin);
    }
    while ((note = map_next(&m->notes, &at))) {
        free(note->owner);
        writer_fini(&note->value);
        free(note);
    }
    map_fini(&m->notes);
}
