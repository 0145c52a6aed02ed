/* history.h - plays histories against the real program, each in a process of its own.
 *
 * program_find and tree_begin come first: histories are played below the working directory. */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_H

#include "tests/support/history_draw.h"

struct history_options {
    uint64_t seed;
    uint64_t histories;      /* at most; 0: as many as there is time for */
    unsigned seconds;        /* 0: no limit */
    unsigned steps;          /* of a history, besides those that declare its world */
    unsigned jobs;           /* played side by side */
    unsigned failures;       /* each of those ends after so many; 0: no limit */
    unsigned shrink_seconds; /* for one history */
    const char *tolerated;   /* kinds of findings (history_run.h), a blank before and after each */
    const char *avoided[16]; /* steps that contain one of these words are left out */
    size_t avoided_count;
    bool is_loud; /* says every step, and what psybuild says */
};

struct history_verdict {
    bool is_failure;
    size_t step; /* at which it showed; the count of steps: at the end, when all must be made */
    const char *kind, *text;
};

/* Finds another device, and makes the directories that histories share. */
void history_begin(void);
void history_end(void);

struct history_verdict history_play(
    struct arena *arena, const struct history *history, const struct history_options *options);
#define HISTORY_SCRIPT_BEGIN "# ---- the history"

/* The same, and every deed as a line of shell into a file in the directory `store`, which is made
 * and keeps what shell cannot say. */
void history_write_script(
    const struct history *history, const struct history_options *options, const char *store);

#endif
