/* apis.c - the one array of APIs. SPDX-License-Identifier: Apache-2.0 */
#include "broker/apis.h"

#define X(key_, oldest_, newest_, flexible_, name_, functions)                                 \
    {.key = key_,                                                                              \
     .oldest = oldest_,                                                                        \
     .newest = newest_,                                                                        \
     .flexible_from = flexible_,                                                               \
     .name = name_,                                                                            \
     .read = functions##_read,                                                                 \
     .handle = functions##_handle},

const struct api apis[] = {APIS(X)};
#undef X
const size_t api_count = COUNT(apis);

const struct api *api_find(int16_t key)
{
    for (size_t i = 0; i < COUNT(apis); i++) {
        if (apis[i].key == key) {
            return &apis[i];
        }
    }
    return NULL;
}
