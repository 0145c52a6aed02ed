/* config.h - config.json of an MLX model directory (docs/formats.md, "config.json"). */
#ifndef PSYBUILD_TASKS_CONFIG_H
#define PSYBUILD_TASKS_CONFIG_H

#include "base/json.h"
#include "tasks/layout.h"

struct config_sources {
    const struct json *config;     /* the checkpoint's config.json: an object */
    const struct json *generation; /* generation_config.json, an object; NULL when there is none */
    const struct json *quantized;  /* hf_quant_config.json; NULL when there is none */
};

/* The text as the reference writes it, byte for byte. ERROR_FORMAT when a source is no object. */
MUST_CHECK struct error *config_render(struct arena *arena, const struct config_sources *sources,
    const struct layout *layout, struct text *out);

#endif
