/* validity.h - what a compiled graph was made from, to tell without parsing that it would be the
 * same.
 *
 * The options are compared byte by byte, files and directories by their stamps, environment
 * variables by their values. */
#ifndef PSYBUILD_ENGINE_STALE_VALIDITY_H
#define PSYBUILD_ENGINE_STALE_VALIDITY_H

#include "base/wire.h"
#include "engine/graph/graph.h"

struct validity {
    const char *manifest; /* -f */
    const char *data_directory;
    const struct manifest_setting *settings;
    size_t setting_count;
    const struct registry *registry; /* its tasks and their versions */
};

/* Appends the options and, unless `graph` is NULL, what it watches. */
void validity_write(
    struct buffer *writer, const struct validity *validity, const struct graph *graph);

/* True when `recorded` is of the same options and nothing that it watches has changed. */
MUST_CHECK struct error *validity_is_current(
    const struct validity *validity, struct text recorded, bool *out);

#endif
