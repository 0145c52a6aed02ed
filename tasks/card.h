/* card.h - README.md of a model directory: the front matter of the checkpoint's own card, with
 * MLX's keys set and without its text (docs/formats.md, "Model card"). */
#ifndef PSYBUILD_TASKS_CARD_H
#define PSYBUILD_TASKS_CARD_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

/* `source` is the checkpoint's README.md, empty when there is none; `base_model` the repository it
 * comes from, NULL when from none: then the source counts for nothing. `*is_understood` is false
 * when the source's front matter, or its list of tags, could not be read: then it was replaced by
 * MLX's keys, or its tags were left as they were. ERROR_MEMORY only. */
MUST_CHECK struct error *card_render(struct arena *arena, struct text source,
    const char *base_model, struct text *out, bool *is_understood);

#endif
