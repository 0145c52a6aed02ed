/* quant.h - group quantization in MLX's byte layout, and the float casts around it.
 *
 * A group is `group_size` consecutive weights of one row; its codes, its scale and (affine) its
 * bias fill whole bytes, so rows follow each other without gaps and a tensor of any rank is its
 * rows. What is written equals bit for bit what MLX's CPU code writes (docs/formats.md,
 * "Quantization"), on every machine and with every instruction set, for non-finite weights too,
 * where MLX itself differs between machines and x86-64 counts.
 *
 * Buffers hold what the file holds: raw little-endian elements at any alignment. The caller owns
 * them, none overlap, and the functions that take them cannot fail. */
#ifndef PSYBUILD_TASKS_FORMATS_QUANT_H
#define PSYBUILD_TASKS_FORMATS_QUANT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "tasks/formats/dtype.h"

enum quant_mode {
    QUANT_AFFINE, /* code q stands for q * scale + bias */
    QUANT_MXFP4,  /* E2M1 codes, one power of two per group */
    QUANT_MXFP8,  /* E4M3 codes, one power of two per group */
    QUANT_NVFP4,  /* E2M1 codes, one E4M3 scale per group */
    QUANT_MODE_COUNT
};
enum { QUANT_GROUP_SIZE_MAX = 128 };

const char *quant_mode_name(enum quant_mode mode); /* "affine", "mxfp4", "mxfp8", "nvfp4" */
bool quant_mode_parse(struct text name, enum quant_mode *out);
/* What MLX takes when they are not given. In the fp modes nothing else is legal. */
void quant_mode_defaults(enum quant_mode mode, uint32_t *group_size, uint32_t *bits);

struct quant_shape {
    enum quant_mode mode;
    uint32_t bits;       /* affine: 1, 2, 3, 4, 5, 6 or 8 */
    uint32_t group_size; /* affine: 32, 64 or 128 */
    enum dtype dtype;    /* of the weights, on both sides: F32, F16 or BF16 */
};

/* ERROR_USAGE if MLX could not quantize a row of `columns` weights so. Check before all below. */
MUST_CHECK struct error *quant_shape_check(const struct quant_shape *shape, uint64_t columns);

bool quant_has_biases(enum quant_mode mode);                   /* affine alone */
enum dtype quant_scale_dtype(const struct quant_shape *shape); /* that of the weights, or U8 */
uint64_t quant_code_bytes(const struct quant_shape *shape, uint64_t columns); /* of one row */

/* How far quantized rows are from their weights. With w a weight and e = w - its dequantized value
 * (dequant_rows' formula on the stored codes, scales and biases), each operation rounded to F32:
 *   a group's sums of e * e and of w * w are F32: element j adds its square to lane j mod 32, in
 *   order, product and sum rounded once (fmaf); then neighbours are added, until one is left;
 *   a row's are double, the groups added in order; the rows' are added in order, too;
 *   error_max is the root of the largest e * e.
 * So nothing depends on the kernels or the number of threads. A row whose sums are not finite (of
 * such weights, or beyond 10^19) is left out and counted; squares below 2^-150 are lost. */
struct quant_error {
    double error_squares, weight_squares;
    float error_max;
    uint64_t rows_left_out;
};

/* Quantizes `rows` rows.
 *   weights [rows][columns] of shape->dtype in
 *   codes   [rows][columns * bits / 8] bytes out: a bit stream, first weight in the lowest bits
 *   scales  [rows][columns / group_size] out: shape->dtype, or bytes in the fp modes
 *   biases  like scales; NULL in the fp modes
 *   sum     what is lost is added to it; NULL: it is not computed
 * True: no weight is infinite or NaN. False: that is not known. */
bool quant_rows(const struct quant_shape *shape, uint64_t rows, uint64_t columns,
    const void *weights, void *codes, void *scales, void *biases, struct quant_error *sum);

/* The way back: `weights` is out. As in MLX, each operation's result is rounded to the dtype. */
void dequant_rows(const struct quant_shape *shape, uint64_t rows, uint64_t columns,
    const void *codes, const void *scales, const void *biases, void *weights);

/* Casts between F32, F16 and BF16, rounding to nearest even; the same type is copied. */
void cast_values(
    enum dtype from, enum dtype to, uint64_t count, const void *values_in, void *values_out);

/* The index of the first infinity or NaN among F32, F16 or BF16 values, or `count`. */
uint64_t quant_find_nonfinite(enum dtype dtype, uint64_t count, const void *values);

/* What each group of a call loses: its two sums, and its largest e * e. Where they are not finite,
 * which of the two is not, and how, is open. */
struct quant_group_errors {
    float *error_squares, *weight_squares, *square_max;
};

/* One implementation of all that. The groups of a call lie one after the other. */
struct quant_kernels {
    const char *name;  /* "avx2"; NULL: not compiled for this machine, and no function is there */
    unsigned features; /* enum cpu_feature: what must be at hand to call it */
    bool (*quantize)(const struct quant_shape *shape, uint64_t groups, const void *weights,
        void *codes, void *scales, void *biases, const struct quant_group_errors *errors);
    void (*dequantize)(const struct quant_shape *shape, uint64_t groups, const void *codes,
        const void *scales, const void *biases, void *weights);
    void (*cast)(
        enum dtype from, enum dtype to, uint64_t count, const void *values_in, void *values_out);
    uint64_t (*find_nonfinite)(enum dtype dtype, uint64_t count, const void *values);
};
extern const struct quant_kernels quant_kernels_scalar; /* the specification of the others */
extern const struct quant_kernels quant_kernels_avx2;
extern const struct quant_kernels quant_kernels_avx512;
extern const struct quant_kernels quant_kernels_neon;

/* Picks the fastest kernels that `cpu_mask` (base/cpu.h) allows. Once, before there are threads;
 * until then the scalar ones serve. */
void quant_init(unsigned cpu_mask);
const char *quant_kernels_name(void); /* of those picked */

/* All that are compiled for this machine, fastest first; NULL behind the last. */
const struct quant_kernels *quant_kernels_at(unsigned index);

#endif
