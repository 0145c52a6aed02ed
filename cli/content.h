/* content.h - does a file still hold what a record says? By its bytes, whatever its stamps say. */
#ifndef PSYBUILD_CLI_CONTENT_H
#define PSYBUILD_CLI_CONTENT_H

#include "engine/build.h"

enum content { CONTENT_SAME, CONTENT_OTHER, CONTENT_ABSENT };

/* Reads all of it. `found` says what is there instead, in the arena. What was downloaded is held
 * against its own identity, all else against its tree hash. */
MUST_CHECK struct error *content_check(struct arena *arena, const struct registry *registry,
    const struct state *state, const struct record_made *made, const _Atomic bool *cancel,
    _Atomic uint64_t *bytes_read, enum content *out, const char **found);

#endif
