/* option_fuzz.c - any bytes as a config file; what is accepted must print as a file that gives
 * the same values. SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stddef.h>
#include <stdint.h>

struct settings {
    char *data, *listen;
    int64_t threads, shift, roll_bytes, keep_ms, policy;
    bool direct;
};

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static const char *const policies[] = {"delete", "compact", NULL};
#define AT(field) .offset = offsetof(struct settings, field), .help = ""
static const struct option rows[] = {
    {.name = "data", .kind = OPTION_TEXT, AT(data)},
    {.name = "kafka.listen", .kind = OPTION_TEXT, AT(listen), .preset = "x"},
    {.name = "threads", .kind = OPTION_COUNT, AT(threads), .preset = "2"},
    {.name = "shift", .kind = OPTION_INT, AT(shift), .preset = "-3"},
    {.name = "log.roll", .kind = OPTION_BYTES, AT(roll_bytes), .preset = "64MiB"},
    {.name = "log.keep.ms", .kind = OPTION_MILLIS, AT(keep_ms), .preset = "7d", .least = -1},
    {.name = "log.policy",
     .kind = OPTION_CHOICE,
     AT(policy),
     .preset = "delete",
     .choices = policies},
    {.name = "direct", .kind = OPTION_BOOL, AT(direct), .preset = "false"},
};

static void print_all(const struct settings *s, struct writer *out)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        write_format(out, "%s: ", rows[i].name);
        option_print(&rows[i], s, out);
        write_u8(out, '\n');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct settings first, again;
    struct writer once = {0}, twice = {0};
    err e = options_preset(rows, COUNT(rows), &first);

    e = e ? e : options_preset(rows, COUNT(rows), &again);
    assert(e == OK);
    if (options_from_yaml(rows, COUNT(rows), &first, "fuzz", (view){at, len}) == OK) {
        print_all(&first, &once);
        e = options_from_yaml(rows, COUNT(rows), &again, "again", writer_view(&once));
        assert(e == OK);
        print_all(&again, &twice);
        assert(view_is(writer_view(&once), writer_view(&twice)));
    }
    writer_fini(&once);
    writer_fini(&twice);
    options_fini(rows, COUNT(rows), &first);
    options_fini(rows, COUNT(rows), &again);
    return 0;
}
