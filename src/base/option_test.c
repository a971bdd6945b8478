/* option_test.c - option rows from files, variables and flags.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

struct settings {
    char *data, *listen;
    int64_t threads, shift, roll_bytes, keep_ms, policy;
    bool direct;
};

static const char *const policies[] = {"delete", "compact", NULL};
#define AT(field) .offset = offsetof(struct settings, field)
static const struct option rows[] = {
    {.name = "data", .kind = OPTION_TEXT, AT(data), .help = "the data folder"},
    {.name = "kafka.listen",
     .kind = OPTION_TEXT,
     AT(listen),
     .preset = "127.0.0.1:9092",
     .help = "where Kafka clients connect",
     .flag = "kafka"},
    {.name = "threads",
     .kind = OPTION_COUNT,
     AT(threads),
     .preset = "2",
     .help = "loops",
     .flag = "t",
     .least = 1,
     .most = 64},
    {.name = "shift", .kind = OPTION_INT, AT(shift), .preset = "-3", .help = "any number"},
    {.name = "log.roll_bytes",
     .kind = OPTION_BYTES,
     AT(roll_bytes),
     .preset = "64MiB",
     .help = "start a new file past this size",
     .least = 4096,
     .most = INT64_C(1) << 40},
    {.name = "log.keep.ms",
     .kind = OPTION_MILLIS,
     AT(keep_ms),
     .preset = "7d",
     .help = "age | of what goes",
     .least = -1,
     .most = INT64_MAX},
    {.name = "log.policy",
     .kind = OPTION_CHOICE,
     AT(policy),
     .preset = "delete",
     .help = "how old records go",
     .choices = policies},
    {.name = "direct", .kind = OPTION_BOOL, AT(direct), .preset = "false", .help = "no cache"},
};

static int set_up(void **state)
{
    struct settings *s = malloc(sizeof(*s));

    memset(s, 0x5a, sizeof(*s)); /* presets must not trust what is there */
    *state = s;
    return options_preset(rows, COUNT(rows), s) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    options_fini(rows, COUNT(rows), *state);
    free(*state);
    return 0;
}

static err from_yaml(struct settings *s, const char *text)
{
    return options_from_yaml(rows, COUNT(rows), s, "a.yaml", view_text(text));
}

static void assert_says(const char *part)
{
    if (!strstr(fault_here.text, part)) {
        fail_msg("\"%s\" is not in \"%s\"", part, fault_here.text);
    }
}

static void presets_fill_the_struct(void **state)
{
    struct settings *s = *state;

    assert_null(s->data);
    assert_string_equal(s->listen, "127.0.0.1:9092");
    assert_int_equal(s->threads, 2);
    assert_int_equal(s->shift, -3);
    assert_int_equal(s->roll_bytes, 64 << 20);
    assert_int_equal(s->keep_ms, 7 * 86400000);
    assert_int_equal(s->policy, 0);
    assert_false(s->direct);
}

static void nested_and_dotted_names_in_a_file_are_the_same(void **state)
{
    struct settings *s = *state;

    assert_int_equal(from_yaml(s, "# first\n"
                                  "data: /tmp/x y\n"
                                  "kafka: {listen: \"[::1]:1\"}\n"
                                  "log.policy: compact\n"
                                  "log:\n  keep:\n    ms: -1\n  roll_bytes: 1.5GiB\n"
                                  "direct: yes\n"),
                     OK);
    assert_string_equal(s->data, "/tmp/x y");
    assert_string_equal(s->listen, "[::1]:1");
    assert_int_equal(s->policy, 1);
    assert_int_equal(s->keep_ms, -1);
    assert_int_equal(s->roll_bytes, INT64_C(3) << 29);
    assert_true(s->direct);
}

static void empty_files_and_empty_groups_are_fine(void **state)
{
    assert_int_equal(from_yaml(*state, ""), OK);
    assert_int_equal(from_yaml(*state, "# nothing\n"), OK);
    assert_int_equal(from_yaml(*state, "---\n"), OK);
    assert_int_equal(from_yaml(*state, "{}"), OK);
    assert_int_equal(from_yaml(*state, "log:\n  keep:\n  # ms: 5\n"), OK);
}

