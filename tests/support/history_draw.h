/* history_draw.h - random histories: the whole text from a seed, before anything happens.
 *
 * Each history has a part of the world and a part of the steps, a few of them often, so that some
 * sequences are dense in some histories; and it goes back to states that were there. */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_DRAW_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_DRAW_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

struct history {
    const char **steps; /* a line each */
    size_t count, capacity;
};

void history_add(struct arena *arena, struct history *history, const char *step);
/* Lines; empty ones and those that begin with '#' are skipped. */
struct history history_parse(struct arena *arena, const char *text);
const char *history_text(struct arena *arena, const struct history *history);

struct history history_draw(struct arena *arena, uint64_t seed, size_t step_count);

#endif
