/* history_search.h - random histories one after the other, and the shortest form of those that
 * fail. */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_SEARCH_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_SEARCH_H

#include "tests/support/history.h"

/* Plays random histories and prints those that fail, shrunk, with what is needed to play them
 * again. Returns how many that were. */
unsigned history_search(const struct history_options *options);

/* Leaves out what is not needed for a finding of the same kind. */
struct history history_shrink(struct arena *arena, const struct history *history,
    const struct history_verdict *verdict, const struct history_options *options);

#endif
