/* base.h - what every module stands on; no word of any domain. Include this, not its parts. */
#ifndef TIDEMARK_BASE_BASE_H
#define TIDEMARK_BASE_BASE_H

/* IWYU pragma: begin_exports */
#include "base/assert.h"
#include "base/err.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/option.h"
#include "base/os.h"
#include "base/point.h"
#include "base/socket.h"
#include "base/trace.h"
#include "base/uuid.h"
#include "base/view.h"
#include "base/wire.h"
#include "base/worker.h"
/* IWYU pragma: end_exports */

#endif
