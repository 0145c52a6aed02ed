/* staging.h - the staged files of a plan, beside which its log grows. */
#ifndef PSYBUILD_ENGINE_PLAN_STAGING_H
#define PSYBUILD_ENGINE_PLAN_STAGING_H

#include "engine/plan/plan.h"

/* What the log says of an input, to be compared when it is taken up again: the hash of what is the
 * same as long as the input's content is. */
struct hash128 staging_version(const struct plan *plan, const struct plan_input *input);
/* The bytes of an output that the plan itself gives from its beginning on: its header. */
struct text staging_head(const struct plan_output *output);

/* Makes the staged files with the bytes that are known, and the log. */
MUST_CHECK struct error *staging_begin(struct plan *plan);
/* Once its outputs are synced: a node may wait long for its group. */
void staging_close(struct plan *plan);
/* What is staged is worth nothing, or in its place: staging_end will remove what is left of it. */
void staging_discard(struct plan *plan);
/* Closes files; removes what is staged unless recorded pieces lie in it, or a seal is not finished
 * (`is_sealing`). */
void staging_end(struct plan *plan, bool is_sealing);

#endif
