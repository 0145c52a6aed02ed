/* restore.h - outputs that the cache has, to be had back: 4 bits, 8 bits, 4 bits again.
 *
 * The state keeps the last records of a node (state_keep_past), by which entries are found. */
#ifndef PSYBUILD_ENGINE_PLAN_RESTORE_H
#define PSYBUILD_ENGINE_PLAN_RESTORE_H

#include "engine/plan/plan.h"

/* The last record under the node's key whose reads still hold and whose outputs are in the cache,
 * in the build's arena; NULL: none. */
MUST_CHECK struct error *restore_find(
    struct build *build, uint32_t node, const struct record **out);
/* A plan without pieces: its outputs come from the cache. */
MUST_CHECK struct error *restore_plan(
    struct build *build, uint32_t node, const struct record *record, struct plan **out);
/* Once staged: the log of those outputs' pieces, if the cache has it. */
MUST_CHECK struct error *restore_stage_log(struct plan *plan);
/* On a worker: an output's bytes from its entry into the staged file. `*is_wrong`: the entry is
 * damaged, and removed. */
MUST_CHECK struct error *restore_output(
    struct plan *plan, uint32_t output, const _Atomic bool *cancel, bool *is_wrong);

#endif
