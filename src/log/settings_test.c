/* settings_test.c - topic settings. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/settings.h"

static err apply(struct topic_settings *settings, const char *name, const char *value)
{
    char *copies[] = {xstrdup(name), xstrdup(value)};
    err e = settings_apply(settings, &(struct setting){copies[0], copies[1]}, 1);

    free(copies[0]);
    free(copies[1]);
    return e;
}

static void assert_shown(const struct topic_settings *settings, const char *name,
                         const char *text)
{
    struct writer out = {0};

    topic_setting_print(option_find(topic_options, topic_option_count, view_text(name)),
                        settings, &out);
    assert_true(view_is_text(writer_view(&out), text));
    writer_fini(&out);
}

static void presets_are_those_of_kafka(void **state)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        {"cleanup.policy", "delete"},
        {"retention.ms", "604800000"},
        {"retention.bytes", "-1"},
        {"segment.bytes", "1073741824"},
        {"segment.ms", "604800000"},
        {"max.message.bytes", "1048588"},
        {"message.timestamp.type", "CreateTime"},
        {"message.timestamp.before.max.ms", "9223372036854775807"},
        {"message.timestamp.after.max.ms", "3600000"},
        {"delete.retention.ms", "86400000"},
        {"min.compaction.lag.ms", "0"},
        {"max.compaction.lag.ms", "9223372036854775807"},
        {"min.cleanable.dirty.ratio", "0.5"},
        {"min.insync.replicas", "1"},
        {"compression.type", "producer"},
        {"flush.policy", "sync"},
        {"retention.disk.percent", "100"},
        {"retention.protect", "false"},
    };
    struct topic_settings settings;

    (void)state;
    settings_defaults(&settings);
    assert_int_equal(COUNT(rows), topic_option_count);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_shown(&settings, rows[i].name, rows[i].text);
    }
    assert_int_equal(topic_cleanup(&settings), TOPIC_CLEANUP_DELETE);
    settings_fini(&settings);
}

static void values_of_kafka_tools_are_taken(void **state)
{
    struct topic_settings settings;

    (void)state;
    settings_defaults(&settings);
    assert_int_equal(apply(&settings, "retention.ms", " -1 "), OK);
    assert_int_equal(settings.retention_ms, -1);
    assert_int_equal(apply(&settings, "retention.ms", "2h"), OK);
    assert_int_equal(settings.retention_ms, 7200000);
    assert_int_equal(apply(&settings, "min.cleanable.dirty.ratio", "0.01"), OK);
    assert_int_equal(settings.min_cleanable_dirty_percent, 1);
    assert_shown(&settings, "min.cleanable.dirty.ratio", "0.01");
    assert_int_equal(apply(&settings, "cleanup.policy", "delete, compact"), OK);
    assert_int_equal(topic_cleanup(&settings), TOPIC_CLEANUP_DELETE | TOPIC_CLEANUP_COMPACT);
    assert_shown(&settings, "cleanup.policy", "compact,delete");
    assert_int_equal(apply(&settings, "cleanup.policy", "compact"), OK);
    assert_int_equal(topic_cleanup(&settings), TOPIC_CLEANUP_COMPACT);
    assert_int_equal(apply(&settings, "compression.type", "zstd"), OK);
    assert_string_equal(settings.compression_type, "zstd");
    assert_int_equal(apply(&settings, "flush.policy", "os"), OK);
    assert_int_equal(settings.flush_policy, TOPIC_FLUSH_OS);
    assert_int_equal(apply(&settings, "message.timestamp.type", "LogAppendTime"), OK);
    assert_int_equal(settings.timestamp_type, TOPIC_CLOCK_APPEND);
    assert_int_equal(apply(&settings, "unclean.leader.election.enable", "true"), OK);
    settings_fini(&settings);
}

static void a_bad_setting_is_refused_with_its_name(void **state)
{
    static const struct {
        const char *name, *value, *says;
    } rows[] = {
        {"retention.msec", "1", "did you mean \"retention.ms\""},
        {"flush.message", "1", "did you mean \"flush.messages\""},
        {"retention.ms", "-2", "retention.ms"},
        {"retention.ms", "soon", "retention.ms"},
        {"retention.ms", "", "retention.ms"},
        {"cleanup.policy", "delete,", "cleanup.policy"},
        {"cleanup.policy", "compacted", "compact"},
        {"min.cleanable.dirty.ratio", "1.5", "from 0 to 1"},
        {"min.cleanable.dirty.ratio", "", "from 0 to 1"},
        {"min.cleanable.dirty.ratio", "nan", "from 0 to 1"},
        {"compression.type", "lz5", "did you mean \"lz4\""},
        {"min.insync.replicas", "0", "min.insync.replicas"},
        {"segment.bytes", "3GiB", "segment.bytes"},
        {"retention.disk.percent", "0", "retention.disk.percent"},
        {"min.compaction.lag.ms", "9223372036854775807", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct topic_settings settings;
        settings_defaults(&settings);
        err e = apply(&settings, rows[i].name, rows[i].value);
        assert_int_equal(e, rows[i].says ? ERR_INVALID : OK);
        if (rows[i].says) {
            assert_non_null(strstr(fault_here.text, rows[i].says));
        }
        settings_fini(&settings);
    }
}

static void lags_must_not_cross(void **state)
{
    struct setting rows[] = {{(char[]){"max.compaction.lag.ms"}, (char[]){"5"}},
                             {(char[]){"min.compaction.lag.ms"}, (char[]){"6"}}};
    struct topic_settings settings;

    (void)state;
    settings_defaults(&settings);
    assert_int_equal(settings_apply(&settings, rows, COUNT(rows)), ERR_INVALID);
    assert_non_null(strstr(fault_here.text, "lag"));
    settings_fini(&settings);
}

static void copies_are_independent(void **state)
{
    struct topic_settings settings, copy;
    struct setting rows[] = {{(char[]){"retention.ms"}, (char[]){"5"}}};
    struct setting *dup = settings_dup(rows, 1);

    (void)state;
    settings_defaults(&settings);
    settings_copy(&copy, &settings);
    assert_int_equal(settings_apply(&copy, dup, 1), OK);
    assert_int_equal(apply(&copy, "compression.type", "gzip"), OK);
    assert_int_equal(copy.retention_ms, 5);
    assert_int_equal(settings.retention_ms, INT64_C(7) * 86400000);
    assert_string_equal(settings.compression_type, "producer");
    settings_free(dup, 1);
    settings_fini(&settings);
    settings_fini(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_are_those_of_kafka),
        cmocka_unit_test(values_of_kafka_tools_are_taken),
        cmocka_unit_test(a_bad_setting_is_refused_with_its_name),
        cmocka_unit_test(lags_must_not_cross),
        cmocka_unit_test(copies_are_independent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
