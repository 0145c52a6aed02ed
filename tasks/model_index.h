/* model_index.h - a card's "model-index", as the hub's library reads and writes it: results of one
 * task, data set, configuration, split and revision are one, and what it does not know is gone. */
#ifndef PSYBUILD_TASKS_MODEL_INDEX_H
#define PSYBUILD_TASKS_MODEL_INDEX_H

#include "base/arena.h"
#include "base/error.h"
#include "tasks/formats/yaml.h"

/* `out` is a list with one map. ERROR_FORMAT, without a place, for what the library cannot read. */
MUST_CHECK struct error *model_index_render(
    struct arena *arena, const struct yaml *index, struct yaml **out);
/* That of a card without results. */
MUST_CHECK struct error *model_index_of_nothing(
    struct arena *arena, struct yaml *model_name, struct yaml **out);

#endif
