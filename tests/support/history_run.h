/* history_run.h - steps that start psybuild, and what must be true after each.
 *
 *   run WORD...            psybuild with these words
 *   run WORD... @MOMENT DEED ; DEED...    the same, disturbed
 *   pair WORD...           two at once
 *   other WORD...          in a second tree that shares sources and cache
 *   both WORD...           here and there at once
 *   tool WORD...           a run that must not change an output: -n, -t verify, -t lock; -t clean
 * may remove some
 *
 *   MOMENT   pause:KIND:N, exit:KIND:N, fail:KIND:N    at a point of variant fault (base/fault.h)
 *            after:US, int:US, kill:US                 that long after its start: stopped,
 * signalled DEED     a step of history_step.h while it stands still; "second": psybuild --no-wait,
 * to its end; "int", "kill" */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_RUN_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_RUN_H

#include "tests/support/history_reference.h"

struct finding {
    const char *kind; /* "wrong", "mixture", "torn", "gone", "failed", "crash", "silent", "stray",
                       * "lost", "leftover", "written"; NULL: none */
    const char *text;
};

struct referee {
    struct world *world;
    const char *shared;            /* for references */
    const char *tolerated;         /* kinds with blanks around each: not findings */
    const struct made *pending[8]; /* of runs that did not end well: an intent may still be there */
    size_t pending_count;
    bool is_loud; /* prints what is run and said */
    struct finding finding;
};

/* False: no such step. */
bool run_apply(struct referee *referee, const char *line);
/* The end of a history: what stands in the way goes, and a build must make all of it. */
void run_heal(struct referee *referee);

#endif
