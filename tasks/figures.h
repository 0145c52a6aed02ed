/* figures.h - how far a model's quantized weights are from their source.
 *
 * `quantize` measures each piece while it makes it, and adds them up when the last one is there;
 * the sums are kept with the node's record, for -t list and -t inspect. The bytes are wire fields
 * (base/wire.h), see docs/formats.md, "Figures". */
#ifndef PSYBUILD_TASKS_FIGURES_H
#define PSYBUILD_TASKS_FIGURES_H

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "tasks/formats/quant.h"

struct figures_module {
    const char *name;          /* of the tensor of codes: "model.embed_tokens.weight" */
    uint64_t weights;          /* all of them */
    uint64_t weights_measured; /* not: those of rows left out, and of pieces made without */
    double error_squares, weight_squares; /* sums; quant_error says of what */
    float error_max;
};

struct figures {
    struct figures_module *modules; /* those that are quantized, in the model's order */
    uint32_t count;
};

/* What a piece keeps as its result. */
enum { FIGURES_PIECE_BYTES = 28 };
void figures_encode_piece(
    const struct quant_error *error, unsigned char bytes[FIGURES_PIECE_BYTES]);
/* Adds a piece to its module; an empty result counts its weights as not measured. */
void figures_add_piece(
    struct figures_module *module, uint64_t rows, uint64_t columns, struct text result);

MUST_CHECK struct error *figures_encode(
    struct arena *arena, const struct figures *figures, struct text *out);
/* ERROR_FORMAT, naming `path`, when the bytes are none. */
MUST_CHECK struct error *figures_decode(
    struct arena *arena, const char *path, struct text bytes, struct figures *out);

/* All modules as one, whose name is "". */
struct figures_module figures_total(const struct figures *figures);
/* The root of error_squares / weight_squares; 0 when nothing is lost. */
double figures_relative_rmse(const struct figures_module *module);
/* The signal-to-quantization-noise ratio in dB; infinite when nothing is lost. */
double figures_sqnr(const struct figures_module *module);

#endif
