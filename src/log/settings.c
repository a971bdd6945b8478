/* settings.c - the rows of topic settings, and the texts Kafka's tools exchange for them.
 *
 * Values are Kafka's: plain numbers of milliseconds and bytes; units (7d, 64MiB) are taken too.
 * Two rows have a form of their own: cleanup.policy is a list in any order, and
 * min.cleanable.dirty.ratio is a fraction, kept in percent. SPDX-License-Identifier: Apache-2.0
 */
#include "log/settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POLICY_NAME "cleanup.policy"
#define RATIO_NAME "min.cleanable.dirty.ratio"
#define CODEC_NAME "compression.type"
#define ERROR_PLACE "topic setting"
#define NAMES_MAX 64

enum policy { POLICY_DELETE, POLICY_COMPACT, POLICY_BOTH }; /* indexes into policies */

static const char *const policies[] = {"delete", "compact", "compact,delete", NULL};
static const char *const clocks[] = {"CreateTime", "LogAppendTime", NULL};
static const char *const flushes[] = {"sync", "os", NULL};
static const char *const compressions[] = {"producer", "uncompressed", "zstd",
                                           "lz4",      "snappy",       "gzip"};

#define SETTING(field_, name_, kind_, preset_, help_)                                          \
    .name = (name_), .kind = OPTION_##kind_,                                                   \
    .offset = offsetof(struct topic_settings, field_), .preset = (preset_), .help = (help_)

const struct option topic_options[] = {
    {SETTING(cleanup_policy, POLICY_NAME, CHOICE, "delete",
             "what happens to old records: delete drops old segments, compact keeps the newest "
             "record of each key"),
     .choices = policies},
    {SETTING(retention_ms, "retention.ms", MILLIS, "7d",
             "keep records this long; -1: for ever"),
     .least = -1},
    {SETTING(retention_bytes, "retention.bytes", BYTES, "-1",
             "keep this many bytes of each partition; -1: no limit"),
     .least = -1},
    {SETTING(retention_disk_percent, "retention.disk.percent", COUNT, "100",
             "the topic's segments may take this share of the file system; 100: no limit"),
     .least = 1, .most = 100},
    {SETTING(protect, "retention.protect", BOOL, "false",
             "never a victim of the broker's log.disk.percent.max")},
    {SETTING(segment_bytes, "segment.bytes", BYTES, "1GiB", "start a new file at this size"),
     .least = 14, .most = INT32_MAX},
    {SETTING(segment_ms, "segment.ms", MILLIS, "7d", "start a new file after this long"),
     .least = 1},
    {SETTING(max_message_bytes, "max.message.bytes", BYTES, "1048588",
             "largest record batch taken; never above 100 MiB"),
     .most = INT32_MAX},
    {SETTING(flush_policy, "flush.policy", CHOICE, "sync",
             "sync: acks=all means on disk; os: the system writes when it likes, as in Kafka"),
     .choices = flushes},
    {SETTING(timestamp_type, "message.timestamp.type", CHOICE, "CreateTime",
             "whose clock stamps records: the producer's, or the log's when appending"),
     .choices = clocks},
    {SETTING(timestamp_before_max_ms, "message.timestamp.before.max.ms", MILLIS,
             "9223372036854775807", "refuse records stamped further in the past")},
    {SETTING(timestamp_after_max_ms, "message.timestamp.after.max.ms", MILLIS, "1h",
             "refuse records stamped further in the future")},
    {SETTING(delete_retention_ms, "delete.retention.ms", MILLIS, "1d",
             "compaction keeps tombstones this long after it first met them")},
    {SETTING(min_compaction_lag_ms, "min.compaction.lag.ms", MILLIS, "0",
             "a record is not compacted before this age")},
    {SETTING(max_compaction_lag_ms, "max.compaction.lag.ms", MILLIS, "9223372036854775807",
             "a record may stay uncompacted at most this long"),
     .least = 1},
    {SETTING(min_cleanable_dirty_percent, RATIO_NAME, COUNT, "50",
             "compact when this share of the log is new, given as 0 to 1 and kept in percent"),
     .most = 100},
    {SETTING(min_insync_replicas, "min.insync.replicas", COUNT, "1",
             "replicas that must have a record before acks=all is answered"),
     .least = 1, .most = INT32_MAX},
    {SETTING(compression_type, CODEC_NAME, TEXT, "producer",
             "accepted; batches are always stored as the producer sent them")},
};
const size_t topic_option_count = COUNT(topic_options);

/* Kafka's settings that are kept and given back, but change nothing here. */
static const char *const kept[] = {
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "message.downconversion.enable",
    "message.format.version",
    "preallocate",
    "remote.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "segment.index.bytes",
    "segment.jitter.ms",
    "unclean.leader.election.enable",
};

static_assert(COUNT(topic_options) + COUNT(kept) <= NAMES_MAX, "all names fit one list");

unsigned topic_cleanup(const struct topic_settings *settings)
{
    static const unsigned bits[] = {
        [POLICY_DELETE] = TOPIC_CLEANUP_DELETE,
        [POLICY_COMPACT] = TOPIC_CLEANUP_COMPACT,
        [POLICY_BOTH] = TOPIC_CLEANUP_DELETE | TOPIC_CLEANUP_COMPACT,
    };

    assert((size_t)settings->cleanup_policy < COUNT(bits));
    return bits[settings->cleanup_policy];
}

