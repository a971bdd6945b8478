/* codec_zstd_fuzz.c - any bytes through the zstd codec. SPDX-License-Identifier: Apache-2.0 */
#define FUZZED_CODEC CODEC_ZSTD
#include "log/codec_fuzz.h"
