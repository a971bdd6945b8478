/* codec_snappy_fuzz.c - any bytes through the snappy codec. SPDX-License-Identifier: Apache-2.0
 */
#define FUZZED_CODEC CODEC_SNAPPY
#include "log/codec_fuzz.h"
