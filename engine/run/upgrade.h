/* upgrade.h - what a state of the version before says by an older rule of segments. */
#ifndef PSYBUILD_ENGINE_RUN_UPGRADE_H
#define PSYBUILD_ENGINE_RUN_UPGRADE_H

#include "engine/run/run.h"

/* Each file whose stamp still holds is hashed by both rules: where the older hash is the recorded
 * one, all records have the new one from now on, and nothing needs to be made again. What is not
 * there, or was touched, keeps the older hash, which no file has by the new rule: it is looked at
 * like any other change. Does nothing to a state of this version. */
MUST_CHECK struct error *upgrade_trees(struct build *build);

#endif
