/* explain.h - why a node is stale, in words: down to the parameter, the field or the tensor, what
 * it was and what it is. Texts lie in the arena (explain_data: the build's); NULL: out of memory.
 */
#ifndef PSYBUILD_ENGINE_STALE_EXPLAIN_H
#define PSYBUILD_ENGINE_STALE_EXPLAIN_H

#include "engine/run/run.h"

/* "bits" changed: 4 -> 8: the first parameter, else the part of the declaration that differs. */
const char *explain_key(struct arena *arena, const struct record *record, const struct node *node);
/* "hidden_size" in config.json changed: 64 -> 128. `value` is what is there now, NULL: nothing. */
const char *explain_field(struct arena *arena, const char *path, const struct record_read *read,
    const struct json *value);
/* tensor "a.weight" of model.safetensors changed: the first, as the log of the node's pieces and
 * the file's segments tell, if this run hashed it; else the file. */
MUST_CHECK struct error *explain_data(
    struct build *build, const struct node *node, uint32_t file, const char **out);

#endif
