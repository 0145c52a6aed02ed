/* history_judge.h - whether what lies on disk after a run can be true. */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_JUDGE_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_JUDGE_H

#include "tests/support/history_run.h"

struct trial {
    struct referee *referee;
    const char *line;
    const char *const *targets;      /* NULL-terminated; none: the default */
    struct made old;                 /* what lay there before */
    const struct made *before, *now; /* references: when it began, when it ended */
    struct path_set edited;          /* outputs that were edited meanwhile */
    struct made edits;               /* and what they were then */
    bool may_fail;
    bool is_stopped; /* a signal was sent, or it was to die */
    bool is_other;   /* in the second tree */
    int exit_code;
    const char *said;
};

/* Notes the first thing that is wrong in the referee's finding. */
void judge(const struct trial *trial);
/* The parts of it that hold for tools. */
void judge_end(const struct trial *trial);
void judge_marks(const struct trial *trial);
void judge_strays(const struct trial *trial);

void judge_note(struct referee *referee, const char *kind, const char *words, ...)
    PRINTF_LIKE(3, 4);
/* Whether a target names something that is declared. */
bool judge_wants_unit(const struct trial *trial, const struct unit *unit);

#endif
