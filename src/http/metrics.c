/* metrics.c - the Prometheus text format: heads, samples, escaping of labels.
 *
 *   # HELP name words          a backslash and a line break are escaped
 *   # TYPE name counter
 *   name{label="value"} 17     in values a quote too; what is not ASCII becomes %XX
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"

#include <math.h>

static void write_escaped(struct writer *out, view text, bool quotes)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (c == '\\' || (c == '"' && quotes)) {
            write_u8(out, '\\');
            write_u8(out, c);
        } else if (c == '\n') {
            write_bytes(out, "\\n", 2);
        } else if (c < ' ' || c >= 0x7f) {
            write_format(out, "%%%02X", c); /* one bad byte would spoil the whole page */
        } else {
            write_u8(out, c);
        }
    }
}

void http_metric(struct writer *out, const char *name, const char *type, const char *help)
{
    write_format(out, "# HELP %s ", name);
    write_escaped(out, view_text(help), false);
    write_format(out, "\n# TYPE %s %s\n", name, type);
}

static void write_head(struct writer *out, const char *name, const struct http_label *labels,
                       size_t count)
{
    write_format(out, "%s", name);
    for (size_t i = 0; i < count; i++) {
        write_format(out, "%s%s=\"", i ? "," : "{", labels[i].name);
        write_escaped(out, labels[i].value, true);
        write_u8(out, '"');
    }
    write_format(out, "%s ", count ? "}" : "");
}

void http_sample(struct writer *out, const char *name, const struct http_label *labels,
                 size_t count, double value)
{
    write_head(out, name, labels, count);
    if (isfinite(value)) {
        write_format(out, "%.15g\n", value);
    } else {
        write_format(out, "%s\n", isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
    }
}

void http_sample_int(struct writer *out, const char *name, const struct http_label *labels,
                     size_t count, int64_t value)
{
    write_head(out, name, labels, count);
    write_format(out, "%lld\n", (long long)value);
}
