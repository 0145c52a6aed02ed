/* history_drawer.h - where a random history comes from: chance, and what it has chosen of the world
 * and of the steps before the first of them. */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_DRAWER_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_DRAWER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/history_draw.h"
#include "tests/support/history_manifest.h"

enum { FOCUS_MAX = 3, FILES_MAX = 40 };

enum verb {
    VERB_SET,
    VERB_SWITCH, /* all fields in focus at once, there and back */
    VERB_FILL,
    VERB_FLIP,
    VERB_SWAP,
    VERB_TAKE_OUT,
    VERB_RENAME,
    VERB_TIE,
    VERB_CHECKPOINT,
    VERB_TEXT,
    VERB_PAD,
    VERB_POKE,
    VERB_SHRINK,
    VERB_TOUCH,
    VERB_DROP,
    VERB_BACK,
    VERB_EDIT,
    VERB_FORGET,
    VERB_STATE,
    VERB_STAGED,
    VERB_TRIM,
    VERB_SOURCE,
    VERB_MANIFEST,
    VERB_RELOCATE,
    VERB_TOOL,
    VERB_PAIR,
    VERB_OTHER,
    VERB_COUNT
};

struct drawer {
    struct arena *arena;
    uint64_t seed;
    struct history history;
    int fields[FIELD_COUNT];
    unsigned weights[VERB_COUNT];
    unsigned weight_sum;
    enum field focus[FOCUS_MAX];
    size_t focus_count;
    int sides[FOCUS_MAX][2]; /* what a switch sets them to */
    unsigned side;
    const char *sources[FILES_MAX]; /* those that are small texts or raw */
    size_t source_count;
    const char *outputs[FILES_MAX];
    size_t output_count;
    const char *changed; /* the source that a step changed last */
    bool is_watched;     /* most disturbed runs are stopped, and an output is edited */
    bool is_interrupted; /* most disturbed runs are ended */
    unsigned moment_percent, target_percent;
};

uint64_t drawer_next(struct drawer *drawer);
unsigned drawer_below(struct drawer *drawer, size_t limit);
bool drawer_chance(struct drawer *drawer, unsigned percent);
#define ONE_OF(drawer, list) ((list)[drawer_below(drawer, sizeof(list) / sizeof *(list))])

void drawer_add(struct drawer *drawer, const char *words, ...) PRINTF_LIKE(2, 3);
void drawer_set(struct drawer *drawer, enum field field, int value);
bool drawer_is_idle(const struct drawer *drawer, enum verb verb); /* nothing there to do it to */

/* Chooses all but the steps; those that declare the world are added. */
void drawer_begin(struct drawer *drawer);

#endif
