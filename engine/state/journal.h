/* journal.h - `.psybuild/journal`: what a build under way has changed.
 *
 * An append-only file of checksummed entries, folded into the state at the end. A torn tail is cut,
 * never trusted. The layout is drawn in docs/design.md. */
#ifndef PSYBUILD_ENGINE_STATE_JOURNAL_H
#define PSYBUILD_ENGINE_STATE_JOURNAL_H

#include "engine/state/state.h"

/* Adds what the journal at `path` holds to the state that it belongs to. */
MUST_CHECK struct error *journal_load(struct state *state, const char *path);
MUST_CHECK struct error *journal_open(struct state *state, const char *directory);
MUST_CHECK struct error *journal_put_record(struct state *state, const struct record *record);
MUST_CHECK struct error *journal_put_file(struct state *state, uint32_t file);
/* Synced; from here on it is one of the state's. */
MUST_CHECK struct error *journal_put_intent(
    struct state *state, const char *directory, struct intent *intent);
/* The intent is done, or given up. */
MUST_CHECK struct error *journal_put_sealed(struct state *state, const struct intent *intent);
/* Nothing in it is needed any more. */
MUST_CHECK struct error *journal_remove(struct state *state, const char *directory);
/* A new one with the intents that are not finished; none, without any. */
MUST_CHECK struct error *journal_renew(struct state *state, const char *directory);

#endif
