/* packed.h - the quantized modules of an MLX model, for the task that dequantizes it.
 *
 * Module X is packed when "X.weight" has "X.scales" beside it: then X.weight holds codes (U32), and
 * X.biases is there in mode affine. How it is packed says config.json's "quantization": its entry
 * for X (`true` is the top-level values), else the shapes themselves, once the architecture's rules
 * have told how long a row is. This is the reference's order (docs/formats.md, "Dequantizing"). */
#ifndef PSYBUILD_TASKS_PACKED_H
#define PSYBUILD_TASKS_PACKED_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "tasks/formats/quant.h"
#include "tasks/formats/rules.h"
#include "tasks/weights.h"

/* A tensor, with what is needed to read it. */
struct packed_tensor {
    const struct weights_tensor *tensor;
    const struct weights_tensor *scales; /* NULL: the tensor is not packed */
    const struct weights_tensor *biases; /* NULL: there are none */
};

/* All tensors, in order, but scales and biases of packed modules: they are with their weights. */
MUST_CHECK struct error *packed_gather(
    struct arena *arena, const struct weights *weights, struct packed_tensor **out, size_t *count);

/* How a packed tensor is quantized, all but the dtype, and how many weights a row has. `output` is
 * the tensor as the rules name it, with the columns that they tell, or RULES_AXIS_ANY. ERROR_FORMAT
 * when that cannot be told, or is not the shape and type of codes, scales and biases. */
MUST_CHECK struct error *packed_shape(struct arena *arena, const struct weights *weights,
    const struct json *quantization, const struct packed_tensor *packed,
    const struct rules_output *output, struct quant_shape *shape, uint64_t *columns);

/* ERROR_FORMAT when "quantization" says that the module of a tensor that is not packed is. */
MUST_CHECK struct error *packed_check_plain(
    struct arena *arena, const struct json *quantization, const struct rules_output *output);

#endif
