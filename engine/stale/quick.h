/* quick.h - `.psybuild/quick`: the shortest proof that a run without targets has nothing to do.
 *
 * Beside the state, which it never contradicts: when a state is saved and every node that a run
 * without targets wants is fresh by it, the stamps of all files that those nodes read and made are
 * written here, without names of nodes, keys or hashes. If all of them still hold, and so does what
 * the graph was compiled from, there is nothing to do, whatever else the state says. So a null run
 * of 100 000 nodes reads a sixth of the state's bytes and builds no table. The layout is drawn in
 * docs/design.md. */
#ifndef PSYBUILD_ENGINE_STALE_QUICK_H
#define PSYBUILD_ENGINE_STALE_QUICK_H

#include "engine/run/run.h"

/* After the state was saved. Removes the file when some node is not fresh. */
MUST_CHECK struct error *quick_write(struct build *build, const char *directory);

/* False says only that a closer look is needed. */
MUST_CHECK struct error *quick_check(
    const char *directory, const struct validity *validity, bool *out);

#endif
