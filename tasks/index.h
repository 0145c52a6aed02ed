/* index.h - model.safetensors.index.json: which tensor lies in which file. */
#ifndef PSYBUILD_TASKS_INDEX_H
#define PSYBUILD_TASKS_INDEX_H

#include "base/text.h"
#include "tasks/layout.h"

/* The text as the reference writes it, byte for byte. */
MUST_CHECK struct error *index_render(
    struct arena *arena, const struct layout *layout, struct text *out);

#endif
