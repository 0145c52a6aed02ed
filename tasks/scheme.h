/* scheme.h - how each layer of a model is quantized: the parameters of the task `quantize`, and
 * what they, the mixed recipe and the architecture's rules say together.
 *
 * A layer whose columns the scheme's own group size does not divide is left alone. For the others
 * the first that has an opinion counts: the overrides, in order; then the recipe; else the rules;
 * else the scheme's own shape. This is the reference's order (docs/formats.md, "What gets
 * quantized"). */
#ifndef PSYBUILD_TASKS_SCHEME_H
#define PSYBUILD_TASKS_SCHEME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "engine/task.h"
#include "tasks/formats/mixed.h"
#include "tasks/formats/quant.h"
#include "tasks/formats/rules.h"

struct scheme_override {
    const struct json *place; /* the entry in the manifest */
    const struct pattern *match;
    bool leaves;              /* "quantize": false */
    struct quant_shape shape; /* all but dtype */
    struct text json;         /* what config.json records: the entry without "match" */
    bool is_used;             /* it matched a layer */
};

struct scheme {
    bool is_on;               /* there is anything to quantize at all */
    struct quant_shape shape; /* all but dtype */
    bool has_group_size;      /* given, not the mode's default: a recipe records that */
    struct text recipe;       /* "" for none */
    struct mixed mixed;       /* set by scheme_begin */
    struct scheme_override *overrides;
    size_t override_count;
};

/* What the parameters may be, for the tables of params. */
extern const char *const scheme_modes[];
extern const int64_t scheme_bits[], scheme_group_sizes[];
extern const struct param_spec scheme_override_params[];

/* From bits, group_size, mode, quantize, quant_predicate and overrides. */
MUST_CHECK struct error *scheme_read(struct plan *plan, struct scheme *out);

/* A shape, but its dtype, from values of JSON, each of which may be NULL for its default. The error
 * is at the value that is to blame. */
MUST_CHECK struct error *scheme_read_shape(const struct json *mode, const struct json *bits,
    const struct json *group_size, struct quant_shape *out);

/* What config.json's "quantization" begins with. bytes is NULL when out of memory. */
struct text scheme_quantization(struct arena *arena, const struct scheme *scheme);

/* Before the first choice: `outputs` are all tensors of the model. */
MUST_CHECK struct error *scheme_begin(struct plan *plan, struct scheme *scheme,
    struct rules_model *rules, const struct rules_output *outputs, size_t count);

struct scheme_choice {
    bool is_quantized;
    struct quant_shape shape; /* all but dtype */
    struct text json;         /* config.json's entry for the module; bytes is NULL for none */
};
/* For the weight of a module that may be quantized. */
MUST_CHECK struct error *scheme_choose(struct arena *arena, struct scheme *scheme,
    struct rules_model *rules, const struct rules_output *output, struct scheme_choice *out);

/* After the last choice: an override that matched no layer is an error. */
MUST_CHECK struct error *scheme_finish(
    const struct scheme *scheme, const struct rules_output *outputs, size_t count);

/* Whether the tensor is the weight of a module that may be quantized: of rank 2 and more. */
bool scheme_is_layer(const struct rules_output *output);

#endif
