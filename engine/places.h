/* places.h - where the program keeps what belongs to a node and is no output:
 *
 *   BASE/partial/NODE/pieces    the log of the pieces of an attempt (pieces.h)
 *   BASE/partial/NODE/old       the old config.json while its group is sealed
 *   BASE/partial/NODE/files/    staged outputs, under their base names and with nothing else
 *   BASE/pieces/NODE            the log of the pieces in the sealed outputs
 *   BASE/aside/PATH             what lay at an output's path and is not ours
 *
 * NODE is the hex XXH3-128 of the node's name. BASE is the tree's `.psybuild`, or, where a link or
 * a mount puts the node's directory on another file system, a `.psybuild` in that directory: what
 * is renamed stays on its device. Files of a hub source grow where the hub's own tools expect what
 * is unfinished (source_file.partial). */
#ifndef PSYBUILD_ENGINE_PLACES_H
#define PSYBUILD_ENGINE_PLACES_H

#include "engine/graph.h"

#define STATE_DIRECTORY ".psybuild"

MUST_CHECK struct error *places_partial(
    struct arena *arena, const struct node *node, const char **out);
MUST_CHECK struct error *places_log(struct arena *arena, const struct node *node, const char **out);
/* By a name that is free. */
MUST_CHECK struct error *places_aside(
    struct arena *arena, const struct node *node, const char *path, const char **out);

/* Within a partial directory. NULL: out of memory. */
const char *places_partial_log(struct arena *arena, const char *partial);
const char *places_old(struct arena *arena, const char *partial);
const char *places_files(struct arena *arena, const char *partial);
const char *places_staged(struct arena *arena, const char *partial, const char *path);

#endif