static void mistakes_in_a_file_are_named_with_their_place(void **state)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"dta: x\n", "a.yaml:1:1: no option \"dta\"; did you mean \"data\"?"},
        {"kafka:\n  lisen: x\n", "a.yaml:2:3: no option \"kafka.lisen\"; did you mean "
                                 "\"kafka.listen\"?"},
        {"\nkafak:\n  listen: x\n", "a.yaml:2:1: no options under \"kafak\"; did you mean "
                                    "\"kafka\"?"},
        {"zzzzzzzzz: {y: 1}\n", "a.yaml:1:1: no options under \"zzzzzzzzz\""},
        {"data: {x: 1}\n", "a.yaml:1:1: no options under \"data\""},
        {"kafka: 9092\n", "a.yaml:1:1: no option \"kafka\""},
        {"threads: many\n", "a.yaml:1:10: threads: \"many\" is not a whole number"},
        {"threads: 65\n", "a.yaml:1:10: threads: 65 is more than 64"},
        {"threads: 0\n", "threads: 0 is less than 1"},
        {"log:\n  roll_bytes: 1KiB\n", "a.yaml:2:15: log.roll_bytes: 1KiB is less than 4KiB"},
        {"log: {keep.ms: -2}\n", "log.keep.ms: -2 is less than -1"},
        {"log: {policy: kompact}\n", "log.policy: \"kompact\" is not one of delete, compact; "
                                     "did you mean \"compact\"?"},
        {"direct: maybe\n", "direct: \"maybe\" is neither true nor false"},
        {"data: a\nthreads: 1\ndata: b\n", "a.yaml:3:1: data is given already in line 1"},
        {"kafka: {listen: a}\nkafka.listen: b\n", "kafka.listen is given already in line 1"},
        {"data:\n", "a.yaml:1:1: data has no value"},
        {"data: [a]\n", "a.yaml:1:7: a list is not possible here"},
        {"- a\n", "a.yaml:1:1: a list is not possible here"},
        {"just words\n", "a.yaml:1:1: names with values are expected"},
        {"data: &x y\nkafka.listen: *x\n", "a.yaml:2:15: aliases are not possible here"},
        {"data: a\n---\ndata: b\n", "a.yaml:2:1: a second document begins"},
        {"? {a: b}\n: c\n", "a name must be a text"},
        {"data: \"a\\0b\"\n", "a text with a NUL in it"},
        {"data: a\n\tthreads: 1\n", "a.yaml:2:"},
        {"data: \"open\n", "a.yaml:2:1: found unexpected end of stream"},
    };

    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(from_yaml(*state, wrong[i].text), ERR_INVALID);
        assert_says(wrong[i].says);
    }
}

static void names_too_long_or_too_deep_are_refused(void **state)
{
    struct writer text = {0};

    for (int i = 0; i < 300; i++) {
        write_u8(&text, 'a');
    }
    write_format(&text, ": 1%c", 0);
    assert_int_equal(from_yaml(*state, (char *)text.at), ERR_INVALID);
    assert_says("a name longer than 128 bytes");
    writer_fini(&text);
}

static void variables_set_options_and_unknown_ones_are_named(void **state)
{
    struct settings *s = *state;
    char *fine[] = {"HOME=/", "TIDEMARK_KAFKA_LISTEN=h:1", "TIDEMARK_T=7",
                    "TIDEMARK_LOG_KEEP_MS=30s", NULL};
    char *unknown[] = {"TIDEMARK_THREDS=7", NULL};
    char *wrong[] = {"TIDEMARK_DIRECT=", NULL};
    char *twice[] = {"TIDEMARK_KAFKA=h:2", "TIDEMARK_KAFKA_LISTEN=h:3", NULL};

    assert_int_equal(options_from_environment(rows, COUNT(rows), s, fine), OK);
    assert_string_equal(s->listen, "h:1");
    assert_int_equal(s->threads, 7);
    assert_int_equal(s->keep_ms, 30000);
    assert_int_equal(options_from_environment(rows, COUNT(rows), s, unknown), ERR_INVALID);
    assert_says("no option TIDEMARK_THREDS; did you mean TIDEMARK_THREADS?");
    assert_int_equal(options_from_environment(rows, COUNT(rows), s, wrong), ERR_INVALID);
    assert_says("TIDEMARK_DIRECT: \"\" is neither");
    assert_int_equal(options_from_environment(rows, COUNT(rows), s, twice), ERR_INVALID);
    assert_says("given by another variable too");
}

static void flags_are_taken_and_words_stay(void **state)
{
    struct settings *s = *state;
    char *argv[] = {"run", "--data", "/d", "x",  "--kafka=h:5", "-t",       "9", "--shift",
                    "-15", "-",      "-7", "--", "--direct",    "--nobody", NULL};
    int argc = (int)COUNT(argv) - 1;

    assert_int_equal(options_from_flags(rows, COUNT(rows), s, &argc, argv), OK);
    assert_string_equal(s->data, "/d");
    assert_string_equal(s->listen, "h:5");
    assert_int_equal(s->threads, 9);
    assert_int_equal(s->shift, -15);
    assert_false(s->direct);
    static const char *const left[] = {"run", "x", "-", "-7", "--direct", "--nobody"};
    assert_int_equal(argc, COUNT(left));
    for (size_t i = 0; i < COUNT(left); i++) {
        assert_string_equal(argv[i], left[i]);
    }
    assert_null(argv[argc]);
}

static void a_bool_flag_takes_no_word(void **state)
{
    struct settings *s = *state;
    char *argv[] = {"--direct", "word", "--log-roll-bytes=8KiB", NULL};
    char *off[] = {"--direct=false", NULL};
    int argc = 3, off_argc = 1;

    assert_int_equal(options_from_flags(rows, COUNT(rows), s, &argc, argv), OK);
    assert_true(s->direct);
    assert_int_equal(argc, 1);
    assert_string_equal(argv[0], "word");
    assert_int_equal(s->roll_bytes, 8192);
    assert_int_equal(options_from_flags(rows, COUNT(rows), s, &off_argc, off), OK);
    assert_false(s->direct);
    assert_int_equal(off_argc, 0);
}

