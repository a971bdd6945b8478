/* point_fuzz.c - arbitrary text as a point; a time that is printed is read back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    struct point point, again;
    char text[POINT_TIME_BYTES];

    if (point_parse((view){at, len}, 0, &point) == OK && point.kind == POINT_TIME) {
        point_time_text(point.value, text);
        if (text[4] == '-') {
            assert(point_parse(view_text(text), 0, &again) == OK);
            assert(again.value == point.value);
        }
    }
    return 0;
}
