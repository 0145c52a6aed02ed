/* seal.h - staged files into their places, all of a group or none.
 *
 * Staged files lie in `partial/NODE/`, NODE being the hex XXH3-128 of the node's name, in the
 * build's
 * `.psybuild`, or, when the target is on another device, in a `.psybuild` of the target's
 * directory. */
#ifndef PSYBUILD_ENGINE_SEAL_H
#define PSYBUILD_ENGINE_SEAL_H

#include "engine/build.h"

MUST_CHECK struct error *seal_partial_directory(
    struct build *build, struct arena *arena, const struct node *node, const char **out);
/* `.psybuild/pieces/NODE`: the log of the sealed outputs. */
MUST_CHECK struct error *seal_log_path(struct arena *arena, const struct node *node, char **out);

/* Removes what lies in a partial directory, and the directory; an absent one is fine. */
MUST_CHECK struct error *seal_empty_partial(struct arena *arena, const char *directory);
/* Removes the partials of wanted nodes that are as they should be: left by interrupted builds of
 * something that is not wanted any more. */
MUST_CHECK struct error *seal_remove_partials(struct build *build);

/* Seals nodes that are MADE: intent written and synced, the file that makes the directory loadable
 * moved away when more than one file changes, leftovers removed, renames, that file last. */
MUST_CHECK struct error *seal_nodes(struct build *build, const uint32_t *nodes, uint32_t count);

/* Finishes what a killed build had begun; the state's intent is NULL afterwards. */
MUST_CHECK struct error *seal_finish_intent(struct build *build);

#endif
