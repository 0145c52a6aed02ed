/* shadow.h - a graph without what planning needs: names, needs, groups and order, enough to select
 * nodes by targets. */
#ifndef PSYBUILD_ENGINE_STALE_SHADOW_H
#define PSYBUILD_ENGINE_STALE_SHADOW_H

#include "base/wire.h"
#include "engine/graph/graph.h"

void shadow_put(struct buffer *writer, const struct graph *graph);
/* Untouched `*out` when the bytes are none. Names are borrowed from the reader's bytes. */
MUST_CHECK struct error *shadow_get(
    struct wire_reader *reader, struct arena *arena, struct graph **out);

#endif
