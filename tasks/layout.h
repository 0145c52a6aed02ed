/* layout.h - what a weights node tells its readers before and without its bytes.
 *
 * `quantize` and `merge` encode it when planned (plan_layout); `config` and `index` decode it
 * (plan_read_layout). The bytes are wire fields (base/wire.h), see docs/formats.md, "Layout". */
#ifndef PSYBUILD_TASKS_LAYOUT_H
#define PSYBUILD_TASKS_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "tasks/formats/dtype.h"

struct layout_tensor {
    const char *name;
    enum dtype dtype;
    uint32_t rank;
    const uint64_t *shape;
    uint32_t file; /* index into files */
    uint64_t size_bytes;
};

/* What config.json records for one module, in the reference's traversal order. */
struct layout_entry {
    const char *module; /* "model.layers.0.mlp.down_proj" */
    struct text json;   /* as written there: {"group_size": 64, "bits": 8} */
};

struct layout {
    const char **files; /* names within the node's directory, in order */
    uint32_t file_count;
    struct layout_tensor *tensors; /* by byte order of their names */
    uint32_t tensor_count;
    uint64_t total_parameters; /* mlx-lm's count: logical weights of leaf modules */
    bool is_quantized;         /* config.json gets a "quantization" */
    bool is_dequantized;       /* config.json loses the one it had */
    struct text
        quantization; /* its first members: {"group_size": 64, "bits": 4, "mode": "affine"} */
    struct layout_entry *entries;
    uint32_t entry_count;
};

MUST_CHECK struct error *layout_encode(
    struct arena *arena, const struct layout *layout, struct text *out);
/* ERROR_FORMAT, naming `path`, when the bytes are no layout. */
MUST_CHECK struct error *layout_decode(
    struct arena *arena, const char *path, struct text bytes, struct layout *out);

#endif
