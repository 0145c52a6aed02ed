/* history_reference.h - what a build from nothing makes in an empty directory, of the inputs, the
 * manifest and the lock as they lie now.
 *
 * References are kept by a hash of all that, in memory and as files in a directory that histories
 * share: a state that recurs costs nothing. */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_REFERENCE_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_REFERENCE_H

#include "tests/support/history_world.h"

struct made_file {
    const char *path; /* "models/M/config.json" */
    struct hash128 hash;
};

struct made { /* by path */
    struct made_file *files;
    size_t count, capacity;
    int exit_code; /* of a reference: not 0 when something cannot be made */
};

const struct made_file *made_find(const struct made *made, const char *path);

/* What lies in the roots now: regular files alone. */
struct made made_look(struct arena *arena);

/* `shared`: a directory for references, absolute. The paths in it become known to the world. */
const struct made *reference_make(struct world *world, const char *shared);

#endif
