/* compiled.h - `.psybuild/compiled`: the proof that nothing is to do, without manifest and state.
 *
 * When a run ends, the graph's names, needs and groups are written here, whether each node is fresh
 * by the state, and the stamps of all files that the fresh ones read and made. If what the graph
 * was compiled from still holds, and so do the stamps of a node's files, there is nothing to do for
 * it, whatever state lies beside: an older compiled file that is put back says no more than its own
 * stamps. The stamps lie first, under a hash of their own: a run without targets reads only them.
 * The layout is drawn in docs/design.md. */
#ifndef PSYBUILD_ENGINE_STALE_COMPILED_H
#define PSYBUILD_ENGINE_STALE_COMPILED_H

#include "engine/run/run.h"
#include "engine/stale/validity.h"

/* Of what the state says now. It counts only once there is no journal. */
MUST_CHECK struct error *compiled_write(
    struct build *build, const struct validity *validity, const char *directory);

/* Whether everything that the targets need is fresh; no targets: what a run without them makes. No
 * data file is opened, no JSON parsed. False says only that a closer look is needed. */
MUST_CHECK struct error *compiled_is_null(const struct validity *validity, const char *directory,
    const char *const *targets, size_t target_count, bool *out);

/* It counts no more. */
MUST_CHECK struct error *compiled_remove(const char *directory);

#endif
