/* store.h - the state on disk: loaded whole, with the journal beside it, and replaced whole. */
#ifndef PSYBUILD_ENGINE_STATE_STORE_H
#define PSYBUILD_ENGINE_STATE_STORE_H

#include "engine/state/state.h"

/* Loads state and journal from `directory`. A missing state is an empty one. A state of a newer
 * version is ERROR_USAGE; a damaged one is empty with a warning. */
MUST_CHECK struct error *state_load(struct arena *arena, const char *directory, struct state **out);

/* Replaces the state with what is in memory, and removes the journal; what is not finished begins a
 * new one. */
MUST_CHECK struct error *state_save(struct state *state, const char *directory);

#endif
