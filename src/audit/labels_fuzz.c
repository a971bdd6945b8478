/* labels_fuzz.c - any bytes as a labels file. SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "audit/labels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct labels *labels = NULL;

    if (labels_parse("labels.yaml", (view){data, size}, &labels) == OK) {
        (void)labels_value(labels, VIEW("public"), VIEW("orders"), VIEW("status"), VIEW("n"));
        labels_free(labels);
    }
    return 0;
}