static void mistaken_flags_are_named(void **state)
{
    static const struct {
        char *argv[3];
        const char *says;
    } wrong[] = {
        {{"--dta", "x"}, "no option --dta; did you mean --data?"},
        {{"--threads", "none"}, "--threads: \"none\" is not a whole number"},
        {{"--data"}, "--data wants a value: --data=VALUE"},
        {{"--data", "--direct"}, "--data wants a value: --data=VALUE"},
        {{"-x"}, "no option --x"},
        {{"--t", "1"}, "no option --t"},
        {{"-threads", "1"}, "did you mean --threads?"},
    };

    for (size_t i = 0; i < COUNT(wrong); i++) {
        char *argv[3];
        int argc = wrong[i].argv[1] ? 2 : 1;
        memcpy(argv, wrong[i].argv, sizeof(argv));
        assert_int_equal(options_from_flags(rows, COUNT(rows), *state, &argc, argv),
                         ERR_INVALID);
        assert_says(wrong[i].says);
    }
}

static void what_must_be_given_is_asked_for(void **state)
{
    assert_int_equal(options_complete(rows, COUNT(rows), *state), ERR_INVALID);
    assert_says("data must be given (the data folder): --data, TIDEMARK_DATA or data in the");
    assert_int_equal(from_yaml(*state, "data: \"\"\n"), OK);
    assert_int_equal(options_complete(rows, COUNT(rows), *state), ERR_INVALID);
    assert_int_equal(from_yaml(*state, "data: x\n"), OK);
    assert_int_equal(options_complete(rows, COUNT(rows), *state), OK);
}

static void values_print_as_a_file_would_hold_them(void **state)
{
    static const struct {
        const char *name, *value, *printed;
    } given[] = {
        {"data", "", "\"\""},
        {"data", "a: b", "\"a: b\""},
        {"data", "/x/y-1.z", "/x/y-1.z"},
        {"data", "null", "\"null\""},
        {"log.roll_bytes", "65536", "64KiB"},
        {"log.roll_bytes", "1000000", "1000000"},
        {"log.keep.ms", "90s", "90s"},
        {"log.keep.ms", "-1", "-1"},
        {"log.keep.ms", "1500", "1500ms"},
        {"log.keep.ms", "9223372036854775807", "9223372036854775807"},
        {"log.policy", "compact", "compact"},
        {"direct", "on", "true"},
        {"shift", "-9", "-9"},
    };

    for (size_t i = 0; i < COUNT(given); i++) {
        struct writer out = {0};
        view name = view_text(given[i].name);
        assert_int_equal(
            option_set(rows, COUNT(rows), *state, name, view_text(given[i].value), "here"), OK);
        option_print(option_find(rows, COUNT(rows), name), *state, &out);
        write_u8(&out, 0);
        assert_string_equal((char *)out.at, given[i].printed);
        writer_fini(&out);
    }
}

static void help_is_in_columns_and_the_reference_is_a_table(void **state)
{
    struct writer out = {0};

    (void)state;
    options_help(rows, COUNT(rows), &out);
    write_u8(&out, 0);
    const char *help = (char *)out.at;
    assert_non_null(strstr(help, "  --data TEXT                   the data folder (must be"));
    assert_non_null(strstr(help, "  --kafka, --kafka-listen TEXT  where Kafka clients connect "
                                 "(preset 127.0.0.1:9092)\n"));
    assert_non_null(strstr(help, "  -t, --threads N               loops (preset 2)\n"));
    assert_non_null(strstr(help, "  --log-policy delete|compact   how"));
    for (const char *line = help; *line; line = strchr(line, '\n') + 1) {
        assert_true(strchr(line, '\n') - line <= 96);
    }
    writer_reset(&out);
    options_reference(rows, COUNT(rows), &out);
    write_u8(&out, 0);
    assert_non_null(strstr((char *)out.at,
                           "| `kafka.listen` | `--kafka`, `--kafka-listen`, "
                           "`TIDEMARK_KAFKA_LISTEN` | TEXT | `127.0.0.1:9092` | where"));
    assert_non_null(strstr((char *)out.at, "age \\| of what goes |\n"));
    writer_fini(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(presets_fill_the_struct),
        TEST(nested_and_dotted_names_in_a_file_are_the_same),
        TEST(empty_files_and_empty_groups_are_fine),
        TEST(mistakes_in_a_file_are_named_with_their_place),
        TEST(names_too_long_or_too_deep_are_refused),
        TEST(variables_set_options_and_unknown_ones_are_named),
        TEST(flags_are_taken_and_words_stay),
        TEST(a_bool_flag_takes_no_word),
        TEST(mistaken_flags_are_named),
        TEST(what_must_be_given_is_asked_for),
        TEST(values_print_as_a_file_would_hold_them),
        TEST(help_is_in_columns_and_the_reference_is_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
