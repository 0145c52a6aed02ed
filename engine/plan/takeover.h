/* takeover.h - which pieces of a plan need not be made: what an interrupted build left staged, and
 * what the previous outputs still hold. */
#ifndef PSYBUILD_ENGINE_PLAN_TAKEOVER_H
#define PSYBUILD_ENGINE_PLAN_TAKEOVER_H

#include "engine/plan/plan.h"

/* Decides each piece's action, and sets the hashes that are known of those taken over. */
MUST_CHECK struct error *takeover_find(struct plan *plan);
/* Once staged: the copies to be run (run->copies), and the entries of all that is taken over in the
 * new log. */
MUST_CHECK struct error *takeover_start(struct plan *plan);

#endif
