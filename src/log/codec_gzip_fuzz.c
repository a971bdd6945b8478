/* codec_gzip_fuzz.c - any bytes through the gzip codec. SPDX-License-Identifier: Apache-2.0 */
#define FUZZED_CODEC CODEC_GZIP
#include "log/codec_fuzz.h"
