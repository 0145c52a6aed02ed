/* record.h - what a made node read and made, put together for its record. */
#ifndef PSYBUILD_ENGINE_PLAN_RECORD_H
#define PSYBUILD_ENGINE_PLAN_RECORD_H

#include "engine/plan/plan.h"

/* An input must be the same file before and after it was read: ERROR_FAILED if it changed. */
MUST_CHECK struct error *record_check_input(struct build *build, const struct plan_input *input);
/* The same of previous outputs from which pieces were copied, or in which they were left. */
MUST_CHECK struct error *record_check_copied(struct build *build, const struct plan *plan);
/* The tree of an input whose segments are all known becomes the state's. */
MUST_CHECK struct error *record_keep_tree(struct build *build, const struct plan_input *input);
/* Fills the run's record and list of files. */
MUST_CHECK struct error *record_make(struct build *build, uint32_t node);
/* The log of the pieces says from now on which outputs it describes, and what they were made from.
 */
MUST_CHECK struct error *record_end_log(struct build *build, uint32_t node);

#endif
