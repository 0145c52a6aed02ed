/* seal.h - staged files into their places, all of a group or none: what is to be moved is decided
 * and written down as an intent, and then carried out (carry.h). */
#ifndef PSYBUILD_ENGINE_SEAL_SEAL_H
#define PSYBUILD_ENGINE_SEAL_SEAL_H

#include "engine/run/run.h"

/* Seals nodes that are MADE: of one group, or without one. After an error nothing was moved, or the
 * intent is the state's. */
MUST_CHECK struct error *seal_nodes(struct build *build, const uint32_t *nodes, uint32_t count);

/* Removes the partials of wanted nodes that are as they should be: left by interrupted builds of
 * something that is not wanted any more. */
MUST_CHECK struct error *seal_remove_partials(struct build *build);

/* Finishes one seal that a killed build had begun. What it can not finish is told by the error, and
 * the intent stays; what cannot be finished by anybody is a warning, and its nodes will be made
 * again. */
MUST_CHECK struct error *seal_recover(struct build *build, struct intent *intent);

#endif
