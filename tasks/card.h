/* card.h - README.md of a model directory: the front matter of the checkpoint's own card, with
 * MLX's keys set and without its text (docs/formats.md, "Model card"). */
#ifndef PSYBUILD_TASKS_CARD_H
#define PSYBUILD_TASKS_CARD_H

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

/* `source` is the checkpoint's README.md, empty when there is none, and `name` its name in errors;
 * `base_model` the repository it comes from, NULL when from none: then the source counts for
 * nothing. ERROR_FORMAT, with the place, for what the hub's library cannot read. */
MUST_CHECK struct error *card_render(struct arena *arena, const char *name, struct text source,
    const char *base_model, struct text *out);

#endif
