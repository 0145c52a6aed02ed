/* rules.h - what psybuild knows about an architecture, from one file of manifests/rules.
 *
 * A rule file says which fields of config.json must be there (`required`), what others are when
 * they are absent (`defaults`; null is not absent), and what else makes the reference refuse a
 * model (`refuse`). It says how the tensors of a checkpoint become those of the MLX model: what is
 * dropped and renamed (`steps`), which tensors must be there with which shape, in the reference's
 * order (`tensors`), which modules are quantized differently (`quant`), which tensors keep their
 * type (`keep_dtype`). manifests/rules/README.md is the vocabulary. This version knows the
 * operations that keep one input tensor per output tensor: drop, rename, replace. A file that holds
 * anything else is refused: half understood it would make a wrong model.
 *
 *   rules_load -> rules_bind (to one model's config.json) -> rules_apply (to its tensors)
 *
 * Everything lives in the arena given to rules_load or rules_bind. Look-ups are by hash: the work
 * is in proportion to the number of tensors. */
#ifndef PSYBUILD_TASKS_FORMATS_RULES_H
#define PSYBUILD_TASKS_FORMATS_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "tasks/formats/dtype.h"

#define RULES_TENSORS_MAX (1u << 20) /* of one model, given or expected */

struct rules;       /* a loaded file */
struct rules_model; /* rules bound to one model's configuration */

/* `name` is what errors call the file. */
MUST_CHECK struct error *rules_load(
    struct arena *arena, const char *name, struct text json, const struct rules **out);
const char *rules_name(const struct rules *rules);

/* A file that names architectures wins over one that serves the type whatever its architecture. */
enum rules_service { RULES_SERVE_NOT, RULES_SERVE_TYPE, RULES_SERVE_ARCHITECTURE };
/* `architectures` is the field of config.json: a list, a string, or NULL. */
enum rules_service rules_serves(
    const struct rules *rules, struct text model_type, const struct json *architectures);

/* Where fields of config.json come from. A field that is absent gives NULL; that too is a read. */
struct rules_config {
    const char *name; /* the file's, for errors */
    const struct json *(*get)(void *context, const char *dotted_path);
    void *context;
};

/* Checks `required`, evaluates `let` and `refuse`. Each other field is asked for once, and only
 * when an expression needs it; the trees that get gives must live as long as the model.
 * ERROR_FORMAT, naming all of them, when required fields are absent: the reference could not load
 * the model. */
MUST_CHECK struct error *rules_bind(struct arena *arena, const struct rules *rules,
    const struct rules_config *config, struct rules_model **out);

/* An axis of an input whose length is to be told: any fits, and the output gets the rules' own; a
 * file without `tensors` has none, and leaves it so. */
#define RULES_AXIS_ANY UINT64_MAX
struct rules_input {
    struct text name;
    enum dtype dtype;
    uint32_t rank;
    const uint64_t *shape; /* [rank] */
};

enum rules_kind { RULES_KIND_OTHER, RULES_KIND_LINEAR, RULES_KIND_EMBEDDING };

struct rules_output {
    struct text name;   /* NUL-terminated */
    struct text module; /* the name before its last dot; not NUL-terminated */
    size_t input;       /* the index of the tensor that it is made from */
    uint32_t rank;
    const uint64_t *shape; /* the input's: no operation of this version changes it */
    enum rules_kind kind;  /* linear, embedding: its module may be quantized */
    bool keeps_dtype;      /* not cast */
};
struct rules_result {
    const struct rules_output
        *outputs; /* in the reference's order; without `tensors` the inputs' */
    size_t output_count;
    const bool *is_dropped; /* for each input */
};

/* ERROR_FORMAT, naming the tensor, when one is missing, unexpected or of another shape. A file
 * without `tensors` checks only that layers and experts are numbered from 0 without a gap. Once for
 * a model; the inputs must live as long as it does. */
MUST_CHECK struct error *rules_apply(struct rules_model *model, const struct rules_input *inputs,
    size_t input_count, struct rules_result *out);

/* What the architecture's own predicate says about a module of kind linear or embedding. */
enum rules_choice { RULES_QUANTIZE, RULES_LEAVE, RULES_OVERRIDE };
struct rules_decision {
    enum rules_choice choice;
    /* Of an override, which is affine whatever the mode: what the rule gives is what config.json
     * records; what it leaves out is 64 and 4. */
    bool has_group_size, has_bits;
    uint32_t group_size, bits;
};
/* After rules_apply, for one of its outputs. */
MUST_CHECK struct error *rules_decide(
    struct rules_model *model, const struct rules_output *output, struct rules_decision *out);

/* The number of layers, for mixed recipes: `layers`, else config's num_hidden_layers. */
MUST_CHECK struct error *rules_layer_count(struct rules_model *model, uint64_t *out);

/* The index's total_parameters: the elements of tensors whose module is a leaf, that is, no other
 * tensor's module lies below it. Elements count logical weights; a quantized module's scales and
 * biases are left out by the caller. The arena is for scratch. */
struct rules_parameter {
    struct text name;
    uint64_t elements;
};
MUST_CHECK struct error *rules_count_parameters(
    struct arena *arena, const struct rules_parameter *parameters, size_t count, uint64_t *out);

#endif
