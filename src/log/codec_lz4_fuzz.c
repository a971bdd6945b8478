/* codec_lz4_fuzz.c - any bytes through the lz4 codec. SPDX-License-Identifier: Apache-2.0 */
#define FUZZED_CODEC CODEC_LZ4
#include "log/codec_fuzz.h"
