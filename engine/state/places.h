/* places.h - where the program keeps what belongs to a node and is no output:
 *
 *   .psybuild/pieces/NODE           the log of the pieces in the sealed outputs
 *   .psybuild/partial/NODE/pieces   that of an attempt (pieces.h)
 *   BASE/partial/NODE/files/        its staged outputs by base name, and nothing else
 *   BASE/partial/NODE/old           the old config.json while its group is sealed
 *   BASE/aside/PATH                 what lay at an output's path and is not ours
 *
 * NODE is the hex XXH3-128 of the node's name. BASE is `.psybuild`, too, or, where a link or a
 * mount puts the node's directory on another file system, a `.psybuild` in that directory: whatever
 * is renamed stays on its device. Files of a hub source grow, and are logged, where the hub's own
 * tools expect what is unfinished (source_file.partial). */
#ifndef PSYBUILD_ENGINE_STATE_PLACES_H
#define PSYBUILD_ENGINE_STATE_PLACES_H

#include "engine/graph/graph.h"

#define STATE_DIRECTORY ".psybuild"

MUST_CHECK struct error *places_log(struct arena *arena, const struct node *node, const char **out);
/* The directory of an attempt's log. */
MUST_CHECK struct error *places_partial(
    struct arena *arena, const struct node *node, const char **out);
/* The directory of what is staged: most often the same. */
MUST_CHECK struct error *places_stage(
    struct arena *arena, const struct node *node, const char **out);
/* Removes both, and the directories above that are empty then; absent is fine. */
MUST_CHECK struct error *places_remove_partial(
    struct arena *arena, const char *partial, const char *stage);
/* The name, or the first free one of those made from it. */
MUST_CHECK struct error *places_free_name(struct arena *arena, const char *name, const char **out);
/* By a name that is free. */
MUST_CHECK struct error *places_aside(
    struct arena *arena, const struct node *node, const char *path, const char **out);

/* Within those directories. NULL: out of memory. */
const char *places_partial_log(struct arena *arena, const char *partial);
const char *places_old(struct arena *arena, const char *stage);
const char *places_files(struct arena *arena, const char *stage);
const char *places_staged(struct arena *arena, const char *stage, const char *path);

#endif
