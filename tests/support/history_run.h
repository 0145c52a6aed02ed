/* history_run.h - steps that start psybuild, and what must be true after each.
 *
 *   run WORD...     psybuild with these words
 *   run WORD... @MOMENT DEED ; DEED...     the same, disturbed
 *   pair WORD...    two at once
 *   other WORD...   in a second tree that shares sources and cache
 *   both WORD...    here and there at once
 *   tool WORD...    a run that must not change an output: -n, -t verify; -t clean may remove some
 *
 *   MOMENT   pause:KIND:N, exit:KIND:N, fail:KIND:N: at a point of variant fault (base/fault.h)
 *            after:US, int:US, kill:US: that long after its start it is stopped, or signalled
 *   DEED     a step of history_step.h while it stands still; "int" and "kill", which it gets;
 *            "second", which is psybuild --no-wait from its start to its end */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_RUN_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_RUN_H

#include "tests/support/history_reference.h"

/* What is wrong:
 *   wrong, leftover   exit status 0, and an output is not right, or there is one too many
 *   stale             the same, and it said "nothing to do"
 *   mixture           another status, and a directory loads though it is of two builds
 *   torn, gone        another status, and a file is neither old nor new, or not there any more
 *   failed            it had to succeed
 *   silent            it failed without a message
 *   crash, endless    a signal or a sanitizer; no end
 *   lost              what a user wrote is neither in place nor set aside
 *   stray             a file that nobody knows
 *   written           -n wrote something, or a tool changed an output
 *   driver            the history itself is no good */
struct finding {
    const char *kind, *text; /* NULL: nothing */
};

enum { POSSIBLE_MAX = 16 };

struct referee {
    struct world *world;
    const char *shared;    /* for references */
    const char *tolerated; /* kinds with blanks around each: not findings */
    /* What may be there again: of the last run that ended well, and of those after it that did not
     * and may have left an intent; what lay there and what they were to make. */
    const struct made *possible[POSSIBLE_MAX];
    size_t possible_count;
    bool is_loud; /* prints what is run and said */
    struct finding finding;
};

/* False: no such step. */
bool run_apply(struct referee *referee, const char *line);
/* The end of a history: what stands in the way goes, and a build must make all of it. */
void run_heal(struct referee *referee);

#endif