void settings_defaults(struct topic_settings *out)
{
    *out = (struct topic_settings){0};
    err e = options_preset(topic_options, topic_option_count, out);
    assert(e == OK); /* the presets are ours */
}

static err unknown(view name)
{
    const char *names[NAMES_MAX];
    size_t count = 0;

    for (size_t i = 0; i < topic_option_count; i++) {
        names[count++] = topic_options[i].name;
    }
    for (size_t i = 0; i < COUNT(kept); i++) {
        names[count++] = kept[i];
    }
    const char *near = nearest_name(name, names, count);
    return fault(ERR_INVALID, "no topic setting \"%.*s\"%s%s%s", VIEW_ARG(view_upto(name, 80)),
                 near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* A list of policies in any order, repeats allowed; what the row's parser knows, or NULL. */
static const char *policy_named(view list)
{
    bool found[POLICY_BOTH] = {false};
    view item;

    for (bool more = true; more;) {
        more = view_cut(list, ',', &item, &list);
        item = view_trim(item);
        if (!view_is_text(item, policies[POLICY_DELETE]) &&
            !view_is_text(item, policies[POLICY_COMPACT])) {
            return NULL;
        }
        found[view_is_text(item, policies[POLICY_COMPACT]) ? POLICY_COMPACT : POLICY_DELETE] =
            true;
    }
    if (found[POLICY_DELETE] && found[POLICY_COMPACT]) {
        return policies[POLICY_BOTH];
    }
    return policies[found[POLICY_COMPACT] ? POLICY_COMPACT : POLICY_DELETE];
}

static err set_ratio(struct topic_settings *settings, view value)
{
    char text[24] = "", *end = text;

    if (value.len && value.len < sizeof(text)) {
        memcpy(text, value.at, value.len);
    }
    double ratio = strtod(text, &end);
    if (end == text || *end || strlen(text) != value.len || !(ratio >= 0 && ratio <= 1)) {
        return fault(ERR_INVALID,
                     ERROR_PLACE ": " RATIO_NAME ": \"%.*s\" is not a number from 0 to 1",
                     VIEW_ARG(view_upto(value, 40)));
    }
    settings->min_cleanable_dirty_percent = llround(ratio * 100);
    return OK;
}

static err check_compression(view value)
{
    for (size_t i = 0; i < COUNT(compressions); i++) {
        if (view_is_text(value, compressions[i])) {
            return OK;
        }
    }
    const char *near = nearest_name(value, compressions, COUNT(compressions));
    return fault(ERR_INVALID, ERROR_PLACE ": " CODEC_NAME ": no codec \"%.*s\"%s%s%s",
                 VIEW_ARG(view_upto(value, 40)), near ? "; did you mean \"" : "",
                 near ? near : "", near ? "\"?" : "");
}

static err apply_one(struct topic_settings *settings, const struct setting *override)
{
    view name = view_text(override->name), value = view_trim(view_text(override->value));

    for (size_t i = 0; i < COUNT(kept); i++) {
        if (view_is_text(name, kept[i])) {
            return OK;
        }
    }
    if (!option_find(topic_options, topic_option_count, name)) {
        return unknown(name);
    }
    if (view_is_text(name, RATIO_NAME)) {
        return set_ratio(settings, value);
    }
    if (view_is_text(name, CODEC_NAME)) {
        err e = check_compression(value);
        if (e) {
            return e;
        }
    }
    if (view_is_text(name, POLICY_NAME) && policy_named(value)) {
        value = view_text(policy_named(value));
    }
    return option_set(topic_options, topic_option_count, settings, name, value, ERROR_PLACE);
}

err settings_apply(struct topic_settings *settings, const struct setting *overrides,
                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        err e = apply_one(settings, &overrides[i]);
        if (e) {
            return e;
        }
    }
    if (settings->min_compaction_lag_ms > settings->max_compaction_lag_ms) {
        return fault(ERR_INVALID,
                     ERROR_PLACE ": min.compaction.lag.ms is more than max.compaction.lag.ms");
    }
    return OK;
}

void settings_copy(struct topic_settings *to, const struct topic_settings *from)
{
    *to = *from;
    to->compression_type = from->compression_type ? xstrdup(from->compression_type) : NULL;
}

void settings_fini(struct topic_settings *settings)
{
    free(settings->compression_type);
    settings->compression_type = NULL;
}

struct setting *settings_dup(const struct setting *overrides, size_t count)
{
    struct setting *copy = xcalloc(count, sizeof(*copy));

    for (size_t i = 0; i < count; i++) {
        copy[i] = (struct setting){xstrdup(overrides[i].name), xstrdup(overrides[i].value)};
    }
    return copy;
}

void settings_free(struct setting *settings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(settings[i].name);
        free(settings[i].value);
    }
    free(settings);
}

void topic_setting_print(const struct option *row, const struct topic_settings *settings,
                         struct writer *out)
{
    const void *at = (const uint8_t *)settings + row->offset;
    int64_t number = 0;

    if (row->kind == OPTION_TEXT || row->kind == OPTION_BOOL || row->kind == OPTION_CHOICE) {
        option_print(row, settings, out);
        return;
    }
    memcpy(&number, at, sizeof(number));
    if (strcmp(row->name, RATIO_NAME) == 0) {
        write_format(out, "%g", (double)number / 100);
    } else {
        write_format(out, "%lld", (long long)number);
    }
}
