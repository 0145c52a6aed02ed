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

/* Finishes the seals that a killed build had begun. Each that it can not finish is told, with its
 * error to be freed, and stays; what cannot be finished by anybody is a warning, and its nodes will
 * be made again. */
void seal_recover(struct build *build,
    void (*unfinished)(void *context, const struct intent *intent, struct error *error),
    void *context);

#endif
